#!/usr/bin/env python3
"""Writes a random Llama checkpoint of a given shape, for measurements, and its GGUF forms.

    make_model.py --shape llama-1b OUT [--gguf q8_0,q4_0,bf16] [--seed 1]

OUT becomes a Hugging Face model folder (config.json, model.safetensors in bf16, tokenizer.json,
tokenizer_config.json, generation_config.json); each GGUF form is OUT/<shape>-<type>.gguf with the
same weights, so that other engines can run beside ours. A checkpoint of the same shape and seed that
is already in OUT is kept. Needs numpy only; memory stays below 1 GB, tensors are streamed.

Weights are normal with deviation 0.02 and norms are 1, so logits have a deviation near 1. Every tensor
has its own generator (Philox keyed by seed and name): order and threads do not change a byte.
The tokenizer is a synthetic byte-level BPE: bytes, letter pairs and pairs of pairs by letter frequency.

GGUF quantization is that of the format's reference code (round half away from zero; one f16 scale per 32
values), and every matrix gets the named type, the output matrix too. Rows of attn_q and attn_k are
reordered from half-split to interleaved rotary pairs, as llama.cpp's converter does.
"""

import argparse
import json
import os
import struct
import zlib

import numpy as np

# name: layers, hidden, heads, kv heads, ffn, vocab, context, rope theta
SHAPES = {
    "llama-tiny": (2, 256, 4, 2, 768, 2048, 512, 10000.0),
    "llama-1b": (22, 2048, 32, 4, 5632, 32000, 4096, 10000.0),
    "llama-8b": (32, 4096, 32, 8, 14336, 32000, 8192, 500000.0),
}
NORM_EPS = 1e-5
CHUNK_VALUES = 1 << 23  # values drawn or converted at a time


class Shape:
    def __init__(self, name):
        self.name = name
        (self.layers, self.hidden, self.heads, self.kv_heads, self.ffn, self.vocab, self.context,
         self.theta) = SHAPES[name]
        self.head_dim = self.hidden // self.heads

    def tensors(self):
        """[(safetensors name, GGUF name, shape, heads to reorder or 0)] in file order."""
        e, f, d = self.hidden, self.ffn, self.head_dim
        out = [("model.embed_tokens.weight", "token_embd.weight", (self.vocab, e), 0)]
        for i in range(self.layers):
            hf, gg = f"model.layers.{i}.", f"blk.{i}."
            out += [
                (hf + "input_layernorm.weight", gg + "attn_norm.weight", (e,), 0),
                (hf + "self_attn.q_proj.weight", gg + "attn_q.weight", (self.heads * d, e), self.heads),
                (hf + "self_attn.k_proj.weight", gg + "attn_k.weight", (self.kv_heads * d, e), self.kv_heads),
                (hf + "self_attn.v_proj.weight", gg + "attn_v.weight", (self.kv_heads * d, e), 0),
                (hf + "self_attn.o_proj.weight", gg + "attn_output.weight", (e, self.heads * d), 0),
                (hf + "post_attention_layernorm.weight", gg + "ffn_norm.weight", (e,), 0),
                (hf + "mlp.gate_proj.weight", gg + "ffn_gate.weight", (f, e), 0),
                (hf + "mlp.up_proj.weight", gg + "ffn_up.weight", (f, e), 0),
                (hf + "mlp.down_proj.weight", gg + "ffn_down.weight", (e, f), 0),
            ]
        return out + [("model.norm.weight", "output_norm.weight", (e,), 0),
                      ("lm_head.weight", "output.weight", (self.vocab, e), 0)]


# ---- safetensors ----------------------------------------------------------------------------

def to_bf16(x):
    """f32 -> bf16 bits (uint16), rounded to nearest, ties to even; finite input."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def write_safetensors(path, shape, seed):
    header, at = {"__metadata__": {"format": "pt", "shape": shape.name, "seed": str(seed)}}, 0
    for name, _, dims, _ in shape.tensors():
        size = 2 * int(np.prod(dims))
        header[name] = {"dtype": "BF16", "shape": list(dims), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if os.path.exists(path) and os.path.getsize(path) == 8 + len(text) + at:
        with open(path, "rb") as f:
            if f.read(8 + len(text))[8:] == text:
                return False
    with open(path + ".part", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, _, dims, _ in shape.tensors():
            write_random(f, name, dims, seed)
    os.replace(path + ".part", path)
    return True


def write_random(f, name, dims, seed):
    if len(dims) == 1:
        f.write(to_bf16(np.ones(dims, np.float32)).tobytes())
        return
    rng = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
    left = int(np.prod(dims))
    while left:
        n = min(left, CHUNK_VALUES)
        f.write(to_bf16(rng.standard_normal(n, np.float32) * np.float32(0.02)).tobytes())
        left -= n


def map_safetensors(path):
    """name -> bf16 bits as a memory-mapped uint16 array."""
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(size))
    raw = np.memmap(path, np.uint8, "r")
    out = {}
    for name, info in header.items():
        if name != "__metadata__":
            begin, end = info["data_offsets"]
            out[name] = raw[8 + size + begin:8 + size + end].view(np.uint16).reshape(info["shape"])
    return out


# ---- tokenizer ------------------------------------------------------------------------------

def byte_alphabet():
    """GPT-2's printable stand-in for each byte."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in keep]
    return [chr(b) if b in keep else chr(256 + rest.index(b)) for b in range(256)]


