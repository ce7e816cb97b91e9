// NewFile: a file that appears whole under its name, or not at all. Bytes go to a temporary file
// beside it, which commit() renames once the disk has them; without commit() nothing is left. The
// temporary file's name (PATH.PROCESS.NUMBER.tmp) is nobody else's: two that write the same path at
// a time do not disturb each other, and the last to commit stays. A process that is killed leaves
// its temporary file.
//
// One thread. Failure: kIo, naming the path, what could not be done, and the system's reason.
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
  // Whether create() would work now; leaves nothing.
  static Status try_create(const std::string& path);
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

// One folder, in one that exists; one that is there is fine.
Status make_folder(const std::string& path);

}  // namespace ruvllm
