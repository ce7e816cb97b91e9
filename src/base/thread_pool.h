// Runs one job at a time over a fixed set of threads, the caller among them.
//
// parallel_for hands out task numbers 0..num_tasks-1 in increasing order; which thread takes which
// is not fixed, so a task's result must not depend on it. It returns when all are done. One caller
// at a time; a task must not call parallel_for of the same pool. Without thread support (WASM)
// every task runs on the caller. No allocation in parallel_for.
//
// parallel_shares hands out the same numbers in equal shares, of which each thread begins with its
// own: of several jobs over the same rows, a thread finds its part of the rows in its own caches,
// which matters where cores share none. A thread whose share is done helps with the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/function_ref.h"

namespace ruvllm {

class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);  // >= 1, the caller included
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // task(index, worker): worker in [0, num_threads).
  void parallel_for(int64_t num_tasks, FunctionRef<void(int64_t, int)> task) {
    run(num_tasks, 1, task);
  }
  // Share s of 1 <= num_shares <= n, of n threads: [num_tasks * s / num_shares, num_tasks * (s + 1)
  // / num_shares). Thread w begins with share num_shares * w / n.
  void parallel_shares(int64_t num_tasks, int num_shares, FunctionRef<void(int64_t, int)> task) {
    run(num_tasks, num_shares, task);
  }

  // What thread w (0: the caller) reads into its caches while it waits for the others or for a job
  // and does not sleep yet: `bytes` from address + w * stride on, until the next call. Changes
  // nothing but when things happen; the memory may be gone by then. Null: nothing. Between jobs.
  void read_ahead(const std::byte* address, int64_t stride, int64_t bytes);

 private:
  struct State;
  void run(int64_t num_tasks, int num_shares, FunctionRef<void(int64_t, int)> task);
  int num_threads_;
  std::unique_ptr<State> state_;
};

// The number of threads to use by default: physical cores within the process's affinity and cgroup.
int default_num_threads();

}  // namespace ruvllm
