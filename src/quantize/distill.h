// Tuning a quantized model end to end, `:tuned`: all codes and scales together move down the
// gradient of the divergence between what the unquantized model predicts on the calibration text
// and what the quantized one does. Methods that look at one matrix at a time (GPTQ, AWQ) keep each
// product's output; this keeps the predictions, so that one matrix makes up for another's errors.
//
// It goes on from what GPTQ made, or from rounding; what moves and how: quantize/tuned_matrix.h and
// quantize/divergence_loss.h. The text goes by `passes` times in sequences of 256 tokens, two a
// step, in another order each time; the learning rates rise over the first 3 % of the steps and
// fall to 0 along a cosine (Loshchilov and Hutter 2017).
//
// Time: about 6 operations per token, pass and weight, and attention's. Memory: 3 floats per tuned
// weight, a byte per weight that is in `starts` and not tuned, the activations of one step, the
// output matrices in f32, and the last hidden rows of the unquantized model on all of the text, at
// most max_hidden_bytes (a longer text is shortened, and the log says so). Same inputs, same bytes
// on any number of threads. Failure: kUnsupported naming what the model has; kBadFile when the loss
// is no finite number; kUnavailable when told to stop.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "quantize/isq_matrices.h"
#include "quantize/stop_flag.h"

namespace ruvllm {

struct DistillArgs {
  const Checkpoint& checkpoint;
  const std::vector<IsqMatrix>& matrices;
  std::vector<std::vector<int32_t>> samples = {};  // token ids; each at most the model's context
  // What calibrate() made of matrices, tuned or not; those that are not in it begin with rounding.
  // No input transforms.
  std::vector<FileTensor> starts = {};
  std::shared_ptr<ThreadPool> pool = nullptr;
  int32_t passes = 8;
  uint64_t seed = 0;  // of the order
  float code_rate = 0.012f;
  float scale_rate = 0.002f;
  uint64_t max_hidden_bytes = uint64_t{4} << 30;
  std::function<void(int64_t done, int64_t total)> progress = {};  // in steps; may be empty
  StopFlag stop = {};
};

// How many steps there are.
int64_t num_distill_steps(const std::vector<std::vector<int32_t>>& samples, int32_t passes);

// The matrices that are tuned (is_tuned), quantized, and the others of `starts`.
Result<std::vector<FileTensor>> distill(DistillArgs args);

}  // namespace ruvllm
