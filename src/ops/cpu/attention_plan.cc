#include "ops/cpu/attention_plan.h"

#include <algorithm>
#include <cstring>

#include "kernels/attention/attention.h"

namespace ruvllm::attention {
namespace {

using kernels::kKeySegment;

// Shares within shares; prompts that fork more often share less.
constexpr int kMaxShareLevels = 4;
// A tile of fewer rows takes as long as one of these: its keys have to come from memory.
constexpr int64_t kCheapRows = 8;
// Tiles above this part of a thread's work are split, and tasks of several tiles stay below it.
constexpr int64_t kTasksPerThread = 4;

// Rows of a tile: kernel_rows, or fewer where threads would not have several tiles each, but not
// below kFewRows for that; half where heads are wide.
constexpr int32_t kFewRows = 64;
int32_t max_tile_rows(const AttentionArgs& args, int num_threads, int32_t kernel_rows) {
  int32_t rows = kernel_rows;
  int64_t tokens = 0;
  for (const SequenceSpan& s : args.sequences) tokens += s.num_tokens;
  while (rows > kFewRows && tokens * args.num_heads / rows < kTasksPerThread * num_threads) {
    rows /= 2;
  }
  return args.kv.head_dim <= 128 ? rows : rows / 2;
}

int32_t max_split_tiles(int num_threads) {
  return static_cast<int32_t>(4 * kTasksPerThread * num_threads);
}

int64_t plan_bytes(int64_t sequences, int num_threads) {
  const auto each =
      static_cast<int64_t>(sizeof(SequenceWork) + 2 * sizeof(Share) + 4 * sizeof(int32_t));
  return sequences * each + max_split_tiles(num_threads) * int64_t{sizeof(int32_t)} + 64;
}

// The first position that a row at `position` sees.
int64_t oldest_key(const AttentionArgs& args, int64_t position) {
  return args.window > 0 ? std::max<int64_t>(position - args.window + 1, 0) : 0;
}

// Finds the shares: sorts sequences by their block tables, so that those with a common beginning
// stand side by side, and descends from the beginnings of all to those of few.
class ShareFinder {
 public:
  ShareFinder(Plan& plan, Share* shares, int32_t* common)
      : plan_(plan), shares_(shares), common_(common) {}

  void run() {
    const AttentionArgs& args = *plan_.args;
    if (!args.share_prefixes || plan_.tile_tokens < 2) return;
    for (size_t i = 0; i < args.sequences.size(); ++i) {
      if (may_share(args.sequences[i])) plan_.members[count_++] = static_cast<int32_t>(i);
    }
    if (count_ < 2) return;
    std::sort(plan_.members, plan_.members + count_,
              [this](int32_t a, int32_t b) { return compare(a, b) < 0; });
    for (int32_t i = 1; i < count_; ++i) {
      common_[i] = common_segments(plan_.members[i - 1], plan_.members[i]);
    }
    descend(0, count_, 0, -1, 0);
    plan_.shares = {shares_, static_cast<size_t>(num_shares_)};
  }

 private:
  const SequenceSpan& sequence(int32_t i) const {
    return plan_.args->sequences[static_cast<size_t>(i)];
  }
  bool may_share(const SequenceSpan& s) const {
    return s.num_tokens == 1 && s.first_position >= kKeySegment &&
           oldest_key(*plan_.args, s.first_position) == 0;
  }
  int64_t full_blocks(const SequenceSpan& s) const {
    return s.first_position / plan_.args->kv.block_tokens;
  }
  // Any fixed order of tables will do.
  int64_t compare(int32_t a, int32_t b) const {
    const SequenceSpan& x = sequence(a);
    const SequenceSpan& y = sequence(b);
    const int64_t blocks = std::min(full_blocks(x), full_blocks(y));
    if (blocks > 0 && x.block_table[0] != y.block_table[0]) {
      return int64_t{x.block_table[0]} - y.block_table[0];
    }
    const int order = std::memcmp(x.block_table.data(), y.block_table.data(),
                                  static_cast<size_t>(blocks) * sizeof(int32_t));
    if (order != 0) return order;
    const int64_t longer = full_blocks(x) - full_blocks(y);
    return longer != 0 ? longer : a - b;
  }
  int32_t common_segments(int32_t a, int32_t b) const {
    const SequenceSpan& x = sequence(a);
    const SequenceSpan& y = sequence(b);
    const int64_t blocks = std::min(full_blocks(x), full_blocks(y));
    int64_t same = 0;
    while (same < blocks &&
           x.block_table[static_cast<size_t>(same)] == y.block_table[static_cast<size_t>(same)]) {
      ++same;
    }
    return static_cast<int32_t>(same * plan_.args->kv.block_tokens / kKeySegment);
  }

