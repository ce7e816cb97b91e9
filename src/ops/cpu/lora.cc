// What adapters add to a product, for rows with different adapters: each adapted row is projected
// down by every term of its adapter, then up, over column blocks. A row meets only its own terms,
// in their order, so nothing beside it changes a bit of it; work is split by row, term and columns.
#include <algorithm>
#include <array>

#include "base/check.h"
#include "kernels/kernel_lists.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/matmul_state.h"
#include "ops/cpu/parallel_rows.h"

namespace ruvllm {

namespace {

// Columns of a row that one task projects up: they stay in the first-level cache while the ranks
// pass by.
constexpr int64_t kColumnBlock = 2048;

// Multiply-adds below which waking threads costs more than it saves.
constexpr int64_t kSerialProducts = 1 << 16;

int64_t rounded_up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

struct Entry {  // an adapted row
  int32_t row;
  int32_t group;
  int64_t first_low;  // where its projections begin
};

struct DownTask {
  int32_t entry;
  int32_t term;
  int64_t low;
};

int64_t rank_sum(const LoraArgs::Rows& group) {
  int64_t sum = 0;
  for (const LoraTerm& term : group.terms) sum += term.rank;
  return sum;
}

template <typename Task>
void run(ThreadPool& pool, int64_t count, bool serial, Task task) {
  if (serial) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  pool.parallel_for(count, [&](int64_t i, int) { task(i); });
}

}  // namespace

// The two halves of the work, and what they share.
struct CpuOps::LoraWork {
  const LoraArgs& args;
  const kernels::FloatDotKernel& dot;
  void (*add_scaled)(float*, const float*, float, int64_t);
  void (*multiply)(const float*, float, float*, int64_t);
  const Entry* entries;
  const DownTask* tasks;
  const float* padded_x;  // [entries, padded] or null: x needs no padding
  int64_t padded;
  float* low;

  const float* x_of(int64_t entry) const {
    return padded_x != nullptr ? padded_x + entry * padded : args.x.row(entries[entry].row);
  }

  // low = gate * scale * A x
  void project_down(int64_t index) const {
    const DownTask& task = tasks[index];
    const Entry& entry = entries[task.entry];
    const LoraArgs::Rows& group = args.groups[static_cast<size_t>(entry.group)];
    const LoraTerm& term = group.terms[static_cast<size_t>(task.term)];
    float* out = low + task.low;
    const float gate = term.gate < 0 ? 1.0f : group.gates.row(entry.row)[term.gate];
    if (!args.ids.empty()) {
      const int64_t id = args.ids[static_cast<size_t>(entry.row)];
      multiply(term.a + id * term.rank, term.scale * gate, out, term.rank);
      return;
    }
    std::array<const void*, 64> rows;
    for (int32_t first = 0; first < term.rank; first += static_cast<int32_t>(rows.size())) {
      const auto count = std::min<int64_t>(term.rank - first, static_cast<int64_t>(rows.size()));
      for (int64_t j = 0; j < count; ++j) {
        rows[static_cast<size_t>(j)] = term.a + (first + j) * args.x.cols;
      }
      const kernels::FloatRowsArgs product = {rows.data(), count, x_of(task.entry), args.x.cols,
                                              out + first};
      dot.rows_f32(&product);
    }
    multiply(out, term.scale * gate, out, term.rank);
  }

  // delta += B low, columns [begin, begin + count)
  void project_up(const Entry& entry, int64_t begin, int64_t count) const {
    float* delta = args.delta.row(entry.row);
    const float* in = low + entry.first_low;
    for (const LoraTerm& term : args.groups[static_cast<size_t>(entry.group)].terms) {
      const int64_t first = std::max(begin, term.first_column);
      const int64_t end = std::min(begin + count, term.first_column + term.num_columns);
      for (int32_t j = 0; j < term.rank && first < end; ++j) {
        const float* b = term.b + j * term.num_columns + (first - term.first_column);
        add_scaled(delta + first, b, in[j], end - first);
      }
      in += term.rank;
    }
  }
};

void CpuOps::lora_delta(const LoraArgs& args) {
  for_row_pieces(pool_, args.delta.rows, args.delta.cols, [&](int64_t t, int64_t first, int64_t n) {
    std::fill_n(args.delta.row(t) + first, n, -0.0f);
  });
  int64_t num_entries = 0;
  int64_t num_tasks = 0;
  int64_t num_low = 0;
  int64_t products = 0;
  for (const LoraArgs::Rows& group : args.groups) {
    const auto rows = static_cast<int64_t>(group.rows.size());
    num_entries += rows;
    num_tasks += rows * static_cast<int64_t>(group.terms.size());
    num_low += rows * rank_sum(group);
    for (const LoraTerm& term : group.terms) {
      RUVLLM_CHECK(term.first_column + term.num_columns <= args.delta.cols, term.first_column);
      products += rows * term.rank * (args.x.cols + term.num_columns);
    }
  }
  if (num_entries == 0) return;

  auto* entries = lora_entries_.get<Entry>(num_entries);
  auto* tasks = lora_tasks_.get<DownTask>(num_tasks);
  Entry* entry = entries;
  DownTask* task = tasks;
  int64_t next_low = 0;
  for (size_t g = 0; g < args.groups.size(); ++g) {
    const LoraArgs::Rows& group = args.groups[g];
    for (const int32_t row : group.rows) {
      RUVLLM_CHECK(row >= 0 && row < args.delta.rows, row, " of ", args.delta.rows);
      *entry = {row, static_cast<int32_t>(g), next_low};
      for (size_t i = 0; i < group.terms.size(); ++i) {
        *task++ = {static_cast<int32_t>(entry - entries), static_cast<int32_t>(i), next_low};
        next_low += group.terms[i].rank;
      }
      ++entry;
    }
  }

  const kernels::ElementwiseKernels& table = kernels::elementwise_kernels(isa_);
  LoraWork work = {
      args, matmul_->float_dot,           table.add_scaled, table.multiply, entries, tasks, nullptr,
      0,    lora_low_.get<float>(num_low)};
  work.padded = rounded_up(args.x.cols, work.dot.lanes);
  if (args.ids.empty() && work.padded != args.x.cols) {
    auto* copies = lora_x_.get<float>(num_entries * work.padded);
    for (int64_t e = 0; e < num_entries; ++e) {
      float* copy = copies + e * work.padded;
      std::copy_n(args.x.row(entries[e].row), args.x.cols, copy);
      std::fill(copy + args.x.cols, copy + work.padded, 0.0f);
    }
    work.padded_x = copies;
  }
  const bool serial = pool_.num_threads() == 1 || products <= kSerialProducts;
  run(pool_, num_tasks, serial, [&](int64_t i) { work.project_down(i); });
  const int64_t blocks = (args.delta.cols + kColumnBlock - 1) / kColumnBlock;
  run(pool_, num_entries * blocks, serial, [&](int64_t i) {
    const int64_t begin = i % blocks * kColumnBlock;
    work.project_up(entries[i / blocks], begin, std::min(kColumnBlock, args.delta.cols - begin));
  });
}

}  // namespace ruvllm
