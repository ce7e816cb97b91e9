// How a product is cut into tasks for the threads: rows of one part of the weight each. How it is
// cut changes no bit of the result. Private to ops/cpu; one thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/cpu/cpu_weight.h"

namespace ruvllm {

// A product with one row, or whose integer weights pass once for one tile of rows, is cut into
// rounds of a task for each thread that together have half of what is left, so that few tasks are
// short and yet the threads end together; but into no tasks with fewer bytes of weights than are
// worth a stream.
inline constexpr int64_t kLeastStreamBytes = 64 * 1024;
// And at most this many panels, or eights of rows.
inline constexpr int64_t kMostUnitsPerTask = 512;
// A product with many rows is cut into about this many tasks per thread. Large tasks read x less
// often from the last-level cache; the panels of the largest (of tile_w rows, widened, or of
// integer weights) still fit L2.
inline constexpr int64_t kTileTasksPerThread = 4;
struct PanelsPerTask {
  int64_t least;
  int64_t most;
};
inline constexpr PanelsPerTask kFloatPanelsPerTask{8, 32};
inline constexpr int64_t kLeastQuantPanels = 4;  // the most: QuantPanelKernel::task_panels
// Of kBf16TaskUnit rows: what a kernel of bf16_dot.h reads at once.
inline constexpr PanelsPerTask kBf16PanelsPerTask{2, 8};
inline constexpr int64_t kBf16TaskUnit = 32;

// Rows of a part that are one thread's.
struct MatmulTask {
  const WeightPart* part;
  int64_t first_w;  // within the part
  int64_t num_w;
};

// Rows of x cut into `count` blocks of `rows` (the last has what is left), each for as many of the
// threads as the others. They are the rows that the same threads have in whatever is done by the
// row (ThreadPool::parallel_shares), so that they stay in those threads' caches: on two cores of
// Zen 4 that share none, layers of 32 and 64 rows take 6-7 % less time, where they share the last
// level up to 1 %. But the weights pass once for each block.
struct RowBlocks {
  int64_t count;
  int64_t rows;
};
// Rows of a block at least, so that its products take longer than its weights: more where more
// threads share the memory. Two cores of Zen 4 read twice as fast as 16 rows need.
inline constexpr int64_t kLeastBlockRowsPerThread = 8;
inline constexpr int64_t kLeastBlockRows = 128;  // with many threads
// Of `count` rows in tiles of `tile_rows`.
inline RowBlocks cut_rows(int64_t count, int64_t tile_rows, int num_threads) {
  const int64_t least = std::min(kLeastBlockRowsPerThread * num_threads, kLeastBlockRows);
  for (int64_t blocks = num_threads; blocks > 1; --blocks) {
    const int64_t rows = (count + blocks - 1) / blocks;
    const int64_t whole = (rows + tile_rows - 1) / tile_rows * tile_rows;
    const bool fits = count / blocks >= least && whole * (blocks - 1) < count;
    if (fits && num_threads % blocks == 0) return {blocks, whole};
  }
  return {1, count};
}

// Remembers which weight each weight was followed by: a decoding step takes them in the order of
// the last one. What it says is a guess, and its addresses may be gone.
class WeightOrder {
 public:
  // Where the streams of a product begin: that of thread w at begin + w * stride.
  struct Streams {
    const std::byte* begin = nullptr;
    int64_t stride = 0;
  };

  // `weight` is multiplied now; its streams begin so. Those of the weight after it.
  Streams next_of(const void* weight, const Streams& streams) {
    if (last_ != nullptr) last_->next = streams;
    const auto number = reinterpret_cast<uintptr_t>(weight) / 64;
    last_ = &entries_[number % entries_.size()];
    if (last_->weight != weight) *last_ = {weight, {}};
    return last_->next;
  }

 private:
  struct Entry {
    const void* weight = nullptr;
    Streams next;
  };
  std::vector<Entry> entries_ = std::vector<Entry>(1021);  // two that share one lose a guess
  Entry* last_ = nullptr;
};

// The rows of all parts for several rows of x, cut into tasks that lie within one part: rounds of a
// task of the same size for each thread, and what is left of a part in equal shares.
class TileTasks {
 public:
  TileTasks(std::span<const WeightPart> parts, int64_t tile_w, int64_t most_quant_panels,
            int num_threads)
      : parts_(parts),
        tile_w_(tile_w),
        quant_limits_{kLeastQuantPanels, most_quant_panels},
        num_threads_(num_threads) {}

