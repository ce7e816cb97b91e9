// EngineLoop: the serving backend's one thread: it takes requests from the inbox, plans a step,
// computes it, samples, and hands events out, until it is destroyed; then what still runs ends with
// kCancelled. Nothing a single request does or asks can end the loop or another request.
//
// On a CPU the step's threads are all the machine has, so planning is not overlapped with
// computing. What it costs is in EngineStats::schedule_seconds_sum.
//
// Ownership: refers to the model's parts, which must outlive it, and is the only user of their
// runner. Threads: inbox() and stats() from any.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/engine_plan.h"
#include "engine/model_parts.h"
#include "engine/prefill_pacer.h"
#include "engine/serving_request.h"
#include "engine/serving_stats.h"
#include "engine/serving_step.h"
#include "ruvllm/backend.h"
#include "sched/scheduler.h"

namespace ruvllm {

class EngineLoop {
 public:
  // The runner has reserved plan.num_blocks.
  EngineLoop(const ModelParts& parts, const EnginePlan& plan);
  ~EngineLoop();
  EngineLoop(const EngineLoop&) = delete;
  EngineLoop& operator=(const EngineLoop&) = delete;

  const std::shared_ptr<ServingInbox>& inbox() const { return inbox_; }
  EngineStats stats() const;

 private:
  using Clock = ServingRequest::Clock;
  // What goes to a consumer when the step's bookkeeping is done.
  struct Delivery {
    RequestPtr request;
    std::optional<Token> token;
    std::optional<StreamEvent> last;
  };

  void run();
  void accept(const RequestPtr& request);
  bool needs_steps(const RequestPtr& request);
  void attend(const RequestPtr& request);
  void end_overdue();
  bool step();
  void start_requests(Clock::time_point now);
  void start(ServingRequest& request, Clock::time_point now, int64_t cached_tokens);
  void note_preempted();
  void check_pages() const;
  void take_output(const StepOutput& output);
  void take_hidden(const RequestPtr& request, const StepOutput& output);
  void take_logits(const RequestPtr& request, const StepOutput& output);
  void sample(const RequestPtr& request, std::span<const float> logits);
  void branch_off(const RequestPtr& leader, std::span<const RequestPtr> followers);
  SequenceUse use_of(SequenceId sequence) const;
  SequenceSpec spec_of(const ServingRequest& request) const;

  void end(const RequestPtr& request, FinishReason reason);
  void end_with(const RequestPtr& request, StreamEvent last);
  void leave_sequence(const RequestPtr& request);
  StreamEvent result_of(ServingRequest& request);
  void deliver();
  void publish();
  void end_all();
  int64_t microseconds(Clock::time_point time) const;

  const ModelParts& parts_;
  const EnginePlan plan_limits_;
  const Clock::time_point epoch_;
  const uint64_t salt_seed_;
  std::shared_ptr<ServingInbox> inbox_;
  Scheduler scheduler_;
  ServingStep runner_;
  PrefillPacer pacer_;
  ServingStats stats_;

  StepPlan plan_;
  std::unordered_map<SequenceId, RequestPtr> requests_;  // those that lead
  std::vector<RequestPtr> submitted_;
  std::vector<RequestPtr> signalled_;
  std::vector<SequenceId> overdue_;
  std::vector<Delivery> deliveries_;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace ruvllm
