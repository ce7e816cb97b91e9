#!/usr/bin/env python3
"""Encoding speed beside the `tokenizers` Python package, both on one thread, in one run, CPU time.

Usage: compare_tokenizers.py --program BUILD/tests/tokenizer_speed --tokenizers DIR --texts DIR [--bytes N]
DIR of tokenizers: a folder per tokenizer with its tokenizer.json. The two must give the same ids.
Needs: pip install tokenizers.
"""
import argparse
import glob
import json
import os
import struct
import subprocess
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"


def fnv(ids):
    value = 0xCBF29CE484222325
    for byte in struct.pack(f"<{len(ids)}I", *ids):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def measure_package(path, text, repeats):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(path)
    best, ids = 1e30, []
    for _ in range(repeats):
        begin = time.process_time()
        encoding = tokenizer.encode(text, add_special_tokens=False)
        best = min(best, time.process_time() - begin)
        ids = encoding.ids
    return best, ids


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--tokenizers", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--bytes", type=int, default=2_000_000, help="of the texts, joined")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="names, separated by commas")
    arguments = parser.parse_args()
    text = ""
    for path in sorted(glob.glob(os.path.join(arguments.texts, "*.txt"))):
        with open(path, encoding="utf-8", newline="") as file:
            text += file.read()
        if len(text) > arguments.bytes:
            break
    text = text.encode()[:arguments.bytes].decode(errors="ignore")
    with tempfile.NamedTemporaryFile("wb", suffix=".txt") as file:
        file.write(text.encode())
        file.flush()
        print(f"{len(text.encode())} bytes; MB/s, one thread")
        print(f"{'tokenizer':<20} {'package':>9} {'ruvllm':>9} {'ratio':>7}  ids")
        for path in sorted(glob.glob(os.path.join(arguments.tokenizers, "*", "tokenizer.json"))):
            name = os.path.basename(os.path.dirname(path))
            if arguments.only and name not in arguments.only.split(","):
                continue
            theirs, ids = measure_package(path, text, arguments.repeats)
            output = subprocess.check_output([arguments.program, path, file.name, str(arguments.repeats)])
            ours = json.loads(output)
            megabytes = len(text.encode()) / 1e6
            same = ours["hash"] == fnv(ids) and ours["tokens"] == len(ids)
            print(f"{name:<20} {megabytes / theirs:9.2f} {megabytes / ours['seconds']:9.2f} "
                  f"{theirs / ours['seconds']:7.1f}  {'same' if same else 'DIFFERENT'}", flush=True)


if __name__ == "__main__":
    main()
