// Pump: the thread that moves the events of all running jobs from the engine to their answers. A
// job is looked at when one of its streams or its client has something new; streams that cannot
// notify are asked every few milliseconds. Neither the engine nor the I/O thread ever waits for it.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "server/generation_job.h"

namespace ruvllm::server {

class Pump {
 public:
  // `tick` is called about four times a second on the pump's thread.
  explicit Pump(std::function<void()> tick);
  ~Pump();  // ends what runs and joins

  // A job whose start() succeeded with notify_for(job).
  void add(std::shared_ptr<GenerationJob> job);
  std::function<void()> notify_for(const std::shared_ptr<GenerationJob>& job);
  // Ends all running jobs with this error. Any thread; returns at once.
  void abort_all(const ApiError& error);

 private:
  void run();
  void wake(const std::shared_ptr<GenerationJob>& job);
  void pump(const std::shared_ptr<GenerationJob>& job);
  void remove_ended();

  std::function<void()> tick_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<GenerationJob>> ready_;
  std::vector<std::shared_ptr<GenerationJob>> added_;
  std::shared_ptr<const ApiError> abort_error_;
  bool stop_ = false;
  std::vector<std::shared_ptr<GenerationJob>> jobs_;  // of the thread alone
  bool any_ended_ = false;
  std::thread thread_;
};

}  // namespace ruvllm::server
