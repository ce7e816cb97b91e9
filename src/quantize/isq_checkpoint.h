// A checkpoint whose matrices are quantized: made from one whose matrices are not. With RTN nothing
// is computed here: a matrix is rounded, on all threads, when the loader reads it, so that no more
// than one is in memory besides what the device keeps.
//
// Ownership: the result keeps `base` alive. Failure: one line naming the tensor; NaN and infinite
// weights are found when the matrix is read.
#pragma once

#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "formats/checkpoint.h"
#include "quantize/isq_matrices.h"

namespace ruvllm {

struct IsqSize {
  uint64_t elements = 0;  // of the matrices that are not kept
  uint64_t bytes = 0;     // that they take, scales and zero points too
  double bits_per_weight() const {
    return elements == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
  }
};

// A matrix in memory as the tensor that stands for it.
Result<FileTensor> quantized_tensor(const IsqMatrix& matrix, const QuantizedMatrix& quantized);

// `ready`: matrices quantized already, by the name of their tensor; the others are rounded.
// `files`: what they point into, if anything.
Result<std::shared_ptr<const Checkpoint>> make_isq_checkpoint(
    std::shared_ptr<const Checkpoint> base, const std::vector<IsqMatrix>& matrices,
    std::vector<FileTensor> ready, std::shared_ptr<ThreadPool> pool, uint64_t seed,
    std::vector<MmapFile> files = {});

IsqSize isq_size(const Checkpoint& checkpoint, const std::vector<IsqMatrix>& matrices);

}  // namespace ruvllm
