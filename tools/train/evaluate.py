"""Evaluates the demo model with PyTorch: held-out questions, bits per byte, samples.

    python evaluate.py --model-dir models/demo [--questions Q.jsonl] [--text-dir BOOKS] [--python-dir LIB]
        [--samples] [--show-wrong]

Answers are greedy, at most 64 tokens, compared after `qa.normalize`. Bits per byte: every file is
cut into windows of 1,024 tokens that each begin with <|bos|>; the sum of the bits of all tokens
is divided by the bytes of the text.
"""

import argparse
import json
import math
import os

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from export import load_export
from make_data import ChatFormat, eval_text_files, python_files, read
from model import SHAPES, Llama
from qa import normalize

MAX_ANSWER = 64


@torch.no_grad()
def generate(model, prompts, stop, max_new, batch=50):
    """Greedy continuations (token lists) of token-list prompts; ends before a `stop` id."""
    results = []
    for at in range(0, len(prompts), batch):
        rows = [list(p) for p in prompts[at:at + batch]]
        out, live = [[] for _ in rows], set(range(len(rows)))
        for _ in range(max_new):
            order = sorted(live)
            width = max(len(rows[i]) for i in order)
            tokens = torch.tensor([rows[i] + [0] * (width - len(rows[i])) for i in order])
            h = model.hidden(tokens)[torch.arange(len(order)), [len(rows[i]) - 1 for i in order]]
            for i, token in zip(order, model.logits(h).argmax(-1).tolist()):
                if token in stop or len(rows[i]) >= model.c.max_positions:
                    live.discard(i)
                else:
                    rows[i].append(token)
                    out[i].append(token)
            if not live:
                break
        results += out
    return results


def answer_all(model, tok, questions):
    chat = ChatFormat(tok)
    stop = {chat.ids["end"], chat.ids["eos"]}
    return [tok.decode(ids) for ids in generate(model, [chat.prompt(q) for q in questions], stop, MAX_ANSWER)]


def score(rows, answers):
    """(number right, {kind: 'right/all'}, wrong rows)."""
    by_kind, wrong, right = {}, [], 0
    for row, answer in zip(rows, answers):
        ok = normalize(answer) == normalize(row["answer"])
        good, n = by_kind.get(row["kind"], (0, 0))
        by_kind[row["kind"]] = (good + ok, n + 1)
        right += ok
        if not ok:
            wrong.append((row["kind"], row["question"], row["answer"], answer))
    return right, {k: f"{g}/{n}" for k, (g, n) in by_kind.items()}, wrong


@torch.no_grad()
def bits_per_byte(model, tok, text, window=1024):
    ids = tok.encode(text, add_special_tokens=False).ids
    bos = tok.token_to_id("<|bos|>")
    nats = 0.0
    for at in range(0, len(ids), window - 1):
        row = torch.tensor([[bos] + ids[at:at + window - 1]])
        nats += F.cross_entropy(model.logits(model.hidden(row[:, :-1]))[0], row[0, 1:], reduction="sum").item()
    return nats / math.log(2) / len(text.encode("utf-8"))


SAMPLES = [
    ("chat", "Who are you?"), ("chat", "Write a Python function that returns the sum of two numbers."),
    ("chat", "Tell me a fable."), ("text", "It was a dark and cold night, and"), ("text", "def is_even(n):\n"),
]


def print_samples(model, tok):
    chat = ChatFormat(tok)
    for kind, text in SAMPLES:
        prompt = chat.prompt(text) if kind == "chat" else tok.encode(text).ids
        ids = generate(model, [prompt], {chat.ids["end"], chat.ids["eos"]}, 60)[0]
        print(f"[{kind}] {text!r} -> {tok.decode(ids)!r}")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--model-dir", required=True)
    p.add_argument("--shape", choices=SHAPES, default="demo")
    p.add_argument("--questions")
    p.add_argument("--text-dir")
    p.add_argument("--python-dir")
    p.add_argument("--samples", action="store_true")
    p.add_argument("--show-wrong", action="store_true")
    p.add_argument("--limit-chars", type=int, default=None, help="use only the first so many of each text")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    tok = Tokenizer.from_file(os.path.join(a.model_dir, "tokenizer.json"))
    model = Llama(SHAPES[a.shape])
    load_export(model, a.model_dir)
    if a.questions:
        with open(a.questions, encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
        right, by_kind, wrong = score(rows, answer_all(model, tok, [r["question"] for r in rows]))
        print(f"questions: {right}/{len(rows)} right;", ", ".join(f"{k} {v}" for k, v in by_kind.items()))
        if a.show_wrong:
            for kind, q, want, got in wrong:
                print(f"  {kind}: {q!r} want {want!r} got {got!r}")
    for path in eval_text_files(a.text_dir) if a.text_dir else []:
        print(f"{os.path.basename(path)}: {bits_per_byte(model, tok, read(path)[:a.limit_chars]):.4f} bits per byte")
    if a.python_dir:
        held = python_files(a.python_dir)[1]
        text = "".join(read(f) for f in held)[:a.limit_chars]
        print(f"unseen Python, {len(held)} files: {bits_per_byte(model, tok, text):.4f} bits per byte")
    if a.samples:
        print_samples(model, tok)


if __name__ == "__main__":
    main()
