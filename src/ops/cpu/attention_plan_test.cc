// The plan of attention: every tile once, dear tiles split, common beginnings shared.
#include "ops/cpu/attention_plan.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <tuple>
#include <vector>

#include "kernels/attention/attention.h"

namespace ruvllm::attention {
namespace {

constexpr int32_t kBlock = 16;

struct Call {
  std::vector<std::vector<int32_t>> tables;
  std::vector<SequenceSpan> spans;
  AttentionArgs args;
  ScratchBuffer memory;
  int32_t next_block = 0;

  Call() {
    args.num_heads = 32;
    args.kv.num_kv_heads = 4;
    args.kv.head_dim = 64;
    args.kv.block_tokens = kBlock;
  }

  // A sequence whose table begins with `shared` tokens of another's.
  void add(int64_t tokens, int64_t position, int parent = -1, int64_t shared = 0) {
    std::vector<int32_t> table;
    if (parent >= 0) {
      const auto& from = tables[static_cast<size_t>(parent)];
      table.assign(from.begin(), from.begin() + shared / kBlock);
    }
    while (static_cast<int64_t>(table.size()) * kBlock < position + tokens) {
      table.push_back(next_block++);
    }
    tables.push_back(std::move(table));
    spans.push_back({0, tokens, position, {}});
  }

