#include "base/thread_pool.h"

#include "base/check.h"

#if !defined(__wasm__)
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>
#endif

namespace ruvllm {

#if defined(__wasm__)

struct ThreadPool::State {};
ThreadPool::ThreadPool(int) : num_threads_(1) {}
ThreadPool::~ThreadPool() = default;
void ThreadPool::parallel_for(int64_t num_tasks, FunctionRef<void(int64_t, int)> task) {
  for (int64_t i = 0; i < num_tasks; ++i) task(i, 0);
}
int default_num_threads() {
  return 1;
}

#else

struct ThreadPool::State {
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> threads;
  std::atomic<uint64_t> generation{0};  // a new value: a job is there (or stop is set)
  std::atomic<int64_t> next_task{0};
  std::atomic<int> busy_workers{0};
  int64_t num_tasks = 0;
  const FunctionRef<void(int64_t, int)>* task = nullptr;
  std::atomic<bool> stop{false};

  void work(int worker) {
    for (int64_t i = next_task.fetch_add(1, std::memory_order_relaxed); i < num_tasks;
         i = next_task.fetch_add(1, std::memory_order_relaxed)) {
      (*task)(i, worker);
    }
  }

  // Spins for a while (a decode step leaves only microseconds between jobs), then sleeps.
  void wait_for_job(uint64_t seen) {
    for (int spin = 0; spin < 20000; ++spin) {
      if (generation.load(std::memory_order_acquire) != seen) return;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    std::unique_lock lock(mutex);
    wake.wait(lock, [&] { return generation.load(std::memory_order_acquire) != seen; });
  }

  void run(int worker) {
    uint64_t seen = 0;
    while (true) {
      wait_for_job(seen);
      seen = generation.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_relaxed)) return;
      work(worker);
      busy_workers.fetch_sub(1, std::memory_order_release);
    }
  }

  void announce() {
    {
      const std::lock_guard lock(mutex);
      generation.fetch_add(1, std::memory_order_release);
    }
    wake.notify_all();
  }
};

ThreadPool::ThreadPool(int num_threads)
    : num_threads_(num_threads), state_(std::make_unique<State>()) {
  RUVLLM_CHECK(num_threads >= 1, "num_threads = ", num_threads);
  for (int worker = 1; worker < num_threads; ++worker) {
    state_->threads.emplace_back([state = state_.get(), worker] { state->run(worker); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stop.store(true, std::memory_order_relaxed);
  state_->announce();
  for (std::thread& thread : state_->threads) thread.join();
}

void ThreadPool::parallel_for(int64_t num_tasks, FunctionRef<void(int64_t, int)> task) {
  if (num_threads_ == 1 || num_tasks <= 1) {
    for (int64_t i = 0; i < num_tasks; ++i) task(i, 0);
    return;
  }
  State& state = *state_;
  state.task = &task;
  state.num_tasks = num_tasks;
  state.next_task.store(0, std::memory_order_relaxed);
  state.busy_workers.store(num_threads_ - 1, std::memory_order_relaxed);
  state.announce();
  state.work(0);
  while (state.busy_workers.load(std::memory_order_acquire) != 0) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}

int default_num_threads() {
  const unsigned count = std::thread::hardware_concurrency();
  return count == 0 ? 1 : static_cast<int>(count);
}

#endif

}  // namespace ruvllm
