// SpeedRunner: a runner for measuring: it writes down when each step began and how long the model
// took. Steps that hold a row below a given position are not computed (their outputs are zeros), so
// that sequences reach a depth, or a pool fills, without the time of their prompts; what stands in
// those KV pages changes no speed.
//
// Threads: forward() from the loop, take_steps() and a Hold from any; the setters while no request
// runs.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/forwarding_runner.h"

namespace ruvllm {

class SpeedRunner final : public ForwardingRunner {
 public:
  using ForwardingRunner::ForwardingRunner;

  static constexpr int64_t kEverything = std::numeric_limits<int64_t>::max();
  // 0: every step is computed.
  void skip_below(int64_t position) { skip_below_ = position; }
  // Called before each step; may be empty.
  void set_watch(std::function<void()> watch) { watch_ = std::move(watch); }
  // Gives the seconds that scheduling has taken so far; asked before each step; may be empty.
  void set_schedule_clock(std::function<double()> clock) { schedule_clock_ = std::move(clock); }

  struct Step {
    double begin = 0.0;  // seconds of a clock of its own
    double model_seconds = 0.0;
    double scheduled = 0.0;  // the schedule clock when it began
    int64_t rows = 0;
    int64_t sequences = 0;
    bool skipped = false;

    bool only_decodes() const { return rows == sequences && !skipped; }
  };
  // Those since the last call.
  std::vector<Step> take_steps() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(steps_, {});
  }

  // No step begins while one of these lives: however fast the model is, requests made meanwhile
  // start together, all but the first one.
  class Hold {
   public:
    explicit Hold(SpeedRunner& runner) : runner_(runner) { runner_.add_hold(1); }
    ~Hold() { runner_.add_hold(-1); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    SpeedRunner& runner_;
  };

  ForwardOutput forward(const ForwardBatch& batch) override {
    wait_for_holds();
    if (watch_) watch_();
    Step step;
    if (schedule_clock_) step.scheduled = schedule_clock_();
    step.begin = now();
    step.rows = static_cast<int64_t>(batch.ids.size());
    step.sequences = static_cast<int64_t>(batch.sequences.size());
    step.skipped = std::ranges::any_of(batch.sequences, [this](const SequenceSpan& sequence) {
      return sequence.first_position < skip_below_;
    });
    const ForwardOutput output = step.skipped ? zeros(batch) : ForwardingRunner::forward(batch);
    step.model_seconds = now() - step.begin;
    const std::scoped_lock lock(mutex_);
    steps_.push_back(step);
    return output;
  }

 private:
  void add_hold(int32_t change) {
    const std::scoped_lock lock(mutex_);
    num_holds_ += change;
    released_.notify_all();
  }
  void wait_for_holds() {
    std::unique_lock lock(mutex_);
    released_.wait(lock, [this] { return num_holds_ == 0; });
  }
  static double now() {
    const auto time = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(time).count();
  }
  ForwardOutput zeros(const ForwardBatch& batch) {
    const auto rows = static_cast<int64_t>(batch.output_rows.size());
    logits_.resize(static_cast<size_t>(rows * config().vocab_size), 0.0f);
    hidden_.resize(static_cast<size_t>(rows * config().hidden_size), 0.0f);
    return {make_matrix(logits_.data(), rows, config().vocab_size),
            make_matrix(hidden_.data(), rows, config().hidden_size)};
  }

  int64_t skip_below_ = 0;
  std::function<void()> watch_;
  std::function<double()> schedule_clock_;
  std::mutex mutex_;  // guards the next two
  std::vector<Step> steps_;
  int32_t num_holds_ = 0;
  std::condition_variable released_;
  std::vector<float> logits_;
  std::vector<float> hidden_;
};

}  // namespace ruvllm
