#include "base/mmap_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "base/file_faults.h"
#include "base/read_file.h"
#include "base/str.h"

#if !defined(__wasm__)
#include <sys/mman.h>
#endif

namespace ruvllm {
namespace {

// A descriptor that closes itself.
struct Descriptor {
  int fd = -1;
  explicit Descriptor(int value) : fd(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

std::atomic<FileFaultHook> g_fault_hook{nullptr};

bool has_fault(const std::string& path, FileFault fault) {
  const FileFaultHook hook = g_fault_hook.load(std::memory_order_relaxed);
  return hook != nullptr && hook(path) == fault;
}

std::unexpected<Error> open_error(const std::string& path) {
  const int error = errno;
  const auto code = error == ENOENT || error == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo;
  return fail(code, concat(path, ": cannot open: ", std::strerror(error)));
}

// Opens a regular file for reading and gives its size.
Result<uint64_t> regular_file_size(const std::string& path, int fd) {
  if (fd < 0) return open_error(path);
  if (has_fault(path, FileFault::kOpen)) {
    errno = EIO;
    return open_error(path);
  }
  struct stat info = {};
  if (::fstat(fd, &info) != 0) return open_error(path);
  if (!S_ISREG(info.st_mode)) return fail(ErrorCode::kIo, concat(path, ": is not a regular file"));
  return static_cast<uint64_t>(info.st_size);
}

Status read_all(const std::string& path, int fd, char* out, size_t size) {
  size_t done = 0;
  if (has_fault(path, FileFault::kRead)) fd = -1;  // read() fails
  while (done < size) {
    const ssize_t n = ::read(fd, out + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail(ErrorCode::kIo, concat(path, ": ended while it was read"));
    done += static_cast<size_t>(n);
  }
  return {};
}

}  // namespace

Result<MmapFile> MmapFile::open(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  RUVLLM_ASSIGN(const uint64_t size_bytes, regular_file_size(path, file.fd));
  if (size_bytes > std::numeric_limits<size_t>::max() / 2) {
    return fail(ErrorCode::kOutOfMemory,
                concat(path, ": ", size_bytes, " bytes do not fit this machine's address space"));
  }
  MmapFile result;
  result.path_ = path;
  result.size_ = static_cast<size_t>(size_bytes);
  if (result.size_ == 0) return result;
#if !defined(__wasm__)
  void* data = ::mmap(nullptr, result.size_, PROT_READ, MAP_SHARED, file.fd, 0);
  if (data != MAP_FAILED && has_fault(path, FileFault::kRead)) {
    ::munmap(data, result.size_);
    data = MAP_FAILED;
    errno = EIO;
  }
  if (data == MAP_FAILED) {
    return fail(ErrorCode::kIo, concat(path, ": cannot map: ", std::strerror(errno)));
  }
  result.data_ = static_cast<const std::byte*>(data);
  result.mapped_ = true;
#else
  void* data = std::aligned_alloc(64, (result.size_ + 63) / 64 * 64);
  if (data == nullptr) {
    return fail(ErrorCode::kOutOfMemory, concat(path, ": no memory for ", size_bytes, " bytes"));
  }
  result.data_ = static_cast<const std::byte*>(data);
  RUVLLM_TRY(read_all(path, file.fd, static_cast<char*>(data), result.size_));
#endif
  return result;
}

MmapFile::MmapFile(MmapFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapped_(std::exchange(other.mapped_, false)) {}

MmapFile& MmapFile::operator=(MmapFile&& other) noexcept {
  if (this != &other) {
    close();
    path_ = std::move(other.path_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    mapped_ = std::exchange(other.mapped_, false);
  }
  return *this;
}

MmapFile::~MmapFile() {
  close();
}

void MmapFile::close() {
  if (data_ == nullptr) return;
#if !defined(__wasm__)
  if (mapped_) ::munmap(const_cast<std::byte*>(data_), size_);
#else
  std::free(const_cast<std::byte*>(data_));
#endif
  data_ = nullptr;
}

void MmapFile::release([[maybe_unused]] std::span<const std::byte> range) const {
#if !defined(__wasm__)
  if (!mapped_ || range.empty()) return;
  const auto page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin =
      (reinterpret_cast<uintptr_t>(range.data()) + page_bytes - 1) & ~(page_bytes - 1);
  const auto end = reinterpret_cast<uintptr_t>(range.data() + range.size()) & ~(page_bytes - 1);
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
#endif
}

void set_file_fault_hook(FileFaultHook hook) {
  g_fault_hook.store(hook, std::memory_order_relaxed);
}

Result<FileBytes> read_file(const std::string& path, uint64_t max_bytes) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  RUVLLM_ASSIGN(const uint64_t size_bytes, regular_file_size(path, file.fd));
  if (size_bytes > max_bytes || size_bytes > std::numeric_limits<size_t>::max() / 2) {
    return fail(ErrorCode::kBadFile,
                concat(path, ": ", size_bytes, " bytes, expected at most ", max_bytes));
  }
  FileBytes out;
  out.size = static_cast<size_t>(size_bytes);
  out.data.reset(new (std::nothrow) std::byte[out.size]);
  if (out.data == nullptr) {
    return fail(ErrorCode::kOutOfMemory, concat(path, ": no memory for ", size_bytes, " bytes"));
  }
  RUVLLM_TRY(read_all(path, file.fd, reinterpret_cast<char*>(out.data.get()), out.size));
  return out;
}

Result<std::string> read_text_file(const std::string& path, uint64_t max_bytes) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  RUVLLM_ASSIGN(const uint64_t size_bytes, regular_file_size(path, file.fd));
  if (size_bytes > max_bytes) {
    return fail(ErrorCode::kBadFile,
                concat(path, ": ", size_bytes, " bytes, expected at most ", max_bytes));
  }
  std::string text(static_cast<size_t>(size_bytes), '\0');
  RUVLLM_TRY(read_all(path, file.fd, text.data(), text.size()));
  return text;
}

bool file_exists(const std::string& path) {
  struct stat info = {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

bool directory_exists(const std::string& path) {
  struct stat info = {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace ruvllm
