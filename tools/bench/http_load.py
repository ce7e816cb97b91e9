"""Many streaming clients of an OpenAI-compatible /v1/completions at once (standard library only).

    trace = draw_trace(64, (32, 512), (32, 256), vocab_size=4096, seed=1)
    answers, seconds = run_clients("127.0.0.1", 8000, [body_of(r, "m") for r in trace], at_a_time=64)

A client here does next to nothing while an answer streams: it keeps what came and when, and reads
it when all have ended. On a machine that serves and asks at once, that is what the server's numbers
are worth.
"""

import asyncio
import json
import os
import random
import time


def draw_trace(count, prompt_lengths, answer_lengths, vocab_size, seed):
    """Requests of uniformly drawn lengths: [{"prompt": [ids], "max_tokens": n}, ...]."""
    values = random.Random(seed)
    requests = []
    for _ in range(count):
        length, tokens = values.randint(*prompt_lengths), values.randint(*answer_lengths)
        requests.append({"prompt": [values.randrange(300, vocab_size - 1) for _ in range(length)],
                         "max_tokens": tokens})
    return requests


def body_of(request, model, **fields):
    return {"model": model, "temperature": 0, "stream": True, "ignore_eos": True,
            "stream_options": {"include_usage": True}} | request | fields


class Answer:
    """What came of one request. Times are seconds since it was sent."""

    def __init__(self):
        self.status = 0
        self.text = ""
        self.finish_reason = None
        self.tokens = 0          # by the server's usage, else events with text
        self.prompt_tokens = 0
        self.first_token = None
        self.last_token = None
        self.error = None        # in words; None: an answer that ended as it should


class Client(asyncio.Protocol):
    """Sends one request and keeps what comes, piece by piece with its time."""

    def __init__(self, data):
        self.data, self.pieces, self.problem = data, [], None
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.sent = time.monotonic()
        transport.write(self.data)

    def data_received(self, data):
        self.pieces.append((time.monotonic() - self.sent, data))

    def connection_lost(self, error):
        self.problem = error
        if not self.ended.done():
            self.ended.set_result(None)


def http_bytes(host, port, path, body, headers=()):
    data = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}:{port}", "Content-Type: application/json",
             "Accept: text/event-stream", "Connection: close", f"Content-Length: {len(data)}",
             *headers, "", ""]
    return "\r\n".join(lines).encode() + data


def timed_body(pieces):
    """(status, [(time, bytes of the body)]) of a response in pieces; chunks are put together."""
    raw = b"".join(data for _, data in pieces)
    head, separator, rest = raw.partition(b"\r\n\r\n")
    if not separator:
        raise ValueError("the connection ended within the response's head")
    status = int(head.split()[1])
    ends, end = [], 0
    for _, data in pieces:
        end += len(data)
        ends.append(end)
    which = 0

    def time_at(offset):  # of the piece with the byte before `offset`; offsets only grow
        nonlocal which
        while ends[which] < offset:
            which += 1
        return pieces[which][0]

    begin = len(raw) - len(rest)
    if b"transfer-encoding: chunked" not in head.lower():
        return status, [(time_at(len(raw)), rest)]
    parts = []
    while True:
        line_end = raw.find(b"\r\n", begin)
        if line_end < 0:
            raise ValueError("the response ended within a chunk")
        size = int(raw[begin:line_end].split(b";")[0], 16)
        if size == 0:
            return status, parts
        begin = line_end + 2 + size + 2
        if begin > len(raw):
            raise ValueError("the response ended within a chunk")
        parts.append((time_at(begin), raw[line_end + 2:begin - 2]))


def read_events(answer, parts):
    buffer, done = b"", False
    for when, data in parts:
        buffer += data
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            payload = line[5:].strip()
            if payload == b"[DONE]":
                done = True
                continue
            event = json.loads(payload)
            if event.get("error"):
                answer.error = str(event["error"])[:300]
            if event.get("usage"):
                answer.tokens = event["usage"]["completion_tokens"]
                answer.prompt_tokens = event["usage"]["prompt_tokens"]
            for choice in event.get("choices") or []:
                answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
                answer.text += choice.get("text") or ""
                if choice.get("text") or not choice.get("finish_reason"):
                    answer.first_token = when if answer.first_token is None else answer.first_token
                    answer.last_token = when
    if not done and answer.error is None:
        answer.error = "the stream ended without [DONE]"


