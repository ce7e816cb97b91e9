"""Trains the demo model, or a larger one grown from it, on a CPU for a given number of minutes or steps.

    python train.py --model-dir models/demo --text-dir BOOKS --python-dir LIB --heldout H --dev D \
        --work WORK --minutes 120 [--resume] [--from-export] [--stop-after M]
    python train.py ... --shape 30m --grow --steps 3000     # 29 million parameters, from models/demo

The learning rate and the data mix follow the share of `--minutes` that is spent, so that the
decay ends on time however busy the machine is. `WORK/checkpoint.pt` is written every two minutes and on SIGTERM;
`--resume` goes on from it (time already spent counts), `--from-export` starts anew from the
weights in `--model-dir`, `--grow` from a larger model that computes the same (grow.py). With `--steps` the
rate and the mix follow the steps instead: the same run on a machine that has other work, too.
`WORK/log.jsonl` has one line per report.
"""

import argparse
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("OMP_NUM_THREADS", "1")  # see Trainer.gradient
os.environ.setdefault("MKL_NUM_THREADS", "1")

import torch
from tokenizers import Tokenizer

from evaluate import answer_all, bits_per_byte, score
from export import load_export
from grow import grown
from make_data import Streams, eval_text_files, load_reserved, python_files, read, text_files
from model import SHAPES, Llama
from muon import Muon


def parse():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("--model-dir", "--text-dir", "--python-dir", "--heldout", "--dev", "--work"):
        p.add_argument(name, required=True)
    p.add_argument("--minutes", type=float, default=120)
    p.add_argument("--steps", type=int, help="end after so many steps in all, however long they take")
    p.add_argument("--shape", choices=SHAPES, default="demo")
    p.add_argument("--grow", action="store_true", help="start from the weights in --model-dir, made larger")
    p.add_argument("--stop-after", type=float, default=1e9, help="stop this run after so many minutes")
    p.add_argument("--resume", action="store_true")
    p.add_argument("--from-export", action="store_true")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--lr", type=float, default=0.02, help="Muon's; the embeddings' is a fifth of it")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--report-steps", type=int, default=20)
    p.add_argument("--eval-minutes", type=float, default=8)
    return p.parse_args()


def rate(share, step):
    """Warm-up over 25 steps, constant to 45 % of the time, then straight down to 2 %."""
    warm = min(1.0, (step + 1) / 25)
    return warm * (1.0 if share < 0.45 else max(0.02, 1 - (share - 0.45) / 0.55))


CODE_SHARE = 0.3


def draw_pieces(streams, share, step, threads):
    """The batch of a step, one piece per thread; a piece is a list of (tokens, weights).

    Mostly whole chats (about 820 tokens) and one window of prose or code in every piece; more windows
    early on, fewer later, longer ones at the end; now and then windows of 1,024 or 2,048 tokens, so that
    far positions are seen.
    """
    if share > 0.5 and step % 32 == 0:
        return [[streams.windows(1, 2048, CODE_SHARE)]]
    if share > 0.3 and step % 32 == 16:
        return [[streams.windows(1, 1024, CODE_SHARE)] for _ in range(threads)]
    if share < 0.17:
        return [[streams.chat_rows(640), streams.windows(2, 256, CODE_SHARE)] for _ in range(threads)]
    if share > 0.38 and step % 3 == 0:
        return [[streams.chat_rows(1000)] for _ in range(threads)]
    if share > 0.7:
        return [[streams.chat_rows(640), streams.windows(1, 512, CODE_SHARE)] for _ in range(threads)]
    return [[streams.chat_rows(820), streams.windows(1, 256, CODE_SHARE)] for _ in range(threads)]


