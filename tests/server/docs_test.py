#!/usr/bin/env python3
"""Runs the examples of docs/serving.md against a server of this build, and those of COMMANDS, which
need none; `docs`, `models` and `tools` in them are the source tree's.

Every fenced block of the language `sh`, `python` or `python-openai` after the line
`<!-- run -->` is run as it stands; the port 8000 in it is replaced by the server's. A block of
`python-openai` or `python-langchain` needs that package and is skipped (and said so) without it.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

from common import Server, backend_flags

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"<!-- run(?: needs=(?P<needs>\S+))? -->\n```(?P<language>\w+)\n(?P<code>.*?)```", re.S)


def python_with(package):
    for python in (os.environ.get("RUVLLM_CONFORMANCE_PYTHON"),
                   ROOT / "build" / "conformance-venv" / "bin" / "python", sys.executable):
        if python and os.path.exists(python) and \
                subprocess.run([python, "-c", f"import {package}"], capture_output=True).returncode == 0:
            return str(python)
    return None


# Documents, and how many examples of each run at least.
COMMANDS = {"xlora.md": 2, "quantization.md": 3}
COMMANDS_SERVING = {"backends.md": 4, "performance.md": 1}


def run_block(block, code, python, environment):
    """Whether the example did what it should; says so."""
    title = code.strip().splitlines()[0][:70]
    argv = ["bash", "-euo", "pipefail", "-c", code] if block["language"] == "sh" else \
        [python, "-c", code]
    with tempfile.TemporaryDirectory() as folder:
        for name in ("docs", "models", "tools"):
            os.symlink(ROOT / name, os.path.join(folder, name))
        result = subprocess.run(argv, capture_output=True, text=True, timeout=600, cwd=folder,
                                env=environment)
    if result.returncode != 0 or '"error"' in result.stdout:
        print(f"FAILED: {title}\n{result.stdout[-1000:]}{result.stderr[-2000:]}")
        return False
    print(f"ok: {title}")
    return True


def run_commands(name, least):
    """Examples that need no server; `ruvllm` is this build's."""
    blocks = list(BLOCK.finditer((ROOT / "docs" / name).read_text(encoding="utf-8")))
    assert len(blocks) >= least, f"docs/{name} has only {len(blocks)} examples that run"
    folder = os.path.dirname(os.path.abspath(os.environ["RUVLLM_BINARY"]))
    environment = os.environ | {"PATH": folder + os.pathsep + os.environ["PATH"]}
    return sum(not run_block(block, block["code"], sys.executable, environment) for block in blocks)


def main():
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) >= 5, f"docs/serving.md has only {len(blocks)} examples that run"
    failed = skipped = 0
    with Server("--no-access-log", key="sk-example") as server:
        for block in blocks:
            code = block["code"].replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
            title = code.strip().splitlines()[0][:70]
            needs = block["needs"]
            python = python_with(needs) if needs else sys.executable
            if python is None:
                print(f"skipped (no package {needs}): {title}")
                skipped += 1
                continue
            environment = os.environ | {"KEY": "sk-example", "OPENAI_API_KEY": "sk-example"}
            failed += not run_block(block, code, python, environment)
    print(f"{len(blocks) - failed - skipped} examples ran, {skipped} skipped, {failed} failed")
    for name, least in (COMMANDS | (COMMANDS_SERVING if backend_flags() else {})).items():
        failed += run_commands(name, least)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
