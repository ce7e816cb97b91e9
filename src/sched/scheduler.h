// Scheduler: which sequences advance in the next step, by how many rows, on which pages.
//
// Each step has a budget of rows. Running sequences that decode come first, one row each; what is
// left of the budget goes to prompts, in chunks, in the same step. Waiting sequences are admitted
// in order (priority, then arrival; waiting ages a priority away: one level is worth
// `priority_level_us` of waiting) as long as their whole text fits the free pages; the first that
// does not fit stops the others, so none is overtaken for ever. A sequence whose next page is being
// computed by another one right now is passed over until that page can be shared.
//
// When pages run out, the sequence that would be admitted last loses its pages and goes back to the
// queue (preemption by recomputation; its full pages stay findable, so resuming mostly reads them
// back). The first in order is never preempted, and no sequence is accepted that could not run
// alone, so every sequence ends.
//
// The caller's loop: plan(), make plan.copies, compute the rows, commit(), then append() each
// sampled token and finish() what has ended. Nothing here reads a clock, a tensor or a file: the
// same calls give the same plans. One thread at a time. In a steady state of decoding nothing is
// allocated.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "kv/kv_cache.h"
#include "ruvllm/result.h"
#include "sched/request_state.h"
#include "sched/step_plan.h"
#include "sched/waiting_queue.h"

namespace ruvllm {

struct SchedulerConfig {
  KvCacheOptions kv;
  int32_t max_running = 128;     // sequences in the steps, forks to come included
  int32_t max_waiting = 1024;    // sequences in the queue (preempted ones find room beyond it)
  int32_t max_step_rows = 2048;  // the budget
  // Rows of a step that may belong to sequences of which all rows' outputs are wanted.
  int32_t max_all_rows = std::numeric_limits<int32_t>::max();
  int64_t max_tokens = 0;            // longest sequence
  int64_t regime_boundary = kNever;  // a sequence of more tokens uses the other rotary table
  int64_t priority_level_us = 1'000'000;
  int32_t watermark_blocks = -1;  // kept free when admitting; -1: one in a hundred
};

struct SchedulerCounters {
  uint64_t prompt_tokens = 0;  // of sequences admitted for the first time
  uint64_t preemptions = 0;
  uint64_t restarts = 0;  // rotary regime changed
  uint64_t query_tokens = 0;
  uint64_t hit_tokens = 0;
  uint64_t steps = 0;
  uint64_t step_rows = 0;
  uint64_t recomputed_tokens = 0;  // computed again after a preemption
};

// Pages in use at this moment.
struct PageUse {
  int32_t total = 0;
  int32_t used = 0;         // held by running sequences
  int32_t cached = 0;       // free, content findable
  int64_t used_slots = 0;   // tokens that the used pages have room for
  int64_t empty_slots = 0;  // of these, without a token (in the last pages of tables)
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerConfig& config);

  // kInvalidArgument: too long for the context; kOutOfMemory: too long for the pool even alone;
  // kUnavailable: the queue is full.
  Result<SequenceId> add(const SequenceSpec& spec);
  // Those that have passed a deadline; the caller finishes them. Cheap while none has.
  void collect_overdue(int64_t now_us, std::vector<SequenceId>& overdue);
  // No deadline is earlier than this one; kNever: there is none.
  int64_t first_deadline_us() const { return first_deadline_us_; }
  // Plans one step into `plan` (its memory is reused). An empty plan: nothing can advance.
  void plan(StepPlan& plan);
  // The rows of the last plan are computed.
  void commit(const StepPlan& plan);

  // The next token of a sequence whose text is computed.
  void append(SequenceId id, int32_t token);
  // Another running sequence with the same text and pages; the source must be running with its
  // text computed, and have been added with num_forks left.
  SequenceId fork(SequenceId id);
  // One fork less will be asked of this sequence, which has some left.
  void drop_fork(SequenceId id);
  // Ends a sequence in any state; its pages are free at once. Not between plan() and commit().
  void finish(SequenceId id);
  // A paused sequence gets no rows, keeps its pages while nobody needs them, and is the first to
  // lose them.
  void set_paused(SequenceId id, bool paused);
  // At most so many prompt rows stand beside decoding rows (at least 1); keeps steps short for
  // those who decode. Default: no bound but the budget.
  void set_prefill_limit(int32_t rows) { prefill_limit_ = rows; }
  void drop_cached() { kv_.drop_cached(); }

