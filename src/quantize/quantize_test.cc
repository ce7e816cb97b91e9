// Quantizers against straightforward models in double precision, and their edges.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/rng.h"
#include "quantize/gptq.h"
#include "quantize/input_stats.h"
#include "quantize/inverse_factor.h"
#include "quantize/isq_checkpoint.h"
#include "quantize/quantize_test_util.h"
#include "quantize/refine.h"
#include "quantize/rotation.h"
#include "quantize/vector_math.h"
#include "tensor/dequantize.h"

namespace ruvllm {
namespace {

std::vector<double> random_hessian(int64_t n, int64_t tokens, uint64_t seed) {
  const std::vector<float> x = random_values(tokens * n, seed);
  std::vector<double> h(static_cast<size_t>(n * n));
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        h[static_cast<size_t>(i * n + j)] +=
            double{x[static_cast<size_t>(t * n + i)]} * double{x[static_cast<size_t>(t * n + j)]};
      }
    }
  }
  return h;
}

TEST(VectorMath, RangesCodesAndFinitenessAreTheScalarOnes) {
  for (const int64_t n : {1, 7, 8, 9, 32, 45}) {
    const std::vector<float> v = random_values(n, 3);
    const auto [least, greatest] = std::minmax_element(v.begin(), v.end());
    const auto [lo, hi] = range_of(v.data(), n);
    EXPECT_EQ(lo, std::min(0.0f, *least));
    EXPECT_EQ(hi, std::max(0.0f, *greatest));
    for (const int32_t bits : {2, 3, 4, 8}) {
      Grid grid;
      grid.bits = bits;
      grid.symmetric = bits == 8;
      const float ends[2] = {0.75f * lo, 0.5f * hi};  // some are cut off
      const GroupScale group = fit_group(grid, ends, 2);
      std::vector<uint8_t> codes(v.size());
      encode_group(grid, group, v.data(), n, codes.data());
      for (size_t k = 0; k < v.size(); ++k) {
        EXPECT_EQ(codes[k], encode(grid, group, v[k])) << k << " of " << n << ", bits " << bits;
      }
    }
    EXPECT_TRUE(all_finite(v.data(), n));
    for (const float bad : {INFINITY, -INFINITY, NAN}) {
      for (size_t k = 0; k < v.size(); ++k) {
        std::vector<float> broken = v;
        broken[k] = bad;
        EXPECT_FALSE(all_finite(broken.data(), n)) << bad << " at " << k << " of " << n;
      }
    }
  }
}

TEST(VectorMath, LoopsAreThePlainOnes) {
  for (const int64_t n : {1, 7, 8, 31, 32, 77}) {
    const auto size = static_cast<size_t>(n);
    const std::vector<float> a = random_values(n, 1), b = random_values(3 * n, 2);
    double exact = 0.0;
    for (size_t k = 0; k < size; ++k) exact += double{a[k]} * double{b[k]};
    EXPECT_NEAR(dot_lanes(a.data(), b.data(), n), exact, 1e-7 * static_cast<double>(n));
    std::vector<float> y = a;
    const float e[3] = {0.5f, -1.0f, 2.0f};
    subtract_rows(y.data(), n, e, b.data(), n, 3);
    ThreadPool pool(2);
    InputStats stats(n, true, 0);
    stats.add({b.data(), 3, n, n}, pool);
    for (size_t k = 0; k < size; ++k) {
      double left = double{a[k]}, sum = 0.0;
      for (size_t t = 0; t < 3; ++t) {
        left -= double{e[t]} * double{b[t * size + k]};
        sum += double{b[t * size]} * double{b[t * size + k]};
      }
      EXPECT_NEAR(y[k], left, 1e-6);
      EXPECT_NEAR(stats.hessian()[k], sum, 1e-6);
      EXPECT_EQ(stats.hessian()[k * size], stats.hessian()[k]);
    }
  }
  EXPECT_EQ(round_even(2.5f), 2.0f);
  EXPECT_EQ(round_even(-3.5f), -4.0f);
}

