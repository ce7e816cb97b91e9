#include "ops/cpu/machine_roofs.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <optional>

#include "base/huge_memory.h"
#include "base/thread_pool.h"
#include "kernels/cpu_isa.h"
#include "kernels/matmul/matmul_kernels.h"
#include "kernels/matmul/quant_pack.h"
#include "kernels/roofs/peak_loops.h"
#include "tensor/dtype.h"
#include "tensor/quant_layout.h"

namespace ruvllm {
namespace {

struct PeakEntry {
  kernels::IsaLevel level;
  const kernels::PeakLoop* loop;
};

const PeakEntry kPeaks[] = {
#define KERNEL(level, symbol) {kernels::IsaLevel::level, &kernels::symbol},
#include "kernels/roofs/peak_loops.inc"
#undef KERNEL
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The shortest of repeated runs within `seconds`, at least two.
template <typename Run>
double best_seconds(double seconds, const Run& run) {
  double best = 1e30;
  const double end = now() + seconds;
  for (int i = 0; i < 2 || now() < end; ++i) {
    const double begin = now();
    run();
    best = std::min(best, now() - begin);
  }
  return best;
}

const kernels::ReadLoop& widest_read_loop() {
  const kernels::ReadLoop* best = nullptr;
#define KERNEL(level, symbol) \
  if (kernels::isa_supported(kernels::IsaLevel::level)) best = &kernels::symbol;
#include "kernels/roofs/read_loops.inc"
#undef KERNEL
  return *best;
}

struct ReadSpeed {  // bytes per second
  double best = 0.0;
  double mean = 0.0;
};

// Of the faster of the ways of reading.
ReadSpeed measure_read(ThreadPool& pool, double seconds, int64_t bytes) {
  constexpr int64_t kTaskBytes = int64_t{1} << 20;
  const int64_t num_tasks = std::max<int64_t>(1, bytes / kTaskBytes);
  const auto total = static_cast<uint64_t>(num_tasks * kTaskBytes);
  const OwnedBytes buffer = allocate_huge(total);
  if (buffer == nullptr) return {};
  pool.parallel_for(num_tasks, [&](int64_t i, int) {
    std::memset(buffer.get() + i * kTaskBytes, static_cast<int>(i & 0x7f), kTaskBytes);
  });
  const kernels::ReadLoop& loop = widest_read_loop();
  std::atomic<uint32_t> keep{0};
  ReadSpeed speed;
  for (const auto read : {loop.one_stream, loop.four_streams}) {
    int passes = 0;
    const double begin = now();
    const double best = best_seconds(seconds / 2, [&] {
      ++passes;
      pool.parallel_for(num_tasks, [&](int64_t i, int) {
        keep.fetch_or(read(buffer.get() + i * kTaskBytes, kTaskBytes), std::memory_order_relaxed);
      });
    });
    const double mean = static_cast<double>(total) * passes / (now() - begin);
    speed.best = std::max(speed.best, static_cast<double>(total) / best);
    speed.mean = std::max(speed.mean, mean);
  }
  return speed;
}

struct PeakSpeed {  // multiply-adds per second
  double best = 0.0;
  double mean = 0.0;
};

PeakSpeed measure_peak(ThreadPool& pool, double seconds, const kernels::PeakLoop& loop) {
  constexpr int64_t kRounds = 20000;
  std::atomic<float> keep{0.0f};
  int passes = 0;
  const double begin = now();
  // One task a thread: with more tasks than threads the last one would run alone.
  const double best = best_seconds(seconds, [&] {
    ++passes;
    pool.parallel_for(pool.num_threads(), [&](int64_t, int) { keep.store(loop.run(kRounds)); });
  });
  const auto macs = static_cast<double>(loop.macs_per_round * kRounds * pool.num_threads());
  return {macs / best, macs * passes / (now() - begin)};
}

}  // namespace

MachineRoofs measure_machine_roofs(int num_threads, double seconds, int64_t buffer_bytes) {
  MachineRoofs roofs;
  roofs.num_threads = num_threads > 0 ? num_threads : default_num_threads();
  ThreadPool pool(roofs.num_threads);
  roofs.read_bytes_per_second = measure_read(pool, seconds / 2, buffer_bytes).best;
  const double share = seconds / 2 / static_cast<double>(std::size(kPeaks));
  for (const auto& [level, loop] : kPeaks) {
    if (!kernels::isa_supported(level)) continue;
    roofs.peaks.push_back(
        {kernels::isa_name(level), loop->unit, measure_peak(pool, share, *loop).best});
  }
  return roofs;
}

double measure_read_mean(int num_threads, double seconds, int64_t buffer_bytes) {
  ThreadPool pool(num_threads > 0 ? num_threads : default_num_threads());
  return measure_read(pool, seconds, buffer_bytes).mean;
}

double measure_peak_mean(const ArithmeticPeak& peak, int num_threads, double seconds) {
  ThreadPool pool(num_threads > 0 ? num_threads : default_num_threads());
  for (const auto& [level, loop] : kPeaks) {
    if (kernels::isa_name(level) == peak.isa && loop->unit == peak.unit &&
        kernels::isa_supported(level)) {
      return measure_peak(pool, seconds, *loop).mean;
    }
  }
  return 0.0;
}

namespace {

struct Units {
  std::string_view first;
  std::string_view second;
};

// Of the codes of a QuantizedMatrix, whose layouts end in them ("gptq4"); 0: not such a name.
int code_bits(std::string_view layout) {
  constexpr std::string_view kBits = "2348";
  if (layout.empty() || layout.starts_with("fp")) return 0;
  return kBits.contains(layout.back()) ? layout.back() - '0' : 0;
}

// The units that kernels/matmul may use for a layout where `level` is picked, the first of those
// that a level has; empty: none that has a peak.
Units units_of(kernels::IsaLevel level, std::string_view layout) {
  const std::optional<DType> dtype = dtype_from_name(layout);
  const QuantLayout* integer = dtype ? quant_layout(*dtype) : nullptr;
  if (dtype == DType::kBF16 && kernels::bf16_dot_kernel(level) != nullptr) return {"bf16", {}};
  if (dtype && integer == nullptr) return {"f32", {}};
  const int bits = integer != nullptr ? integer->bits : code_bits(layout);
  if (bits == 0) return {};
  return bits == 8 ? Units{"int8", {}} : Units{"int4", "int8"};
}

}  // namespace

const ArithmeticPeak* peak_of(const MachineRoofs& roofs, std::string_view isa,
                              std::string_view layout) {
  for (kernels::IsaLevel level : kernels::all_isa_levels()) {
    if (kernels::isa_name(level) != isa) continue;
    const Units units = units_of(level, layout);
    while (true) {
      for (const std::string_view unit : {units.first, units.second}) {
        for (const ArithmeticPeak& peak : roofs.peaks) {
          if (peak.isa == kernels::isa_name(level) && peak.unit == unit) return &peak;
        }
      }
      if (level == kernels::isa_fallback(level)) return nullptr;
      level = kernels::isa_fallback(level);
    }
  }
  return nullptr;
}

}  // namespace ruvllm
