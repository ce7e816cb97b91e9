#!/usr/bin/env python3
"""What quantization costs: perplexity and KL divergence of a model at several --isq settings against
the model itself, on the same text, with paired 95 % intervals.

    quality.py RUVLLM --model demo --model ../shared/golden/stories260K/hf [--quick] [--out T.md]

Books of ../shared/data/text (RUVLLM_SHARED names another folder): calibrated on o-henry_*, tested on
the books that nobody trains or calibrates on. --in-domain instead lets each model write its own
text (temperature 1), the only text that a model as small as stories260K is good at: one half is
calibrated on, the other tested on, with other seeds.

Every difference is paired over chunks of text (bootstrap, 4000 draws). "of RTN's" is the part of
the excess of ln(ppl) over the model itself that a method takes away from rounding at equal bits.
Exit status 1 when a required order does not hold (--check): AWQ and GPTQ below RTN at 4, 3 and 2
bits of equal groups, 8 bits within 0.1 % and 2e-3, 2-bit GPTQ with a tenth of RTN's divergence.
"""

import argparse
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
SHARED = pathlib.Path(os.environ.get("RUVLLM_SHARED", SOURCE.parent / "shared"))
BOOKS = ("arthur-conan-doyle_*", "jane-austen_*")
DRAWS = 4000

QUICK = ["rtn8", "rtn4:g32", "awq4:g32", "gptq4:g32", "rtn2:g32", "gptq2:g32"]
FULL = ["rtn8", "rtn8:g64", "smoothquant8",
        "rtn4:g32", "awq4:g32", "gptq4:g32", "rtn4:g64", "awq4:g64", "gptq4:g64",
        "rtn4:g128", "awq4:g128", "gptq4:g128",
        "rtn3:g32", "awq3:g32", "gptq3:g32", "rtn3:g64", "awq3:g64", "gptq3:g64",
        "rtn2:g16", "awq2:g16", "gptq2:g16", "rtn2:g32", "awq2:g32", "gptq2:g32", "gptq2:g32:rot"]


def run(args):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, args))}: {done.stderr.strip()[-500:]}")
    return done


