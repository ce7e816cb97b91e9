#!/usr/bin/env python3
"""What quantization costs: perplexity and KL divergence of a model at several --isq settings against
the model itself, on the same text, with paired 95 % intervals.

    quality.py RUVLLM --model models/demo --stories ../shared/golden/stories260K/hf [--quick]

--model: measured on books of ../shared/data/text (RUVLLM_SHARED names another folder): calibrated on
o-henry_*, tested on the books that nobody trains or calibrates on. --stories: measured on stories that
the model wrote (temperature 1), the only text that a model as small as stories260K is good at: one half
is calibrated on, the other tested on, with other seeds. Both may be repeated.

Every difference is paired over chunks of text (bootstrap, 4000 draws). "Removed of RTN's" is the part
of the excess of ln(ppl) over the model itself that a method takes away from rounding at equal bits and
groups; auto, and what has patterns, is held against the rounding that has most bits of those that have no
more than it.
--results FILE keeps what was measured, one line each, and goes on from there the next time.

Exit status 1 with --check when a required order does not hold: AWQ and GPTQ below RTN at 4, 3 and 2
bits of equal groups (the interval's upper end below 0), 8 bits within 0.1 % and 2e-3, 2-bit GPTQ with a
tenth of RTN's divergence. 2 when the arguments are of no use.
"""

import argparse
import json
import math
import os
import pathlib
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
SHARED = pathlib.Path(os.environ.get("RUVLLM_SHARED", SOURCE.parent / "shared"))
BOOKS = ("arthur-conan-doyle_*", "jane-austen_*")
BEGINNING = "Once upon a time"
DRAWS = 4000
LEAST_CHUNKS = 20  # fewer say nothing about an interval

QUICK = ["rtn8", "rtn4:g32", "awq4:g32", "gptq4:g32", "rtn2:g32", "gptq2:g32", "auto:2.6"]
FULL = ["rtn8", "awq8", "gptq8", "smoothquant8",
        *(f"{method}{bits}:g{group}" for bits, groups in ((4, (32, 64, 128)), (3, (32, 64, 128)),
                                                          (2, (16, 32, 64)))
          for group in groups for method in ("rtn", "awq", "gptq")),
        "gptq2:g32:rot", "auto:2.6", "auto:2.6:rot",
        *(f"{method}{bits}:g32:tuned" for bits in (4, 3, 2) for method in ("rtn", "gptq")),
        "auto:2.6:tuned"]
SPEC = re.compile(r"(((rtn|awq|gptq)[2348]|(smoothquant|sq)8)|auto:\d+(\.\d+)?)(:[a-z0-9]+)*(,.+)?")


def run(args):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, args))}: {done.stderr.strip()[-500:]}")
    return done


def book_texts(folder, bytes_per_book):
    """The test text (pieces from the middle of each book) and the calibration text."""
    library = SHARED / "data" / "text"
    text = ""
    for pattern in BOOKS:
        books = sorted(library.glob(pattern))
        if not books:
            sys.exit(f"{library}: no book {pattern}")
        for path in books:
            whole = path.read_bytes()
            if len(whole) < bytes_per_book:
                sys.exit(f"{path}: {len(whole)} bytes, --bytes asks for {bytes_per_book}")
            begin = (len(whole) - bytes_per_book) // 2
            piece = whole[begin:begin + bytes_per_book].decode("utf-8", "ignore")
            text += piece[piece.find("\n") + 1:] + "\n"
    test = folder / "test.txt"
    test.write_text(text)
    calibration = sorted(library.glob("o-henry_*"))
    if not calibration:
        sys.exit(f"{library}: no book o-henry_*")
    return test, calibration[0]


def written_texts(args, model, folder):
    """Two texts that the model wrote, with different seeds."""
    paths = []
    for part, base in (("test", 1), ("calibration", 100001)):
        text = []
        for i in range(args.stories_each):
            done = run([args.binary, "run", "-m", model, "--dtype", "f32", "--raw", "--temperature", 1,
                        "--top-k", 0, "--top-p", 1, "--repetition-penalty", 1, "-n", 250, "--seed",
                        base + i, "-p", BEGINNING, *args.common])
            text.append(BEGINNING + done.stdout.strip("\n"))
        path = folder / f"{part}.txt"
        path.write_text("\n".join(text) + "\n")
        paths.append(path)
    return paths


