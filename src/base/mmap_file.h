// A read-only file as a span of bytes: memory-mapped where the system can (pages are shared with
// the page cache and read on first touch), read into memory elsewhere (WASM).
//
// Ownership: the span lives as long as the MmapFile. Movable, not copyable; const use from any
// thread. Failure: kNotFound or kIo naming the path; a directory, pipe or device is refused.
// A file that another process truncates while mapped raises SIGBUS, as with any mapping.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "ruvllm/result.h"

namespace ruvllm {

class MmapFile {
 public:
  static Result<MmapFile> open(const std::string& path);

  MmapFile(MmapFile&& other) noexcept;
  MmapFile& operator=(MmapFile&& other) noexcept;
  MmapFile(const MmapFile&) = delete;
  MmapFile& operator=(const MmapFile&) = delete;
  ~MmapFile();

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // Tells the system that these bytes are not needed for now (their pages may leave memory; they
  // are read again on the next touch). A hint: no effect where there is no mapping.
  void release(std::span<const std::byte> range) const;

 private:
  MmapFile() = default;
  void close();

  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  bool mapped_ = false;
};

// The whole of a small text file. Fails when it is longer than max_bytes.
Result<std::string> read_text_file(const std::string& path, uint64_t max_bytes);

bool file_exists(const std::string& path);       // a regular file (or a link to one)
bool directory_exists(const std::string& path);  // a directory (or a link to one)

}  // namespace ruvllm
