// WaitingQueue: slots of waiting sequences in the order in which they are to be admitted.
//
// Ageing is linear, so who goes before whom never changes while both wait: a priority level is
// worth a fixed time of arrival, and the order is a constant of each sequence. A balanced tree over
// (order key, tie) would do; here it is a binary heap with positions, in arrays that keep their
// memory: push, remove and first are O(log n) or better and allocate nothing once grown.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"

namespace ruvllm {

class WaitingQueue {
 public:
  struct Item {
    int64_t key = 0;
    uint64_t tie = 0;
    int32_t slot = 0;
  };

  bool empty() const { return heap_.empty(); }
  int64_t size() const { return static_cast<int64_t>(heap_.size()); }
  const Item& first() const { return heap_.front(); }
  // All, in no order.
  const std::vector<Item>& items() const { return heap_; }

  void push(const Item& item) {
    if (static_cast<size_t>(item.slot) >= positions_.size()) {
      positions_.resize(static_cast<size_t>(item.slot) + 1, -1);
    }
    heap_.push_back(item);
    place(heap_.size() - 1, item);
    rise(heap_.size() - 1);
  }

  void remove(int32_t slot) {
    const int32_t at = positions_[static_cast<size_t>(slot)];
    RUVLLM_CHECK(at >= 0, "slot ", slot, " does not wait");
    positions_[static_cast<size_t>(slot)] = -1;
    const Item last = heap_.back();
    heap_.pop_back();
    if (last.slot == slot) return;
    place(static_cast<size_t>(at), last);
    rise(static_cast<size_t>(at));
    sink(static_cast<size_t>(positions_[static_cast<size_t>(last.slot)]));
  }

 private:
  static bool before(const Item& a, const Item& b) {
    return a.key != b.key ? a.key < b.key : a.tie < b.tie;
  }
  void place(size_t at, const Item& item) {
    heap_[at] = item;
    positions_[static_cast<size_t>(item.slot)] = static_cast<int32_t>(at);
  }
  void swap(size_t a, size_t b) {
    const Item item = heap_[a];
    place(a, heap_[b]);
    place(b, item);
  }
  void rise(size_t at) {
    while (at > 0 && before(heap_[at], heap_[(at - 1) / 2])) {
      swap(at, (at - 1) / 2);
      at = (at - 1) / 2;
    }
  }
  void sink(size_t at) {
    while (true) {
      size_t best = at;
      for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < heap_.size(); ++child) {
        if (before(heap_[child], heap_[best])) best = child;
      }
      if (best == at) return;
      swap(at, best);
      at = best;
    }
  }

  std::vector<Item> heap_;
  std::vector<int32_t> positions_;  // by slot; -1: not here
};

}  // namespace ruvllm
