"""What the command-line tests share: running the binary, reference data, safetensors.

The binary's path is in RUVLLM_BINARY. Reference data is optional: tests that need it are skipped
with the reason when it is not there.
"""

import array
import json
import os
import pathlib
import struct
import subprocess
import unittest

BINARY = os.environ.get("RUVLLM_BINARY", "ruvllm")
SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
SHARED = pathlib.Path(os.environ.get("RUVLLM_SHARED", SOURCE.parent / "shared"))
GOLDEN = SHARED / "golden"
DEMO = SOURCE / "models" / "demo"

SANITIZERS = os.environ.get("RUVLLM_SANITIZE", "")  # of the binary; "" for an ordinary build

SERVING = os.environ.get("RUVLLM_SERVING") == "1"  # the build has the serving backend

needs_golden = unittest.skipUnless((GOLDEN / "README.md").exists(), f"no reference data in {GOLDEN}")
needs_demo = unittest.skipUnless((DEMO / "model.safetensors").exists(), f"no weights in {DEMO}")


def run(*args, stdin=None, timeout=120, env=None):
    """Runs the binary; gives a CompletedProcess with text output."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run([BINARY, *map(str, args)], input=data if data is not None else b"",
                          capture_output=True, timeout=timeout, check=False,
                          env={**os.environ, **(env or {})})
    done.stdout_bytes = done.stdout
    done.stdout = done.stdout.decode("utf-8", "replace")
    done.stderr = done.stderr.decode("utf-8", "replace")
    return done


class CliTest(unittest.TestCase):
    """Assertions about one run of the binary."""

    maxDiff = 2000

    def ok(self, *args, **kwargs):
        done = run(*args, **kwargs)
        self.assertEqual(done.returncode, 0, f"{args}: {done.stderr}")
        return done

    def ok_json(self, *args, **kwargs):
        done = self.ok(*args, **kwargs)
        self.assertEqual(done.stdout.count("\n"), 1, "one JSON object and nothing else on stdout")
        return json.loads(done.stdout)

    def refused(self, status, words, *args, **kwargs):
        """Ends with `status` and one line on stderr that holds every one of `words`."""
        done = run(*args, **kwargs)
        self.assertEqual(done.returncode, status, f"{args}: {done.stderr}")
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("ruvllm"), done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)


def read_safetensors(path):
    """name -> (shape, list of numbers), for F32 and I32."""
    raw = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    tensors = {}
    for name, entry in json.loads(raw[8:8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        values = array.array({"F32": "f", "I32": "i"}[entry["dtype"]])
        values.frombytes(raw[8 + length + begin:8 + length + end])
        tensors[name] = (entry["shape"], values.tolist())
    return tensors


def largest_difference(found, expected):
    assert len(found) == len(expected), (len(found), len(expected))
    return max((abs(a - b) for a, b in zip(found, expected)), default=0.0)