def interval(values):
    """Mean and its 95 % interval by bootstrap over the chunks."""
    rng = random.Random(1)
    count = len(values)
    means = sorted(sum(rng.choices(values, k=count)) / count for _ in range(DRAWS))
    return sum(values) / count, means[int(0.025 * DRAWS)], means[int(0.975 * DRAWS)]


def share_removed(excess_rtn, excess):
    """1 - excess / RTN's excess, with its interval, both from the same draws; None where RTN's excess
    is not above 0 in nearly all draws: there is nothing to remove a share of."""
    rng = random.Random(2)
    count = len(excess)
    shares = []
    for _ in range(DRAWS):
        picks = rng.choices(range(count), k=count)
        base = sum(excess_rtn[i] for i in picks)
        if base > 0:
            shares.append(1 - sum(excess[i] for i in picks) / base)
    if len(shares) < 0.975 * DRAWS:
        return None
    shares.sort()
    whole = 1 - sum(excess) / sum(excess_rtn)
    return whole, shares[int(0.025 * len(shares))], shares[int(0.975 * len(shares))]


def processor_seconds():
    """Of the programs that were run so far; what else the machine does hardly changes it."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def evaluate(args, model, isq, test, calibration, work):
    saved = work / "model"
    shutil.rmtree(saved, ignore_errors=True)
    start = processor_seconds()
    facts = json.loads(run([args.binary, "quantize", "-m", model, "--isq", isq, "--calibration",
                            calibration, "--calibration-samples", args.samples, "-o", saved, "--json",
                            *args.common]).stdout)
    seconds = processor_seconds() - start
    result = json.loads(run([args.binary, "eval", "-m", saved, "--reference", model, "--dtype", "f32",
                             "--text", test, "--ctx", args.ctx, "--json", *args.common]).stdout)
    if len(result["chunk_nll"]) < LEAST_CHUNKS:
        sys.exit(f"{model}: {len(result['chunk_nll'])} chunks of {args.ctx} tokens, intervals need "
                 f"{LEAST_CHUNKS}: a smaller --ctx or more --bytes")
    result.update(seconds=seconds, bits=facts["bits_per_weight"], isq=isq, model=str(model),
                  peak=facts["peak_rss_bytes"] / 2**20)
    return result


def measure(args, model, texts, specs, known, folder):
    """Results for each of specs, in order; those of `known` are not measured again."""
    results = []
    for isq in specs:
        r = known.get((str(model), isq))
        if r is None:
            r = evaluate(args, model, isq, *texts, folder)
            if args.results:
                with open(args.results, "a", encoding="utf-8") as file:
                    file.write(json.dumps(r) + "\n")
        r["excess"] = [a - b for a, b in zip(r["chunk_nll"], r["chunk_reference_nll"])]
        results.append(r)
        print(f"{model} {isq}: {percent(r['ln_ppl_ratio'])} %, kld {r['kld_mean']:.5f}, "
              f"{r['seconds']:.1f} s", file=sys.stderr, flush=True)
    return results


def percent(value):
    return f"{100 * math.expm1(value):+.2f}"


def rounding_of(result, results):
    """What the result is held against: rounding at equal bits and groups, or None."""
    rounding = {r["isq"]: r for r in results
                if r["isq"].startswith("rtn") and ":tuned" not in r["isq"]}
    if result["isq"].startswith("auto") or "," in result["isq"]:
        narrower = [r for r in rounding.values() if r["bits"] <= result["bits"]]
        return max(narrower, key=lambda r: r["bits"], default=None)
    key = "rtn" + re.sub(r":(rot|tuned\d*)", "", result["isq"].lstrip("abcdefghijklmnopqrstuvwxyz"))
    return rounding.get(key) if result["isq"] not in rounding else None


def rows_of(results):
    """Lines of the table, and for --check what they say."""
    for r in results:
        mean, low, high = interval(r["excess"])
        base = rounding_of(r, results)
        removed = vs = ""
        if base is not None:
            share = share_removed(base["excess"], r["excess"])
            if share is not None and not base["isq"].startswith("rtn8"):  # that leaves nothing
                removed = f"{100 * share[0]:.0f} % [{100 * share[1]:.0f}, {100 * share[2]:.0f}]"
            r["against_rtn"] = d = interval([a - b for a, b in zip(r["excess"], base["excess"])])
            vs = f"{percent(d[0])} % [{percent(d[1])}, {percent(d[2])}]"
            if base["isq"][3:4] != r["isq"].lstrip("abcdefghijklmnopqrstuvwxyz")[:1]:
                vs += f" ({base['isq']})"
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
        elif re.match("(awq|gptq)[432]", name) and "against_rtn" in r:
            if r["against_rtn"][2] >= 0:
                faults.append(f"{name}: not below rounding at equal bits (95 %)")
        if name.startswith("gptq2") and r.get("kld_ratio", 10) < 10:
            faults.append(f"{name}: {r['kld_ratio']:.1f} times below rounding's divergence, not 10")
    return [f"{model}: {f}" for f in faults]


def known_results(path):
    """What an earlier run left in --results."""
    if not path or not os.path.exists(path):
        return {}
    known = {}
    for number, line in enumerate(pathlib.Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            r = json.loads(line)
            known[(r["model"], r["isq"])] = r
        except (json.JSONDecodeError, KeyError, TypeError):
            sys.exit(f"{path}: line {number} is no result")
    return known


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("binary")
    parser.add_argument("--model", action="append", default=[], help="to be measured on books")
    parser.add_argument("--stories", action="append", default=[],
                        help="a model to be measured on stories that it wrote")
    parser.add_argument("--isq", action="append", help="these instead of the usual ones")
    parser.add_argument("--quick", action="store_true", help="minutes: few settings, less text")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--ctx", type=int, default=256)
    parser.add_argument("--samples", type=int, default=64, help="pieces of 512 tokens to calibrate")
    parser.add_argument("--bytes", type=int, help="of each book (default 160000; quick 40000)")
    parser.add_argument("--stories-each", type=int, help="test and calibration (default 100; quick 40)")
    parser.add_argument("--threads", type=int, default=0, help="0: the physical cores")
    parser.add_argument("--results", help="a file of what was measured, to go on from")
    parser.add_argument("--out", help="the table as Markdown")
    args = parser.parse_args()
    args.bytes = args.bytes or (40000 if args.quick else 160000)
    args.stories_each = args.stories_each or (40 if args.quick else 100)
    args.common = ["--threads", args.threads]
    args.specs = args.isq or (QUICK if args.quick else FULL)
    if shutil.which(args.binary) is None:
        parser.error(f"{args.binary}: no program")
    if not args.model and not args.stories:
        parser.error("which model? --model or --stories")
    for model in args.model + args.stories:
        if not os.path.exists(model):
            parser.error(f"{model}: no such model")
    for isq in args.specs:
        if SPEC.fullmatch(isq) is None:
            parser.error(f"--isq {isq}: expected such as awq4:g32 or auto:2.6")
    for name, least in (("ctx", 8), ("samples", 1), ("bytes", 10000), ("stories_each", 10),
                        ("threads", 0)):
        if getattr(args, name) < least:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: at least {least}")
    return args


def main():
    args = parse_args()
    known = known_results(args.results)
    lines, faults = [], []
    for model, own in [(m, False) for m in args.model] + [(m, True) for m in args.stories]:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            missing = any((model, isq) not in known for isq in args.specs)
            texts = ((None, None) if not missing else written_texts(args, model, folder) if own
                     else book_texts(folder, args.bytes))
            results = measure(args, model, texts, args.specs, known, folder)
        base = math.exp(sum(results[0]["chunk_reference_nll"]) / len(results[0]["chunk_nll"]))
        lines += [f"### {model} on {'its own stories' if own else 'books'}: perplexity {base:.3f}, "
                  f"{results[0]['tokens']} scored tokens", "",
                  "| `--isq` | bits per weight | perplexity | KL divergence | same best token | "
                  "removed of RTN's | against RTN | processor seconds | peak MiB |",
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
