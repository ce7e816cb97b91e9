#include "io.h"

#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/mmap_file.h"
#include "base/str.h"
#include "flags.h"

namespace ruvllm::cli {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;
constexpr size_t kMaxLineBytes = size_t{256} << 20;

std::atomic<bool> interrupt_seen{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // a signal handler sets it

void on_interrupt_exit(int) {
  _exit(kExitInterrupted);
}

void on_interrupt_note(int) {
  interrupt_seen = true;
}

void handle_interrupt(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);  // no SA_RESTART: a waiting read returns
}

// A line of /proc such as "VmRSS:  1234 kB", in bytes; 0 when there is none.
uint64_t proc_value(const char* path, std::string_view key) {
  FILE* file = std::fopen(path, "r");
  if (file == nullptr) return 0;
  char line[256];
  uint64_t bytes = 0;
  while (std::fgets(line, sizeof line, file) != nullptr) {
    if (std::string_view(line).starts_with(key)) {
      bytes = std::strtoull(line + key.size(), nullptr, 10) * 1024;
      break;
    }
  }
  std::fclose(file);
  return bytes;
}

}  // namespace

void write_out(std::string_view text) {
  // Past stdio, which gives up in the middle when a signal comes (a chat notes Ctrl-C).
  std::fflush(stdout);
  while (!text.empty()) {
    const ssize_t count = ::write(STDOUT_FILENO, text.data(), text.size());
    if (count >= 0) {
      text.remove_prefix(static_cast<size_t>(count));
    } else if (errno != EINTR) {
      break;
    }
  }
  if (text.empty()) return;
  if (errno == EPIPE) _exit(kExitOk);
  std::fprintf(stderr, "ruvllm: cannot write the output: %s\n", std::strerror(errno));
  _exit(kExitFailure);
}

void print_error(std::string_view verb, std::string_view message) {
  std::string line = concat("ruvllm", verb.empty() ? "" : " ", verb, ": ", message);
  for (char& c : line) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

int fail_with(std::string_view verb, const Error& error) {
  print_error(verb, error.message);
  return kExitFailure;
}

Result<std::string> read_input(const std::string& path) {
  if (path != "-") return read_text_file(path, kMaxFileBytes);
  std::string text;
  char buffer[1 << 16];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, stdin)) {
    text.append(buffer, n);
    if (text.size() > kMaxFileBytes) {
      return fail(ErrorCode::kInvalidArgument, "stdin: longer than 1 GB");
    }
  }
  return text;
}

Status for_each_line(const std::string& path, const std::function<bool(std::string_view)>& line) {
  FILE* file = path == "-" ? stdin : std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    return fail(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo,
                concat(path, ": ", std::strerror(errno)));
  }
  char* buffer = nullptr;
  size_t capacity = 0;
  Status status;
  while (true) {
    const ssize_t length = ::getline(&buffer, &capacity, file);
    if (length < 0) break;
    std::string_view text(buffer, static_cast<size_t>(length));
    if (text.size() > kMaxLineBytes) {
      status = fail(ErrorCode::kInvalidArgument, concat(path, ": a line is longer than 256 MB"));
      break;
    }
    if (text.ends_with('\n')) text.remove_suffix(1);
    if (!line(text)) break;
  }
  std::free(buffer);
  if (file != stdin) std::fclose(file);
  return status;
}

Json ids_json(const std::vector<int32_t>& ids) {
  Json::Array array;
  array.reserve(ids.size());
  for (const int32_t id : ids) array.emplace_back(int64_t{id});
  return Json(std::move(array));
}

Result<std::vector<int32_t>> ids_from_json(const Json& json) {
  const Json::Array* array = json.as_array();
  if (array == nullptr) {
    return fail(ErrorCode::kInvalidArgument,
                concat("expected a list of token ids, found ", json.type_name()));
  }
  std::vector<int32_t> ids;
  ids.reserve(array->size());
  for (const Json& value : *array) {
    const std::optional<int64_t> id = value.as_int64();
    if (!id || *id < 0 || *id > INT32_MAX) {
      return fail(ErrorCode::kInvalidArgument,
                  concat("expected token ids, found ", printable(value.dump())));
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

Result<std::vector<std::vector<int32_t>>> read_id_lists(const std::string& path) {
  RUVLLM_ASSIGN(const std::string text, read_input(path));
  const Result<Json> json = Json::parse(text);
  if (!json) return fail(ErrorCode::kInvalidArgument, concat(path, ": ", json.error().message));
  const Json::Array* array = json->as_array();
  std::vector<std::vector<int32_t>> lists;
  const bool nested = array != nullptr && !array->empty() && array->front().is_array();
  const auto add = [&](const Json& list) -> Status {
    Result<std::vector<int32_t>> ids = ids_from_json(list);
    if (!ids) return fail(ErrorCode::kInvalidArgument, concat(path, ": ", ids.error().message));
    lists.push_back(*std::move(ids));
    return {};
  };
  if (nested) {
    for (const Json& list : *array) RUVLLM_TRY(add(list));
  } else {
    RUVLLM_TRY(add(*json));
  }
  return lists;
}

Json object(std::vector<std::pair<std::string, Json>> members) {
  Json::Object object;
  object.reserve(members.size());
  for (auto& [key, value] : members) object.push_back({std::move(key), std::move(value)});
  return Json(std::move(object));
}

bool stdin_is_terminal() {
  return ::isatty(STDIN_FILENO) != 0;
}
bool stderr_is_terminal() {
  return ::isatty(STDERR_FILENO) != 0;
}
bool stdout_is_terminal() {
  return ::isatty(STDOUT_FILENO) != 0;
}

void exit_on_interrupt() {
  handle_interrupt(on_interrupt_exit);
}

void note_interrupt() {
  interrupt_seen = false;
  handle_interrupt(on_interrupt_note);
}

bool interrupted() {
  return interrupt_seen.exchange(false);
}

const std::atomic<bool>& interrupt_flag() {
  return interrupt_seen;
}

uint64_t resident_bytes() {
  return proc_value("/proc/self/status", "VmRSS:");
}

uint64_t peak_resident_bytes() {
  struct rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

uint64_t available_memory_bytes() {
  return proc_value("/proc/meminfo", "MemAvailable:");
}

uint64_t total_memory_bytes() {
  return proc_value("/proc/meminfo", "MemTotal:");
}

std::string human_bytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000.0 && unit + 1 < std::size(kUnits)) {
    value /= 1000.0;
    ++unit;
  }
  return concat(fixed(value, unit == 0 ? 0 : 2), " ", kUnits[unit]);
}

std::string fixed(double value, int digits) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.*f", digits, value);
  return buffer;
}

}  // namespace ruvllm::cli
