// Block pool, prefix index and tables against obvious models, under random use.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>

#include "base/rng.h"
#include "kv/kv_cache.h"
#include "kv/salt.h"

namespace ruvllm {
namespace {

class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}
  int64_t below(int64_t n) {
    return static_cast<int64_t>(random_bits(seed_, 0, position_++) % static_cast<uint64_t>(n));
  }

 private:
  uint64_t seed_;
  uint64_t position_ = 0;
};

TEST(BlockPool, FollowsAListModel) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Random random(seed);
    const auto total = static_cast<int32_t>(1 + random.below(12));
    BlockPool pool(total);
    std::deque<int32_t> free;
    std::map<int32_t, int32_t> counts;
    for (int32_t i = 0; i < total; ++i) free.push_back(i);
    for (int step = 0; step < 500; ++step) {
      const auto block = static_cast<int32_t>(random.below(total));
      switch (random.below(3)) {
        case 0: {
          const int32_t expected = free.empty() ? kNoBlock : free.front();
          if (!free.empty()) free.pop_front();
          if (expected != kNoBlock) counts[expected] = 1;
          ASSERT_EQ(pool.take(), expected);
          break;
        }
        case 1:
          std::erase(free, block);
          ++counts[block];
          pool.retain(block);
          break;
        default:
          if (counts[block] == 0) break;
          const bool keep = random.below(2) == 0;
          const bool freed = --counts[block] == 0;
          if (freed && keep) free.push_back(block);
          if (freed && !keep) free.push_front(block);
          ASSERT_EQ(pool.release(block, keep), freed);
      }
      ASSERT_EQ(pool.num_free(), static_cast<int32_t>(free.size()));
      ASSERT_TRUE(pool.check_integrity());
    }
  }
}

TEST(PrefixIndex, AHashAloneIsNoHit) {
  PrefixIndex index(8, 2, 7);
  const PrefixKey key;
  const int32_t tokens[] = {1, 2};
  const int32_t others[] = {1, 3};
  const uint64_t hash = index.next_hash(index.root_hash(key), tokens);
  index.insert(3, hash, key, kNoBlock, tokens);
  EXPECT_EQ(index.find(hash, key, kNoBlock, tokens), 3);
  // The same hash with other tokens, another parent or another key: as after a collision.
  EXPECT_EQ(index.find(hash, key, kNoBlock, others), kNoBlock);
  EXPECT_EQ(index.find(hash, key, 5, tokens), kNoBlock);
  PrefixKey salted;
  set_salt(salted, "tenant", 1);
  EXPECT_NE(salted, key);
  EXPECT_EQ(index.find(hash, salted, kNoBlock, tokens), kNoBlock);
  EXPECT_NE(index.root_hash(salted), index.root_hash(key));
  EXPECT_TRUE(index.check_integrity());
  // Two entries of one hash live side by side.
  index.insert(4, hash, key, kNoBlock, others);
  EXPECT_EQ(index.find(hash, key, kNoBlock, others), 4);
  EXPECT_EQ(index.find(hash, key, kNoBlock, tokens), 3);
  index.erase(3);
  EXPECT_EQ(index.find(hash, key, kNoBlock, others), 4);
  EXPECT_EQ(index.find(hash, key, kNoBlock, tokens), kNoBlock);
}

TEST(PrefixIndex, SaltsDifferByEveryByte) {
  PrefixKey a;
  PrefixKey b;
  set_salt(a, "12345678", 1);
  set_salt(b, std::string_view("12345678\0", 9), 1);
  EXPECT_NE(a, b);
  set_salt(b, "12345678", 2);
  EXPECT_NE(a, b);
  set_salt(b, "12345678", 1);
  EXPECT_EQ(a, b);
}

// A text in a table, and what its pages hold in a plain array (the "memory").
struct Text {
  std::vector<int32_t> tokens;
  int64_t computed = 0;
  BlockTable table;
};

class KvModel {
 public:
  KvModel(uint64_t seed, KvCacheOptions options)
      : random_(seed),
        cache_(options),
        options_(options),
        memory_(static_cast<size_t>(options.num_blocks * options.block_tokens), -1) {}

  void step() {
    const int64_t action = random_.below(10);
    if (action < 3) {
      add();
    } else if (action < 7) {
      extend();
    } else if (action == 7) {
      fork();
    } else {
      drop();
    }
    check();
  }

  void finish() {
    while (!texts_.empty()) drop();
    check();
    EXPECT_EQ(cache_.pool().num_used(), 0);
    cache_.drop_cached();
    EXPECT_EQ(cache_.num_cached(), 0);
    EXPECT_EQ(cache_.index().num_entries(), 0);
  }

  int64_t hits = 0;
  const KvCache& cache() const { return cache_; }

 private:
  void add() {
    auto text = std::make_unique<Text>();
    PrefixKey key;
    key.adapter_set = static_cast<uint64_t>(random_.below(2));
    // Few different tokens, so texts share beginnings.
    for (int64_t i = random_.below(20); i >= 0; --i) {
      text->tokens.push_back(static_cast<int32_t>(random_.below(2)));
    }
    cache_.start(text->table, key);
    std::vector<uint64_t> hashes;
    std::vector<int32_t> blocks;
    cache_.chain(key, text->tokens, hashes);
    cache_.match(key, text->tokens, hashes, blocks);
    cache_.adopt(text->table, blocks, hashes);
    text->computed = static_cast<int64_t>(blocks.size()) * options_.block_tokens;
    hits += text->computed;
    texts_.push_back(std::move(text));
  }

