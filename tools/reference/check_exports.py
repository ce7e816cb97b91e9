#!/usr/bin/env python3
"""Whether other programs read what `ruvllm quantize --format` writes, and compute the same.

    check_exports.py RUVLLM --model models/demo [--gguf stories260K-f32.gguf] [--only NAME]

Each file is loaded by a program that is not ours, in f32 on the CPU, and its logits of fixed ids are
compared with `ruvllm logits --dtype f32` of the same file. Limit: 1e-2 of the logits' standard
deviation. A reader that is not installed is skipped and named:

- compressed-tensors: transformers with compressed-tensors. Symmetric codes only: transformers 5.24
  expects unpacked zero points and refuses that tool's own asymmetric files, too. W8A8 rounds
  activations there and not in our exact mode, which moves logits by 1e-1: the limit is 2e-1
- gptq, awq: transformers with gptqmodel, or else the reference data's numpy unpacker, whose weights
  go into a plain transformers model (RUVLLM_SHARED/golden_quant/unpack.py, itself checked against
  those tools)
- gguf: llama-cpp-python. It rounds the inputs of products to 8 bits, which alone moves logits by
  1e-2 to 3e-2 of their deviation: the limit is 5e-2 there
"""

import argparse
import importlib.util
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy as np

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
SHARED = pathlib.Path(os.environ.get("RUVLLM_SHARED", SOURCE.parent / "shared"))
IDS = [(i * 37 + 11) % 500 for i in range(48)]
LIMIT = 1e-2
LLAMA_LIMIT = 5e-2
W8A8_LIMIT = 2e-1

CASES = [("gptq", "gptq4:g32"), ("gptq", "gptq8:g128:sym"), ("gptq", "gptq3:g32"),
         ("gptq", "gptq2:g32"), ("awq", "awq4:g64"), ("awq", "rtn4:g32:sym"),
         ("compressed-tensors", "awq4:g32:sym"), ("compressed-tensors", "gptq8:g128"),
         ("compressed-tensors", "rtn4:g64:sym"), ("compressed-tensors", "smoothquant8")]
GGUF_CASES = ["rtn8:g32,ffn_down=keep", "gptq4:g32:sym,ffn_down=keep", "awq4:g32,ffn_down=keep"]


def run(*args):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, args))}: {done.stderr.strip()[-800:]}")


def our_logits(binary, model, folder):
    ids = folder / "ids.json"
    ids.write_text(json.dumps([IDS]))
    out = folder / "logits.safetensors"
    run(binary, "logits", "-m", model, "--dtype", "f32", "--ids", ids, "--out", out)
    raw = out.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    entry = header[next(k for k in header if k.startswith("logits"))]
    begin, end = entry["data_offsets"]
    return np.frombuffer(raw[8 + length + begin:8 + length + end], "<f4").reshape(entry["shape"])


def transformers_logits(path):
    import torch
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, device_map="cpu")
    with torch.no_grad():
        return model.eval()(torch.tensor([IDS])).logits[0].float().numpy()


def unpacked_logits(path, folder):
    """The weights as the numpy unpacker reads them, in a model that knows nothing of codes."""
    import torch
    from safetensors.torch import load_file, save_file
    spec = importlib.util.spec_from_file_location("unpack", SHARED / "golden_quant" / "unpack.py")
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    config = json.loads((path / "config.json").read_text())
    quantization = config.pop("quantization_config")
    packed = load_file(path / "model.safetensors")
    plain = {}
    for name, tensor in packed.items():
        if name.endswith(".qweight"):
            prefix = name[:-len(".qweight")]
            if quantization["quant_method"] == "gptq":
                weight = unpack.gptq(packed, prefix, quantization["bits"], True)
            else:
                weight = unpack.awq(packed, prefix, quantization["group_size"])
            plain[prefix + ".weight"] = weight.float().contiguous()
        elif not name.endswith((".qzeros", ".scales", ".g_idx")):
            plain[name] = tensor.float()
    out = folder / "plain"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    (out / "config.json").write_text(json.dumps(config))
    save_file(plain, out / "model.safetensors", metadata={"format": "pt"})
    return transformers_logits(out)


def llama_logits(path):
    from llama_cpp import Llama
    model = Llama(str(path), n_ctx=64, logits_all=True, verbose=False, n_threads=1)
    model.eval(IDS)
    return np.array(model.scores[:len(IDS)])


def compare(name, reader, ours, theirs, limit=LIMIT):
    worst = float(np.abs(ours - theirs).max() / ours.std())
    good = worst <= limit
    print(f"{'ok  ' if good else 'FAIL'} {name} by {reader}: largest difference {worst:.2e} of the "
          f"logits' standard deviation", flush=True)
    return good


def installed(*names):
    return all(importlib.util.find_spec(name) is not None for name in names)


def check_folder(args, layout, isq, folder):
    out = folder / "model"
    shutil.rmtree(out, ignore_errors=True)
    run(args.binary, "quantize", "-m", args.model, "--isq", isq, "--format", layout, "-o", out,
        "--calibration-samples", 16)
    ours = our_logits(args.binary, out, folder)
    name = f"{layout} {isq}"
    if layout == "compressed-tensors":
        if not installed("transformers", "compressed_tensors"):
            print(f"skip {name}: transformers and compressed-tensors are not installed")
            return True
        return compare(name, "transformers + compressed-tensors", ours, transformers_logits(out),
                       W8A8_LIMIT if isq.startswith("smoothquant") else LIMIT)
    if installed("gptqmodel"):
        return compare(name, "transformers + gptqmodel", ours, transformers_logits(out))
    if not installed("transformers"):
        print(f"skip {name}: transformers is not installed")
        return True
    return compare(name, "the numpy unpacker + transformers", ours, unpacked_logits(out, folder))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("binary")
    parser.add_argument("--model", default=SOURCE / "models" / "demo")
    parser.add_argument("--gguf", default=SHARED / "golden/stories260K/stories260K-f32.gguf")
    parser.add_argument("--only", default="", help="layouts with this in their name")
    args = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for layout, isq in CASES:
            if args.only in layout:
                good &= check_folder(args, layout, isq, folder)
        for number, isq in enumerate(GGUF_CASES):
            if args.only not in "gguf":
                continue
            if not installed("llama_cpp"):
                print(f"skip gguf {isq}: llama-cpp-python is not installed")
                continue
            out = folder / f"{number}.gguf"
            run(args.binary, "quantize", "-m", args.gguf, "--isq", isq, "--format", "gguf", "-o", out)
            good &= compare(f"gguf {isq}", "llama.cpp", our_logits(args.binary, out, folder),
                            llama_logits(out), LLAMA_LIMIT)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
