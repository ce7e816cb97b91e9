// Every instruction set against loops as plain as the description, bit for bit.
#include "kernels/quantizer/quantizer.h"

#include <algorithm>
#include <cmath>

#include "base/float_types.h"
#include "kernels/kernel_test_util.h"

namespace ruvllm::kernels {
namespace {

using QuantizerTest = test::KernelTest<QuantizerKernels>;
INSTANTIATE_TEST_SUITE_P(Isa, QuantizerTest, test::rows_of(quantizer_kernel_list()),
                         test::row_name<QuantizerKernels>);

constexpr int64_t kCounts[] = {0, 1, 7, 8, 9, 16, 19, 24, 31, 32, 40, 64, 75, 128, 200};

double plain_dot(const std::vector<float>& a, const std::vector<float>& b) {
  float sums[16] = {};
  const size_t whole = a.size() / 16 * 16;
  for (size_t k = 0; k < whole; ++k) sums[k % 16] += a[k] * b[k];
  for (size_t i = 0; i < 8; ++i) sums[i] += sums[i + 8];
  for (size_t k = whole; k < a.size(); ++k) sums[k % 8] += a[k] * b[k];
  double total = 0.0;
  for (size_t i = 0; i < 8; ++i) total += double{sums[i]};
  return total;
}

TEST_P(QuantizerTest, DotAddsLaneByLane) {
  test::Random random(1);
  for (const int64_t count : kCounts) {
    const std::vector<float> a = random.vector(count, 3.0f), b = random.vector(count, 2.0f);
    EXPECT_EQ(kernels().dot(a.data(), b.data(), count), plain_dot(a, b)) << count;
  }
}

TEST_P(QuantizerTest, DotsAreEachADot) {
  test::Random random(21);
  const auto check = [&](int64_t num_a, int64_t num_b, int64_t count) {
    const int64_t stride = count + 3;
    const std::vector<float> a = random.vector(num_a * stride, 3.0f);
    const std::vector<float> b = random.vector(num_b * stride, 2.0f);
    std::vector<double> out(static_cast<size_t>(num_a * num_b)), expected;
    for (int64_t i = 0; i < num_a; ++i) {
      for (int64_t j = 0; j < num_b; ++j) {
        const float* const row_a = a.data() + i * stride;
        const float* const row_b = b.data() + j * stride;
        expected.push_back(plain_dot({row_a, row_a + count}, {row_b, row_b + count}));
      }
    }
    kernels().dots(a.data(), stride, num_a, b.data(), stride, num_b, count, out.data());
    EXPECT_EQ(out, expected) << count << ": " << num_a << " x " << num_b;
  };
  for (const int64_t count : kCounts) {
    check(1, 1, count);
    check(2, 4, count);
    check(5, 3, count);
    check(3, 9, count);
  }
  check(11, 70, 40);  // more rows than one pass takes
  check(9, 6, 1029);  // more terms
}

TEST_P(QuantizerTest, QuadraticFormAddsRowByRow) {
  test::Random random(23);
  for (const int64_t count : kCounts) {
    const int64_t stride = count + 5;
    const std::vector<float> h = random.vector(count * stride, 1.0f);
    const std::vector<float> v = random.vector(count, 2.0f);
    double expected = 0.0;
    for (int64_t i = 0; i < count; ++i) {
      const float* const row = h.data() + i * stride;
      expected += double{v[static_cast<size_t>(i)]} * plain_dot({row, row + count}, v);
    }
    EXPECT_EQ(kernels().quadratic_form(h.data(), stride, v.data(), count), expected) << count;
  }
}

TEST_P(QuantizerTest, RowsAreSubtractedTermByTerm) {
  test::Random random(2);
  for (const int64_t count : kCounts) {
    constexpr int64_t kTerms = 5;
    const int64_t stride = count + 3;
    const std::vector<float> rows = random.vector(kTerms * stride, 1.0f);
    const std::vector<float> e = random.vector(kTerms, 1.0f);
    std::vector<float> y = random.vector(count + 1, 4.0f);
    std::vector<float> expected = y;
    for (int64_t k = 0; k < count; ++k) {
      for (int64_t j = 0; j < kTerms; ++j) {
        float& y_k = expected[static_cast<size_t>(k)];
        y_k = std::fma(-rows[static_cast<size_t>(j * stride + k)], e[static_cast<size_t>(j)], y_k);
      }
    }
    kernels().subtract_rows(y.data(), count, e.data(), rows.data(), stride, kTerms);
    EXPECT_EQ(y, expected) << count;
  }
}

// Sums close to where f32 rounds up or down, sums of nothing, and below the normal numbers.
TEST_P(QuantizerTest, ProductsAreSubtractedAndRoundedOnce) {
  test::Random random(37);
  constexpr int64_t kCount = 19;
  int differs = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    const float size = std::ldexp(1.0f, trial % 3 == 0 ? -70 : 0);
    const float coarse = std::ldexp(1.0f, trial % 2 == 0 ? 12 : 23);
    const auto number = [&] { return std::round(random.uniform(1.0f) * coarse) / coarse * size; };
    const float e = number();
    std::vector<float> rows, y, expected;
    for (int64_t k = 0; k < kCount; ++k) {
      rows.push_back(number());
      y.push_back(k == 0 ? rows[0] * e : std::ldexp(number() * size, static_cast<int>(k) * 3 - 27));
      expected.push_back(std::fma(-rows.back(), e, y.back()));
      const float apart = rows.back() * e;
      differs += expected.back() != y.back() - apart;
    }
    kernels().subtract_rows(y.data(), kCount, &e, rows.data(), kCount, 1);
    ASSERT_EQ(y, expected) << trial;
  }
  EXPECT_GT(differs, 3000);  // else this shows nothing
}

TEST_P(QuantizerTest, RowsOfAStripAreSubtractedByIndex) {
  test::Random random(6);
  const std::vector<float> strip = random.vector(20 * kStripWidth, 1.0f);
  const std::vector<float> e = random.vector(12, 1.0f);
  const uint8_t index[] = {3, 0, 19, 3, 7, 12, 12, 1, 5, 18, 0, 2};
  for (const auto& [first, second] : {std::pair<int64_t, int64_t>{0, 0}, {1, 0}, {6, 2}, {3, 6}}) {
    std::vector<float> y = random.vector(2 * kStripWidth + 1, 4.0f);
    std::vector<float> expected = y;
    for (int64_t k = 0; k < 2 * kStripWidth; ++k) {
      const int64_t from = k < kStripWidth ? 0 : 6;
      for (int64_t j = from; j < from + (from == 0 ? first : second); ++j) {
        float& y_k = expected[static_cast<size_t>(k)];
        y_k = std::fma(-strip[static_cast<size_t>(index[j] * kStripWidth + k % kStripWidth)],
                       e[static_cast<size_t>(j)], y_k);
      }
    }
    kernels().subtract_terms({y.data(), e.data(), index, first},
                             {y.data() + kStripWidth, e.data() + 6, index + 6, second},
                             strip.data());
    EXPECT_EQ(y, expected) << first << ", " << second;
  }
}

TEST_P(QuantizerTest, AllRowsOfAStripAreSubtractedFromSomeRows) {
  test::Random random(16);
  constexpr int64_t kMostTerms = 37;
  const std::vector<float> strip = random.vector(kMostTerms * kStripWidth, 1.0f);
  const std::vector<float> e = random.vector(kMostTerms * kTermRows, 1.0f);
  for (const int64_t terms : {int64_t{0}, int64_t{1}, kMostTerms}) {
    std::vector<float> values = random.vector(kTermRows * (kStripWidth + 3), 4.0f);
    std::vector<float> expected = values;
    for (int64_t r = 0; r < kTermRows; ++r) {
      for (int64_t k = 0; k < kStripWidth; ++k) {
        for (int64_t j = 0; j < terms; ++j) {
          float& y_k = expected[static_cast<size_t>(r * (kStripWidth + 3) + k)];
          y_k = std::fma(-strip[static_cast<size_t>(j * kStripWidth + k)],
                         e[static_cast<size_t>(j * kTermRows + r)], y_k);
        }
      }
    }
    kernels().subtract_all_terms(values.data(), kStripWidth + 3, e.data(), terms, strip.data());
    EXPECT_EQ(values, expected) << terms;
  }
}

TEST_P(QuantizerTest, ColumnsAreRoundedOneAfterTheOther) {
  test::Random random(25);
  constexpr int64_t kColumns = 13, kRounded = 9;
  const std::vector<float> factor = random.vector(kColumns * kColumns, 1.0f);
  const std::vector<float> start = random.vector(kColumns * kLaneRows, 2.0f);
  std::vector<float> scales, zeros, w = start, expected = start;
  for (int64_t i = 0; i < kRounded * kLaneRows; ++i) {
    scales.push_back(0.3f + random.uniform(0.1f));
    zeros.push_back(static_cast<float>(random.next() % 16u));
  }
  std::vector<float> errors(scales.size()), expected_errors(scales.size());
  std::vector<uint8_t> codes(scales.size()), expected_codes(scales.size());
  for (int64_t j = 0; j < kRounded; ++j) {
    for (int64_t r = 0; r < kLaneRows; ++r) {
      const auto i = static_cast<size_t>(j * kLaneRows + r);
      const auto zero = static_cast<int32_t>(zeros[i]);
      kernels().encode(&expected[i], 1, scales[i], zero, 15, &expected_codes[i]);
      const float now = static_cast<float>(expected_codes[i] - zero) * scales[i];
      expected_errors[i] = (expected[i] - now) / factor[static_cast<size_t>(j * kColumns + j)];
      for (int64_t k = j + 1; k < kColumns; ++k) {
        expected[static_cast<size_t>(k * kLaneRows + r)] -=
            expected_errors[i] * factor[static_cast<size_t>(j * kColumns + k)];
      }
    }
  }
  kernels().walk_columns({w.data(), factor.data(), kColumns, scales.data(), zeros.data(), 15,
                          kRounded, kColumns, errors.data(), codes.data()});
  EXPECT_EQ(w, expected);
  EXPECT_EQ(errors, expected_errors);
  EXPECT_EQ(codes, expected_codes);
}

TEST_P(QuantizerTest, ProductsAreAddedInF64) {
  test::Random random(3);
  for (const int64_t num_terms : {0, 1, 7, 63, 64, 65, 200}) {
    const std::vector<float> left = random.vector(num_terms * kStripWidth, 1.0f);
    const std::vector<float> right = random.vector(num_terms * kStripWidth, 1.0f);
    std::vector<double> out(static_cast<size_t>(kStripWidth * kStripWidth), 0.25);
    std::vector<double> expected = out;
    for (int64_t begin = 0; begin < num_terms; begin += kProductTerms) {
      for (int64_t i = 0; i < kStripWidth; ++i) {
        for (int64_t k = 0; k < kStripWidth; ++k) {
          float sum = 0.0f;
          for (int64_t t = begin; t < std::min(num_terms, begin + kProductTerms); ++t) {
            sum = std::fma(left[static_cast<size_t>(t * kStripWidth + i)],
                           right[static_cast<size_t>(t * kStripWidth + k)], sum);
          }
          expected[static_cast<size_t>(i * kStripWidth + k)] += double{sum};
        }
      }
    }
    kernels().add_products(out.data(), left.data(), right.data(), num_terms);
    EXPECT_EQ(out, expected) << num_terms;
  }
}

TEST_P(QuantizerTest, ProductsInF64AddTermByTerm) {
  test::Random random(22);
  for (const int64_t num_terms : {0, 1, 9, 40}) {
    for (const int64_t num_rows : {int64_t{1}, kF64Rows}) {
      const auto wide = [&](int64_t n) {
        std::vector<double> out;
        for (const float v : random.vector(n, 1.0f)) out.push_back(double{v} / 3.0);
        return out;
      };
      const int64_t stride = num_terms + 2;
      const std::vector<double> left = wide(num_rows * stride);
      const std::vector<double> right = wide(num_terms * kF64Columns);
      std::vector<double> sums(static_cast<size_t>(num_rows * kF64Columns), 7.0), expected;
      for (int64_t i = 0; i < num_rows; ++i) {
        for (int64_t k = 0; k < kF64Columns; ++k) {
          double sum = 0.0;
          for (int64_t t = 0; t < num_terms; ++t) {
            sum = std::fma(left[static_cast<size_t>(i * stride + t)],
                           right[static_cast<size_t>(t * kF64Columns + k)], sum);
          }
          expected.push_back(sum);
        }
      }
      kernels().f64_products(sums.data(), left.data(), stride, num_rows, right.data(), num_terms);
      EXPECT_EQ(sums, expected) << num_rows << " x " << num_terms;
    }
  }
}

float plain_round(float w, float scale, float lowest, float highest) {
  return std::nearbyint(std::clamp(w / scale, lowest, highest));
}

// Values on the grid, of which one in seven has a slope that asks for another code.
TEST_P(QuantizerTest, FirstBetterCodeIsTheFirstOfAWalk) {
  test::Random random(24);
  for (const int64_t count : kCounts) {
    const int32_t zero = 6, max_code = 15;
    const float scale = 0.375f;
    std::vector<float> values, slopes, curvatures;
    std::vector<uint8_t> codes;
    std::vector<int64_t> expected;
    for (int64_t k = 0; k < count; ++k) {
      codes.push_back(static_cast<uint8_t>(random.next() % 16u));
      values.push_back(static_cast<float>(codes.back() - zero) * scale);
      curvatures.push_back(k % 11 == 5 ? 0.0f : 1.5f + random.uniform(1.0f));
      const float steps = k % 7 == 3 ? 1.0f + random.uniform(0.9f) : random.uniform(0.5f);
      slopes.push_back(steps * scale * curvatures.back());
      if (!(curvatures.back() > 0.0f)) continue;
      const float best = values.back() + slopes.back() / curvatures.back();
      const float x =
          plain_round(best, scale, static_cast<float>(-zero), static_cast<float>(max_code - zero));
      const float by = x * scale - values.back();
      if (static_cast<int32_t>(x) + zero != codes.back() &&
          by * by * curvatures.back() < 2.0f * by * slopes.back()) {
        expected.push_back(k);
      }
    }
    expected.push_back(count);
    std::vector<int64_t> found;
    for (int64_t k = 0; k <= count; ++k) {
      const int64_t rest = count - k;
      k += kernels().first_better_code({values.data() + k, slopes.data() + k, curvatures.data() + k,
                                        codes.data() + k, rest, scale, zero, max_code});
      found.push_back(k);
    }
    EXPECT_EQ(found, expected) << count;
  }
}

TEST_P(QuantizerTest, ExponentialsAreThoseOfThePolynomial) {
  test::Random random(31);
  for (const int64_t count : kCounts) {
    std::vector<float> v = random.vector(count, 95.0f);
    if (count > 8) v[3] = 0.0f, v[8] = -INFINITY;
    if (count > 16) v[9] = NAN;
    const std::vector<float> before = v;
    kernels().exponentials(v.data(), count);
    for (size_t k = 0; k < v.size(); ++k) {
      if (std::isnan(before[k])) {
        EXPECT_TRUE(std::isnan(v[k]));
        continue;
      }
      const float x = std::min(std::max(before[k], -87.0f), 88.0f);
      const float n = x * 1.44269504088896341f + 0x1.8p23f - 0x1.8p23f;
      const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
      float p = 1.9875691500e-4f;
      for (const float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                            5.0000001201e-1f}) {
        p = p * r + c;
      }
      EXPECT_EQ(v[k], std::ldexp((p * r) * r + r + 1.0f, static_cast<int>(n))) << before[k];
      const double exact = std::exp(double{x});
      EXPECT_NEAR(double{v[k]}, exact, 2.4e-7 * exact) << before[k];
    }
  }
}

