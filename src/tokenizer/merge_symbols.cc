#include "tokenizer/merge_symbols.h"

#include <algorithm>
#include <functional>

#include "base/check.h"

namespace ruvllm {
namespace {

constexpr size_t kScanMaxSymbols = 32;
constexpr size_t kHeapMaxSymbols = 1 << 16;
constexpr uint32_t kNoRank = ~0u;
constexpr uint32_t kNone = ~0u;

void merge_by_scan(const PairTable& pairs, std::vector<int32_t>& symbols) {
  uint32_t ranks[kScanMaxSymbols];  // of the pair (i, i + 1)
  int32_t merged[kScanMaxSymbols];
  size_t n = symbols.size();
  const auto look_up = [&](size_t i) {
    const MergePair* pair = pairs.find(symbols[i], symbols[i + 1]);
    ranks[i] = pair != nullptr ? pair->rank : kNoRank;
    merged[i] = pair != nullptr ? pair->merged : -1;
  };
  for (size_t i = 0; i + 1 < n; ++i) look_up(i);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == kNoRank) break;
    symbols[best] = merged[best];
    --n;
    for (size_t i = best + 1; i < n; ++i) {
      symbols[i] = symbols[i + 1];
      ranks[i - 1] = ranks[i];
      merged[i - 1] = merged[i];
    }
    // The shift moved pair (best + 1, best + 2) onto `best`; both neighbours of the new symbol are
    // looked up afresh.
    if (best + 1 < n) look_up(best);
    if (best > 0) look_up(best - 1);
  }
  symbols.resize(n);
}

// A linked list of symbols over the positions of the word; removed positions have next == kNone and
// symbol kRemoved.
class SymbolList {
 public:
  SymbolList(const PairTable& pairs, std::vector<int32_t>& symbols, MergeSources* sources)
      : pairs_(pairs), symbols_(symbols), sources_(sources) {
    const size_t n = symbols.size();
    RUVLLM_CHECK(n < kNone);
    next_.resize(n);
    previous_.resize(n);
    ranks_.resize(n);
    for (size_t i = 0; i < n; ++i) {
      next_[i] = i + 1 < n ? static_cast<uint32_t>(i + 1) : kNone;
      previous_[i] = i > 0 ? static_cast<uint32_t>(i - 1) : kNone;
    }
  }

  uint32_t size() const { return static_cast<uint32_t>(symbols_.size()); }
  uint32_t rank(uint32_t position) const { return ranks_[position]; }

  // Looks up the pair that begins at `position` and remembers its rank.
  uint32_t look_up(uint32_t position) {
    ranks_[position] = kNoRank;
    if (next_[position] == kNone) return kNoRank;
    const int32_t left = symbols_[position], right = symbols_[next_[position]];
    const MergePair* pair = pairs_.find(left, right);
    if (pair == nullptr) return kNoRank;
    ranks_[position] = pair->rank;
    if (sources_ != nullptr && sources_->noted[static_cast<size_t>(pair->merged)]) {
      sources_->sources[static_cast<size_t>(pair->merged)] = {left, right};
    }
    return pair->rank;
  }

  // Merges the pair that begins at `position` and reports its new neighbours' ranks.
  template <typename Push>
  void merge(uint32_t position, Push&& push) {
    const uint32_t right = next_[position];
    symbols_[position] = pairs_.find(symbols_[position], symbols_[right])->merged;
    ranks_[right] = kNoRank;
    symbols_[right] = kRemoved;
    next_[position] = next_[right];
    if (next_[right] != kNone) previous_[next_[right]] = position;
    if (previous_[position] != kNone) {
      const uint32_t rank = look_up(previous_[position]);
      if (rank != kNoRank) push(rank, previous_[position]);
    }
    const uint32_t rank = look_up(position);
    if (rank != kNoRank) push(rank, position);
  }

  void compact() { std::erase(symbols_, kRemoved); }

 private:
  static constexpr int32_t kRemoved = INT32_MIN;
  const PairTable& pairs_;
  std::vector<int32_t>& symbols_;
  MergeSources* sources_;
  std::vector<uint32_t> next_, previous_, ranks_;
};