class Trainer:
    def __init__(self, a):
        self.a = a
        torch.manual_seed(a.seed)
        torch.set_num_threads(1)
        self.pool = ThreadPoolExecutor(a.threads)
        self.tok = Tokenizer.from_file(os.path.join(a.model_dir, "tokenizer.json"))
        self.model = Llama(SHAPES[a.shape])
        named = list(self.model.named_parameters())
        matrices = [p for n, p in named if ".layers." in n and p.dim() == 2]
        others = [p for n, p in named if not (".layers." in n and p.dim() == 2)]
        self.muon = Muon(matrices, lr=a.lr, weight_decay=0.02)
        self.adam = torch.optim.AdamW(others, lr=a.lr / 5, betas=(0.9, 0.98), weight_decay=0.0)
        self.step, self.tokens, self.spent, self.stopped = 0, 0, 0.0, False
        self.checkpoint = os.path.join(a.work, "checkpoint.pt")
        if a.resume:
            self.load()
        elif a.from_export:
            load_export(self.model, a.model_dir)
        elif a.grow:
            small = Llama(SHAPES["demo"])
            load_export(small, a.model_dir)
            self.model.load_state_dict(grown(small, self.model, a.seed))
        seed = a.seed * 1000003 + self.step  # a resumed run draws new data
        self.streams = Streams(self.tok, text_files(a.text_dir), python_files(a.python_dir)[0],
                               load_reserved(a.heldout, a.dev), seed, a.work)
        with open(a.dev, encoding="utf-8") as f:
            self.dev = [json.loads(line) for line in f][::2]
        unseen = [eval_text_files(a.text_dir)[0], python_files(a.python_dir)[1][0]]
        self.samples = [read(path)[20000:40000] for path in unseen]  # watched, never trained on

    def load(self):
        s = torch.load(self.checkpoint, weights_only=True)
        if s.get("shape", "demo") != self.a.shape:
            raise SystemExit(f"{self.checkpoint} is of shape {s.get('shape', 'demo')}, --shape says {self.a.shape}")
        self.model.load_state_dict(s["model"])
        self.muon.load_state_dict(s["muon"])
        self.adam.load_state_dict(s["adam"])
        self.step, self.tokens, self.spent = s["step"], s["tokens"], s["spent"]

    def save(self):
        state = {"shape": self.a.shape, "model": self.model.state_dict(), "muon": self.muon.state_dict(),
                 "adam": self.adam.state_dict(), "step": self.step, "tokens": self.tokens, "spent": self.spent}
        torch.save(state, self.checkpoint + ".new")
        os.replace(self.checkpoint + ".new", self.checkpoint)

    def gradient(self, pieces):
        """Sets the gradients of the batch's mean loss and returns it.

        Each piece goes to a thread that computes alone: on a machine with other work this is about
        twice as fast as threads inside each operation, which wait for each other.
        """
        total = float(sum(w[:, 1:].sum() for piece in pieces for _, w in piece))
        params = list(self.model.parameters())

        def run(piece):
            loss = sum(self.model(torch.from_numpy(t).long(), torch.from_numpy(w)) for t, w in piece) / total
            return loss.item(), torch.autograd.grad(loss, params)

        mean = 0.0
        for loss, grads in self.pool.map(run, pieces):
            mean += loss
            for p, g in zip(params, grads):
                p.grad = g if p.grad is None else p.grad.add_(g)
        return mean

    def one_step(self, share):
        pieces = draw_pieces(self.streams, share, self.step, self.a.threads)
        loss = self.gradient(pieces)
        scale = rate(share, self.step)
        for optimizer, base in ((self.muon, self.a.lr), (self.adam, self.a.lr / 5)):
            for group in optimizer.param_groups:
                group["lr"] = base * scale
        self.muon.param_groups[0]["momentum"] = min(0.95, 0.85 + 0.1 * self.step / 200)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.muon.step(self.pool.map)
        self.adam.step()
        self.model.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += sum(t.size for piece in pieces for t, _ in piece)
        return loss if len(pieces[0]) > 1 else None

    def report(self, **fields):
        line = {"minutes": round(self.spent / 60, 2), "step": self.step, "tokens": self.tokens, **fields}
        with open(os.path.join(self.a.work, "log.jsonl"), "a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    def dev_eval(self):
        rows = self.dev
        right, by_kind, _ = score(rows, answer_all(self.model, self.tok, [r["question"] for r in rows]))
        bits = [round(bits_per_byte(self.model, self.tok, t), 4) for t in self.samples]
        self.report(dev_right=round(right / len(rows), 3), book_bits=bits[0], python_bits=bits[1], by_kind=by_kind)

    def share(self):
        """Of the training that is done, 0 to 1."""
        return self.step / self.a.steps if self.a.steps else self.spent / (self.a.minutes * 60)

    def run(self):
        a, start, spent_before = self.a, time.time(), self.spent
        losses, last_save, last_eval = [], start, start
        last_tokens, last_time = self.tokens, start
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stopped", True))
        while self.share() < 1 and time.time() - start < a.stop_after * 60 and not self.stopped:
            loss = self.one_step(self.share())
            losses += [] if loss is None else [loss]
            now = time.time()
            self.spent = spent_before + now - start
            if self.step % a.report_steps == 0 and losses:
                self.report(loss=round(sum(losses) / len(losses), 4),
                            tokens_per_s=round((self.tokens - last_tokens) / (now - last_time)))
                losses, last_tokens, last_time = [], self.tokens, now
            if now - last_eval > a.eval_minutes * 60:
                self.dev_eval()
                last_eval = time.time()
            if now - last_save > 120:
                self.save()
                last_save = time.time()
        self.save()
        if not self.stopped:
            self.dev_eval()


if __name__ == "__main__":
    args = parse()
    os.makedirs(args.work, exist_ok=True)
    Trainer(args).run()
