"""Logits of a llama-shaped model in numpy, from the file that others read, with the activations
rounded as that reader rounds them: what is left between our exact mode and a program that computes
products in 8 bits. Everything but the roundings is f64. No code is shared with the engine.

    gguf_logits(path, ids, ...)        a GGUF file as llama.cpp computes it on a CPU: inputs of products
                                       with Q8_0, Q4_0 and Q4_1 weights in blocks of 32, scale
                                       max|x| / 127 kept as f16, codes to the nearest even; keys, values,
                                       queries and attention weights f16
    w8a8_logits(path, ids, ...)        an int-quantized compressed-tensors folder: one scale per token,
                                       max|x| / 127.5 in f32, codes -128 to 127. The largest |x| of a
                                       token falls on the tie at 127.5 then, and the last bit of f32
                                       decides its code

rounded=False: no rounding at all, the exact mode. disturb=1e-5: embeddings are changed by so much of
themselves, at random: as another order of f32 sums would, it moves some input over a rounding's tie,
that moves later inputs, and so on; two programs that round alike agree token by token until then, and
afterwards to within what a disturbance does. Needs numpy, and gguf for GGUF files.
"""

import json
import pathlib

import numpy as np


def codes_of_32(x):
    """Codes [..., K/32, 32] and the f32 scale [..., K/32, 1] of each block."""
    blocks = x.astype(np.float32).reshape(*x.shape[:-1], -1, 32)
    most = np.abs(blocks).max(axis=-1, keepdims=True)
    inverse = np.divide(np.float32(127), most, out=np.zeros_like(most), where=most != 0)
    return np.rint(blocks * inverse), most / np.float32(127)


def blocks_of_32(x):
    codes, scale = codes_of_32(x)
    return (codes * half(scale)).reshape(x.shape)


def sums_of_32(x):
    """What the minima of Q4_1 weights are multiplied with: each block's sum, kept as f16."""
    codes, scale = codes_of_32(x)
    return half(scale * codes.sum(axis=-1, keepdims=True, dtype=np.float32))[..., 0]


def per_token(x):
    x = x.astype(np.float32)
    scale = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127.5)
    scale[scale == 0] = np.finfo(np.float32).eps
    return (np.clip(np.rint(x / scale), -128, 127) * scale).astype(np.float64)


def half(x):
    return x.astype(np.float16).astype(np.float64)


def same(x):
    return x


class Matrix:
    def __init__(self, weight, rounding=same):
        self.weight, self.rounding = weight.astype(np.float64), rounding

    def __call__(self, x):
        return self.rounding(x) @ self.weight.T


class MatrixWithMinima:
    """Q4_1: scale * code + minimum; the minima meet the blocks' sums."""

    def __init__(self, data):
        blocks = np.asarray(data).reshape(len(data), -1, 20)
        head = np.ascontiguousarray(blocks[..., :4]).view(np.float16).astype(np.float64)
        codes = np.concatenate([blocks[..., 4:] & 15, blocks[..., 4:] >> 4], axis=-1)
        self.scaled = (codes * head[..., :1]).reshape(len(data), -1)
        self.minima = head[..., 1]

    def __call__(self, x):
        return blocks_of_32(x) @ self.scaled.T + sums_of_32(x) @ self.minima.T


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * weight


