#include "formats/gguf_config.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/str.h"
#include "formats/config_limits.h"
#include "formats/foreign_fields.h"
#include "formats/gguf_fields.h"
#include "formats/gguf_rope.h"

namespace ruvllm {
namespace {

struct Architecture {
  std::string_view name;
  Family family;
  // The fields only it has; the common ones are already in `config`.
  void (*read_own)(GgufFields& fields, ModelConfig& config);
  bool layer_norm = false;                       // with bias; otherwise RMS norm
  RopeLayout rope_layout = RopeLayout::kHalves;  // kInterleaved: rows permuted by the converter
  int64_t window_period = 0;   // of `period` layers the last has full attention; 0: none has
  int64_t default_window = 0;  // when the key is absent
};

// --- one function per architecture -------------------------------------------------------------

void read_llama(GgufFields&, ModelConfig& config) {
  if (config.num_experts > 0) config.family = Family::kMixtral;
}

void read_nothing(GgufFields&, ModelConfig&) {}

void read_qk_norm_per_head(GgufFields&, ModelConfig& config) {
  config.qk_norm = QkNorm::kPerHead;
}

void read_phi2(GgufFields&, ModelConfig& config) {
  config.block_form = BlockForm::kParallel;
  config.gated_mlp = false;
  config.activation = Activation::kGeluTanh;
}

void read_gelu_mlp(GgufFields&, ModelConfig& config) {  // GPT-2, StarCoder 2
  config.gated_mlp = false;
  config.activation = Activation::kGeluTanh;
  if (config.family != Family::kGpt2) return;
  config.learned_positions = true;
  for (LayerConfig& layer : config.layers) layer.use_rope = false;
}

// Norm weights of Gemma's GGUF files have the one already added.
void read_gemma(GgufFields&, ModelConfig& config) {
  config.activation = Activation::kGeluTanh;
  config.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(config.hidden_size)));
}

// Gemma 2 and 3. The files do not say what attention is scaled by: it is the head size for all
// published models but the 27B ones, which are known by their number of layers.
void read_gemma_sandwich(GgufFields& fields, ModelConfig& config, int32_t layers_of_27b) {
  read_gemma(fields, config);
  config.block_form = BlockForm::kSandwich;
  if (config.num_layers() == layers_of_27b && !fields.has("attention.scale")) {
    config.attention_scale = static_cast<float>(
        1.0 / std::sqrt(static_cast<double>(config.hidden_size / config.num_heads)));
  }
  config.logit_softcap =
      static_cast<float>(fields.number_or("final_logit_softcapping", 0.0, 0.0, 1e9));
}

void read_gemma2(GgufFields& fields, ModelConfig& config) {
  read_gemma_sandwich(fields, config, 46);
  config.attention_softcap =
      static_cast<float>(fields.number_or("attn_logit_softcapping", 50.0, 0.0, 1e9));
  if (!fields.has("final_logit_softcapping")) config.logit_softcap = 30.0f;
}

void read_gemma3(GgufFields& fields, ModelConfig& config) {
  read_gemma_sandwich(fields, config, 62);
  config.qk_norm = QkNorm::kPerHead;
  for (LayerConfig& layer : config.layers) layer.local_rope = layer.window > 0;
  config.rope_local.theta = fields.number_or("rope.freq_base_swa", 10000.0, 1e-3, 1e18);
  config.rope_local.rotary_dim = config.rope.rotary_dim;
}

void read_olmo2(GgufFields& fields, ModelConfig& config) {
  config.block_form = BlockForm::kPostNorm;
  config.qk_norm = QkNorm::kFull;
  if (config.layers[0].window > 0) {
    fields.unsupported("attention.sliding_window", "OLMo 3 is not supported");
  }
}

void read_granite(GgufFields& fields, ModelConfig& config) {
  // Zero means absent.
  const auto scale_or_one = [&](std::string_view key) {
    const double value = fields.number_or(key, 0.0, 0.0, 1e9);
    return value == 0.0 ? 1.0 : value;
  };
  config.embedding_scale = static_cast<float>(scale_or_one("embedding_scale"));
  config.residual_scale = static_cast<float>(scale_or_one("residual_scale"));
  config.logit_scale = static_cast<float>(1.0 / fields.number("logit_scale", 1e-9, 1e9));
  if (!fields.flag_or("rope.scaling.finetuned", true)) {
    fields.unsupported("rope.scaling.finetuned", "Granite without rope is not supported");
  }
}

void read_smollm3(GgufFields&, ModelConfig& config) {
  // The format has no key for it: every fourth layer is without positions.
  for (size_t i = 0; i < config.layers.size(); ++i) {
    config.layers[i].use_rope = (i + 1) % 4 != 0;
  }
}

