#include "sched/scheduler.h"

#include <algorithm>

#include "base/check.h"
#include "base/str.h"

namespace ruvllm {
namespace {

constexpr int kSlotBits = 20;
constexpr uint64_t kSlotMask = (uint64_t{1} << kSlotBits) - 1;
// Priorities beyond are as good as these; keeps order keys far from overflow.
constexpr int64_t kMaxPriority = 1 << 20;

}  // namespace

Scheduler::Scheduler(const SchedulerConfig& config) : config_(config), kv_(config.kv) {
  RUVLLM_CHECK(config.max_step_rows >= 2, config.max_step_rows);
  RUVLLM_CHECK(config.max_running >= 1 && config.max_waiting >= 0);
  RUVLLM_CHECK(int64_t{config.max_running} + config.max_waiting < int64_t{kSlotMask});
  if (config_.watermark_blocks < 0) {
    config_.watermark_blocks = std::max(1, config.kv.num_blocks / 100);
  }
  running_.reserve(static_cast<size_t>(config.max_running));
  order_.reserve(static_cast<size_t>(config.max_running));
  entries_.reserve(static_cast<size_t>(config.max_running) * kMaxKvSets);
}

// --- Slots ---

int32_t Scheduler::find(SequenceId id) const {
  const uint64_t slot = id & kSlotMask;
  if (id == kNoSequence || slot >= slots_.size() || slots_[slot]->id != id) return -1;
  return static_cast<int32_t>(slot);
}

const SequenceRecord& Scheduler::record(SequenceId id) const {
  const int32_t slot = find(id);
  RUVLLM_CHECK(slot >= 0, "no sequence ", id);
  return at(slot);
}

int32_t Scheduler::new_slot() {
  if (free_slots_.empty()) {
    slots_.push_back(std::make_unique<SequenceRecord>());
    free_slots_.push_back(static_cast<int32_t>(slots_.size()) - 1);
  }
  const int32_t slot = free_slots_.back();
  free_slots_.pop_back();
  SequenceRecord& record = at(slot);
  record = SequenceRecord();
  record.order_tie = next_serial_++;
  record.id = (record.order_tie << kSlotBits) | static_cast<uint64_t>(slot);
  return slot;
}

void Scheduler::start_tables(SequenceRecord& record) const {
  for (int set = 0; set < record.num_sets; ++set) {
    PrefixKey key = record.keys[set];
    key.variant |= uint64_t{record.regime} << 63;
    kv_.start(record.tables[set], key);
    record.computed[set] = 0;
  }
}

Result<SequenceId> Scheduler::add(const SequenceSpec& spec) {
  const auto length = static_cast<int64_t>(spec.prompt.size());
  RUVLLM_CHECK(length > 0 && spec.num_sets >= 1 && spec.num_sets <= kMaxKvSets);
  RUVLLM_CHECK(spec.num_forks >= 0);
  const int64_t longest = std::max(length, spec.max_tokens);
  if (longest > config_.max_tokens) {
    return fail(
        ErrorCode::kInvalidArgument,
        concat("the request may need ", longest, " tokens, a sequence holds ", config_.max_tokens));
  }
  const int64_t blocks = int64_t{kv_.blocks_for(longest)} * spec.num_sets;
  if (blocks > config_.kv.num_blocks) {
    return fail(
        ErrorCode::kOutOfMemory,
        concat("the request may need ", longest, " tokens (", blocks, " KV pages), the pool has ",
               config_.kv.num_blocks, " pages of ", config_.kv.block_tokens, " tokens"));
  }
  if (spec.num_forks >= config_.max_running) {
    return fail(ErrorCode::kInvalidArgument,
                concat("the request wants ", spec.num_forks + 1, " sequences, ",
                       config_.max_running, " run at a time"));
  }
  if (num_waiting() >= config_.max_waiting) {
    return fail(ErrorCode::kUnavailable,
                concat("the queue is full (", num_waiting(), " sequences wait); try again later"));
  }
  const int32_t slot = new_slot();
  SequenceRecord& record = at(slot);
  record.all_rows = spec.all_rows;
  record.read_cache = spec.read_cache;
  record.ends_with_prompt = spec.ends_with_prompt;
  record.num_sets = spec.num_sets;
  record.num_forks = spec.num_forks;
  forks_to_come_ += spec.num_forks;
  record.adapter_slot = spec.adapter_slot;
  record.max_chunk = spec.max_chunk;
  record.order_key =
      std::clamp(spec.priority, -kMaxPriority, kMaxPriority) * config_.priority_level_us +
      spec.arrival_us;
  record.queue_deadline_us = spec.queue_deadline_us;
  record.deadline_us = spec.deadline_us;
  record.max_tokens = longest;
  record.prompt_tokens = length;
  record.tokens.assign(spec.prompt.begin(), spec.prompt.end());
  for (int set = 0; set < spec.num_sets; ++set) record.keys[set] = spec.keys[set];
  record.regime = length > config_.regime_boundary ? 1 : 0;
  start_tables(record);
  first_deadline_us_ = std::min({first_deadline_us_, spec.deadline_us, spec.queue_deadline_us});
  enqueue(slot);
  return record.id;
}

void Scheduler::enqueue(int32_t slot) {
  SequenceRecord& record = at(slot);
  record.state = SequenceState::kWaiting;
  if (record.paused) {
    ++num_parked_;
  } else {
    waiting_.push({record.order_key, record.order_tie, slot});
  }
}

void Scheduler::leave_queue(int32_t slot) {
  if (at(slot).paused) {
    --num_parked_;
  } else {
    waiting_.remove(slot);
  }
}

void Scheduler::add_running(int32_t slot) {
  at(slot).state = SequenceState::kRunning;
  const auto place = std::ranges::upper_bound(
      running_, slot, [this](int32_t a, int32_t b) { return at(a).goes_before(at(b)); });
  running_.insert(place, slot);
}

void Scheduler::remove_running(int32_t slot) {
  SequenceRecord& record = at(slot);
  running_.erase(std::ranges::find(running_, slot));
  reserved_blocks_ -= record.reserved_blocks;
  record.reserved_blocks = 0;
  reserved_forks_ -= record.num_forks;
}

void Scheduler::release_pages(SequenceRecord& record) {
  for (int set = 0; set < record.num_sets; ++set) kv_.release(record.tables[set]);
}

// --- What the caller tells about one sequence ---

void Scheduler::append(SequenceId id, int32_t token) {
  const int32_t slot = find(id);
  RUVLLM_CHECK(slot >= 0, "no sequence ", id);
  SequenceRecord& record = at(slot);
  RUVLLM_CHECK(record.state == SequenceState::kRunning && record.num_tokens() < record.max_tokens,
               record.num_tokens(), " of ", record.max_tokens);
  RUVLLM_CHECK(record.pending(record.num_sets - 1) == 0, record.pending(0));
  record.tokens.push_back(token);
  const uint8_t regime = record.num_tokens() > config_.regime_boundary ? 1 : 0;
  if (regime == record.regime) return;
  // All of its keys are of the other regime: begin anew, as after a preemption.
  record.regime = regime;
  remove_running(slot);
  release_pages(record);
  for (std::vector<uint64_t>& hashes : record.hashes) hashes.clear();
  start_tables(record);
  enqueue(slot);
  ++counters_.restarts;
}

SequenceId Scheduler::fork(SequenceId id) {
  const int32_t from = find(id);
  RUVLLM_CHECK(from >= 0, "no sequence ", id);
  const int32_t slot = new_slot();
  SequenceRecord& source = at(from);
  RUVLLM_CHECK(source.state == SequenceState::kRunning && source.num_forks > 0, source.num_forks);
  RUVLLM_CHECK(source.pending(source.num_sets - 1) == 0, "its text is not computed");
  SequenceRecord& record = at(slot);
  drop_fork(id);
  const SequenceId new_id = record.id;
  const uint64_t tie = record.order_tie;
  BlockTable tables[kMaxKvSets];
  for (int set = 0; set < source.num_sets; ++set) kv_.fork(source.tables[set], tables[set]);
  record = source;
  record.tokens.reserve(static_cast<size_t>(record.max_tokens));
  record.id = new_id;
  record.order_tie = tie;
  record.num_forks = 0;
  record.reserved_blocks = 0;
  for (int set = 0; set < source.num_sets; ++set) {
    record.tables[set] = std::move(tables[set]);
    record.tables[set].blocks.reserve(static_cast<size_t>(kv_.blocks_for(record.max_tokens)));
  }
  add_running(slot);
  return new_id;
}

void Scheduler::drop_fork(SequenceId id) {
  const int32_t slot = find(id);
  RUVLLM_CHECK(slot >= 0, "no sequence ", id);
  SequenceRecord& record = at(slot);
  RUVLLM_CHECK(record.num_forks > 0, "no forks to come");
  --record.num_forks;
  --forks_to_come_;
  if (record.state == SequenceState::kRunning) --reserved_forks_;
}

void Scheduler::finish(SequenceId id) {
  const int32_t slot = find(id);
  RUVLLM_CHECK(slot >= 0, "no sequence ", id);
  SequenceRecord& record = at(slot);
  forks_to_come_ -= record.num_forks;
  if (record.state == SequenceState::kRunning) {
    remove_running(slot);
    release_pages(record);
  } else {
    leave_queue(slot);
  }
  record = SequenceRecord();  // its memory goes with it
  free_slots_.push_back(slot);
}

void Scheduler::set_paused(SequenceId id, bool paused) {
  const int32_t slot = find(id);
  RUVLLM_CHECK(slot >= 0, "no sequence ", id);
  SequenceRecord& record = at(slot);
  if (record.paused == paused) return;
  const bool waits = record.state == SequenceState::kWaiting;
  if (waits) leave_queue(slot);
  record.paused = paused;
  if (waits) enqueue(slot);
}

void Scheduler::collect_overdue(int64_t now_us, std::vector<SequenceId>& overdue) {
  overdue.clear();
  if (now_us < first_deadline_us_) return;
  first_deadline_us_ = kNever;
  for (const auto& record : slots_) {
    if (record->state == SequenceState::kFree) continue;
    const int64_t deadline = record->was_started
                                 ? record->deadline_us
                                 : std::min(record->deadline_us, record->queue_deadline_us);
    if (deadline <= now_us) {
      overdue.push_back(record->id);
    } else {
      first_deadline_us_ = std::min(first_deadline_us_, deadline);
    }
  }
}

// --- Pages ---

// Whose pages go when `for_slot` needs some: the last of the paused ones, else the last of all that
// come after it. -1: nobody's.
int32_t Scheduler::choose_victim(int32_t for_slot) const {
  for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
    if (at(*it).paused && *it != for_slot) return *it;
  }
  return running_.back() != for_slot ? running_.back() : -1;
}

