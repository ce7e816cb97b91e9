#!/usr/bin/env python3
"""`ruvllm serve` under clients that do harm, and under many for a long time.

    load_test.py [abuse] [soak] [--minutes N]

abuse: 2,000 idle connections, half a request, clients that are killed with SIGKILL, that reset, that
read nothing, one byte a time, or send no more after their request; beside them ordinary clients,
whose answers must be what they are alone. Afterwards nothing runs and the server has as many open
files and threads as before.

soak: 64 streaming clients, requests of mixed lengths, a KV pool that is too small for them. No
error, every answer what it is alone, and memory that stays where it was after the first quarter.

Without arguments: both, a few seconds each (ctest); scripts/test-long runs them for minutes.
Environment: RUVLLM_BINARY, RUVLLM_MODELS.
"""

import argparse
import asyncio
import json
import os
import pathlib
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import time

from common import Server, until

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "bench"))
from http_load import ask, body_of, draw_trace, memory_mib, read_answer, waited_seconds  # noqa: E402

ENDLESS = {"prompt": [400, 401], "max_tokens": 1900, "ignore_eos": True, "temperature": 1.0,
           "stream": True}
# A client of its own process: several streams, of which it reads a little.
KILLED = """
import json, socket, sys, time
body = sys.argv[2].encode()
head = b"POST /v1/completions HTTP/1.1\\r\\nHost: x\\r\\nContent-Type: application/json\\r\\n"
streams = []
for _ in range(4):
    stream = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    stream.sendall(head + b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body)
    streams.append(stream)
for stream in streams:
    stream.recv(200)
print("streams", flush=True)
time.sleep(600)
"""


class Expected:
    """Requests and what each is answered when nothing else runs."""

    def __init__(self, server, count, prompts, answers, seed):
        trace = draw_trace(count, prompts, answers, vocab_size=4096, seed=seed)
        # Every other one may end by itself.
        self.bodies = [body_of(request, "demo", ignore_eos=i % 2 == 0)
                       for i, request in enumerate(trace)]
        self.answers = []
        for body in self.bodies:
            self.answers.append(self.facts(asyncio.run(ask("127.0.0.1", server.port, body)), body))
        self.asked = self.tokens = 0

    def facts(self, client, body):
        answer = read_answer(client, body)
        assert answer.error is None, answer.error
        return answer.text, answer.finish_reason, answer.tokens

    async def ask_any(self, server, values):
        """One of them, at random; its answer is the expected one."""
        i = values.randrange(len(self.bodies))
        client = await ask("127.0.0.1", server.port, self.bodies[i], timeout=300)
        found = self.facts(client, self.bodies[i])
        assert found == self.answers[i], f"request {i}: {found}, alone {self.answers[i]}"
        self.asked += 1
        self.tokens += found[2]

    async def ask_until(self, server, clients, end):
        async def client(seed):
            values = random.Random(seed)
            while time.monotonic() < end:
                await self.ask_any(server, values)
        await asyncio.gather(*(client(seed) for seed in range(clients)))


def send(server, body):
    connection = server.raw()
    server.raw_post(connection, body)
    return connection


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Abuse:
    """Rounds of clients that do harm. What stays open until close() adds up in `kept`."""

    def __init__(self, server):
        self.server, self.kept, self.rounds = server, [], 0

    def idle(self, count):
        self.kept += [self.server.raw() for _ in range(count)]

    def half_requests(self):
        for start in (b"", b"POST /v1/comp", b"GET /health HTTP/1.1\r\nHost: x\r\nX-A",
                      b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      b"Content-Length: 100\r\n\r\n{\"prompt\":"):
            for leave in (socket.socket.close, reset, self.kept.append):
                connection = self.server.raw()
                connection.sendall(start)
                leave(connection)

    def killed_process(self):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(self.server.port),
                                  json.dumps(ENDLESS)], stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"streams\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()

    def slow_readers(self):
        """Small windows: one that never reads, one that reads a byte a time."""
        for reads in (0, 5):
            connection = self.server.raw()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            self.server.raw_post(connection, ENDLESS)
            for _ in range(reads):
                assert len(connection.recv(1)) == 1
                time.sleep(0.02)
            reset(connection)

    def half_closed(self):
        """No more is sent after the request, as `nc -N` does: it ends, answered or not."""
        connection = send(self.server, ENDLESS | {"max_tokens": 3})
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(60)
        while connection.recv(65536):
            pass
        connection.close()

    def pipelined_garbage(self):
        connection = self.server.raw()
        connection.sendall(b"\x16\x03\x01" + bytes(range(256)) * 8)
        connection.settimeout(60)
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            pass
        connection.close()

    def round(self):
        self.half_requests()
        self.killed_process()
        self.slow_readers()
        self.half_closed()
        self.pipelined_garbage()
        reset(send(self.server, ENDLESS))
        self.rounds += 1

    def close(self):
        for i, connection in enumerate(self.kept):
            connection.close() if i % 2 else reset(connection)
        self.kept = []