  // Members [first, first + count) have `segments` segments in common, which `parent` computes.
  void descend(int32_t first, int32_t count, int32_t segments, int32_t parent, int level) {
    int32_t common = common_[first + 1];
    for (int32_t i = first + 2; i < first + count; ++i) common = std::min(common, common_[i]);
    if (common > segments) {
      if (!add(first, count, segments, common, parent)) return;
      parent = num_shares_ - 1;
      ++level;
    }
    if (level == kMaxShareLevels) return;
    for (int32_t begin = first; begin < first + count;) {
      int32_t end = begin + 1;
      while (end < first + count && common_[end] > common) ++end;
      if (end - begin > 1) descend(begin, end - begin, common, parent, level);
      begin = end;
    }
  }

  // False: there was no room for all of it.
  bool add(int32_t first, int32_t count, int32_t begin, int32_t end, int32_t parent) {
    const int64_t segment_floats = plan_.args->kv.num_kv_heads * plan_.parts *
                                   state_floats(plan_, int64_t{count} * plan_.part_heads);
    const int64_t room = (kMaxPartialFloats - plan_.partial_floats) / segment_floats;
    const bool fits = end - begin <= room;
    if (!fits) end = begin + static_cast<int32_t>(room);
    if (end == begin) return false;
    Share& share = shares_[num_shares_++];
    share = {.first = first,
             .count = count,
             .first_segment = begin,
             .end_segment = end,
             .parent = parent,
             .first_task = plan_.num_share_tasks,
             .first_float = plan_.partial_floats};
    const int32_t tile_members = plan_.max_rows / plan_.part_heads;
    plan_.num_share_tasks += int64_t{end - begin} * plan_.args->kv.num_kv_heads * plan_.parts *
                             ((count + tile_members - 1) / tile_members);
    plan_.partial_floats += (end - begin) * segment_floats;
    return fits;
  }

