// A whole file in memory: for files that somebody may change or cut short while they are read,
// which a mapping (MmapFile) would answer with SIGBUS. Failure: kNotFound, kIo (also when it ends
// early), kBadFile when it is longer than max_bytes, kOutOfMemory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "ruvllm/result.h"

namespace ruvllm {

struct FileBytes {
  std::unique_ptr<std::byte[]> data;
  size_t size = 0;
  std::span<const std::byte> bytes() const { return {data.get(), size}; }
};

Result<FileBytes> read_file(const std::string& path, uint64_t max_bytes);

}  // namespace ruvllm
