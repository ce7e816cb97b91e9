"""logits, generate, eval, info, bench and run on models with known answers."""

import json
import math
import os
import pathlib
import tempfile
import unittest

from common import (DEMO, GOLDEN, SERVING, CliTest, largest_difference, needs_golden, read_safetensors)

STORIES = GOLDEN / "stories260K"


@needs_golden
class Golden(CliTest):
    MODELS = ["llama_gqa", "qwen3", "gemma2"]

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.work = pathlib.Path(self.folder.name)
        self.addCleanup(self.folder.cleanup)

    def expected(self, name):
        tensors = read_safetensors(GOLDEN / "models" / name / "expected.safetensors")
        lists = [tensors[f"ids_{i}"][1] for i in range(3)]
        path = self.work / "ids.json"
        path.write_text(json.dumps(lists))
        return tensors, lists, path

    def test_logits(self):
        for name in self.MODELS:
            tensors, lists, ids = self.expected(name)
            out = self.work / "out.safetensors"
            self.ok("logits", "-m", GOLDEN / "models" / name, "--dtype", "f32", "--ids", ids,
                    "--out", out, "--hidden")
            found = read_safetensors(out)
            for i in range(3):
                shape, expected = tensors[f"logits_{i}"]
                self.assertEqual(found[f"logits.{i}"][0], [len(lists[i]), shape[1]])
                rows = found[f"logits.{i}"][1][-len(expected):]
                self.assertLess(largest_difference(rows, expected), 1e-4, f"{name} {i}")
            self.assertLess(largest_difference(found["hidden.1"][1], tensors["hidden_1"][1]), 1e-4)
            self.ok("logits", "-m", GOLDEN / "models" / name, "--dtype", "f32", "--ids", ids,
                    "--out", out, "--last", "4")
            last = read_safetensors(out)
            self.assertEqual(last["logits.0"][0][0], 1)
            self.assertEqual(last["logits.2"][0], tensors["logits_2"][0])
            self.assertLess(largest_difference(last["logits.2"][1], tensors["logits_2"][1]), 1e-4)
            self.assertNotIn("hidden.0", last)

    def test_generate(self):
        for name in self.MODELS:
            tensors, _, ids = self.expected(name)
            for concurrency in [1, 3]:
                out = self.ok_json("generate", "-m", GOLDEN / "models" / name, "--dtype", "f32",
                                   "--ids", ids, "-n", "24", "--ignore-eos", "--concurrency",
                                   concurrency)
                for i, sequence in enumerate(out["sequences"]):
                    self.assertEqual(sequence["ids"], tensors[f"greedy_{i}"][1], f"{name} {i}")
                    self.assertEqual(sequence["finish_reason"], "length")
                    self.assertLess(largest_difference(sequence["logprobs"],
                                                       tensors[f"greedy_logprobs_{i}"][1]), 1e-4)

    def test_bad_ids_are_named(self):
        model = GOLDEN / "models" / "llama_gqa"
        self.refused(1, ["sequence 1", "99999"], "generate", "-m", model, "--ids", "-",
                     stdin="[[1],[99999]]")
        self.refused(1, ["sequence 0", "empty"], "logits", "-m", model, "--ids", "-", "--out",
                     self.work / "x", stdin="[[]]")
        self.refused(1, ["/no/where"], "logits", "-m", model, "--ids", "-", "--out",
                     "/no/where/x.safetensors", stdin="[[1]]")

    def test_text_needs_a_tokenizer(self):
        self.refused(1, ["tokenizer"], "run", "-m", GOLDEN / "models" / "llama_gqa", "-p", "hello")


