// How much memory this process may still take without the machine or its cgroup running out: a
// moment's estimate, not a promise. Any thread.
#pragma once

#include <cstdint>

namespace ruvllm {

// Bytes; 0 where the system does not say.
uint64_t available_memory_bytes();

}  // namespace ruvllm
