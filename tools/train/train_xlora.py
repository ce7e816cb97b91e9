"""Trains the classifier of an X-LoRA: which adapters speak, token by token. Base and adapters stay as they are.

    python train_xlora.py --model models/demo \\
        --adapter models/demo-prose --adapter models/demo-code --adapter models/demo-qa \\
        --train prose.train.txt code.train.txt qa.train.txt switch.train.txt --dev switch.dev.txt \\
        --minutes 5 --out models/demo-xlora

For any causal model of transformers and LoRA adapters in PEFT's format (linear and embedding modules; no
DoRA). Every text of --train is drawn from equally often. Writes PEFT's X-LoRA layout to --out
(adapter_config.json with peft_type XLORA, adapter_model.safetensors), which names the adapters by paths
relative to --out, and training_log.jsonl. `ruvllm run -m MODEL --xlora OUT` runs it. The log has, for
every --dev text, the perplexity of X-LoRA (and, first, of the base and of each adapter alone) and the mean
gates. Needs torch, transformers, peft.
"""

import argparse
import os

import torch
from peft import XLoraConfig

from domain_lesson import fit, labelled_states
from tuning import (DTYPES, Loop, Windows, add_loop_flags, check_loop_flags, dev_texts, load_base, perplexity, prepare,
                    read_text, save_tensors, token_losses)
from xlora_mix import Classifier, ExpertMix


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True, help="folder of the base model")
    p.add_argument("--base-name", help="the model's name in the config; default: --model")
    p.add_argument("--adapter", action="append", required=True, help="folder of a LoRA adapter; at least two")
    p.add_argument("--train", nargs="+", required=True, help="text files")
    p.add_argument("--dev", nargs="*", default=[], help="text files, never trained on")
    p.add_argument("--shared-gates", action="store_true",
                   help="the same gates for all modules (layerwise_scalings false); default: one set per module")
    p.add_argument("--depth", type=int, default=1, help="linear layers of the classifier")
    p.add_argument("--size", type=int, default=64, help="its inner width, from a depth of 2")
    p.add_argument("--dropout", type=float, default=0.2, help="between its layers")
    p.add_argument("--temperature", type=float, default=1.0, help="of the softmax")
    p.add_argument("--dtype", choices=DTYPES, default="bf16", help="of the file")
    p.add_argument("--own", nargs="+", default=[], metavar="TEXT",
                   help="a text file for each --adapter, in their order: the classifier is first fitted to which of "
                        "them a token is of (domain_lesson.py)")
    p.add_argument("--own-windows", type=int, default=90, help="windows of each of them")
    p.add_argument("--own-steps", type=int, default=400, help="of that fit")
    p.add_argument("--own-weight", nargs="+", type=float, default=[], metavar="W",
                   help="how much a token of each counts there; one that is too rarely taken for its own wants more")
    p.add_argument("--own-lr", type=float, default=3e-3, help="its learning rate")
    p.add_argument("--out", required=True)
    add_loop_flags(p, lr=1e-2)
    a = p.parse_args()
    if len(a.adapter) < 2:
        p.error(f"found {len(a.adapter)} --adapter, expected at least 2")
    if a.own and len(a.own) != len(a.adapter):
        p.error(f"found {len(a.own)} texts of --own, expected one for each of the {len(a.adapter)} adapters")
    if a.own_weight and len(a.own_weight) != len(a.own):
        p.error(f"found {len(a.own_weight)} numbers of --own-weight, expected one for each of the {len(a.own)} --own")
    if not a.own or a.steps or a.minutes:
        check_loop_flags(p, a)
    else:  # that fit alone
        a.steps = 0
        prepare(a)
    return a


