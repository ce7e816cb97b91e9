// QuantizedMatrix -> the tensors that files hold: the inverse of quantized_tensors.h, in this
// project's own layout ("ruvllm"). What is packed here reads back equal, bit for bit. Pure
// functions; any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ruvllm/result.h"
#include "spec/file_tensor.h"

namespace ruvllm {

struct PackedTensor {
  std::string name;
  DType dtype = DType::kI32;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};

template <typename T>
PackedTensor packed_tensor(std::string name, DType dtype, std::vector<int64_t> shape,
                           const std::vector<T>& values) {
  PackedTensor out{std::move(name), dtype, std::move(shape), {}};
  const auto bytes = std::as_bytes(std::span(values));
  out.bytes.assign(bytes.begin(), bytes.end());
  return out;
}

// What the names of a matrix's parts begin with: PREFIX of "PREFIX.weight", or the whole name.
std::string matrix_prefix(std::string_view tensor_name);

// The parts of matrix "PREFIX.weight": PREFIX.weight_packed, PREFIX.weight_scale, ... Zero points
// must fit the bits (kInternal otherwise).
Result<std::vector<PackedTensor>> pack_matrix(const QuantizedMatrix& matrix,
                                              const std::string& prefix);

// Parts in memory as one tensor that is read like one of a file. It owns them.
Result<FileTensor> tensor_of_parts(std::vector<PackedTensor> parts, const std::string& file);

}  // namespace ruvllm
