#include "ops/cpu/machine_roofs.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>

#include "base/thread_pool.h"
#include "kernels/cpu_isa.h"
#include "kernels/roofs/peak_loops.h"

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

// Four independent sums of whole words: reading is all that takes time.
uint64_t read_words(const uint64_t* words, int64_t count) {
  uint64_t a = 0, b = 0, c = 0, d = 0;
  for (int64_t i = 0; i + 16 <= count; i += 16) {
    a |= words[i] | words[i + 1] | words[i + 2] | words[i + 3];
    b |= words[i + 4] | words[i + 5] | words[i + 6] | words[i + 7];
    c |= words[i + 8] | words[i + 9] | words[i + 10] | words[i + 11];
    d |= words[i + 12] | words[i + 13] | words[i + 14] | words[i + 15];
  }
  return a | b | c | d;
}

double measure_read(ThreadPool& pool, double seconds, int64_t bytes) {
  const int64_t words = bytes / 8;
  const std::unique_ptr<uint64_t[]> buffer(new uint64_t[static_cast<size_t>(words)]);
  std::fill_n(buffer.get(), words, uint64_t{1});
  constexpr int64_t kTaskWords = 1 << 16;
  std::atomic<uint64_t> keep{0};
  const double best = best_seconds(seconds, [&] {
    pool.parallel_for(words / kTaskWords, [&](int64_t i, int) {
      keep.fetch_or(read_words(buffer.get() + i * kTaskWords, kTaskWords),
                    std::memory_order_relaxed);
    });
  });
  return static_cast<double>(words / kTaskWords * kTaskWords) * 8.0 / best;
}

double measure_peak(ThreadPool& pool, double seconds, const kernels::PeakLoop& loop) {
  constexpr int64_t kRounds = 20000;
  std::atomic<float> keep{0.0f};
  // One task a thread: with more tasks than threads the last one would run alone.
  const double best = best_seconds(seconds, [&] {
    pool.parallel_for(pool.num_threads(), [&](int64_t, int) { keep.store(loop.run(kRounds)); });
  });
  return static_cast<double>(loop.macs_per_round * kRounds * pool.num_threads()) / best;
}

}  // namespace

MachineRoofs measure_machine_roofs(int num_threads, double seconds, int64_t buffer_bytes) {
  ThreadPool pool(std::max(1, num_threads));
  MachineRoofs roofs;
  roofs.read_bytes_per_second = measure_read(pool, seconds / 2, buffer_bytes);
  const double share = seconds / 2 / static_cast<double>(std::size(kPeaks));
  for (const auto& [level, loop] : kPeaks) {
    if (!kernels::isa_supported(level)) continue;
    roofs.peaks.push_back({kernels::isa_name(level), loop->unit, measure_peak(pool, share, *loop)});
  }
  return roofs;
}

}  // namespace ruvllm
