// How products are cut into tasks, what follows which weight, and the memory of weights.
#include "ops/cpu/matmul_tasks.h"

#include <gtest/gtest.h>

#include <cstring>

#include "ops/cpu/huge_arena.h"

namespace ruvllm {
namespace {

WeightPart part_of(PartForm form, int64_t rows, uint64_t row_bytes, const std::byte* data) {
  WeightPart part;
  part.form = form;
  part.num_rows = rows;
  part.row_bytes = row_bytes;
  part.data = data;
  part.panel_rows = form == PartForm::kQuantPanels ? 8 : 0;
  part.panel_bytes = 8 * static_cast<int64_t>(row_bytes);
  return part;
}

TEST(MatmulTasks, StreamsAreEveryRowOnceAndEndInSmallPieces) {
  const auto* const data = reinterpret_cast<const std::byte*>(uintptr_t{1} << 30);
  const std::vector<std::vector<WeightPart>> weights = {
      {part_of(PartForm::kQuantPanels, 1, 64, data)},
      {part_of(PartForm::kQuantPanels, 5632, 1152, data),
       part_of(PartForm::kQuantPanels, 5632, 1152, data + (64 << 20))},
      {part_of(PartForm::kBf16Rows, 2048, 4096, data),
       part_of(PartForm::kFloatRows, 33, 8192, data)},
      {part_of(PartForm::kQuantPanels, 32003, 2176, data)},
      {part_of(PartForm::kFloatRows, 5000, 4, data)}};
  std::vector<MatmulTask> tasks;
  for (const std::vector<WeightPart>& parts : weights) {
    for (const int threads : {1, 2, 3, 16}) {
      list_stream_tasks(parts, threads, tasks);
      int64_t all = 0;
      for (const WeightPart& part : parts)
        all += part.num_rows * static_cast<int64_t>(part.row_bytes);
      size_t at = 0;
      for (const WeightPart& part : parts) {
        for (int64_t row = 0; row < part.num_rows; ++at) {
          ASSERT_LT(at, tasks.size());
          ASSERT_EQ(tasks[at].part, &part);
          ASSERT_EQ(tasks[at].first_w, row);
          ASSERT_GT(tasks[at].num_w, 0);
          if (row + tasks[at].num_w < part.num_rows) {
            ASSERT_EQ(tasks[at].num_w % 8, 0);
          }
          // Nobody waits for more than a thread's fair share, half of it.
          const int64_t bytes = tasks[at].num_w * static_cast<int64_t>(part.row_bytes);
          const int64_t unit = 32 * static_cast<int64_t>(part.row_bytes);
          ASSERT_LE(bytes, std::max({all / (2 * threads), kLeastStreamBytes, unit}));
          row += tasks[at].num_w;
        }
      }
      EXPECT_EQ(at, tasks.size());
      const MatmulTask& last = tasks.back();
      EXPECT_LE(last.num_w * static_cast<int64_t>(last.part->row_bytes),
                std::max(kLeastStreamBytes, 32 * static_cast<int64_t>(last.part->row_bytes)));
    }
  }
  list_stream_tasks(weights[1], 2, tasks);
  const WeightOrder::Streams streams = streams_of(tasks);
  EXPECT_EQ(streams.begin, data);
  EXPECT_EQ(streams.stride, tasks[0].num_w * 1152);
}

TEST(MatmulTasks, TilesAreEveryRowOnceAndNameWhatIsLikelyNext) {
  const auto* const data = reinterpret_cast<const std::byte*>(uintptr_t{1} << 30);
  const std::vector<WeightPart> parts = {
      part_of(PartForm::kQuantPanels, 1000, 1152, data),
      part_of(PartForm::kQuantPanels, 1000, 1152, data + (64 << 20)),
      part_of(PartForm::kQuantPanels, 500, 2176, data + (128 << 20)),
      part_of(PartForm::kFloatRows, 500, 8192, data + (256 << 20))};
  constexpr int64_t kMostPanels = 12;
  for (const int threads : {1, 2, 3}) {
    const TileTasks tasks(parts, 16, kMostPanels, threads);
    std::vector<int64_t> rows(parts.size());
    int64_t guesses = 0;
    std::vector<int64_t> rows_of_thread(static_cast<size_t>(threads));
    for (int64_t i = 0; i < tasks.num_tasks(); ++i) {
      const MatmulTask task = tasks.task(i);
      if (task.part == parts.data()) {
        rows_of_thread[static_cast<size_t>(i % threads)] += task.num_w;
      }
      int64_t& done = rows[static_cast<size_t>(task.part - parts.data())];
      ASSERT_EQ(task.first_w, done);
      done += task.num_w;
      if (task.part->form != PartForm::kQuantPanels) continue;
      EXPECT_LE(task.num_w, kMostPanels * 8);
      const uint8_t* const next_panels = tasks.next_panels(i);
      if (next_panels == nullptr) continue;
      ++guesses;
      const MatmulTask next = tasks.task(i + threads);
      EXPECT_EQ(next_panels, next.part->panel(next.first_w / 8));
      EXPECT_EQ(next.num_w, task.num_w);
      EXPECT_EQ(next.part->panel_bytes, task.part->panel_bytes);
    }
    for (size_t i = 0; i < parts.size(); ++i) EXPECT_EQ(rows[i], parts[i].num_rows);
    EXPECT_GT(guesses, 10);
    // Threads that are equally fast end together, but for less than the smallest task.
    const auto [least, most] = std::ranges::minmax(rows_of_thread);
    EXPECT_LE(most - least, kLeastQuantPanels * 8);
  }
}

TEST(RowBlocks, AreWholeTilesOfAllRowsForTheSameNumberOfThreads) {
  for (int threads = 1; threads <= 70; ++threads) {
    for (const int64_t tile_rows : {4, 8}) {
      for (int64_t count = 1; count <= 512; ++count) {
        const RowBlocks blocks = cut_rows(count, tile_rows, threads);
        ASSERT_EQ(threads % blocks.count, 0);
        ASSERT_GE(blocks.rows * blocks.count, count);
        ASSERT_LT(blocks.rows * (blocks.count - 1), count);  // none is empty
        if (blocks.count == 1) continue;
        ASSERT_EQ(blocks.rows % tile_rows, 0);
        ASSERT_GE(blocks.rows, std::min<int64_t>(8 * threads, 128));
      }
    }
  }
  EXPECT_EQ(cut_rows(31, 8, 2).count, 1);
  EXPECT_EQ(cut_rows(32, 8, 2).count, 2);
  EXPECT_EQ(cut_rows(512, 8, 64).count, 4);
}

TEST(WeightOrder, SaysWhatCameNextTheLastTime) {
  WeightOrder order;
  std::byte memory[3 * 64] = {};
  const auto next = [&](int weight) {
    return order.next_of(memory + 64 * weight, {memory + 64 * weight, weight});
  };
  EXPECT_EQ(next(0).begin, nullptr);
  EXPECT_EQ(next(1).begin, nullptr);
  EXPECT_EQ(next(2).begin, nullptr);
  for (int round = 0; round < 3; ++round) {
    for (int weight = 0; weight < 3; ++weight) {
      const WeightOrder::Streams guess = next(weight);
      const int expected = (weight + 1) % 3;
      if (round == 0 && weight == 2) continue;
      EXPECT_EQ(guess.begin, memory + 64 * expected) << round << " " << weight;
      EXPECT_EQ(guess.stride, expected) << round << " " << weight;
    }
  }
}

TEST(HugeArena, PiecesDoNotOverlapAndOutliveTheArena) {
  std::vector<std::shared_ptr<std::byte[]>> all;
  std::vector<uint64_t> sizes;
  {
    HugeArena arena;
    EXPECT_EQ(arena.allocate(0), nullptr);
    EXPECT_EQ(arena.allocate(UINT64_MAX - 100), nullptr);
    for (uint64_t i = 0; i < 40; ++i) sizes.push_back(1 + i * i * 3001);
    sizes.push_back(uint64_t{65} << 20);  // more than a piece
    sizes.push_back(100);
    for (const uint64_t size : sizes) {
      all.push_back(arena.allocate(size));
      ASSERT_NE(all.back(), nullptr);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(all.back().get()) % 64, 0u);
    }
  }
  for (size_t i = 0; i < all.size(); ++i) {
    std::memset(all[i].get(), static_cast<int>(i), static_cast<size_t>(sizes[i]));
  }
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i][0], static_cast<std::byte>(i));
    EXPECT_EQ(all[i][static_cast<ptrdiff_t>(sizes[i] - 1)], static_cast<std::byte>(i));
  }
}

}  // namespace
}  // namespace ruvllm
