#!/usr/bin/env python3
"""Writes random LoRA adapters for a Llama-like model folder, for measurements, and an X-LoRA over some of them.

    make_adapter.py MODEL OUT [--count 8] [--rank 16] [--xlora 4] [--seed 1]

OUT becomes a0, a1, ... (PEFT's format: all seven linear layers, alpha = 2 * rank, bf16) and with --xlora N the folder
xlora: N experts, PEFT's layout, one linear layer as classifier, gates for every module. The numbers mean nothing;
they are small enough that outputs stay finite. Needs numpy only; the same arguments give the same bytes.
"""

import argparse
import json
import os
import struct
import zlib

import numpy as np

from make_model import to_bf16


def modules(config):
    """[(name under the layer, rows, columns)] of one layer."""
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    kv = config.get("num_key_value_heads", heads) * head_dim
    return [("self_attn.q_proj", heads * head_dim, hidden), ("self_attn.k_proj", kv, hidden),
            ("self_attn.v_proj", kv, hidden), ("self_attn.o_proj", hidden, heads * head_dim),
            ("mlp.gate_proj", ffn, hidden), ("mlp.up_proj", ffn, hidden), ("mlp.down_proj", hidden, ffn)]


def write_tensors(path, tensors):
    """tensors: name -> f32 array, written as bf16."""
    header, at = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [at, at + 2 * values.size]}
        at += 2 * values.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            f.write(to_bf16(values).tobytes())


def random(seed, name, shape, deviation):
    rng = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
    return rng.standard_normal(shape, np.float32) * np.float32(deviation)


def write_config(folder, fields):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "adapter_config.json"), "w") as f:
        json.dump(fields, f, indent=1)


def write_lora(folder, config, rank, seed):
    names = [name.split(".")[-1] for name, _, _ in modules(config)]
    write_config(folder, {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank,
                          "target_modules": names, "base_model_name_or_path": "", "bias": "none"})
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for name, rows, cols in modules(config):
            prefix = f"base_model.model.model.layers.{layer}.{name}.lora_"
            tensors[prefix + "A.weight"] = random(seed, prefix + "A", (rank, cols), 0.02)
            tensors[prefix + "B.weight"] = random(seed, prefix + "B", (rows, rank), 0.02)
    write_tensors(os.path.join(folder, "adapter_model.safetensors"), tensors)


def write_xlora(folder, config, experts, seed):
    hidden, n = config["hidden_size"], len(experts)
    outputs = n * len(modules(config)) * config["num_hidden_layers"]
    write_config(folder, {"peft_type": "XLORA", "task_type": "CAUSAL_LM", "hidden_size": hidden, "xlora_depth": 1,
                          "layerwise_scalings": True, "enable_softmax": True, "softmax_temperature": 1.0,
                          "adapters": {str(i): os.path.relpath(e, folder) for i, e in enumerate(experts)}})
    prefix = "base_model.internal_xlora_classifier.layers.0."
    write_tensors(os.path.join(folder, "adapter_model.safetensors"),
                  {prefix + "weight": random(seed, "classifier", (outputs, hidden), 0.02),
                   prefix + "bias": random(seed, "classifier bias", (outputs,), 0.02)})


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", help="folder with config.json")
    p.add_argument("out")
    p.add_argument("--count", type=int, default=8)
    p.add_argument("--rank", type=int, default=16)
    p.add_argument("--xlora", type=int, default=0, metavar="N", help="experts of an X-LoRA; 0: none")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    if a.count < 1 or a.rank < 1 or not 0 <= a.xlora <= a.count:
        p.error("--count and --rank are 1 or more, --xlora at most --count")
    with open(os.path.join(a.model, "config.json")) as f:
        config = json.load(f)
    folders = [os.path.join(a.out, f"a{i}") for i in range(a.count)]
    for i, folder in enumerate(folders):
        write_lora(folder, config, a.rank, a.seed + i)
    if a.xlora:
        write_xlora(os.path.join(a.out, "xlora"), config, folders[:a.xlora], a.seed)


if __name__ == "__main__":
    main()
