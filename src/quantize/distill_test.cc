// Tuning: the straight-through rule and Adam against plain double precision, and whole runs on a
// small model.
#include "quantize/distill.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/float_types.h"
#include "base/rng.h"
#include "base/test_util.h"
#include "model/model_test_util.h"
#include "quantize/decoder_gradient.h"
#include "quantize/divergence_loss.h"
#include "quantize/isq_checkpoint.h"
#include "quantize/panel_products.h"
#include "quantize/quantize_test_util.h"
#include "quantize/row_gradients.h"
#include "quantize/tuned_matrix.h"

namespace ruvllm {
namespace {

TEST(PanelProducts, AreTheSumsWhateverLiesWhere) {
  for (const auto& [rows, terms, columns] :
       {std::array<int64_t, 3>{1, 1, 1}, {4, 8, 32}, {7, 5, 33}, {37, 19, 70}, {3, 40, 31}}) {
    const std::vector<float> a = random_values(rows * terms, 1);
    const std::vector<float> b = random_values(terms * columns, 2);
    std::vector<float> turned_a(a.size()), turned_b(b.size());
    for (int64_t t = 0; t < terms; ++t) {
      for (int64_t i = 0; i < rows; ++i) turned_a[t * rows + i] = a[i * terms + t];
      for (int64_t k = 0; k < columns; ++k) turned_b[k * terms + t] = b[t * columns + k];
    }
    Strips plain, turned, by_term;
    plain.resize(terms, columns);
    turned.resize(terms, columns);
    by_term.resize(terms, columns);
    for (int64_t s = 0; s < plain.count(); ++s) {
      plain.fill(s, b.data(), columns, 1);
      turned.fill(s, turned_b.data(), 1, terms);
    }
    for (int64_t t = 0; t < terms; ++t) by_term.fill_term(t, b.data() + t * columns);
    std::vector<float> first, panels;
    for (const Strips* strips : {&plain, &turned, &by_term}) {
      for (const LeftFactor left :
           {LeftFactor{a.data(), terms, 1}, LeftFactor{turned_a.data(), 1, rows}}) {
        std::vector<float> c(static_cast<size_t>(rows * columns), 0.5f);
        multiply(left, *strips, make_matrix(c.data(), rows, columns), true, panels);
        if (first.empty()) first = c;
        EXPECT_EQ(c, first);
      }
    }
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t k = 0; k < columns; ++k) {
        double sum = 0.5;
        for (int64_t t = 0; t < terms; ++t) {
          sum += double{a[i * terms + t]} * double{b[t * columns + k]};
        }
        EXPECT_NEAR(first[i * columns + k], sum, 1e-5);
      }
    }
  }
}

TEST(RowGradients, ExponentialsAndTheirSum) {
  for (const int64_t count : {1, 3, 4, 5, 300}) {
    std::vector<float> v = random_values(count, 5);
    for (float& x : v) x *= 30.0f;
    const std::vector<float> before = v;
    float greatest = 0.0f;
    const double sum = exponentials_of(v.data(), count, greatest);
    EXPECT_EQ(greatest, *std::ranges::max_element(before));
    double expected = 0.0;
    for (size_t i = 0; i < v.size(); ++i) {
      const double e = std::exp(double{before[i] - greatest});
      EXPECT_NEAR(v[i], e, 2.4e-7 * e);
      expected += e;
    }
    EXPECT_NEAR(sum, expected, 1e-6 * expected);
  }
}

// One row as the header says it, in f64 but where the stored numbers are f32 or f16.
struct PlainRow {
  double max_code;
  double zero;
  std::vector<double> u, m, v;
  double s0, a = 0.0, scale_m = 0.0, scale_v = 0.0, scale;

  double code(size_t k) const { return std::nearbyint(std::clamp(u[k], 0.0, max_code)); }
  void move(const std::vector<float>& gradient, double code_rate, double scale_rate, int step) {
    const double c1 = 1.0 - std::pow(0.9, step), c2 = 1.0 - std::pow(0.99, step);
    double along = 0.0;
    for (size_t k = 0; k < u.size(); ++k) {
      const double g = scale * double{gradient[k]};
      along += g * (code(k) - zero);
      const double inside = u[k] >= 0.0 && u[k] <= max_code ? g : 0.0;
      m[k] = 0.9 * m[k] + 0.1 * inside;
      v[k] = 0.99 * v[k] + 0.01 * inside * inside;
      u[k] -= code_rate * (m[k] / c1) / (std::sqrt(v[k] / c2) + 1e-10);
      u[k] = std::clamp(u[k], -0.5, max_code + 0.5);
    }
    scale_m = 0.9 * scale_m + 0.1 * along;
    scale_v = 0.99 * scale_v + 0.01 * along * along;
    a -= scale_rate * (scale_m / c1) / (std::sqrt(scale_v / c2) + 1e-10);
    scale = double{f16_to_f32(f32_to_f16(static_cast<float>(s0 * std::exp(a))))};
  }
};