TEST_P(QuantizerTest, ValuesAndCodesAreTheNearestOfTheGrid) {
  test::Random random(4);
  for (const int64_t count : kCounts) {
    for (const int32_t max_code : {3, 7, 15, 255}) {
      const int32_t zero =
          static_cast<int32_t>(random.next() % static_cast<uint32_t>(max_code + 1));
      const float scale = 0.125f;  // many ties
      std::vector<float> w = random.vector(count, scale * static_cast<float>(max_code));
      for (size_t k = 0; k < w.size(); k += 3) w[k] = std::round(w[k] * 16.0f) / 16.0f;
      std::vector<float> expected(w.size());
      std::vector<uint8_t> expected_codes(w.size() + 1, 77), codes = expected_codes;
      for (size_t k = 0; k < w.size(); ++k) {
        const float code = plain_round(w[k], scale, static_cast<float>(-zero),
                                       static_cast<float>(max_code - zero));
        expected[k] = code * scale;
        expected_codes[k] = static_cast<uint8_t>(static_cast<int32_t>(code) + zero);
      }
      kernels().encode(w.data(), count, scale, zero, max_code, codes.data());
      EXPECT_EQ(codes, expected_codes) << count << " " << max_code;
      kernels().round_to_grid(w.data(), count, scale, static_cast<float>(-zero),
                              static_cast<float>(max_code - zero));
      EXPECT_EQ(w, expected) << count << " " << max_code;
    }
  }
}

