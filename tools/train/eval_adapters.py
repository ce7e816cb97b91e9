"""Perplexity of a model with each adapter, and with an X-LoRA, on several texts: a Markdown table.

    python eval_adapters.py --model demo --adapter prose=models/demo-prose --adapter qa=models/demo-qa \\
        --xlora models/demo-xlora --text prose.test.txt qa.test.txt switch.test.txt

Runs `ruvllm eval` (--binary), so the numbers are the engine's: chunks of --ctx tokens that begin with
BOS, the second half of each scored. The first column is the plain model. With --questions (JSON lines
of question and answer) two more rows: the perplexity of the right answers after their questions in the
model's chat template, and how many are answered right, greedy, compared after qa.normalize.
Standard library only.
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

from qa import normalize

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
from gate_trace import read_tensor  # noqa: E402

MAX_ANSWER = 64  # tokens


def run(a, *args, stdin=""):
    done = subprocess.run([a.binary, *args], input=stdin, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def perplexity(a, text, choice):
    """(perplexity, scored tokens) of a text; `choice` are the flags that choose adapters."""
    flags = ["--dtype", a.dtype, "--ctx", str(a.ctx), "--text", text, "--json"]
    result = json.loads(run(a, "eval", "-m", a.model, *flags, *choice))
    return result["ppl"], result["tokens"]


def dialogue_prompts(a, rows):
    """The token ids of every question in the chat template, ready to be answered."""
    prompts = []
    for row in rows:
        messages = json.dumps([{"role": "user", "content": row["question"]}])
        prompts.append(json.loads(run(a, "render", "-m", a.model, "--messages", "-", "--json", stdin=messages))["ids"])
    return prompts


def num_right(a, rows, prompts, choice):
    out = run(a, "generate", "-m", a.model, "--dtype", a.dtype, "--ids", "-", "-n", str(MAX_ANSWER), *choice,
              stdin=json.dumps(prompts))
    ids = [s["ids"][:-1] if s["finish_reason"] == "stop" else s["ids"] for s in json.loads(out)["sequences"]]
    lines = "".join(json.dumps(i) + "\n" for i in ids)
    answers = run(a, "detokenize", "-m", a.model, "--jsonl", "-", stdin=lines).splitlines()
    return sum(normalize(json.loads(text)) == normalize(row["answer"]) for text, row in zip(answers, rows))


def answer_perplexity(a, rows, prompts, choice):
    """(perplexity, tokens) of the right answers after their questions; their end marks do not count."""
    lines = "".join(json.dumps(row["answer"]) + "\n" for row in rows)
    answers = run(a, "tokenize", "-m", a.model, "--jsonl", "-", "--no-special", stdin=lines).splitlines()
    answers = [json.loads(ids) for ids in answers]
    nats = 0.0
    with tempfile.TemporaryDirectory() as folder:
        ids_path, out = os.path.join(folder, "ids.json"), os.path.join(folder, "logits.safetensors")
        with open(ids_path, "w", encoding="utf-8") as f:
            json.dump([p + ids for p, ids in zip(prompts, answers)], f)
        run(a, "logits", "-m", a.model, "--dtype", a.dtype, "--ids", ids_path, "--out", out,
            "--last", str(1 + max(map(len, answers))), *choice)
        for i, ids in enumerate(answers):
            shape, flat = read_tensor(out, f"logits.{i}")
            vocab = shape[-1]
            for k, token in enumerate(ids):  # the row before a token predicts it
                at = len(flat) - (len(ids) - k + 1) * vocab
                nats += negative_log_softmax(flat[at:at + vocab], token)
    count = sum(map(len, answers))
    return math.exp(nats / count), count


def negative_log_softmax(logits, token):
    top = max(logits)
    return top + math.log(sum(math.exp(v - top) for v in logits)) - logits[token]


def print_row(name, results):
    """`results`: (perplexity, scored tokens) of every column, the base first."""
    base, count = results[0]
    cells = [f"{ppl:.3f}" + (f" ({100 * (ppl / base - 1):+.1f} %)" if i else "") for i, (ppl, _) in enumerate(results)]
    print(f"| {name} | {count} | " + " | ".join(cells) + " |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", default="ruvllm")
    p.add_argument("--model", required=True)
    p.add_argument("--adapter", action="append", default=[], help="name=folder")
    p.add_argument("--xlora", default=None)
    p.add_argument("--text", nargs="+", required=True)
    p.add_argument("--questions", default=None)
    p.add_argument("--ctx", type=int, default=512)
    p.add_argument("--dtype", default="f32")
    a = p.parse_args()
    columns = [("base", [])] + [(x.split("=")[0], ["--adapter", x]) for x in a.adapter]
    if a.xlora:
        columns.append(("X-LoRA", ["--xlora", a.xlora]))
    print("| text | tokens | " + " | ".join(name for name, _ in columns) + " |")
    print("|---|---|" + "---|" * len(columns))
    for text in a.text:
        print_row(os.path.basename(text), [perplexity(a, text, flags) for _, flags in columns])
    if a.questions:
        with open(a.questions, encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
        prompts = dialogue_prompts(a, rows)
        print_row("answers", [answer_perplexity(a, rows, prompts, flags) for _, flags in columns])
        cells = [str(num_right(a, rows, prompts, flags)) for _, flags in columns]
        print(f"| answered right, of {len(rows)} | | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
