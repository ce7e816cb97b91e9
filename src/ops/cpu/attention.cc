// Attention over the paged cache: runs the tasks of a plan (attention_plan.h) on the pool.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <limits>

#include "kernels/kernel_lists.h"
#include "ops/cpu/attention_plan.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/kv_pages.h"

namespace ruvllm {
namespace {

using attention::Plan;
using attention::SequenceWork;
using attention::Share;
using attention::ShareTask;
using attention::Tile;
using attention::TileTask;
using kernels::AttentionState;
using kernels::kKeySegment;

// Keys times rows below which one thread is faster than several (about 5 us).
constexpr int64_t kSerialCost = 2048;

kernels::KvFormat kv_format(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return kernels::KvFormat::kF32;
    case DType::kBF16:
      return kernels::KvFormat::kBf16;
    case DType::kF16:
      return kernels::KvFormat::kF16;
    default:
      return kernels::KvFormat::kInt8;
  }
}

// Rows of one key head: tokens of one sequence, or of several that share the keys.
struct Rows {
  const float* q[kernels::kMaxAttentionRows];
  int64_t positions[kernels::kMaxAttentionRows];
  int32_t tokens = 0;

  void add(const AttentionArgs& args, const SequenceSpan& sequence, int64_t token,
           int32_t first_head) {
    q[tokens] = args.q.row(sequence.first_row + token) + int64_t{first_head} * args.kv.head_dim;
    positions[tokens++] = sequence.first_position + token;
  }
};

// A key head's segment, of the same sequence: what a thread will probably read next.
struct Next {
  int32_t kv_head;
  int64_t segment;
};

// Runs one call of attention.
class Runner {
 public:
  Runner(const Plan& plan, const kernels::AttentionKernels& kernels, int num_threads, float* memory)
      : plan_(plan),
        args_(*plan.args),
        kernels_(kernels),
        num_threads_(num_threads),
        partials_(memory) {
    state_floats_ = attention::state_floats(plan, plan.max_rows);
    workers_ = memory + plan.partial_floats;
  }

  static int64_t worker_floats(int64_t state_floats, int32_t rows, int32_t head_dim) {
    return 2 * state_floats + kernels::attention_scratch_floats(rows, head_dim);
  }

  void run_share(int64_t number, int worker) {
    const ShareTask task = attention::share_task_at(plan_, number);
    Rows rows;
    const int32_t* members = plan_.members + task.share->first + task.first_member;
    for (int32_t i = 0; i < task.members; ++i) {
      rows.add(args_, sequence(members[i]), 0, task.first_head);
    }
    attend(rows, sequence(members[0]), task.kv_head, task.heads, task.segment, nullptr,
           share_state(*task.share, task.segment, task.first_head, task.heads, task.first_member),
           scratch(worker));
  }

  void run(int64_t number, int worker) {
    const SequenceWork& work = attention::work_of_task(plan_, number);
    const int64_t task = number - work.first_task;
    const TileTask tiles = tile_task_at(plan_, work, task);
    if (work.task_segments == 0) return whole_tiles(work, tiles, worker);
    const TileTask after = task_after(work, task);
    for (int64_t i = tiles.first_tile; i < tiles.first_tile + tiles.count; ++i) {
      const bool last = i + 1 == tiles.first_tile + tiles.count;
      const Tile coming = tile_at(plan_, work, last ? after.first_tile : i + 1);
      const Next next = {coming.kv_head, last ? after.segment : tiles.segment};
      split_segment(work, i, tiles.segment, last && after.count == 0 ? nullptr : &next, worker);
    }
  }

 private:
  const SequenceSpan& sequence(int32_t index) const {
    return args_.sequences[static_cast<size_t>(index)];
  }
  float* worker_memory(int worker) const {
    return workers_ + worker * worker_floats(state_floats_, plan_.max_rows, args_.kv.head_dim);
  }
  float* scratch(int worker) const { return worker_memory(worker) + 2 * state_floats_; }

