// adapter_config.json of a PEFT LoRA adapter, checked. What would change the arithmetic in a way
// this engine does not do (DoRA, biases, modules trained in full, replicated layers, ...) is
// refused by name; so is any field it has never heard of that is set.
//
// A value; constant after parsing. Failure: one line naming file, field, found and expected.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lora/lora_modules.h"
#include "lora/name_pattern.h"
#include "ruvllm/result.h"

namespace ruvllm {

// Chooses modules: names that must be a module's last parts, or one pattern for the whole name.
struct ModuleSelector {
  std::vector<std::string> endings;
  std::optional<NamePattern> pattern;
  bool all_linear = false;  // every matrix but the output's

  bool empty() const { return endings.empty() && !pattern && !all_linear; }
  Result<bool> selects(const LoraModule& module) const;
};

struct LoraConfig {
  std::string file;  // for messages
  int32_t rank = 8;
  double alpha = 8.0;
  bool use_rslora = false;
  std::vector<std::pair<NamePattern, int32_t>> rank_pattern;  // the first that matches counts
  std::vector<std::pair<NamePattern, double>> alpha_pattern;
  ModuleSelector target;  // empty: whatever the tensors are for
  ModuleSelector exclude;
  std::vector<int64_t> layers;  // of a target by endings; empty: all

  Result<bool> targets(const LoraModule& module) const;
  Result<int32_t> rank_of(const LoraModule& module) const;
  // alpha / r, or alpha / sqrt(r).
  Result<double> scale_of(const LoraModule& module) const;
};

Result<LoraConfig> parse_lora_config(std::string_view json, const std::string& file);

}  // namespace ruvllm
