// The model of the tile instructions against sums written out here, and, where the machine has
// them, the instructions against the model.
#include "kernels/simd/amx_tile.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/float_types.h"
#include "kernels/kernel_test_util.h"
#include "kernels/simd/tile_probe_impl.h"

namespace ruvllm::kernels {
namespace {

[[maybe_unused]] constexpr TileDot kDots[] = {TileDot::kSignedSigned, TileDot::kSignedUnsigned,
                                              TileDot::kUnsignedSigned, TileDot::kUnsigned,
                                              TileDot::kBf16};

using Bytes = std::vector<uint8_t>;  // 16 rows of 64

template <typename Word>
Word at(const Bytes& bytes, int row, int column) {
  Word word;
  std::memcpy(&word, bytes.data() + 64 * row + static_cast<int>(sizeof(Word)) * column,
              sizeof word);
  return word;
}
template <typename Word>
void put(Bytes& bytes, int row, int column, Word word) {
  std::memcpy(bytes.data() + 64 * row + static_cast<int>(sizeof(Word)) * column, &word,
              sizeof word);
}

Bytes random_bytes(test::Random& random) {
  Bytes out(1024);
  for (uint8_t& byte : out) byte = static_cast<uint8_t>(random.next() >> 7);
  return out;
}

// bf16 of any bits; or, `moderate`, within [-2, 2).
Bytes random_bf16(test::Random& random, bool moderate) {
  Bytes out = random_bytes(random);
  if (!moderate) return out;
  for (int r = 0; r < 16; ++r) {
    for (int i = 0; i < 32; ++i) put(out, r, i, f32_to_bf16(random.uniform(2.0f)));
  }
  return out;
}

Bytes product(const TileProbe& probe, TileDot dot, int rows, int columns, int inner, const Bytes& a,
              const Bytes& b, Bytes c) {
  const TileProbeArgs args{dot, rows, columns, inner, a.data(), b.data(), c.data()};
  probe.run(&args);
  return c;
}

constexpr TileProbe kModel = {run_probe<ModelTiles>};

TEST(ModelTiles, IntegerProductsAreExactAndWrapAround) {
  test::Random random(1);
  for (const TileDot dot : {TileDot::kSignedSigned, TileDot::kSignedUnsigned,
                            TileDot::kUnsignedSigned, TileDot::kUnsigned}) {
    const bool a_signed = dot == TileDot::kSignedSigned || dot == TileDot::kSignedUnsigned;
    const bool b_signed = dot == TileDot::kSignedSigned || dot == TileDot::kUnsignedSigned;
    for (const int inner : {1, 8, 16}) {
      const Bytes a = random_bytes(random);
      const Bytes b = random_bytes(random);
      Bytes c = random_bytes(random);
      put(c, 0, 0, int32_t{0x7fffffff});
      const Bytes got = product(kModel, dot, 13, 5, inner, a, b, c);
      for (int m = 0; m < 16; ++m) {
        for (int n = 0; n < 16; ++n) {
          int64_t want = at<int32_t>(c, m, n);
          for (int k = 0; m < 13 && n < 5 && k < 4 * inner; ++k) {
            const uint8_t x = at<uint8_t>(a, m, k);
            const uint8_t w = at<uint8_t>(b, k / 4, 4 * n + k % 4);
            want += int64_t{a_signed ? static_cast<int8_t>(x) : x} *
                    int64_t{b_signed ? static_cast<int8_t>(w) : w};
          }
          // Beyond the shape memory is left as it was.
          ASSERT_EQ(at<int32_t>(got, m, n), static_cast<int32_t>(want)) << m << ", " << n;
        }
      }
    }
  }
}

TEST(ModelTiles, LoadsAndStoresKeepToShapeAndStride) {
  Bytes from(4096);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<uint8_t>(i * 7 + i / 64);
  TileConfig config;
  config.set(3, 5, 12);
  ModelTiles tiles;
  tiles.configure(config);
  tiles.load<3>(from.data(), 100);
  Bytes to(4096, 0xee);
  tiles.store<3>(to.data(), 200);
  for (size_t i = 0; i < to.size(); ++i) {
    const bool written = i / 200 < 5 && i % 200 < 12;
    ASSERT_EQ(to[i], written ? from[i / 200 * 100 + i % 200] : 0xee) << i;
  }
  tiles.zero<3>();
  tiles.store<3>(to.data(), 200);
  EXPECT_EQ(to[0], 0);
  EXPECT_EQ(to[12], 0xee);
}

void multiply_what_does_not_fit() {
  TileConfig config;
  config.set(0, 16, 64);
  config.set(1, 16, 32);
  config.set(2, 16, 64);  // eight rows would fit
  ModelTiles tiles;
  tiles.configure(config);
  tiles.dot_ss<0, 1, 2>();
}

void use_without_configuration() {
  ModelTiles tiles;
  tiles.zero<0>();
}

TEST(ModelTilesDeathTest, InvalidUseTraps) {
  EXPECT_DEATH(multiply_what_does_not_fit(), "");
  EXPECT_DEATH(use_without_configuration(), "");
}

// The chains as the header says them, in double where that is exact.
TEST(ModelTiles, Bf16ProductsAreTwoChainsAndThenTwoAdditions) {
  test::Random random(2);
  const Bytes a = random_bf16(random, true);
  const Bytes b = random_bf16(random, true);
  Bytes c(1024);
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 16; ++n) put(c, m, n, random.uniform(4.0f));
  }
  const Bytes got = product(kModel, TileDot::kBf16, 16, 16, 16, a, b, c);
  int differ_from_one_chain = 0;
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 16; ++n) {
      float chain[2] = {0.0f, 0.0f};
      float one = at<float>(c, m, n);
      for (int k = 0; k < 16; ++k) {
        for (int i = 0; i < 2; ++i) {
          const double x = bf16_to_f32(at<uint16_t>(a, m, 2 * k + i));
          const double w = bf16_to_f32(at<uint16_t>(b, k, 2 * n + i));
          // 16 bits of product and 24 of sum, of like size: exact in double, so rounded once.
          chain[i] = static_cast<float>(x * w + double{chain[i]});
          one = static_cast<float>(x * w + double{one});
        }
      }
      const float want = at<float>(c, m, n) + (chain[0] + chain[1]);
      ASSERT_EQ(at<float>(got, m, n), want) << m << ", " << n;
      differ_from_one_chain += want != one;
    }
  }
  EXPECT_GT(differ_from_one_chain, 50);
}

