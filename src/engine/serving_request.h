// ServingRequest: one request of the serving backend (a generation, or a text to embed), shared by
// its consumer and the engine's loop; ServingInbox: how requests and news about them reach the
// loop.
//
// A request's generation belongs to the loop from submit() on; consumers see only `events`, the
// flags, and (after the last event) `vector`. The inbox outlives both sides; any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "engine/gate_recorder.h"
#include "engine/generation.h"
#include "engine/pooling.h"
#include "engine/sequence_adapter.h"
#include "engine/serving_events.h"
#include "engine/xlora_rows.h"
#include "ruvllm/request.h"
#include "sched/request_state.h"

namespace ruvllm {

struct ServingRequest {
  using Clock = std::chrono::steady_clock;
  explicit ServingRequest(size_t queued_tokens) : events(queued_tokens) {}

  bool is_generation() const { return generation.has_value(); }
  std::span<const int32_t> prompt() const {
    return generation ? generation->prompt() : std::span<const int32_t>(text);
  }

  // Before submit().
  void set_adapter(SequenceAdapter chosen, int64_t hidden_size) {
    adapter = std::move(chosen);
    if (adapter.xlora == nullptr) return;
    const XLora& xlora = adapter.xlora->xlora();
    xlora_rows.emplace(xlora.num_gates(), xlora.first_layer > 0 ? hidden_size : 0);
    if (!generation || generation->gate_detail() == GateDetail::kNone) return;
    gate_recorder.emplace(adapter.xlora->shared_xlora(), generation->gate_detail());
  }

  RequestOptions options;
  SequenceAdapter adapter;
  std::optional<XLoraRows> xlora_rows;        // with X-LoRA
  std::optional<GateRecorder> gate_recorder;  // and when its gates are asked for
  Clock::time_point submitted = Clock::now();
  std::optional<Generation> generation;  // or:
  std::vector<int32_t> text;             // to embed
  std::optional<HiddenPool> pool;
  std::vector<float> vector;  // the embedding, when the last event is Done
  // Further answers to the same prompt. The one that has them leads: its sequence is theirs until
  // the prompt is computed; then each branches off with one of its own. They differ in seed only.
  std::vector<std::shared_ptr<ServingRequest>> followers;

  EventQueue events;
  bool wants_tokens = true;  // false: only the last event
  std::atomic<bool> cancelled{false};
  std::atomic<bool> signalled{false};  // the loop has news of it to look at

  // The loop's own.
  SequenceId sequence = kNoSequence;
  bool has_started = false;
  bool has_token = false;
  bool is_paused = false;
  int64_t next_position = 0;  // of the row whose output is taken next, where all rows' are wanted
  Clock::time_point started;
  Clock::time_point first_token;
};

using RequestPtr = std::shared_ptr<ServingRequest>;

class ServingInbox {
 public:
  explicit ServingInbox(size_t max_requests) : max_requests_(max_requests) {}

  // Hands requests to the loop, with their followers, all or none. kUnavailable: too many are
  // running and waiting, or the loop has ended.
  Status submit(std::span<const RequestPtr> requests);
  // The request was cancelled, or its queue has room again.
  void signal(const RequestPtr& request);

  // The loop's side. What has come since the last call, swapped into the two lists; waits for it
  // until `deadline` when `wait`. False: the inbox is closed.
  bool collect(bool wait, std::optional<ServingRequest::Clock::time_point> deadline,
               std::vector<RequestPtr>& submitted, std::vector<RequestPtr>& signalled);
  void request_ended();
  void close();
  int64_t num_unseen() const { return num_unseen_.load(std::memory_order_relaxed); }

 private:
  size_t max_requests_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<RequestPtr> submitted_;
  std::vector<RequestPtr> signalled_;
  size_t num_requests_ = 0;  // submitted and not ended
  std::atomic<int64_t> num_unseen_{0};
  bool closed_ = false;
};

}  // namespace ruvllm
