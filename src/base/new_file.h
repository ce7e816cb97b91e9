// NewFile: a file that appears whole under its name, or not at all. Bytes go to a temporary file
// beside it, which commit() renames; without commit() nothing is left. Two that write the same name
// at a time do not share the temporary file; the last to commit stays.
//
// One thread. Failure: kIo, naming the path and what could not be done.
#pragma once

#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>

#include "ruvllm/result.h"

namespace ruvllm {

class NewFile {
 public:
  static Result<NewFile> create(const std::string& path);
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();

  Status write(const void* data, size_t size);
  Status write(std::string_view text) { return write(text.data(), text.size()); }
  Status commit();

 private:
  NewFile(std::string path, std::string temporary, std::FILE* file);
  Status io_error(const char* what);

  std::string path_;
  std::string temporary_;
  std::FILE* file_;  // null once it is closed
};

}  // namespace ruvllm