  int64_t num_tasks() const {
    int64_t total = 0;
    for (const WeightPart& part : parts_) total += num_tasks(part);
    return total;
  }
  MatmulTask task(int64_t index) const {
    const WeightPart* part = parts_.data();
    while (index >= num_tasks(*part)) index -= num_tasks(*part++);
    const Cut cut = cut_of(*part);
    if (index < cut.tasks) return {part, index * cut.rows, cut.rows};
    const int64_t first = cut.tasks * cut.rows + (index - cut.tasks) * cut.rest_rows;
    return {part, first, std::min(cut.rest_rows, part->num_rows - first)};
  }
  // QuantPanelArgs::next_panels of a task: those of the task that its thread takes next if all
  // threads are equally fast; null where they look different.
  const uint8_t* next_panels(int64_t index) const {
    if (index + num_threads_ >= num_tasks()) return nullptr;
    const MatmulTask now = task(index), next = task(index + num_threads_);
    const bool alike = next.part->form == now.part->form && next.num_w == now.num_w &&
                       next.part->panel_bytes == now.part->panel_bytes;
    return alike ? next.part->panel(next.first_w / next.part->panel_rows) : nullptr;
  }

 private:
  // `tasks` of `rows` rows each, and then tasks of `rest_rows` at most.
  struct Cut {
    int64_t tasks;
    int64_t rows;
    int64_t rest_rows;
  };
  Cut cut_of(const WeightPart& part) const {
    if (part.form == PartForm::kBf16Rows) return cut(part, kBf16TaskUnit, kBf16PanelsPerTask);
    return part.form == PartForm::kQuantPanels ? cut(part, part.panel_rows, quant_limits_)
                                               : cut(part, tile_w_, kFloatPanelsPerTask);
  }
  int64_t num_tasks(const WeightPart& part) const {
    const Cut cut = cut_of(part);
    return cut.tasks + (part.num_rows - cut.tasks * cut.rows + cut.rest_rows - 1) / cut.rest_rows;
  }
  Cut cut(const WeightPart& part, int64_t panel_rows, PanelsPerTask limits) const {
    const int64_t panels = (part.num_rows + panel_rows - 1) / panel_rows;
    const int64_t even = panels / (kTileTasksPerThread * num_threads_) / limits.least;
    const int64_t most = std::clamp(even * limits.least, limits.least, limits.most);
    const int64_t tasks = part.num_rows / (most * panel_rows * num_threads_) * num_threads_;
    const int64_t share = (panels - tasks * most + num_threads_ - 1) / num_threads_;
    return {tasks, most * panel_rows, std::max(share, limits.least) * panel_rows};
  }

  std::span<const WeightPart> parts_;
  int64_t tile_w_;
  PanelsPerTask quant_limits_;
  int num_threads_;
};

// The same where the weights pass once.
inline void list_stream_tasks(std::span<const WeightPart> parts, int num_threads,
                              std::vector<MatmulTask>& tasks) {
  tasks.clear();
  const auto bytes = [](const WeightPart& part, int64_t rows) {
    return rows * static_cast<int64_t>(part.row_bytes);
  };
  int64_t left = 0;
  for (const WeightPart& part : parts) left += bytes(part, part.num_rows);
  const WeightPart* part = parts.data();
  const WeightPart* const end = part + parts.size();
  int64_t first = 0;
  while (part != end) {
    const int64_t wanted = std::max(left / (2 * num_threads), kLeastStreamBytes);
    for (int i = 0; i < num_threads && part != end; ++i) {
      const int64_t unit = part->form == PartForm::kQuantPanels ? part->panel_rows
                           : part->form == PartForm::kBf16Rows  ? kBf16TaskUnit
                                                                : 8;
      const int64_t units = std::clamp<int64_t>(wanted / bytes(*part, unit), 1, kMostUnitsPerTask);
      const int64_t rows = std::min(units * unit, part->num_rows - first);
      tasks.push_back({part, first, rows});
      left -= bytes(*part, rows);
      first += rows;
      if (first < part->num_rows) continue;
      ++part;
      first = 0;
    }
  }
}

// Where the first tasks of such a list begin to read: that of thread w at begin + w * stride.
inline WeightOrder::Streams streams_of(const std::vector<MatmulTask>& tasks) {
  const auto begin = [](const MatmulTask& task) {
    const bool panels = task.part->form == PartForm::kQuantPanels;
    return panels ? task.part->data + task.first_w / task.part->panel_rows * task.part->panel_bytes
                  : task.part->row(task.first_w);
  };
  const auto number = [&](size_t i) { return reinterpret_cast<uintptr_t>(begin(tasks[i])); };
  // Parts may stand apart in memory.
  const uintptr_t stride = tasks.size() < 2 ? 0 : number(1) - number(0);
  return {begin(tasks[0]), static_cast<int64_t>(stride)};
}

}  // namespace ruvllm