def synthetic_bpe(vocab):
    """(tokens, merges): 3 special tokens, 256 bytes, then merged tokens up to `vocab`."""
    letters = "etaoinshrdlcumwfgypbvkjxqz"  # English, most frequent first
    rank = {c: i + 1 for i, c in enumerate(letters)}
    pairs = sorted((a + b for a in letters for b in letters), key=lambda p: (rank[p[0]] * rank[p[1]], p))
    weight = {p: i + 1 for i, p in enumerate(pairs)}
    merges = [(p[0], p[1]) for p in pairs]
    merges += [("\u0120", c) for c in letters + letters.upper()]
    merges += [("\u0120", p) for p in pairs]
    quads = sorted(((a, b) for a in pairs for b in pairs[:64 * 676 // weight[a]]),
                   key=lambda ab: (weight[ab[0]] * weight[ab[1]], ab))
    merges += quads
    tokens = ["<unk>", "<s>", "</s>", *byte_alphabet()]
    merges = merges[:vocab - len(tokens)]
    tokens += [a + b for a, b in merges]
    assert len(tokens) == vocab and len(set(tokens)) == vocab, (len(tokens), len(set(tokens)))
    return tokens, merges


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, indent=1)
        f.write("\n")


def write_tokenizer(folder, tokens, merges):
    added = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i in range(3)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    a, b = ({"Sequence": {"id": s, "type_id": 0}} for s in "AB")
    write_json(folder, "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {"type": "TemplateProcessing", "single": [bos, a], "pair": [bos, a, b],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [list(m) for m in merges]}})
    write_json(folder, "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
        "add_bos_token": True, "clean_up_tokenization_spaces": False})


def write_config(folder, s):
    write_json(folder, "config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": s.vocab,
        "hidden_size": s.hidden, "intermediate_size": s.ffn, "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads, "num_key_value_heads": s.kv_heads, "head_dim": s.head_dim,
        "max_position_embeddings": s.context, "rope_theta": s.theta, "rms_norm_eps": NORM_EPS,
        "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False, "torch_dtype": "bfloat16",
        "bos_token_id": 1, "eos_token_id": 2})
    write_json(folder, "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2})


# ---- GGUF -----------------------------------------------------------------------------------

def round_half_away(x):
    return np.trunc(x + np.copysign(np.float32(0.5), x))


def quantize_q8_0(x):
    """f32 [rows, cols] -> blocks of 32: f16 scale, 32 int8."""
    b = x.reshape(-1, 32)
    d = np.abs(b).max(1, keepdims=True) / np.float32(127)
    inverse = np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)
    q = round_half_away(b * inverse).astype(np.int8)
    return np.concatenate([d.astype(np.float16).view(np.uint8), q.view(np.uint8)], 1)


def quantize_q4_0(x):
    """f32 [rows, cols] -> blocks of 32: f16 scale, 16 bytes; low nibbles are values 0..15."""
    b = x.reshape(-1, 32)
    peak = np.take_along_axis(b, np.abs(b).argmax(1)[:, None], 1)
    d = peak / np.float32(-8)
    inverse = np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)
    q = np.minimum(np.trunc(b * inverse + np.float32(8.5)), 15).astype(np.uint8)
    return np.concatenate([d.astype(np.float16).view(np.uint8), q[:, :16] | (q[:, 16:] << 4)], 1)


# name -> (GGUF type, general.file_type, block values, block bytes, encoder of f32)
GGUF_TYPES = {
    "f32": (0, 0, 1, 4, lambda x: x), "f16": (1, 1, 1, 2, lambda x: x.astype(np.float16)),
    "bf16": (30, 32, 1, 2, to_bf16), "q4_0": (2, 2, 32, 18, quantize_q4_0), "q8_0": (8, 7, 32, 34, quantize_q8_0),
}
U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5


def gguf_string(s):
    raw = s.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def gguf_value(kind, v):
    if kind == STRING:
        return gguf_string(v)
    return struct.pack({U32: "<I", F32: "<f", BOOL: "<?", I32: "<i"}[kind], v)


