// SequenceAdapter: what one sequence is computed with beside the base model: nothing, a LoRA
// adapter or a weighted sum of several, or X-LoRA. Keeps what it names alive, so a request keeps
// the adapter it began with whatever is unloaded meanwhile. A value; equal when it names the same.
#pragma once

#include <memory>
#include <string>

#include "lora/lora_adapter.h"
#include "lora/xlora.h"

namespace ruvllm {

struct SequenceAdapter {
  std::shared_ptr<const LoraMix> mix;
  std::shared_ptr<XLoraGate> xlora;  // then `mix` is null
  // Names it for caches: the same text under the same key gives the same keys and values. Empty:
  // the base model.
  std::string cache_key = {};

  // The terms of the (second) pass, or null: none.
  const LoraTable* table() const {
    if (xlora != nullptr) return &xlora->xlora().table;
    return mix != nullptr ? &mix->table : nullptr;
  }
  bool operator==(const SequenceAdapter&) const = default;
};

}  // namespace ruvllm
