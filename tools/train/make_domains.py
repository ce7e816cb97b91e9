"""Writes the texts that the demo adapters are trained, watched and measured on.

    python make_domains.py --text-dir BOOKS --python-dir LIB \\
        --heldout models/demo/heldout_questions.jsonl --dev dev_questions.jsonl --out WORK

For the domains prose, code and qa, and for `switch` (passages of the three in turn), four files:
  X.train.txt  of what the demo model was trained on: novels and stories (no plays, no diary), the
               standard library and functions of qa_code.py, dialogues of qa_chat.py
  novels.train.txt  those of the prose that were written in English (Dickens, Wodehouse, Carroll, Melville)
  X.dev.txt    watched while training, never trained on
  X.test.txt   measured at the end, never trained on, and nothing of X.dev.txt in it
  X.short.txt  of X.test.txt, to bound the time: the beginning of each held-out book's part, of the
               modules and of the switching text; what the table of docs/xlora.md is measured on
Prose is held out by book, code by module, questions by the two lists, all as in make_data.py.
Texts hold special tokens as text (`<|bos|>`, `<|user|>`); the tokenizer reads them as tokens. The
same arguments give the same bytes.
"""

import argparse
import json
import os
import random

import qa_code
from make_data import eval_text_files, load_passages, load_reserved, python_files, read, text_files
from qa_chat import draw_chat

NOVELS = ("charles-dickens", "p-g-wodehouse", "lewis-carroll", "herman-melville")
SKIP_BOOKS = ("samuel-pepys", "shakespeare")  # a diary in short hand and plays: other styles than the rest
EVAL_CHARS = 100_000  # of an evaluation book, for each of dev and test
CODE_EVAL_CHARS = 200_000
SYNTHETIC_CODE = 400  # documents of qa_code.py in the training text
TRAIN_DIALOGUES = 60_000
SWITCH_TRAIN, SWITCH_EVAL = 12_000, 300  # passages
SHORT_BOOK, SHORT_CODE, SHORT_SWITCH = 24_000, 48_000, 40_000  # characters


def document(text):
    return f"<|bos|>{text.strip()}\n<|eos|>\n"


def dialogue(turns):
    """As the chat template writes it."""
    return "<|bos|>" + "".join(f"<|{role}|>{text.strip()}<|end|>" for role, text in turns) + "<|eos|>\n"


def prose_texts(folder):
    books = [p for p in text_files(folder) if not any(s in p for s in SKIP_BOOKS)]
    held = [read(p) for p in eval_text_files(folder)]
    cut = lambda text, start: text[text.index("\n", start) + 1:text.index("\n", start + EVAL_CHARS) + 1]
    parts = [cut(t, 20_000) for t in held]
    return ("".join(document(read(p)) for p in books), "".join(cut(t, 200_000) for t in held), "".join(parts),
            "".join(part[:SHORT_BOOK] for part in parts))


def code_texts(folder, rng):
    """Held-out modules are dealt to dev and test in turn, so that neither has a module of the other."""
    train, held = python_files(folder)
    documents = [document(read(p)) for p in train]
    documents += [document(qa_code.code_document(rng)) for _ in range(SYNTHETIC_CODE)]
    rng.shuffle(documents)
    parts = ["".join(document(read(p)) for p in held[i::2])[:CODE_EVAL_CHARS] for i in (1, 0)]
    return "".join(documents), parts[0], parts[1], parts[1][:SHORT_CODE]


def qa_texts(heldout, dev, passages, rng):
    """Training dialogues without the lists; dev: every second development question; test: all others."""
    reserved = load_reserved(heldout, dev)
    train = "".join(dialogue(draw_chat(rng, reserved, passages)) for _ in range(TRAIN_DIALOGUES))
    lists = []
    for path in (heldout, dev):
        with open(path, encoding="utf-8") as f:
            lists.append([(r["question"], r["answer"]) for r in map(json.loads, f)])
    texts = []
    for rows in (lists[1][::2], lists[0] + lists[1][1::2]):
        rng.shuffle(rows)
        texts.append("".join(dialogue([("user", q), ("assistant", a)]) for q, a in rows))
    return train, texts[0], texts[1], texts[1]


def passages_of(text, kind, rng):
    """Endless passages of a text, 150 to 600 characters: whole lines, or one whole dialogue."""
    lines = text.split("\n")
    while True:
        at = rng.randrange(len(lines))
        if kind == "qa":
            if lines[at].startswith("<|bos|>") and lines[at].endswith("<|eos|>"):
                yield lines[at].replace("<|bos|>", "").replace("<|eos|>", "") + "\n"
            continue
        size, want, picked = 0, rng.randint(150, 600), []
        for line in lines[at:at + 40]:
            if size >= want or "<|" in line:
                break
            picked.append(line)
            size += len(line) + 1
        if size >= 150:
            yield "\n".join(picked)[:1200] + "\n"


def switch_text(texts, count, rng):
    """`count` passages; no two neighbours of one domain."""
    sources = {kind: passages_of(text, kind, rng) for kind, text in texts.items()}
    out, last = [], None
    for _ in range(count):
        last = rng.choice([k for k in sorted(sources) if k != last])
        out.append(next(sources[last]))
    return "".join(out)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--text-dir", required=True, help="the books")
    p.add_argument("--python-dir", required=True, help="Python's standard library")
    p.add_argument("--heldout", required=True)
    p.add_argument("--dev", required=True)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--out", required=True)
    a = p.parse_args()
    books = [q for q in text_files(a.text_dir) if not any(s in q for s in SKIP_BOOKS)]
    made = {"prose": prose_texts(a.text_dir), "code": code_texts(a.python_dir, random.Random(a.seed)),
            "qa": qa_texts(a.heldout, a.dev, load_passages(books), random.Random(a.seed))}
    counts = (SWITCH_TRAIN, SWITCH_EVAL, SWITCH_EVAL)
    made["switch"] = [switch_text({k: v[i] for k, v in made.items()}, counts[i], random.Random(a.seed + i))
                      for i in range(3)]
    made["switch"].append(made["switch"][2][:SHORT_SWITCH])
    os.makedirs(a.out, exist_ok=True)
    for domain, texts in made.items():
        for part, text in zip(("train", "dev", "test", "short"), texts):
            with open(os.path.join(a.out, f"{domain}.{part}.txt"), "w", encoding="utf-8") as f:
                f.write(text)
            print(f"{domain}.{part}.txt: {len(text)} characters")
    with open(os.path.join(a.out, "novels.train.txt"), "w", encoding="utf-8") as f:
        f.write("".join(document(read(q)) for q in books if any(n in q for n in NOVELS)))


if __name__ == "__main__":
    main()
