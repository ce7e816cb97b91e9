// Reader of safetensors files: 8-byte little-endian header length, a JSON header naming each tensor
// with its dtype, shape and byte range, then the raw data (format: the safetensors repository's
// README).
//
// The parser takes bytes and returns views into them: nothing is copied, and the views live as long
// as the bytes. It is strict: the ranges must cover the data without overlap, hole or rest; a
// dtype this engine has no element format for is refused by name. Pure functions, any thread.
// Failure: kBadFile or kUnsupported, one line naming the file and the tensor.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ruvllm/result.h"
#include "spec/file_tensor.h"

namespace ruvllm {

// Tensors in the order of the header. `file` is used in messages and in FileTensor::file.
// Data may start at any address: a header whose length is no multiple of 8 is legal.
Result<std::vector<FileTensor>> parse_safetensors(std::span<const std::byte> bytes,
                                                  const std::string& file);

// model.safetensors.index.json: tensor name -> name of the shard that holds it, in file order.
// Every shard name is a plain *.safetensors name in the same folder; anything else is refused.
struct SafetensorsIndex {
  std::vector<std::pair<std::string, std::string>> tensor_to_shard;
  std::vector<std::string> shards;  // distinct, sorted
};
Result<SafetensorsIndex> parse_safetensors_index(std::string_view json, const std::string& file);

// "F32", "BF16", ...: the format's own spelling; "" for element formats it cannot hold.
std::string_view safetensors_dtype_name(DType dtype);

}  // namespace ruvllm
