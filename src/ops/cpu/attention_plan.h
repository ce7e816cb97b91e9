// How one call of attention is cut into tasks: by cost, so that one long sequence beside many short
// ones keeps all threads busy, and so that a prefix which several sequences share is read once.
//
// Work comes in tiles: rows of one sequence that share a key head. A tile's keys come in segments
// whose states are merged in order (kernels/attention/attention.h), whoever computes them. So there
// are three kinds of tasks, and which of them a row goes through changes none of its bits:
//   whole tiles: all their segments, one after the other;
//   a segment of split tiles: whoever completes a tile merges its segments;
//   a segment of a share: rows of several sequences of one token whose block tables begin with the
//     same blocks. Shares run first; their states are what the tiles of those sequences begin with.
//
// A task of the first two kinds takes tiles that lie side by side, key heads of the same tokens,
// one after the other segment by segment. Their pages lie side by side, too, so that what the
// processor fetches beyond the end of one head's is what the same thread reads next.
//
// A plan lives in the memory of the ScratchBuffer that it was made in, until the next one.
#pragma once

#include <cstdint>
#include <span>

#include "ops/cpu/scratch_buffer.h"
#include "ops/ops.h"

namespace ruvllm::attention {

// Sequences members[first] ... members[first + count) have the segments [first_segment,
// end_segment) in common, and those of the parent before them.
struct Share {
  int32_t first;
  int32_t count;
  int32_t first_segment;
  int32_t end_segment;
  int32_t parent;  // -1: none; first_segment is 0
  int64_t first_task;
  int64_t first_float;  // of its partial states
};

struct SequenceWork {
  int32_t sequence = 0;         // of args.sequences
  int32_t share = -1;           // the last that it is part of, or -1
  int32_t member = 0;           // its place in Plan::members, if it is part of a share
  int32_t shared_segments = 0;  // segments that shares compute
  int32_t task_segments = 0;    // tasks of a tile: 0: one for all its segments; else one for each
  int32_t task_tiles = 1;       // tiles side by side in a task
  int32_t first_counter = 0;    // of its tiles, if they are split
  int64_t first_task = 0;
  int64_t first_float = 0;  // of its tiles' partial states, if they are split
  int64_t tile_cost = 0;    // of its dearest tile
};

struct Plan {
  const AttentionArgs* args = nullptr;
  int32_t group = 0;        // query heads of a key head
  int32_t part_heads = 0;   // of them in one tile
  int32_t parts = 0;        // tiles' worth of a group
  int32_t tile_tokens = 0;  // tokens in one tile
  int32_t max_rows = 0;     // of any task

  std::span<SequenceWork> work;  // the dearest tiles first
  std::span<Share> shares;
  int32_t* members = nullptr;
  int32_t* counters = nullptr;  // of split tiles: segments not yet computed
  int64_t num_share_tasks = 0;
  int64_t num_tasks = 0;
  int64_t partial_floats = 0;  // partial states of shares and split tiles
  int64_t cost = 0;            // keys times rows
};

// One tile, and the segments of it that are no share's.
struct Tile {
  const SequenceSpan* sequence;
  int64_t first_token;
  int32_t tokens;
  int32_t kv_head;
  int32_t first_head;
  int32_t heads;
  int64_t first_segment;
  int64_t end_segment;
  int32_t rows() const { return tokens * heads; }
};

// `count` tiles from number first_tile on, which all have the same segments: all of these, or of
// split tiles one. None: the tiles end before it.
struct TileTask {
  int64_t segment;
  int64_t first_tile;
  int32_t count;
};

// A tile's rows for one key head: of a segment of a share.
struct ShareTask {
  const Share* share;
  int64_t segment;
  int32_t kv_head;
  int32_t first_head;
  int32_t heads;
  int32_t first_member;  // counted from the share's first
  int32_t members;
};

// Of tiles of at most `kernel_rows` rows (AttentionKernels::rows; half where heads are wide).
Plan make_plan(const AttentionArgs& args, int num_threads, int32_t kernel_rows,
               ScratchBuffer& memory);
// Makes room for plans of so many sequences.
void reserve_plan(int64_t max_sequences, int num_threads, ScratchBuffer& memory);

// Whole tiles of one task at most.
constexpr int32_t kMaxTaskTiles = 16;

// Partial states of a plan never take more.
constexpr int64_t kMaxPartialFloats = int64_t{2} << 20;

int64_t num_tiles(const Plan& plan, const SequenceWork& work);
// The last tokens, which see most keys, come first.
Tile tile_at(const Plan& plan, const SequenceWork& work, int64_t index);
// Of the work's tiles; `task` is counted from its first.
TileTask tile_task_at(const Plan& plan, const SequenceWork& work, int64_t task);
int64_t num_tile_tasks(const Plan& plan, const SequenceWork& work);
ShareTask share_task_at(const Plan& plan, int64_t task);
const SequenceWork& work_of_task(const Plan& plan, int64_t task);
// Where the partial state of a share's segment begins; it has count * part_heads rows.
int64_t share_state_float(const Plan& plan, const Share& share, int64_t segment,
                          int64_t kv_head_part);
// Floats of a state of that many rows, and of those of a split sequence's tiles, in whole cache
// lines.
int64_t state_floats(const Plan& plan, int64_t rows);
int64_t split_state_floats(const Plan& plan, const SequenceWork& work);

}  // namespace ruvllm::attention
