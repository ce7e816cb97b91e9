// Tests only: a runner that passes everything on to another one and lets the test look in between:
// called before each forward(), where it may also wait.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "engine/forwarding_runner.h"
#include "engine/model_parts.h"

namespace ruvllm::test {

class WatchedRunner final : public ForwardingRunner {
 public:
  using Watch = std::function<void(const ForwardBatch&)>;
  WatchedRunner(std::unique_ptr<ModelRunner> runner, Watch watch)
      : ForwardingRunner(std::move(runner)), watch_(std::move(watch)) {}

  ForwardOutput forward(const ForwardBatch& batch) override {
    watch_(batch);
    return ForwardingRunner::forward(batch);
  }

 private:
  Watch watch_;
};

// Wraps the runner of what `loader` loads.
inline ModelLoader watched(ModelLoader loader, WatchedRunner::Watch watch) {
  return [loader = std::move(loader), watch = std::move(watch)](
             const std::string& name, const LoadOptions& options) -> Result<ModelParts> {
    RUVLLM_ASSIGN(ModelParts parts, loader(name, options));
    parts.runner = std::make_unique<WatchedRunner>(std::move(parts.runner), watch);
    return parts;
  };
}

// Holds steps back until it is opened: what is submitted meanwhile is seen by the engine at once,
// so a schedule does not depend on who was faster.
class Gate {
 public:
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }
  void set(bool open) {
    const std::scoped_lock lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
};

}  // namespace ruvllm::test