TEST(InverseFactor, UTransposedUTimesHIsOne) {
  for (const int64_t n : {1, 5, 32, 33, 100}) {
    const std::vector<double> h = random_hessian(n, 3 * n, 7);
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      std::vector<double> u = h;
      ASSERT_TRUE(invert_to_upper_factor(u, n, pool));
      double worst = 0.0;
      for (int64_t i = 0; i < n; ++i) {
        // Row i of U^T U H: (U^T U)[i, m] = sum_k U[k, i] U[k, m].
        std::vector<double> inverse(static_cast<size_t>(n));
        for (int64_t m = 0; m < n; ++m) {
          for (int64_t k = 0; k <= std::min(i, m); ++k) {
            inverse[static_cast<size_t>(m)] +=
                u[static_cast<size_t>(k * n + i)] * u[static_cast<size_t>(k * n + m)];
          }
        }
        for (int64_t j = 0; j < n; ++j) {
          double sum = i == j ? -1.0 : 0.0;
          for (int64_t m = 0; m < n; ++m) {
            sum += inverse[static_cast<size_t>(m)] * h[static_cast<size_t>(m * n + j)];
          }
          worst = std::max(worst, std::abs(sum));
        }
      }
      EXPECT_LT(worst, 1e-9) << n;
    }
  }
}

TEST(InverseFactor, SingularIsFalse) {
  ThreadPool pool(1);
  std::vector<double> h = {1, 1, 1, 1};
  EXPECT_FALSE(invert_to_upper_factor(h, 2, pool));
  std::vector<double> nan = {NAN, 0, 0, 1};
  EXPECT_FALSE(invert_to_upper_factor(nan, 2, pool));
}

// GPTQ as its paper says it: after each column the inverse of what is left, no blocks, in f64.
std::vector<uint8_t> plain_gptq(const float* w, std::vector<double> h, int64_t n, const Grid& grid,
                                double damping) {
  double mean = 0.0;
  for (int64_t i = 0; i < n; ++i)
    mean += h[static_cast<size_t>(i * n + i)] / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) h[static_cast<size_t>(i * n + i)] += damping * mean;
  // Gauss-Jordan inverse.
  std::vector<double> inverse(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) inverse[static_cast<size_t>(i * n + i)] = 1.0;
  for (int64_t p = 0; p < n; ++p) {
    const double pivot = h[static_cast<size_t>(p * n + p)];
    for (int64_t j = 0; j < n; ++j) {
      h[static_cast<size_t>(p * n + j)] /= pivot;
      inverse[static_cast<size_t>(p * n + j)] /= pivot;
    }
    for (int64_t i = 0; i < n; ++i) {
      const double f = h[static_cast<size_t>(i * n + p)];
      if (i == p) continue;
      for (int64_t j = 0; j < n; ++j) {
        h[static_cast<size_t>(i * n + j)] -= f * h[static_cast<size_t>(p * n + j)];
        inverse[static_cast<size_t>(i * n + j)] -= f * inverse[static_cast<size_t>(p * n + j)];
      }
    }
  }
  std::vector<double> row(w, w + n);
  std::vector<uint8_t> codes;
  GroupScale group;
  for (int64_t j = 0; j < n; ++j) {
    if (j % grid.group_size == 0) {
      const std::vector<float> values(row.begin() + j, row.begin() + j + grid.group_size);
      group = fit_group(grid, values.data(), grid.group_size);
    }
    codes.push_back(encode(grid, group, static_cast<float>(row[static_cast<size_t>(j)])));
    const double d = inverse[static_cast<size_t>(j * n + j)];
    const double error = (row[static_cast<size_t>(j)] - double{decode(group, codes.back())}) / d;
    for (int64_t k = j; k < n; ++k) {
      row[static_cast<size_t>(k)] -= error * inverse[static_cast<size_t>(j * n + k)];
    }
    const std::vector<double> column(inverse.begin() + j * n, inverse.begin() + (j + 1) * n);
    for (int64_t i = j; i < n; ++i) {
      for (int64_t k = j; k < n; ++k) {
        inverse[static_cast<size_t>(i * n + k)] -=
            column[static_cast<size_t>(i)] * column[static_cast<size_t>(k)] / d;
      }
    }
  }
  return codes;
}

