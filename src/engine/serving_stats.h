// ServingStats: the numbers of EngineStats as the loop counts them, and the last snapshot for
// whoever asks. A reader waits at most for the copy of one struct.
//
// Threads: snapshot() from any, everything else from the loop.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>

#include "ruvllm/backend.h"
#include "sched/scheduler.h"

namespace ruvllm {

class ServingStats {
 public:
  using Clock = std::chrono::steady_clock;

  EngineStats counters;  // the loop's own: what no scheduler knows

  void count_step(int64_t rows, double seconds, double model_seconds, double schedule_seconds) {
    const auto bound = std::ranges::lower_bound(kStepTokenBounds, rows);
    ++counters.step_tokens[static_cast<size_t>(bound - kStepTokenBounds.begin())];
    counters.step_seconds_sum += seconds;
    counters.model_seconds_sum += model_seconds;
    counters.schedule_seconds_sum += schedule_seconds;
    mark_progress();
  }
  // There is work, or none; a watchdog's time runs only while there is.
  void set_busy(bool busy) {
    if (busy && !busy_.load(std::memory_order_relaxed)) mark_progress();
    busy_.store(busy, std::memory_order_relaxed);
  }
  void publish(const Scheduler& scheduler) {
    const PageUse pages = scheduler.page_use();
    const SchedulerCounters& counts = scheduler.counters();
    counters.running = scheduler.num_running();
    counters.waiting = scheduler.num_waiting() + scheduler.num_forks_to_come();
    counters.kv_pages_used = pages.used;
    counters.kv_pages_cached = pages.cached;
    counters.kv_empty_tokens = pages.empty_slots;
    counters.prompt_tokens = counts.prompt_tokens;
    counters.preemptions = counts.preemptions;
    counters.recomputed_tokens = counts.recomputed_tokens;
    counters.prefix_query_tokens = counts.query_tokens;
    counters.prefix_hit_tokens = counts.hit_tokens;
    counters.steps = counts.steps;
    counters.step_tokens_sum = counts.step_rows;
    const std::scoped_lock lock(mutex_);
    published_ = counters;
  }

  EngineStats snapshot(int64_t num_unseen) const {
    EngineStats stats;
    {
      const std::scoped_lock lock(mutex_);
      stats = published_;
    }
    stats.waiting += num_unseen;
    if (busy_.load(std::memory_order_relaxed)) {
      const Clock::duration since(Clock::now().time_since_epoch().count() -
                                  progress_.load(std::memory_order_relaxed));
      stats.seconds_since_step = std::max(std::chrono::duration<double>(since).count(), 0.0);
    }
    return stats;
  }

 private:
  void mark_progress() {
    progress_.store(Clock::now().time_since_epoch().count(), std::memory_order_relaxed);
  }

  mutable std::mutex mutex_;  // guards published_, for the time of a copy
  EngineStats published_;
  std::atomic<bool> busy_{false};
  std::atomic<Clock::rep> progress_{0};
};

}  // namespace ruvllm
