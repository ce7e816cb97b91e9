#include "engine/roofs.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>

#include "base/thread_pool.h"

namespace ruvllm {
namespace {

constexpr int64_t kBufferBytes = int64_t{256} << 20;
constexpr int64_t kTaskBytes = int64_t{1} << 20;
constexpr int kPasses = 5;

// Sums 64-bit words in eight independent chains, so that adding never holds the reading up.
uint64_t read_all(const uint64_t* words, int64_t count) {
  uint64_t sums[8] = {};
  for (int64_t i = 0; i < count; i += 8) {
    for (int j = 0; j < 8; ++j) sums[j] += words[i + j];
  }
  uint64_t sum = 0;
  for (const uint64_t s : sums) sum += s;
  return sum;
}

}  // namespace

Roofs measure_roofs(int32_t threads) {
  Roofs roofs;
  roofs.threads = threads > 0 ? threads : default_num_threads();
  ThreadPool pool(roofs.threads);
  const auto words = static_cast<size_t>(kBufferBytes / 8);
  const auto buffer = std::make_unique_for_overwrite<uint64_t[]>(words);
  std::atomic<uint64_t> sink{0};
  const auto task_words = kTaskBytes / 8;
  const auto num_tasks = kBufferBytes / kTaskBytes;
  pool.parallel_for(num_tasks, [&](int64_t task, int) {
    std::memset(buffer.get() + task * task_words, static_cast<int>(task & 0x7f), kTaskBytes);
  });
  double best = 1e30;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    pool.parallel_for(num_tasks, [&](int64_t task, int) {
      sink += read_all(buffer.get() + task * task_words, task_words);
    });
    const auto seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::min(best, seconds);
  }
  roofs.memory_read_gb_s = static_cast<double>(kBufferBytes) / best * 1e-9;
  return roofs;
}

}  // namespace ruvllm
