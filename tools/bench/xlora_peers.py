#!/usr/bin/env python3
"""Tokens per second of an X-LoRA through PEFT and through ruvllm, in turn.

    xlora_peers.py --model MODEL --gguf MODEL.gguf --adapters ADAPTERS --ruvllm build/dev/ruvllm [--tokens 8] [--runs 2]

MODEL is a Hugging Face folder, MODEL.gguf the same weights for ruvllm (quantized or not), ADAPTERS what
make_adapter.py --xlora 4 wrote. PEFT runs as it does by itself: both passes over the whole text for every token
(its X-LoRA has no cache), f32 unless --dtype says otherwise. Needs torch, transformers, peft.
"""

import argparse
import json
import os
import statistics
import subprocess
import time

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def load(a):
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[a.dtype]
    base = AutoModelForCausalLM.from_pretrained(a.model, dtype=dtype)
    base.config.use_cache = False
    before, folder = os.getcwd(), os.path.abspath(os.path.join(a.adapters, "xlora"))
    os.chdir(folder)  # PEFT looks for the experts from where it runs
    try:
        return PeftModel.from_pretrained(base, folder).eval()
    finally:
        os.chdir(before)


def peft_rate(model, a):
    ids = torch.arange(100, 100 + a.prompt).unsqueeze(0)
    begin = time.perf_counter()
    with torch.no_grad():
        for _ in range(a.tokens):
            logits = model(input_ids=ids, use_cache=False).logits
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
    return a.tokens / (time.perf_counter() - begin)


def ruvllm_rate(a):
    command = [a.ruvllm, "bench", "-m", a.gguf, "--backend", "serving", "--batch", "1", "--tg", str(4 * a.tokens),
               "--reps", "2", "--json", "--threads", str(a.threads), "--adapters-in-batch", "1",
               "--adapter", f"a0={a.adapters}/a0", "--xlora", f"{a.adapters}/xlora"]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["rows"]
    return next(row["tok_s"] for row in rows if row["test"] == "xlora")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--model", "--gguf", "--adapters", "--ruvllm"):
        p.add_argument(flag, required=True)
    p.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    p.add_argument("--prompt", type=int, default=16)
    p.add_argument("--tokens", type=int, default=8)
    p.add_argument("--runs", type=int, default=2)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    model = load(a)
    peft_rate(model, argparse.Namespace(prompt=4, tokens=1))
    rates = [(peft_rate(model, a), ruvllm_rate(a)) for _ in range(a.runs)]
    for theirs, ours in rates:
        print(f"PEFT {theirs:.3f} tok/s, ruvllm {ours:.2f} tok/s: {ours / theirs:.1f} times")
    print(f"median: {statistics.median(ours / theirs for theirs, ours in rates):.1f} times")


if __name__ == "__main__":
    main()