  // A state of `rows` rows in memory, from row `first` on.
  AttentionState state_at(float* memory, int64_t rows, int64_t first = 0) const {
    const int64_t stride = kernels::attention_stride(args_.kv.head_dim);
    float* max = memory + rows * stride;
    return {memory + first * stride, max + first, max + rows + first};
  }
  // `heads` rows for each of the members, from `member` on.
  AttentionState share_state(const Share& share, int64_t segment, int32_t first_head, int32_t heads,
                             int64_t member) const {
    const int64_t part = first_head % plan_.group / plan_.part_heads;
    const int64_t kv_head_part = first_head / plan_.group * plan_.parts + part;
    float* memory = partials_ + attention::share_state_float(plan_, share, segment, kv_head_part);
    return state_at(memory, int64_t{share.count} * heads, member * heads);
  }
  AttentionState split_state(const SequenceWork& work, int64_t index, const Tile& tile,
                             int64_t segment) const {
    const int64_t slot = index * work.task_segments + (segment - tile.first_segment);
    const int64_t first = work.first_float + slot * attention::split_state_floats(plan_, work);
    return state_at(partials_ + first, tile.rows());
  }

  // The task that a thread takes after this one, as long as all take as long: where that is wrong,
  // another thread finds the lines in a cache instead of memory.
  TileTask task_after(const SequenceWork& work, int64_t task) const {
    const int64_t after = task + num_threads_;
    if (after >= num_tile_tasks(plan_, work)) return {};
    return tile_task_at(plan_, work, after);
  }

  bool find_pages_ahead(const SequenceSpan& sequence, const Next& next, const void** pages) const;
  // `next` may be null.
  void attend(const Rows& rows, const SequenceSpan& sequence, int32_t kv_head, int32_t heads,
              int64_t segment, const Next* next, const AttentionState& state, float* scratch) const;
  void attend_tile(const Tile& tile, int64_t segment, const Next* next, const AttentionState& state,
                   float* scratch) const {
    Rows rows;
    for (int32_t t = 0; t < tile.tokens; ++t) {
      rows.add(args_, *tile.sequence, tile.first_token + t, tile.first_head);
    }
    attend(rows, *tile.sequence, tile.kv_head, tile.heads, segment, next, state, scratch);
  }

  // state = all that the share and its parents computed for the sequence, in order.
  void merge_share(int32_t index, const SequenceWork& work, const Tile& tile,
                   const AttentionState& state) const {
    const Share& share = plan_.shares[static_cast<size_t>(index)];
    if (share.parent >= 0) merge_share(share.parent, work, tile, state);
    for (int64_t i = share.first_segment; i < share.end_segment; ++i) {
      kernels_.merge(state,
                     share_state(share, i, tile.first_head, tile.heads, work.member - share.first),
                     tile.rows(), args_.kv.head_dim);
    }
  }
  // What a tile begins with: nothing, or what its shares have.
  void begin_tile(const SequenceWork& work, const Tile& tile, const AttentionState& state) const {
    const int64_t rows = tile.rows();
    std::fill_n(state.max, rows, -std::numeric_limits<float>::infinity());
    std::fill_n(state.sum, rows, 0.0f);
    std::fill_n(state.out, rows * kernels::attention_stride(args_.kv.head_dim), 0.0f);
    if (work.share >= 0) merge_share(work.share, work, tile, state);
  }
  void finish_tile(const Tile& tile, const AttentionState& state) const {
    float* out = args_.out.row(tile.sequence->first_row + tile.first_token) +
                 int64_t{tile.first_head} * args_.kv.head_dim;
    kernels_.finish(state, tile.tokens, tile.heads, args_.kv.head_dim, out, args_.out.row_stride);
  }

