#!/usr/bin/env python3
"""Makes tests/fixtures/models: tiny random models of the families and options that need reference
values of their own, with what transformers computes for them (f32, eager attention, CPU).

    python3 tools/reference/make_model_goldens.py [NAME ...]      (needs torch, transformers, safetensors)

Layout of each folder: config.json and model.safetensors as published models have them, and
expected.safetensors: for sequence i = 0, 1, 2 (1, 17 and 96 tokens) ids_i, logits_i (all positions,
of sequence 2 the last four), logprobs_i, greedy_i and greedy_logprobs_i (24 tokens, end-of-sequence
ignored), and hidden_1 (after the final norm). meta.json: the seed, the spread of the logits, the
smallest greedy and router gaps, and how far the logits of the last four positions move when a
feature is left out. Seeds are searched until every greedy gap is at least 0.005 and every router
gap (of router logits) at least 0.001, so that f32 rounding cannot change a choice.
"""
import json
import os
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

OUT = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "fixtures", "models")
NUM_GREEDY = 24
MIN_GAP = 0.005
MIN_ROUTER_GAP = 1e-3

BASE = dict(vocab_size=160, hidden_size=32, intermediate_size=64, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
            bos_token_id=1, eos_token_id=2, pad_token_id=0, rms_norm_eps=1e-6,
            tie_word_embeddings=False)


def case(note, model_type, architecture, style="v5", dtype="bfloat16", drops=None, **config):
    return dict(note=note, model_type=model_type, architecture=architecture, style=style,
                dtype=dtype, drops=drops or {}, config={**BASE, **config})