def save(classifier, a):
    """PEFT's layout. Its own save_pretrained loses classifier tensors (0.21), so the files are written here."""
    prefix = "base_model.internal_xlora_classifier.layers."
    tensors = {prefix + name: value for name, value in classifier.layers.state_dict().items()}
    save_tensors(tensors, os.path.join(a.out, "adapter_model.safetensors"), DTYPES[a.dtype])
    paths = {str(i): os.path.relpath(folder, a.out) for i, folder in enumerate(a.adapter)}
    config = XLoraConfig(task_type="CAUSAL_LM", hidden_size=classifier.layers[0].in_features, adapters=paths,
                         layerwise_scalings=classifier.layerwise, xlora_depth=a.depth, xlora_size=a.size,
                         xlora_dropout_p=a.dropout, softmax_temperature=a.temperature, enable_softmax=True,
                         base_model_name_or_path=a.base_name or a.model, inference_mode=True)
    config.save_pretrained(a.out)


def one_hot(tokens, n, expert):
    """Constant gates: one expert alone."""
    gates = torch.zeros(*tokens.shape, n)
    gates[..., expert] = 1.0
    return gates


class Trainer:
    def __init__(self, a):
        self.a = a
        base, tokenizer = load_base(a.model)
        self.bos = tokenizer.bos_token_id
        self.windows = Windows(tokenizer, [read_text(p) for p in a.train], a.length, a.seed)
        self.dev = dev_texts(tokenizer, a)
        self.mix = ExpertMix(base, a.adapter)
        self.n = len(a.adapter)
        self.classifier = Classifier(base.config.hidden_size, self.n, self.mix.num_modules, not a.shared_gates,
                                     a.depth, a.size, a.dropout, a.temperature)
        self.tokenizer = tokenizer
        self.loop = Loop(a, self.classifier.parameters())
        count = sum(p.numel() for p in self.classifier.parameters())
        print(f"{self.n} adapters, {self.mix.num_modules} modules, {count} trained parameters", flush=True)

    def gates(self, tokens):
        with torch.no_grad():
            hidden = self.mix.hidden(tokens)
        return self.classifier(hidden)

    def routed(self, tokens):
        """What tuning.token_losses wants, with the classifier's gates."""
        return self.mix.hidden(tokens, self.gates(tokens)), self.mix.head

    def loss_of(self, _):
        self.classifier.train()
        tokens = self.windows.batch(self.a.rows)
        return token_losses(self.routed, tokens, 1).mean(), tokens.numel()

    def dev_perplexity(self, name, logits_of):
        self.classifier.eval()
        return {f"{name} {file}": round(perplexity(logits_of, t, self.bos, max_chunks=self.a.eval_chunks), 3)
                for file, t in self.dev}

    @torch.no_grad()
    def mean_gates(self):
        """Of the first 1,024 tokens of each text, over modules."""
        return {f"gates {file}": [round(v, 3) for v in self.gates(t[None, :1024]).flatten(0, -2).mean(0).tolist()]
                for file, t in self.dev}

    def evaluate(self):
        return {**self.dev_perplexity("ppl", self.routed), **self.mean_gates()}

    def report_singles(self):
        """The base, and each adapter alone: what X-LoRA is to be compared with."""
        self.loop.report(**self.dev_perplexity("base", lambda tokens: (self.mix.hidden(tokens), self.mix.head)))
        for i, folder in enumerate(self.a.adapter):
            alone = lambda tokens, i=i: (self.mix.hidden(tokens, one_hot(tokens, self.n, i)), self.mix.head)
            self.loop.report(**self.dev_perplexity(os.path.basename(os.path.normpath(folder)), alone))

    def fit_own(self):
        """--own: the classifier learns whose text a token is of."""
        a = self.a
        states, labels = labelled_states(self.mix.hidden, self.tokenizer, [read_text(p) for p in a.own], a.length,
                                         a.own_windows, a.seed)
        right = fit(self.classifier, states, labels, a.own_steps, a.own_lr, a.own_weight or [1.0] * self.n)
        self.loop.report(labelled_right=round(right, 4))
        save(self.classifier, a)

    def run(self):
        self.report_singles()
        if self.a.own:
            self.fit_own()
        self.loop.run(self.loss_of, self.evaluate, lambda: save(self.classifier, self.a))


if __name__ == "__main__":
    Trainer(parse()).run()