@needs_golden
class Stories(CliTest):
    GGUF = STORIES / "stories260K-f32.gguf"

    def setUp(self):
        self.meta = json.loads((STORIES / "meta.json").read_text())
        self.folder = tempfile.TemporaryDirectory()
        self.work = pathlib.Path(self.folder.name)
        self.addCleanup(self.folder.cleanup)

    def test_run_writes_the_story(self):
        case = next(g for g in self.meta["generations"] if len(g["prompt"]) > 0)
        wanted = case["tokens_before_a_gap_under_1e_3"]
        for model in [STORIES / "hf", self.GGUF]:
            out = self.ok_json("run", "-m", model, "--raw", "-p", case["prompt"], "--dtype", "f32",
                               "--temperature", "0", "--repetition-penalty", "1", "-n", "64",
                               "--json")
            self.assertEqual(out["prompt_tokens"], len(case["prompt_ids"]))
            count = min(wanted, 64)
            expected = read_safetensors(STORIES / "expected.safetensors")
            ids = expected[f"gen{case['index']}_ids"][1]
            self.assertEqual(out["tokens"][:count], ids[:count])
            self.assertEqual(out["completion_tokens"], len(out["tokens"]))
            self.assertEqual(out["finish_reason"], "length")
            self.assertGreater(out["timings"]["decode_tok_s"], 0)
            # Streamed text and the JSON's are one.
            plain = self.ok("run", "-m", model, "--raw", "-p", case["prompt"], "--dtype", "f32",
                            "--temperature", "0", "--repetition-penalty", "1", "-n", "64", "--stats")
            self.assertEqual(plain.stdout.rstrip("\n"), out["text"].rstrip("\n"))
            self.assertIn("tok/s", plain.stderr)
            self.assertIn("GB/s", plain.stderr)

    def test_stop_and_seed(self):
        base = ["run", "-m", self.GGUF, "--raw", "-p", "Once upon a time", "-n", "80"]
        text = self.ok(*base, "--seed", "5").stdout
        self.assertEqual(text, self.ok(*base, "--seed", "5", "--threads", "1").stdout)
        self.assertNotEqual(text, self.ok(*base, "--seed", "6").stdout)
        word = text.split()[8]
        out = self.ok_json(*base, "--seed", "5", "--stop", word, "--json")
        self.assertEqual(out["finish_reason"], "stop")
        self.assertEqual(out["text"], text[:text.index(word)])

    def test_the_models_own_sampling_defaults(self):
        """generation_config.json gives the defaults, flags win; without it they are the command's."""
        model = self.work / "model"
        model.mkdir()
        for path in (STORIES / "hf").iterdir():
            (model / path.name).symlink_to(path)
        config = model / "generation_config.json"
        config.unlink(missing_ok=True)
        base = ["--raw", "-p", "Once upon a time", "-n", "40", "--seed", "5"]
        sampled = self.ok("run", "-m", model, *base).stdout
        greedy = self.ok("run", "-m", model, *base, "--temperature", "0", "--repetition-penalty",
                         "1").stdout
        self.assertNotEqual(sampled, greedy)
        config.write_text(json.dumps({"temperature": 0.0, "repetition_penalty": 1.0, "top_k": 7}))
        self.assertEqual(self.ok("run", "-m", model, *base).stdout, greedy)
        self.assertEqual(self.ok("run", "-m", model, *base, "--generation-config", "none").stdout,
                         sampled)
        self.assertEqual(self.ok("run", "-m", model, *base, "--temperature", "0.7", "--top-k", "40",
                                 "--repetition-penalty", "1.1").stdout, sampled)
        self.assertEqual(self.ok_json("info", model, "--json")["generation_defaults"],
                         {"temperature": 0, "top_p": None, "min_p": None, "top_k": 7,
                          "repetition_penalty": 1})
        config.write_text('{"top_p": 1.5}')
        self.refused(1, ["generation_config.json", "top_p", "1.5"], "run", "-m", model, *base)

    def test_stdin_is_the_prompt(self):
        args = ["run", "-m", self.GGUF, "--raw", "-n", "20", "--temperature", "0"]
        self.assertEqual(self.ok(*args, stdin="Once upon a time\n").stdout,
                         self.ok(*args, "-p", "Once upon a time").stdout)

    def test_full_context_ends_with_length(self):
        out = self.ok_json("run", "-m", self.GGUF, "--raw", "-p", "Once", "-n", "1000", "--json",
                           "--ignore-eos", "--max-seq-len", "40")
        self.assertEqual(out["finish_reason"], "length")
        self.assertEqual(out["prompt_tokens"] + out["completion_tokens"], 40)
        self.refused(1, ["tokens", "holds 4"], "run", "-m", self.GGUF, "--raw", "-p",
                     "Once upon a time there was a girl", "--max-seq-len", "4")

    def test_eval_is_the_formula(self):
        text = self.work / "text"
        text.write_text(self.meta["perplexity"]["text"] * 2)
        ctx = 32
        out = self.ok_json("eval", "-m", self.GGUF, "--dtype", "f32", "--text", text, "--ctx", ctx,
                           "--json")
        # The same from the logits themselves.
        ids = json.loads(self.ok("tokenize", "-m", self.GGUF, "--file", text).stdout)
        chunks = [[1, *ids[i + 1:i + ctx]] for i in range(0, len(ids) - ctx + 1, ctx)]
        path = self.work / "logits.safetensors"
        self.ok("logits", "-m", self.GGUF, "--dtype", "f32", "--ids", "-", "--out", path,
                stdin=json.dumps(chunks))
        tensors = read_safetensors(path)
        losses = []
        for i, chunk in enumerate(chunks):
            (_, vocab), values = tensors[f"logits.{i}"]
            for position in range(ctx // 2, ctx - 1):
                row = values[position * vocab:(position + 1) * vocab]
                top = max(row)
                total = math.log(sum(math.exp(v - top) for v in row)) + top
                losses.append(total - row[chunk[position + 1]])
        mean = sum(losses) / len(losses)
        self.assertEqual(out["tokens"], len(losses))
        self.assertAlmostEqual(out["ppl"], math.exp(mean), delta=1e-4)
        variance = sum(x * x for x in losses) / len(losses) - mean * mean
        self.assertAlmostEqual(out["ln_ppl_se"], math.sqrt(variance / (len(losses) - 1)), delta=1e-6)

    def test_eval_against_a_reference(self):
        text = self.work / "text"
        text.write_text(self.meta["perplexity"]["text"])
        args = ["eval", "--dtype", "f32", "--text", text, "--ctx", "64", "--reference", self.GGUF,
                "--json"]
        same = self.ok_json(*args, "-m", self.GGUF)
        self.assertLess(same["kld_max"], 1e-9)
        self.assertEqual(same["same_top1"], 100)
        self.assertEqual(same["ln_ppl_ratio"], 0)
        q4 = self.ok_json(*args, "-m", STORIES / "stories260K-q4_0.gguf")
        self.assertGreater(q4["kld_mean"], 1e-4)
        self.assertGreaterEqual(q4["kld_max"], q4["kld_p99"])
        self.assertLess(q4["same_top1"], 100)
        self.assertAlmostEqual(q4["ln_ppl_ratio"], math.log(q4["ppl"] / same["ppl"]), delta=1e-6)
        self.refused(1, ["ctx is 100000", "512"], "eval", "-m", self.GGUF, "--text", text, "--ctx",
                     "100000")

    def test_info(self):
        out = self.ok_json("info", self.GGUF, "--json")
        self.assertEqual(out["architecture"], "llama")
        self.assertEqual(out["format"], "gguf")
        self.assertEqual(out["config"]["num_layers"], 5)
        self.assertEqual(len(out["tensors"]), sum(t["tensors"] for t in out["dtypes"].values()))
        self.assertEqual(out["bytes"], sum(t["bytes"] for t in out["tensors"]))
        self.assertEqual(out["tokenizer"]["vocab_size"], 512)
        fits = self.ok_json("info", self.GGUF, "--json", "--fit", "1G")["memory"]
        self.assertEqual(fits["max_seq_len_that_fits"], 512)
        none = self.ok_json("info", self.GGUF, "--json", "--fit", "1M")["memory"]
        self.assertEqual(none["max_seq_len_that_fits"], 0)
        self.assertIn("do not hold this model", self.ok("info", self.GGUF, "--fit", "1M").stdout)
        self.assertIn("5 layers", self.ok("info", STORIES / "hf").stdout)

    def test_serving_is_no_choice_where_one_sequence_is_computed(self):
        self.refused(1, ["serving"], "logits", "-m", self.GGUF, "--ids", "-", "--out", "/dev/null",
                     "--backend", "serving", stdin="[[1]]")

    def test_bench(self):
        out = self.ok_json("bench", "-m", self.GGUF, "--pp", "64", "--tg", "8", "--batch", "1,4",
                           "--depth", "0,100", "--reps", "2", "--json")
        self.assertEqual([(r["test"], r["batch"], r["depth"]) for r in out["rows"]],
                         [("pp64", 1, 0), ("tg8", 1, 0), ("tg8", 4, 0), ("pp64", 1, 100),
                          ("tg8", 1, 100), ("tg8", 4, 100)])
        for row in out["rows"]:
            self.assertGreater(row["tok_s"], 0)
            self.assertGreater(row["rss_bytes"], 0)
            self.assertEqual(row["quant"], "f32")
            self.assertEqual(row["backend"], "edge")
        self.assertGreater(out["roofs"]["memory_read_gb_s"], 0)
        self.assertIn(("generic", "f32"), [(p["isa"], p["unit"]) for p in out["roofs"]["peaks"]])
        for row in out["rows"]:
            self.assertGreater(row["gmac_s"], 0)
            self.assertGreater(row["gmac_s_peak"], 0)
            if row["test"] == "tg8":  # the share is of the roof beside each repetition
                self.assertGreater(row["read_roof_share"], 0)
                self.assertGreater(row["read_roof_gb_s"], 0)
        shape = self.ok_json("bench", "--model-shape", "llama-tiny", "--quant", "bf16,q8_0,q4_0",
                             "--pp", "16", "--tg", "4", "--reps", "1", "--json")
        self.assertEqual([r["quant"] for r in shape["rows"][::2]], ["bf16", "q8_0", "q4_0"])
        self.refused(1, ["depth", "context of 512"], "bench", "-m", self.GGUF, "--depth", "5000",
                     "--json")

    @unittest.skipUnless(SERVING, "a build without the serving backend")
    def test_bench_of_sessions(self):
        common = ["bench", "--model-shape", "llama-tiny", "--quant", "q8_0", "--reps", "1", "--json",
                  "--max-seq-len", "512"]
        out = self.ok_json(*common, "--backend", "serving", "--pp", "16", "--tg", "8", "--batch",
                           "1,4", "--depth", "20", "--shared-prefix", "48", "--long-prefill", "64",
                           "--mixed", "24", "--kv-cache-memory-bytes", "4M")
        rows = {(r["test"], r["batch"]): r for r in out["rows"]}
        self.assertEqual({r["backend"] for r in out["rows"]}, {"serving"})
        for test in ["tg8", "shared48", "beside64"]:
            for batch in [1, 4]:
                self.assertGreater(rows[test, batch]["tok_s"], 0)
        self.assertGreater(rows["pp16", 1]["gmac_s"], 0)
        decode = rows["tg8", 4]
        self.assertAlmostEqual(decode["step_to_floor"],
                               decode["step_seconds"] / decode["floor_seconds"])
        # Of the same steps: scheduling is a part of what a step does beside the model.
        self.assertTrue(0 < decode["schedule_share"] < decode["beside_model_share"] < 1, decode)
        shared = rows["shared48", 4]
        self.assertLessEqual(shared["kv_pages"], shared["kv_pages_stored_once"])
        pages, regions = rows["pool16", 24], rows["pool2048", 24]
        for row in pages, regions:
            self.assertEqual(row["completed"], 24)
        self.assertGreater(pages["most_sessions"], regions["most_sessions"])
        self.assertGreater(pages["utilization"], 0.9)
        self.assertLess(regions["utilization"], 0.5)

        both = self.ok_json(*common, "--compare", "edge,serving", "--pp", "16", "--tg", "8",
                            "--batch", "1,3")
        self.assertEqual([(r["test"], r["batch"], r["backend"]) for r in both["rows"]],
                         [(test, batch, backend) for test, batch in
                          [("pp16", 1), ("tg8", 1), ("tg8", 3)] for backend in ["edge", "serving"]])
        # What is of the serving backend alone goes with both, and a trace of requests.
        requests = [{"prompt": [5 + i, 6, 7] * (i + 1), "max_tokens": 4 + i} for i in range(6)]
        trace = self.work / "trace.json"
        trace.write_text(json.dumps(requests))
        rows = self.ok_json(*common, "--compare", "edge,serving", "--pp", "0", "--tg", "4", "--batch",
                            "2", "--shared-prefix", "32", "--trace", trace)["rows"]
        self.assertEqual([(r["test"], r["backend"]) for r in rows],
                         [("tg4", "edge"), ("tg4", "serving"), ("shared32", "serving"),
                          ("trace", "serving")])
        self.assertEqual([rows[-1][key] for key in ["requests", "completed", "prompt_tokens",
                                                    "output_tokens"]], [6, 6, 63, 39])
        self.assertLessEqual(rows[-1]["first_token_p50_seconds"], rows[-1]["first_token_p99_seconds"])
        for text, words in [("{}", ["expected an array of requests"]),
                            ('[{"prompt": "x", "max_tokens": 1}]', ["request 0", "token ids"]),
                            ('[{"prompt": [1]}]', ["request 0", "max_tokens"]),
                            ('[{"prompt": [9999999], "max_tokens": 1}]', ["9999999"])]:
            trace.write_text(text)
            self.refused(1, words, *common, "--backend", "serving", "--pp", "0", "--tg", "0", "--trace",
                         trace)
        self.refused(2, ["--mixed needs --backend serving"], *common, "--mixed", "3")
        self.refused(2, ["--compare is serving"], *common, "--compare", "serving")

    @unittest.skipUnless(SERVING, "a build without the serving backend")
    def test_bench_of_adapters(self):
        models = DEMO.parent
        adapters = [f"--adapter={name}={models}/demo-{name}" for name in ("prose", "code")]
        common = ["bench", "-m", "demo", "--backend", "serving", "--batch", "1,2", "--tg", "6",
                  "--reps", "2", "--json", *adapters]
        rows = self.ok_json(*common, "--xlora", f"{models}/demo-xlora", "--adapters-in-batch",
                            "1,2")["rows"]
        self.assertEqual([(r["test"], r["batch"]) for r in rows],
                         [("base", 1), ("1 adapter", 1), ("xlora", 1),
                          ("base", 2), ("1 adapter", 2), ("2 adapters", 2), ("xlora", 2)])
        for row in rows:
            self.assertGreater(row["tok_s"], 0)
            self.assertEqual(row["base_ratio"] == 1, row["test"] == "base", row)
            self.assertEqual("floor_seconds" in row, row["test"] != "xlora", row)
        # Its own bytes, unless the products are what a step waits for.
        self.assertGreaterEqual(rows[1]["floor_seconds"], rows[0]["floor_seconds"])
        self.refused(1, ["adapter prose", "bytes", "budget of adapters is 1000"], *common, "--adapter-memory", "1000")
        self.refused(2, ["--adapters-in-batch is 3", "2 were given"], *common,
                     "--adapters-in-batch", "3")
        self.refused(2, ["--adapters-in-batch needs --backend serving"], "bench", "-m", "demo",
                     "--adapters-in-batch", "1")

    @unittest.skipUnless(SERVING, "a build without the serving backend")
    def test_serving_fields(self):
        """Every flag of the serving backend arrives in its config and plan, and the config in JSON
        means the same as the flags."""
        flags = {"--block-size": ("block_size", 32), "--max-blocks": ("max_blocks", 77),
                 "--gpu-memory-utilization": ("gpu_memory_fraction", 0.25),
                 "--max-num-seqs": ("max_concurrent_requests", 5),
                 "--max-num-batched-tokens": ("max_batched_tokens", 100),
                 "--max-waiting-seqs": ("max_waiting_requests", 6)}
        defaults = self.ok_json("info", self.GGUF, "--json", "--fit", "8G")["serving"]
        arguments = ["--no-enable-prefix-caching"]
        for flag, (_, value) in flags.items():
            arguments += [flag, str(value)]
        chosen = self.ok_json("info", self.GGUF, "--json", "--fit", "8G", *arguments)["serving"]
        flat = lambda config: {**config["paged_attention"], **config}
        for _, (name, value) in flags.items():
            self.assertEqual(flat(chosen["config"])[name], value)
            self.assertNotEqual(flat(defaults["config"])[name], value)
        self.assertFalse(flat(chosen["config"])["enable_prefix_caching"])
        plan = chosen["plan"]
        self.assertEqual((plan["num_blocks"], plan["block_tokens"], plan["max_running"],
                          plan["max_waiting"], plan["max_step_rows"], plan["prefix_caching"]),
                         (77, 32, 5, 6, 100, False))
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "serving.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(chosen["config"], file)
            again = self.ok_json("info", self.GGUF, "--json", "--fit", "8G", "--serving-config", path)
            self.assertEqual(again["serving"], chosen)
            later = self.ok_json("info", self.GGUF, "--json", "--fit", "8G", "--serving-config", path,
                                 "--max-blocks", "9", "--enable-prefix-caching")["serving"]
            self.assertEqual((later["plan"]["num_blocks"], later["plan"]["prefix_caching"]), (9, True))
            for text, words in [('{"max_block": 3}', ["max_block is not known"]),
                                ('{"max_waiting_requests": -1}',
                                 ["max_waiting_requests is -1, expected 0 to 524288"]),
                                ('{"paged_attention": {"gpu_memory_fraction": 2}}',
                                 ["gpu_memory_fraction is 2, expected a number above 0, at most 1"]),
                                ('{"paged_attention": {"block_size": "16"}}',
                                 ['block_size is "16", expected 1 to 2048']),
                                ("{", ["not valid JSON at byte 2"])]:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                self.refused(2, ["--serving-config", *words], "info", self.GGUF, "--serving-config",
                             path)
        self.refused(2, ["--gpu-memory-utilization is 2, expected a number above 0, at most 1"],
                     "info", self.GGUF, "--gpu-memory-utilization", "2")
        by_bytes = self.ok_json("info", self.GGUF, "--json", "--kv-cache-memory-bytes", "1M")["serving"]
        self.assertEqual(by_bytes["plan"]["num_blocks"], (1 << 20) // by_bytes["plan"]["block_bytes"])
        self.assertIn("KV pool: 9 pages of 16 tokens",
                      self.ok("info", self.GGUF, "--max-blocks", "9").stdout)


class Quantize(CliTest):
    """Quantization while loading and saved: the same answer."""

    ASK = ["-p", "What is the opposite of hot?", "--temperature", "0", "--repetition-penalty", "1",
           "-n", "12", "--json"]

    def test_saved_is_loaded(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "saved"
            report = self.ok_json("quantize", "-m", "demo", "--isq", "rtn8", "-o", out, "--json")
            self.assertEqual(report["isq"], "rtn8")
            self.assertTrue(8.0 < report["bits_per_weight"] < 8.6, report)
            at_load = self.ok_json("run", "-m", "demo", "--isq", "rtn8", *self.ASK)
            self.assertEqual(self.ok_json("run", "-m", out, *self.ASK)["text"], at_load["text"])
            self.refused(1, ["holds a model already"], "quantize", "-m", "demo", "--isq", "rtn8",
                         "-o", out)

    @needs_golden
    def test_what_cannot_be_saved_is_refused_before_the_work(self):
        with tempfile.TemporaryDirectory() as folder:
            self.refused(1, ["only models in Hugging Face folders"], "quantize", "-m", Stories.GGUF,
                         "--isq", "gptq4", "-o", pathlib.Path(folder) / "saved")


if __name__ == "__main__":
    unittest.main()
