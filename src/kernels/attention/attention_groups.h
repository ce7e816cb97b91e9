// The groups of kKeyGroup tokens of which a segment in pages of whole groups consists, and how they
// are fetched: each line of memory is asked for once, at the pace of the work, so that memory is
// busy as long as the processor is. For the forms of attention on pairs of bf16
// (attention_bf16_impl.h); see simd/vec_generic.h for the unnamed namespace.
#pragma once

#include "kernels/attention/attention_pages.h"
#include "kernels/simd/unroll.h"

namespace ruvllm::kernels {
namespace {

// Fetches the groups of a list one after the other, kAtOnce lines at a time: into the second level,
// or kOnce, for what is read once, into the first one only.
template <int kAtOnce, bool kOnce>
class GroupFetcher {
 public:
  GroupFetcher() = default;
  // `lines` of a group each. `rate`: lines fetched for 16 that are worked on; a line is `work`
  // pieces of work.
  GroupFetcher(const char* const* groups, int count, int lines, int rate, int work)
      : groups_(groups), end_(groups + count), lines_(lines), rate_(rate), step_(16 * work) {}

  void worked_on(int work) {
    for (due_ += work * rate_; due_ >= kAtOnce * step_; due_ -= kAtOnce * step_) fetch();
  }
  void fetch_lines(int lines) {
    for (int i = 0; i < lines; i += kAtOnce) fetch();
  }

 private:
  void fetch() {
    if (left_ <= 0) {
      if (groups_ == end_) return;
      at_ = *groups_++;
      left_ = lines_;
    }
    RUVLLM_UNROLL for (int i = 0; i < kAtOnce; ++i) {
      __builtin_prefetch(at_ + i * 64, 0, kOnce ? 0 : 2);
    }
    at_ += kAtOnce * 64;
    left_ -= kAtOnce;
  }

  const char* const* groups_ = nullptr;
  const char* const* end_ = nullptr;
  int lines_ = 0;
  int rate_ = 0;
  int step_ = 1;
  int due_ = 0;
  int left_ = 0;  // lines of the group
  const char* at_ = nullptr;
};

// Where the groups of a range of keys lie: keys, values, and the keys that come next. For pages of
// whole groups of bf16.
class SegmentGroups {
 public:
  static constexpr int kMaxGroups = kKeySegment / kKeyGroup;

  // So many groups are fetched before they are read, at most kKeysAhead / kKeyGroup.
  void find(const AttentionSegment& s, const KeyRange& range, int ahead) {
    first_ = range.begin / kKeyGroup;
    count_ = (range.end + kKeyGroup - 1) / kKeyGroup - first_;
    lines_ = lines_of(s, kKeyGroup);
    ahead_ = ahead;
    next_ = s.next_k_pages != nullptr ? ahead_ : 0;
    list(s, s.k_pages, first_, count_, groups_);
    list(s, s.v_pages, first_, count_, groups_ + count_);
    if (next_ > 0) list(s, s.next_k_pages, 0, next_, groups_ + 2 * count_);
  }
  // Counted from the segment's first.
  int first() const { return first_; }
  int count() const { return count_; }
  const uint16_t* keys(int group) const { return at(group - first_); }
  const uint16_t* values(int group) const { return at(count_ + group - first_); }

  // Lines of memory to fetch after the exponentials of each of so many rows.
  int weighing_lines(int rows) const { return smaller(32, 2 * count_ * lines_ / 4 / rows); }
  // Of all but the first keys, which whoever ran before has fetched.
  template <class Fetcher>
  Fetcher fetcher(int rows, int work) const {
    const int fetched = smaller(ahead_, count_);
    const int count = 2 * count_ + next_ - fetched;
    const int all = 2 * count_ * lines_;
    const int rate = (count * lines_ - rows * weighing_lines(rows)) * 16 / all + 1;
    return {groups_ + fetched, count, lines_, larger(rate, 0), work};
  }

 private:
  const uint16_t* at(int i) const { return reinterpret_cast<const uint16_t*>(groups_[i]); }
  static void list(const AttentionSegment& s, const void* const* pages, int first, int count,
                   const char** groups) {
    const int64_t group_bytes = int64_t{s.head_dim} * kKeyGroup * int64_t{sizeof(uint16_t)};
    const int64_t position = s.key_begin + first * kKeyGroup;
    pages += position / s.page_tokens - s.key_begin / s.page_tokens;
    const int groups_a_page = s.page_tokens / kKeyGroup;
    int in_page = static_cast<int>(position % s.page_tokens) / kKeyGroup;
    for (int i = 0; i < count; ++i) {
      groups[i] = static_cast<const char*>(*pages) + in_page * group_bytes;
      if (++in_page < groups_a_page) continue;
      in_page = 0;
      ++pages;
    }
  }

  const char* groups_[2 * kMaxGroups + kKeysAhead / kKeyGroup];
  int first_ = 0;
  int count_ = 0;
  int lines_ = 0;  // of a group
  int ahead_ = 0;
  int next_ = 0;  // of the keys that come next
};

}  // namespace
}  // namespace ruvllm::kernels
