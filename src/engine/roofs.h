// What this machine can do at best, measured: the yardstick beside a model's speed.
#pragma once

#include <cstdint>

namespace ruvllm {

struct Roofs {
  double memory_read_gb_s = 0.0;  // all threads reading memory that no cache holds
  int32_t threads = 0;
};

// Takes about half a second. threads 0: default_num_threads().
Roofs measure_roofs(int32_t threads);

}  // namespace ruvllm
