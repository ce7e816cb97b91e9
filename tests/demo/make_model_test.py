"""Checks tools/bench/make_model.py on its smallest shape, against the `gguf` package where present.

    python3 tests/demo/make_model_test.py
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy as np
except ImportError:
    np = None

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(ROOT, "tools", "bench", "make_model.py")


def make(out, *extra):
    subprocess.run([sys.executable, SCRIPT, "--shape", "llama-tiny", out, *extra], check=True, stdout=subprocess.DEVNULL)


@unittest.skipIf(np is None, "needs numpy")
class MakeModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        sys.path.insert(0, os.path.dirname(SCRIPT))
        import make_model
        cls.mm = make_model
        cls.dir = tempfile.TemporaryDirectory()
        make(cls.dir.name, "--gguf", "f32,f16,bf16,q8_0,q4_0")
        cls.weights = make_model.map_safetensors(os.path.join(cls.dir.name, "model.safetensors"))

    @classmethod
    def tearDownClass(cls):
        cls.dir.cleanup()

    def test_same_seed_same_bytes(self):
        with tempfile.TemporaryDirectory() as other:
            make(other)
            for name in ("model.safetensors", "tokenizer.json", "config.json"):
                with open(os.path.join(other, name), "rb") as f, open(os.path.join(self.dir.name, name), "rb") as g:
                    self.assertEqual(f.read(), g.read(), name)
            make(other, "--seed", "2")
            changed = self.mm.map_safetensors(os.path.join(other, "model.safetensors"))
            self.assertFalse(np.array_equal(changed["lm_head.weight"], self.weights["lm_head.weight"]))

    def test_weights_have_the_stated_distribution(self):
        w = self.mm.from_bf16(self.weights["model.layers.0.mlp.up_proj.weight"])
        self.assertAlmostEqual(float(w.std()), 0.02, delta=0.0002)
        self.assertTrue((self.mm.from_bf16(self.weights["model.norm.weight"]) == 1).all())

    @unittest.skipUnless(os.environ.get("RUVLLM_BINARY"), "needs RUVLLM_BINARY")
    def test_random_adapters_are_read(self):
        """make_adapter.py's adapters and X-LoRA on this model: read strictly, and computed with."""
        script = os.path.join(os.path.dirname(SCRIPT), "make_adapter.py")
        with tempfile.TemporaryDirectory() as out:
            subprocess.run([sys.executable, script, self.dir.name, out, "--count", "3", "--rank", "4", "--xlora", "2"],
                           check=True)
            self.assertEqual(sorted(os.listdir(out)), ["a0", "a1", "a2", "xlora"])
            rows = json.loads(subprocess.run(
                [os.environ["RUVLLM_BINARY"], "bench", "-m", self.dir.name, "--backend", "serving", "--batch", "2", "--tg",
                 "4", "--reps", "1", "--json", "--adapters-in-batch", "1,2", "--adapter", f"a={out}/a0", "--adapter",
                 f"b={out}/a1", "--xlora", f"{out}/xlora"], check=True, capture_output=True, text=True).stdout)["rows"]
            self.assertEqual([r["test"] for r in rows], ["base", "1 adapter", "2 adapters", "xlora"])

    def test_merges_build_the_vocabulary(self):
        with open(os.path.join(self.dir.name, "tokenizer.json"), encoding="utf-8") as f:
            model = json.load(f)["model"]
        vocab = model["vocab"]
        self.assertEqual(sorted(vocab.values()), list(range(2048)))
        for left, right in model["merges"]:
            self.assertTrue(left in vocab and right in vocab and left + right in vocab)

    def test_gguf_files_as_the_gguf_package_reads_them(self):
        try:
            import gguf
        except ImportError:
            self.skipTest("needs the gguf package")
        shape = self.mm.Shape("llama-tiny")
        for kind in ("f32", "f16", "bf16", "q8_0", "q4_0"):
            reader = gguf.GGUFReader(os.path.join(self.dir.name, f"llama-tiny-{kind}.gguf"))
            tensors = {t.name: t for t in reader.tensors}
            self.assertEqual(len(tensors), len(shape.tensors()))
            for hf, name, dims, heads in shape.tensors():
                got = tensors[name]
                want = self.mm.from_bf16(self.weights[hf])
                if heads:
                    want = self.mm.reorder_rotary(want, heads)
                kind_id = gguf.GGMLQuantizationType[kind.upper() if len(dims) > 1 else "F32"]
                self.assertEqual(got.tensor_type, kind_id)
                self.assertEqual(list(reversed([int(x) for x in got.shape])), list(dims))
                packed = gguf.quants.quantize(want, kind_id)
                self.assertEqual(packed.tobytes(), np.ascontiguousarray(got.data).tobytes(), f"{kind} {name}")


if __name__ == "__main__":
    unittest.main()