constexpr Architecture kArchitectures[] = {
    {"llama", Family::kLlama, read_llama, false, RopeLayout::kInterleaved},
    {"qwen2", Family::kQwen2, read_nothing},
    {"qwen3", Family::kQwen3, read_qk_norm_per_head},
    {"qwen3moe", Family::kQwen3Moe, read_qk_norm_per_head},
    {"phi2", Family::kPhi, read_phi2, true},
    {"phi3", Family::kPhi3, read_nothing},
    {"gemma", Family::kGemma, read_gemma},
    {"gemma2", Family::kGemma2, read_gemma2, false, RopeLayout::kHalves, 2, 4096},
    {"gemma3", Family::kGemma3, read_gemma3, false, RopeLayout::kHalves, 6},
    {"starcoder2", Family::kStarcoder2, read_gelu_mlp, true},
    {"olmo2", Family::kOlmo2, read_olmo2},
    {"granite", Family::kGranite, read_granite, false, RopeLayout::kInterleaved},
    {"smollm3", Family::kSmolLm3, read_smollm3, false, RopeLayout::kInterleaved},
    {"gpt2", Family::kGpt2, read_gelu_mlp, true},
};

// --- fields that all share ---------------------------------------------------------------------

int32_t narrow(int64_t value) {
  return static_cast<int32_t>(value);
}

// The embedding tensor decides the vocabulary: it is what the ids index.
void read_vocab(GgufFields& fields, const GgufFile& file, ModelConfig& config) {
  const FileTensor* embedding = find_gguf_tensor(file, "token_embd.weight");
  if (embedding == nullptr) {
    return fields.bad("vocab_size", "the file has no tensor \"token_embd.weight\"");
  }
  const TensorView& view = embedding->view;
  if (view.rank != 2 || view.dim(1) != config.hidden_size || view.dim(0) > kMaxVocab) {
    return fields.bad("embedding_length", "token_embd.weight: found ", view.describe(),
                      ", expected [vocabulary, ", config.hidden_size, "]");
  }
  config.vocab_size = narrow(view.dim(0));
  fields.integer_or("vocab_size", config.vocab_size, config.vocab_size, config.vocab_size);
}

void read_heads(GgufFields& fields, ModelConfig& config) {
  const size_t layers = config.layers.size();
  config.num_heads = narrow(fields.layer_integer("attention.head_count", layers, 1, kMaxHeads));
  config.num_kv_heads = config.num_heads;
  if (fields.has("attention.head_count_kv")) {
    config.num_kv_heads =
        narrow(fields.layer_integer("attention.head_count_kv", layers, 1, kMaxHeads));
  }
  const int64_t derived = config.hidden_size / config.num_heads;
  if (!fields.has("attention.key_length") &&
      (config.hidden_size % config.num_heads != 0 || derived > kMaxHeadDim)) {
    fields.bad("attention.head_count", "found ", config.num_heads,
               ", expected a divisor of embedding_length ", config.hidden_size);
    return;
  }
  config.head_dim = narrow(fields.integer_or("attention.key_length", derived, 1, kMaxHeadDim));
  fields.integer_or("attention.value_length", config.head_dim, config.head_dim, config.head_dim);
}

// attention.sliding_window, and which layers it holds for.
void read_windows(GgufFields& fields, const Architecture& arch, ModelConfig& config) {
  const int64_t window =
      fields.integer_or("attention.sliding_window", arch.default_window, 0, INT32_MAX);
  if (window == 0) return;
  const size_t layers = config.layers.size();
  std::vector<int64_t> sliding;
  int64_t period = arch.window_period;
  if (const GgufValue* pattern = fields.find("attention.sliding_window_pattern")) {
    if (!pattern->is_array()) {
      period = fields.integer("attention.sliding_window_pattern", 0, INT32_MAX);
    } else if (!pattern->get_integers(sliding) || sliding.size() != layers) {
      return fields.bad("attention.sliding_window_pattern", "found ", pattern->describe(),
                        ", expected one for each of ", layers, " layers");
    }
  }
  for (size_t i = 0; i < layers; ++i) {
    const bool slides = !sliding.empty()
                            ? sliding[i] != 0
                            : period == 0 || (static_cast<int64_t>(i) + 1) % period != 0;
    if (slides) config.layers[i].window = narrow(window);
  }
}

