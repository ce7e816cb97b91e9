#include "base/cpu_topology.h"

#include <algorithm>
#include <cstdio>
#include <set>
#include <string>

#include "base/str.h"

#if defined(__linux__)
#include <sched.h>
#endif
#if !defined(__wasm__)
#include <thread>
#endif

namespace ruvllm {

int64_t parse_cpu_max(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  const size_t space = text.find(' ');
  if (space == std::string_view::npos) return -1;
  int64_t quota = 0;
  int64_t period = 0;
  if (!parse_number(text.substr(0, space), quota)) return -1;
  if (!parse_number(text.substr(space + 1), period)) return -1;
  if (quota <= 0 || period <= 0) return -1;
  return std::max<int64_t>(1, quota / period);
}

int64_t first_cpu_of_list(std::string_view text) {
  const size_t end = text.find_first_not_of("0123456789");
  int64_t cpu = 0;
  return parse_number(text.substr(0, end), cpu) ? cpu : -1;
}

#if defined(__linux__)

namespace {

// The start of a small file of /proc or /sys; empty when there is none.
std::string read_line(const std::string& path) {
  std::string out;
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return out;
  char buffer[4096];
  out.assign(buffer, std::fread(buffer, 1, sizeof buffer, file));
  std::fclose(file);
  return out;
}

int64_t cores_in_affinity() {
  constexpr int kMostCpus = 8192;
  cpu_set_t* set = CPU_ALLOC(kMostCpus);
  if (set == nullptr) return -1;
  const size_t size = CPU_ALLOC_SIZE(kMostCpus);
  std::set<int64_t> cores;
  if (sched_getaffinity(0, size, set) == 0) {
    for (int cpu = 0; cpu < kMostCpus; ++cpu) {
      if (!CPU_ISSET_S(static_cast<size_t>(cpu), size, set)) continue;
      const int64_t core = first_cpu_of_list(
          read_line(concat("/sys/devices/system/cpu/cpu", cpu, "/topology/thread_siblings_list")));
      cores.insert(core >= 0 ? core : cpu);
    }
  }
  CPU_FREE(set);
  return cores.empty() ? -1 : static_cast<int64_t>(cores.size());
}

int64_t smaller_limit(int64_t a, int64_t b) {
  return a < 0 ? b : b < 0 ? a : std::min(a, b);
}

// Version 2: the process's group and those above it. Version 1: what is mounted at the usual place.
int64_t cgroup_limit() {
  int64_t limit = -1;
  const std::string groups = read_line("/proc/self/cgroup");
  const size_t at = groups.find("0::");
  if (at != std::string::npos) {
    std::string path = groups.substr(at + 3, groups.find('\n', at) - at - 3);
    while (true) {
      limit = smaller_limit(limit, parse_cpu_max(read_line("/sys/fs/cgroup" + path + "/cpu.max")));
      if (path.empty() || path == "/") break;
      path.resize(path.find_last_of('/'));
    }
  }
  const std::string quota = read_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  const std::string period = read_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  const std::string quota_line = quota.substr(0, quota.find('\n'));
  return smaller_limit(limit, parse_cpu_max(concat(quota_line, " ", period)));
}

}  // namespace

int usable_physical_cores() {
  int64_t cores = cores_in_affinity();
  if (cores < 0) cores = std::max(1U, std::thread::hardware_concurrency());
  return static_cast<int>(std::max<int64_t>(1, smaller_limit(cores, cgroup_limit())));
}

#elif defined(__wasm__)

int usable_physical_cores() {
  return 1;
}

#else

int usable_physical_cores() {
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

#endif

}  // namespace ruvllm
