#!/usr/bin/env python3
"""Whether other programs read what `ruvllm quantize --format` writes, and compute the same.

    check_exports.py RUVLLM --model models/demo [--gguf stories260K-f32.gguf] [--only NAME]

Each file is loaded by a program that is not ours, in f32 on the CPU, and its logits of fixed ids are
compared with `ruvllm logits --dtype f32` of the same file. Limit: 1e-2 of the logits' standard
deviation. A reader that is not installed is skipped and named:

- compressed-tensors: transformers with compressed-tensors. Symmetric codes only: transformers 5.24
  expects unpacked zero points and refuses that tool's own asymmetric files, too
- gptq, awq: transformers with gptqmodel, or else the reference data's numpy unpacker, whose weights
  go into a plain transformers model (RUVLLM_SHARED/golden_quant/unpack.py, itself checked against
  those tools)
- gguf: llama-cpp-python

llama.cpp, and transformers with a W8A8 file, round the inputs of products to 8 bits, and our exact mode
rounds none, so that logits differ by more than 1e-2. What they should be then comes from
rounded_logits.py, which computes the file in numpy with and without that rounding. Three things must
hold: our logits are those without it within 1e-4; the reader's are those with it within 1e-4 for most
tokens of short sequences (an input on a rounding's tie falls one way or the other, and what follows
differs); and the reader's are no farther from ours than twice what the rounding does.
"""

import argparse
import functools
import importlib.util
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
from unittest import mock

import numpy as np

from rounded_logits import gguf_logits, w8a8_logits

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
SHARED = pathlib.Path(os.environ.get("RUVLLM_SHARED", SOURCE.parent / "shared"))
IDS = [(i * 37 + 11) % 500 for i in range(48)]
SHORT = [IDS[i:i + 3] for i in range(0, len(IDS), 3)]
LIMIT = 1e-2
SAME = 1e-4

CASES = [("gptq", "gptq4:g32"), ("gptq", "gptq8:g128:sym"), ("gptq", "gptq3:g32"),
         ("gptq", "gptq2:g32"), ("awq", "awq4:g64"), ("awq", "rtn4:g32:sym"),
         ("awq", "awq4:g64,v_proj=keep"),
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


def transformers_logits(path, sequences):
    import torch
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, device_map="cpu").eval()
    with torch.no_grad():
        return [model(torch.tensor([ids])).logits[0].float().numpy() for ids in sequences]


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
    return transformers_logits(out, [IDS])[0]


def llama_logits(path, sequences):
    from llama_cpp import Llama, llama_cpp
    defaults = llama_cpp.llama_model_default_params

    # Weights as they lie in the file: what it repacks for AMX ends in an illegal instruction where
    # g++ 12 built it.
    def plain_weights():
        params = defaults()
        params.use_extra_bufts = False
        return params

    with mock.patch.object(llama_cpp, "llama_model_default_params", plain_weights):
        model = Llama(str(path), n_ctx=64, logits_all=True, verbose=False, n_threads=1)
    out = []
    for ids in sequences:
        model.reset()
        model.eval(ids)
        out.append(np.array(model.scores[:len(ids)]))
    return out


def compare(name, reader, ours, theirs, limit=LIMIT):
    worst = float(np.abs(ours - theirs).max() / ours.std())
    good = worst <= limit
    print(f"{'ok  ' if good else 'FAIL'} {name} by {reader}: largest difference {worst:.2e} of the "
          f"logits' standard deviation", flush=True)
    return good


def compare_rounded(name, reader, ours, read, model):
    """`read`(sequences) gives the reader's logits, `model`(ids, ...) numpy's of rounded_logits.py."""
    exact = model(IDS, rounded=False)
    rounded = model(IDS)
    unit = exact.std()

    def apart(a, b):
        return float(np.abs(a - b).max() / unit)
    good = compare(name, "numpy without rounding", ours, exact, SAME)
    theirs, *short = read([IDS] + SHORT)
    rows = [row for ids, logits in zip(SHORT, short)
            for row in np.abs(logits - model(ids)).max(axis=1) / unit]
    same = sum(row <= SAME for row in rows)
    good &= same > len(rows) / 2
    print(f"{'ok  ' if same > len(rows) / 2 else 'FAIL'} {name} by {reader}: {same} of {len(rows)} "
          f"tokens are those of numpy with its rounding within {SAME:g}; largest of all {max(rows):.2e}, "
          f"of a long sequence {apart(theirs, rounded):.2e} (numpy disturbed by 1e-5: "
          f"{apart(model(IDS, disturb=1e-5), rounded):.2e})", flush=True)
    return good & compare(name, f"{reader}, which rounds", ours, theirs, 2 * apart(rounded, exact))


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
        reader = "transformers + compressed-tensors"
        if isq.startswith("smoothquant"):
            return compare_rounded(name, reader, ours,
                                   lambda sequences: transformers_logits(out, sequences),
                                   functools.partial(w8a8_logits, out))
        return compare(name, reader, ours, transformers_logits(out, [IDS])[0])
    if installed("gptqmodel"):
        return compare(name, "transformers + gptqmodel", ours, transformers_logits(out, [IDS])[0])
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
            good &= compare_rounded(f"gguf {isq}", "llama.cpp", our_logits(args.binary, out, folder),
                                    functools.partial(llama_logits, out),
                                    functools.partial(gguf_logits, out))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
