"""Writes a training checkpoint as a Hugging Face model folder, and reads such a folder back.

    python export.py --checkpoint WORK/checkpoint.pt --out models/demo

Writes model.safetensors (bf16), config.json and generation_config.json beside the tokenizer.
"""

import argparse
import json
import os

import torch
from safetensors.torch import load_file, save_file

from model import SHAPES


def load_export(model, folder):
    state = {k: v.float() for k, v in load_file(os.path.join(folder, "model.safetensors")).items()}
    model.load_state_dict(state)


def hf_config(c, tok_ids):
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "vocab_size": c.vocab, "hidden_size": c.hidden, "intermediate_size": c.ffn,
        "num_hidden_layers": c.layers, "num_attention_heads": c.heads, "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_dim, "max_position_embeddings": c.max_positions, "rope_theta": c.rope_theta,
        "rms_norm_eps": c.norm_eps, "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False,
        "initializer_range": 0.02, "torch_dtype": "bfloat16", "use_cache": True,
        "bos_token_id": tok_ids["<|bos|>"], "eos_token_id": [tok_ids["<|eos|>"], tok_ids["<|end|>"]],
        "pad_token_id": tok_ids["<|pad|>"],
    }


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        json.dump(value, f, indent=2)
        f.write("\n")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--checkpoint", required=True)
    p.add_argument("--out", required=True)
    a = p.parse_args()
    with open(os.path.join(a.out, "tokenizer.json"), encoding="utf-8") as f:
        ids = {t["content"]: t["id"] for t in json.load(f)["added_tokens"]}
    checkpoint = torch.load(a.checkpoint, weights_only=True)
    state = checkpoint["model"]
    save_file({k: v.to(torch.bfloat16).contiguous() for k, v in state.items()},
              os.path.join(a.out, "model.safetensors"), metadata={"format": "pt"})
    os.chmod(os.path.join(a.out, "model.safetensors"), 0o644)
    config = hf_config(SHAPES[checkpoint.get("shape", "demo")], ids)
    write_json(a.out, "config.json", config)
    write_json(a.out, "generation_config.json", {
        "bos_token_id": config["bos_token_id"], "eos_token_id": config["eos_token_id"],
        "pad_token_id": config["pad_token_id"], "do_sample": True, "temperature": 0.4,
        "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.0})


if __name__ == "__main__":
    main()
