// How many threads are worth running: the processors this process may use, counted by core, and the
// share of time its control groups leave it. Linux; elsewhere what the standard library says.
#pragma once

#include <cstdint>
#include <string_view>

namespace ruvllm {

// Physical cores within the process's affinity and cgroup limit; at least 1.
int usable_physical_cores();

// The parts, for tests. -1: no limit, or the text is not understood.
// "200000 100000" (cgroup v2 cpu.max; "max ..." is no limit) in whole processors, at least 1.
int64_t parse_cpu_max(std::string_view text);
// The first number of a list such as "3,35" or "0-1": the sibling that stands for a core.
int64_t first_cpu_of_list(std::string_view text);

}  // namespace ruvllm
