#include "tokenizer/merge_symbols.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>

namespace ruvllm {
namespace {

// Random tables over a few symbols, with ranks that may be lower than those of what they need.
PairTable random_table(std::mt19937& rng, int num_merges) {
  PairTable table;
  table.reserve(static_cast<size_t>(num_merges));
  for (int i = 0; i < num_merges; ++i) {
    const int32_t left = static_cast<int32_t>(rng() % static_cast<unsigned>(4 + i));
    const int32_t right = static_cast<int32_t>(rng() % static_cast<unsigned>(4 + i));
    const auto rank = rng() % 3 == 0 ? static_cast<uint32_t>(rng() % 40) : static_cast<uint32_t>(i);
    table.insert(left, right, rank, 4 + i);
  }
  return table;
}

// The oracle's "leftmost among equals" needs equal ranks to be told apart only by place: so do the
// fast forms, whatever the table.
void check(const PairTable& table, const std::vector<int32_t>& symbols) {
  std::vector<int32_t> expected = symbols, actual = symbols;
  merge_symbols_slowly(table, expected);
  merge_symbols(table, actual);
  ASSERT_EQ(actual, expected);
  MergeSources none;
  none.noted.resize(200);
  none.sources.resize(200);
  std::vector<int32_t> by_heap = symbols;
  merge_symbols(table, by_heap, none);
  ASSERT_EQ(by_heap, expected);
}

TEST(MergeSymbols, EqualsTheRule) {
  std::mt19937 rng(3);
  for (int round = 0; round < 300; ++round) {
    const PairTable table = random_table(rng, 1 + static_cast<int>(rng() % 100));
    for (const size_t size : {1, 2, 5, 31, 32, 33, 200}) {
      std::vector<int32_t> symbols(size);
      for (int32_t& s : symbols) s = static_cast<int32_t>(rng() % 5) - 1;  // -1: unknown
      check(table, symbols);
    }
  }
}

// (-1, -1) has the bits of an empty slot.
TEST(MergeSymbols, UnknownSymbolsDoNotMerge) {
  PairTable table;
  table.reserve(1);
  table.insert(0, 0, 0, 1);
  std::vector<int32_t> symbols = {-1, -1, 0, 0, -1};
  merge_symbols(table, symbols);
  EXPECT_EQ(symbols, (std::vector<int32_t>{-1, -1, 1, -1}));
}

TEST(MergeSymbols, BucketsEqualTheHeap) {
  std::mt19937 rng(5);
  for (int round = 0; round < 3; ++round) {
    const PairTable table = random_table(rng, 100);
    std::vector<int32_t> by_buckets(70'000);
    for (int32_t& s : by_buckets) s = static_cast<int32_t>(rng() % 4);
    std::vector<int32_t> by_heap = by_buckets;
    MergeSources none;
    none.noted.resize(200);
    none.sources.resize(200);
    merge_symbols(table, by_buckets);
    merge_symbols(table, by_heap, none);
    EXPECT_EQ(by_buckets, by_heap);
  }
}

TEST(MergeSymbols, TenMillionOfOneSymbol) {
  PairTable table;
  table.reserve(4);
  for (int32_t i = 0; i < 4; ++i) table.insert(i, i, static_cast<uint32_t>(i), i + 1);
  std::vector<int32_t> symbols(10'000'000, 0);
  const auto begin = std::chrono::steady_clock::now();
  merge_symbols(table, symbols);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(symbols.size(), 625'000u);
  EXPECT_EQ(symbols.front(), 4);
  RecordProperty("seconds", std::to_string(seconds.count()));
}

}  // namespace
}  // namespace ruvllm
