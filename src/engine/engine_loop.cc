#include "engine/engine_loop.h"

#include <utility>

#include "base/check.h"
#include "base/str.h"
#include "kv/salt.h"

namespace ruvllm {
namespace {

// When work waits that no step could take up, it is looked at again so soon.
constexpr std::chrono::milliseconds kRetry{20};

double seconds_between(ServingRequest::Clock::time_point a, ServingRequest::Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

// The number of tokens beyond which a sequence uses the other rotary table.
int64_t find_regime_boundary(const ModelRunner& runner, int64_t max_tokens) {
  if (runner.rope_regime(max_tokens) == runner.rope_regime(1)) return kNever;
  int64_t low = 1;
  int64_t high = max_tokens;  // of the other regime
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (runner.rope_regime(middle) == runner.rope_regime(1) ? low : high) = middle;
  }
  return low;
}

SchedulerConfig scheduler_config(const EnginePlan& plan, const ModelRunner& runner) {
  SchedulerConfig config;
  config.kv.num_blocks = plan.num_blocks;
  config.kv.block_tokens = plan.block_tokens;
  config.kv.prefix_caching = plan.prefix_caching;
  config.kv.hash_seed = random_seed();
  config.max_running = plan.max_running;
  config.max_waiting = plan.max_running + plan.max_waiting;  // the inbox bounds both together
  config.max_step_rows = plan.max_step_rows;
  config.max_all_rows = plan.max_scored_rows;
  config.max_tokens = plan.max_tokens;
  config.regime_boundary = find_regime_boundary(runner, plan.max_tokens);
  return config;
}

}  // namespace

EngineLoop::EngineLoop(const ModelParts& parts, const EnginePlan& plan)
    : parts_(parts),
      plan_limits_(plan),
      epoch_(Clock::now()),
      salt_seed_(random_seed()),
      inbox_(std::make_shared<ServingInbox>(static_cast<size_t>(plan.max_running) +
                                            static_cast<size_t>(plan.max_waiting))),
      scheduler_(scheduler_config(plan, *parts.runner)),
      runner_(*parts.runner, plan.share_prefixes) {
  stats_.counters.kv_page_tokens = plan.block_tokens;
  stats_.counters.kv_pages_total = plan.num_blocks;
  stats_.counters.max_running = plan.max_running;
  stats_.publish(scheduler_);
  thread_ = std::thread([this] { run(); });
}

EngineLoop::~EngineLoop() {
  inbox_->close();
  thread_.join();
}

EngineStats EngineLoop::stats() const {
  return stats_.snapshot(inbox_->num_unseen());
}

int64_t EngineLoop::microseconds(Clock::time_point time) const {
  return std::chrono::duration_cast<std::chrono::microseconds>(time - epoch_).count();
}

void EngineLoop::run() {
  bool progress = false;
  while (true) {
    std::optional<Clock::time_point> wake;
    if (!scheduler_.idle()) wake = Clock::now() + kRetry;
    const bool open = inbox_->collect(!progress, wake, submitted_, signalled_);
    for (const RequestPtr& request : submitted_) accept(request);
    for (const RequestPtr& request : signalled_) attend(request);
    if (!open) break;
    end_overdue();
    stats_.set_busy(!scheduler_.idle());
    if (!deliveries_.empty()) {
      publish();
      deliver();
    }
    progress = step();
  }
  end_all();
}

// --- Requests come and go ---

SequenceSpec EngineLoop::spec_of(const ServingRequest& request) const {
  SequenceSpec spec;
  spec.prompt = request.prompt();
  const auto length = static_cast<int64_t>(spec.prompt.size());
  spec.max_tokens = length;
  spec.priority = request.options.priority;
  spec.arrival_us = microseconds(request.submitted);
  const auto deadline = [&](std::chrono::milliseconds timeout) {
    return timeout.count() > 0 ? microseconds(request.submitted + timeout) : kNever;
  };
  spec.queue_deadline_us = deadline(request.options.queue_timeout);
  spec.deadline_us = deadline(request.options.total_timeout);
  spec.max_chunk = plan_limits_.max_chunk;
  spec.num_forks = static_cast<int32_t>(request.followers.size());
  // Pages of different adapters never meet: adapter_set parts them from the base's, and the salt's
  // hash those of one adapter from another's.
  const auto key_of = [&](const std::string& adapter) {
    PrefixKey key;
    const std::string& salt = request.options.cache_salt;
    key.adapter_set = adapter.empty() ? 0 : 1;
    set_salt(key, adapter.empty() ? salt : concat(adapter.size(), ":", adapter, salt), salt_seed_);
    return key;
  };
  spec.keys[0] = key_of(request.adapter.cache_key);
  if (const XLoraGate* gate = request.adapter.xlora.get(); gate != nullptr) {
    // Pass 1 is the base model's as a rule, and shares its pages.
    spec.num_sets = 2;
    spec.keys[1] = spec.keys[0];
    const bool is_base = gate->xlora().pass1_is_base();
    spec.keys[0] = key_of(is_base ? std::string() : request.adapter.cache_key + "/1");
  }
  if (request.is_generation()) {
    spec.max_tokens = length + request.generation->max_new_tokens();
    spec.ends_with_prompt = request.generation->finished();
    spec.all_rows = request.generation->scores_prompt();
  } else {
    spec.ends_with_prompt = true;
    spec.all_rows = true;
  }
  // A page has no outputs and no gates.
  spec.read_cache = !spec.all_rows && !request.gate_recorder;
  return spec;
}

// False: it ends here, for nothing is to be computed.
bool EngineLoop::needs_steps(const RequestPtr& request) {
  if (request->cancelled.load()) {
    end(request, FinishReason::kCancelled);
    return false;
  }
  const bool scores = request->is_generation() && request->generation->scores_prompt() &&
                      request->prompt().size() > 1;
  if (!request->is_generation() || !request->generation->finished() || scores) return true;
  end_with(request, result_of(*request));
  return false;
}

void EngineLoop::accept(const RequestPtr& request) {
  std::vector<RequestPtr> answers = std::move(request->followers);
  answers.insert(answers.begin(), request);
  std::erase_if(answers, [this](const RequestPtr& answer) { return !needs_steps(answer); });
  if (answers.empty()) return;
  const RequestPtr leader = answers.front();
  leader->followers.assign(answers.begin() + 1, answers.end());
  const Result<SequenceId> added = scheduler_.add(spec_of(*leader));
  if (!added) {
    for (const RequestPtr& answer : answers) end_with(answer, added.error());
    return;
  }
  for (const RequestPtr& answer : answers) answer->sequence = *added;
  requests_.emplace(*added, leader);
}

void EngineLoop::attend(const RequestPtr& request) {
  request->signalled.store(false);
  if (request->sequence == kNoSequence) return;  // has ended
  if (request->cancelled.load()) return end(request, FinishReason::kCancelled);
  if (!request->is_paused) return;
  request->is_paused = false;
  scheduler_.set_paused(request->sequence, false);
}

void EngineLoop::end_overdue() {
  const Clock::time_point now = Clock::now();
  scheduler_.collect_overdue(microseconds(now), overdue_);
  for (const SequenceId sequence : overdue_) {
    // All its answers: when the one that leads ends, the next one does.
    for (auto it = requests_.find(sequence); it != requests_.end(); it = requests_.find(sequence)) {
      const RequestPtr request = it->second;
      end(request, FinishReason::kDeadline);
    }
  }
}

StreamEvent EngineLoop::result_of(ServingRequest& request) {
  if (!request.is_generation()) return Done{};
  Timings& timings = request.generation->timings();
  if (request.has_token) {
    timings.decode_seconds = seconds_between(request.first_token, Clock::now());
    timings.decode_tokens = request.generation->result().completion_tokens - 1;
  }
  if (request.gate_recorder) request.generation->result().gates = request.gate_recorder->take();
  return Done{request.generation->take_result()};
}

void EngineLoop::end(const RequestPtr& request, FinishReason reason) {
  if (!request->is_generation()) {
    return end_with(request, Error{ErrorCode::kUnavailable, "the request was cancelled"});
  }
  request->generation->end(reason);
  end_with(request, result_of(*request));
}

// It ends now; its consumer hears of it with the next deliver().
void EngineLoop::end_with(const RequestPtr& request, StreamEvent last) {
  if (request->sequence != kNoSequence) leave_sequence(request);
  if (!deliveries_.empty() && deliveries_.back().request == request) {
    deliveries_.back().last = std::move(last);  // behind its last token
  } else {
    deliveries_.push_back({request, std::nullopt, std::move(last)});
  }
}

// The sequence ends with the last of its answers.
void EngineLoop::leave_sequence(const RequestPtr& request) {
  const SequenceId sequence = std::exchange(request->sequence, kNoSequence);
  RequestPtr& leader = requests_.at(sequence);
  if (leader != request) {
    std::erase(leader->followers, request);
    return scheduler_.drop_fork(sequence);
  }
  if (request->followers.empty()) {
    scheduler_.finish(sequence);
    requests_.erase(sequence);
    return;
  }
  const RequestPtr next = request->followers.front();
  next->followers.assign(request->followers.begin() + 1, request->followers.end());
  request->followers.clear();
  // What was computed of the prompt stays.
  next->xlora_rows = std::move(request->xlora_rows);
  next->gate_recorder = std::move(request->gate_recorder);
  if (request->has_started) {
    start(*next, request->started, scheduler_.record(sequence).cached_tokens);
  }
  leader = next;
  scheduler_.drop_fork(sequence);
}

void EngineLoop::end_all() {
  while (!requests_.empty()) {
    const RequestPtr request = requests_.begin()->second;
    end(request, FinishReason::kCancelled);
  }
  stats_.set_busy(false);
  publish();
  deliver();
}

void EngineLoop::publish() {
  stats_.publish(scheduler_);
}

void EngineLoop::deliver() {
  for (Delivery& delivery : deliveries_) {
    ServingRequest& request = *delivery.request;
    if (delivery.token && request.wants_tokens &&
        !request.events.push(*std::move(delivery.token)) && !delivery.last) {
      request.is_paused = true;
      scheduler_.set_paused(request.sequence, true);
    }
    if (!delivery.last) continue;
    request.generation.reset();  // it refers to the model
    request.adapter = {};        // its memory may be wanted
    request.xlora_rows.reset();
    request.gate_recorder.reset();
    inbox_->request_ended();
    request.events.finish(*std::move(delivery.last));
  }
  deliveries_.clear();
}

// --- One step ---

SequenceUse EngineLoop::use_of(SequenceId sequence) const {
  ServingRequest& request = *requests_.at(sequence);
  SequenceUse use;
  use.rows = request.is_generation() ? RowUse::kScorePrompt : RowUse::kHidden;
  use.adapter = &request.adapter;
  if (request.xlora_rows) use.xlora_rows = &*request.xlora_rows;
  if (request.gate_recorder) use.recorder = &*request.gate_recorder;
  return use;
}

void EngineLoop::start_requests(Clock::time_point now) {
  for (const PlanSpan& span : plan_.spans) {
    ServingRequest& request = *requests_.at(span.sequence);
    if (request.has_started) continue;
    start(request, now, scheduler_.record(span.sequence).cached_tokens);
  }
}

void EngineLoop::start(ServingRequest& request, Clock::time_point now, int64_t cached_tokens) {
  request.has_started = true;
  request.started = now;
  const double queued = seconds_between(request.submitted, now);
  stats_.counters.queue_seconds_sum += queued;
  ++stats_.counters.started;
  if (!request.is_generation()) return;
  GenerateResult& result = request.generation->result();
  result.timings.queue_seconds = queued;
  result.cached_prompt_tokens = cached_tokens;
}

void EngineLoop::note_preempted() {
  for (const SequenceId sequence : plan_.preempted) {
    ServingRequest& request = *requests_.at(sequence);
    if (request.is_generation()) ++request.generation->result().preemptions;
  }
}

void EngineLoop::check_pages() const {
  const int32_t every = plan_limits_.check_every;
  if (every == 0 || scheduler_.counters().steps % static_cast<uint64_t>(every) != 0) return;
  const Status status = scheduler_.check_integrity();
  RUVLLM_CHECK(status, status ? "" : status.error().message);
}

bool EngineLoop::step() {
  const Clock::time_point begin = Clock::now();
  if (plan_limits_.pace_prefill) {
    scheduler_.set_prefill_limit(pacer_.limit(scheduler_.num_behind()));
  }
  scheduler_.plan(plan_);
  note_preempted();
  if (plan_.empty()) {
    stats_.set_busy(false);  // all that runs waits for its consumers
    return false;
  }
  start_requests(begin);
  const Clock::time_point planned = Clock::now();
  runner_.run(plan_, [this](SequenceId sequence) { return use_of(sequence); });
  const Clock::time_point computed = Clock::now();
  scheduler_.commit(plan_);
  const double schedule_seconds =
      seconds_between(begin, planned) + seconds_between(computed, Clock::now());
  for (const StepOutput& output : runner_.outputs()) take_output(output);
  const double seconds = seconds_between(begin, Clock::now());
  pacer_.observe(plan_.num_decode_rows, plan_.num_prefill_rows, seconds);
  stats_.count_step(plan_.num_rows(), seconds, seconds_between(planned, computed),
                    schedule_seconds);
  check_pages();
  publish();
  deliver();
  return true;
}

void EngineLoop::take_output(const StepOutput& output) {
  const auto found = requests_.find(output.sequence);
  if (found == requests_.end()) return;  // ended by an earlier row of this step
  const RequestPtr request = found->second;
  if (output.hidden != nullptr) {
    take_hidden(request, output);
  } else {
    take_logits(request, output);
  }
}

// Rows that were taken before a preemption come again and are passed over.
void EngineLoop::take_hidden(const RequestPtr& request, const StepOutput& output) {
  if (output.position != request->next_position) return;
  ++request->next_position;
  request->pool->add(output.position, output.hidden);
  if (request->next_position < static_cast<int64_t>(request->text.size())) return;
  request->vector = request->pool->take();
  end_with(request, Done{});
}

void EngineLoop::take_logits(const RequestPtr& request, const StepOutput& output) {
  const std::span logits(output.logits, static_cast<size_t>(parts_.runner->config().vocab_size));
  if (output.samples) {
    const std::vector<RequestPtr> followers = std::move(request->followers);
    request->followers.clear();
    branch_off(request, followers);
    sample(request, logits);
    for (const RequestPtr& follower : followers) sample(follower, logits);
    return;
  }
  Generation& generation = *request->generation;
  if (!generation.scores_prompt()) return;  // the one that did has ended
  const auto length = static_cast<int64_t>(generation.prompt().size());
  if (output.position != request->next_position || output.position >= length - 1) return;
  ++request->next_position;
  generation.score_prompt(output.position, logits);
  if (generation.finished() && request->next_position == length - 1) {
    end_with(request, result_of(*request));  // nothing but the score was asked for
  }
}

// The prompt is computed: each of its further answers gets a sequence of its own, on the same
// pages. Before anything is appended to the leader's.
void EngineLoop::branch_off(const RequestPtr& leader, std::span<const RequestPtr> followers) {
  for (const RequestPtr& follower : followers) {
    follower->sequence = scheduler_.fork(leader->sequence);
    requests_.emplace(follower->sequence, follower);
    // To them the whole prompt was there.
    start(*follower, leader->started, static_cast<int64_t>(follower->prompt().size()));
    if (leader->gate_recorder) follower->gate_recorder = leader->gate_recorder;
  }
}

void EngineLoop::sample(const RequestPtr& request, std::span<const float> logits) {
  Generation& generation = *request->generation;
  Result<Token> token = generation.step(logits);
  if (!token) return end_with(request, token.error());
  if (!request->has_token) {
    request->has_token = true;
    request->first_token = Clock::now();
    Timings& timings = generation.timings();
    timings.prefill_seconds = seconds_between(request->started, request->first_token);
    timings.prefill_tokens =
        static_cast<int64_t>(generation.prompt().size()) - generation.result().cached_prompt_tokens;
  }
  ++stats_.counters.generated_tokens;
  const int32_t id = token->id;
  deliveries_.push_back({request, *std::move(token), std::nullopt});
  if (generation.finished()) {
    end_with(request, result_of(*request));
  } else {
    scheduler_.append(request->sequence, id);
  }
}

}  // namespace ruvllm
