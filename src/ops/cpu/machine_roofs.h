// What this machine can do at most, measured here and now: the roofs that tok/s, GB/s and GMAC/s of
// a run are held against. Other processes lower the figures, so measure in the same run as what is
// compared. Takes about `seconds` of all threads and buffer_bytes of memory (choose more than the
// last-level cache). One call at a time.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace ruvllm {

struct ArithmeticPeak {
  std::string_view isa;   // "avx2"
  std::string_view unit;  // "f32", "int8"
  double macs_per_second = 0.0;
};

struct MachineRoofs {
  double read_bytes_per_second = 0.0;  // all threads streaming disjoint parts of one buffer
  std::vector<ArithmeticPeak> peaks;   // of every level this machine supports
};

MachineRoofs measure_machine_roofs(int num_threads, double seconds = 0.5,
                                   int64_t buffer_bytes = int64_t{256} << 20);

}  // namespace ruvllm