def book_texts(folder, bytes_per_book):
    """The test text (pieces from the middle of each book) and the calibration text."""
    text = ""
    for pattern in BOOKS:
        for path in sorted((SHARED / "data" / "text").glob(pattern)):
            whole = path.read_bytes()
            begin = max(0, (len(whole) - bytes_per_book) // 2)
            piece = whole[begin:begin + bytes_per_book].decode("utf-8", "ignore")
            text += piece[piece.find("\n") + 1:] + "\n"
    test = folder / "test.txt"
    test.write_text(text)
    calibration = sorted((SHARED / "data" / "text").glob("o-henry_*"))
    if not text or not calibration:
        sys.exit(f"no books in {SHARED / 'data' / 'text'}")
    return test, calibration[0]


def written_texts(binary, model, folder, count):
    """Two texts that the model wrote, with different seeds."""
    paths = []
    for part, base in (("test", 1), ("calibration", 100001)):
        text = []
        for i in range(count):
            done = run([binary, "generate", "-m", model, "--dtype", "f32", "--temperature", 1,
                        "--top-k", 0, "--top-p", 1, "--repetition-penalty", 1, "-n", 250, "--seed",
                        base + i, "-p", "Once upon a time"])
            text.append(done.stdout.strip())
        path = folder / f"{part}.txt"
        path.write_text("\n".join(text) + "\n")
        paths.append(path)
    return paths


def interval(values, weights=None):
    """Mean and its 95 % interval by bootstrap over the chunks."""
    rng = random.Random(1)
    count = len(values)
    means = sorted(sum(rng.choices(values, k=count)) / count for _ in range(DRAWS))
    return sum(values) / count, means[int(0.025 * DRAWS)], means[int(0.975 * DRAWS)]


def share_removed(excess_rtn, excess):
    """1 - excess / RTN's excess, with its interval: both from the same draws."""
    rng = random.Random(2)
    count = len(excess)
    shares = []
    for _ in range(DRAWS):
        picks = rng.choices(range(count), k=count)
        base = sum(excess_rtn[i] for i in picks)
        if base > 0:
            shares.append(1 - sum(excess[i] for i in picks) / base)
    shares.sort()
    whole = 1 - sum(excess) / sum(excess_rtn)
    return whole, shares[int(0.025 * len(shares))], shares[int(0.975 * len(shares))]


def evaluate(args, model, isq, test, calibration, work):
    start = time.time()
    saved = run([args.binary, "quantize", "-m", model, "--isq", isq, "--calibration", calibration,
                 "--calibration-samples", args.samples, "-o", work / "model", "--json"])
    facts = json.loads(saved.stdout)
    seconds = time.time() - start
    done = run([args.binary, "eval", "-m", work / "model", "--reference", model, "--dtype", "f32",
                "--text", test, "--ctx", args.ctx, "--json", *args.eval_flags])
    result = json.loads(done.stdout)
    for path in (work / "model").iterdir():
        path.unlink()
    (work / "model").rmdir()
    result["excess"] = [a - b for a, b in zip(result["chunk_nll"], result["chunk_reference_nll"])]
    result.update(seconds=seconds, bits=facts["bits_per_weight"],
                  peak=facts["peak_rss_bytes"] / 2**20, isq=isq)
    return result


def percent(value):
    return f"{100 * math.expm1(value):+.2f}"


def rows_of(results):
    """Lines of the table, and for --check what they say."""
    rounding = {}
    for r in results:
        name = r["isq"]
        if name.startswith("rtn"):
            rounding[name[3:]] = r
    for r in results:
        mean, low, high = interval(r["excess"])
        key = r["isq"].lstrip("abcdefghijklmnopqrstuvwxyz").removesuffix(":rot")
        base = rounding.get(key)
        removed = vs = ""
        if base is not None and base is not r:
            share = share_removed(base["excess"], r["excess"])
            removed = f"{100 * share[0]:.0f} % [{100 * share[1]:.0f}, {100 * share[2]:.0f}]"
            d = interval([a - b for a, b in zip(r["excess"], base["excess"])])
            vs = f"{percent(d[0])} % [{percent(d[1])}, {percent(d[2])}]"
            r["share"], r["against_rtn"] = share, d
            r["kld_ratio"] = base["kld_mean"] / r["kld_mean"]
        yield (f"| {r['isq']} | {r['bits']:.2f} | {percent(mean)} % [{percent(low)}, "
               f"{percent(high)}] | {r['kld_mean']:.5f} | {r['same_top1']:.1f} % | {removed} | {vs} "
               f"| {r['seconds']:.1f} | {r['peak']:.0f} |")


def check(model, results):
    faults = []
    for r in results:
        name = r["isq"]
        if name.startswith("rtn8"):
            if r["ln_ppl_ratio"] > 0.001 or r["kld_mean"] > 2e-3:
                faults.append(f"{name}: more than 0.1 % or 2e-3")
        elif name.startswith(("awq", "gptq")) and "against_rtn" in r:
            if r["against_rtn"][2] >= 0:
                faults.append(f"{name}: not below rounding at equal bits (95 %)")
        if name.startswith("gptq2") and r.get("kld_ratio", 10) < 10:
            faults.append(f"{name}: {r['kld_ratio']:.1f} times below rounding's divergence, not 10")
    return [f"{model}: {f}" for f in faults]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("binary")
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--isq", action="append", help="these instead of the usual ones")
    parser.add_argument("--quick", action="store_true", help="a minute: few settings, less text")
    parser.add_argument("--in-domain", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--ctx", type=int, default=256)
    parser.add_argument("--samples", type=int, default=64, help="pieces of 512 tokens to calibrate")
    parser.add_argument("--bytes", type=int, help="of each book (default 160000; quick 40000)")
    parser.add_argument("--out", help="the table as Markdown")
    args = parser.parse_args()
    args.eval_flags = []
    specs = args.isq or (QUICK if args.quick else FULL)
    size = args.bytes or (40000 if args.quick else 160000)
    lines, faults = [], []
    for model in args.model:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            if args.in_domain:
                test, calibration = written_texts(args.binary, model, folder, max(40, size // 1000))
            else:
                test, calibration = book_texts(folder, size)
            results = []
            for isq in specs:
                results.append(evaluate(args, model, isq, test, calibration, folder))
                r = results[-1]
                print(f"{model} {isq}: {percent(r['ln_ppl_ratio'])} %, kld {r['kld_mean']:.5f}, "
                      f"{r['seconds']:.1f} s", file=sys.stderr, flush=True)
        base = math.exp(sum(results[0]["chunk_reference_nll"]) / len(results[0]["chunk_nll"]))
        lines += [f"### {pathlib.Path(model).name if model == 'demo' else model}: perplexity "
                  f"{base:.3f} of its own, {results[0]['tokens']} scored tokens", "",
                  "| --isq | bits per weight | perplexity | KL divergence | same best token | "
                  "removed of RTN's | against RTN | seconds | peak MiB |",
                  "|---|---|---|---|---|---|---|---|---|", *rows_of(results), ""]
        faults += check(model, results)
    text = "\n".join(lines)
    print(text)
    if args.out:
        pathlib.Path(args.out).write_text(text)
    if args.check and faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
