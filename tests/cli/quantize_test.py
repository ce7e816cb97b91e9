#!/usr/bin/env python3
"""ruvllm quantize and --isq as their users see them: layouts, the cache, Ctrl-C, a full disk."""

import fcntl
import json
import os
import resource
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest

from common import BINARY, CliTest, DEMO, GOLDEN, needs_demo, needs_golden, run

TEXT = "The quick brown fox jumps over the lazy dog. " * 40


@needs_demo
class Quantize(CliTest):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.out = os.path.join(self.folder.name, "out")
        self.text = os.path.join(self.folder.name, "text.txt")
        with open(self.text, "w", encoding="utf-8") as file:
            file.write(TEXT)

    def tearDown(self):
        self.folder.cleanup()

    def config(self):
        with open(os.path.join(self.out, "config.json"), encoding="utf-8") as file:
            return json.load(file)["quantization_config"]

    def evaluate(self, model):
        return self.ok_json("eval", "-m", model, "--reference", DEMO, "--text", self.text, "--dtype",
                            "f32", "--ctx", 64, "--json")

    def test_layouts_of_others(self):
        for layout, method, isq in (("gptq", "gptq", "rtn4:g32"), ("awq", "awq", "rtn4:g64"),
                                    ("compressed-tensors", "compressed-tensors", "rtn8:g128")):
            with self.subTest(layout):
                self.out = os.path.join(self.folder.name, layout)
                found = self.ok_json("quantize", "-m", DEMO, "--isq", isq, "--format", layout, "-o",
                                     self.out, "--json")
                self.assertEqual(found["matrices"], 28)
                self.assertGreater(found["peak_rss_bytes"], 0)
                config = self.config()
                self.assertEqual(config["quant_method"], method)
                result = self.evaluate(self.out)
                self.assertGreater(result["kld_mean"], 0)
                self.assertLess(result["kld_mean"], 0.2)
                self.assertEqual(len(result["chunk_kld"]), len(result["chunk_nll"]))
                mean = sum(result["chunk_kld"]) / len(result["chunk_kld"])
                self.assertAlmostEqual(mean, result["kld_mean"], places=9)

    def test_mistakes_come_before_the_work(self):
        self.refused(1, ["auto"], "quantize", "-m", DEMO, "--isq", "auto:3", "--format", "gptq", "-o",
                     self.out)
        self.refused(1, ["4 bits"], "quantize", "-m", DEMO, "--isq", "rtn3", "--format", "awq", "-o",
                     self.out)
        self.refused(1, ["GGUF file"], "quantize", "-m", DEMO, "--isq", "rtn8", "--format", "gguf",
                     "-o", self.out)
        self.assertFalse(os.path.exists(self.out))
        # No calibration before it is known that the result can be written: refused() allows no other
        # line, and calibration warns of the built-in text.
        nowhere = os.path.join(self.folder.name, "no", "such")
        self.refused(1, ["no/such", "cannot create"], "quantize", "-m", DEMO, "--isq", "awq4", "-o",
                     nowhere)
        self.refused(1, ["text.txt", "cannot create"], "quantize", "-m", DEMO, "--isq", "awq4", "-o",
                     self.text)
        self.refused(2, ["--isq-cache", "--isq"], "run", "-m", DEMO, "--isq-cache", self.out, "-p", "x")

    @needs_golden
    def test_gguf_mistakes_come_before_the_work(self):
        source = GOLDEN / "stories260K" / "stories260K-f32.gguf"
        self.refused(1, ["auto", "8 and 4 bits"], "quantize", "-m", source, "--isq",
                     "auto:4,ffn_down=keep", "--format", "gguf", "-o", self.out)
        self.refused(1, ["no/such", "cannot create"], "quantize", "-m", source, "--isq",
                     "awq4,ffn_down=keep", "--format", "gguf", "-o",
                     os.path.join(self.folder.name, "no", "such"))
        self.assertFalse(os.path.exists(self.out))

    # A norm takes a scale where all that reads it is quantized, nowhere else.
    def test_a_part_kept_in_a_layout_of_others(self):
        found = self.ok("quantize", "-m", DEMO, "--isq", "awq4:g64,v_proj=keep", "--format", "awq", "-o",
                        self.out, "--calibration-samples", 1)
        self.assertIn("adapters", found.stderr)
        self.assertEqual(sorted(self.config()["modules_to_not_convert"]),
                         ["lm_head", *(f"model.layers.{i}.self_attn.v_proj" for i in range(4))])
        self.assertLess(self.evaluate(self.out)["kld_mean"], 0.2)

    def test_the_cache_is_used_by_the_next_start(self):
        cache = os.path.join(self.folder.name, "cache")
        args = ["run", "-m", DEMO, "--isq", "rtn4", "--isq-cache", cache, "-p", "What is",
                "-n", 4, "--temperature", 0]
        first = self.ok(*args)
        (name,) = os.listdir(cache)
        before = os.stat(os.path.join(cache, name))
        self.assertEqual(self.ok(*args).stdout, first.stdout)
        after = os.stat(os.path.join(cache, name))
        self.assertEqual((before.st_mtime_ns, before.st_ino), (after.st_mtime_ns, after.st_ino))

    def test_interrupted_leaves_nothing(self):
        # Its stderr holds the first line (that the built-in text is calibrated on) and not the second
        # (that norms take scales, before anything is written): there the program waits, so that
        # Ctrl-C comes in the middle of the work however fast that is.
        reader, writer = os.pipe()
        room = 4096 - 150
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.write(writer, b"-" * room)
        process = subprocess.Popen(
            [BINARY, "quantize", "-m", str(DEMO), "--isq", "awq4:g32", "--format", "awq",
             "--calibration-samples", "1", "-o", self.out], stderr=writer, stdout=subprocess.DEVNULL)
        os.close(writer)

        def held():
            return struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, b"\0" * 4))[0]
        while held() == room and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read().decode()
        self.assertEqual(process.wait(timeout=60), 130, said[room:])
        self.assertIn("built-in text", said)
        self.assertIn("cancelled", said)
        self.assertFalse(os.path.exists(os.path.join(self.out, "config.json")))
        self.assertFalse(os.path.exists(os.path.join(self.out, "model.safetensors")))

    # As a full disk: writing fails in the middle of the file. (Python ignores SIGXFSZ, and so does
    # its child here.)
    def test_full_disk(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
        done = subprocess.run([BINARY, "quantize", "-m", str(DEMO), "--isq", "rtn4", "-o", self.out],
                              capture_output=True, text=True, check=False, restore_signals=False,
                              preexec_fn=limit)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("cannot write", done.stderr)
        self.assertEqual(os.listdir(self.out), [])
        self.assertEqual(run("info", "-m", self.out).returncode, 1)


if __name__ == "__main__":
    unittest.main()
