#include "base/new_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/mmap_file.h"
#include "base/str.h"

namespace ruvllm {
namespace {

int64_t process_id() {
#if defined(__wasm__)
  return 0;  // there are no other processes
#else
  return ::getpid();
#endif
}

// Names that others have already: of a process with this number that was killed, or that runs on
// another machine with the same disk.
constexpr int kAttempts = 1000;

// Whether the disk has everything. File systems that have no fsync are believed.
bool is_on_disk(int descriptor) {
  return ::fsync(descriptor) == 0 || errno == EINVAL || errno == ENOSYS || errno == ENOTSUP;
}

}  // namespace

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
  static std::atomic<uint64_t> number{0};
  NewFile made(path, {}, nullptr);
  int descriptor = -1;
  for (int i = 0; i < kAttempts && descriptor < 0; ++i) {
    made.temporary_ = concat(path, ".", process_id(), ".", number.fetch_add(1), ".tmp");
    descriptor = ::open(made.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0 && errno != EEXIST) break;
  }
  if (descriptor < 0) {
    made.temporary_.clear();  // another's, or none
    return std::unexpected(made.io_error("create").error());
  }
  made.file_ = ::fdopen(descriptor, "wb");
  if (made.file_ == nullptr) {
    const Status failed = made.io_error("create");
    ::close(descriptor);
    return std::unexpected(failed.error());
  }
  return made;
}

Status NewFile::try_create(const std::string& path) {
  const auto made = create(path);
  if (!made) return std::unexpected(made.error());
  return {};
}

Status NewFile::write(const void* data, size_t size) {
  if (size == 0 || std::fwrite(data, 1, size, file_) == size) return {};
  return io_error("write");
}

Status NewFile::commit() {
  if (std::fflush(file_) != 0 || !is_on_disk(::fileno(file_))) return io_error("write");
  if (std::fclose(std::exchange(file_, nullptr)) != 0) return io_error("write");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return io_error("rename");
  temporary_.clear();
  return {};
}

Status make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0777) == 0) return {};
  const int error = errno;
  if (error == EEXIST && directory_exists(path)) return {};
  return fail(ErrorCode::kIo, concat(path, ": cannot create: ", std::strerror(error)));
}

}  // namespace ruvllm