TEST(Gptq, SameCodesAsThePlainAlgorithm) {
  constexpr int64_t kCols = 192;  // more than one lazy block
  constexpr int64_t kRows = 9;
  const std::vector<float> w = random_values(kRows * kCols, 3);
  const std::vector<double> h = random_hessian(kCols, 400, 4);
  GptqOptions options;
  options.grid.group_size = 32;
  options.act_order = false;
  options.static_groups = false;
  ThreadPool pool(2);
  const auto q = quantize_gptq({w.data(), kRows, kCols, kCols}, h, options, pool);
  ASSERT_TRUE(q);
  int different = 0;
  for (int64_t n = 0; n < kRows; ++n) {
    const auto want = plain_gptq(w.data() + n * kCols, h, kCols, options.grid, options.damping);
    for (int64_t k = 0; k < kCols; ++k) {
      different += want[static_cast<size_t>(k)] != q->codes[static_cast<size_t>(n * kCols + k)];
    }
  }
  EXPECT_LE(different, kRows * kCols / 200);  // ties that f32 and f64 round differently
}

TEST(Gptq, ThreadsChangeNothingDeadInputsBecomeZeroAndTooLittleTextIsSurvived) {
  constexpr int64_t kCols = 96;
  const std::vector<float> w = random_values(20 * kCols, 5);
  std::vector<double> h = random_hessian(kCols, 10, 6);  // rank 10: singular without damping
  for (int64_t i = 0; i < kCols; ++i)
    h[static_cast<size_t>(7 * kCols + i)] = h[static_cast<size_t>(i * kCols + 7)] = 0.0;
  GptqOptions options;
  ThreadPool one(1), three(3);
  const auto a = quantize_gptq({w.data(), 20, kCols, kCols}, h, options, one);
  const auto b = quantize_gptq({w.data(), 20, kCols, kCols}, h, options, three);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->codes, b->codes);
  EXPECT_EQ(a->scales, b->scales);
  std::vector<float> row(kCols);
  dequantize_row(*a, 4, row.data());
  EXPECT_EQ(row[7], 0.0f);
  h[0] = NAN;
  const auto none = quantize_gptq({w.data(), 20, kCols, kCols}, h, options, one);
  EXPECT_FALSE(none);
}

TEST(Grid, SearchIsNeverWorseAndScalesAreStorable) {
  const std::vector<float> w = random_values(64 * 64, 8);
  for (const int32_t bits : {2, 3, 4, 8}) {
    Grid grid;
    grid.bits = bits;
    const auto error = [&](const Grid& g) {
      const QuantizedMatrix q = quantize_rtn({w.data(), 64, 64, 64}, g);
      double sum = 0.0;
      std::vector<float> row(64);
      for (int64_t n = 0; n < 64; ++n) {
        dequantize_row(q, n, row.data());
        for (int64_t k = 0; k < 64; ++k) {
          sum += std::pow(
              double{row[static_cast<size_t>(k)]} - double{w[static_cast<size_t>(n * 64 + k)]}, 2);
        }
      }
      return sum;
    };
    const double plain = error(grid);
    grid.search = true;
    EXPECT_LE(error(grid), plain);
  }
  const std::vector<float> zeros(32);
  const QuantizedMatrix q = quantize_rtn({zeros.data(), 1, 32, 32}, Grid{});
  std::vector<float> row(32, 1.0f);
  dequantize_row(q, 0, row.data());
  EXPECT_EQ(row, zeros);
  const std::vector<float> broken = {1.0f, NAN};
  const Status status = check_finite({broken.data(), 1, 2, 2});
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("[0, 1]"), std::string::npos);
}

// (w - q)^T H (w - q) over all rows.
double quadratic_error(ConstMatrixF32 w, const QuantizedMatrix& q, const std::vector<double>& h) {
  double sum = 0.0;
  std::vector<float> row(static_cast<size_t>(w.cols));
  for (int64_t n = 0; n < w.rows; ++n) {
    dequantize_codes(q, n, row.data());
    for (int64_t i = 0; i < w.cols; ++i) row[static_cast<size_t>(i)] -= w.row(n)[i];
    for (int64_t i = 0; i < w.cols; ++i) {
      for (int64_t j = 0; j < w.cols; ++j) {
        sum += double{row[static_cast<size_t>(i)]} * h[static_cast<size_t>(i * w.cols + j)] *
               double{row[static_cast<size_t>(j)]};
      }
    }
  }
  return sum;
}

