#!/usr/bin/env python3
"""How long sessions wait for a token while adapters are loaded into a running server.

    adapter_stall.py --ruvllm build/dev/ruvllm -m MODEL --adapters DIR [--clients 4] [--loads 6] [-- more serve flags]

DIR holds folders of adapters (make_adapter.py). Streams run on 127.0.0.1; the times between their tokens are
compared: nothing else going on, and from the beginning of a load to its end. Standard library only.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import threading
import time


class Stream(threading.Thread):
    """One completion whose tokens' times are kept."""

    def __init__(self, port, model, tokens):
        super().__init__(daemon=True)
        self.port, self.times = port, []
        self.body = json.dumps({"model": model, "prompt": [100, 200, 300], "max_tokens": tokens, "stream": True,
                                "temperature": 0, "ignore_eos": True})

    def run(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        c.request("POST", "/v1/completions", self.body, {"Content-Type": "application/json"})
        for line in c.getresponse():
            if line.startswith(b"data: {"):
                self.times.append(time.perf_counter())


def call(port, method, path, body=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    c.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
    response = c.getresponse()
    return response.status, response.read()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def gaps(streams, begin, end):
    """Milliseconds between neighbouring tokens of which the second came in [begin, end]."""
    return [1e3 * (b - a) for s in streams for a, b in zip(s.times, s.times[1:]) if begin <= b <= end]


def measure(a, port):
    names = sorted(n for n in os.listdir(a.adapters) if n.startswith("a"))[:a.loads]
    model = json.loads(call(port, "GET", "/v1/models")[1])["data"][0]["id"]
    streams = [Stream(port, model, a.tokens) for _ in range(a.clients)]
    for s in streams:
        s.start()
    while not all(len(s.times) > 8 for s in streams):
        time.sleep(0.05)
    begin = time.perf_counter()
    time.sleep(a.quiet)
    quiet = (begin, time.perf_counter())
    loads = []
    for name in names:
        begin = time.perf_counter()
        status, text = call(port, "POST", "/v1/load_lora_adapter",
                            {"lora_name": name, "lora_path": os.path.abspath(os.path.join(a.adapters, name))})
        if status != 200:
            raise SystemExit(f"load of {name}: {status} {text[:300]!r}")
        loads.append((begin, time.perf_counter()))
        time.sleep(0.3)
    if any(not s.is_alive() for s in streams):
        raise SystemExit("the streams ended before the loads: more --tokens")
    time.sleep(0.5)
    still = gaps(streams, *quiet)
    beside = [g for begin, end in loads for g in gaps(streams, begin, end + 0.2)]
    print(f"{a.clients} streams; {len(loads)} loads of {statistics.median(e - b for b, e in loads) * 1e3:.0f} ms")
    for name, values in (("quiet", still), ("loading", beside)):
        values.sort()
        print(f"{name}: p50 {values[len(values) // 2]:.1f} ms, p99 {values[int(0.99 * (len(values) - 1))]:.1f}, "
              f"longest {values[-1]:.1f} ({len(values)} tokens)")
    print(f"longest while loading beyond the quiet p50: {beside[-1] - still[len(still) // 2]:.1f} ms")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ruvllm", default="ruvllm")
    p.add_argument("-m", "--model", required=True)
    p.add_argument("--adapters", required=True)
    p.add_argument("--clients", type=int, default=4)
    p.add_argument("--loads", type=int, default=6)
    p.add_argument("--tokens", type=int, default=400)
    p.add_argument("--quiet", type=float, default=4.0, help="seconds before the first load")
    p.add_argument("serve", nargs="*", help="after --: flags of ruvllm serve")
    a = p.parse_args()
    port = free_port()
    server = subprocess.Popen([a.ruvllm, "serve", "-m", a.model, "--port", str(port), "--enable-lora-updates",
                               "--lora-root", os.path.abspath(a.adapters), *a.serve],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                if call(port, "GET", "/health/ready")[0] == 200:
                    break
            except OSError:
                pass
            if server.poll() is not None:
                raise SystemExit("the server ended; run the same serve command by hand")
            time.sleep(0.1)
        measure(a, port)
    finally:
        server.terminate()
        server.wait(60)


if __name__ == "__main__":
    main()
