"""Perplexity of a model with each adapter, and with an X-LoRA, on several texts: a Markdown table.

    python eval_adapters.py --model demo --adapter prose=models/demo-prose --adapter qa=models/demo-qa \\
        --xlora models/demo-xlora --text prose.heldout.txt qa.heldout.txt switch.heldout.txt

Runs `ruvllm eval` (--binary), so the numbers are the engine's: chunks of --ctx tokens that begin with
BOS, the second half of each scored. The first column is the plain model. Standard library only.
"""

import argparse
import json
import os
import subprocess


def perplexity(a, text, choice):
    """(perplexity, scored tokens) of a text; `choice` are the flags that choose adapters."""
    command = [a.binary, "eval", "-m", a.model, "--dtype", a.dtype, "--ctx", str(a.ctx), "--text", text, "--json"]
    done = subprocess.run(command + choice, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    return result["ppl"], result["tokens"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", default="ruvllm")
    p.add_argument("--model", required=True)
    p.add_argument("--adapter", action="append", default=[], help="name=folder")
    p.add_argument("--xlora", default=None)
    p.add_argument("--text", nargs="+", required=True)
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


if __name__ == "__main__":
    main()
