#!/usr/bin/env python3
"""ruvllm and its peers on the same files, in one run, alternating, so that a noisy machine is noisy
for all. Prints a Markdown table: prefill and decode speed of each, and ours over theirs.

    compare_peers.py --ruvllm build/edge/ruvllm --peer llama_cpp=PYTHON [--peer openvino=PYTHON]
        [--peer mistralrs=PYTHON] [--pp 512,2048] [--tg 64] [--depth 0,2048] [--reps 3] OUT/*.gguf

Needs: a built `ruvllm`, GGUF files (tools/bench/make_model.py --shape llama-1b OUT --gguf
bf16,q8_0,q4_0 writes them), and for each peer a Python that has its package: `--install FOLDER`
makes one environment each in FOLDER from PyPI (llama.cpp is compiled for this machine: minutes) and
uses them. A peer that cannot run is listed with the reason. The peers' programs: tools/bench/peers/.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

PEERS = {"llama_cpp": "llama-cpp-python", "openvino": "openvino-genai", "mistralrs": "mistralrs"}
PROGRAMS = pathlib.Path(__file__).resolve().parent / "peers"


def run_ruvllm(binary, path, args, depth):
    """-> {(test, tokens): tok/s} of one run of `ruvllm bench`."""
    command = [binary, "bench", "-m", str(path), "--pp", ",".join(map(str, prefills(args, depth))),
               "--tg", str(args.tg), "--reps", "1", "--threads", str(args.threads), "--batch", "1",
               "--depth", str(depth), "--max-seq-len", str(context_of(args)), "--json"]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=1800).stdout
    return {(row["test"][:2], int(row["test"][2:])): row["tok_s"] for row in json.loads(out)["rows"]}


def run_peer(name, python, path, args, depth):
    """-> {(test, tokens): tok/s}, the peer's version."""
    result, version = {}, ""
    for i, tokens in enumerate(prefills(args, depth)):
        command = [python, str(PROGRAMS / f"{name}_peer.py"), str(path), "--pp", str(tokens), "--tg",
                   str(0 if i else args.tg), "--depth", str(depth), "--threads", str(args.threads)]
        out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=1800).stdout
        answer = json.loads(out.splitlines()[-1])
        version = answer["version"]
        if answer["pp"]:
            result["pp", tokens] = answer["pp"]
        if answer["tg"]:
            result["tg", args.tg] = answer["tg"]
    return result, version


def prefills(args, depth):
    """Prompts are measured at depth 0."""
    return [0] if depth else args.pp


def context_of(args):
    return max(args.depth) + max(*args.pp, args.tg) + 64


def install(folder, names):
    """One environment for each peer; -> {name: its Python}, or why there is none."""
    pythons = {}
    for name in names:
        python = folder / name / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        done = subprocess.run([python, "-m", "pip", "install", "-q", PEERS[name], "numpy"],
                              capture_output=True, text=True)
        if done.returncode != 0:
            print(f"{name}: could not be installed: {last_line(done.stderr)}", file=sys.stderr)
        pythons[name] = str(python)
    return pythons


def last_line(text):
    return (text.strip().splitlines() or ["failed"])[-1][:160]


def peer_of(text):
    name, _, python = text.partition("=")
    if name not in PEERS or not python:
        raise argparse.ArgumentTypeError(f"{text}: expected one of {', '.join(PEERS)}, =, and a Python")
    return name, python


def numbers(text):
    return [int(part) for part in text.split(",")]


def compare(path, args, peers):
    """Prints the rows of a file."""
    ours, theirs, versions, problems = {}, {name: {} for name in peers}, {}, {}
    for _ in range(args.reps):
        for depth in args.depth:
            for test, speed in run_ruvllm(args.ruvllm, path, args, depth).items():
                ours.setdefault((*test, depth), []).append(speed)
            for name, python in peers.items():
                if name in problems:
                    continue
                try:
                    result, versions[name] = run_peer(name, python, path, args, depth)
                except (subprocess.SubprocessError, OSError) as error:
                    problems[name] = last_line(getattr(error, "stderr", None) or str(error))
                    continue
                for test, speed in result.items():
                    theirs[name].setdefault((*test, depth), []).append(speed)
            time.sleep(1)
    for test, speeds in ours.items():
        mine = statistics.median(speeds)
        kind = "prefill" if test[0] == "pp" else "decode"
        cells = [path.name, f"{kind} {test[1]}" + (f", depth {test[2]}" if kind == "decode" else ""), f"{mine:.1f}"]
        for name in peers:
            speeds = theirs[name].get(test)
            if not speeds:
                cells.append("could not run" if name in problems else "not measured")
            else:
                cells.append(f"{statistics.median(speeds):.1f} ({mine / statistics.median(speeds):.2f})")
        print("| " + " | ".join(cells) + " |", flush=True)
    for name, version in versions.items():
        print(f"<!-- {path.name}, {name}: {version} -->", flush=True)
    for name, why in problems.items():
        print(f"<!-- {path.name}, {name}: {why} -->", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path, help="GGUF files")
    parser.add_argument("--ruvllm", required=True, help="the ruvllm binary")
    parser.add_argument("--peer", type=peer_of, action="append", default=[], metavar="NAME=PYTHON",
                        help=f"a peer ({', '.join(PEERS)}) and a Python that has its package")
    parser.add_argument("--install", type=pathlib.Path, metavar="FOLDER",
                        help="make environments of all peers there, from PyPI")
    parser.add_argument("--pp", type=numbers, default=[512], help="prefill tokens (default 512)")
    parser.add_argument("--tg", type=int, default=64, help="decoded tokens (default 64)")
    parser.add_argument("--depth", type=numbers, default=[0], help="tokens before the decoded ones (default 0)")
    parser.add_argument("--reps", type=int, default=3, help="alternating repetitions (default 3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    peers = install(args.install, PEERS) if args.install else {}
    peers |= dict(args.peer)

    print("| file | test | ruvllm tok/s | " + " | ".join(f"{name} (ruvllm / it)" for name in peers) + " |")
    print("|---|---|---|" + "---|" * len(peers), flush=True)
    for path in args.models:
        compare(path, args, peers)


if __name__ == "__main__":
    main()