struct Scale {
  float scale, zero;
};

Scale plain_scale(const GridRanges& ranges, int i) {
  const float part = 1.0f - ranges.step * static_cast<float>(i);
  const float lo = ranges.lo * part, hi = ranges.hi * part;
  const auto storable = [&](float scale) {
    if (!ranges.f16_scales) return scale;
    return std::max(f16_to_f32(f32_to_f16(std::min(scale, 65504.0f))), 0x1p-24f);
  };
  if (lo == hi) {
    return {1.0f, ranges.symmetric ? static_cast<float>((ranges.max_code + 1) / 2) : 0.0f};
  }
  if (ranges.symmetric) {
    const int32_t middle = (ranges.max_code + 1) / 2;
    return {storable(std::max(-lo, hi) / static_cast<float>(middle - 1)),
            static_cast<float>(middle)};
  }
  const auto levels = static_cast<float>(ranges.max_code);
  const float scale = storable((hi - lo) / levels);
  return {scale, std::clamp(std::nearbyint(-lo / scale), 0.0f, levels)};
}

constexpr std::pair<float, float> kEnds[] = {
    {-1.0f, 1.0f},      {-0.3f, 0.7f},   {0.0f, 2.0f},        {-5.0f, 0.0f},
    {-1e-6f, 2e-5f},    {-1e-9f, 1e-8f}, {-1e-44f, 0.0f},     {0.0f, 0.0f},
    {-2e5f, 3e5f},      {-3e38f, 1e38f}, {-0x1p-15f, 3e-5f},  {-65519.0f, 65519.0f},
    {-1e-3f, 0x1p-13f}, {-0.0f, 1e-45f}, {-6.1e-5f, 9.2e-5f},
};