  // All segments of tiles side by side, one after the other.
  void whole_tiles(const SequenceWork& work, const TileTask& task, int worker) const {
    Tile tiles[attention::kMaxTaskTiles];
    AttentionState states[attention::kMaxTaskTiles];
    const int64_t floats = task.count == 1 ? 0 : split_state_floats(plan_, work);
    for (int32_t i = 0; i < task.count; ++i) {
      tiles[i] = tile_at(plan_, work, task.first_tile + i);
      states[i] = state_at(worker_memory(worker) + i * floats, tiles[i].rows());
      if (work.share >= 0) begin_tile(work, tiles[i], states[i]);
    }
    const int64_t first = tiles[0].first_segment;
    const int64_t end = tiles[0].end_segment;
    for (int64_t segment = first; segment < end; ++segment) {
      for (int32_t i = 0; i < task.count; ++i) {
        const bool last = i + 1 == task.count;
        const Next next = {tiles[last ? 0 : i + 1].kv_head, last ? segment + 1 : segment};
        const bool is_first = segment == first && work.share < 0;
        const AttentionState more =
            state_at(worker_memory(worker) + state_floats_, tiles[i].rows());
        attend_tile(tiles[i], segment, next.segment < end ? &next : nullptr,
                    is_first ? states[i] : more, scratch(worker));
        if (!is_first) kernels_.merge(states[i], more, tiles[i].rows(), args_.kv.head_dim);
      }
    }
    for (int32_t i = 0; i < task.count; ++i) finish_tile(tiles[i], states[i]);
  }

  // One segment of a split tile.
  void split_segment(const SequenceWork& work, int64_t index, int64_t segment, const Next* next,
                     int worker) const {
    const Tile tile = tile_at(plan_, work, index);
    attend_tile(tile, segment, next, split_state(work, index, tile, segment), scratch(worker));
    std::atomic_ref<int32_t> left(plan_.counters[work.first_counter + index]);
    if (left.fetch_sub(1, std::memory_order_acq_rel) == 1) finish_split(work, index, tile, worker);
  }

  void finish_split(const SequenceWork& work, int64_t index, const Tile& tile, int worker) const {
    const AttentionState state = state_at(worker_memory(worker), tile.rows());
    begin_tile(work, tile, state);
    for (int64_t i = tile.first_segment; i < tile.end_segment; ++i) {
      kernels_.merge(state, split_state(work, index, tile, i), tile.rows(), args_.kv.head_dim);
    }
    finish_tile(tile, state);
  }

  const Plan& plan_;
  const AttentionArgs& args_;
  const kernels::AttentionKernels& kernels_;
  int num_threads_;
  float* partials_;
  float* workers_;
  int64_t state_floats_;  // of a worker's state
};

// The pages of the first keys of a segment, where pages divide segments and hold whole groups of
// keys; beyond the sequence's last the last again. False: they cannot be told.
bool Runner::find_pages_ahead(const SequenceSpan& sequence, const Next& next,
                              const void** pages) const {
  const KvLayerView& kv = args_.kv;
  const int32_t page_tokens = kv.block_tokens;
  if (page_tokens % kernels::kKeyGroup != 0 || kKeySegment % page_tokens != 0) return false;
  // Those that the window has left behind may be gone.
  if (args_.window > 0 && next.segment * kKeySegment <= sequence.first_position - args_.window) {
    return false;
  }
  const int64_t last = sequence.first_position + sequence.num_tokens - 1;
  for (int32_t key = 0; key < kernels::kKeysAhead; key += page_tokens) {
    const int64_t position = std::min(next.segment * kKeySegment + key, last);
    pages[key / page_tokens] =
        kv_head_page(kv, kv.k_offset_bytes, sequence.block_table, position, next.kv_head);
  }
  return true;
}

void Runner::attend(const Rows& rows, const SequenceSpan& sequence, int32_t kv_head, int32_t heads,
                    int64_t segment, const Next* next, const AttentionState& state,
                    float* scratch) const {
  const KvLayerView& kv = args_.kv;
  kernels::AttentionSegment work = {};
  work.q = rows.q;
  work.positions = rows.positions;
  work.tokens = rows.tokens;
  work.group = heads;
  work.head_dim = kv.head_dim;
  work.page_tokens = kv.block_tokens;
  work.format = kv_format(kv.dtype);
  work.key_begin = segment * kKeySegment;
  // In a share every row sees the whole segment.
  work.key_end = std::min(work.key_begin + kKeySegment, rows.positions[rows.tokens - 1] + 1);
  work.window = args_.window;
  work.scale = args_.scale;
  work.softcap = args_.softcap;
  work.state = state;
  work.scratch = scratch;

  // Pages that the window has left behind may be gone: their table entries are not read.
  const int64_t oldest =
      args_.window > 0 ? std::max<int64_t>(rows.positions[0] - args_.window + 1, 0) : 0;
  const void* k_pages[kKeySegment + 1];
  const void* v_pages[kKeySegment + 1];
  int64_t page_begin = work.key_begin / kv.block_tokens * kv.block_tokens;
  for (int i = 0; page_begin < work.key_end; ++i, page_begin += kv.block_tokens) {
    if (page_begin + kv.block_tokens <= oldest) continue;
    k_pages[i] = kv_head_page(kv, kv.k_offset_bytes, sequence.block_table, page_begin, kv_head);
    v_pages[i] = kv_head_page(kv, kv.v_offset_bytes, sequence.block_table, page_begin, kv_head);
  }
  work.k_pages = k_pages;
  work.v_pages = v_pages;
  const void* next_k_pages[kernels::kKeysAhead + 1];
  if (next != nullptr && find_pages_ahead(sequence, *next, next_k_pages)) {
    work.next_k_pages = next_k_pages;
  }
  kernels_.attend(work);
}

}  // namespace