TEST(TunedMatrix, MovesAsStraightThroughAndAdamSay) {
  for (const bool symmetric : {false, true}) {
    constexpr int64_t kCols = 21;  // groups of 8, 8 and 5
    Grid grid{.bits = 3, .group_size = 8, .symmetric = symmetric, .search = true};
    const std::vector<float> w = random_values(2 * kCols, 9);
    const QuantizedMatrix start = quantize_rtn({w.data(), 2, kCols, kCols}, grid);
    TunedMatrix tuned({w.data(), 2, kCols, kCols}, start);
    // At first it is the rounding itself.
    EXPECT_EQ(tuned.quantized().codes, start.codes);
    std::vector<PlainRow> plain;
    for (int64_t g = 0; g < 3; ++g) {
      PlainRow& row = plain.emplace_back();
      row.max_code = 7.0;
      row.zero = start.zero_at(1, g);
      row.s0 = row.scale = double{start.scale_at(1, g)};
      for (int64_t k = 8 * g; k < std::min<int64_t>(8 * g + 8, kCols); ++k) {
        row.u.push_back(std::clamp(double{w[kCols + k]} / row.s0 + row.zero, -0.5, 7.5));
      }
      row.m.resize(row.u.size());
      row.v.resize(row.u.size());
    }
    for (int step = 1; step <= 60; ++step) {
      const std::vector<float> gradient = random_values(kCols, 100 + static_cast<uint64_t>(step));
      const auto rate = static_cast<float>(0.3 / step);
      tuned.move_row(1, gradient.data(),
                     {rate, 0.5f * rate, static_cast<float>(1.0 / (1.0 - std::pow(0.9, step))),
                      static_cast<float>(1.0 / (1.0 - std::pow(0.99, step)))});
      for (size_t g = 0; g < 3; ++g) {
        const auto first = gradient.begin() + static_cast<int64_t>(8 * g);
        plain[g].move({first, first + static_cast<int64_t>(plain[g].u.size())}, double{rate},
                      0.5 * double{rate}, step);
      }
    }
    const QuantizedMatrix out = tuned.quantized();
    EXPECT_TRUE(is_valid(out));
    std::vector<float> row(kCols);
    tuned.read_row(1, row.data());
    size_t changed = 0;
    for (size_t k = 0; k < kCols; ++k) {
      const PlainRow& group = plain[k / 8];
      // A code on the edge between two may be either.
      const double u = std::clamp(group.u[k % 8], 0.0, 7.0);
      if (std::abs(u - std::floor(u) - 0.5) > 1e-4) {
        EXPECT_EQ(double(out.codes[kCols + k]), group.code(k % 8)) << k;
      }
      changed += out.codes[kCols + k] != start.codes[kCols + k];
      EXPECT_NEAR(out.scale_at(1, static_cast<int64_t>(k / 8)), group.scale, 1e-3 * group.scale);
      EXPECT_EQ(out.zero_at(1, static_cast<int64_t>(k / 8)), int(group.zero));
      std::vector<float> back(kCols);
      dequantize_codes(out, 1, back.data());
      EXPECT_EQ(row[k], back[k]);
    }
    EXPECT_GT(changed, 0u);
    // The other row stayed.
    EXPECT_TRUE(std::equal(start.codes.begin(), start.codes.begin() + kCols, out.codes.begin()));
  }
}

// A model of the pattern's numbers, larger so that its predictions are not flat.
class Distill : public testing::Test {
 protected:
  Distill() {
    ModelConfig config = test::tiny_config();
    test::add_llama(set_, config, "model.");
    for (FileTensor& tensor : set_.tensors) {
      auto* const values = const_cast<float*>(reinterpret_cast<const float*>(tensor.view.data));
      for (int64_t i = 0; i < tensor.view.num_elements(); ++i) {
        values[i] =
            tensor.name.find("norm") != std::string::npos ? 1.0f + values[i] : 2.0f * values[i];
      }
    }
    checkpoint_->path = "tiny";
    checkpoint_->config = config;
    checkpoint_->tensors = set_.tensors;
    for (int32_t i = 0; i < 12; ++i) {
      std::vector<int32_t>& sample = samples_.emplace_back();
      for (int32_t t = 0; t < 40 - i; ++t) {
        sample.push_back(static_cast<int32_t>(
            random_bits(7, static_cast<uint64_t>(i), static_cast<uint64_t>(t)) % 48));
      }
    }
  }

  DistillArgs args(const std::vector<IsqMatrix>& matrices, int threads, int32_t passes) const {
    DistillArgs out{.checkpoint = *checkpoint_, .matrices = matrices};
    out.samples = samples_;
    out.pool = std::make_shared<ThreadPool>(threads);
    out.passes = passes;
    return out;
  }
  std::vector<IsqMatrix> matrices(const char* isq) const {
    return *list_matrices(*checkpoint_, *parse_isq(isq));
  }

  test::TensorSet set_;
  std::shared_ptr<Checkpoint> checkpoint_ = std::make_shared<Checkpoint>();
  std::vector<std::vector<int32_t>> samples_;
};

