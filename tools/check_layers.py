#!/usr/bin/env python3
"""Checks that every folder includes only what the architecture lets it.

The table below is the architecture's list of folders, low to high. A folder may include itself, the
public headers (ruvllm/...), base, and what its row names; `formats` in a row does not bring what
formats itself may include. Also checked: standard headers only in the public headers, per-ISA kernel
files (only C headers, intrinsics and the contract header of their own folder), and include cycles
between folders.

Usage: tools/check_layers.py [--root DIR]     exit 1 and one line per breach
"""

import argparse
import pathlib
import re
import sys

# folder -> folders it may include (besides itself, ruvllm/ and base)
LAYERS = {
    "base": [],
    "tensor": [],
    "spec": ["tensor"],
    "formats": ["tensor", "spec"],
    "tokenizer": ["spec"],
    "device": ["tensor"],
    "kernels": ["tensor"],
    "ops": ["tensor", "device", "kernels", "spec"],
    "sampling": ["tensor"],
    "kv": [],
    "sched": ["kv"],
    "model": ["tensor", "spec", "device", "ops", "kv"],
    "lora": ["tensor", "spec", "formats", "ops"],
    "quantize": ["tensor", "spec", "formats", "tokenizer", "kernels", "ops", "model"],
    "engine": ["tensor", "spec", "formats", "tokenizer", "device", "ops", "sampling", "kv", "sched",
               "model", "lora", "quantize"],
    "server": [],
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
ISA_FILE = re.compile(r"_(avx2|avxvnni|avx512|avx512vnni|avx512bf16|amx|neon|neon_dotprod|neon_i8mm)\.cc$")
# What a per-ISA file may include from outside its folder: nothing that defines C++ inline functions
# which other code shares (the linker could keep the copy with the newer instructions).
ISA_ALLOWED = re.compile(r"^(immintrin|arm_neon|std(int|def|bool|lib)|string|math)\.h$")


def includes(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1) == "<", match.group(2)


def check_sources(root):
    problems = []
    src = root / "src"
    for folder in sorted(p.name for p in src.iterdir() if p.is_dir()):
        if folder not in LAYERS:
            problems.append(f"src/{folder}: is not in the table of tools/check_layers.py")
            continue
        allowed = {folder, "base", "ruvllm", *LAYERS[folder]}
        for path in sorted((src / folder).rglob("*")):
            if path.suffix not in (".h", ".cc", ".cu", ".inc"):
                continue
            name = path.relative_to(root)
            for number, angled, header in includes(path):
                if ISA_FILE.search(path.name):
                    own = not angled and header.startswith(f"{folder}/")
                    if not own and not ISA_ALLOWED.match(header):
                        problems.append(f"{name}:{number}: a per-ISA file may not include {header}")
                if angled:
                    continue
                top = header.split("/")[0]
                if "/" not in header:
                    problems.append(f"{name}:{number}: include \"{header}\" with its folder's name")
                elif top not in allowed and not (top in ("tests",) and "_test" in path.name):
                    problems.append(
                        f"{name}:{number}: {folder} may not include {header} "
                        f"(allowed: {', '.join(sorted(allowed))})")
    return problems


def check_public(root):
    problems = []
    for path in sorted((root / "include").rglob("*.h")):
        for number, angled, header in includes(path):
            if angled and ("/" in header or header.endswith(".h")):
                problems.append(f"{path.relative_to(root)}:{number}: public headers include only "
                                f"standard C++ headers, found <{header}>")
            if not angled and not header.startswith("ruvllm/"):
                problems.append(f"{path.relative_to(root)}:{number}: public headers include only "
                                f"ruvllm/..., found {header}")
    return problems


def check_apps(root):
    problems = []
    for path in sorted((root / "apps").rglob("*")):
        if path.suffix not in (".h", ".cc"):
            continue
        for number, angled, header in includes(path):
            if not angled and header.split("/")[0] == "kernels":
                problems.append(f"{path.relative_to(root)}:{number}: apps may not include {header}")
    return problems


def check_table_has_no_cycle():
    state = {}

    def visit(folder, trail):
        if state.get(folder) == "done":
            return []
        if state.get(folder) == "open":
            return [f"the table has a cycle: {' -> '.join(trail + [folder])}"]
        state[folder] = "open"
        found = [p for dep in LAYERS[folder] for p in visit(dep, trail + [folder])]
        state[folder] = "done"
        return found

    return [p for folder in LAYERS for p in visit(folder, [])]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent)
    root = parser.parse_args().root
    problems = (check_table_has_no_cycle() + check_sources(root) + check_public(root) +
                check_apps(root))
    for problem in problems:
        print(problem)
    if not problems:
        print(f"layers: {len(LAYERS)} folders, no breach")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
