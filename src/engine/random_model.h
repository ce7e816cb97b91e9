// Models of known shapes with random weights, made in memory: for measuring speed without a file,
// and for the self test. The same shape, format and seed give the same bytes on every machine.
//
// The checkpoint owns its memory. Failure: an unknown shape, a format that cannot be written or
// does not divide the rows.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "formats/checkpoint.h"
#include "tensor/dtype.h"

namespace ruvllm {

// A Llama-architecture model.
struct ModelShape {
  std::string_view name;
  int32_t num_layers;
  int32_t hidden_size;
  int32_t ffn_size;
  int32_t num_heads;
  int32_t num_kv_heads;
  int32_t vocab_size;
  int64_t max_positions;
  float weight_scale;  // standard deviation of the weights
};

// nullptr: no such shape. known_shapes() lists the names.
const ModelShape* find_shape(std::string_view name);
std::string_view known_shapes();

Result<std::shared_ptr<const Checkpoint>> make_random_checkpoint(const ModelShape& shape,
                                                                 DType dtype, uint64_t seed);

}  // namespace ruvllm