def threads_of(server):
    return len(os.listdir(f"/proc/{server.process.pid}/task"))


def run_abuse(minutes):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    with Server("--no-access-log") as server:
        expected = Expected(server, 12, (8, 64), (8, 48), seed=3)
        until(lambda: server.load() == 0, 10, "the server is idle")
        files, threads = server.open_files(), threads_of(server)
        abuse = Abuse(server)
        abuse.idle(2000)
        until(lambda: server.metric("ruvllm_http_connections") >= 2000, 20, "all are open")
        end = time.monotonic() + 60 * minutes

        def harm():
            while time.monotonic() < end:
                abuse.round()

        async def both():
            await asyncio.gather(asyncio.to_thread(harm), expected.ask_until(server, 4, end))

        asyncio.run(both())
        asyncio.run(expected.ask_any(server, random.Random(0)))
        abuse.close()
        until(lambda: server.load() == 0, 10, "what was left behind has ended")
        until(lambda: server.open_files() <= files, 20,
              f"{files} open files as at the start, now {server.open_files()}")
        assert threads_of(server) == threads, f"{threads_of(server)} threads, {threads} before"
        assert abuse.rounds > 0 and expected.asked > 4
        print(f"abuse: {abuse.rounds} rounds of harm beside 2,000 idle connections, {expected.asked} "
              f"answers as alone, {server.open_files()} open files ({files} before)", flush=True)
        assert server.stop() == 0


def run_soak(minutes):
    # 192 pages are a part of what 64 of these requests may hold: they are preempted, and the pool's
    # memory is touched soon.
    with Server("--no-access-log", "--max-blocks", "192") as server:
        expected = Expected(server, 40 if minutes >= 1 else 16, (8, 256), (8, 120), seed=4)
        pid = server.process.pid
        began, samples = time.monotonic(), []
        end = began + 60 * minutes

        async def watch():
            while time.monotonic() < end:
                samples.append((time.monotonic() - began, memory_mib(pid, "VmRSS")))
                await asyncio.sleep(min(1.0, 6 * minutes))

        async def both():
            await asyncio.gather(watch(), expected.ask_until(server, 64, end))

        asyncio.run(both())
        seconds = time.monotonic() - began
        until(lambda: server.load() == 0, 30, "all have ended")
        warm = [mib for when, mib in samples if when >= 15 * minutes][0]
        most = max(mib for when, mib in samples if when >= 15 * minutes)
        preempted = server.metric("vllm:num_preemptions_total")
        print(f"soak: 64 clients for {seconds:.0f} s, {expected.asked} answers as alone, {expected.tokens} "
              f"tokens, {preempted:.0f} preemptions, memory {warm:.1f} MiB after a quarter, at most "
              f"{most:.1f} MiB after it, waited {waited_seconds(pid) or 0:.1f} s for processors", flush=True)
        assert expected.asked >= 64
        assert preempted > 0, "the pool was not too small"
        # Rows of a step that is larger than any before, buffers of more connections at a time.
        assert most <= warm + 16, f"memory grew from {warm:.1f} to {most:.1f} MiB"
        assert server.stop() == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="abuse, soak; default: both")
    parser.add_argument("--minutes", type=float, default=0.05)
    args = parser.parse_args()
    runs = {"abuse": run_abuse, "soak": run_soak}
    for name in args.what or runs:
        if name not in runs:
            parser.error(f"{name}: expected abuse or soak")
        runs[name](args.minutes)


if __name__ == "__main__":
    main()
