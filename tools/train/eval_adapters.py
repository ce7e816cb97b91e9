"""Perplexity of a model with each adapter, and with an X-LoRA, on several texts: a Markdown table.

    python eval_adapters.py --model demo --adapter prose=models/demo-prose --adapter qa=models/demo-qa \\
        --xlora models/demo-xlora --text prose.test.txt qa.test.txt switch.test.txt

Runs `ruvllm eval` (--binary), so the numbers are the engine's: chunks of --ctx tokens that begin with
BOS, the second half of each scored. The first column is the plain model. With --questions (JSON lines
of question and answer) a last row says how many are answered right: greedy, in the model's chat template,
compared after qa.normalize. Standard library only.
"""

import argparse
import json
import os
import subprocess

from qa import normalize

MAX_ANSWER = 64  # tokens


def run(a, *args, stdin=""):
    done = subprocess.run([a.binary, *args], input=stdin, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def perplexity(a, text, choice):
    """(perplexity, scored tokens) of a text; `choice` are the flags that choose adapters."""
    flags = ["--dtype", a.dtype, "--ctx", str(a.ctx), "--text", text, "--json"]
    result = json.loads(run(a, "eval", "-m", a.model, *flags, *choice))
    return result["ppl"], result["tokens"]


def question_prompts(a, rows):
    """JSON of the token ids of every question in the chat template, ready to be answered."""
    prompts = []
    for row in rows:
        messages = json.dumps([{"role": "user", "content": row["question"]}])
        prompts.append(json.loads(run(a, "render", "-m", a.model, "--messages", "-", "--json", stdin=messages))["prompt"])
    lines = "".join(json.dumps(p) + "\n" for p in prompts)
    ids = run(a, "tokenize", "-m", a.model, "--jsonl", "-", "--no-special", stdin=lines)
    return "[" + ",".join(ids.split("\n")[:len(rows)]) + "]"


def num_right(a, rows, prompts, choice):
    out = run(a, "generate", "-m", a.model, "--dtype", a.dtype, "--ids", "-", "-n", str(MAX_ANSWER), *choice,
              stdin=prompts)
    lines = "".join(json.dumps(s["ids"]) + "\n" for s in json.loads(out)["sequences"])
    answers = run(a, "detokenize", "-m", a.model, "--jsonl", "-", stdin=lines).splitlines()
    return sum(normalize(json.loads(text)) == normalize(row["answer"]) for text, row in zip(answers, rows))


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
        results = [perplexity(a, text, flags) for _, flags in columns]
        base = results[0][0]
        cells = [f"{ppl:.3f}" + (f" ({100 * (ppl / base - 1):+.1f} %)" if i else "")
                 for i, (ppl, _) in enumerate(results)]
        print(f"| {os.path.basename(text)} | {results[0][1]} | " + " | ".join(cells) + " |", flush=True)
    if a.questions:
        with open(a.questions, encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
        prompts = question_prompts(a, rows)
        cells = [str(num_right(a, rows, prompts, flags)) for _, flags in columns]
        print(f"| questions answered right | {len(rows)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
