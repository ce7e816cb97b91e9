#include "base/system_memory.h"

#include <algorithm>
#include <limits>

#if defined(__linux__)
#include <fstream>
#include <string>
#endif

namespace ruvllm {

#if defined(__linux__)

namespace {

// The number in a file that holds nothing else; `fallback` when it holds none ("max").
uint64_t number_in(const char* path, uint64_t fallback) {
  std::ifstream file(path);
  uint64_t value = 0;
  return file >> value ? value : fallback;
}

}  // namespace

uint64_t available_memory_bytes() {
  constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();
  uint64_t available = kUnknown;
  std::ifstream meminfo("/proc/meminfo");
  for (std::string word; meminfo >> word;) {
    if (word != "MemAvailable:") continue;
    uint64_t kib = 0;
    if (meminfo >> kib) available = kib * 1024;
    break;
  }
  const uint64_t limit = number_in("/sys/fs/cgroup/memory.max", kUnknown);
  const uint64_t used = number_in("/sys/fs/cgroup/memory.current", 0);
  if (limit != kUnknown) available = std::min(available, limit - std::min(used, limit));
  return available == kUnknown ? 0 : available;
}

#else

uint64_t available_memory_bytes() {
  return 0;
}

#endif

}  // namespace ruvllm
