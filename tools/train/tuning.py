"""What train_lora.py and train_xlora.py share: texts as windows of tokens, perplexity, the loop, saving.

Works with any causal model of transformers. Texts are UTF-8 files; special tokens in them are read as
tokens. Perplexity is measured as `ruvllm eval` does: chunks of `ctx` tokens that begin with BOS (if
the model has one), the second half of each scored but its first token; the numbers are the engine's.
"""

import json
import math
import os
import random
import time

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def load_base(folder, dtype=torch.float32):
    """(frozen model, tokenizer) of a model folder."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    model.config.use_cache = False
    model.requires_grad_(False)
    return model, AutoTokenizer.from_pretrained(folder)


def read_text(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


class Windows:
    """Random windows of texts, every text equally often. A window begins at a random line, with BOS
    in place of its first token; only what is drawn is tokenized, so texts may be long."""

    def __init__(self, tokenizer, texts, length, seed):
        self.tokenizer, self.texts, self.length = tokenizer, texts, length
        self.rng = random.Random(seed)

    def window(self):
        text, chars = self.rng.choice(self.texts), 5 * self.length
        while True:
            at = text.find("\n", self.rng.randrange(max(1, len(text) - chars))) + 1
            ids = encode(self.tokenizer, text[at:at + chars])[:self.length]
            if len(ids) == self.length:
                break
            if chars >= len(text):
                raise SystemExit(f"a training text has fewer than {self.length} tokens (--length)")
            chars *= 2
        if self.tokenizer.bos_token_id is not None:
            ids[0] = self.tokenizer.bos_token_id
        return torch.tensor(ids)

    def batch(self, rows):
        return torch.stack([self.window() for _ in range(rows)])


def encode(tokenizer, text):
    return tokenizer(text, add_special_tokens=False, verbose=False).input_ids


def token_losses(logits_of, tokens, first):
    """Next-token losses in nats of positions first..T-1: [B, T - first]. `logits_of`: tokens -> hidden
    states and the head, so that positions which are not scored cost no output layer."""
    hidden, head = logits_of(tokens[:, :-1])
    logits = head(hidden[:, first - 1:]).float()
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, first:].flatten(), reduction="none").view(
        len(tokens), -1)


def answer_weights(tokens, start, end, weight):
    """[B, T] loss weights: `weight` for tokens after a `start` token up to and with the next `end`, else 1."""
    at = torch.arange(1, tokens.shape[1] + 1).expand_as(tokens)
    last = [((tokens == mark) * at).cummax(1).values for mark in (start, end)]
    opened = last[0] > last[1]  # after this token an answer goes on
    weights = torch.ones(tokens.shape)
    weights[:, 1:][opened[:, :-1]] = weight
    return weights


@torch.no_grad()
def perplexity(logits_of, tokens, bos, ctx=512, max_chunks=None, rows=4):
    """exp of the mean loss over the second halves of whole chunks (as `ruvllm eval --ctx`)."""
    chunks = tokens[:len(tokens) // ctx * ctx].view(-1, ctx)[:max_chunks].clone()
    if bos is not None:
        chunks[:, 0] = bos
    losses = torch.cat([token_losses(logits_of, c, ctx // 2 + 1) for c in chunks.split(rows)])
    return math.exp(losses.mean().item())


def rate(share, warmup=0.03):
    """Factor of the learning rate at a share (0..1) of the training: up, then a cosine down to 0."""
    if share < warmup:
        return (share + 1e-3) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (share - warmup) / (1 - warmup))))


class Loop:
    """Steps for a number of steps or minutes, with a log (JSON lines) and evaluations in between."""

    def __init__(self, a, parameters):
        self.a = a
        self.parameters = list(parameters)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=a.lr, betas=(0.9, 0.98), weight_decay=a.weight_decay)
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        self.lines = []

    def report(self, **fields):
        line = {"minutes": round(self.seconds / 60, 2), "cpu_minutes": round(time.process_time() / 60, 2),
                "step": self.step, "tokens": self.tokens, **fields}
        self.lines.append(line)
        print(json.dumps(line), flush=True)

    def share(self):
        shares = [self.step / self.a.steps] if self.a.steps else []
        shares += [self.seconds / (60 * self.a.minutes)] if self.a.minutes else []
        return max(shares, default=1.0)  # no steps at all

    def run(self, loss_of, evaluate, save):
        """`loss_of(step)` -> (loss, tokens); `evaluate()` -> dict; `save()` writes what is trained."""
        losses, last_eval = [], 0.0
        self.report(**evaluate())
        while self.share() < 1:
            start = time.time()
            for group in self.optimizer.param_groups:
                group["lr"] = self.a.lr * rate(self.share())
            loss, tokens = loss_of(self.step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
            self.step += 1
            self.tokens += tokens
            self.seconds += time.time() - start
            if self.seconds - last_eval > 60 * self.a.eval_minutes or self.share() >= 1:
                self.report(loss=round(sum(losses) / len(losses), 4), **evaluate())
                losses, last_eval = [], self.seconds
                save()
        with open(os.path.join(self.a.out, "training_log.jsonl"), "w", encoding="utf-8") as f:
            f.writelines(json.dumps(line) + "\n" for line in self.lines)


def add_loop_flags(p, lr):
    p.add_argument("--steps", type=int, default=0, help="0: as many as --minutes allow")
    p.add_argument("--minutes", type=float, default=0, help="of training; evaluations do not count")
    p.add_argument("--eval-minutes", type=float, default=1.0)
    p.add_argument("--eval-chunks", type=int, default=48, help="of each --dev text, while training")
    p.add_argument("--lr", type=float, default=lr)
    p.add_argument("--weight-decay", type=float, default=0.0)
    p.add_argument("--length", type=int, default=512, help="tokens of a window")
    p.add_argument("--rows", type=int, default=4, help="windows of a step")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=1, help="more only when no other work shares the cores")


def check_loop_flags(p, a):
    if not a.steps and not a.minutes:
        p.error("give --steps or --minutes")
    prepare(a)


def prepare(a):
    """Threads, seed, the folder of --out."""
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    os.makedirs(a.out, exist_ok=True)


def dev_texts(tokenizer, a):
    """[(file name, tokens)] of the texts of --dev, each with a BOS of its own as the engine has it."""
    first = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return [(os.path.basename(p), torch.tensor(first + encode(tokenizer, read_text(p)))) for p in a.dev]


def save_tensors(tensors, path, dtype):
    save_file({k: v.detach().to(dtype).contiguous() for k, v in tensors.items()}, path, metadata={"format": "pt"})
    os.chmod(path, 0o644)


DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
