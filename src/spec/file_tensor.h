// A tensor as it lies in a file, and where it is: the vocabulary between formats/ and model/.
#pragma once

#include <memory>
#include <string>

#include "tensor/quantized_matrix.h"
#include "tensor/tensor_view.h"

namespace ruvllm {

// How the names of a checkpoint are spelled.
enum class NameStyle : uint8_t { kHuggingFace, kGguf };

struct FileTensor {
  std::string name;
  TensorView view;   // bytes of the mapped file; shape outermost first (GGUF's order reversed)
  std::string file;  // for messages
  // Not null: a matrix kept as codes and scales. Then `view` says its shape [N, K] only (its data
  // is null), and the elements come from here.
  std::shared_ptr<const QuantizedSource> quantized;
};

}  // namespace ruvllm
