// Quantization while a model is loaded: from LoadOptions to a checkpoint whose matrices are
// quantized. One caller at a time; it uses `options.threads` threads. Failure: one line.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "formats/checkpoint.h"
#include "quantize/stop_flag.h"
#include "ruvllm/options.h"
#include "tokenizer/tokenizer.h"

namespace ruvllm {

// What came out.
struct IsqSummary {
  std::string isq;               // the settings, in the normal form
  uint64_t num_weights = 0;      // of the matrices that were quantized
  uint64_t num_bytes = 0;        // they take, scales and zero points too
  double bits_per_weight = 0.0;  // 8 * num_bytes / num_weights
};

// How it goes.
struct IsqRun {
  // In steps: the parts that auto measures, matrices that are calibrated, steps of the tuning. May
  // be empty; rounding has none, it happens when a matrix is read.
  std::function<void(int64_t done, int64_t total)> progress = {};
  StopFlag stop = {};
  // Input scales only where fold_scales() can move them into a norm.
  bool foldable_scales = false;
};

// Whether options.isq can be read; its mistakes by name.
Status check_isq_options(const LoadOptions& options);

// `checkpoint` itself when options.isq is empty. `tokenizer` reads the calibration text: an error,
// or null, matters only to methods that calibrate.
Result<std::shared_ptr<const Checkpoint>> quantize_checkpoint(
    std::shared_ptr<const Checkpoint> checkpoint, const Result<const Tokenizer*>& tokenizer,
    const LoadOptions& options, const IsqRun& run = {}, IsqSummary* summary = nullptr);

}  // namespace ruvllm
