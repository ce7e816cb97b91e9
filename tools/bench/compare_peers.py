#!/usr/bin/env python3
"""ruvllm and its peers on the same files, in one run, alternating, so that a noisy machine is noisy
for both. Prints a Markdown table: prefill and decode speed of each, and the ratio.

Needs: a built `ruvllm`, GGUF files (tools/bench/make_model.py --shape llama-1b OUT --gguf
bf16,q8_0,q4_0 writes them), and the peer's package: pip install llama-cpp-python (it builds
llama.cpp for this machine). A peer that is not installed is listed with the reason.

Example:
  tools/bench/compare_peers.py --ruvllm build/edge/ruvllm --reps 3 OUT/*.gguf
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time


def run_ruvllm(binary, path, args):
    """One `ruvllm bench` run -> {"pp": tok/s, "tg": tok/s, "roof": GB/s}."""
    command = [binary, "bench", "-m", str(path), "--pp", str(args.pp), "--tg", str(args.tg),
               "--reps", "1", "--threads", str(args.threads), "--batch", "1", "--depth", "0",
               "--json"]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=900).stdout
    result = {}
    for line in out.splitlines():
        row = json.loads(line)
        rows = row if isinstance(row, list) else row.get("rows", [row])
        for entry in rows:
            test = entry.get("test", "")
            if test.startswith("pp"):
                result["pp"] = entry["tok_s"]
            elif test.startswith("tg"):
                result["tg"] = entry["tok_s"]
    return result


PEER_PROGRAM = """
import json, sys, time
from llama_cpp import Llama
path, pp, tg, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
model = Llama(path, n_ctx=pp + tg + 64, n_batch=512, n_ubatch=512, n_threads=threads,
              n_threads_batch=threads, verbose=False)
vocab = model.n_vocab()
prompt = [(i * 7919 + 13) % (vocab - 10) + 5 for i in range(pp)]
model.eval(prompt[:32])
model.reset()
began = time.perf_counter()
model.eval(prompt)
prefill = time.perf_counter() - began
model.reset()
model.eval(prompt[:1])
began = time.perf_counter()
for i in range(tg):
    model.eval([prompt[i % pp]])
decode = time.perf_counter() - began
print(json.dumps({"pp": pp / prefill, "tg": tg / decode}))
"""


def run_llama_cpp(python, path, args):
    out = subprocess.run([python, "-c", PEER_PROGRAM, str(path), str(args.pp), str(args.tg),
                          str(args.threads)],
                         check=True, capture_output=True, text=True, timeout=1800).stdout
    return json.loads(out.splitlines()[-1])


def median(values):
    return statistics.median(values) if values else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path, help="GGUF files")
    parser.add_argument("--ruvllm", required=True, help="the ruvllm binary")
    parser.add_argument("--peer-python", default=sys.executable,
                        help="Python with llama-cpp-python (default: this one)")
    parser.add_argument("--pp", type=int, default=512, help="prefill tokens (default 512)")
    parser.add_argument("--tg", type=int, default=64, help="decoded tokens (default 64)")
    parser.add_argument("--reps", type=int, default=3, help="alternating repetitions (default 3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()

    print(f"| file | test | ruvllm tok/s | llama.cpp tok/s | ratio |")
    print(f"|---|---|---|---|---|")
    for path in args.models:
        ours = {"pp": [], "tg": []}
        peer = {"pp": [], "tg": []}
        problem = None
        for _ in range(args.reps):
            row = run_ruvllm(args.ruvllm, path, args)
            for key in ours:
                ours[key].append(row[key])
            if problem is None:
                try:
                    row = run_llama_cpp(args.peer_python, path, args)
                    for key in peer:
                        peer[key].append(row[key])
                except subprocess.CalledProcessError as error:
                    problem = (error.stderr.strip().splitlines() or ["failed"])[-1]
            time.sleep(1)
        for key, label in (("pp", f"prefill {args.pp}"), ("tg", f"decode {args.tg}, depth 0")):
            mine = median(ours[key])
            if problem:
                print(f"| {path.name} | {label} | {mine:.1f} | could not run: {problem} | |")
            else:
                theirs = median(peer[key])
                print(f"| {path.name} | {label} | {mine:.1f} | {theirs:.1f} | {mine / theirs:.2f} |")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