TEST_P(QuantizerTest, ScalesOfRangesAsTheyAreStored) {
  for (const auto& [lo, hi] : kEnds) {
    for (const int32_t max_code : {3, 7, 15, 255}) {
      for (const int variant : {0, 1, 2, 3}) {
        if (variant / 2 == 0 && hi - lo < 1e-37f && lo != hi)
          continue;  // no f32 scale is that small
        const GridRanges ranges{lo, hi, 0.02f, 30, max_code, variant % 2 == 1, variant / 2 == 1};
        float scales[kMostGridRanges], zeros[kMostGridRanges];
        kernels().scales_of_ranges(ranges, scales, zeros);
        for (int i = 0; i < ranges.count; ++i) {
          const Scale expected = plain_scale(ranges, i);
          ASSERT_EQ(scales[i], expected.scale)
              << lo << " " << hi << " " << max_code << " " << variant << " " << i;
          ASSERT_EQ(zeros[i], expected.zero)
              << lo << " " << hi << " " << max_code << " " << variant << " " << i;
        }
      }
    }
  }
}

TEST_P(QuantizerTest, RowsAreRoundedGroupByGroup) {
  test::Random random(6);
  for (const int64_t count : {1, 8, 31, 32, 256, 300, 1000}) {
    for (const int64_t size : {8, 12, 32, 128, 1000}) {
      for (const int variant : {0, 1, 2, 3, 4, 5, 6, 7}) {
        const RowGrid grid{size, variant / 4 == 0 ? 255 : 7, variant % 2 == 1,
                           variant / 2 % 2 == 1};
        std::vector<float> w = random.vector(count, 3.0f);
        const auto groups = static_cast<size_t>((count + size - 1) / size);
        for (size_t g = 0; g < groups; g += 3) {  // some of nothing, some of one sign
          for (size_t k = g * static_cast<size_t>(size); k < w.size(); ++k) {
            if (k >= (g + 1) * static_cast<size_t>(size)) break;
            w[k] = g % 2 == 0 ? 0.0f : std::abs(w[k]);
          }
        }
        std::vector<float> scales(groups + 1, 5.0f), expected_scales = scales;
        std::vector<int16_t> zeros(groups + 1, 5), expected_zeros = zeros;
        std::vector<uint8_t> codes(w.size() + 1, 5), expected_codes = codes;
        kernels().round_row(grid, w.data(), count, scales.data(), zeros.data(), codes.data());
        for (size_t g = 0; g < groups; ++g) {
          const size_t begin = g * static_cast<size_t>(size);
          const size_t end = std::min(w.size(), begin + static_cast<size_t>(size));
          float lo = 0.0f, hi = 0.0f;
          for (size_t k = begin; k < end; ++k) {
            lo = std::min(lo, w[k]);
            hi = std::max(hi, w[k]);
          }
          const Scale scale =
              plain_scale({lo, hi, 0.0f, 1, grid.max_code, grid.symmetric, grid.f16_scales}, 0);
          expected_scales[g] = scale.scale;
          expected_zeros[g] = static_cast<int16_t>(scale.zero);
          for (size_t k = begin; k < end; ++k) {
            const float most = static_cast<float>(grid.max_code) - scale.zero;
            expected_codes[k] = static_cast<uint8_t>(
                plain_round(w[k], scale.scale, -scale.zero, most) + scale.zero);
          }
        }
        ASSERT_EQ(scales, expected_scales) << count << " by " << size << ", variant " << variant;
        ASSERT_EQ(zeros, expected_zeros) << count << " by " << size << ", variant " << variant;
        ASSERT_EQ(codes, expected_codes) << count << " by " << size << ", variant " << variant;
      }
    }
  }
}