using Entry = uint64_t;  // rank << 32 | position: the order of merging
constexpr Entry entry_of(uint32_t rank, uint32_t position) {
  return static_cast<Entry>(rank) << 32 | position;
}

void push_heap_entry(std::vector<Entry>& heap, Entry entry) {
  heap.push_back(entry);
  std::push_heap(heap.begin(), heap.end(), std::greater<>());
}
Entry pop_heap_entry(std::vector<Entry>& heap) {
  std::pop_heap(heap.begin(), heap.end(), std::greater<>());
  const Entry entry = heap.back();
  heap.pop_back();
  return entry;
}

void merge_by_heap(const PairTable& pairs, std::vector<int32_t>& symbols, MergeSources* sources) {
  SymbolList list(pairs, symbols, sources);
  std::vector<Entry> heap;
  for (uint32_t i = 0; i < list.size(); ++i) {
    const uint32_t rank = list.look_up(i);
    if (rank != kNoRank) heap.push_back(entry_of(rank, i));
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  while (!heap.empty()) {
    const Entry entry = pop_heap_entry(heap);
    const auto position = static_cast<uint32_t>(entry);
    if (list.rank(position) != entry >> 32) continue;  // the pair is gone
    list.merge(position,
               [&](uint32_t rank, uint32_t at) { push_heap_entry(heap, entry_of(rank, at)); });
  }
  list.compact();
}

// Ranks in ascending order, the positions of one rank from left to right. A merge may make a pair
// of a lower (or the same) rank; such pairs are urgent and wait in a heap, which stays nearly
// empty.
void merge_by_buckets(const PairTable& pairs, std::vector<int32_t>& symbols) {
  SymbolList list(pairs, symbols, nullptr);
  std::vector<std::vector<uint32_t>> buckets(pairs.num_ranks());
  for (uint32_t i = 0; i < list.size(); ++i) {
    const uint32_t rank = list.look_up(i);
    if (rank != kNoRank) buckets[rank].push_back(i);
  }
  std::vector<Entry> urgent;
  for (uint32_t rank = 0; rank < buckets.size(); ++rank) {
    std::vector<uint32_t> bucket = std::move(buckets[rank]);
    buckets[rank] = {};
    if (!std::is_sorted(bucket.begin(), bucket.end())) std::sort(bucket.begin(), bucket.end());
    const auto push = [&](uint32_t new_rank, uint32_t at) {
      if (new_rank > rank) {
        buckets[new_rank].push_back(at);
      } else {
        push_heap_entry(urgent, entry_of(new_rank, at));
      }
    };
    size_t done = 0;
    while (done < bucket.size() || !urgent.empty()) {
      const Entry in_turn = done < bucket.size() ? entry_of(rank, bucket[done]) : ~0ull;
      Entry entry = in_turn;
      if (!urgent.empty() && urgent.front() <= in_turn) {
        entry = pop_heap_entry(urgent);
      } else {
        ++done;
      }
      const auto position = static_cast<uint32_t>(entry);
      if (list.rank(position) == entry >> 32) list.merge(position, push);
    }
  }
  list.compact();
}

}  // namespace

void merge_symbols(const PairTable& pairs, std::vector<int32_t>& symbols) {
  if (symbols.size() <= kScanMaxSymbols) {
    merge_by_scan(pairs, symbols);
  } else if (symbols.size() <= kHeapMaxSymbols) {
    merge_by_heap(pairs, symbols, nullptr);
  } else {
    merge_by_buckets(pairs, symbols);
  }
}

void merge_symbols(const PairTable& pairs, std::vector<int32_t>& symbols, MergeSources& sources) {
  merge_by_heap(pairs, symbols, &sources);
}

void merge_symbols_slowly(const PairTable& pairs, std::vector<int32_t>& symbols) {
  while (true) {
    const MergePair* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const MergePair* pair = pairs.find(symbols[i], symbols[i + 1]);
      if (pair != nullptr && (best == nullptr || pair->rank < best->rank)) {
        best = pair;
        at = i;
      }
    }
    if (best == nullptr) return;
    symbols[at] = best->merged;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

}  // namespace ruvllm
