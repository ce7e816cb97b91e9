#include "lora/lora_modules.h"

#include <string_view>

#include "base/str.h"
#include "spec/weight_names.h"

namespace ruvllm {
namespace {

std::string_view pattern_of(const NameTable& table, Role role) {
  for (const WeightName& row : table.own) {
    if (row.role == role) return row.pattern;
  }
  for (const WeightName& row : table.base) {
    if (row.role == role) return row.pattern;
  }
  return {};
}

std::string module_name(const NameTable& table, Role role, int32_t layer) {
  std::string_view pattern = pattern_of(table, role);
  constexpr std::string_view kEnding = ".weight";
  if (pattern.ends_with(kEnding)) pattern.remove_suffix(kEnding.size());
  std::string name;
  if (pattern.starts_with('@')) {
    name = table.prefixes.front();
    pattern.remove_prefix(1);
  }
  const size_t place = pattern.find("{L}");
  if (place == std::string_view::npos) return name + std::string(pattern);
  return concat(name, pattern.substr(0, place), layer, pattern.substr(place + 3));
}

class ModuleList {
 public:
  explicit ModuleList(const ModelConfig& config)
      : config_(config), table_(weight_names(config.family, NameStyle::kHuggingFace)) {}

  std::vector<LoraModule> make() {
    const int64_t width = config_.hidden_size;
    const int64_t vocab = config_.vocab_size;
    add(Role::kEmbedding, LoraSite::kEmbedding, -1, 0, width, vocab);
    for (int32_t layer = 0; layer < config_.num_layers(); ++layer) {
      add_attention(layer);
      if (!config_.layers[static_cast<size_t>(layer)].moe) add_mlp(layer);
    }
    add(Role::kLmHead, LoraSite::kLmHead, -1, 0, vocab, width);
    return std::move(modules_);
  }

 private:
  void add(Role role, LoraSite site, int32_t layer, int64_t first_column, int64_t rows,
           int64_t cols, int32_t rotated_heads = 0) {
    modules_.push_back(
        {module_name(table_, role, layer), site, layer, first_column, rows, cols, rotated_heads});
  }

  void add_attention(int32_t layer) {
    const int64_t width = config_.hidden_size;
    const int64_t q = int64_t{config_.num_heads} * config_.head_dim;
    const int64_t kv = int64_t{config_.num_kv_heads} * config_.head_dim;
    if (config_.family == Family::kPhi3) {  // its class makes o_proj first
      add(Role::kAttnOut, LoraSite::kAttnOut, layer, 0, width, q);
      add(Role::kQkv, LoraSite::kQkv, layer, 0, q + 2 * kv, width);
      return;
    }
    if (config_.family == Family::kGpt2) {
      add(Role::kQkv, LoraSite::kQkv, layer, 0, q + 2 * kv, width);
    } else {
      add(Role::kQ, LoraSite::kQkv, layer, 0, q, width, config_.num_heads);
      add(Role::kK, LoraSite::kQkv, layer, q, kv, width, config_.num_kv_heads);
      add(Role::kV, LoraSite::kQkv, layer, q + kv, kv, width);
    }
    add(Role::kAttnOut, LoraSite::kAttnOut, layer, 0, width, q);
  }

  void add_mlp(int32_t layer) {
    const int64_t width = config_.hidden_size;
    const int64_t ffn = config_.ffn_size;
    if (config_.family == Family::kPhi3) {
      add(Role::kGateUp, LoraSite::kUp, layer, 0, 2 * ffn, width);
    } else if (config_.gated_mlp) {
      add(Role::kGate, LoraSite::kUp, layer, 0, ffn, width);
      add(Role::kUp, LoraSite::kUp, layer, ffn, ffn, width);
    } else {
      add(Role::kUp, LoraSite::kUp, layer, 0, ffn, width);
    }
    add(Role::kDown, LoraSite::kDown, layer, 0, width, ffn);
  }

  const ModelConfig& config_;
  NameTable table_;
  std::vector<LoraModule> modules_;
};

}  // namespace

std::vector<LoraModule> lora_modules(const ModelConfig& config) {
  return ModuleList(config).make();
}

}  // namespace ruvllm
