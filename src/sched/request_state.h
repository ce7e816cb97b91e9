// What the scheduler knows of one sequence: its text so far, how much of it is computed in each KV
// set, its pages, and where it stands. Values only.
//
// Most sequences own one KV set, in which a position is computed once. A two-phase sequence owns
// two: phase 0 computes a position in set 0, and a later step's phase 1 computes it in set 1 from
// what phase 0 left behind; the next token comes from phase 1. Rows and pages of both count.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kv/kv_cache.h"

namespace ruvllm {

// Names one sequence for as long as the scheduler lives; never used again.
using SequenceId = uint64_t;
constexpr SequenceId kNoSequence = 0;

constexpr int kMaxKvSets = 2;
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

// A sequence as it is handed in. Times are microseconds of the caller's clock.
struct SequenceSpec {
  std::span<const int32_t> prompt;  // at least one token
  int64_t max_tokens = 0;           // longest it may become, prompt included
  int32_t num_forks = 0;            // sequences that will branch off when the prompt is computed
  int64_t priority = 0;             // lower goes first
  int64_t arrival_us = 0;
  int64_t queue_deadline_us = kNever;  // to have its first row computed
  int64_t deadline_us = kNever;        // to have ended
  int32_t num_sets = 1;
  PrefixKey keys[kMaxKvSets];
  int32_t adapter_slot = -1;
  bool read_cache = true;  // false: every position of the prompt is computed
  bool all_rows = false;   // outputs are wanted of all rows of the prompt, not just of the last
  int32_t max_chunk = 0;   // rows per step at most; 0: no bound of its own
  bool ends_with_prompt = false;  // nothing is sampled
};

enum class SequenceState : uint8_t { kFree, kWaiting, kRunning };

struct SequenceRecord {
  SequenceId id = kNoSequence;
  SequenceState state = SequenceState::kFree;
  bool paused = false;  // no rows until resumed
  bool was_admitted = false;
  bool was_started = false;  // some row was computed
  bool all_rows = false;
  bool read_cache = true;
  bool ends_with_prompt = false;
  int32_t num_sets = 1;
  int32_t num_forks = 0;
  int32_t adapter_slot = -1;
  int32_t max_chunk = 0;
  int64_t order_key = 0;  // priority and arrival: lower goes first
  uint64_t order_tie = 0;
  int64_t queue_deadline_us = kNever;
  int64_t deadline_us = kNever;
  int64_t max_tokens = 0;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // of the first admission
  uint8_t regime = 0;
  std::vector<int32_t> tokens;
  PrefixKey keys[kMaxKvSets];
  BlockTable tables[kMaxKvSets];
  int64_t computed[kMaxKvSets] = {0, 0};
  int64_t high_water[kMaxKvSets] = {0, 0};   // most that was ever computed
  std::vector<uint64_t> hashes[kMaxKvSets];  // chain of the full blocks, while not yet computed
  int32_t reserved_blocks = 0;               // promised at admission, not yet taken

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t pending(int set) const { return num_tokens() - computed[set]; }
  // Whether all but its newest token is computed, in every set up to one row.
  bool is_decoding() const {
    for (int set = 0; set < num_sets; ++set) {
      if (pending(set) > 1) return false;
    }
    return true;
  }
  bool goes_before(const SequenceRecord& other) const {
    return order_key != other.order_key ? order_key < other.order_key : order_tie < other.order_tie;
  }
};

}  // namespace ruvllm
