// Calibrated quantization: one forward pass over the sample, layer after layer, in which every
// matrix is quantized when its product comes up, from what its input then is. AWQ and SmoothQuant
// go on with the exact product, so that later matrices see the unquantized model; GPTQ goes on with
// the quantized one, so that later matrices make up for it. Below 8 bits every fourth piece of
// GPTQ's sample runs unquantized beside itself, and what a matrix is to give is what the exact one
// gives there (quantize/input_drift.h).
//
// The whole sample is one step: its activations are in memory at once (at most
// max_activation_bytes, those pieces twice; a longer sample is shortened and the log says so), the
// weights are read where the file has them; one X^T X and what is made of it (in f32, two with AWQ,
// up to seven with GPTQ) is kept at a time. Same inputs, same bytes on any number of threads.
// Failure: one line naming the tensor; kUnavailable when told to stop.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "quantize/isq_matrices.h"
#include "quantize/stop_flag.h"

namespace ruvllm {

// Whether calibrate() quantizes it; others are kept or rounded.
bool is_calibrated(const IsqMatrix& matrix);

struct CalibrationArgs {
  const Checkpoint& checkpoint;
  const std::vector<IsqMatrix>& matrices;
  std::vector<std::vector<int32_t>> samples = {};  // token ids; each at most the model's context
  std::shared_ptr<ThreadPool> pool = nullptr;
  uint64_t seed = 0;
  uint64_t max_activation_bytes = uint64_t{4} << 30;
  std::function<void(int64_t done, int64_t total)> progress = {};  // in matrices; may be empty
  StopFlag stop = {};
  bool foldable_scales = false;  // input scales only where fold_scales.h can fold them
};

// The matrices that are calibrated, quantized. Those whose input never came up (an expert
// nobody chose) are left out: rounding is for the caller.
Result<std::vector<FileTensor>> calibrate(CalibrationArgs args);

}  // namespace ruvllm
