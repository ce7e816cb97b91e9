#include "server/pump.h"

#include <algorithm>
#include <utility>

namespace ruvllm::server {
namespace {

constexpr std::chrono::milliseconds kPollInterval{2};
constexpr std::chrono::milliseconds kCheckInterval{100};

}  // namespace

Pump::Pump(std::function<void()> tick) : tick_(std::move(tick)), thread_([this] { run(); }) {}

Pump::~Pump() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Pump::add(std::shared_ptr<GenerationJob> job) {
  job->added.store(true);
  {
    const std::scoped_lock lock(mutex_);
    added_.push_back(job);
  }
  wake(job);
}

std::function<void()> Pump::notify_for(const std::shared_ptr<GenerationJob>& job) {
  return [this, weak = std::weak_ptr(job)] {
    const auto strong = weak.lock();
    if (strong != nullptr && strong->added.load()) wake(strong);
  };
}

void Pump::wake(const std::shared_ptr<GenerationJob>& job) {
  if (job->queued.exchange(true)) return;
  {
    const std::scoped_lock lock(mutex_);
    ready_.push_back(job);
  }
  changed_.notify_one();
}

void Pump::abort_all(const ApiError& error) {
  {
    const std::scoped_lock lock(mutex_);
    abort_error_ = std::make_shared<ApiError>(error);
  }
  changed_.notify_one();
}

void Pump::pump(const std::shared_ptr<GenerationJob>& job) {
  job->queued.store(false);  // before it is looked at: what comes meanwhile queues it again
  switch (job->pump()) {
    case GenerationJob::Progress::kOver:
      any_ended_ = true;
      break;
    case GenerationJob::Progress::kMore:
      wake(job);
      break;
    case GenerationJob::Progress::kWaiting:
      break;
  }
}

void Pump::remove_ended() {
  if (!std::exchange(any_ended_, false)) return;
  std::erase_if(jobs_, [](const std::shared_ptr<GenerationJob>& job) { return job->is_over(); });
}

void Pump::run() {
  auto next_check = GenerationJob::Clock::now();
  int checks = 0;
  while (true) {
    std::vector<std::shared_ptr<GenerationJob>> added;
    std::deque<std::shared_ptr<GenerationJob>> ready;
    std::shared_ptr<const ApiError> abort_error;
    bool stop = false;
    {
      std::unique_lock lock(mutex_);
      const bool polls = std::any_of(jobs_.begin(), jobs_.end(),
                                     [](const auto& job) { return job->needs_polling(); });
      changed_.wait_for(lock, polls ? kPollInterval : kCheckInterval, [&] {
        return stop_ || !ready_.empty() || !added_.empty() || abort_error_ != nullptr;
      });
      added.swap(added_);
      ready.swap(ready_);
      abort_error = std::exchange(abort_error_, nullptr);
      stop = stop_;
    }
    jobs_.insert(jobs_.end(), added.begin(), added.end());
    if (stop && abort_error == nullptr) {
      abort_error = std::make_shared<ApiError>(ApiError{503, "the server stops", "", "", 1});
    }
    if (abort_error != nullptr) {
      for (const auto& job : jobs_) job->abort(*abort_error);
      any_ended_ = true;
    }
    for (const auto& job : ready) pump(job);
    for (const auto& job : jobs_) {
      if (job->needs_polling()) pump(job);
    }
    const auto now = GenerationJob::Clock::now();
    if (now >= next_check) {
      next_check = now + kCheckInterval;
      for (const auto& job : jobs_) {
        if (job->check_time(now)) any_ended_ = true;
      }
      if (++checks % 3 == 0) tick_();
    }
    remove_ended();
    if (stop) return;
  }
}

}  // namespace ruvllm::server