  void extend() {
    if (texts_.empty()) return;
    Text& text = *texts_[static_cast<size_t>(random_.below(static_cast<int64_t>(texts_.size())))];
    if (text.computed == static_cast<int64_t>(text.tokens.size())) {
      text.tokens.push_back(static_cast<int32_t>(random_.below(2)));
    }
    const auto pending = static_cast<int64_t>(text.tokens.size()) - text.computed;
    const int64_t rows = 1 + random_.below(pending);
    const auto first = static_cast<int32_t>(text.computed / options_.block_tokens);
    if (first < static_cast<int32_t>(text.table.blocks.size())) {
      if (cache_.is_shared(text.table, first) && cache_.pool().num_free() == 0) return;
      if (const auto copy = cache_.make_writable(text.table, first)) {
        for (int32_t i = 0; i < options_.block_tokens; ++i) {
          cell(copy->to, i) = cell(copy->from, i);
        }
      }
    }
    if (!cache_.grow(text.table, cache_.blocks_for(text.computed + rows))) return;
    for (int64_t p = text.computed; p < text.computed + rows; ++p) {
      cell(text.table.blocks[static_cast<size_t>(p / options_.block_tokens)],
           static_cast<int32_t>(p % options_.block_tokens)) = text.tokens[static_cast<size_t>(p)];
    }
    text.computed += rows;
    cache_.seal(text.table, text.tokens, text.computed);
  }

  void fork() {
    if (texts_.empty()) return;
    const Text& from =
        *texts_[static_cast<size_t>(random_.below(static_cast<int64_t>(texts_.size())))];
    auto text = std::make_unique<Text>();
    text->tokens = from.tokens;
    text->computed = from.computed;
    cache_.fork(from.table, text->table);
    texts_.push_back(std::move(text));
  }

  void drop() {
    if (texts_.empty()) return;
    const auto at = random_.below(static_cast<int64_t>(texts_.size()));
    cache_.release(texts_[static_cast<size_t>(at)]->table);
    texts_.erase(texts_.begin() + at);
  }

  // Every computed position reads back its own token.
  void check() {
    std::vector<const BlockTable*> tables;
    for (const auto& text : texts_) {
      tables.push_back(&text->table);
      for (int64_t p = 0; p < text->computed; ++p) {
        ASSERT_EQ(cell(text->table.blocks[static_cast<size_t>(p / options_.block_tokens)],
                       static_cast<int32_t>(p % options_.block_tokens)),
                  text->tokens[static_cast<size_t>(p)]);
      }
    }
    const Status status = cache_.check_integrity(tables);
    ASSERT_TRUE(status) << status.error().message;
  }

  int32_t& cell(int32_t block, int32_t offset) {
    return memory_[static_cast<size_t>(block * options_.block_tokens + offset)];
  }

  Random random_;
  KvCache cache_;
  KvCacheOptions options_;
  std::vector<int32_t> memory_;
  std::vector<std::unique_ptr<Text>> texts_;
};

TEST(KvCache, PagesHoldTheirTexts) {
  int64_t hits = 0;
  int64_t evictions = 0;
  int64_t copies = 0;
  int64_t deduplicated = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Random random(seed + 1000);
    KvCacheOptions options;
    options.num_blocks = static_cast<int32_t>(4 + random.below(40));
    options.block_tokens = static_cast<int32_t>(1 + random.below(4));
    options.prefix_caching = seed % 8 != 7;
    options.hash_seed = seed;
    KvModel model(seed, options);
    for (int i = 0; i < 400; ++i) {
      model.step();
      if (::testing::Test::HasFatalFailure()) return;
    }
    model.finish();
    hits += model.hits;
    evictions += model.cache().counters().evictions;
    copies += model.cache().counters().copies;
    deduplicated += model.cache().counters().deduplicated;
    EXPECT_TRUE(options.prefix_caching || model.hits == 0);
  }
  EXPECT_GT(hits, 1000);
  EXPECT_GT(evictions, 100);
  EXPECT_GT(copies, 50);
  EXPECT_GT(deduplicated, 100);
}

TEST(KvCache, TheEndOfATextGoesFirst) {
  KvCache cache({4, 2, true, 1});
  const std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 6};
  BlockTable table;
  cache.start(table, {});
  ASSERT_TRUE(cache.grow(table, 3));
  cache.seal(table, tokens, 6);
  cache.release(table);
  EXPECT_EQ(cache.num_cached(), 3);
  BlockTable other;
  cache.start(other, {});
  ASSERT_TRUE(cache.grow(other, 2));  // the unused block, then the text's last
  EXPECT_EQ(cache.num_cached(), 2);
  EXPECT_FALSE(cache.grow(other, 5));
  EXPECT_EQ(other.blocks.size(), 2u);
  std::vector<uint64_t> hashes;
  std::vector<int32_t> blocks;
  cache.chain({}, tokens, hashes);
  cache.match({}, tokens, hashes, blocks);
  EXPECT_EQ(blocks.size(), 2u);
  cache.release(other);
}

}  // namespace
}  // namespace ruvllm
