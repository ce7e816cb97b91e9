#!/usr/bin/env python3
"""Runs the client-side conformance suite (official `openai` package, httpx, raw sockets) against
`ruvllm serve` on the demo model.

    tests/server/conformance.py [--all] [--create-venv [--packages-only]] [pytest arguments]

The suite is beside the source tree (../shared/conformance, or $RUVLLM_SHARED). Its packages come
from $RUVLLM_CONFORMANCE_PYTHON, from build/conformance-venv, or from the running Python;
--create-venv makes that environment from PyPI (with what the documents' examples need besides), and
--packages-only ends there. Without suite or packages: skipped (exit 77).
--all also runs what is slow (time-outs of minutes) and the soak tests.
"""

import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile

from common import BINARY, Server, backend_flags, skip, write_adapter

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("RUVLLM_SHARED", ROOT.parent / "shared"))
SUITE = SHARED / "conformance"
VENV = ROOT / "build" / "conformance-venv"
# What later versions bring.
LATER = ["structured", "json_mode", "tools", "responses"]
SLOW = ["slow", "soak"]
# What the examples of docs/serving.md need besides.
EXAMPLES = ["langchain-openai"]
KEY = "sk-conformance"


def create_venv():
    """VENV with the suite's packages and those of the examples; nothing is done where it was
    finished before."""
    finished = VENV / "finished"
    wanted = (SUITE / "requirements.txt").read_text(encoding="utf-8") + "\n".join(EXAMPLES)
    if finished.exists() and finished.read_text(encoding="utf-8") == wanted:
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    subprocess.run([VENV / "bin" / "pip", "install", "-q", "-r", SUITE / "requirements.txt",
                    *EXAMPLES], check=True)
    finished.write_text(wanted, encoding="utf-8")


def find_python(create):
    if create:
        create_venv()
    candidates = [os.environ.get("RUVLLM_CONFORMANCE_PYTHON"), VENV / "bin" / "python", sys.executable]
    for python in candidates:
        if python and os.path.exists(python):
            probe = subprocess.run([python, "-c", "import pytest, pytest_timeout, openai, httpx, "
                                    "prometheus_client, jsonschema"], capture_output=True)
            if probe.returncode == 0:
                return str(python)
    skip("no Python with the packages of requirements.txt (--create-venv makes one)")


def suite_model(folder):
    """The demo model with names of its end tokens that the suite looks for; nothing else differs."""
    demo = pathlib.Path(os.environ.get("RUVLLM_MODELS", ROOT / "models")) / "demo"
    model = pathlib.Path(folder) / "demo"
    model.mkdir()
    for path in demo.iterdir():
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
            text = text.replace("<|eos|>", "<|endoftext|>").replace("<|end|>", "<|im_end|>")
            (model / path.name).write_text(text, encoding="utf-8")
        elif path.suffix == ".safetensors":
            (model / path.name).symlink_to(path.resolve())
    return str(model)


def main():
    arguments = sys.argv[1:]
    run_all = "--all" in arguments
    create = "--create-venv" in arguments
    packages_only = "--packages-only" in arguments
    arguments = [a for a in arguments if a not in ("--all", "--create-venv", "--packages-only")]
    if not (SUITE / "requirements.txt").exists():
        skip(f"no suite at {SUITE}")
    if packages_only:
        create_venv()
        return
    python = find_python(create)
    engine = backend_flags()
    if not engine and "RUVLLM_CONFORMANCE_EDGE" not in os.environ:
        skip("this build has no serving backend, and one conversation at a time cannot pass")
    flags = [*engine, "--dtype", "f32", "--max-num-seqs", "64", "--no-access-log"]
    if engine:
        flags += ["--scheduling-policy", "priority"]
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(run(python, flags, engine, suite_model(folder), run_all, arguments))


def run(python, flags, engine, model, run_all, arguments):
    adapters = os.path.join(os.path.dirname(model), "adapters")
    config = json.loads(pathlib.Path(model, "config.json").read_text(encoding="utf-8"))
    write_adapter(os.path.join(adapters, "suite"), config)
    flags += ["--served-model-name", "demo", "--enable-lora", "--enable-lora-updates",
              "--lora-root", adapters]
    without = LATER + ([] if run_all else SLOW)
    with Server(*flags, key=KEY, model=model) as server:
        environment = os.environ | {
            "RUVLLM_BASE_URL": f"http://127.0.0.1:{server.port}",
            "RUVLLM_API_KEY": KEY,
            "RUVLLM_STRICT": "1",
            "RUVLLM_LORA_PATH": os.path.join(adapters, "suite"),
            "RUVLLM_SERVER_PID": str(server.process.pid),
            "RUVLLM_SERVE_CMD": shlex.join([os.path.abspath(BINARY), "serve", "-m", model, *engine,
                                            "--served-model-name", "demo",
                                            "--dtype", "f32", "--port", "{port}"]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                   "-m", " and ".join(f"not {name}" for name in without), *arguments]
        status = subprocess.run(command, cwd=SUITE, env=environment).returncode
        if server.process.poll() is not None:
            print(f"the server ended with {server.process.returncode}:\n{server.text()[-4000:]}")
            status = status or 1
    return status


if __name__ == "__main__":
    main()
