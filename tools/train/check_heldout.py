"""Proves that no held-out question stands verbatim in the training data.

    python check_heldout.py --heldout H.jsonl --dev D.jsonl --text FILE... [--chats N] [--chat-seed S]

Looks for every question of the held-out list (lower case, single spaces, without its end mark)
as a part of (a) each training text given and (b) the user turns of N generated chat documents.
Exit status 1 and the question if one is found.
"""

import argparse
import json
import random
import re
import sys

from make_data import load_reserved, python_files, text_files
from qa import normalize
from qa_chat import draw_chat


def flat(text):
    return re.sub(r"\s+", " ", text).lower()


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--heldout", required=True)
    p.add_argument("--dev", required=True)
    p.add_argument("--text-dir", help="folder with the books; the evaluation books are left out")
    p.add_argument("--python-dir", help="the Python standard library folder")
    p.add_argument("--chats", type=int, default=200000)
    p.add_argument("--chat-seed", type=int, default=1)
    a = p.parse_args()
    with open(a.heldout, encoding="utf-8") as f:
        questions = [normalize(json.loads(line)["question"]) for line in f]
    files = text_files(a.text_dir) if a.text_dir else []
    files += python_files(a.python_dir)[0] if a.python_dir else []
    bad = 0
    for path in files:
        with open(path, encoding="utf-8", errors="replace") as f:
            text = flat(f.read())
        for q in questions:
            if q in text:
                print(f"found in {path}: {q}")
                bad += 1
    reserved = load_reserved(a.heldout, a.dev)
    rng = random.Random(a.chat_seed)
    passages = ([], ["no prose here"])
    for _ in range(a.chats):
        for role, text in draw_chat(rng, reserved, passages):
            if role == "user":
                line = flat(text)
                for q in questions:
                    if q in line:
                        print(f"found in a generated chat: {line}")
                        bad += 1
    print(f"{len(questions)} questions, {len(files)} files, {a.chats} chats: {bad} found")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