void Scheduler::preempt(int32_t slot) {
  SequenceRecord& record = at(slot);
  for (size_t i = entries_.size(); i-- > 0;) {
    if (entries_[i].slot != slot) continue;
    budget_ += entries_[i].rows;
    if (!entries_[i].decode) prefill_left_ += entries_[i].rows;
    if (record.all_rows) all_rows_left_ += entries_[i].rows;
    entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  remove_running(slot);
  release_pages(record);
  start_tables(record);
  enqueue(slot);
  ++counters_.preemptions;
  preempted_.push_back(record.id);
}

// Gives the table of (slot, set) room for `rows` more, its own where it writes. Returns how many
// rows it got room for: fewer, or none, when earlier sequences hold the pages.
int64_t Scheduler::prepare_pages(int32_t slot, int set, int64_t rows) {
  SequenceRecord& record = at(slot);
  BlockTable& table = record.tables[set];
  const int64_t computed = record.computed[set];
  const auto first_block = static_cast<int32_t>(computed / config_.kv.block_tokens);
  while (true) {
    const auto have = static_cast<int32_t>(table.blocks.size());
    const bool copies = first_block < have && kv_.is_shared(table, first_block);
    const int32_t wanted = kv_.blocks_for(computed + rows);
    const int32_t needed = std::max(wanted - have, 0) + (copies ? 1 : 0);
    const int32_t free = kv_.pool().num_free();
    if (needed <= free) {
      if (copies) copies_.push_back(*kv_.make_writable(table, first_block));
      RUVLLM_CHECK(kv_.grow(table, wanted));
      const int32_t kept = std::max(record.reserved_blocks - needed, 0);
      reserved_blocks_ -= record.reserved_blocks - kept;
      record.reserved_blocks = kept;
      return rows;
    }
    const int32_t victim = choose_victim(slot);
    if (victim >= 0) {
      preempt(victim);
      continue;
    }
    // As much as fits; a copy needs its block before anything else.
    const int64_t room = have + free - (copies ? 1 : 0);
    rows = (copies && free == 0) ? 0 : room * config_.kv.block_tokens - computed;
    if (rows <= 0) return 0;
  }
}

// --- One step ---

void Scheduler::plan_rows(int32_t slot, int64_t max_rows, bool decode) {
  SequenceRecord& record = at(slot);
  // The second phase first: what the first one leaves behind is kept until then, so that it never
  // runs ahead by more than a step.
  for (int set = record.num_sets; set-- > 0;) {
    // The second phase of a position follows the first in a later step.
    const int64_t available =
        (set == 0 ? record.num_tokens() : record.computed[0]) - record.computed[set];
    int64_t rows = std::min({available, max_rows, budget_});
    if (!decode) rows = std::min(rows, prefill_left_);
    if (record.max_chunk > 0) rows = std::min<int64_t>(rows, record.max_chunk);
    if (record.all_rows) rows = std::min(rows, all_rows_left_);
    if (rows <= 0) continue;
    rows = prepare_pages(slot, set, rows);
    if (rows <= 0) continue;
    entries_.push_back({slot, set, rows, decode});
    budget_ -= rows;
    max_rows -= decode ? 0 : rows;
    if (!decode) prefill_left_ -= rows;
    if (record.all_rows) all_rows_left_ -= rows;
  }
}

void Scheduler::plan_decodes() {
  order_.clear();
  bool others = !waiting_.empty();
  for (const int32_t slot : running_) {
    if (at(slot).paused) continue;
    if (at(slot).is_decoding()) {
      order_.push_back(slot);
    } else {
      others = true;
    }
  }
  if (order_.empty()) return;
  // A budget smaller than the decoding sequences goes round; a part of it stays for prompts.
  const int64_t share = others ? std::max<int64_t>(1, budget_ / 8) : 0;
  const auto count = order_.size();
  for (size_t i = 0; i < count; ++i) {
    if (budget_ <= share) {
      decode_turn_ += i;
      return;
    }
    const int32_t slot = order_[(decode_turn_ + i) % count];
    if (at(slot).state == SequenceState::kRunning) plan_rows(slot, 1, true);
  }
}

void Scheduler::plan_prefills() {
  if (!entries_.empty()) prefill_left_ = prefill_limit_;
  order_.clear();
  for (const int32_t slot : running_) {
    if (!at(slot).paused && !at(slot).is_decoding()) order_.push_back(slot);
  }
  for (const int32_t slot : order_) {
    if (budget_ <= 0 || prefill_left_ <= 0) return;
    if (at(slot).state == SequenceState::kRunning) plan_rows(slot, budget_, false);
  }
}

void Scheduler::emit(StepPlan& plan) {
  for (const Entry& entry : entries_) {
    const SequenceRecord& record = at(entry.slot);
    const int64_t computed = record.computed[entry.set];
    PlanSpan span;
    span.sequence = record.id;
    span.slot = entry.slot;
    span.first_row = plan.num_rows();
    span.num_rows = static_cast<int32_t>(entry.rows);
    span.first_position = computed;
    span.phase = static_cast<uint8_t>(entry.set);
    span.kv_set = static_cast<uint8_t>(entry.set);
    span.regime = record.regime;
    span.adapter_slot = record.adapter_slot;
    const bool last_set = entry.set == record.num_sets - 1;
    span.samples =
        last_set && !record.ends_with_prompt && computed + entry.rows == record.num_tokens();
    span.all_rows = last_set && record.all_rows && computed < record.prompt_tokens;
    span.block_table = record.tables[entry.set].blocks;
    plan.spans.push_back(span);
    const auto first = record.tokens.begin() + computed;
    plan.ids.insert(plan.ids.end(), first, first + entry.rows);
    (entry.decode ? plan.num_decode_rows : plan.num_prefill_rows) += span.num_rows;
  }
  plan.copies.assign(copies_.begin(), copies_.end());
  plan.preempted.assign(preempted_.begin(), preempted_.end());
}

void Scheduler::plan(StepPlan& plan) {
  plan.clear();
  entries_.clear();
  copies_.clear();
  preempted_.clear();
  budget_ = config_.max_step_rows;
  prefill_left_ = std::numeric_limits<int32_t>::max();
  all_rows_left_ = config_.max_all_rows;
  plan_decodes();
  plan_prefills();
  if (preempted_.empty()) admit();
  emit(plan);
}

void Scheduler::commit(const StepPlan& plan) {
  for (const PlanSpan& span : plan.spans) {
    SequenceRecord& record = at(span.slot);
    RUVLLM_CHECK(record.id == span.sequence, "a sequence ended during its step");
    const int set = span.kv_set;
    const int64_t end = span.first_position + span.num_rows;
    counters_.recomputed_tokens += static_cast<uint64_t>(
        std::clamp<int64_t>(record.high_water[set] - span.first_position, 0, span.num_rows));
    record.high_water[set] = std::max(record.high_water[set], end);
    record.computed[set] = end;
    record.was_started = true;
    kv_.seal(record.tables[set], record.tokens, end);
  }
  if (!plan.empty()) ++counters_.steps;
  counters_.step_rows += static_cast<uint64_t>(plan.num_rows());
}

int64_t Scheduler::num_behind() const {
  int64_t count = waiting_.size();
  for (const int32_t slot : running_) {
    count += at(slot).paused || at(slot).is_decoding() ? 0 : 1;
  }
  return count;
}

PageUse Scheduler::page_use() const {
  PageUse use;
  use.total = kv_.pool().num_blocks();
  use.used = kv_.pool().num_used();
  use.cached = kv_.num_cached();
  use.used_slots = int64_t{use.used} * config_.kv.block_tokens;
  for (const int32_t slot : running_) {
    const SequenceRecord& record = at(slot);
    for (int set = 0; set < record.num_sets; ++set) {
      const auto blocks = static_cast<int32_t>(record.tables[set].blocks.size());
      // The last page of forks is counted by none until each has its own.
      if (blocks == 0 || kv_.is_shared(record.tables[set], blocks - 1)) continue;
      use.empty_slots += int64_t{blocks} * config_.kv.block_tokens - record.computed[set];
    }
  }
  return use;
}

Status Scheduler::check_integrity() const {
  std::vector<const BlockTable*> tables;
  int32_t reserved_blocks = 0;
  int32_t reserved_forks = 0;
  int64_t forks_to_come = 0;
  size_t running = 0;
  int64_t waiting = 0;
  for (const auto& record : slots_) {
    for (const BlockTable& table : record->tables) tables.push_back(&table);
    reserved_blocks += record->reserved_blocks;
    forks_to_come += record->num_forks;
    running += record->state == SequenceState::kRunning ? 1 : 0;
    waiting += record->state == SequenceState::kWaiting ? 1 : 0;
    if (record->state == SequenceState::kRunning) reserved_forks += record->num_forks;
    for (int set = 0; set < record->num_sets; ++set) {
      const auto room =
          static_cast<int64_t>(record->tables[set].blocks.size()) * config_.kv.block_tokens;
      if (record->computed[set] > room || record->computed[set] > record->num_tokens()) {
        return fail(ErrorCode::kInternal, concat(record->computed[set], " tokens computed of ",
                                                 record->num_tokens(), " in pages for ", room));
      }
      if (record->state != SequenceState::kRunning && room > 0) {
        return fail(ErrorCode::kInternal, "a sequence that does not run holds pages");
      }
    }
  }
  if (running != running_.size() || waiting != num_waiting()) {
    return fail(ErrorCode::kInternal, concat(running, " running and ", waiting, " waiting, ",
                                             running_.size(), " and ", num_waiting(), " listed"));
  }
  if (reserved_blocks != reserved_blocks_ || reserved_forks != reserved_forks_ ||
      forks_to_come != forks_to_come_ ||
      running_.size() + static_cast<size_t>(reserved_forks_) >
          static_cast<size_t>(config_.max_running)) {
    return fail(ErrorCode::kInternal, "promised pages or places do not add up");
  }
  for (size_t i = 1; i < running_.size(); ++i) {
    if (!at(running_[i - 1]).goes_before(at(running_[i]))) {
      return fail(ErrorCode::kInternal, "the running sequences are out of order");
    }
  }
  return kv_.check_integrity(tables);
}

}  // namespace ruvllm
