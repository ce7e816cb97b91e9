"""Writes the reserved lists: the held-out 100 questions and a development list.

    python make_heldout.py --heldout ../../models/demo/heldout_questions.jsonl --dev dev_questions.jsonl

Made once, before training. Running it again gives the same bytes (seeds are fixed).
"""

import argparse
import json
import random

from qa import KINDS, Reserved, draw_list


def write(path, rows):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--heldout", required=True)
    p.add_argument("--dev", required=True)
    a = p.parse_args()
    heldout = draw_list(random.Random(1001), {k: v[2] for k, v in KINDS.items()}, Reserved())
    assert len(heldout) == 100
    dev = draw_list(random.Random(2002), {k: 2 * v[2] for k, v in KINDS.items()}, Reserved(heldout))
    write(a.heldout, heldout)
    write(a.dev, dev)


if __name__ == "__main__":
    main()
