"""The data recipe: from books, Python's standard library and the question generator to windows.

Three streams, each an endless source of token rows (numpy int32) with loss weights:
  prose   documents are whole books; a window starts at a random paragraph
  code    files of the standard library, and small documented functions of qa_code.py
  chat    chat documents of qa_chat.py, each its own row, grouped by length to save padding
A document starts with <|bos|> and ends with <|eos|>; a chat turn is
<|user|>text<|end|><|assistant|>text<|end|>. Loss weights: 1 in prose and code, 2 on
what the assistant says, 0 on what the user (or the system line) says.

Never trained on: books named in EVAL_BOOKS, and the modules named in EVAL_PYTHON.
"""

import json
import os
import random

import numpy as np

import qa_code
from qa import Reserved
from qa_chat import draw_chat

EVAL_BOOKS = ("arthur-conan-doyle_", "jane-austen_")
# Held-out part of the standard library: modules, and everything below folders of these names.
EVAL_PYTHON = ("argparse.py", "bisect.py", "calendar.py", "configparser.py", "csv.py", "fractions.py",
               "heapq.py", "pprint.py", "statistics.py", "textwrap.py", "json", "wsgiref")
# Left out of the code stream: tests, generated tables, old and foreign text.
SKIP_PYTHON = ("test", "tests", "idlelib", "site-packages", "lib2to3", "turtledemo", "encodings", "pydoc_data",
               "__pycache__", "ensurepip", "__phello__")


def text_files(folder):
    """Training books: all .txt files of the folder but the evaluation books, in name order."""
    names = sorted(n for n in os.listdir(folder) if n.endswith(".txt"))
    return [os.path.join(folder, n) for n in names if not n.startswith(EVAL_BOOKS)]


def eval_text_files(folder):
    names = sorted(n for n in os.listdir(folder) if n.endswith(".txt"))
    return [os.path.join(folder, n) for n in names if n.startswith(EVAL_BOOKS)]


def python_files(folder):
    """(training files, held-out files) of a standard library folder, in name order."""
    train, held = [], []
    for root, dirs, names in os.walk(folder):
        dirs[:] = sorted(d for d in dirs if d not in SKIP_PYTHON and not d.startswith("config-"))
        top = os.path.relpath(root, folder).split(os.sep)[0]
        for name in sorted(n for n in names if n.endswith(".py")):
            in_held = top in EVAL_PYTHON or (top == "." and name in EVAL_PYTHON)
            (held if in_held else train).append(os.path.join(root, name))
    return train, held


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def load_reserved(*paths):
    rows = []
    for path in paths:
        with open(path, encoding="utf-8") as f:
            rows += [json.loads(line) for line in f]
    return Reserved(rows)


def load_passages(files):
    """Short texts for prose answers: fables, and paragraphs of a moderate length."""
    fables, paragraphs = [], []
    for path in files:
        parts = [" ".join(p.split()) for p in read(path).split("\n")]
        if "aesop" in os.path.basename(path):
            fables += [p for p in parts if 200 < len(p) < 1200]
        elif "shakespeare" not in path and "pepys" not in path:
            paragraphs += [p for p in parts if 150 < len(p) < 450 and p[-1] in ".!?"]
    return fables, paragraphs


class ChatFormat:
    """Token ids of a chat; the Jinja template of tokenizer_config.json says the same."""

    def __init__(self, tokenizer):
        self.encode = lambda s: tokenizer.encode(s, add_special_tokens=False).ids
        ids = {name: tokenizer.token_to_id(f"<|{name}|>")
               for name in ("bos", "eos", "system", "user", "assistant", "end")}
        self.ids = ids

    def document(self, turns):
        tokens, weights = [self.ids["bos"]], [0.0]
        for role, text in turns:
            body = self.encode(text.strip()) + [self.ids["end"]]
            tokens += [self.ids[role]] + body
            weights += [0.0] + [2.0 if role == "assistant" else 0.0] * len(body)
        return tokens, weights

    def prompt(self, question):
        return [self.ids["bos"], self.ids["user"], *self.encode(question.strip()), self.ids["end"],
                self.ids["assistant"]]


