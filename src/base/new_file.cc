#include "base/new_file.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/str.h"

namespace ruvllm {

NewFile::NewFile(std::string path, std::string temporary, std::FILE* file)
    : path_(std::move(path)), temporary_(std::move(temporary)), file_(file) {}

NewFile::NewFile(NewFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      file_(std::exchange(other.file_, nullptr)) {}

NewFile::~NewFile() {
  if (file_ != nullptr) std::fclose(file_);
  if (!temporary_.empty()) std::remove(temporary_.c_str());
}

Status NewFile::io_error(const char* what) {
  return fail(ErrorCode::kIo, concat(path_, ": cannot ", what, ": ", std::strerror(errno)));
}

Result<NewFile> NewFile::create(const std::string& path) {
  std::string temporary =
      concat(path, ".", std::chrono::system_clock::now().time_since_epoch().count(), ".tmp");
  std::FILE* file = std::fopen(temporary.c_str(), "wb");
  NewFile made(path, file != nullptr ? std::move(temporary) : std::string(), file);
  if (file == nullptr) return std::unexpected(made.io_error("create").error());
  return made;
}

Status NewFile::write(const void* data, size_t size) {
  if (size == 0 || std::fwrite(data, 1, size, file_) == size) return {};
  return io_error("write");
}

Status NewFile::commit() {
  if (std::fclose(std::exchange(file_, nullptr)) != 0) return io_error("write");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return io_error("rename");
  temporary_.clear();
  return {};
}

}  // namespace ruvllm