// A matrix of a checkpoint as the plain loops round it: all at once.
QuantizedMatrix round_plainly(const IsqMatrix& matrix, uint64_t seed) {
  const int64_t cols = matrix.cols();
  std::vector<float> w(static_cast<size_t>(matrix.rows() * cols));
  const auto element = static_cast<size_t>(dtype_info(matrix.view.dtype).block_bytes);
  for (int64_t n = 0; n < matrix.rows(); ++n) {
    for (int64_t k = 0; k < cols; ++k) {
      const int64_t at = matrix.transposed ? k * matrix.rows() + n : n * cols + k;
      dequantize_row(matrix.view.dtype, matrix.view.data + static_cast<size_t>(at) * element,
                     w.data() + n * cols + k, 1);
    }
  }
  InputTransform rotation;
  if (matrix.scheme.rotate) {
    rotation = make_rotation(cols, 256, seed);
    w = rotate_rows({w.data(), matrix.rows(), cols, cols}, rotation);
  }
  QuantizedMatrix out = quantize_rtn({w.data(), matrix.rows(), cols, cols}, matrix.scheme.grid);
  out.transform = rotation;
  return out;
}

void expect_same(const QuantizedMatrix& got, const QuantizedMatrix& want) {
  EXPECT_EQ(got.codes, want.codes);
  EXPECT_EQ(got.scales, want.scales);
  EXPECT_EQ(got.zeros, want.zeros);
  EXPECT_EQ(got.zero, want.zero);
  EXPECT_EQ(got.group_size, want.group_size);
}

TEST(IsqCheckpoint, RoundsWhenRead) {
  constexpr int64_t kRows = 13, kCols = 160;
  constexpr uint64_t kSeed = 5;
  const std::vector<float> values = random_values(kRows * kCols, 8);
  const auto pool = std::make_shared<ThreadPool>(2);
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    std::vector<std::byte> data(values.size() * 4 + 1);
    for (const bool turned : {false, true}) {
      for (const size_t offset : {0, 1}) {  // a byte past where numbers of 16 bits stand
        quantize_row(dtype, values.data(), data.data() + offset, kRows * kCols);
        auto base = std::make_shared<Checkpoint>();
        base->tensors.push_back({.name = "w", .view = {}, .file = "f", .quantized = nullptr});
        IsqMatrix matrix;
        matrix.name = "w";
        matrix.transposed = turned;
        matrix.tensor = &base->tensors[0];
        matrix.view = turned ? make_view(data.data() + offset, dtype, {kCols, kRows})
                             : make_view(data.data() + offset, dtype, {kRows, kCols});
        for (const char* isq : {"rtn8", "rtn8:g64", "rtn4", "rtn4:sym", "rtn3:rot", "rtn2:g48"}) {
          const auto config = parse_isq(isq);
          ASSERT_TRUE(config) << config.error().message;
          matrix.scheme = scheme_of(*config, "w", MatrixKind::kLinear);
          const QuantizedMatrix want = round_plainly(matrix, kSeed);
          const auto made = make_isq_checkpoint(base, {matrix}, {}, pool, kSeed);
          ASSERT_TRUE(made);
          const QuantizedSource& source = *(*made)->find("w")->quantized;
          const auto whole = source.read();
          ASSERT_TRUE(whole) << whole.error().message;
          expect_same(*whole, want);
          EXPECT_EQ(whole->transform, want.transform);
          const auto form = source.form();
          ASSERT_TRUE(form.has_value());
          EXPECT_EQ(form->transform, want.transform);
          EXPECT_EQ(form->rows, kRows);
          QuantizedMatrix some, joined = want;
          joined.codes.clear();
          joined.scales.clear();
          joined.zeros.clear();
          for (int64_t first = 0; first < kRows; first += 4) {
            ASSERT_TRUE(source.read_rows(first, std::min<int64_t>(4, kRows - first), some));
            joined.codes.insert(joined.codes.end(), some.codes.begin(), some.codes.end());
            joined.scales.insert(joined.scales.end(), some.scales.begin(), some.scales.end());
            joined.zeros.insert(joined.zeros.end(), some.zeros.begin(), some.zeros.end());
          }
          expect_same(joined, want);
        }
      }
    }
  }
}

