#!/usr/bin/env python3
"""Makes tests/fixtures/gguf: GGUF forms of the models in tests/fixtures/models (and others), written
by llama.cpp's own converter, so that names, metadata and row orders are theirs and not ours.

    pip download --no-deps --no-binary :all: llama-cpp-python      (any way to get its source package)
    python3 tools/reference/convert_to_gguf.py LLAMA_CPP_FOLDER [--out FOLDER] [MODEL_FOLDER ...]

LLAMA_CPP_FOLDER holds convert_hf_to_gguf.py (vendor/llama.cpp in the source package). Needs torch,
transformers and safetensors. The models have no tokenizer; the converter is told to write none.
What the converter does not know is listed at the end and left out. MODEL_FOLDER: by default every
folder of tests/fixtures/models.

tests/fixtures/golden_gguf holds the same of the reference models (shared/golden/models):

    python3 tools/reference/convert_to_gguf.py LLAMA_CPP_FOLDER --out tests/fixtures/golden_gguf \\
        ../shared/golden/models/*
"""
import argparse
import json
import os
import pathlib
import runpy
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# GGUF has no place for these options, so the converted model is another one.
NOT_REPRESENTABLE = {
    "mixtral_window": "no sliding window in the llama architecture",
    "gemma3_text": "the query scale is the head dimension's",
    "gemma3_text_v5": "every sixth layer is global",
    "gpt2_untied": "the gpt2 architecture means gelu(tanh)",
    "qwen3_moe": "no dense layers between sparse ones",
    "qwen3_moe_unscaled": "no dense layers between sparse ones",
    "llama_yarn_fields": "no beta_fast and beta_slow are written",
    "llama_yarn_mscale": "no mscale and truncate",
    # of the reference models
    "gemma2": "the query scale is the head dimension's",
    "mistral_swa": "no sliding window in the llama architecture",
    "qwen2_swa_mixed": "no sliding window in the qwen2 architecture",
    "starcoder2": "no sliding window in the starcoder2 architecture",
    "smollm3": "every fourth layer is the one without rope",
}


def without_tokenizer(base):
    """Every model class writes the tokenizer "none"."""
    def replace(cls):
        cls.set_vocab = lambda self: self._set_vocab_none()
        for child in cls.__subclasses__():
            replace(child)
    replace(base)


def prepared_copy(folder, work):
    """The model with two things the converter reads: the vocabulary's size from tokenizer.json
    (Gemma 3) and GPT-2's old name of its context length."""
    copy = pathlib.Path(work) / folder.name
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    if "n_positions" in config:
        config["n_ctx"] = config["n_positions"]
    (copy / "config.json").write_text(json.dumps(config))
    vocab = {str(i): i for i in range(config["vocab_size"])}
    (copy / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab},
                                                     "added_tokens": []}))
    return copy, config


def convert(llama_cpp, source, work, outtype, out):
    import conversion
    from conversion import base

    folder, config = prepared_copy(source, work)
    for architecture in config["architectures"]:  # loads the module, so that it can be patched
        conversion.get_model_class(architecture)
    without_tokenizer(base.ModelBase)
    target = out / f"{folder.name}.gguf"
    sys.argv = ["convert_hf_to_gguf.py", str(folder), "--outfile", str(target),
                "--outtype", outtype]
    runpy.run_path(str(llama_cpp / "convert_hf_to_gguf.py"), run_name="__main__")
    return target


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llama_cpp", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "tests" / "fixtures" / "gguf")
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    args = parser.parse_intermixed_args()
    llama_cpp = args.llama_cpp.resolve()
    folders = [p.resolve() for p in args.models if (p / "config.json").exists()]
    if not args.models:
        folders = sorted(p for p in (ROOT / "tests/fixtures/models").iterdir() if p.is_dir())
    sys.path.insert(0, str(llama_cpp))
    sys.path.insert(1, str(llama_cpp / "gguf-py"))
    args.out.mkdir(parents=True, exist_ok=True)
    failed = {}
    for folder in folders:
        if folder.name in NOT_REPRESENTABLE:
            failed[folder.name] = NOT_REPRESENTABLE[folder.name]
            continue
        dtype = json.loads((folder / "meta.json").read_text())["weights_dtype"]
        outtype = {"bfloat16": "bf16", "bf16": "bf16", "f16": "f16"}.get(dtype, "f32")
        try:
            with tempfile.TemporaryDirectory() as work:
                target = convert(llama_cpp, folder, work, outtype, args.out.resolve())
            print(f"{folder.name}: {os.path.getsize(target)} bytes", flush=True)
        except (Exception, SystemExit) as error:  # the converter ends in many ways
            if isinstance(error, SystemExit) and not error.code:
                continue
            failed[folder.name] = str(error)[:200]
    for name, reason in failed.items():
        print(f"not converted: {name}: {reason}")


if __name__ == "__main__":
    main()