  Plan plan(int threads) {
    int64_t row = 0;
    for (size_t i = 0; i < spans.size(); ++i) {
      spans[i].block_table = tables[i];
      spans[i].first_row = row;
      row += spans[i].num_tokens;
    }
    args.sequences = spans;
    return make_plan(args, threads, 64, memory);
  }
};

// Every (sequence, token, key head, segment) that a row must see is computed once: by a share, a
// whole tile or a task of a split one. Returns the dearest task, in keys times rows.
int64_t check_cover(const Call& call, const Plan& plan) {
  std::set<std::tuple<int64_t, int64_t, int32_t, int64_t>> done;
  int64_t dearest = 0;
  const auto compute = [&](const SequenceSpan& s, int64_t token, int32_t head, int64_t segment) {
    const int64_t key = s.first_row + token;
    EXPECT_TRUE(done.emplace(key, token, head, segment).second) << key << " " << segment;
  };
  for (int64_t task = 0; task < plan.num_share_tasks; ++task) {
    const ShareTask share = share_task_at(plan, task);
    for (int32_t m = 0; m < share.members; ++m) {
      const int32_t member = plan.members[share.share->first + share.first_member + m];
      compute(call.spans[static_cast<size_t>(member)], 0, share.kv_head, share.segment);
    }
  }
  for (int64_t task = 0; task < plan.num_tasks; ++task) {
    const SequenceWork& work = work_of_task(plan, task);
    const int64_t i = task - work.first_task;
    const bool is_split = work.task_segments != 0;
    const TileTask tiles = tile_task_at(plan, work, i);
    int64_t cost = 0;
    for (int64_t index = tiles.first_tile; index < tiles.first_tile + tiles.count; ++index) {
      const Tile tile = tile_at(plan, work, index);
      const int64_t first = is_split ? tiles.segment : tile.first_segment;
      const int64_t end = is_split ? first + 1 : tile.end_segment;
      EXPECT_LE(end, tile.end_segment);
      for (int64_t segment = first; segment < end; ++segment) {
        for (int32_t t = 0; t < tile.tokens; ++t) {
          compute(*tile.sequence, tile.first_token + t, tile.kv_head, segment);
        }
      }
      cost += (end - first) * kernels::kKeySegment * tile.rows();
    }
    dearest = std::max(dearest, cost);
  }
  size_t expected = 0;
  for (const SequenceSpan& s : call.spans) {
    // A tile's segments are those that its last row sees.
    for (int64_t t = 0; t < s.num_tokens; ++t) {
      const int64_t last =
          std::min(s.num_tokens, (t / plan.tile_tokens + 1) * plan.tile_tokens) - 1;
      expected += static_cast<size_t>((s.first_position + last) / kernels::kKeySegment + 1) *
                  static_cast<size_t>(call.args.kv.num_kv_heads);
    }
  }
  EXPECT_EQ(done.size(), expected);
  return dearest;
}

TEST(AttentionPlan, OneLongSequenceBesideManyShortOnesIsSplit) {
  Call call;
  call.add(1, 8191);
  for (int i = 0; i < 63; ++i) call.add(1, 20 + i * 3);
  for (const int threads : {1, 2, 8}) {
    const Plan plan = call.plan(threads);
    const int64_t dearest = check_cover(call, plan);
    if (threads > 1) {
      EXPECT_EQ(plan.work[0].sequence, 0);
      EXPECT_LE(dearest * 4 * threads, plan.cost);
    }
  }
}

// Neighbouring key heads go together as long as threads have enough tasks.
TEST(AttentionPlan, SplitTasksTakeNeighbouringHeads) {
  Call call;
  call.add(1, 8191);
  for (const auto& [threads, tiles, tasks] : {std::tuple{2, 4, 32}, {9, 2, 64}, {64, 1, 128}}) {
    const Plan plan = call.plan(threads);
    check_cover(call, plan);
    EXPECT_EQ(plan.work[0].task_tiles, tiles);
    EXPECT_EQ(plan.num_tasks, tasks);
  }
  // Rows of two tiles of tokens, which end in different segments.
  Call chunk;
  chunk.add(12, 8186);
  const Plan plan = chunk.plan(2);
  check_cover(chunk, plan);
  EXPECT_GT(plan.work[0].task_tiles, 1);
}

// So do those of whole tiles, in a batch.
TEST(AttentionPlan, WholeTilesOfSeveralHeadsGoTogether) {
  Call call;
  for (int i = 0; i < 32; ++i) call.add(1, 2000 + i);
  call.add(16, 700);
  for (const auto& [threads, tiles] : {std::pair{1, 4}, {2, 4}, {16, 2}, {32, 1}}) {
    const Plan plan = call.plan(threads);
    check_cover(call, plan);
    for (const SequenceWork& work : plan.work) {
      if (work.sequence == 32) continue;
      EXPECT_EQ(work.task_segments, 0);
      EXPECT_EQ(work.task_tiles, tiles) << threads;
    }
  }
}

TEST(AttentionPlan, ALongPromptIsNotSplit) {
  Call call;
  call.add(512, 100);
  const Plan plan = call.plan(2);
  check_cover(call, plan);
  EXPECT_EQ(plan.partial_floats, 0);
  EXPECT_EQ(plan.num_tasks, 512 / 8 * 4);
}

TEST(AttentionPlan, CommonBeginningsAreShared) {
  Call call;
  call.add(1, 2100);
  for (int i = 0; i < 30; ++i) call.add(1, 2050 + i, 0, 2048);
  call.add(1, 1100, 0, 1024);  // leaves them early
  call.add(1, 3000);           // has nothing in common with anybody
  call.add(16, 600, 0, 512);   // a prompt
  const Plan plan = call.plan(2);
  check_cover(call, plan);
  ASSERT_EQ(plan.shares.size(), 2u);
  EXPECT_EQ(plan.shares[0].count, 32);
  EXPECT_EQ(plan.shares[0].end_segment, 4);
  EXPECT_EQ(plan.shares[1].count, 31);
  EXPECT_EQ(plan.shares[1].first_segment, 4);
  EXPECT_EQ(plan.shares[1].end_segment, 8);
  // 32 sequences of 8 heads are 4 tiles of 64 rows.
  EXPECT_EQ(plan.num_share_tasks, 2 * 4 * 4 * 4);
  call.args.share_prefixes = false;
  const Plan unshared = call.plan(2);
  EXPECT_TRUE(unshared.shares.empty());
  check_cover(call, unshared);
}

TEST(AttentionPlan, WindowsDoNotShare) {
  Call call;
  call.add(1, 2100);
  call.add(1, 2100, 0, 2048);
  call.args.window = 1024;
  EXPECT_TRUE(call.plan(2).shares.empty());
}

// A budget for partial states, however much there is to share.
TEST(AttentionPlan, SharesStayWithinTheirMemory) {
  Call call;
  call.args.num_heads = 64;
  call.args.kv.num_kv_heads = 64;
  call.args.kv.head_dim = 128;
  call.add(1, 100000);
  for (int i = 0; i < 63; ++i) call.add(1, 99000 + i, 0, 98000);
  const Plan plan = call.plan(4);
  EXPECT_LE(plan.partial_floats, kMaxPartialFloats);
  EXPECT_GT(plan.num_share_tasks, 0);
}

}  // namespace
}  // namespace ruvllm::attention