// C[0][0] after one product of one pair.
float one_pair(uint16_t a0, uint16_t b0, uint16_t a1, uint16_t b1, float c0) {
  Bytes a(1024), b(1024), c(1024);
  put(a, 0, 0, a0);
  put(a, 0, 1, a1);
  put(b, 0, 0, b0);
  put(b, 0, 1, b1);
  put(c, 0, 0, c0);
  return at<float>(product(kModel, TileDot::kBf16, 1, 1, 1, a, b, c), 0, 0);
}

TEST(ModelTiles, Bf16SubnormalsAreZeros) {
  const uint16_t one = f32_to_bf16(1.0f);
  const uint16_t smallest = 0x0080;  // 2^-126
  EXPECT_EQ(one_pair(smallest, one, 0, 0, 0.0f), 0x1p-126f);
  // An input below it counts as zero, however large its partner.
  EXPECT_EQ(one_pair(0x007f, f32_to_bf16(0x1p100f), 0, 0, 0.0f), 0.0f);
  EXPECT_EQ(one_pair(0, 0, 0, 0, 0x1p-127f), 0.0f);
  // A product below it, and a sum of two that are not.
  EXPECT_EQ(one_pair(smallest, f32_to_bf16(0.5f), 0, 0, 0.0f), 0.0f);
  EXPECT_TRUE(
      std::signbit(one_pair(smallest, f32_to_bf16(-0.5f), smallest, f32_to_bf16(-0.5f), -0.0f)));
  EXPECT_EQ(one_pair(f32_to_bf16(0x1.8p-126f), one, f32_to_bf16(-0x1p-126f), one, 0.0f), 0.0f);
  // 2^-126 - 2^-150 has 24 bits but is below 2^-126: flushed, though as a subnormal it would round
  // up to that. Less off, and 24 bits round it up.
  EXPECT_EQ(ModelTiles::fused(-0x1p-75f, 0x1p-75f, 0x1p-126f), 0.0f);
  EXPECT_EQ(ModelTiles::fused(-0x1p-100f, 0x1p-100f, 0x1p-126f), 0x1p-126f);
  EXPECT_EQ(one_pair(one, one, one, f32_to_bf16(2.0f), 0.5f), 3.5f);
  EXPECT_TRUE(std::isnan(one_pair(0x7f80, 0, 0, 0, 0.0f)));
  EXPECT_EQ(one_pair(0x7f80, one, 0, 0, 0.0f), INFINITY);
}

TEST(AmxTiles, InstructionsEqualTheModel) {
  if (!isa_supported(IsaLevel::kAmx)) GTEST_SKIP() << "not run: this machine has no amx";
#if defined(__x86_64__)
  test::Random random(3);
  for (int round = 0; round < 200; ++round) {
    for (const TileDot dot : kDots) {
      const int rows = round % 3 == 0 ? 16 : 1 + static_cast<int>(random.next() % 16);
      const int columns = round % 4 == 0 ? 16 : 1 + static_cast<int>(random.next() % 16);
      const int inner = round % 5 == 0 ? 16 : 1 + static_cast<int>(random.next() % 16);
      const bool moderate = round % 2 == 0;
      const bool bf16 = dot == TileDot::kBf16;
      const Bytes a = bf16 ? random_bf16(random, moderate) : random_bytes(random);
      const Bytes b = bf16 ? random_bf16(random, moderate) : random_bytes(random);
      const Bytes c = bf16 && moderate ? Bytes(1024) : random_bytes(random);
      const Bytes want = product(kModel, dot, rows, columns, inner, a, b, c);
      const Bytes got = product(amx::kTileProbe, dot, rows, columns, inner, a, b, c);
      for (int m = 0; m < 16; ++m) {
        for (int n = 0; n < 16; ++n) {
          const bool both_nan =
              bf16 && std::isnan(at<float>(want, m, n)) && std::isnan(at<float>(got, m, n));
          ASSERT_TRUE(both_nan || at<uint32_t>(want, m, n) == at<uint32_t>(got, m, n))
              << "product " << static_cast<int>(dot) << " [" << rows << ", " << columns << ", "
              << inner << "] at " << m << ", " << n << ": " << at<uint32_t>(got, m, n)
              << ", expected " << at<uint32_t>(want, m, n);
        }
      }
    }
  }
#endif
}

}  // namespace
}  // namespace ruvllm::kernels
