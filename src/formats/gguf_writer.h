// Writes GGUF files, version 3 (the format: gguf.h). Collect metadata and tensors, then write()
// once. Metadata is mostly copied from another file, entry by entry, byte by byte.
//
// Ownership: values and tensors are not copied; their bytes must stay valid until write() returns.
// write() goes to a temporary file beside `path` and renames it: a failed write leaves no half file
// behind. One thread. Failure: kInvalidArgument (size and shape disagree, name taken), kIo.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf.h"
#include "ruvllm/result.h"
#include "tensor/dtype.h"

namespace ruvllm {

class GgufWriter {
 public:
  // A later entry of the same key replaces an earlier one.
  void copy_entry(std::string_view key, const GgufValue& value);
  void set_u32(std::string_view key, uint32_t value);

  // `shape`: outermost first.
  Status add_tensor(std::string name, DType dtype, std::vector<int64_t> shape,
                    std::span<const std::byte> bytes);

  Status write(const std::string& path) const;

 private:
  struct Entry {
    std::string key;
    std::string bytes;  // type and value
  };
  struct Tensor {
    std::string name;
    DType dtype;
    std::vector<int64_t> shape;
    std::span<const std::byte> bytes;
  };
  void set(std::string_view key, std::string bytes);
  std::string header() const;

  std::vector<Entry> entries_;
  std::vector<Tensor> tensors_;
};

}  // namespace ruvllm
