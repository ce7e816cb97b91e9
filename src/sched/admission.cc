// Scheduler: who is admitted from the queue.
#include <algorithm>

#include "base/check.h"
#include "sched/scheduler.h"

namespace ruvllm {
namespace {

// Sequences that one step passes over at most while looking for one to admit.
constexpr size_t kMaxPassedOver = 64;

}  // namespace

// Finds the pages that hold the beginning of the text already, into matched_.
void Scheduler::match_pages(SequenceRecord& record) {
  // The newest token is always computed: its output is wanted.
  const std::span<const int32_t> text(record.tokens.data(), record.tokens.size() - 1);
  size_t shortest = text.size();
  for (size_t set = 0; set < static_cast<size_t>(record.num_sets); ++set) {
    matched_[set].clear();
    const PrefixKey& key = record.tables[set].key;
    if (kv_.prefix_caching()) kv_.chain(key, record.tokens, record.hashes[set]);
    if (record.read_cache) kv_.match(key, text, record.hashes[set], matched_[set]);
    shortest = std::min(shortest, matched_[set].size());
  }
  // The second phase of a position needs what the first one left behind, which no page holds: both
  // sets begin at the same place.
  for (int set = 0; set < record.num_sets; ++set) matched_[set].resize(shortest);
}

// Whether a running sequence is about to compute the very block that `waiting` lacks. By hash only:
// a collision delays, and mixes nothing.
bool Scheduler::computed_elsewhere(const SequenceRecord& waiting, size_t set) const {
  if (!kv_.prefix_caching() || !waiting.read_cache) return false;
  const size_t block = matched_[set].size();
  const auto end = static_cast<int64_t>(block + 1) * config_.kv.block_tokens;
  if (end > waiting.num_tokens() - 1) return false;
  const uint64_t hash = waiting.hashes[set][block];
  for (const int32_t slot : running_) {
    const SequenceRecord& record = at(slot);
    if (record.paused) continue;
    for (int other = 0; other < record.num_sets; ++other) {
      const std::vector<uint64_t>& hashes = record.hashes[other];
      if (block < hashes.size() && hashes[block] == hash && record.computed[other] < end) {
        return true;
      }
    }
  }
  return false;
}

// A paused sequence gives way to whoever can use its place or its pages.
bool Scheduler::release_paused() {
  for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
    if (!at(*it).paused) continue;
    preempt(*it);
    return true;
  }
  return false;
}

bool Scheduler::fits(const SequenceRecord& record) {
  do {
    int32_t blocks = kv_.blocks_for(record.num_tokens()) * record.num_sets;
    for (int set = 0; set < record.num_sets; ++set) {
      for (const int32_t block : matched_[set]) blocks -= kv_.pool().count(block) > 0 ? 1 : 0;
    }
    const int32_t margin = running_.empty() ? 0 : config_.watermark_blocks;
    const auto places = static_cast<int32_t>(running_.size()) + reserved_forks_;
    if (places + 1 + record.num_forks <= config_.max_running &&
        kv_.pool().num_free() - reserved_blocks_ >= blocks + margin) {
      return true;
    }
  } while (release_paused());
  return false;
}

Scheduler::Admission Scheduler::try_admit(int32_t slot) {
  SequenceRecord& record = at(slot);
  match_pages(record);
  for (int set = 0; set < record.num_sets; ++set) {
    if (computed_elsewhere(record, static_cast<size_t>(set))) return Admission::kPassedOver;
  }
  if (!fits(record)) return Admission::kNoRoom;

  int32_t held = 0;
  for (int set = 0; set < record.num_sets; ++set) {
    BlockTable& table = record.tables[set];
    table.blocks.reserve(static_cast<size_t>(kv_.blocks_for(record.max_tokens)));
    kv_.adopt(table, matched_[set], record.hashes[set]);
    held += static_cast<int32_t>(table.blocks.size());
    record.computed[set] = static_cast<int64_t>(table.blocks.size()) * config_.kv.block_tokens;
    record.high_water[set] = std::max(record.high_water[set], record.computed[set]);
  }
  if (!record.was_admitted) {
    record.was_admitted = true;
    record.cached_tokens = record.computed[0];
    counters_.prompt_tokens += static_cast<uint64_t>(record.num_tokens());
    if (kv_.prefix_caching() && record.read_cache) {
      counters_.query_tokens += static_cast<uint64_t>(record.num_tokens());
      counters_.hit_tokens += static_cast<uint64_t>(record.cached_tokens);
    }
  }
  record.tokens.reserve(static_cast<size_t>(record.max_tokens));
  record.reserved_blocks = kv_.blocks_for(record.num_tokens()) * record.num_sets - held;
  reserved_blocks_ += record.reserved_blocks;
  reserved_forks_ += record.num_forks;
  return Admission::kAdmitted;
}

void Scheduler::admit() {
  passed_over_.clear();
  while (!waiting_.empty() && budget_ > 0 && prefill_left_ > 0 &&
         passed_over_.size() < kMaxPassedOver) {
    const int32_t slot = waiting_.first().slot;
    const Admission admission = try_admit(slot);
    if (admission == Admission::kNoRoom) break;
    waiting_.remove(slot);
    if (admission == Admission::kPassedOver) {
      passed_over_.push_back(slot);
      continue;
    }
    add_running(slot);
    plan_rows(slot, budget_, false);
  }
  for (const int32_t slot : passed_over_) {
    waiting_.push({at(slot).order_key, at(slot).order_tie, slot});
  }
}

}  // namespace ruvllm