class Streams:
    """Draws windows of a length from the three streams; all randomness comes from `rng`."""

    def __init__(self, tokenizer, books, code_files, reserved, seed, cache):
        self.rng = random.Random(seed)
        self.format = ChatFormat(tokenizer)
        self.reserved = reserved
        self.passages = load_passages(books)
        bos, eos = self.format.ids["bos"], self.format.ids["eos"]
        self.prose, self.prose_starts = self._join(books, bos, eos, os.path.join(cache, "prose.npz"))
        self.code, self.code_starts = self._join(code_files, bos, eos, os.path.join(cache, "code.npz"))
        self.bos, self.eos = bos, eos
        self.pending = []

    def _join(self, files, bos, eos, cache):
        """All files as one token array, and the offsets at which a window may start; kept in `cache`."""
        if os.path.exists(cache):
            with np.load(cache) as saved:
                return saved["tokens"], saved["starts"]
        chunks, starts, at = [], [], 0
        for path in files:
            text = read(path)
            pieces = [text] if path.endswith(".py") else [p + "\n" for p in text.split("\n") if p.strip()]
            ids = [bos]
            for piece in pieces:
                starts.append(at + len(ids))
                ids += self.format.encode(piece)
            ids.append(eos)
            chunks.append(np.array(ids, dtype=np.int32))
            at += len(ids)
        tokens, starts = np.concatenate(chunks), np.array(starts)
        np.savez(cache, tokens=tokens, starts=starts)
        return tokens, starts

    def prose_window(self, n):
        start = self.rng.choice(self.prose_starts)
        start = min(int(start), len(self.prose) - n)
        tokens = self.prose[start:start + n].copy()
        tokens[1:], tokens[0] = tokens[:-1].copy(), self.bos
        return tokens, np.ones(n, np.float32)

    def code_window(self, n):
        if self.rng.random() < 0.25:
            tokens = []
            while len(tokens) < n:
                tokens += [self.bos, *self.format.encode(qa_code.code_document(self.rng)), self.eos]
            return np.array(tokens[:n], np.int32), np.ones(n, np.float32)
        start = self.rng.randrange(len(self.code) - n)
        if self.rng.random() < 0.3:
            start = min(int(self.rng.choice(self.code_starts)) - 1, len(self.code) - n)
        return self.code[start:start + n].copy(), np.ones(n, np.float32)

    def chat_rows(self, budget):
        """Whole documents of like length, about `budget` tokens with padding: tokens, weights.

        A pool of documents is sorted by length and cut into groups that are used in random order,
        so that every document drawn is used once.
        """
        if not self.pending:
            pool = [self.format.document(draw_chat(self.rng, self.reserved, self.passages)) for _ in range(400)]
            pool.sort(key=lambda d: len(d[0]))
            group = []
            for d in pool:
                if group and (len(group) + 1) * len(d[0]) > budget:
                    self.pending.append(group)
                    group = []
                group.append(d)
            self.pending.append(group)
            self.rng.shuffle(self.pending)
        group = self.pending.pop()
        n = min(max(len(t) for t, _ in group), 1024)
        tokens, weights = np.full((len(group), n), self.eos, np.int32), np.zeros((len(group), n), np.float32)
        for i, (t, w) in enumerate(group):
            m = min(len(t), n)
            tokens[i, :m], weights[i, :m] = t[:m], w[:m]
        return tokens, weights

    def windows(self, rows, n, code_share):
        """`rows` windows of `n` tokens of prose or code: tokens [rows, n], weights [rows, n]."""
        pairs = [(self.code_window if self.rng.random() < code_share else self.prose_window)(n) for _ in range(rows)]
        return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
