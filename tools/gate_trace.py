"""Draws which expert of an X-LoRA spoke at each token: the text in colours, as an SVG file.

    python3 gate_trace.py --binary build/dev/ruvllm -m demo --xlora models/demo-xlora --name prose \\
        --name Python --name questions --text FILE --out docs/gates.svg

Runs `ruvllm tokenize` and `ruvllm logits --gates`. A token's colour is the mean of its gates over the
adapted modules; the gates of a position depend on the tokens up to it, and act on what is predicted
next. Standard library only.
"""

import argparse
import json
import os
import struct
import subprocess
import tempfile
from html import escape

COLOURS = [(214, 96, 60), (52, 120, 190), (60, 160, 90), (150, 90, 180), (190, 160, 40), (90, 90, 90)]
CELL, LINE, COLUMNS = 8.4, 20, 96  # pixels of a character, of a line; characters of a line


def read_tensor(path, name):
    """(shape, flat values) of an f32 tensor of a safetensors file."""
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        start, end = header[name]["data_offsets"]
        f.seek(f.tell() + start)
        return header[name]["shape"], struct.unpack(f"<{(end - start) // 4}f", f.read(end - start))


def run(binary, *args, stdin=""):
    return subprocess.run([binary, *args], input=stdin, check=True, stdout=subprocess.PIPE, text=True).stdout


def mean_gates(a, ids):
    """[T][n]: the gates of every token, the mean over modules."""
    with tempfile.TemporaryDirectory() as folder:
        ids_path, out = os.path.join(folder, "ids.json"), os.path.join(folder, "gates.safetensors")
        with open(ids_path, "w", encoding="utf-8") as f:
            json.dump([ids], f)
        run(a.binary, "logits", "-m", a.model, "--dtype", "f32", "--xlora", a.xlora, "--ids", ids_path,
            "--gates", "--last", "1", "--out", out)
        (tokens, modules, n), flat = read_tensor(out, "gates.0")
    rows = []
    for t in range(tokens):
        at = t * modules * n
        rows.append([sum(flat[at + m * n + i] for m in range(modules)) / modules for i in range(n)])
    return rows


def blend(gates):
    """The colour of a mix: white for no gate at all."""
    total = max(sum(gates), 1e-9)
    mix = [sum(g * COLOURS[i % len(COLOURS)][c] for i, g in enumerate(gates)) / total for c in range(3)]
    return "#%02x%02x%02x" % tuple(round(255 - 0.62 * (255 - v)) for v in mix)


def draw(a, pieces, gates):
    """The SVG text: a legend, then one rectangle for every piece of a token on a line."""
    body, column, line = [], 0, 2
    for piece, row in zip(pieces, gates):
        label = f"{escape(repr(piece))}: " + ", ".join(
            f"{escape(n)} {g:.2f}" for n, g in zip(a.name, row))
        for i, part in enumerate(piece.split("\n")):
            if i:
                column, line = 0, line + 1
            while part:
                if column >= COLUMNS:
                    column, line = 0, line + 1
                here, part = part[:COLUMNS - column], part[COLUMNS - column:]
                x, y = 10 + column * CELL, line * LINE
                body.append(f'<g><title>{label}</title><rect x="{x:.1f}" y="{y}" width="{len(here) * CELL:.1f}" '
                            f'height="{LINE - 1}" fill="{blend(row)}"/><text x="{x:.1f}" y="{y + 14}" '
                            f'textLength="{len(here) * CELL:.1f}" xml:space="preserve">{escape(here)}</text></g>')
                column += len(here)
    legend, x = [], 10
    for i, name in enumerate(a.name):
        legend.append(f'<rect x="{x}" y="8" width="14" height="14" fill="{blend([float(i == k) for k in range(i + 1)])}"/>'
                      f'<text x="{x + 20}" y="20">{escape(name)}</text>')
        x += 40 + int(len(name) * CELL)
    height = (line + 2) * LINE
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{20 + COLUMNS * CELL:.0f}" height="{height}" '
            f'font-family="monospace" font-size="14"><rect width="100%" height="100%" fill="white"/>\n'
            + "\n".join(legend + body) + "\n</svg>\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", default="ruvllm")
    p.add_argument("-m", "--model", required=True)
    p.add_argument("--xlora", required=True)
    p.add_argument("--name", action="append", required=True, help="of each expert, in their order")
    p.add_argument("--text", required=True, help="a text file")
    p.add_argument("--out", required=True, help="the SVG file to write")
    a = p.parse_args()
    ids = json.loads(run(a.binary, "tokenize", "-m", a.model, "--file", a.text))
    lines = run(a.binary, "detokenize", "-m", a.model, "--jsonl", "-", stdin="".join(f"[{i}]\n" for i in ids))
    pieces = [json.loads(line) for line in lines.splitlines()]
    with open(a.out, "w", encoding="utf-8") as f:
        f.write(draw(a, pieces, mean_gates(a, ids)))


if __name__ == "__main__":
    main()