def rotate(x, theta, interleaved):
    """x [T, heads, D]; pairs (i, i + D/2), or (2i, 2i + 1)."""
    tokens, _, width = x.shape
    angle = np.arange(tokens)[:, None] * theta ** (-2.0 * np.arange(width // 2) / width)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :width // 2], x[..., width // 2:])
    out = np.empty_like(x)
    turned = (a * cos - b * sin, a * sin + b * cos)
    if interleaved:
        out[..., 0::2], out[..., 1::2] = turned
    else:
        out[..., :width // 2], out[..., width // 2:] = turned
    return out


def attention(q, k, v, cache):
    """q [T, H, D], k and v [T, G, D]; `cache` rounds what goes through the KV cache."""
    tokens, heads, width = q.shape
    share = heads // k.shape[1]
    out = np.empty_like(q)
    mask = np.triu(np.full((tokens, tokens), -np.inf), 1)
    for h in range(heads):
        scores = cache(q[:, h]) @ cache(k[:, h // share]).T / np.sqrt(width) + mask
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        out[:, h] = cache(weights) @ cache(v[:, h // share])
    return out.reshape(tokens, -1)


def forward(model, ids):
    """`model`: embedding, layers (dicts), norm, head and the numbers of its shape."""
    x = model["embedding"][ids]
    x = x * (1.0 + model["disturb"] * np.random.default_rng(1).uniform(-1, 1, x.shape))
    for layer in model["layers"]:
        y = rms_norm(x, layer["attn_norm"], model["eps"])
        q, k, v = (layer[name](y).reshape(len(ids), -1, model["width"]) for name in "qkv")
        q, k = (rotate(part, model["theta"], model["interleaved"]) for part in (q, k))
        x = x + layer["o"](attention(q, k, v, model["cache"]))
        y = rms_norm(x, layer["mlp_norm"], model["eps"])
        gate = layer["gate"](y)
        x = x + layer["down"](gate / (1.0 + np.exp(-gate)) * layer["up"](y))
    return model["head"](rms_norm(x, model["norm"], model["eps"]))


def gguf_logits(path, ids, rounded=True, disturb=0.0):
    import gguf
    reader = gguf.GGUFReader(path)

    def number(key):
        return reader.fields[f"llama.{key}"].contents()
    tensors = {t.name: t for t in reader.tensors}
    block_types = {gguf.GGMLQuantizationType[name] for name in ("Q8_0", "Q4_0", "Q4_1")}

    def values(name):
        t = tensors[name]
        return gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float64)

    def matrix(name):
        kind = tensors[name].tensor_type
        if kind not in block_types and kind != gguf.GGMLQuantizationType.F32:
            raise ValueError(f"{path}: {name} is {kind.name}")
        if rounded and kind == gguf.GGMLQuantizationType.Q4_1:
            return MatrixWithMinima(tensors[name].data)
        return Matrix(values(name), blocks_of_32 if rounded and kind in block_types else same)
    heads = number("attention.head_count")
    layers = [{"attn_norm": values(f"blk.{i}.attn_norm.weight"),
               "mlp_norm": values(f"blk.{i}.ffn_norm.weight"),
               **{ours: matrix(f"blk.{i}.{theirs}.weight") for ours, theirs in
                  (("q", "attn_q"), ("k", "attn_k"), ("v", "attn_v"), ("o", "attn_output"),
                   ("gate", "ffn_gate"), ("up", "ffn_up"), ("down", "ffn_down"))}}
              for i in range(number("block_count"))]
    theta = reader.fields.get("llama.rope.freq_base")
    return forward({"embedding": values("token_embd.weight"), "layers": layers,
                    "norm": values("output_norm.weight"),
                    "head": matrix("output.weight" if "output.weight" in tensors
                                   else "token_embd.weight"),
                    "eps": number("attention.layer_norm_rms_epsilon"),
                    "theta": theta.contents() if theta else 10000.0,
                    "width": number("embedding_length") // heads, "interleaved": True,
                    "cache": half if rounded else same, "disturb": disturb}, ids)


def read_safetensors(path):
    raw = pathlib.Path(path).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    out = {}
    for name, entry in json.loads(raw[8:8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        data = raw[8 + length + begin:8 + length + end]
        if entry["dtype"] == "BF16":
            value = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            value = np.frombuffer(data, {"F32": "<f4", "F16": "<f2", "I8": "i1", "I32": "<i4",
                                         "I64": "<i8"}[entry["dtype"]])
        out[name] = value.reshape(entry["shape"])
    return out


def w8a8_logits(folder, ids, rounded=True, disturb=0.0):
    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text())
    tensors = read_safetensors(folder / "model.safetensors")

    def matrix(name):
        weight = tensors[name + ".weight"].astype(np.float64)
        scale = tensors.get(name + ".weight_scale")
        if scale is None:
            return Matrix(weight)
        return Matrix(weight * scale.astype(np.float64), per_token if rounded else same)

    def values(name):
        return tensors[name + ".weight"].astype(np.float64)
    layers = []
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        layers.append({"attn_norm": values(at + "input_layernorm"),
                       "mlp_norm": values(at + "post_attention_layernorm"),
                       **{n: matrix(f"{at}self_attn.{n}_proj") for n in "qkvo"},
                       **{n: matrix(f"{at}mlp.{n}_proj") for n in ("gate", "up", "down")}})
    head = "model.embed_tokens" if config["tie_word_embeddings"] else "lm_head"
    return forward({"embedding": values("model.embed_tokens"), "layers": layers,
                    "norm": values("model.norm"), "head": matrix(head),
                    "eps": config["rms_norm_eps"], "theta": config["rope_theta"],
                    "width": config["head_dim"], "interleaved": False, "cache": same,
                    "disturb": disturb}, ids)
