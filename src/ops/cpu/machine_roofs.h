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
  std::string_view unit;  // "f32", "bf16", "int8", "int4": kernels/roofs/peak_loops.h
  double macs_per_second = 0.0;
};

struct MachineRoofs {
  int num_threads = 0;
  // All threads streaming disjoint parts of one buffer in huge pages with the widest loads there
  // are; the best of the ways of reading that kernels use.
  double read_bytes_per_second = 0.0;
  std::vector<ArithmeticPeak> peaks;  // of every level this machine supports
};

// num_threads 0: default_num_threads(). read_bytes_per_second is 0 where there is no memory.
MachineRoofs measure_machine_roofs(int num_threads, double seconds = 1.0,
                                   int64_t buffer_bytes = int64_t{512} << 20);

// Bytes per second of reading `buffer_bytes` again and again, the mean over about `seconds`, not
// the best as above: what a measurement beside it is compared with where the machine's speed moves.
double measure_read_mean(int num_threads, double seconds = 0.1,
                         int64_t buffer_bytes = int64_t{256} << 20);

// Multiply-adds per second of the loop of `peak`, one of measure_machine_roofs, likewise.
double measure_peak_mean(const ArithmeticPeak& peak, int num_threads, double seconds = 0.1);

// The peak of the unit that multiplies weights of a layout (Weight::layout()) in the kernels of
// `isa`; null where it was not measured: mixed layouts, integers in plain C++.
const ArithmeticPeak* peak_of(const MachineRoofs& roofs, std::string_view isa,
                              std::string_view layout);

}  // namespace ruvllm
