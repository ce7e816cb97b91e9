// Attention over the paged cache: work is cut into tiles of query rows that share a key head, and,
// where few tiles would leave threads idle (decode), each tile into its key segments. Both ways run
// the same kernels over the same segments in the same order, so they agree bit for bit.
#include <algorithm>
#include <cstddef>

#include "kernels/kernel_lists.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/kv_pages.h"

namespace ruvllm {
namespace {

using kernels::AttentionState;
using kernels::kKeySegment;

// Partial results of segments kept between the two phases: at most 8 MiB.
constexpr int64_t kMaxPartialFloats = int64_t{2} << 20;

// Rows of a tile: enough to use each key many times, few enough that scores and sums stay in L2.
int32_t max_tile_rows(int32_t head_dim) {
  return head_dim <= 128 ? kernels::kMaxAttentionRows : kernels::kMaxAttentionRows / 2;
}

// Rounded up to cache lines of 16 floats: vector loads that cross lines cost a fifth of the speed.
constexpr int64_t whole_lines(int64_t floats) {
  return (floats + 15) / 16 * 16;
}

// What does not depend on the sequence.
struct Plan {
  const AttentionArgs* args;
  const kernels::AttentionKernels* kernels;
  int32_t group;          // query heads of a key head
  int32_t part_heads;     // of them in one tile
  int32_t parts;          // tiles' worth of a group
  int32_t tile_tokens;    // tokens in one tile
  int32_t max_segments;   // of any tile
  int64_t state_floats;   // of one AttentionState of a full tile
  int64_t worker_floats;  // two states and the kernel's scratch
};

// One tile: rows of one sequence and one key head.
struct Tile {
  const SequenceSpan* sequence;
  int64_t first_token;
  int32_t tokens;
  int32_t kv_head;
  int32_t first_head;
  int32_t heads;
  int64_t first_segment;  // segments with keys that any row sees
  int64_t end_segment;
};

// The first position that a row at `position` sees.
int64_t oldest_key(const AttentionArgs& args, int64_t position) {
  return args.window > 0 ? std::max<int64_t>(position - args.window + 1, 0) : 0;
}

int64_t tiles_of(const Plan& plan, const SequenceSpan& sequence) {
  const int64_t rows = (sequence.num_tokens + plan.tile_tokens - 1) / plan.tile_tokens;
  return rows * plan.args->kv.num_kv_heads * plan.parts;
}

// The i-th tile of a sequence. The last tokens, which see most keys, come first.
Tile tile_at(const Plan& plan, const SequenceSpan& sequence, int64_t i) {
  const int64_t per_row = int64_t{plan.args->kv.num_kv_heads} * plan.parts;
  const int64_t token_tiles = tiles_of(plan, sequence) / per_row;
  const int64_t token_tile = token_tiles - 1 - i / per_row;
  const auto part = static_cast<int32_t>(i % plan.parts);
  Tile tile = {};
  tile.sequence = &sequence;
  tile.first_token = token_tile * plan.tile_tokens;
  tile.tokens = static_cast<int32_t>(
      std::min<int64_t>(plan.tile_tokens, sequence.num_tokens - tile.first_token));
  tile.kv_head = static_cast<int32_t>(i % per_row / plan.parts);
  tile.first_head = tile.kv_head * plan.group + part * plan.part_heads;
  tile.heads = std::min(plan.part_heads, plan.group - part * plan.part_heads);
  const int64_t first_position = sequence.first_position + tile.first_token;
  tile.first_segment = oldest_key(*plan.args, first_position) / kKeySegment;
  tile.end_segment = (first_position + tile.tokens - 1) / kKeySegment + 1;
  return tile;
}

AttentionState state_at(const Plan& plan, float* memory, int32_t rows) {
  float* max = memory + rows * kernels::attention_stride(plan.args->kv.head_dim);
  return {memory, max, max + rows};
}

void attend_segment(const Plan& plan, const Tile& tile, int64_t segment,
                    const AttentionState& state, float* scratch) {
  const AttentionArgs& args = *plan.args;
  const KvLayerView& kv = args.kv;
  const SequenceSpan& sequence = *tile.sequence;
  kernels::AttentionSegment work = {};
  work.q =
      args.q.row(sequence.first_row + tile.first_token) + int64_t{tile.first_head} * kv.head_dim;
  work.q_token_stride = args.q.row_stride;
  work.tokens = tile.tokens;
  work.group = tile.heads;
  work.head_dim = kv.head_dim;
  work.first_position = sequence.first_position + tile.first_token;
  work.page_tokens = kv.block_tokens;
  work.format = kv.dtype == DType::kF32    ? kernels::KvFormat::kF32
                : kv.dtype == DType::kBF16 ? kernels::KvFormat::kBf16
                                           : kernels::KvFormat::kF16;
  work.key_begin = segment * kKeySegment;
  work.key_end = std::min(work.key_begin + kKeySegment, work.first_position + tile.tokens);
  work.window = args.window;
  work.scale = args.scale;
  work.softcap = args.softcap;
  work.state = state;
  work.scratch = scratch;

  // Pages that the window has left behind may be gone: their table entries are not read.
  const int64_t oldest = oldest_key(args, work.first_position);
  const void* k_pages[kKeySegment + 1];
  const void* v_pages[kKeySegment + 1];
  int64_t page_begin = work.key_begin / kv.block_tokens * kv.block_tokens;
  for (int i = 0; page_begin < work.key_end; ++i, page_begin += kv.block_tokens) {
    if (page_begin + kv.block_tokens <= oldest) continue;
    k_pages[i] = kv_head_page(kv, kv.k_offset_bytes, sequence, page_begin, tile.kv_head);
    v_pages[i] = kv_head_page(kv, kv.v_offset_bytes, sequence, page_begin, tile.kv_head);
  }
  work.k_pages = k_pages;
  work.v_pages = v_pages;
  plan.kernels->attend(work);
}

void finish_tile(const Plan& plan, const Tile& tile, const AttentionState& state) {
  const AttentionArgs& args = *plan.args;
  float* out = args.out.row(tile.sequence->first_row + tile.first_token) +
               int64_t{tile.first_head} * args.kv.head_dim;
  plan.kernels->finish(state, tile.tokens, tile.heads, args.kv.head_dim, out, args.out.row_stride);
}

// All segments of a tile, one after the other.
void whole_tile(const Plan& plan, const Tile& tile, float* memory) {
  const int32_t rows = tile.tokens * tile.heads;
  const AttentionState state = state_at(plan, memory, rows);
  const AttentionState next = state_at(plan, memory + plan.state_floats, rows);
  float* scratch = memory + 2 * plan.state_floats;
  attend_segment(plan, tile, tile.first_segment, state, scratch);
  for (int64_t i = tile.first_segment + 1; i < tile.end_segment; ++i) {
    attend_segment(plan, tile, i, next, scratch);
    plan.kernels->merge(state, next, rows, plan.args->kv.head_dim);
  }
  finish_tile(plan, tile, state);
}

Plan make_plan(const AttentionArgs& args, kernels::IsaLevel isa) {
  const KvLayerView& kv = args.kv;
  Plan plan = {};
  plan.args = &args;
  plan.kernels = &kernels::attention_kernels(isa);
  const int32_t max_rows = max_tile_rows(kv.head_dim);
  plan.group = args.num_heads / kv.num_kv_heads;
  plan.parts = (plan.group + max_rows - 1) / max_rows;
  plan.part_heads = (plan.group + plan.parts - 1) / plan.parts;
  plan.tile_tokens = max_rows / plan.part_heads;
  int64_t tile_rows = 0;
  for (const SequenceSpan& sequence : args.sequences) {
    const int64_t tokens = std::min<int64_t>(plan.tile_tokens, sequence.num_tokens);
    tile_rows = std::max(tile_rows, tokens * plan.part_heads);
    if (tokens == 0) continue;
    // No tile sees beyond the last, nor more keys than its tokens and a window before them.
    int64_t segments = tile_at(plan, sequence, 0).end_segment;
    if (args.window > 0) {
      segments = std::min(segments, (int64_t{args.window} + tokens) / kKeySegment + 2);
    }
    plan.max_segments = std::max(plan.max_segments, static_cast<int32_t>(segments));
  }
  const auto rows = static_cast<int32_t>(tile_rows);
  plan.state_floats = whole_lines(kernels::attention_state_floats(rows, kv.head_dim));
  plan.worker_floats = 2 * plan.state_floats + kernels::attention_scratch_floats(rows, kv.head_dim);
  return plan;
}

// The tile with that number, counted through all sequences.
Tile find_tile(const Plan& plan, const int64_t* first_tiles, int64_t number) {
  const size_t count = plan.args->sequences.size();
  const int64_t* after = std::upper_bound(first_tiles, first_tiles + count, number);
  const auto index = static_cast<size_t>(after - first_tiles) - 1;
  return tile_at(plan, plan.args->sequences[index], number - first_tiles[index]);
}

}  // namespace

void CpuOps::reserve_attention(const StepLimits& limits) {
  // Heads are at most 256 wide in every family we know; a wider one grows the scratch once.
  constexpr int32_t kWideHead = 256;
  const int64_t state =
      whole_lines(kernels::attention_state_floats(kernels::kMaxAttentionRows, kWideHead));
  const int64_t worker =
      2 * state + kernels::attention_scratch_floats(kernels::kMaxAttentionRows, kWideHead);
  const int64_t segments = limits.max_context / kKeySegment + 1;
  const int64_t partials = std::min(kMaxPartialFloats, 4 * pool_.num_threads() * segments * state);
  attention_scratch_.get<float>(whole_lines(2 * limits.max_rows) + pool_.num_threads() * worker +
                                partials);
}

void CpuOps::attention(const AttentionArgs& args) {
  check_kv(args.kv, args.sequences, args.q.rows);
  const KvLayerView& kv = args.kv;
  RUVLLM_CHECK(args.num_heads > 0 && args.num_heads % kv.num_kv_heads == 0, args.num_heads);
  RUVLLM_CHECK(args.q.cols == int64_t{args.num_heads} * kv.head_dim &&
                   args.out.cols == args.q.cols && args.out.rows == args.q.rows,
               args.q.cols, " ", args.out.cols);
  RUVLLM_CHECK(args.scale > 0.0f, args.scale);
  const Plan plan = make_plan(args, isa_);
  if (plan.max_segments == 0) return;

  const auto num_sequences = static_cast<int64_t>(args.sequences.size());
  const int64_t num_threads = pool_.num_threads();
  int64_t num_tiles = 0;
  for (const SequenceSpan& sequence : args.sequences) num_tiles += tiles_of(plan, sequence);
  const int64_t partial_floats = num_tiles * plan.max_segments * plan.state_floats;
  const bool by_segment = num_threads > 1 && plan.max_segments > 1 && num_tiles < 4 * num_threads &&
                          partial_floats <= kMaxPartialFloats;

  // [sequences] int64, then per worker states and scratch, then the partial states.
  const int64_t index_floats = whole_lines(2 * num_sequences);
  float* memory = attention_scratch_.get<float>(index_floats + num_threads * plan.worker_floats +
                                                (by_segment ? partial_floats : 0));
  auto* first_tiles = reinterpret_cast<int64_t*>(memory);
  float* workers = memory + index_floats;
  float* partials = workers + num_threads * plan.worker_floats;
  int64_t next_tile = 0;
  for (int64_t i = 0; i < num_sequences; ++i) {
    first_tiles[i] = next_tile;
    next_tile += tiles_of(plan, args.sequences[static_cast<size_t>(i)]);
  }

  if (!by_segment) {
    pool_.parallel_for(num_tiles, [&](int64_t number, int worker) {
      whole_tile(plan, find_tile(plan, first_tiles, number), workers + worker * plan.worker_floats);
    });
    return;
  }
  const auto partial_state = [&](const Tile& tile, int64_t number, int64_t segment) {
    const int64_t slot = number * plan.max_segments + (segment - tile.first_segment);
    return state_at(plan, partials + slot * plan.state_floats, tile.tokens * tile.heads);
  };
  pool_.parallel_for(num_tiles * plan.max_segments, [&](int64_t task, int worker) {
    const int64_t number = task / plan.max_segments;
    const Tile tile = find_tile(plan, first_tiles, number);
    const int64_t segment = tile.first_segment + task % plan.max_segments;
    if (segment >= tile.end_segment) return;
    attend_segment(plan, tile, segment, partial_state(tile, number, segment),
                   workers + worker * plan.worker_floats + 2 * plan.state_floats);
  });
  pool_.parallel_for(num_tiles, [&](int64_t number, int) {
    const Tile tile = find_tile(plan, first_tiles, number);
    const AttentionState state = partial_state(tile, number, tile.first_segment);
    for (int64_t i = tile.first_segment + 1; i < tile.end_segment; ++i) {
      plan.kernels->merge(state, partial_state(tile, number, i), tile.tokens * tile.heads,
                          kv.head_dim);
    }
    finish_tile(plan, tile, state);
  });
}

}  // namespace ruvllm
