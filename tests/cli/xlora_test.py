"""X-LoRA on the demo model as its users see it: a folder with experts at relative paths, in PEFT's layout
(made here, of fixed random numbers), the scripts that measure adapters and draw gates, and the trained
adapters of models/."""

import json
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile

from common import BINARY, DEMO, SOURCE, CliTest, needs_demo, read_safetensors, unittest

TEXT = "To bed, and up betimes.\ndef add(a, b):\n    return a + b\n"


def write_tensors(path, tensors):
    """`tensors`: name -> (shape, values), written as F32."""
    header, body = {}, b""
    for name, (shape, values) in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def write_adapter(folder, config, tensors):
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    write_tensors(folder / "adapter_model.safetensors", tensors)


def make_expert(folder, rng):
    shape = json.loads((DEMO / "config.json").read_text())
    hidden, rank, tensors = shape["hidden_size"], 2, {}
    for layer in range(shape["num_hidden_layers"]):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_"
        for part, extent in (("A", [rank, hidden]), ("B", [hidden, rank])):
            tensors[f"{name}{part}.weight"] = (extent, [rng.gauss(0, 0.2) for _ in range(rank * hidden)])
    write_adapter(folder, {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["q_proj"]}, tensors)


def make_xlora(root):
    """Two experts beside the X-LoRA folder, which names them by relative paths."""
    rng = random.Random(1)
    make_expert(root / "one", rng)
    make_expert(root / "two", rng)
    hidden = json.loads((DEMO / "config.json").read_text())["hidden_size"]
    layer = "base_model.internal_xlora_classifier.layers.0."
    write_adapter(root / "router",
                  {"peft_type": "XLORA", "hidden_size": hidden, "adapters": {"0": "../one", "1": "../two"},
                   "xlora_depth": 1},
                  {layer + "weight": ([2, hidden], [rng.gauss(0, 0.3) for _ in range(2 * hidden)]),
                   layer + "bias": ([2], [0.0, 0.0])})
    return root / "router"


