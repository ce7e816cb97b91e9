// quantization_config of config.json: how the matrices of a checkpoint are coded. Read: AutoAWQ
// ("gemm"), GPTQ (v1 and v2), compressed-tensors (pack-quantized, int-quantized, float-quantized
// fp8) and this project's own ("ruvllm", written by `ruvllm quantize`; tensors as pack-quantized,
// with input transforms). Everything else is refused by name. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "ruvllm/result.h"

namespace ruvllm {

enum class QuantMethod : uint8_t { kNone, kGptq, kAwq, kCompressedTensors, kRuvllm };

struct QuantizationConfig {
  QuantMethod method = QuantMethod::kNone;
  // What a matrix may look like; compressed-tensors may have several, and which one a matrix has is
  // told by the shapes of its tensors. GPTQ and AWQ have one.
  struct Scheme {
    int32_t bits = 4;
    int64_t group_size = 0;  // 0: one scale per row, or one for the whole matrix
    bool is_float = false;   // fp8
    bool int8_activations = false;
  };
  std::vector<Scheme> schemes;
  bool gptq_v2 = false;  // zero points are stored as they are, not less 1
};

// `file` begins every message.
Result<QuantizationConfig> parse_quantization_config(const Json& config, const std::string& file);

}  // namespace ruvllm
