// ModelAdapters: the adapters that were loaded with a model, by name, and what a request may choose
// among them. Constant after load, but for the X-LoRA's scratch, which belongs to who holds the
// model's turn. Failure: one line naming the adapter or its files.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/model_runner.h"
#include "engine/sequence_adapter.h"
#include "ruvllm/options.h"
#include "ruvllm/result.h"

namespace ruvllm {

struct ModelAdapters {
  std::vector<std::pair<std::string, std::shared_ptr<const LoraAdapter>>> loras;
  std::shared_ptr<XLoraGate> xlora;
  SequenceAdapter chosen;  // by LoadOptions::use_adapter
  int32_t num_layers = 0;

  // "base", "xlora", "name", or "a:0.5+b:0.5".
  Result<SequenceAdapter> select(std::string_view selection) const;
  const XLora* xlora_model() const { return xlora != nullptr ? &xlora->xlora() : nullptr; }
};

Result<ModelAdapters> load_model_adapters(const LoadOptions& options, const Checkpoint& checkpoint,
                                          ModelRunner& runner);

}  // namespace ruvllm
