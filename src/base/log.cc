#include "base/log.h"

#include <atomic>
#include <cstdio>

namespace ruvllm {
namespace {

std::atomic<LogLevel> g_level{LogLevel::kWarning};
constexpr std::string_view kLevelNames[] = {"debug: ", "info: ", "warning: ", "error: ", ""};

}  // namespace

void set_log_level(LogLevel level) {
  g_level.store(level, std::memory_order_relaxed);
}
LogLevel log_level() {
  return g_level.load(std::memory_order_relaxed);
}

void log_line(LogLevel level, std::string_view message) {
  std::string line(kLevelNames[static_cast<size_t>(level)]);
  line += message;
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace ruvllm
