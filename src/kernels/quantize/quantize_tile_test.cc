// Tiles of quantized x: the plain kernel against the records of quantize_rows.h, the others against
// the plain one.
#include "kernels/quantize/quantize_tile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "kernels/matmul/matmul_kernels.h"

namespace ruvllm::kernels {
namespace {

struct Rows {
  int64_t num_rows;
  int64_t groups;
  std::vector<float> x;

  Rows(int64_t num_rows, int64_t groups) : num_rows(num_rows), groups(groups) {
    x.resize(static_cast<size_t>(num_rows * groups * 32));
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<float>(2.0 * random_uniform(5, 1, i) - 1.0) *
             std::exp2(static_cast<float>(static_cast<int>(i / 128 % 7)));
    }
  }
  std::vector<uint32_t> tile(QuantizeTile kernel, int64_t block) const {
    std::vector<const float*> rows;
    for (int64_t t = 0; t < num_rows; ++t) rows.push_back(x.data() + t * groups * 32);
    std::vector<uint32_t> out(static_cast<size_t>(x_tile_words(groups)), 0xa5a5a5a5);
    kernel(rows.data(), num_rows, groups, block, out.data());
    return out;
  }
};

std::vector<Rows> inputs() {
  std::vector<Rows> out;
  for (const int64_t num_rows : {1, 7, 16}) {
    for (const int64_t groups : {1, 2, 3, 4, 7, 8, 21}) out.emplace_back(num_rows, groups);
  }
  for (const float special : {0.0f, 1e-38f, std::numeric_limits<float>::infinity(),
                              std::numeric_limits<float>::quiet_NaN()}) {
    Rows rows(3, 9);
    std::fill(rows.x.begin() + 32, rows.x.begin() + 200, special);
    out.push_back(rows);
  }
  return out;
}

TEST(QuantizeTile, HoldsTheRecords) {
  for (const Rows& rows : inputs()) {
    for (const int64_t block : {int64_t{kXBlock}, rows.groups}) {
      std::vector<uint32_t> words = rows.tile(generic::kQuantizeTile, block);
      const TiledX x{words.data(), rows.groups};
      std::vector<uint32_t> record(static_cast<size_t>(rows.groups * kRecordWords));
      for (int64_t t = 0; t < kTileSide; ++t) {
        std::fill(record.begin(), record.end(), 0);
        if (t < rows.num_rows) {
          generic::kQuantize.to_int8(rows.x.data() + t * rows.groups * 32, rows.groups, block, 1,
                                     record.data());
        }
        int32_t sum = 0;
        for (int64_t g = 0; g < rows.groups; ++g) {
          const uint32_t* want = record.data() + g * kRecordWords;
          ASSERT_EQ(std::memcmp(x.codes(0, g / 2) + t * 64 + g % 2 * 32, want, 32), 0);
          const HeadOfX& head = x.head(0, g / kXBlock);
          ASSERT_EQ(std::memcmp(&head.scale[t], want + 8, 4), 0);
          ASSERT_EQ(-128 * head.sum[g % kXBlock][t], static_cast<int32_t>(want[9]));
          ASSERT_EQ(head.total[g % kXBlock][t], static_cast<float>(head.sum[g % kXBlock][t]));
          sum += head.sum[g % kXBlock][t];
        }
        ASSERT_EQ(x.sums(0)[t], sum);
      }
    }
  }
}

TEST(QuantizeTile, TheSameBitsByEveryKernel) {
  for (const auto& [level, kernel] : quant_panel_kernels()) {
    if (kernel->quantize_tile == nullptr || !isa_supported(level)) continue;
    for (const Rows& rows : inputs()) {
      for (const int64_t block : {int64_t{kXBlock}, rows.groups}) {
        ASSERT_EQ(rows.tile(kernel->quantize_tile, block), rows.tile(generic::kQuantizeTile, block))
            << isa_name(level) << ": " << rows.num_rows << " rows of " << rows.groups << " groups";
      }
    }
  }
}

}  // namespace
}  // namespace ruvllm::kernels
