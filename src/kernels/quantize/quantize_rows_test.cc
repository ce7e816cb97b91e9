// Rows of a tile together against one after the other by the plain kernel.
#include "kernels/quantize/quantize_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/matmul/matmul_kernels.h"

namespace ruvllm::kernels {
namespace {

struct Case {
  int64_t num_rows;
  int64_t tile_rows;
  int64_t groups;
  int64_t block;
};

std::vector<float> values(const Case& c, uint64_t seed) {
  std::vector<float> x(static_cast<size_t>(c.num_rows * c.groups * 32));
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(2.0 * random_uniform(seed, 1, i) - 1.0) *
           std::exp2(static_cast<float>(static_cast<int>(i / 96 % 9) - 4));
  }
  return x;
}

// By `kernel`, or, null, by the plain one row after row. Words that are nobody's stay as they were.
std::vector<uint32_t> records(const QuantizeKernel* kernel, const Case& c,
                              const std::vector<float>& x) {
  std::vector<uint32_t> out(static_cast<size_t>(c.tile_rows * c.groups * kRecordWords), 0xa5a5a5a5);
  std::vector<const float*> rows;
  for (int64_t t = 0; t < c.num_rows; ++t) rows.push_back(x.data() + t * c.groups * 32);
  if (kernel != nullptr) {
    kernel->rows_to_int8(rows.data(), c.num_rows, c.groups, c.block, c.tile_rows, out.data());
    return out;
  }
  for (int64_t t = 0; t < c.num_rows; ++t) {
    generic::kQuantize.to_int8(rows[static_cast<size_t>(t)], c.groups, c.block, c.tile_rows,
                               out.data() + t);
  }
  return out;
}

void check(const Case& c, const std::vector<float>& x) {
  const std::vector<uint32_t> want = records(nullptr, c, x);
  for (const IsaLevel level :
       {IsaLevel::kGeneric, IsaLevel::kAvx2, IsaLevel::kAvx512, IsaLevel::kNeon}) {
    if (!isa_supported(level)) continue;
    ASSERT_EQ(records(&quantize_kernel(level), c, x), want)
        << isa_name(level) << ": " << c.num_rows << " of " << c.tile_rows << " rows, " << c.groups
        << " groups, " << c.block << " under a scale";
  }
}

TEST(QuantizeRows, TheSameBitsTogetherAndByEveryKernel) {
  for (const int64_t tile_rows : {1, 2, 4, 8}) {
    for (int64_t num_rows = tile_rows / 2 + 1; num_rows <= tile_rows; ++num_rows) {
      for (const int64_t groups : {1, 3, 4, 8, 21}) {
        for (const int64_t block : {int64_t{4}, groups}) {
          const Case c = {num_rows, tile_rows, groups, block};
          check(c, values(c, static_cast<uint64_t>(groups)));
        }
      }
    }
  }
}

// Values that have no scale, or a strange one, in some of the rows: their neighbours are none the
// worse for it.
TEST(QuantizeRows, ExtremeValues) {
  const float infinite = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float special :
       {0.0f, -0.0f, 1e-38f, 0x1p-100f, 0x1.fffffep-101f, 3e38f, infinite, -infinite, nan, -nan}) {
    for (const int64_t block : {4, 9}) {
      const Case c = {8, 8, 9, block};
      std::vector<float> x = values(c, 3);
      for (const int64_t row : {1, 2, 6}) {
        for (int64_t i = 32 * row; i < 32 * (row + 2); ++i) {
          x[static_cast<size_t>(row * c.groups * 32 + i)] = special;
        }
      }
      check(c, x);
      std::fill(x.begin() + 3 * c.groups * 32, x.begin() + 5 * c.groups * 32, special);
      check(c, x);
    }
  }
}

}  // namespace
}  // namespace ruvllm::kernels