@needs_demo
class XLora(CliTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.folder.name)
        cls.router = make_xlora(cls.root)
        (cls.root / "text.txt").write_text(TEXT)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_experts_at_relative_paths_run(self):
        self.ok("run", "-m", "demo", "--xlora", self.router, "-p", "What is 3 + 4?", "-n", "4", "--temperature", "0")

    def test_gates_sum_to_one_and_differ_from_token_to_token(self):
        ids, out = self.root / "ids.json", self.root / "gates.safetensors"
        ids.write_text("[" + self.ok("tokenize", "-m", "demo", "--text", TEXT).stdout + "]")
        self.ok("logits", "-m", "demo", "--xlora", self.router, "--ids", ids, "--gates", "--out", out)
        (tokens, modules, experts), gates = read_safetensors(out)["gates.0"]
        self.assertEqual((tokens, modules, experts), (len(json.loads(ids.read_text())[0]), 4, 2))
        rows = [gates[i:i + 2] for i in range(0, len(gates), 2)]
        self.assertTrue(all(abs(sum(row) - 1) < 1e-5 for row in rows))
        self.assertGreater(max(row[0] for row in rows) - min(row[0] for row in rows), 0.05)

    def script(self, *args):
        done = subprocess.run([sys.executable, *map(str, args)], capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_gate_trace_draws_every_character(self):
        svg = self.root / "gates.svg"
        self.script(SOURCE / "tools/gate_trace.py", "--binary", BINARY, "-m", "demo", "--xlora", self.router,
                    "--name", "one", "--name", "two", "--text", self.root / "text.txt", "--out", svg)
        drawn = "".join(re.findall(r'xml:space="preserve">([^<]*)<', svg.read_text()))
        self.assertIn(TEXT.replace("\n", ""), drawn.replace("&lt;", "<").replace("&gt;", ">"))

    def test_eval_adapters_prints_a_row_for_every_text(self):
        table = self.script(SOURCE / "tools/train/eval_adapters.py", "--binary", BINARY, "--model", "demo",
                            "--adapter", f"one={self.root / 'one'}", "--xlora", self.router, "--ctx", "8",
                            "--text", self.root / "text.txt").splitlines()
        self.assertEqual(table[0], "| text | tokens | base | one | X-LoRA |")
        self.assertEqual(len(table), 3)
        self.assertEqual(table[2].count("%"), 2)


# Of each domain, written for this test, in the order of the experts.
DOMAINS = {
    "prose": "The old gentleman sat down before the fire, and for some time he said nothing; but at last he turned\n"
             "to his daughter, and asked her, in a voice that trembled a little, whether she had seen the letter\n"
             "which had come from London in the morning. She answered that she had not, and went to the window.\n",
    "code": "    def close(self, wait=True):\n        \"\"\"Close the stream and release its buffer.\"\"\"\n"
            "        if self._file is None:\n            raise ValueError('the stream is closed')\n"
            "        for name, value in self._items.items():\n            self._file.write(name, value)\n"
            "        self._file = None\n        return self\n",
    "qa": "<|user|>What is 3 plus 9?<|end|><|assistant|>12<|end|><|user|>Which is larger, 4 or 17?<|end|>"
          "<|assistant|>17<|end|><|user|>What is the opposite of hot?<|end|><|assistant|>cold<|end|>",
}
TRAINED = [DEMO.parent / f"demo-{name}" for name in (*DOMAINS, "xlora")]


@needs_demo
@unittest.skipUnless(all((folder / "adapter_model.safetensors").exists() for folder in TRAINED), "no trained adapters")
class TrainedAdapters(CliTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.folder.name)
        for name, text in DOMAINS.items():
            (cls.root / f"{name}.txt").write_text(text)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_they_take_at_most_4_mb(self):
        self.assertLessEqual(sum(f.stat().st_size for folder in TRAINED for f in folder.iterdir()), 4 << 20)

    def test_the_mix_answers_a_question(self):
        done = self.ok("run", "-m", "demo", "--xlora", TRAINED[-1], "-p", "What is 3 + 4?", "--temperature", "0")
        self.assertEqual(done.stdout.strip(" .\n"), "7")

    def test_the_router_prefers_the_adapter_of_the_domain(self):
        ids, out = self.root / "ids.json", self.root / "gates.safetensors"
        texts = [self.ok("tokenize", "-m", "demo", "--text", text).stdout.strip() for text in DOMAINS.values()]
        ids.write_text("[" + ",".join(texts) + "]")
        self.ok("logits", "-m", "demo", "--xlora", TRAINED[-1], "--ids", ids, "--gates", "--last", "1", "--out", out)
        tensors = read_safetensors(out)
        for domain, name in enumerate(DOMAINS):
            (tokens, modules, experts), gates = tensors[f"gates.{domain}"]
            self.assertEqual(experts, len(DOMAINS))
            means = [sum(gates[i::experts]) / (tokens * modules) for i in range(experts)]
            self.assertEqual(max(range(experts), key=means.__getitem__), domain, f"{name}: {means}")

    def perplexity(self, text, *flags):
        return self.ok_json("eval", "-m", "demo", "--text", text, "--ctx", "16", "--json", *flags)["ppl"]

    def test_an_adapter_beats_the_base_in_its_domain(self):
        for name, folder in zip(DOMAINS, TRAINED):
            text = self.root / f"{name}.txt"
            self.assertLess(self.perplexity(text, "--adapter", f"{name}={folder}"), self.perplexity(text), name)

    def test_the_mix_beats_the_base_and_every_adapter_on_text_that_changes_domain(self):
        text = self.root / "switch.txt"
        text.write_text("".join(DOMAINS.values()))
        mix = self.perplexity(text, "--xlora", TRAINED[-1])
        self.assertLess(mix, self.perplexity(text))
        for name, folder in zip(DOMAINS, TRAINED):
            self.assertLess(mix, self.perplexity(text, "--adapter", f"{name}={folder}"), name)


if __name__ == "__main__":
    unittest.main()
