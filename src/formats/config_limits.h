// The largest sizes a config may claim. They exist so that products of any two or three of them fit
// 63 bits and so that a hostile config cannot ask for a large allocation before any tensor is seen;
// they are far above every published model.
#pragma once

#include <cstdint>

#include "ruvllm/result.h"
#include "spec/model_config.h"

namespace ruvllm {

inline constexpr int64_t kMaxVocab = int64_t{1} << 24;
inline constexpr int64_t kMaxHidden = int64_t{1} << 20;
inline constexpr int64_t kMaxFfn = int64_t{1} << 22;
inline constexpr int64_t kMaxLayers = 4096;
inline constexpr int64_t kMaxHeads = int64_t{1} << 14;
inline constexpr int64_t kMaxHeadDim = int64_t{1} << 13;
inline constexpr int64_t kMaxExperts = int64_t{1} << 14;
inline constexpr int64_t kMaxPositions = int64_t{1} << 40;

// What must hold between the fields of any config, from whatever file: heads divide, head and
// rotary sizes are even and fit, experts per token do not exceed the experts, ids are tokens.
// `file` begins the message.
Status check_model_config(const ModelConfig& config, const std::string& file);

}  // namespace ruvllm