def gguf_field(key, kind, v):
    if isinstance(v, list):
        body = b"".join(gguf_value(kind, x) for x in v)
        return gguf_string(key) + struct.pack("<IIQ", ARRAY, kind, len(v)) + body
    return gguf_string(key) + struct.pack("<I", kind) + gguf_value(kind, v)


def gguf_fields(s, kind, tokens, merges):
    return [
        gguf_field("general.architecture", STRING, "llama"), gguf_field("general.name", STRING, s.name),
        gguf_field("general.file_type", U32, GGUF_TYPES[kind][1]), gguf_field("general.quantization_version", U32, 2),
        gguf_field("llama.block_count", U32, s.layers), gguf_field("llama.context_length", U32, s.context),
        gguf_field("llama.embedding_length", U32, s.hidden), gguf_field("llama.feed_forward_length", U32, s.ffn),
        gguf_field("llama.attention.head_count", U32, s.heads), gguf_field("llama.attention.head_count_kv", U32, s.kv_heads),
        gguf_field("llama.attention.layer_norm_rms_epsilon", F32, NORM_EPS),
        gguf_field("llama.rope.dimension_count", U32, s.head_dim), gguf_field("llama.rope.freq_base", F32, s.theta),
        gguf_field("llama.vocab_size", U32, s.vocab),
        gguf_field("tokenizer.ggml.model", STRING, "gpt2"), gguf_field("tokenizer.ggml.pre", STRING, "gpt-2"),
        gguf_field("tokenizer.ggml.tokens", STRING, tokens),
        gguf_field("tokenizer.ggml.token_type", I32, [3] * 3 + [1] * (s.vocab - 3)),
        gguf_field("tokenizer.ggml.merges", STRING, [" ".join(m) for m in merges]),
        gguf_field("tokenizer.ggml.bos_token_id", U32, 1), gguf_field("tokenizer.ggml.eos_token_id", U32, 2),
        gguf_field("tokenizer.ggml.unknown_token_id", U32, 0), gguf_field("tokenizer.ggml.add_bos_token", BOOL, True),
    ]


def reorder_rotary(rows, heads):
    """Half-split -> interleaved rotary pairs, by rows of each head."""
    out, cols = rows.shape
    return rows.reshape(heads, 2, out // heads // 2, cols).swapaxes(1, 2).reshape(out, cols)


def write_gguf(path, s, kind, weights, tokens, merges):
    infos, at, plan = b"", 0, []
    for hf, name, dims, heads in s.tensors():
        this = GGUF_TYPES["f32" if len(dims) == 1 else kind]
        size = int(np.prod(dims)) // this[2] * this[3]
        infos += gguf_string(name) + struct.pack("<I", len(dims))
        infos += struct.pack(f"<{len(dims)}Q", *reversed(dims)) + struct.pack("<IQ", this[0], at)
        plan.append((hf, heads, this[4], size))
        at += size + -size % 32
    fields = gguf_fields(s, kind, tokens, merges)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(plan), len(fields)) + b"".join(fields) + infos
    with open(path + ".part", "wb") as f:
        f.write(head + b"\0" * (-len(head) % 32))
        for hf, heads, encode, size in plan:
            bits = weights[hf]
            if heads:
                bits = reorder_rotary(bits, heads)
            flat, begin = bits.reshape(-1), f.tell()
            for i in range(0, flat.size, CHUNK_VALUES):
                f.write(np.ascontiguousarray(encode(from_bf16(flat[i:i + CHUNK_VALUES]))).tobytes())
            assert f.tell() - begin == size, (hf, f.tell() - begin, size)
            f.write(b"\0" * (-size % 32))
    os.replace(path + ".part", path)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("out")
    p.add_argument("--shape", required=True, choices=sorted(SHAPES))
    p.add_argument("--gguf", default="", help="comma-separated: " + ", ".join(GGUF_TYPES))
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    kinds = [k for k in a.gguf.split(",") if k]
    for kind in kinds:
        if kind not in GGUF_TYPES:
            p.error(f"--gguf: unknown type '{kind}'; known: {', '.join(GGUF_TYPES)}")
    shape = Shape(a.shape)
    os.makedirs(a.out, exist_ok=True)
    tokens, merges = synthetic_bpe(shape.vocab)
    write_tokenizer(a.out, tokens, merges)
    write_config(a.out, shape)
    path = os.path.join(a.out, "model.safetensors")
    made = write_safetensors(path, shape, a.seed)
    print(f"{path}: {os.path.getsize(path)} bytes{'' if made else ' (kept)'}", flush=True)
    for kind in kinds:
        out = os.path.join(a.out, f"{a.shape}-{kind}.gguf")
        write_gguf(out, shape, kind, map_safetensors(path), tokens, merges)
        print(f"{out}: {os.path.getsize(out)} bytes", flush=True)


if __name__ == "__main__":
    main()
