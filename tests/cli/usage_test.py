"""Every mistake is one line on stderr that names it, with status 2 (usage) or 1 (failure)."""

import unittest

from common import SERVING, CliTest, run

VERBS = ["run", "generate", "logits", "tokenize", "detokenize", "render", "eval", "bench", "info",
         "quantize", "selftest"]

# Flags of models that every verb but these lacks, since it would not read them.
ONLY = {"--seed": {"run", "generate", "bench"},
        "--dtype": {"run", "generate", "logits", "eval", "bench", "serve"},
        "--max-seq-len": {"run", "generate", "logits", "eval", "bench", "serve"},
        "--backend": {"run", "generate", "logits", "eval", "bench", "serve"},
        "--xlora": {"run", "generate", "logits", "eval", "bench", "serve"},
        "--isq": {"run", "generate", "logits", "eval", "bench", "serve", "quantize"}}


class Usage(CliTest):

    def test_help(self):
        text = self.ok("--help").stdout
        for verb in VERBS:
            self.assertIn(f"  {verb} ", text)
            page = self.ok(verb, "--help").stdout
            self.assertIn(f"usage: ruvllm {verb}", page)
            self.assertIn("examples:", page)
            self.assertEqual(page, self.ok(verb, "-h").stdout)
            for line in page.splitlines():
                self.assertLessEqual(len(line), 140, line)
        self.assertRegex(self.ok("--version").stdout, r"^ruvllm \d+\.\d+\.\d+\n$")

    def test_defaults_are_shown(self):
        page = self.ok("run", "--help").stdout
        for words in ["--temperature T", "[0.7]", "[40]", "[1.1]", "[256]"]:
            self.assertIn(words, page)
        page = self.ok("generate", "--help").stdout
        self.assertRegex(page, r"--temperature T .*\[0\]")
        self.assertRegex(page, r"--repetition-penalty X .*\[1\]")

    def test_no_verb_and_unknown_ones(self):
        self.refused(2, ["which verb"])
        self.refused(2, ["unknown verb", "fly"], "fly")

    def test_unknown_flags(self):
        for verb in VERBS:
            self.refused(2, [f"ruvllm {verb}:", "unknown flag --nope"], verb, "--nope")
        self.refused(2, ["unknown flag -x"], "run", "-x", "1")

    def test_verbs_have_the_flags_that_they_read(self):
        for verb in VERBS + (["serve"] if SERVING else []):
            page = self.ok(verb, "--help").stdout
            for flag, verbs in ONLY.items():
                self.assertEqual(f"  {flag}" in page, verb in verbs, f"{verb} {flag}")

    def test_flags_that_nothing_would_read(self):
        edge = ["--backend", "edge"]
        cases = [(["run", "-m", "demo", "-p", "x", "--calibration", "book.txt"],
                  ["--calibration needs --isq"]),
                 (["eval", "-m", "demo", "--text", "-", "--isq-cache", "here"],
                  ["--isq-cache needs --isq"]),
                 (["run", "-m", "demo", "-p", "x", "--use-adapter", "a,b"],
                  ["--use-adapter is a,b", "ruvllm logits"]),
                 (["bench", "-m", "demo", "--quant", "q8_0"], ["--quant needs --model-shape"]),
                 (["bench", "-m", "demo", "--seed", "3"], ["--seed needs --model-shape"]),
                 (["bench", "-m", "demo", "--adapter", "a=b"], ["--adapter needs --backend serving"])]
        for flag in [["--max-num-seqs", "3"], ["--no-enable-prefix-caching"], ["--serving-config", "/dev/null"],
                     ["--gpu-memory-utilization", "0.5"], ["--kv-cache-memory-bytes", "1G"]]:
            if flag[0] != "--serving-config":
                cases.append((["generate", "-m", "demo", "--ids", "-", *edge, *flag],
                              [f"{flag[0]} needs --backend serving"]))
            if SERVING:
                cases.append((["bench", "-m", "demo", *flag], [f"{flag[0]} "]))
                cases.append((["serve", "-m", "demo", *edge, *flag], [f"{flag[0]} "]))
        if SERVING:
            cases += [(["bench", "-m", "demo", "--compare", "edge,serving", *edge], ["--compare names"]),
                      (["bench", "-m", "demo", "--shared-prefix", "8"],
                       ["--shared-prefix needs --backend serving"]),
                      (["serve", "-m", "demo", *edge, "--scheduling-policy", "priority"],
                       ["--scheduling-policy priority needs"]),
                      (["serve", "-m", "demo", *edge, "--share-prefix-cache"],
                       ["--share-prefix-cache needs"])]
        for args, words in cases:
            self.refused(2, words, *args)

    def test_bad_values(self):
        for args, words in [
                (["--temperature", "hot"], ["--temperature is hot", "expected a number"]),
                (["--max-tokens", "-3"], ["--max-tokens is -3"]),
                (["-n", "many"], ["-n is many"]),
                (["-n", "99999999999"], ["-n is 99999999999"]),
                (["--threads=x"], ["--threads is x"]),
                (["--dtype", "int3"], ["--dtype is int3", "auto|bf16|f16|f32"]),
                (["--device", "tpu"], ["--device is tpu"]),
                (["--backend", "magic"], ["--backend is magic"]),
                (["--seed", "-1"], ["--seed is -1"]),
                (["--stats=yes"], ["--stats takes no value"]),
                (["--temperature"], ["--temperature needs a value"]),
                (["stray"], ["unexpected argument stray"]),
                (["--logit-bias", "5"], ["--logit-bias is 5", "ID:X"]),
        ]:
            self.refused(2, words, "run", "-m", "demo", "-p", "x", *args)
        self.refused(2, ["--now", "yesterday"], "render", "--jsonl", "-", "--now", "yesterday")
        self.refused(2, ["--fit is lots"], "info", "demo", "--fit", "lots")
        self.refused(2, ["--depth is 1,x"], "bench", "-m", "demo", "--depth", "1,x")
        self.refused(2, ["--model-shape is llama-9z", "llama-1b"], "bench", "--model-shape", "llama-9z")

    def test_missing_arguments(self):
        for verb in ["generate", "logits", "eval", "bench"]:
            self.refused(2, ["-m MODEL"], verb)
        self.refused(2, ["no prompt"], "run", "-m", "demo")
        self.refused(2, ["-m MODEL"], "run", "-p", "x")
        self.refused(2, ["--ids FILE"], "logits", "-m", "demo", "--out", "x.safetensors")
        self.refused(2, ["--out FILE"], "logits", "-m", "demo", "--ids", "x")
        self.refused(2, ["--text FILE"], "eval", "-m", "demo")
        self.refused(2, ["--text, --file and --jsonl"], "tokenize", "-m", "demo")
        self.refused(2, ["--ids and --jsonl"], "detokenize", "-m", "demo")
        self.refused(2, ["--messages FILE"], "render", "-m", "demo")

    def test_missing_files(self):
        self.refused(1, ["/no/such/model"], "run", "-m", "/no/such/model", "-p", "x")
        self.refused(1, ["/no/such.gguf"], "info", "/no/such.gguf")
        self.refused(1, ["/no/ids.json"], "generate", "-m", "demo", "--ids", "/no/ids.json")
        self.refused(1, ["/no/text.txt"], "eval", "-m", "demo", "--text", "/no/text.txt")
        self.refused(1, ["/no/tok"], "tokenize", "-m", "/no/tok", "--text", "x")
        self.refused(1, ["/no/lines"], "render", "--jsonl", "/no/lines")

    def test_bad_files(self):
        for text, words in [("[[1, 2], \"x\"]", ["list of token ids"]), ("{", ["-:"]),
                            ("[[1.5]]", ["token ids", "1.5"]), ("[[-1]]", ["-1"])]:
            self.refused(1, words, "generate", "-m", "demo", "--ids", "-", stdin=text)

    def test_what_this_build_lacks_is_named(self):
        self.refused(1, ["isq", "5 bits"], "run", "-m", "demo", "-p", "x", "--isq", "rtn5")
        self.refused(1, ["a-folder", "no such folder"], "run", "-m", "demo", "-p", "x",
                     "--adapter", "a=a-folder")
        self.refused(2, ["--adapter", "NAME=DIR"], "run", "-m", "demo", "--adapter", "a-folder")
        self.refused(1, ["nobody", "--adapter"], "run", "-m", "demo", "-p", "x",
                     "--use-adapter", "nobody")
        self.refused(2, ["--isq"], "quantize", "-m", "demo")
        if "  serve " not in self.ok("--help").stdout:  # built without RUVLLM_SERVING
            self.refused(1, ["serv"], "serve", "-m", "demo")
            self.refused(1, ["serving"], "run", "-m", "demo", "-p", "x", "--backend", "serving")
            self.refused(1, ["serving"], "run", "-m", "demo", "-p", "x", "--backend", "mistral-rs")
        for device in ["cuda", "metal"]:
            done = run("selftest", "--device", device)
            self.assertEqual(done.returncode, 1)
            self.assertIn(device.upper(), done.stderr.upper())


class Selftest(CliTest):

    def test_receipt(self):
        receipt = self.ok_json("selftest", "--json")
        self.assertTrue(receipt["passed"])
        self.assertGreaterEqual(len(receipt["checks"]), 10)
        text = self.ok("selftest").stdout
        self.assertIn(f"{len(receipt['checks'])} of {len(receipt['checks'])} checks passed", text)
        self.assertIn(receipt["logits_hash"], text)
        self.assertIn(receipt["kernels"], text)


if __name__ == "__main__":
    unittest.main()
