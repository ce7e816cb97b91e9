#!/usr/bin/env python3
"""What HTTP costs: the same requests through the C++ API and through `ruvllm serve`, in turn, and
through a peer's server where one is named.

    serve_throughput.py --ruvllm build/server/ruvllm -m MODEL [--clients 64] [--runs 2]
        [--prompt 32-512] [--answer 32-256] [--peer 'llama-server -m X.gguf -np 64 -c 65536 --port {port}']
        [-- FLAGS OF BOTH RUVLLM COMMANDS]

A run draws requests of uniform lengths (a seed of its own for each run; nothing is shared between
prompts), sends them with --clients open at a time, every token streamed, temperature 0, no end
before the last token, and counts: tokens per second, processor time of the serving process, time to
the first token, time between tokens, memory. "waited" is how long the server's thread that waited
most was ready to run and had no processor: where it is not small beside the run, other programs
were measured. Standard library only; 127.0.0.1 only.
"""

import argparse
import json
import re
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from http_load import body_of, cpu_seconds, draw_trace, memory_mib, run_clients, summary, waited_seconds


def length_range(text):
    low, _, high = text.partition("-")
    low, high = int(low), int(high or low)
    if not 1 <= low <= high:
        raise argparse.ArgumentTypeError(f"{text}: expected LOW-HIGH")
    return low, high


def run_bench(args, trace_path):
    """The requests through LlmBackend: `ruvllm bench --trace`."""
    command = [args.ruvllm, "bench", "-m", args.model, "--backend", "serving", "--trace", trace_path,
               "--batch", str(args.clients), "--pp", "0", "--tg", "0", "--json", *args.flags]
    waited = None
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log)
        while process.poll() is None:  # its last numbers are gone with it
            waited = waited_seconds(process.pid) or waited
            time.sleep(0.2)
        out.seek(0)
        log.seek(0)
        if process.returncode != 0:
            sys.exit(f"{shlex.join(command)}\n{log.read()}")
        row = json.load(out)["rows"][0]
    return row | {"waited_seconds": waited} | {"errors": [] if row["completed"] == row["requests"] else ["not all completed"],
                  "peak_mib": row["rss_bytes"] / 2**20}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, process, seconds):
    """Until a completion of one token is answered."""
    end = time.monotonic() + seconds
    body = json.dumps({"model": "m", "prompt": [300, 301], "max_tokens": 1}).encode()
    names = urllib.request.Request(f"http://127.0.0.1:{port}/v1/models")
    while time.monotonic() < end:
        if process.poll() is not None:
            return None
        try:
            with urllib.request.urlopen(names, timeout=5) as response:
                name = json.load(response)["data"][0]["id"]
            body = json.dumps({"model": name, "prompt": [300, 301], "max_tokens": 1}).encode()
            request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", body,
                                             {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60):
                return name
        except (OSError, KeyError, IndexError, ValueError):
            time.sleep(0.05)
    return None


def run_server(command, args, trace):
    """The requests over HTTP, to a server started for them; `{port}` in its command is replaced."""
    port = free_port()
    command = [part.replace("{port}", str(port)) for part in command]
    with tempfile.TemporaryFile() as log:
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            name = wait_for(port, process, args.ready)
            if name is None:
                log.seek(0)
                sys.exit(f"{shlex.join(command)}: no answer within {args.ready} s\n"
                         f"{log.read()[-2000:].decode(errors='replace')}")
            ready = time.monotonic() - began
            before = cpu_seconds(process.pid)
            waited = waited_seconds(process.pid)
            bodies = [body_of(request, name) for request in trace]
            answers, seconds = run_clients("127.0.0.1", port, bodies, args.clients)
            cpu = cpu_seconds(process.pid) - before
            if waited is not None:
                waited = waited_seconds(process.pid) - waited
            peak = memory_mib(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return summary(answers, seconds) | {"cpu_seconds": cpu, "waited_seconds": waited,
                                        "peak_mib": peak, "ready_seconds": ready}


def line_of(name, row):
    milliseconds = [1e3 * (row[key] or 0) for key in ("token_p50_seconds", "token_p99_seconds")]
    text = (f"{name:10} {row['tok_s']:9.1f} tok/s  {row['completed']} of {row['requests']} in "
            f"{row['seconds']:7.2f} s  processors {row['cpu_seconds']:7.2f} s  first token "
            f"{row['first_token_p50_seconds'] or 0:.2f} / {row['first_token_p99_seconds'] or 0:.2f} s  "
            f"between {milliseconds[0]:.1f} / {milliseconds[1]:.1f} ms  peak {row['peak_mib']:.0f} MiB")
    if row.get("waited_seconds") is not None:
        text += f"  waited {row['waited_seconds']:.1f} s"
    if "ready_seconds" in row:
        text += f"  ready in {row['ready_seconds']:.2f} s"
    return text + "".join(f"\n           error: {error}" for error in row["errors"])


def compare(runs):
    """Ratios of medians over the runs."""
    median = lambda name, value: statistics.median(value(run[name]) for run in runs)
    per_token = lambda row: row["cpu_seconds"] / max(1, row["output_tokens"])
    speed = {name: median(name, lambda row: row["tok_s"]) for name in runs[0]}
    report = {"http_to_api_tok_s": speed["http"] / speed["api"],
              "http_to_api_processor_time": median("http", per_token) / median("api", per_token)}
    if "peer" in speed:
        report["http_to_peer_tok_s"] = speed["http"] / speed["peer"]
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ruvllm", required=True, help="the command")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--clients", type=int, default=64, help="open at a time")
    parser.add_argument("--requests", type=int, default=0, help="in all; default: one per client")
    parser.add_argument("--prompt", type=length_range, default=(32, 512), help="tokens, LOW-HIGH")
    parser.add_argument("--answer", type=length_range, default=(32, 256), help="tokens, LOW-HIGH")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peer", default="", help="command of another server, {port} in it")
    parser.add_argument("--ready", type=float, default=300, help="seconds a server may take to start")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    argv = sys.argv[1:]
    both = argv.index("--") if "--" in argv else len(argv)
    args = parser.parse_args(argv[:both])
    args.flags = argv[both + 1:]
    info = json.loads(subprocess.run([args.ruvllm, "info", args.model, "--json"], check=True,
                                     capture_output=True, text=True).stdout)
    serve = [args.ruvllm, "serve", "-m", args.model, "--backend", "serving", "--port", "{port}",
             "--no-access-log", "--max-num-queued-reqs", str(max(1024, args.clients)), *args.flags]
    runs = []
    for number in range(args.runs):
        trace = draw_trace(args.requests or args.clients, args.prompt, args.answer,
                           info["config"]["vocab_size"], args.seed + number)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(trace, file)
            file.flush()
            run = {"api": run_bench(args, file.name)}
        run["http"] = run_server(serve, args, trace)
        if args.peer:
            run["peer"] = run_server(shlex.split(args.peer), args, trace)
        if not args.json:
            for name, row in run.items():
                print(line_of(name, row), flush=True)
        runs.append(run)
    report = compare(runs)
    if args.json:
        print(json.dumps({"runs": runs, **report}))
    else:
        print(f"HTTP beside the C++ API: {100 * report['http_to_api_tok_s']:.1f} % of its tokens per second, "
              f"{report['http_to_api_processor_time']:.3f} times its processor time per token")
        if args.peer:
            print(f"beside the peer: {report['http_to_peer_tok_s']:.2f} times its tokens per second")
    failed = [name for run in runs for name, row in run.items() if row["errors"] and name != "peer"]
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