# style v4: config.json as transformers 4 wrote it (the dictionary here); v5: as this version does.
CASES = {
    "qwen3_moe": case(
        "8 experts, 3 per token, weights rescaled; layer 1 is dense", "qwen3_moe",
        "Qwen3MoeForCausalLM", style="v4", head_dim=16, num_experts=8, num_experts_per_tok=3,
        moe_intermediate_size=24, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[1],
        rope_theta=1000000.0, rope_scaling=None, hidden_act="silu", attention_bias=False,
        sliding_window=None, use_sliding_window=False,
        drops={"no_norm_topk_prob": {"norm_topk_prob": False}}),
    "qwen3_moe_unscaled": case(
        "4 experts, 2 per token, weights not rescaled; every second layer sparse", "qwen3_moe",
        "Qwen3MoeForCausalLM", head_dim=16, num_experts=4, num_experts_per_tok=2,
        moe_intermediate_size=24, norm_topk_prob=False, decoder_sparse_step=2, mlp_only_layers=[],
        num_hidden_layers=4),
    "gemma3_text": case(
        "five local layers (window 16, own rope base), every sixth global with linear scaling",
        "gemma3_text", "Gemma3ForCausalLM", style="v4", dtype="float32", head_dim=16,
        num_hidden_layers=6, query_pre_attn_scalar=12, sliding_window=16, sliding_window_pattern=6,
        rope_theta=1000000.0, rope_local_base_freq=10000.0,
        rope_scaling={"rope_type": "linear", "factor": 8.0}, hidden_activation="gelu_pytorch_tanh",
        tie_word_embeddings=True, attention_bias=False, final_logit_softcapping=None,
        attn_logit_softcapping=None),
    "gemma3_text_v5": case(
        "layer types and rope parameters in the transformers 5 spelling", "gemma3_text",
        "Gemma3ForCausalLM", head_dim=16, query_pre_attn_scalar=16, sliding_window=8,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True),
    "olmo2": case("norms after the branches, q/k norm over all heads", "olmo2", "Olmo2ForCausalLM",
                  style="v4", hidden_act="silu", rope_theta=500000.0, rope_scaling=None,
                  attention_bias=False),
    "granite": case(
        "embedding, residual, attention and logits multipliers", "granite", "GraniteForCausalLM",
        style="v4", embedding_multiplier=3.0, residual_multiplier=0.4, attention_multiplier=0.15,
        logits_scaling=2.0, rope_theta=10000.0, rope_scaling=None, hidden_act="silu",
        attention_bias=False, mlp_bias=False, tie_word_embeddings=True,
        drops={"embedding_multiplier_1": {"embedding_multiplier": 1.0},
               "residual_multiplier_1": {"residual_multiplier": 1.0},
               "attention_multiplier_default": {"attention_multiplier": 8 ** -0.5},
               "logits_scaling_1": {"logits_scaling": 1.0}}),
    "llama_yarn_fields": case(
        "yarn with beta_fast, beta_slow and attention_factor of its own", "llama",
        "LlamaForCausalLM", style="v4", head_dim=32, hidden_act="silu", rope_theta=10000.0,
        attention_bias=False, mlp_bias=False,
        rope_scaling={"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32,
                      "beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 0.9}),
    "llama_yarn_mscale": case(
        "yarn with mscale and mscale_all_dim, correction range not rounded", "llama",
        "LlamaForCausalLM", head_dim=32, hidden_act="silu",
        rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
                         "original_max_position_embeddings": 64, "mscale": 1.2,
                         "mscale_all_dim": 0.6, "truncate": False}),
    "llama_linear_v5": case(
        "linear scaling by 2.5 in the transformers 5 spelling", "llama", "LlamaForCausalLM",
        head_dim=8, rope_parameters={"rope_type": "linear", "rope_theta": 20000.0, "factor": 2.5}),
    "mistral_no_window": case(
        "no sliding window, head_dim from the sizes", "mistral", "MistralForCausalLM", style="v4",
        sliding_window=None, rope_theta=1000000.0, hidden_act="silu", head_dim=None),
    "mixtral_window": case(
        "sliding window 12, one expert per token", "mixtral", "MixtralForCausalLM", style="v4",
        sliding_window=12, num_local_experts=3, num_experts_per_tok=1, intermediate_size=48,
        rope_theta=10000.0, hidden_act="silu", drops={"no_window": {"sliding_window": None}}),
    "qwen2_yarn": case(
        "yarn as Qwen2.5's long-context recipe, bf16", "qwen2", "Qwen2ForCausalLM", style="v4",
        hidden_act="silu", rope_theta=1000000.0, use_sliding_window=False, sliding_window=None,
        max_window_layers=28,
        rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
    "phi4_mini": case(
        "Phi-3 architecture as Phi-4-mini: tied, 3/4 rotated, longrope short and long", "phi3",
        "Phi3ForCausalLM", style="v4", hidden_size=64, rope_theta=10000.0,
        partial_rotary_factor=0.75, tie_word_embeddings=True, sliding_window=262144,
        original_max_position_embeddings=64, hidden_act="silu",
        rope_scaling={"type": "longrope",
                      "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.4],
                      "long_factor": [1.0, 1.5, 2.5, 4.0, 6.0, 8.0]}),
    "starcoder2_untied": case(
        "no biases, own output matrix, no window", "starcoder2", "Starcoder2ForCausalLM",
        style="v4", use_bias=False, sliding_window=None, norm_epsilon=1e-5,
        hidden_act="gelu_pytorch_tanh", rope_theta=10000.0),
    "qwen3_biased": case(
        "attention biases, tied", "qwen3", "Qwen3ForCausalLM", head_dim=16, attention_bias=True,
        tie_word_embeddings=True),
    "smollm3_default_layers": case(
        "every fourth layer without rope by the interval, untied", "smollm3",
        "SmolLM3ForCausalLM", num_hidden_layers=4, attention_bias=False, mlp_bias=False),
    "gpt2_untied": case(
        "own output matrix, inner size given, exact gelu", "gpt2", "GPT2LMHeadModel", style="v4",
        n_embd=32, n_head=4, n_layer=3, n_positions=256, n_inner=80, activation_function="gelu",
        layer_norm_epsilon=1e-5),
    # Families that golden/models has in f32 only, once more in bf16: small enough to be kept in
    # GGUF form too (convert_to_gguf.py).
    "gemma_bf16": case(
        "one key/value head", "gemma", "GemmaForCausalLM", style="v4", head_dim=16,
        num_key_value_heads=1, hidden_act="gelu_pytorch_tanh", rope_theta=10000.0,
        hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True),
    "gemma2_bf16": case(
        "soft caps, alternating window", "gemma2", "Gemma2ForCausalLM", style="v4", head_dim=16,
        attn_logit_softcapping=5.0, final_logit_softcapping=4.0, sliding_window=16,
        query_pre_attn_scalar=16, hidden_activation="gelu_pytorch_tanh", rope_theta=10000.0,
        tie_word_embeddings=True),
    "gemma3_bf16": case(
        "the layer pattern and query scale that GGUF implies", "gemma3_text",
        "Gemma3ForCausalLM", style="v4", head_dim=16, num_hidden_layers=6,
        query_pre_attn_scalar=16, sliding_window=16, sliding_window_pattern=6,
        rope_theta=1000000.0, rope_local_base_freq=10000.0,
        rope_scaling={"rope_type": "linear", "factor": 8.0}, hidden_activation="gelu_pytorch_tanh",
        tie_word_embeddings=True, attention_bias=False, final_logit_softcapping=None,
        attn_logit_softcapping=None),
    "gpt2_bf16": case(
        "learned positions, tied", "gpt2", "GPT2LMHeadModel", style="v4", n_embd=32, n_head=4,
        n_layer=3, n_positions=256, activation_function="gelu_new", layer_norm_epsilon=1e-5,
        tie_word_embeddings=True),
    "llama3_bf16": case(
        "llama3 rope scaling", "llama", "LlamaForCausalLM", style="v4", head_dim=16,
        hidden_act="silu", rope_theta=500000.0, attention_bias=False, mlp_bias=False,
        rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                      "high_freq_factor": 4.0, "original_max_position_embeddings": 64}),
    "mixtral_bf16": case(
        "4 experts, 2 per token", "mixtral", "MixtralForCausalLM", style="v4",
        sliding_window=None, num_local_experts=4, num_experts_per_tok=2, intermediate_size=32,
        rope_theta=1000000.0, hidden_act="silu"),
    "phi_bf16": case(
        "parallel, half of each head rotated", "phi", "PhiForCausalLM", style="v4",
        num_key_value_heads=4, intermediate_size=128, hidden_act="gelu_new",  # GGUF means 4 E
        layer_norm_eps=1e-5, rope_theta=10000.0,
        partial_rotary_factor=0.5, qk_layernorm=False),
    "phi3_bf16": case(
        "sliding window 20", "phi3", "Phi3ForCausalLM", style="v4", hidden_act="silu",
        rope_theta=10000.0, rope_scaling=None, sliding_window=20, partial_rotary_factor=1.0,
        original_max_position_embeddings=4096),
    "qwen3_moe_bf16": case(
        "every layer sparse", "qwen3_moe", "Qwen3MoeForCausalLM", style="v4", head_dim=16,
        num_experts=6, num_experts_per_tok=2, moe_intermediate_size=24, norm_topk_prob=True,
        decoder_sparse_step=1, mlp_only_layers=[], num_hidden_layers=2, hidden_act="silu",
        rope_theta=1000000.0, rope_scaling=None, attention_bias=False),
    "starcoder2_bf16": case(
        "biases everywhere, tied", "starcoder2", "Starcoder2ForCausalLM", style="v4",
        use_bias=True, sliding_window=None, norm_epsilon=1e-5, tie_word_embeddings=True,
        hidden_act="gelu_pytorch_tanh", rope_theta=10000.0),
}


def make_config(spec, overrides=None):
    config = {k: v for k, v in spec["config"].items()}
    if spec["model_type"] == "gpt2":
        config = {k: v for k, v in config.items() if k not in (
            "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "max_position_embeddings", "rms_norm_eps")}
    if spec["model_type"] in ("starcoder2", "phi"):
        config.pop("rms_norm_eps")
    config.update(overrides or {})
    return config


def build(spec, overrides=None):
    config = AutoConfig.for_model(spec["model_type"], **make_config(spec, overrides))
    config._attn_implementation = "eager"
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def randomize(model, seed, dtype):
    """Random weights that give logits of a spread near 2; norms near their neutral value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                neutral = 0.0 if name.endswith("bias") or "Gemma" in type(model).__name__ else 1.0
                parameter.copy_(neutral + 0.1 * noise)
            else:
                inputs = parameter.shape[0] if "c_attn" in name or "c_proj" in name or (
                    "c_fc" in name and "GPT2" in type(model).__name__) else parameter.shape[-1]
                spread = 2.0 if name.endswith(".gate.weight") else 1.2  # routers that decide
                parameter.copy_(noise * (spread / inputs ** 0.5))
            parameter.copy_(parameter.to(dtype).float())


class RouterGaps:
    """The smallest distance between the last chosen and the first rejected expert."""

    def __init__(self, model, experts_per_token):
        self.smallest = float("inf")
        for name, module in model.named_modules():
            if name.endswith(".gate") and hasattr(module, "weight"):
                module.register_forward_hook(self._hook(module, experts_per_token))

    def _hook(self, module, k):
        def hook(_module, inputs, _output):
            logits = inputs[0].reshape(-1, module.weight.shape[1]) @ module.weight.T
            best = logits.topk(k + 1, dim=-1).values
            self.smallest = min(self.smallest, (best[:, k - 1] - best[:, k]).min().item())
        return hook


def greedy(model, ids):
    """24 greedy tokens by running the whole text again each time: no cache involved."""
    tokens, logprobs, gaps = [], [], []
    text = list(ids)
    for _ in range(NUM_GREEDY):
        logits = model(torch.tensor([text]), use_cache=False).logits[0, -1]
        best = logits.topk(2)
        tokens.append(int(best.indices[0]))
        gaps.append(float(best.values[0] - best.values[1]))
        logprobs.append(float(logits.log_softmax(-1)[tokens[-1]]))
        text.append(tokens[-1])
    return tokens, logprobs, gaps


def sequences(vocab, seed):
    generator = torch.Generator().manual_seed(1000 + seed)
    return [torch.randint(3, vocab, (n,), generator=generator).tolist() for n in (1, 17, 96)]


def compute(model, ids_list):
    expected, min_gap, all_logits = {}, float("inf"), []
    for i, ids in enumerate(ids_list):
        output = model(torch.tensor([ids]), use_cache=False, output_hidden_states=True)
        logits = output.logits[0]
        logprobs = logits.log_softmax(-1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:]).long()]
        tokens, greedy_logprobs, gaps = greedy(model, ids)
        min_gap = min(min_gap, *gaps)
        all_logits.append(logits.flatten())
        expected[f"ids_{i}"] = torch.tensor(ids, dtype=torch.int32)
        expected[f"logits_{i}"] = (logits if i < 2 else logits[-4:]).contiguous()
        expected[f"logprobs_{i}"] = logprobs.contiguous()
        expected[f"greedy_{i}"] = torch.tensor(tokens, dtype=torch.int32)
        expected[f"greedy_logprobs_{i}"] = torch.tensor(greedy_logprobs)
        if i == 1:
            expected["hidden_1"] = output.hidden_states[-1][0].contiguous()
    return expected, min_gap, torch.cat(all_logits).std().item()


def changes_if_dropped(spec, state, ids_list, expected):
    changes = {}
    for name, overrides in spec["drops"].items():
        other = build(spec, overrides)
        other.load_state_dict(state)
        moved = []
        for i, ids in enumerate(ids_list):
            logits = other(torch.tensor([ids]), use_cache=False).logits[0, -4:]
            moved.append(round(float((logits - expected[f"logits_{i}"][-4:]).abs().max()), 5))
        changes[name] = moved
    return changes


def save(name, spec, model, seed, expected, meta):
    folder = os.path.join(OUT, name)
    os.makedirs(folder, exist_ok=True)
    model.to(getattr(torch, spec["dtype"])).save_pretrained(folder)
    for extra in ("generation_config.json",):
        path = os.path.join(folder, extra)
        if os.path.exists(path):
            os.remove(path)
    if spec["style"] == "v4":
        config = {"architectures": [spec["architecture"]], "model_type": spec["model_type"],
                  "torch_dtype": spec["dtype"], **make_config(spec)}
        with open(os.path.join(folder, "config.json"), "w", encoding="ascii") as out:
            json.dump(config, out, indent=1, sort_keys=True)
            out.write("\n")
    save_file(expected, os.path.join(folder, "expected.safetensors"))
    with open(os.path.join(folder, "meta.json"), "w", encoding="ascii") as out:
        json.dump(meta, out, indent=1)
        out.write("\n")
    # The file must hold what was computed with.
    stored = load_file(os.path.join(folder, "model.safetensors"))
    assert all(t.dtype == getattr(torch, spec["dtype"]) for t in stored.values())


@torch.no_grad()
def make(name, spec):
    dtype = getattr(torch, spec["dtype"])
    for seed in range(200):
        model = build(spec)
        randomize(model, seed, dtype)
        gaps = RouterGaps(model, spec["config"].get("num_experts_per_tok", 1))
        ids_list = sequences(model.config.vocab_size, seed)
        for ids in ids_list:
            model(torch.tensor([ids]), use_cache=False)
        if gaps.smallest < MIN_ROUTER_GAP:
            continue
        expected, min_gap, std = compute(model, ids_list)
        if min_gap >= MIN_GAP and gaps.smallest >= MIN_ROUTER_GAP:
            break
    else:
        print(f"{name}: no seed with wide enough gaps", flush=True)
        return
    state = model.state_dict()
    meta = {"name": name, "architecture": spec["architecture"], "note": spec["note"],
            "weights_dtype": spec["dtype"], "seed": seed,
            "made_with": f"transformers {transformers.__version__}, torch {torch.__version__}",
            "logits_std": std, "min_greedy_gap": min_gap,
            "min_router_gap": None if gaps.smallest == float("inf") else gaps.smallest,
            "max_abs_logit_change_if_feature_dropped_per_sequence":
                changes_if_dropped(spec, state, ids_list, expected)}
    save(name, spec, model, seed, expected, meta)
    print(f"{name}: seed {seed}, std {std:.3f}, gap {min_gap:.4f}, router {meta['min_router_gap']}",
          flush=True)


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    for name in sys.argv[1:] or CASES:
        make(name, CASES[name])


if __name__ == "__main__":
    main()