  bool knows(SequenceId id) const { return find(id) >= 0; }
  const SequenceRecord& record(SequenceId id) const;
  int32_t num_running() const { return static_cast<int32_t>(running_.size()); }
  int64_t num_waiting() const { return waiting_.size() + num_parked_; }
  // Those that have more to compute than their newest token: they wait, or are in their prompt.
  int64_t num_behind() const;
  // Promised by add() and neither made nor dropped.
  int64_t num_forks_to_come() const { return forks_to_come_; }
  bool idle() const { return running_.empty() && num_waiting() == 0; }
  const SchedulerCounters& counters() const { return counters_; }
  const KvCacheCounters& kv_counters() const { return kv_.counters(); }
  PageUse page_use() const;
  const SchedulerConfig& config() const { return config_; }

  // Everything adds up: pages, tables, lists, promises. Slow; for tests.
  Status check_integrity() const;

 private:
  struct Entry {  // rows planned for a slot in one set
    int32_t slot = 0;
    int32_t set = 0;
    int64_t rows = 0;
    bool decode = false;
  };

  int32_t find(SequenceId id) const;
  SequenceRecord& at(int32_t slot) { return *slots_[static_cast<size_t>(slot)]; }
  const SequenceRecord& at(int32_t slot) const { return *slots_[static_cast<size_t>(slot)]; }
  int32_t new_slot();
  void enqueue(int32_t slot);
  void leave_queue(int32_t slot);
  void add_running(int32_t slot);
  void remove_running(int32_t slot);

  void start_tables(SequenceRecord& record) const;
  void release_pages(SequenceRecord& record);
  void preempt(int32_t slot);
  int32_t choose_victim(int32_t for_slot) const;

  void plan_decodes();
  void plan_prefills();
  void plan_rows(int32_t slot, int64_t max_rows, bool decode);
  int64_t prepare_pages(int32_t slot, int set, int64_t rows);
  void emit(StepPlan& plan);

  void admit();
  enum class Admission : uint8_t { kAdmitted, kPassedOver, kNoRoom };
  Admission try_admit(int32_t slot);
  void match_pages(SequenceRecord& record);
  bool fits(const SequenceRecord& record);
  bool computed_elsewhere(const SequenceRecord& waiting, size_t set) const;
  bool release_paused();

  SchedulerConfig config_;
  KvCache kv_;
  std::vector<std::unique_ptr<SequenceRecord>> slots_;
  std::vector<int32_t> free_slots_;
  std::vector<int32_t> running_;  // slots in order
  WaitingQueue waiting_;
  int64_t num_parked_ = 0;  // waiting and paused: not in the queue
  uint64_t next_serial_ = 1;
  int32_t reserved_blocks_ = 0;
  int32_t reserved_forks_ = 0;  // of the running sequences
  int64_t forks_to_come_ = 0;   // of all
  int32_t prefill_limit_ = std::numeric_limits<int32_t>::max();
  int64_t first_deadline_us_ = kNever;  // no deadline is earlier
  uint64_t decode_turn_ = 0;            // where decoding goes on when the budget is too small
  SchedulerCounters counters_;

  // Of the step being planned.
  std::vector<BlockCopy> copies_;
  std::vector<SequenceId> preempted_;
  std::vector<Entry> entries_;
  int64_t budget_ = 0;
  int64_t prefill_left_ = 0;
  int64_t all_rows_left_ = 0;
  std::vector<int32_t> order_;
  std::vector<int32_t> matched_[kMaxKvSets];
  std::vector<int32_t> passed_over_;
};

}  // namespace ruvllm