TEST(Refine, OnlyLowersTheErrorAndThreadsChangeNothing) {
  constexpr int64_t kCols = 80;
  constexpr int64_t kRows = 37;
  const std::vector<float> values = random_values(kRows * kCols, 21);
  const ConstMatrixF32 w{values.data(), kRows, kCols, kCols};
  const std::vector<double> h = random_hessian(kCols, 200, 22);
  const std::vector<float> short_h(h.begin(), h.end());
  ThreadPool one(1), three(3);
  for (const int32_t bits : {2, 3, 4}) {
    GptqOptions options;
    options.grid.bits = bits;
    options.grid.search = true;
    const auto gptq = quantize_gptq(w, h, options, one);
    ASSERT_TRUE(gptq);
    const double before = quadratic_error(w, *gptq, h);
    QuantizedMatrix scales = *gptq, a = *gptq, b = *gptq;
    refine(scales, w, short_h, {.grid = options.grid, .codes = false}, one);
    refine(a, w, short_h, {.grid = options.grid}, one);
    refine(b, w, short_h, {.grid = options.grid}, three);
    EXPECT_EQ(scales.codes, gptq->codes);
    EXPECT_LT(quadratic_error(w, scales, h), before);
    EXPECT_LT(quadratic_error(w, a, h), (bits == 2 ? 0.9 : 0.97) * before);
    EXPECT_TRUE(is_valid(a));
    EXPECT_EQ(a.codes, b.codes);
    EXPECT_EQ(a.scales, b.scales);
    // Told to stop: nothing changes.
    const std::atomic<bool> raised{true};
    QuantizedMatrix stopped = *gptq;
    refine(stopped, w, short_h, {.grid = options.grid, .stop = raised}, three);
    EXPECT_EQ(stopped.codes, gptq->codes);
    EXPECT_EQ(stopped.scales, gptq->scales);
  }
}

TEST(Gptq, DampingIsAPartOfTheMeanDiagonalWithDeadInputsAsOne) {
  // Diagonal 3, 0, 5: (3 + 1 + 5) / 3 = 3.
  const std::vector<double> h = {3, 9, 9, 9, 0, 9, 9, 9, 5};
  EXPECT_DOUBLE_EQ(damping_term(h, 3, 0.01), 0.03);
}

TEST(Rotation, ProductsStayTheSame) {
  constexpr int64_t kCols = 96;
  const InputTransform rotation = make_rotation(kCols, 64, 11);
  EXPECT_EQ(rotation.hadamard_block, 32);
  EXPECT_TRUE(make_rotation(7, 64, 1).empty());
  const std::vector<float> w = random_values(4 * kCols, 12);
  const std::vector<float> x = random_values(kCols, 13);
  const std::vector<float> turned = rotate_rows({w.data(), 4, kCols, kCols}, rotation);
  std::vector<float> t(kCols);
  apply_transform(rotation, x.data(), t.data(), kCols);
  for (size_t n = 0; n < 4; ++n) {
    double a = 0.0, b = 0.0;
    for (size_t k = 0; k < kCols; ++k) {
      a += double{w[n * kCols + k]} * double{x[k]};
      b += double{turned[n * kCols + k]} * double{t[k]};
    }
    EXPECT_NEAR(a, b, 1e-5);
  }
  // H of the turned inputs is the turned H.
  std::vector<double> h = random_hessian(kCols, 1, 13);
  rotate_hessian(h, kCols, rotation);
  EXPECT_NEAR(h[5 * kCols + 9], double{t[5]} * double{t[9]}, 1e-6);
}

}  // namespace
}  // namespace ruvllm