void read_experts(GgufFields& fields, const GgufFile& file, ModelConfig& config) {
  config.num_experts = narrow(fields.integer_or("expert_count", 0, 0, kMaxExperts));
  if (config.num_experts == 0) {
    if (config.family == Family::kQwen3Moe) fields.bad("expert_count", "expected at least 1");
    return;
  }
  config.experts_per_token = narrow(fields.integer("expert_used_count", 1, config.num_experts));
  config.expert_ffn_size =
      narrow(config.family == Family::kQwen3Moe
                 ? fields.integer("expert_feed_forward_length", 1, kMaxFfn)
                 : fields.integer_or("expert_feed_forward_length", config.ffn_size, 1, kMaxFfn));
  config.norm_topk_prob = fields.flag_or("expert_weights_norm", true);
  const auto expect = [&](std::string_view key, double value) {
    if (fields.number_or(key, value, -1e9, 1e9) != value) {
      fields.unsupported(key, "expected ", value);
    }
  };
  expect("expert_gating_func", 1);  // softmax
  expect("expert_shared_count", 0);
  expect("expert_shared_feed_forward_length", 0);
  expect("expert_group_count", 0);
  if (fields.has("expert_weights_scale") &&
      fields.number("expert_weights_scale", 0.0, 1e9) != 0.0) {
    expect("expert_weights_scale", 1);
  }
  for (const FileTensor& tensor : file.tensors) {
    // "blk.12.ffn_gate_inp.weight": that layer has a router.
    std::string_view name = tensor.name;
    if (!name.starts_with("blk.") || !name.ends_with(".ffn_gate_inp.weight")) continue;
    name = name.substr(4, name.find('.', 4) - 4);
    size_t layer = 0;
    if (parse_number(name, layer) && layer < config.layers.size()) config.layers[layer].moe = true;
  }
}

// Traits that only the tensors show.
void read_tensor_traits(const GgufFile& file, ModelConfig& config) {
  config.tied_embeddings = true;
  // For phi2 llama.cpp's converter writes four times the hidden size, whatever the model has.
  if (config.family == Family::kPhi) {
    const FileTensor* up = find_gguf_tensor(file, "blk.0.ffn_up.weight");
    if (up != nullptr && up->view.rank == 2 && up->view.dim(0) <= kMaxFfn) {
      config.ffn_size = narrow(up->view.dim(0));
    }
  }
  for (const FileTensor& tensor : file.tensors) {
    const std::string_view name = tensor.name;
    if (name == "output.weight") config.tied_embeddings = false;
    if (name == "output.bias") config.lm_head_bias = true;
    if (!name.starts_with("blk.") || !name.ends_with(".bias")) continue;
    const std::string_view field = name.substr(name.find('.', 4) + 1);
    if (field == "attn_q.bias" || field == "attn_qkv.bias") config.qkv_bias = true;
    if (field == "attn_output.bias") config.attn_out_bias = true;
    if (field == "ffn_up.bias" || field == "ffn_down.bias") config.mlp_bias = true;
  }
}

// Ids and texts that end a turn, by names that published vocabularies use: files often name only
// one end token although the model also stops at another.
bool ends_turn(std::string_view text) {
  static constexpr std::string_view kTexts[] = {"<|eot_id|>",      "<|eom_id|>",    "<|im_end|>",
                                                "<|end|>",         "<end_of_turn>", "<|endoftext|>",
                                                "<|end_of_text|>", "<EOT>",         "_<EOT>"};
  return std::ranges::find(kTexts, text) != std::end(kTexts);
}

void read_token_ids(const GgufFile& file, ModelConfig& config, Status& status) {
  GgufFields fields(file, "tokenizer.ggml.");
  const auto id = [&](std::string_view key) {
    return narrow(fields.integer_or(key, -1, 0, config.vocab_size - 1));
  };
  const auto add_eos = [&](int32_t token) {
    if (token >= 0 && std::ranges::find(config.eos_ids, token) == config.eos_ids.end()) {
      config.eos_ids.push_back(token);
    }
  };
  config.bos_id = id("bos_token_id");
  for (const char* key : {"eos_token_id", "eot_token_id", "eom_token_id"}) add_eos(id(key));
  const int64_t pad = fields.integer_or("padding_token_id", -1, INT64_MIN, INT64_MAX);
  config.pad_id = pad >= 0 && pad < config.vocab_size ? narrow(pad) : -1;

  std::vector<std::string_view> tokens;
  std::vector<int64_t> types;
  const GgufValue* token_list = fields.find("tokens");
  const GgufValue* type_list = fields.find("token_type");
  if (token_list != nullptr && type_list != nullptr && token_list->get_strings(tokens) &&
      type_list->get_integers(types) && tokens.size() == types.size()) {
    constexpr int64_t kControl = 3;
    const size_t count = std::min(tokens.size(), static_cast<size_t>(config.vocab_size));
    for (size_t i = 0; i < count; ++i) {
      if (types[i] == kControl && ends_turn(tokens[i])) add_eos(narrow(static_cast<int64_t>(i)));
    }
  }
  if (status && !fields.status()) status = fields.status();
}