TEST_P(QuantizerTest, RoundingErrorsAreThoseOfDot) {
  test::Random random(5);
  for (const int64_t count : kCounts) {
    for (const bool weighted : {false, true}) {
      const std::vector<float> w = random.vector(count, 1.0f);
      std::vector<float> importance = random.vector(count, 1.0f);
      for (float& v : importance) v = std::abs(v);
      float scales[kMostGridRanges], zeros[kMostGridRanges];
      constexpr int32_t kMaxCode = 7;
      constexpr int kScales = 30;
      kernels().scales_of_ranges({-1.0f, 0.9f, 0.02f, kScales, kMaxCode, false, true}, scales,
                                 zeros);
      double errors[kMostGridRanges];
      kernels().rounding_errors(w.data(), weighted ? importance.data() : nullptr, count, scales,
                                zeros, kScales, kMaxCode, errors);
      for (int i = 0; i < kScales; ++i) {
        std::vector<float> e(w.size()), by(w.size());
        for (size_t k = 0; k < w.size(); ++k) {
          e[k] = plain_round(w[k], scales[i], -zeros[i], static_cast<float>(kMaxCode) - zeros[i]) *
                     scales[i] -
                 w[k];
          by[k] = weighted ? e[k] * importance[k] : e[k];
        }
        ASSERT_EQ(errors[i], plain_dot(e, by)) << count << " " << weighted << " " << i;
      }
    }
  }
}

