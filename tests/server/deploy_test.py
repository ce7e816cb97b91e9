#!/usr/bin/env python3
"""What is under deploy/: every metric named by the dashboard and the alert rules is one that
/metrics emits; the Kubernetes manifests fit their schemas; HAProxy spreads over three replicas, and
one that is killed under load costs nobody but its own streams an answer. Parts whose tools this
machine lacks are skipped and said so."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import http.client

from common import Server, backend_flags, until

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
NAME = re.compile(r"\b(?:vllm:|ruvllm_|http_)[a-z0-9_:]+")


def free_port():
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Names(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with Server("--no-access-log") as server:
            server.complete()
            server.get("/health")
            lines = server.get("/metrics").decode().splitlines()
        cls.emitted = {re.split(r"[{ ]", line)[0] for line in lines if line and line[0] != "#"}

    def check(self, file, expressions):
        names = {name for text in expressions for name in NAME.findall(text)}
        self.assertGreater(len(names), 5)
        self.assertEqual(names - self.emitted, set(), f"{file} names metrics that do not exist")

    def test_dashboard(self):
        dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
        self.assertEqual(len({p["id"] for p in dashboard["panels"]}), len(dashboard["panels"]))
        self.check("the dashboard", [t["expr"] for p in dashboard["panels"] for t in p["targets"]])

    def test_alerts(self):
        text = (DEPLOY / "prometheus-alerts.yml").read_text()
        self.check("prometheus-alerts.yml", [re.sub(r"#.*", "", text)])
        if shutil.which("promtool"):
            subprocess.run(["promtool", "check", "rules", DEPLOY / "prometheus-alerts.yml"], check=True,
                           capture_output=True)

    def test_manifests(self):
        try:
            import kubernetes_validate
            import yaml
        except ImportError:
            self.skipTest("no Python packages kubernetes-validate and yaml")
        kinds = []
        for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
            for document in yaml.safe_load_all(path.read_text()):
                kinds.append(document["kind"])
                if document["kind"] == "InferencePool":  # not one of Kubernetes' own
                    self.assertEqual(document["spec"]["targetPorts"], [{"number": 8000}])
                    continue
                kubernetes_validate.validate(document, "1.28", strict=True)
                if document["kind"] == "Deployment":
                    pod = document["spec"]["template"]
                    for selector in document["spec"]["selector"]["matchLabels"].items():
                        self.assertIn(selector, pod["metadata"]["labels"].items())
                    grace = pod["spec"]["terminationGracePeriodSeconds"]
                    drain = next(int(a.split("=")[1]) for a in pod["spec"]["containers"][0]["args"]
                                 if a.startswith("--shutdown-timeout="))
                    self.assertGreater(grace, drain + 15)
        self.assertIn("HorizontalPodAutoscaler", kinds)


class Replicas(unittest.TestCase):
    def ask(self, port, **fields):
        """(status or None, ended as it should)"""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            body = {"prompt": "Once", "max_tokens": 8, "temperature": 0, "ignore_eos": True} | fields
            connection.request("POST", "/v1/completions", json.dumps(body),
                               {"Content-Type": "application/json"})
            response = connection.getresponse()
            data = response.read()
            done = b"[DONE]" in data if fields.get("stream") else b'"choices"' in data
            return response.status, done
        except (http.client.HTTPException, OSError):
            return None, False
        finally:
            connection.close()

    @unittest.skipUnless(shutil.which("haproxy") or os.path.exists("/usr/sbin/haproxy"), "no HAProxy")
    def test_one_of_three_is_killed_under_load(self):
        haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
        flags = ["--no-access-log", "--threads", "1", *backend_flags()]
        with Server(*flags) as a, Server(*flags) as b, Server(*flags) as c:
            front = free_port()
            environment = os.environ | {"LISTEN": f"127.0.0.1:{front}"}
            for i, server in enumerate((a, b, c)):
                environment[f"REPLICA_{i + 1}"] = f"127.0.0.1:{server.port}"
            proxy = subprocess.Popen([haproxy, "-f", DEPLOY / "haproxy.cfg"], env=environment,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                until(lambda: self.ask(front)[0] == 200, 20, "the proxy answers")
                results, stop = [], threading.Event()

                def client(stream):
                    while not stop.is_set():
                        results.append((stream, *self.ask(front, stream=stream)))

                threads = [threading.Thread(target=client, args=(i % 2 == 0,)) for i in range(9)]
                for thread in threads:
                    thread.start()
                time.sleep(1.5)
                before = len(results)
                b.process.kill()
                time.sleep(3)
                stop.set()
                for thread in threads:
                    thread.join(60)
                    self.assertFalse(thread.is_alive(), "a client hangs")
                bad = [r for r in results if r[1] != 200 or not r[2]]
                self.assertGreater(before, 20)
                self.assertGreater(len(results), before + 20, "the others go on")
                # At most what the killed one was just answering: no more than the clients.
                self.assertLessEqual(len(bad), len(threads), bad[:5])
                until(lambda: all(self.ask(front) == (200, True) for _ in range(6)), 10, "all is well")
            finally:
                proxy.terminate()
                proxy.wait(10)


if __name__ == "__main__":
    unittest.main(verbosity=1 if len(sys.argv) < 2 else 2)