def read_answer(client, body):
    answer = Answer()
    try:
        if client.problem is not None:
            raise ValueError(f"the connection broke: {client.problem}")
        answer.status, parts = timed_body(client.pieces)
        if answer.status != 200:
            raise ValueError(f"HTTP {answer.status}: {b''.join(d for _, d in parts)[:300]!r}")
        read_events(answer, parts)
        if answer.error is None and body.get("ignore_eos") and answer.tokens != body["max_tokens"]:
            raise ValueError(f"{answer.tokens} tokens of {body['max_tokens']}")
    except (ValueError, KeyError, IndexError) as error:
        answer.error = answer.error or str(error)
    return answer


async def ask(host, port, body, headers=(), timeout=900):
    """Sends one request on a connection of its own and waits for the end of its answer; read_answer()
    of the Client says what it was."""
    data = http_bytes(host, port, "/v1/completions", body, headers)
    for attempt in range(20):
        try:
            _, client = await asyncio.get_running_loop().create_connection(lambda: Client(data), host,
                                                                           port)
            break
        except ConnectionRefusedError:
            if attempt == 19:
                raise
            await asyncio.sleep(0.05 * attempt)
    try:
        await asyncio.wait_for(asyncio.shield(client.ended), timeout)
    except asyncio.TimeoutError:
        client.transport.abort()
        await client.ended
        client.problem = f"not ended within {timeout} s"
    return client


async def ask_all(host, port, bodies, at_a_time, headers, timeout):
    gate = asyncio.Semaphore(at_a_time)

    async def ask_one(body):
        async with gate:
            return await ask(host, port, body, headers, timeout)

    began = time.monotonic()
    clients = await asyncio.gather(*(ask_one(body) for body in bodies))
    return clients, time.monotonic() - began


def run_clients(host, port, bodies, at_a_time, headers=(), timeout=900):
    """([Answer], seconds): every body as one request, `at_a_time` of them open."""
    clients, seconds = asyncio.run(ask_all(host, port, bodies, at_a_time, headers, timeout))
    return [read_answer(client, body) for client, body in zip(clients, bodies)], seconds


def quantile(values, share):
    values = sorted(values)
    return values[int(share * (len(values) - 1) + 0.5)] if values else None


def summary(answers, seconds):
    """Numbers of a run, of the answers without an error; times in seconds."""
    good = [a for a in answers if a.error is None and a.first_token is not None]
    first = [a.first_token for a in good]
    between = [(a.last_token - a.first_token) / (a.tokens - 1) for a in good if a.tokens > 1]
    tokens = sum(a.tokens for a in good)
    return {"requests": len(answers), "completed": len(good), "seconds": seconds,
            "prompt_tokens": sum(a.prompt_tokens for a in good), "output_tokens": tokens,
            "tok_s": tokens / seconds,
            "first_token_p50_seconds": quantile(first, 0.5),
            "first_token_p99_seconds": quantile(first, 0.99),
            "token_p50_seconds": quantile(between, 0.5),
            "token_p99_seconds": quantile(between, 0.99),
            "errors": sorted({a.error for a in answers if a.error})[:3]}


def processes_of(pid):
    """`pid` and its descendants."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    parents.setdefault(int(file.read().rsplit(")", 1)[1].split()[1]), []).append(int(name))
            except OSError:
                pass  # it has ended
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def cpu_seconds(pid):
    """Processor time that a process and its descendants have used."""
    ticks = 0
    for one in processes_of(pid):
        try:
            with open(f"/proc/{one}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return ticks / os.sysconf("SC_CLK_TCK")


def waited_seconds(pid):
    """How long the thread of a process that waited most was ready to run and had no processor: what
    other programs took from it. None where the kernel does not say."""
    try:
        waits = [0]
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="utf-8") as file:
                waits.append(int(file.read().split()[1]))
        return max(waits) / 1e9
    except (OSError, IndexError):
        return None


def memory_mib(pid, name="VmHWM"):
    """VmHWM (the most so far) or VmRSS of a process and its descendants."""
    total = 0
    for one in processes_of(pid):
        try:
            with open(f"/proc/{one}/status", encoding="utf-8", errors="replace") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith(name))
        except OSError:
            pass
    return total / 1024
