#!/usr/bin/env python3
"""The server as its clients see it when they behave badly: they vanish, read slowly, stop in the
middle of a request, come in thousands; and its life: keys, TLS, signals, ports."""

import json
import os
import pathlib
import resource
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import time
import unittest

from common import BINARY, Server, backend_flags, until, write_adapter

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENDLESS = {"prompt": "Once", "max_tokens": 1900, "ignore_eos": True, "temperature": 1.0}


def reset(connection):
    """Close with RST, as a killed client's kernel may."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class BadClients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--no-access-log")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def setUp(self):
        until(lambda: self.server.load() == 0, 10, "the server is idle")

    def tearDown(self):
        self.assertEqual(len(self.server.complete()["choices"]), 1)

    def test_a_client_that_vanishes_frees_its_request(self):
        for stream in (True, False):
            for leave in (socket.socket.close, reset):
                connection = self.server.raw()
                self.server.raw_post(connection, ENDLESS | {"stream": stream})
                until(lambda: self.server.load() == 1, 10, "it runs")
                leave(connection)
                until(lambda: self.server.load() == 0, 2, "its request is over")

    def test_a_killed_client_process(self):
        code = ("import socket,json,sys,time;c=socket.create_connection(('127.0.0.1',int(sys.argv[1])));"
                "b=sys.argv[2].encode();c.sendall(b'POST /v1/completions HTTP/1.1\\r\\nHost: x\\r\\n"
                "Content-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n'%len(b)+b);time.sleep(60)")
        child = subprocess.Popen(["python3", "-c", code, str(self.server.port), json.dumps(ENDLESS)])
        until(lambda: self.server.load() == 1, 20, "it runs")
        child.kill()
        child.wait()
        until(lambda: self.server.load() == 0, 2, "its request is over")

    def test_a_slow_reader_does_not_hold_up_others(self):
        slow = [self.server.raw() for _ in range(4)]
        for connection in slow:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            self.server.raw_post(connection, ENDLESS | {"stream": True, "max_tokens": 200})
        began = time.monotonic()
        self.server.complete()
        self.assertLess(time.monotonic() - began, 30)
        for connection in slow:
            reset(connection)

    def test_half_a_request_costs_nobody_else(self):
        halves = []
        for start in (b"", b"POST /v1/comp", b"GET /health HTTP/1.1\r\nHost: x\r\nX-A",
                      b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      b"Content-Length: 100\r\n\r\n{\"prompt\":"):
            for _ in range(25):
                connection = self.server.raw()
                connection.sendall(start)
                halves.append(connection)
        self.server.complete()
        # Once the server has put that answer away; the halves stay open for longer than this waits.
        until(lambda: self.server.load() == 0, 2, "halves are no requests")
        for i, connection in enumerate(halves):
            connection.close() if i % 2 else reset(connection)

    def test_thousands_of_idle_connections(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
        count = min(2000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100)
        before = self.server.open_files()
        idle = [self.server.raw() for _ in range(count)]
        until(lambda: self.server.metric("ruvllm_http_connections") >= count, 10, "all are open")
        self.server.complete()
        for connection in idle:
            connection.close()
        until(lambda: self.server.open_files() <= before + 2, 10, "the files are closed again")
        self.assertEqual(count, 2000, "this machine allows too few open files")

    def test_pipelined_requests_are_answered_in_order(self):
        connection = self.server.raw()
        connection.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n" * 50 +
                           b"GET /load HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while piece := connection.recv(65536):
            data += piece
        self.assertEqual(data.count(b"HTTP/1.1 200 OK"), 51)
        self.assertTrue(data.endswith(b'{"server_load":0}'))

    def test_a_scrape_is_quick(self):
        took = []
        for _ in range(30):
            began = time.perf_counter()
            self.server.get("/metrics")
            took.append(time.perf_counter() - began)
        self.assertLess(sorted(took)[15], 0.02)  # with a new connection each


class Adapters(unittest.TestCase):
    """LoRA adapters: given at the start, loaded and unloaded while the server runs."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        models = pathlib.Path(os.environ.get("RUVLLM_MODELS", ROOT / "models"))
        config = json.loads((models / "demo" / "config.json").read_text(encoding="utf-8"))
        cls.root = os.path.join(cls.folder.name, "root")
        for seed, name in enumerate(("a", "b"), start=1):
            write_adapter(os.path.join(cls.root, name), config, seed=seed)
        write_adapter(os.path.join(cls.folder.name, "outside"), config, seed=3)
        cls.server = Server(*backend_flags(), "--lora-modules",
                            "given=" + os.path.join(cls.folder.name, "outside"),
                            "--enable-lora-updates", "--lora-root", cls.root)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        cls.folder.cleanup()

    def post(self, path, **body):
        status, _, answer = self.server.request("POST", path, body)
        return status, answer.decode()

    def text(self, model):
        return self.server.complete(model=model, max_tokens=24)["choices"][0]["text"]

    def test_they_come_and_go(self):
        base = self.text("demo")
        given = self.text("given")
        self.assertNotEqual(base, given)
        self.assertEqual(self.post("/v1/load_lora_adapter", lora_name="x", lora_path="a")[0], 200)
        cards = {c["id"]: c for c in json.loads(self.server.get("/v1/models"))["data"]}
        self.assertEqual({k: c["parent"] for k, c in cards.items()},
                         {"demo": None, "given": "demo", "x": "demo"})
        first = self.text("x")
        self.assertNotIn(first, (base, given))
        self.assertEqual(self.post("/v1/load_lora_adapter", lora_name="x", lora_path="b")[0], 400)
        self.assertEqual(self.post("/v1/load_lora_adapter", lora_name="x", lora_path="b",
                                   load_inplace=True)[0], 200)
        self.assertNotEqual(self.text("x"), first)
        self.assertEqual(self.post("/v1/unload_lora_adapter", lora_name="x")[0], 200)
        self.assertEqual(self.post("/v1/unload_lora_adapter", lora_name="x")[0], 404)
        self.assertEqual(self.post("/v1/completions", model="x", prompt="Once")[0], 404)
        self.assertEqual(self.text("demo"), base)
        self.assertEqual(self.text("given"), given)

    def test_a_path_outside_the_folder_is_refused(self):
        outside = os.path.join(self.folder.name, "outside")
        for path in ("../outside", outside, "..", "missing"):
            status, answer = self.post("/v1/load_lora_adapter", lora_name="y", lora_path=path)
            self.assertEqual(status, 400, answer)
            self.assertIn("no folder inside", answer)

    def test_the_endpoints_need_a_folder(self):
        done = subprocess.run([BINARY, "serve", "-m", "demo", "--port", "0",
                               "--enable-lora-updates"], capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("--lora-root", done.stderr)


class Life(unittest.TestCase):
    def test_beyond_this_machine_a_key_is_needed(self):
        result = subprocess.run([BINARY, "serve", "-m", "demo", "--host", "0.0.0.0", "--port", "0"],
                                capture_output=True, timeout=60)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"--insecure", result.stderr)

    def test_a_used_port_is_named(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            result = subprocess.run([BINARY, "serve", "-m", "demo", "--port", port],
                                    capture_output=True, timeout=60)
        self.assertEqual(result.returncode, 1)
        self.assertIn(port.encode(), result.stderr)

    def test_the_chosen_pool_is_logged(self):
        flags = ["--max-blocks", "77", "--block-size", "32", "--max-num-seqs", "3"]
        with Server("--backend", "serving", *flags) as server:
            self.assertIn("77 pages of 32 tokens (2464 tokens), up to 3 sequences", server.text())
            self.assertNotIn("KV pool holds", server.text())
        with Server("--backend", "serving", "--max-blocks", "10") as server:
            self.assertIn("max_seq_len is 2048, but the KV pool holds 160 tokens (10 pages of 16)",
                          server.text())
            status, _, body = server.request("POST", "/v1/completions", {"prompt": [5] * 161})
            self.assertEqual(status, 400)
            self.assertIn(b"maximum context length is 160", body)
        done = subprocess.run([BINARY, "serve", "-m", "demo", "--port", "0", "--backend", "serving",
                               "--max-blocks", "10", "--max-seq-len", "1000"], capture_output=True,
                              text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("max_seq_len is 1000, but the KV pool holds 160 tokens", done.stderr)
        with Server("--backend", "serving", "--log-format", "json", *flags) as server:
            ready = json.loads(server.text().splitlines()[0])
            self.assertEqual((ready["kv_pages"], ready["kv_page_tokens"], ready["max_sequences"]),
                             (77, 32, 3))

    def test_no_key_and_no_body_in_the_log(self):
        with Server("--log-format", "json", key="sk-very-secret") as server:
            server.complete(prompt="a private matter")
            self.assertEqual(server.request("GET", "/v1/models?token=abc", headers={
                "Authorization": "Bearer sk-wrong-secret"})[0], 401)
            self.assertEqual(server.stop(), 0)
            log = server.text()
            for secret in ("secret", "private", "token=abc"):
                self.assertNotIn(secret, log)
            lines = [json.loads(line) for line in log.splitlines()]
            self.assertTrue(any(line.get("route") == "/v1/completions" and line["status"] == 200
                                for line in lines))

    def test_keys_are_read_again_on_sighup(self):
        with tempfile.NamedTemporaryFile("w+") as file:
            file.write("sk-old\n")
            file.flush()
            with Server("--api-key-file", file.name) as server:
                def status(key):
                    return server.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})[0]
                self.assertEqual((status("sk-old"), status("sk-new")), (200, 401))
                file.seek(0)
                file.truncate()
                file.write("sk-new\n")
                file.flush()
                server.process.send_signal(signal.SIGHUP)
                until(lambda: status("sk-new") == 200, 5, "the new key counts")
                self.assertEqual(status("sk-old"), 401)

    def test_sigterm_lets_running_requests_finish(self):
        with Server("--shutdown-timeout", "60") as server:
            connection = server.raw()
            server.raw_post(connection, ENDLESS | {"stream": True, "max_tokens": 300})
            data = connection.recv(100)
            server.process.send_signal(signal.SIGTERM)
            while piece := connection.recv(65536):
                data += piece
            self.assertIn(b'"finish_reason":"length"', data)
            self.assertIn(b"data: [DONE]", data)
            self.assertEqual(server.process.wait(30), 0)

    def test_the_shutdown_time_limit_ends_what_still_runs(self):
        with Server("--shutdown-timeout", "0") as server:
            connection = server.raw()
            server.raw_post(connection, ENDLESS | {"stream": True})
            data = connection.recv(100)
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            while piece := connection.recv(65536):
                data += piece
            self.assertIn(b'"error"', data)
            self.assertEqual(server.process.wait(30), 0)
            self.assertLess(time.monotonic() - began, 10)

    def test_https(self):
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = folder + "/cert.pem", folder + "/key.pem"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                            "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-keyout", key,
                            "-out", certificate, "-subj", "/CN=localhost", "-addext",
                            "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
            context = ssl.create_default_context(cafile=certificate)
            with Server("--ssl-certfile", certificate, "--ssl-keyfile", key, tls=context) as server:
                self.assertEqual(json.loads(server.get("/health")), {"status": "ready"})
                self.assertEqual(server.complete(max_tokens=3)["usage"]["completion_tokens"] > 0, True)
                status, headers, body = server.request(
                    "POST", "/v1/completions", {"prompt": "Once", "max_tokens": 3, "stream": True})
                self.assertEqual(status, 200)
                self.assertTrue(body.endswith(b"data: [DONE]\n\n"))
                plain = socket.create_connection(("127.0.0.1", server.port))
                plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertNotIn(b"200", plain.recv(1000))
                self.assertEqual(server.stop(), 0)

    def test_cross_origin_access_is_off_unless_named(self):
        with Server("--allowed-origins", "https://app.example") as server:
            for origin, expected in (("https://app.example", "https://app.example"),
                                     ("https://evil.example", None)):
                headers = server.request("GET", "/v1/models", headers={"Origin": origin})[1]
                self.assertEqual(headers.get("Access-Control-Allow-Origin"), expected)


if __name__ == "__main__":
    unittest.main()