std::vector<QuantizedMatrix> values_of(const Result<std::vector<FileTensor>>& tensors) {
  std::vector<QuantizedMatrix> out;
  EXPECT_TRUE(tensors) << (tensors ? "" : tensors.error().message);
  if (!tensors) return out;
  for (const FileTensor& tensor : *tensors) out.push_back(*tensor.quantized->read());
  return out;
}

TEST_F(Distill, SameBytesOnAnyNumberOfThreads) {
  const std::vector<IsqMatrix> list = matrices("rtn3:g16:tuned,down_proj=8,o_proj=keep");
  const auto one = values_of(distill(args(list, 1, 3)));
  EXPECT_EQ(one.size(), 2u * 5u);  // q, k, v, gate, up
  for (const int threads : {2, 3}) {
    const auto other = values_of(distill(args(list, threads, 3)));
    ASSERT_EQ(other.size(), one.size());
    for (size_t i = 0; i < one.size(); ++i) {
      EXPECT_EQ(other[i].codes, one[i].codes);
      EXPECT_EQ(other[i].scales, one[i].scales);
      EXPECT_EQ(other[i].zeros, one[i].zeros);
      EXPECT_TRUE(is_valid(one[i]));
    }
  }
  // Another order is another path.
  DistillArgs seeded = args(list, 2, 3);
  seeded.seed = 5;
  const auto other = values_of(distill(std::move(seeded)));
  EXPECT_NE(other[0].codes, one[0].codes);
}

// Matrices as these tensors hold them, others as stored.
class TensorRows final : public MatrixRows {
 public:
  TensorRows(const std::vector<IsqMatrix>& matrices, const std::vector<FileTensor>& tensors)
      : stored_(matrices), values_(matrices.size()) {
    for (size_t i = 0; i < matrices.size(); ++i) {
      for (const FileTensor& tensor : tensors) {
        if (tensor.name == matrices[i].name) values_[i] = *tensor.quantized->read();
      }
    }
  }
  void read(size_t matrix, int64_t row, float* out) const override {
    if (values_[matrix].rows == 0) return stored_.read(matrix, row, out);
    dequantize_codes(values_[matrix], row, out);
  }

 private:
  StoredRows stored_;
  std::vector<QuantizedMatrix> values_;
};

TEST_F(Distill, PredictionsComeNearer) {
  const std::vector<IsqMatrix> list = matrices("rtn2:g16:tuned,embed=keep,head=keep");
  ThreadPool pool(2);
  std::vector<FileTensor> rounded;
  for (const IsqMatrix& matrix : list) {
    if (!is_tuned(matrix)) continue;
    const std::vector<float> w = *read_matrix(matrix, pool);
    rounded.push_back(*quantized_tensor(
        matrix,
        quantize_rtn({w.data(), matrix.rows(), matrix.cols(), matrix.cols()}, matrix.scheme.grid)));
  }
  const auto tuned = distill(args(list, 2, 16));
  ASSERT_TRUE(tuned) << tuned.error().message;
  const auto parts = find_decoder_parts(*checkpoint_, list);
  ASSERT_TRUE(parts) << parts.error().message;
  const StoredRows exact(list);
  const auto divergence = [&](const std::vector<FileTensor>& tensors) {
    const TensorRows rows(list, tensors);
    DecoderGradient decoder(checkpoint_->config, *parts, pool);
    DivergenceLoss loss(checkpoint_->config, *parts, exact, rows, pool);
    const std::vector<std::span<const int32_t>> sequences(samples_.begin(), samples_.end());
    const ConstMatrixF32 hidden = decoder.forward(exact, sequences);
    std::vector<float> kept(hidden.data, hidden.data + hidden.rows * hidden.cols), d(kept.size());
    const ConstMatrixF32 here = decoder.forward(rows, sequences);
    return loss.run(make_matrix(kept.data(), here.rows, here.cols), here,
                    make_matrix(d.data(), here.rows, here.cols));
  };
  EXPECT_EQ(divergence({}), 0.0);
  EXPECT_LT(divergence(*tuned), 0.5 * divergence(rounded));
}

TEST_F(Distill, StepsAreCountedAndAFlagEndsThem) {
  const std::vector<IsqMatrix> list = matrices("rtn2:g16:tuned");
  std::atomic<bool> flag{false};
  DistillArgs here = args(list, 2, 2);
  EXPECT_EQ(num_distill_steps(samples_, 2), 12);
  int64_t last = 0;
  here.stop = flag;
  here.progress = [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, 12);
    EXPECT_EQ(done, ++last);
    flag = done == 5;
  };
  const auto stopped = distill(std::move(here));
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(last, 5);
}

TEST_F(Distill, WhatIsNoNumberIsAnError) {
  auto* const values =
      const_cast<float*>(reinterpret_cast<const float*>(set_.find("model.norm.weight")->view.data));
  values[3] = INFINITY;
  const auto tensors = distill(args(matrices("rtn4:tuned"), 1, 1));
  ASSERT_FALSE(tensors);
  EXPECT_EQ(tensors.error().code, ErrorCode::kBadFile);
  EXPECT_NE(tensors.error().message.find("divergence is not a finite number"), std::string::npos)
      << tensors.error().message;
}

}  // namespace
}  // namespace ruvllm
