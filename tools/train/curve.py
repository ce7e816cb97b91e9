"""Prints a training log as a Markdown table: python curve.py models/demo/training_log.jsonl [ROWS]"""

import json
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    losses = [x for x in lines if "loss" in x]
    every = max(1, len(losses) // rows)
    print("| minutes | step | tokens | mean loss, nats | |\n|---|---|---|---|---|")
    for at in range(0, len(losses), every):
        group = losses[at:at + every]
        mean = sum(x["loss"] for x in group) / len(group)
        last = group[-1]
        print(f"| {last['minutes']:.0f} | {last['step']} | {last['tokens']:,} | {mean:.2f} | {'#' * round(4 * mean)} |")
    print("\n| minutes | tokens | development questions right | Sherlock Holmes, bits/byte | argparse.py, bits/byte |\n|---|---|---|---|---|")
    for x in lines:
        if "dev_right" in x:
            print(f"| {x['minutes']:.0f} | {x['tokens']:,} | {100 * x['dev_right']:.0f} % | {x['book_bits']:.2f} | {x['python_bits']:.2f} |")


if __name__ == "__main__":
    main()
