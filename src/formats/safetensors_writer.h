// Writes safetensors files. Collect tensors with add(), then write() once.
//
// Ownership: add() does not copy; the bytes must stay valid until write() returns. The data is laid
// out by falling element size, so every tensor is aligned to its elements. write() goes to a
// temporary file beside `path` and renames it: a failed write leaves no half file behind.
// One thread. Failure: kInvalidArgument (size and shape disagree, name taken), kIo.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ruvllm/result.h"
#include "tensor/dtype.h"

namespace ruvllm {

class SafetensorsWriter {
 public:
  Status add(std::string name, DType dtype, std::vector<int64_t> shape,
             std::span<const std::byte> bytes);
  // An entry of the header's __metadata__.
  void add_metadata(std::string key, std::string value);

  Status write(const std::string& path) const;

 private:
  struct Item {
    std::string name;
    DType dtype;
    std::vector<int64_t> shape;
    std::span<const std::byte> bytes;
  };
  std::string header(const std::vector<const Item*>& order) const;

  std::vector<Item> items_;
  std::vector<std::pair<std::string, std::string>> metadata_;
};

}  // namespace ruvllm
