// LoraAdapter: a trained LoRA adapter as one neutral value, checked against the model it is for.
//
// load_lora_adapter reads a folder in PEFT's format (adapter_config.json and
// adapter_model.safetensors). It is strict: every module that the config targets has both of its
// matrices in the file, with the shapes and ranks that model and config call for, all numbers are
// finite, and there is nothing else in the file, but for copies of the base model's own embedding
// or output matrix, which PEFT adds and which must equal the base's.
//
// Ownership: the value keeps copies of everything; the files may go. Constant after load; any
// thread may read. Failure: one line naming file, field or tensor, found and expected.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "lora/lora_modules.h"
#include "ops/lora_batch.h"
#include "ruvllm/result.h"

namespace ruvllm {

struct LoraPair {
  LoraModule module;
  int32_t rank = 0;
  float scale = 1.0f;
  // As the file has them, bf16 where both are; f16 and f64 become f32. The layouts of LoraTerm.
  DType dtype = DType::kF32;
  std::vector<std::byte> a;
  std::vector<std::byte> b;

  LoraTerm term() const;
};

// What a reader takes of one adapter at most, whatever the budget of all of them is: 16 GiB.
inline constexpr uint64_t kMaxAdapterBytes = uint64_t{1} << 34;

struct LoraAdapter {
  std::string path;
  std::vector<LoraPair> pairs;  // in the order of lora_modules()
  LoraTable table;              // of `pairs`
  uint64_t num_bytes = 0;       // of a and b, in memory
  int32_t max_rank = 0;

  const LoraPair* find(const std::string& module_name) const;
};

// `base` is the model's checkpoint: its config, and its tensors to compare copies with. max_bytes:
// files whose matrices cannot fit into so many bytes are refused before they are read.
Result<std::shared_ptr<const LoraAdapter>> load_lora_adapter(const std::string& path,
                                                             const Checkpoint& base,
                                                             uint64_t max_bytes = kMaxAdapterBytes);

// Several adapters added up, each with a weight: exact, and the same as PEFT's "cat" combination.
// Keeps its adapters alive.
struct LoraMix {
  struct Part {
    std::shared_ptr<const LoraAdapter> adapter;
    float weight = 1.0f;
  };
  std::vector<Part> parts;
  LoraTable table;
};
std::shared_ptr<const LoraMix> mix_lora_adapters(std::vector<LoraMix::Part> parts,
                                                 int32_t num_layers);

}  // namespace ruvllm
