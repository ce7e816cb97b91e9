"""tokenize, detokenize and render against expected values of the original libraries."""

import json
import pathlib
import tempfile
import unittest

from common import GOLDEN, CliTest, needs_demo, needs_golden


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def jsonl(values):
    return "".join(json.dumps(value) + "\n" for value in values)


@needs_golden
class Tokenize(CliTest):
    # A directory with tokenizer.json, one with tokenizer.model too, and a vocabulary in GGUF.
    NAMES = ["bbpe_gpt2", "spm_llama2", "real_phi3"]

    def cases(self, name):
        folder = GOLDEN / "tokenizers" / name
        gguf = folder / "vocab.gguf"
        return gguf if gguf.exists() else folder, read_jsonl(folder / "cases.jsonl")

    def test_jsonl_both_ways(self):
        for name in self.NAMES:
            folder, cases = self.cases(name)
            texts = jsonl(case["text"] for case in cases)
            out = self.ok("tokenize", "-m", folder, "--jsonl", "-", "--no-special", stdin=texts)
            self.assertEqual([json.loads(line) for line in out.stdout.splitlines()],
                             [case["ids"] for case in cases], name)
            ids = jsonl(case["ids"] for case in cases)
            out = self.ok("detokenize", "-m", folder, "--jsonl", "-", stdin=ids)
            self.assertEqual([json.loads(line) for line in out.stdout.splitlines()],
                             [case["decoded"] for case in cases], name)
            out = self.ok("detokenize", "-m", folder, "--jsonl", "-", "--stream", stdin=ids)
            for line, case in zip(out.stdout.splitlines(), cases):
                pieces = json.loads(line)
                self.assertNotIn("", pieces)
                self.assertEqual("".join(pieces), case["decoded"], name)

    def test_one_text(self):
        folder, cases = self.cases("bbpe_gpt2")
        case = max(cases[:50], key=lambda c: len(c["ids"]))
        with tempfile.TemporaryDirectory() as work:
            path = pathlib.Path(work) / "text"
            path.write_bytes(case["text"].encode())
            for args in (["--text", case["text"]], ["--file", path]):
                out = self.ok("tokenize", "-m", folder / "tokenizer.json", "--no-special", *args)
                self.assertEqual(json.loads(out.stdout), case["ids"])
        out = self.ok("detokenize", "-m", folder, "--ids", "-", stdin=json.dumps(case["ids"]))
        self.assertEqual(out.stdout_bytes, case["decoded"].encode())

    def test_bad_lines_are_named(self):
        folder, _ = self.cases("bbpe_gpt2")
        for verb in ["tokenize", "detokenize"]:
            self.refused(1, ["line 1"], verb, "-m", folder, "--jsonl", "-", stdin="{}\n")


@needs_golden
class Render(CliTest):

    def test_templates(self):
        conversations = json.loads((GOLDEN / "templates" / "conversations.json").read_text())
        conversations = conversations["conversations"]
        lines, expected = [], []
        for path in sorted((GOLDEN / "templates").glob("*.jinja")):
            description = path.with_suffix(".json")
            if not description.exists():
                continue
            data = json.loads(description.read_text())
            for case in data["cases"]:
                context = {**data["defaults"], **conversations[case["conversation"]],
                           "add_generation_prompt": case["add_generation_prompt"]}
                lines.append({"template": path.read_text(), "context": context})
                expected.append((path.name, case))
        out = self.ok("render", "--jsonl", "-", "--now", "2025-03-14T15:09:26", stdin=jsonl(lines))
        found = [json.loads(line) for line in out.stdout.splitlines()]
        self.assertEqual(len(found), len(expected))
        self.assertGreater(len(found), 100)
        for result, (name, case) in zip(found, expected):
            if "error" in case:
                self.assertIn("error", result, name)
            else:
                self.assertEqual(result.get("text"), case["expected"], name)

    def test_a_template_file(self):
        with tempfile.TemporaryDirectory() as work:
            template = pathlib.Path(work) / "t.jinja"
            template.write_text("{% for m in messages %}{{ m.content }}|{% endfor %}{{ x }}"
                                "{{ add_generation_prompt }}{{ tools }}")
            messages = json.dumps([{"role": "user", "content": "hé"}])
            out = self.ok("render", "--template", template, "--messages", "-", "--kwargs",
                          '{"x": 7}', stdin=messages)
            self.assertEqual(out.stdout, "hé|7TrueNone")
            out = self.ok_json("render", "--template", template, "--messages", "-", "--json",
                               "--no-generation-prompt", stdin=messages)
            self.assertEqual(out, {"prompt": "hé|FalseNone", "ids": None})
            template.write_text("{{ raise_exception('not like this') }}")
            self.refused(1, ["not like this"], "render", "--template", template, "--messages", "-",
                         stdin=messages)


@needs_demo
class RenderDemo(CliTest):

    def test_ids_are_those_of_the_text(self):
        messages = json.dumps([{"role": "user", "content": "What is 2 + 2?"}])
        out = self.ok_json("render", "-m", "demo", "--messages", "-", "--json", stdin=messages)
        plain = self.ok("render", "-m", "demo", "--messages", "-", stdin=messages)
        self.assertEqual(plain.stdout, out["prompt"])
        self.assertIn("What is 2 + 2?", out["prompt"])
        again = self.ok("tokenize", "-m", "demo", "--no-special", "--text", out["prompt"])
        self.assertEqual(json.loads(again.stdout), out["ids"])


if __name__ == "__main__":
    unittest.main()
