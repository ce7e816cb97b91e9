#include "model/kv_storage.h"

#include <gtest/gtest.h>

#include <cstring>

#include "model/model_test_util.h"

namespace ruvllm::test {
namespace {

TEST(KvStorage, LayersKeysAndValuesDoNotOverlap) {
  ModelConfig config = tiny_config();
  config.layers.resize(3);
  auto storage = KvStorage::make(config, DType::kBF16, 5);
  ASSERT_TRUE(storage.has_value());
  ASSERT_TRUE(storage->reserve(2));
  const int64_t part = int64_t{config.num_kv_heads} * 5 * config.head_dim * 2;
  int64_t end = 0;
  for (int32_t layer = 0; layer < 3; ++layer) {
    const KvLayerView view = storage->layer(layer);
    EXPECT_EQ(view.k_offset_bytes % 64, 0);
    EXPECT_GE(view.k_offset_bytes, end);
    EXPECT_GE(view.v_offset_bytes, view.k_offset_bytes + part);
    end = view.v_offset_bytes + part;
  }
  EXPECT_LE(static_cast<uint64_t>(end), storage->block_bytes());
}

TEST(KvStorage, PagesOfAHeadBeginAtAllPartsOfAMemoryPage) {
  for (const int32_t head_dim : {16, 32, 64, 128, 80}) {
    ModelConfig config = tiny_config();
    config.num_kv_heads = 4;
    config.head_dim = head_dim;
    auto storage = KvStorage::make(config, DType::kBF16, 16);
    ASSERT_TRUE(storage.has_value());
    EXPECT_EQ(storage->block_bytes() % 64, 0);
    const uint64_t page = 16 * 2 * static_cast<uint64_t>(head_dim);
    const bool is_part = page < 4096 && 4096 % page == 0;
    EXPECT_EQ(storage->block_bytes() % 4096, is_part ? page : 0);
    const uint64_t blocks = 2 * static_cast<uint64_t>(config.num_layers()) * 4 * page;
    EXPECT_LE(storage->block_bytes(), blocks + page);
  }
}

TEST(KvStorage, GrowsWithoutMovingWhatIsThere) {
  auto storage = KvStorage::make(tiny_config(), DType::kF32, 16);
  ASSERT_TRUE(storage.has_value());
  ASSERT_TRUE(storage->reserve(2));
  std::byte* first = storage->layer(0).blocks[0];
  std::memset(first, 0x5a, 8);
  ASSERT_TRUE(storage->reserve(40));
  EXPECT_EQ(storage->num_blocks(), 40);
  EXPECT_EQ(storage->layer(0).blocks[0], first);
  EXPECT_EQ(first[7], std::byte{0x5a});
  ASSERT_TRUE(storage->reserve(3));
  EXPECT_EQ(storage->num_blocks(), 40);
}

TEST(KvStorage, RefusesWhatTheMachineCannotHold) {
  auto storage = KvStorage::make(tiny_config(), DType::kF32, 16);
  ASSERT_TRUE(storage.has_value());
  const Status status = storage->reserve(int64_t{1} << 40);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kOutOfMemory);
  ModelConfig huge = tiny_config();
  huge.head_dim = 1 << 30;
  huge.num_kv_heads = 1 << 30;
  EXPECT_FALSE(KvStorage::make(huge, DType::kF32, 1 << 14).has_value());
}

}  // namespace
}  // namespace ruvllm::test