// Against f64, and the same bits on every instruction set.
TEST_P(QuantizerTest, QuadraticErrorsAreTheForms) {
  test::Random random(7);
  for (const int64_t count : kCounts) {
    const auto n = static_cast<size_t>(count);
    const int64_t stride = count + 5;
    const std::vector<float> w = random.vector(count, 1.0f);
    std::vector<float> inverse = random.vector(count, 1.0f);
    for (float& v : inverse) v = 1.0f + std::abs(v);
    std::vector<float> h(n * static_cast<size_t>(stride), test::kNan);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j <= i; ++j) {
        const float value = i == j ? static_cast<float>(count) : random.uniform(1.0f);
        h[i * static_cast<size_t>(stride) + j] = h[j * static_cast<size_t>(stride) + i] = value;
      }
    }
    constexpr int32_t kMaxCode = 15;
    constexpr int kScales = 25;
    float scales[kMostGridRanges], zeros[kMostGridRanges];
    kernels().scales_of_ranges({-0.8f, 1.0f, 0.025f, kScales, kMaxCode, false, true}, scales,
                               zeros);
    std::vector<float> scratch(8 * n + 1);
    const QuadraticErrors args{w.data(), inverse.data(), count, h.data(), stride, scratch.data()};
    double errors[kMostGridRanges], plain[kMostGridRanges];
    kernels().quadratic_errors(args, scales, zeros, kScales, kMaxCode, errors);
    generic::kQuantizer.quadratic_errors(args, scales, zeros, kScales, kMaxCode, plain);
    for (int i = 0; i < kScales; ++i) {
      std::vector<double> e(n);
      for (size_t k = 0; k < n; ++k) {
        const double rounded =
            plain_round(w[k], scales[i], -zeros[i], static_cast<float>(kMaxCode) - zeros[i]);
        e[k] = (rounded * scales[i] - w[k]) * inverse[k];
      }
      // An error is a difference of numbers up to 2 whose rounding it keeps; sums round n times.
      double form = 0.0, slack = 0.0;
      for (size_t a = 0; a < n; ++a) {
        for (size_t b = 0; b < n; ++b) {
          const double weight = h[a * static_cast<size_t>(stride) + b];
          form += e[a] * weight * e[b];
          slack += std::abs(weight) * test::kEps *
                   (8 * (std::abs(e[a]) + std::abs(e[b])) +
                    static_cast<double>(count) * std::abs(e[a] * e[b]));
        }
      }
      ASSERT_NEAR(errors[i], form, slack) << count << " " << i;
      ASSERT_EQ(errors[i], plain[i]) << count << " " << i;
    }
  }
}

}  // namespace
}  // namespace ruvllm::kernels