void read_common(GgufFields& fields, const GgufFile& file, const Architecture& arch,
                 ModelConfig& config) {
  config.hidden_size = narrow(fields.integer("embedding_length", 1, kMaxHidden));
  config.layers.resize(static_cast<size_t>(fields.integer("block_count", 1, kMaxLayers)));
  const size_t layers = config.layers.size();
  config.max_positions = fields.integer("context_length", 1, kMaxPositions);
  config.ffn_size = narrow(fields.layer_integer("feed_forward_length", layers, 1, kMaxFfn));
  read_heads(fields, config);
  if (!fields.ok()) return;
  read_vocab(fields, file, config);

  config.norm = arch.layer_norm ? NormKind::kLayer : NormKind::kRms;
  config.norm_bias = arch.layer_norm;
  config.norm_eps = static_cast<float>(fields.number(
      arch.layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", 0.0,
      1.0));
  config.attention_scale =
      static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  const double scale = fields.number_or("attention.scale", 0.0, 0.0, 1e9);
  if (scale != 0.0) config.attention_scale = static_cast<float>(scale);
  if (!fields.flag_or("attention.causal", true)) {
    fields.unsupported("attention.causal", "found false: encoders are not supported");
  }
  read_windows(fields, arch, config);
  read_experts(fields, file, config);
  read_tensor_traits(file, config);
  if (config.family != Family::kGpt2) config.rope = read_gguf_rope(fields, file, config);
  config.rope.layout = arch.rope_layout;
}

}  // namespace

std::vector<std::string_view> supported_gguf_architectures() {
  std::vector<std::string_view> names;
  for (const Architecture& row : kArchitectures) names.push_back(row.name);
  return names;
}

Result<ModelConfig> gguf_model_config(const GgufFile& file) {
  GgufFields general(file, "general.");
  const std::string name(general.text_or("architecture", ""));
  RUVLLM_TRY(general.status());
  const auto* arch = std::ranges::find(kArchitectures, name, &Architecture::name);
  if (arch == std::end(kArchitectures)) {
    std::string known;
    for (const Architecture& row : kArchitectures) {
      known += concat(known.empty() ? "" : ", ", row.name);
    }
    return fail(ErrorCode::kUnsupported,
                concat(file.path, ": general.architecture: \"", printable(name, 40),
                       "\" is not supported; known: ", known));
  }
  ModelConfig config;
  config.family = arch->family;
  config.architecture = name;
  GgufFields fields(file, name + ".");
  read_common(fields, file, *arch, config);
  if (fields.ok()) arch->read_own(fields, config);
  refuse_foreign_fields(fields);
  Status status = fields.status();
  RUVLLM_TRY(status);
  read_token_ids(file, config, status);
  RUVLLM_TRY(status);
  RUVLLM_TRY(check_model_config(config, file.path));
  return config;
}

Result<Pooling> gguf_pooling(const GgufFile& file) {
  GgufFields general(file, "general.");
  GgufFields fields(file, concat(general.text_or("architecture", ""), "."));
  constexpr int64_t kNone = 0, kFirst = 2, kLast = 3;  // 1: the mean
  const int64_t type = fields.integer_or("pooling_type", kNone, 0, 255);
  if (type > kLast) fields.unsupported("pooling_type", "found ", type, ", known: 0 to 3");
  RUVLLM_TRY(fields.status());
  return type == kLast    ? Pooling::kLastToken
         : type == kFirst ? Pooling::kFirstToken
                          : Pooling::kMean;
}

Result<GenerationDefaults> gguf_generation_defaults(const GgufFile& file) {
  GgufFields fields(file, "general.sampling.");
  const auto number = [&](std::string_view key, double max) -> std::optional<float> {
    if (!fields.has(key)) return std::nullopt;
    return static_cast<float>(fields.number(key, 0.0, max));
  };
  GenerationDefaults defaults;
  defaults.temperature = number("temp", 1e4);
  defaults.top_p = number("top_p", 1.0);
  defaults.min_p = number("min_p", 1.0);
  defaults.repetition_penalty = number("penalty_repeat", 1e4);
  if (fields.has("top_k")) defaults.top_k = narrow(fields.integer("top_k", 0, INT32_MAX));
  RUVLLM_TRY(fields.status());
  return defaults;
}

}  // namespace ruvllm
