// What adapters add to a product, for rows with different adapters: each adapted row is projected
// down by every term of its adapter, then up, over column blocks. A row meets only its own terms,
// in their order, so nothing beside it changes a bit of it; work is split by row, term and columns.
#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/float_types.h"
#include "kernels/kernel_lists.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/matmul_state.h"

namespace ruvllm {

namespace {

// Ranks that one task projects down: the kernel takes four at a time.
constexpr int32_t kRanksPerTask = 8;
// Columns of a row that one task projects up, at least and at most: the larger stay in the
// first-level cache while the terms pass by.
constexpr int64_t kLeastColumns = 256;
constexpr int64_t kMostColumns = 2048;
constexpr int64_t kTasksPerThread = 4;

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
  int32_t first_rank;
  int64_t low;  // of the first rank
};

int64_t rank_sum(const LoraArgs::Rows& group) {
  int64_t sum = 0;
  for (const LoraTerm& term : group.terms) sum += term.rank;
  return sum;
}
int64_t down_tasks(const LoraArgs::Rows& group) {
  int64_t sum = 0;
  for (const LoraTerm& term : group.terms) sum += rounded_up(term.rank, kRanksPerTask);
  return sum / kRanksPerTask;
}

size_t element_bytes(const LoraTerm& term) {
  return term.dtype == DType::kF32 ? sizeof(float) : sizeof(uint16_t);
}
const std::byte* at(const LoraTerm& term, const void* numbers, int64_t index) {
  return static_cast<const std::byte*>(numbers) + static_cast<size_t>(index) * element_bytes(term);
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
  void (*multiply)(const float*, float, float*, int64_t);
  const Entry* entries;
  const int32_t* entry_of;  // of every row of delta, -1: not adapted
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
    float* const out = low + task.low;
    const int32_t count = std::min(kRanksPerTask, term.rank - task.first_rank);
    const bool narrow = term.dtype == DType::kBF16;
    if (!args.ids.empty()) {
      const int64_t id = args.ids[static_cast<size_t>(entry.row)];
      const std::byte* a = at(term, term.a, id * term.rank + task.first_rank);
      for (int32_t j = 0; j < count; ++j) {
        out[j] = narrow ? bf16_to_f32(reinterpret_cast<const uint16_t*>(a)[j])
                        : reinterpret_cast<const float*>(a)[j];
      }
    } else {
      std::array<const void*, kRanksPerTask> rows;
      for (int32_t j = 0; j < count; ++j) {
        rows[static_cast<size_t>(j)] = at(term, term.a, (task.first_rank + j) * args.x.cols);
      }
      const kernels::FloatRowsArgs product = {rows.data(), count, x_of(task.entry), args.x.cols,
                                              out};
      (narrow ? dot.rows_bf16 : dot.rows_f32)(&product);
    }
    const float gate = term.gate < 0 ? 1.0f : group.gates.row(entry.row)[term.gate];
    multiply(out, term.scale * gate, out, count);
  }

  // delta = B low for columns [begin, end) of a row; what no term touches becomes -0.0.
  void project_up(int64_t row, int64_t begin, int64_t end) const {
    float* const delta = args.delta.row(row);
    std::fill(delta + begin, delta + end, -0.0f);
    if (entry_of[row] < 0) return;
    const Entry& entry = entries[entry_of[row]];
    const float* in = low + entry.first_low;
    for (const LoraTerm& term : args.groups[static_cast<size_t>(entry.group)].terms) {
      const int64_t first = std::max(begin, term.first_column) - term.first_column;
      const int64_t last = std::min(end - term.first_column, term.num_columns);
      for (int64_t n = first; n < last;) {  // panel by panel
        const int64_t next = std::min(last, (n / kLoraPanel + 1) * kLoraPanel);
        const kernels::FloatAddRowsArgs sum = {at(term, term.b, lora_panel_index(n, 0, term.rank)),
                                               kLoraPanel,
                                               in,
                                               term.rank,
                                               delta + term.first_column + n,
                                               next - n};
        (term.dtype == DType::kBF16 ? dot.add_rows_bf16 : dot.add_rows_f32)(&sum);
        n = next;
      }
      in += term.rank;
    }
  }
};

void CpuOps::lora_delta(const LoraArgs& args) {
  int64_t num_entries = 0;
  int64_t num_tasks = 0;
  int64_t num_low = 0;
  int64_t products = args.delta.rows * args.delta.cols / 16;
  for (const LoraArgs::Rows& group : args.groups) {
    const auto rows = static_cast<int64_t>(group.rows.size());
    num_entries += rows;
    num_tasks += rows * down_tasks(group);
    num_low += rows * rank_sum(group);
    for (const LoraTerm& term : group.terms) {
      RUVLLM_CHECK(term.first_column + term.num_columns <= args.delta.cols, term.first_column);
      products += rows * term.rank * (args.x.cols + term.num_columns);
    }
  }

  auto* entries = lora_entries_.get<Entry>(num_entries);
  auto* tasks = lora_tasks_.get<DownTask>(num_tasks);
  auto* entry_of = lora_entry_of_.get<int32_t>(args.delta.rows);
  std::fill_n(entry_of, args.delta.rows, -1);
  int32_t num_written = 0;
  DownTask* task = tasks;
  int64_t next_low = 0;
  for (size_t g = 0; g < args.groups.size(); ++g) {
    const LoraArgs::Rows& group = args.groups[g];
    for (const int32_t row : group.rows) {
      RUVLLM_CHECK(row >= 0 && row < args.delta.rows, row, " of ", args.delta.rows);
      RUVLLM_CHECK(entry_of[row] < 0, "row ", row, " in two groups");
      entry_of[row] = num_written;
      entries[num_written] = {row, static_cast<int32_t>(g), next_low};
      for (size_t i = 0; i < group.terms.size(); ++i) {
        const int32_t rank = group.terms[i].rank;
        for (int32_t j = 0; j < rank; j += kRanksPerTask) {
          *task++ = {num_written, static_cast<int32_t>(i), j, next_low + j};
        }
        next_low += rank;
      }
      ++num_written;
    }
  }

  LoraWork work = {args,
                   matmul_->float_dot,
                   kernels::elementwise_kernels(isa_).multiply,
                   entries,
                   entry_of,
                   tasks,
                   nullptr,
                   0,
                   lora_low_.get<float>(num_low)};
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
  const int64_t wanted = kTasksPerThread * pool_.num_threads();
  const int64_t columns =
      std::clamp(rounded_up(args.delta.rows * args.delta.cols / wanted, kLeastColumns),
                 kLeastColumns, kMostColumns);
  const int64_t blocks = (args.delta.cols + columns - 1) / columns;
  run(pool_, args.delta.rows * blocks, serial, [&](int64_t i) {
    const int64_t begin = i % blocks * columns;
    work.project_up(i / blocks, begin, std::min(begin + columns, args.delta.cols));
  });
}

}  // namespace ruvllm
