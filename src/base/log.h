// One-line messages to stderr. Thread-safe (one write per line). The level is set once at start;
// messages below it cost one comparison. Never pass prompt text or secrets.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/str.h"

namespace ruvllm {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError, kOff };

void set_log_level(LogLevel level);  // default kWarning
LogLevel log_level();
void log_line(LogLevel level, std::string_view message);

template <typename... Parts>
void log_debug(const Parts&... parts) {
  if (log_level() <= LogLevel::kDebug) log_line(LogLevel::kDebug, concat(parts...));
}
template <typename... Parts>
void log_info(const Parts&... parts) {
  if (log_level() <= LogLevel::kInfo) log_line(LogLevel::kInfo, concat(parts...));
}
template <typename... Parts>
void log_warning(const Parts&... parts) {
  if (log_level() <= LogLevel::kWarning) log_line(LogLevel::kWarning, concat(parts...));
}
template <typename... Parts>
void log_error(const Parts&... parts) {
  if (log_level() <= LogLevel::kError) log_line(LogLevel::kError, concat(parts...));
}

}  // namespace ruvllm