  Plan& plan_;
  Share* shares_;
  int32_t* common_;  // [members]: segments in common with the member before
  int32_t count_ = 0;
  int32_t num_shares_ = 0;
};

// What a sequence's tiles cost; the dearest, and all of them.
void add_cost(Plan& plan, SequenceWork& work) {
  const SequenceSpan& sequence = plan.args->sequences[static_cast<size_t>(work.sequence)];
  const int64_t tokens = std::min<int64_t>(sequence.num_tokens, plan.tile_tokens);
  const int64_t rows = std::max<int64_t>(tokens * plan.part_heads, kCheapRows);
  const auto keys = [&](int64_t position) {
    const int64_t first = std::max<int64_t>(oldest_key(*plan.args, position),
                                            int64_t{work.shared_segments} * kKeySegment);
    return position + 1 - first;
  };
  work.tile_cost = rows * keys(sequence.first_position + sequence.num_tokens - 1);
  plan.cost +=
      num_tiles(plan, work) * rows * keys(sequence.first_position + sequence.num_tokens / 2);
}

// The most segments that a tile of the sequence has for itself.
int64_t most_segments(const Plan& plan, const SequenceWork& work) {
  const Tile last = tile_at(plan, work, 0);
  if (plan.args->window == 0) return last.end_segment - last.first_segment;
  return std::min(last.end_segment,
                  (int64_t{plan.args->window} + plan.tile_tokens) / kKeySegment + 2);
}

// Tiles of the same tokens: of all key heads.
int64_t tiles_side_by_side(const Plan& plan) {
  return int64_t{plan.args->kv.num_kv_heads} * plan.parts;
}

// How many tasks tiles side by side are, or each of their segments.
int64_t task_groups(const Plan& plan, const SequenceWork& work) {
  return (tiles_side_by_side(plan) + work.task_tiles - 1) / work.task_tiles;
}

// Tiles side by side that go together if each task may take `most`, evenly.
int32_t tiles_together(const Plan& plan, int64_t most) {
  const int64_t all = tiles_side_by_side(plan);
  const int64_t groups = (all + most - 1) / std::max<int64_t>(most, 1);
  return most <= 1 ? 1 : static_cast<int32_t>((all + groups - 1) / groups);
}

// How many tiles a task may take that has the `parts`-th part of each.
int64_t affordable_tiles(const Plan& plan, const SequenceWork& work, int64_t parts,
                         int num_threads) {
  return plan.cost * parts / std::max<int64_t>(work.tile_cost * kTasksPerThread * num_threads, 1);
}

// Whole tiles of one token go together as far as a worker has room for their states.
void join_tiles(const Plan& plan, SequenceWork& work, int num_threads) {
  const SequenceSpan& sequence = plan.args->sequences[static_cast<size_t>(work.sequence)];
  if (sequence.num_tokens != 1) return;
  const int64_t room = state_floats(plan, plan.max_rows) / split_state_floats(plan, work);
  work.task_tiles = tiles_together(
      plan, std::min({affordable_tiles(plan, work, 1, num_threads), room, int64_t{kMaxTaskTiles}}));
}

// Splits the sequence's tiles into their segments if that is worth it and there is room.
bool split(Plan& plan, SequenceWork& work, int32_t counters_used, int num_threads) {
  const int64_t tiles = num_tiles(plan, work);
  const int64_t segments = most_segments(plan, work);
  const int64_t floats = tiles * segments * split_state_floats(plan, work);
  if (work.tile_cost * kTasksPerThread * num_threads <= plan.cost || segments < 2 ||
      counters_used + tiles > max_split_tiles(num_threads) ||
      plan.partial_floats + floats > kMaxPartialFloats) {
    return false;
  }
  work.task_segments = static_cast<int32_t>(segments);
  work.task_tiles = tiles_together(plan, affordable_tiles(plan, work, segments, num_threads));
  work.first_counter = counters_used;
  work.first_float = plan.partial_floats;
  plan.partial_floats += floats;
  for (int64_t i = 0; i < tiles; ++i) {
    const Tile tile = tile_at(plan, work, i);
    plan.counters[counters_used + i] = static_cast<int32_t>(tile.end_segment - tile.first_segment);
  }
  return true;
}

void set_shape(Plan& plan, int32_t max_rows) {
  const AttentionArgs& args = *plan.args;
  plan.group = args.num_heads / args.kv.num_kv_heads;
  plan.parts = (plan.group + max_rows - 1) / max_rows;
  plan.part_heads = (plan.group + plan.parts - 1) / plan.parts;
  plan.tile_tokens = max_rows / plan.part_heads;
  int64_t most_tokens = 0;
  for (const SequenceSpan& s : args.sequences) most_tokens = std::max(most_tokens, s.num_tokens);
  // Sequences of one token may come together in a share.
  const int64_t tokens =
      std::max<int64_t>(most_tokens, static_cast<int64_t>(args.sequences.size()));
  plan.max_rows =
      static_cast<int32_t>(std::min<int64_t>(tokens, plan.tile_tokens)) * plan.part_heads;
}

// Says which sequences each share has.
void mark_members(const Plan& plan, SequenceWork* by_sequence) {
  for (size_t i = 0; i < plan.shares.size(); ++i) {
    const Share& share = plan.shares[i];
    for (int32_t m = share.first; m < share.first + share.count; ++m) {
      SequenceWork& work = by_sequence[plan.members[m]];
      work.share = static_cast<int32_t>(i);  // children come after their parents
      work.member = m;
      work.shared_segments = share.end_segment;
    }
  }
}

}  // namespace

int64_t state_floats(const Plan& plan, int64_t rows) {
  const int64_t floats = rows * (kernels::attention_stride(plan.args->kv.head_dim) + 2);
  return (floats + 15) / 16 * 16;
}

int64_t split_state_floats(const Plan& plan, const SequenceWork& work) {
  const SequenceSpan& sequence = plan.args->sequences[static_cast<size_t>(work.sequence)];
  return state_floats(plan,
                      std::min<int64_t>(sequence.num_tokens, plan.tile_tokens) * plan.part_heads);
}

int64_t num_tiles(const Plan& plan, const SequenceWork& work) {
  const SequenceSpan& sequence = plan.args->sequences[static_cast<size_t>(work.sequence)];
  const int64_t rows = (sequence.num_tokens + plan.tile_tokens - 1) / plan.tile_tokens;
  return rows * tiles_side_by_side(plan);
}

Tile tile_at(const Plan& plan, const SequenceWork& work, int64_t index) {
  const SequenceSpan& sequence = plan.args->sequences[static_cast<size_t>(work.sequence)];
  const int64_t per_row = tiles_side_by_side(plan);
  const int64_t token_tile = num_tiles(plan, work) / per_row - 1 - index / per_row;
  const auto part = static_cast<int32_t>(index % plan.parts);
  Tile tile = {};
  tile.sequence = &sequence;
  tile.first_token = token_tile * plan.tile_tokens;
  tile.tokens = static_cast<int32_t>(
      std::min<int64_t>(plan.tile_tokens, sequence.num_tokens - tile.first_token));
  tile.kv_head = static_cast<int32_t>(index % per_row / plan.parts);
  tile.first_head = tile.kv_head * plan.group + part * plan.part_heads;
  tile.heads = std::min(plan.part_heads, plan.group - part * plan.part_heads);
  const int64_t first_position = sequence.first_position + tile.first_token;
  tile.first_segment =
      std::max<int64_t>(oldest_key(*plan.args, first_position) / kKeySegment, work.shared_segments);
  tile.end_segment = (first_position + tile.tokens - 1) / kKeySegment + 1;
  return tile;
}

int64_t num_tile_tasks(const Plan& plan, const SequenceWork& work) {
  return num_tiles(plan, work) / tiles_side_by_side(plan) *
         std::max<int64_t>(work.task_segments, 1) * task_groups(plan, work);
}

TileTask tile_task_at(const Plan& plan, const SequenceWork& work, int64_t task) {
  const int64_t groups = task_groups(plan, work);
  const int64_t per_row = tiles_side_by_side(plan);
  const int64_t segments = std::max<int64_t>(work.task_segments, 1);
  const int64_t row = task / (segments * groups);
  const int64_t first_in_row = task % groups * work.task_tiles;
  TileTask result = {};
  result.first_tile = row * per_row + first_in_row;
  const Tile tile = tile_at(plan, work, result.first_tile);
  result.segment = tile.first_segment + task / groups % segments;
  if (work.task_segments == 0 || result.segment < tile.end_segment) {
    result.count = static_cast<int32_t>(std::min<int64_t>(work.task_tiles, per_row - first_in_row));
  }
  return result;
}

ShareTask share_task_at(const Plan& plan, int64_t task) {
  const auto after = std::upper_bound(plan.shares.begin(), plan.shares.end(), task,
                                      [](int64_t t, const Share& s) { return t < s.first_task; });
  const Share& share = *(after - 1);
  const int32_t tile_members = plan.max_rows / plan.part_heads;
  const int64_t tiles = (share.count + tile_members - 1) / tile_members;
  const int64_t segments = share.end_segment - share.first_segment;
  int64_t i = task - share.first_task;
  const auto tile = static_cast<int32_t>(i % tiles);  // those of the same keys side by side
  i /= tiles;
  const auto kv_head_part = static_cast<int32_t>(i / segments);
  const int32_t part = kv_head_part % plan.parts;
  ShareTask result = {};
  result.share = &share;
  result.segment = share.first_segment + i % segments;
  result.kv_head = kv_head_part / plan.parts;
  result.first_head = result.kv_head * plan.group + part * plan.part_heads;
  result.heads = std::min(plan.part_heads, plan.group - part * plan.part_heads);
  result.first_member = tile * tile_members;
  result.members = std::min(tile_members, share.count - result.first_member);
  return result;
}

const SequenceWork& work_of_task(const Plan& plan, int64_t task) {
  const auto after =
      std::upper_bound(plan.work.begin(), plan.work.end(), task,
                       [](int64_t t, const SequenceWork& w) { return t < w.first_task; });
  return *(after - 1);
}

int64_t share_state_float(const Plan& plan, const Share& share, int64_t segment,
                          int64_t kv_head_part) {
  const int64_t index =
      (segment - share.first_segment) * plan.args->kv.num_kv_heads * plan.parts + kv_head_part;
  return share.first_float + index * state_floats(plan, int64_t{share.count} * plan.part_heads);
}

void reserve_plan(int64_t max_sequences, int num_threads, ScratchBuffer& memory) {
  memory.get<std::byte>(plan_bytes(max_sequences, num_threads));
}

Plan make_plan(const AttentionArgs& args, int num_threads, int32_t kernel_rows,
               ScratchBuffer& memory) {
  const auto count = static_cast<int64_t>(args.sequences.size());
  Plan plan;
  plan.args = &args;
  auto* work =
      reinterpret_cast<SequenceWork*>(memory.get<std::byte>(plan_bytes(count, num_threads)));
  auto* shares = reinterpret_cast<Share*>(work + count);
  plan.members = reinterpret_cast<int32_t*>(shares + 2 * count);
  int32_t* common = plan.members + count;
  plan.counters = common + count;
  set_shape(plan, max_tile_rows(args, num_threads, kernel_rows));

  ShareFinder(plan, shares, common).run();
  for (int32_t i = 0; i < count; ++i) work[i] = {.sequence = i};
  mark_members(plan, work);
  int64_t used = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (args.sequences[static_cast<size_t>(i)].num_tokens == 0) continue;
    work[used] = work[i];
    add_cost(plan, work[used++]);
  }
  plan.work = {work, static_cast<size_t>(used)};
  if (num_threads > 1) {
    std::sort(plan.work.begin(), plan.work.end(), [](const SequenceWork& a, const SequenceWork& b) {
      return a.tile_cost != b.tile_cost ? a.tile_cost > b.tile_cost : a.sequence < b.sequence;
    });
  }
  int32_t counters_used = 0;
  for (SequenceWork& sequence : plan.work) {
    sequence.first_task = plan.num_tasks;
    if (num_threads > 1 && split(plan, sequence, counters_used, num_threads)) {
      counters_used += static_cast<int32_t>(num_tiles(plan, sequence));
    } else {
      join_tiles(plan, sequence, num_threads);
    }
    plan.num_tasks += num_tile_tasks(plan, sequence);
  }
  return plan;
}

}  // namespace ruvllm::attention
