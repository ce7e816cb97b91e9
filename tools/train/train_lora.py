"""Trains a LoRA adapter on text files, for any causal model of transformers.

    python train_lora.py --model models/demo --train prose.train.txt --dev prose.dev.txt \\
        --rank 16 --minutes 5 --out models/demo-prose

Writes PEFT's format (adapter_config.json, adapter_model.safetensors) and training_log.jsonl to --out.
Every text of --train is drawn from equally often; the perplexity of every --dev text is logged. Special
tokens in the texts are read as tokens. Needs torch, transformers, peft.
"""

import argparse
import os

from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file

from tuning import (DTYPES, Loop, Windows, add_loop_flags, answer_weights, check_loop_flags, dev_texts, load_base,
                    perplexity, read_text, save_tensors, token_losses)

ALL_LINEAR = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True, help="folder of the base model")
    p.add_argument("--base-name", help="the model's name in the adapter's config; default: --model")
    p.add_argument("--train", nargs="+", required=True, help="text files")
    p.add_argument("--dev", nargs="*", default=[], help="text files, never trained on")
    p.add_argument("--rank", type=int, default=16)
    p.add_argument("--alpha", type=float, default=None, help="default: the rank (a scale of 1)")
    p.add_argument("--dropout", type=float, default=0.0)
    p.add_argument("--init", help="go on from this adapter (same modules, same or smaller rank); default: a new one")
    p.add_argument("--target", default=ALL_LINEAR, help="names of modules, separated by commas")
    p.add_argument("--answer-weight", type=float, default=1.0,
                   help="of the losses between --answer-marks; 1 elsewhere")
    p.add_argument("--answer-marks", nargs=2, default=["<|assistant|>", "<|end|>"], metavar=("START", "END"),
                   help="tokens of the model's chat template")
    p.add_argument("--dtype", choices=DTYPES, default="bf16", help="of the file")
    p.add_argument("--out", required=True)
    add_loop_flags(p, lr=5e-3)
    a = p.parse_args()
    check_loop_flags(p, a)
    return a


def save(model, config, a):
    tensors = get_peft_model_state_dict(model)
    save_tensors(tensors, os.path.join(a.out, "adapter_model.safetensors"), DTYPES[a.dtype])
    config.inference_mode = True
    config.base_model_name_or_path = a.base_name or a.model
    config.save_pretrained(a.out)


def load_weights(model, folder):
    """Starts from the matrices of an adapter on disk: of the same modules, and of the model's rank or a
    smaller one (the further ranks stay as they are initialized: B zero, so they change nothing yet)."""
    tensors = load_file(os.path.join(folder, "adapter_model.safetensors"))
    state = get_peft_model_state_dict(model)
    for name in sorted({*tensors, *state}):
        if name not in tensors or name not in state or any(
                have > want for have, want in zip(tensors[name].shape, state[name].shape)):
            raise SystemExit(f"{folder}: {name} is not as --rank and --target say")
        rows, columns = tensors[name].shape
        state[name][:rows, :columns] = tensors[name].float()
    set_peft_model_state_dict(model, state)


def main():
    a = parse()
    base, tokenizer = load_base(a.model)
    bos = tokenizer.bos_token_id
    windows = Windows(tokenizer, [read_text(p) for p in a.train], a.length, a.seed)
    dev = dev_texts(tokenizer, a)
    marks = tokenizer.convert_tokens_to_ids(a.answer_marks)
    config = LoraConfig(r=a.rank, lora_alpha=a.rank if a.alpha is None else a.alpha, lora_dropout=a.dropout,
                        target_modules=a.target.split(","), task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    if a.init:
        load_weights(model, a.init)
    trained = [p for p in model.parameters() if p.requires_grad]
    print(f"{sum(p.numel() for p in trained)} trained parameters, {len(windows.texts)} texts of "
          f"{sum(map(len, windows.texts))} characters")
    body, head = getattr(base, base.base_model_prefix), base.get_output_embeddings()

    def logits_of(tokens):
        return body(input_ids=tokens, use_cache=False).last_hidden_state, head

    def loss_of(_):
        model.train()
        tokens = windows.batch(a.rows)
        losses = token_losses(logits_of, tokens, 1)
        if a.answer_weight == 1:
            return losses.mean(), tokens.numel()
        weights = answer_weights(tokens, *marks, a.answer_weight)[:, 1:]
        return (losses * weights).sum() / weights.sum(), tokens.numel()

    def evaluate():
        model.eval()
        return {f"ppl {name}": round(perplexity(logits_of, t, bos, max_chunks=a.eval_chunks), 3) for name, t in dev}

    Loop(a, trained).run(loss_of, evaluate, lambda: save(model, config, a))


if __name__ == "__main__":
    main()
