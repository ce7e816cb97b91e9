"""What the end-to-end tests of `ruvllm serve` share: a running server and a plain HTTP client.

Environment: RUVLLM_BINARY (the command), RUVLLM_MODELS (folder of the demo model).
"""

import array
import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

BINARY = os.environ.get("RUVLLM_BINARY", "build/dev/ruvllm")
SKIPPED = 77  # ctest's SKIP_RETURN_CODE


def skip(why):
    print("skipped:", why)
    sys.exit(SKIPPED)


def write_adapter(folder, config, seed=1, rank=4):
    """A LoRA adapter in PEFT's format for a Llama-like model, with random numbers that matter.

    config: the model's config.json, parsed."""
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    values = random.Random(seed)
    tensors, data = {}, b""
    for layer in range(layers):
        for name, shape, scale in (("lora_A", [rank, hidden], 0.1), ("lora_B", [hidden, rank], 0.5)):
            piece = array.array("f", (values.gauss(0.0, scale) for _ in range(shape[0] * shape[1])))
            tensors[f"base_model.model.model.layers.{layer}.self_attn.o_proj.{name}.weight"] = {
                "dtype": "F32", "shape": shape,
                "data_offsets": [len(data), len(data) + 4 * len(piece)]}
            data += piece.tobytes()
    header = json.dumps(tensors).encode()
    header += b" " * (-len(header) % 8)
    os.makedirs(folder)
    with open(os.path.join(folder, "adapter_model.safetensors"), "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header + data)
    with open(os.path.join(folder, "adapter_config.json"), "w", encoding="utf-8") as file:
        json.dump({"peft_type": "LORA", "r": rank, "lora_alpha": rank, "task_type": "CAUSAL_LM",
                   "target_modules": ["o_proj"]}, file)


def backend_flags():
    """--backend serving where this build has it, else the edge backend."""
    probe = subprocess.run([BINARY, "generate", "-m", "demo", "--backend", "serving", "--ids",
                            "-", "-n", "1"], input=b"[[5]]", capture_output=True)
    return ["--backend", "serving"] if probe.returncode == 0 else []


class Server:
    """A server of our own on a free port; ends with the `with` block."""

    def __init__(self, *flags, key=None, wait=True, tls=None, model="demo"):
        self.key, self.tls = key, tls
        self.log = tempfile.TemporaryFile()
        argv = [BINARY, "serve", "-m", model, "--port", "0", *flags]
        argv += ["--api-key", key] if key else []
        self.process = subprocess.Popen(argv, stdout=self.log, stderr=subprocess.STDOUT,
                                        stdin=subprocess.DEVNULL)
        self.port = 0
        if wait:
            self.wait_ready()

    def text(self):
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    def wait_ready(self, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = re.search(r'(?:ready at: |"url":")https?://[^/"]*:(\d+)', self.text())
            if found:
                self.port = int(found.group(1))
                return
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.text()}")
            time.sleep(0.05)
        raise AssertionError(f"not ready within {seconds} s:\n{self.text()}")

    def request(self, method, path, body=None, headers=None, timeout=60):
        """(status, headers, body)"""
        if self.tls:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout,
                                                     context=self.tls)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            all_headers = dict(headers or {})
            if self.key:
                all_headers.setdefault("Authorization", f"Bearer {self.key}")
            if body is not None:
                all_headers.setdefault("Content-Type", "application/json")
                body = json.dumps(body) if not isinstance(body, (bytes, str)) else body
            connection.request(method, path, body, all_headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def get(self, path):
        status, _, body = self.request("GET", path)
        assert status == 200, f"GET {path}: {status} {body[:300]!r}"
        return body

    def complete(self, **fields):
        status, _, body = self.request("POST", "/v1/completions",
                                       {"prompt": "Once", "max_tokens": 4, "temperature": 0} | fields)
        assert status == 200, f"{status} {body[:300]!r}"
        return json.loads(body)

    def raw(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def raw_post(self, connection, body):
        data = json.dumps(body).encode()
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(data) + data)

    def metric(self, name):
        for line in self.get("/metrics").decode().splitlines():
            if line.startswith(name + "{") or line.startswith(name + " "):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"/metrics has no {name}")

    def load(self):
        return json.loads(self.get("/load"))["server_load"]

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self, number=signal.SIGTERM, seconds=30):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self.log.close()


def until(check, seconds, what):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)