void CpuOps::reserve_attention(const StepLimits& limits) {
  // Heads are at most 256 wide in every family we know; a wider one grows the scratch once.
  constexpr int32_t kWideHead = 256;
  // Of all formats a bf16 cache has the tallest tiles.
  const int32_t rows = kernels::attention_kernels(isa_, kernels::KvFormat::kBf16).rows;
  const int64_t worker = Runner::worker_floats(
      (kernels::attention_state_floats(rows, kWideHead) + 15) / 16 * 16, rows, kWideHead);
  // Partial states belong to contexts of more than a segment. Memory not used is not touched.
  const int64_t partials = limits.max_context > kKeySegment ? attention::kMaxPartialFloats : 0;
  attention_scratch_.get<float>(pool_.num_threads() * worker + partials);
  attention::reserve_plan(limits.max_rows, pool_.num_threads(), attention_plan_);
}

void CpuOps::attention(const AttentionArgs& args) {
  check_kv(args.kv, args.sequences, args.q.rows);
  const KvLayerView& kv = args.kv;
  RUVLLM_CHECK(args.num_heads > 0 && args.num_heads % kv.num_kv_heads == 0, args.num_heads);
  RUVLLM_CHECK(args.q.cols == int64_t{args.num_heads} * kv.head_dim &&
                   args.out.cols == args.q.cols && args.out.rows == args.q.rows,
               args.q.cols, " ", args.out.cols);
  RUVLLM_CHECK(args.scale > 0.0f, args.scale);
  const int num_threads = pool_.num_threads();
  const kernels::AttentionKernels& kernels = kernels::attention_kernels(isa_, kv_format(kv.dtype));
  const Plan plan = attention::make_plan(args, num_threads, kernels.rows, attention_plan_);
  if (plan.num_tasks == 0) return;
  const int64_t worker = Runner::worker_floats(attention::state_floats(plan, plan.max_rows),
                                               plan.max_rows, kv.head_dim);
  float* memory = attention_scratch_.get<float>(plan.partial_floats + num_threads * worker);
  Runner runner(plan, kernels, num_threads, memory);
  pool_.parallel_for(plan.num_share_tasks,
                     [&](int64_t task, int thread) { runner.run_share(task, thread); });
  if (plan.cost <= kSerialCost) {
    for (int64_t task = 0; task < plan.num_tasks; ++task) runner.run(task, 0);
  } else {
    pool_.parallel_shares(plan.num_tasks, num_threads,
                          [&](int64_t task, int thread) { runner.run(task, thread); });
  }
}

}  // namespace ruvllm
