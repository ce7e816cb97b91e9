// The weights that make up for drifted inputs, against least squares in double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/rng.h"
#include "quantize/input_drift.h"
#include "quantize/input_stats.h"
#include "quantize/rotation.h"

namespace ruvllm {
namespace {

constexpr int64_t kCols = 40;
constexpr int64_t kTokens = 2500;  // more than one product of the sum
constexpr int64_t kRows = 6;

std::vector<float> random_values(int64_t count, uint64_t seed) {
  std::vector<float> out;
  for (int64_t i = 0; i < count; ++i) {
    out.push_back(static_cast<float>(random_uniform(seed, 0, static_cast<uint64_t>(i)) - 0.5));
  }
  return out;
}

ConstMatrixF32 as_matrix(const std::vector<float>& values) {
  return {values.data(), static_cast<int64_t>(values.size()) / kCols, kCols, kCols};
}

// Inputs that hang together, and what is left of them after noise and a part of their neighbours.
struct Streams {
  explicit Streams(uint64_t seed) : exact(random_values(kTokens * kCols, seed)) {
    const std::vector<float> noise = random_values(kTokens * kCols, seed + 1);
    for (size_t i = exact.size(); i-- > 1;) exact[i] += 0.7f * exact[i - 1];
    quantized = exact;
    for (size_t i = 0; i + 3 < exact.size(); ++i) {
      quantized[i] += 0.2f * exact[i + 3] + 0.3f * noise[i];
    }
  }
  std::vector<float> exact, quantized;
};

// x A = b for the symmetric positive definite A, by elimination.
std::vector<double> solve(std::vector<double> a, std::vector<double> b) {
  const size_t n = b.size();
  for (size_t i = 0; i < n; ++i) {
    for (size_t r = i + 1; r < n; ++r) {
      const double part = a[r * n + i] / a[i * n + i];
      for (size_t c = i; c < n; ++c) a[r * n + c] -= part * a[i * n + c];
      b[r] -= part * b[i];
    }
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t c = i + 1; c < n; ++c) b[i] -= a[i * n + c] * b[c];
    b[i] /= a[i * n + i];
  }
  return b;
}

class Drift : public testing::TestWithParam<int> {
 protected:
  // W D (H + damping)^-1.
  std::vector<float> correction(const std::vector<float>& w, ConstMatrixF32 exact,
                                ConstMatrixF32 quantized, double damping) {
    ThreadPool pool(GetParam());
    const auto ops = make_cpu_ops(GetParam());
    InputStats stats(kCols, true, 0);
    stats.add(quantized, pool);
    hessian_ = stats.hessian();
    GptqOptions options;
    options.damping = damping;
    const auto plan = plan_gptq(hessian_, kCols, options, pool);
    EXPECT_TRUE(plan && ops);
    added_ = damping_term(hessian_, kCols, plan->damping);
    auto drift = InputDrift::make(**ops, pool, exact, quantized, 0);
    EXPECT_TRUE(drift);
    EXPECT_FALSE(drift->none());
    const auto solver = FactorSolver::make(**ops, *plan);
    EXPECT_TRUE(solver);
    std::vector<float> out = drift->change(as_matrix(w), *solver, {});
    // Solved for all matrices at once it is the same.
    EXPECT_TRUE(drift->solve(*solver, {}));
    const std::vector<float> again = drift->change(as_matrix(w), *solver, {});
    for (size_t i = 0; i < out.size(); ++i) EXPECT_NEAR(again[i], out[i], 1e-5);
    return out;
  }

  std::vector<double> hessian_;
  double added_ = 0.0;
};

// Of some tokens' twins, the sums over them as if of all; an input that is always 0 stays out.
TEST_P(Drift, IsWhatItsFormulaSays) {
  Streams streams(3);
  for (int64_t t = 0; t < kTokens; ++t)
    streams.quantized[static_cast<size_t>(t * kCols + 7)] = 0.0f;
  constexpr int64_t kTwins = 2100;
  const ConstMatrixF32 exact{streams.exact.data(), kTwins, kCols, kCols};
  const ConstMatrixF32 quantized = as_matrix(streams.quantized);
  const std::vector<float> w = random_values(kRows * kCols, 9);
  const std::vector<float> found = correction(w, exact, quantized, 0.01);

  constexpr auto n = static_cast<size_t>(kCols);
  std::vector<double> drift(n * n);
  for (int64_t t = 0; t < kTwins; ++t) {
    for (size_t i = 0; i < n; ++i) {
      const double lost = double{exact.row(t)[i]} - double{quantized.row(t)[i]};
      for (size_t j = 0; j < n; ++j) {
        drift[i * n + j] += lost * double{quantized.row(t)[j]} * double{kTokens} / double{kTwins};
      }
    }
  }
  std::vector<double> damped = hessian_;
  for (size_t k = 0; k < n; ++k) damped[k * n + k] += added_ + (k == 7 ? 1.0 : 0.0);
  for (size_t r = 0; r < kRows; ++r) {
    std::vector<double> right(n);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) right[j] += double{w[r * n + i]} * drift[i * n + j];
    }
    const std::vector<double> want = solve(damped, right);
    double size = 0.0;
    for (const double v : want) size = std::max(size, std::abs(v));
    EXPECT_GT(size, 0.01);
    for (size_t k = 0; k < n; ++k) EXPECT_NEAR(found[r * n + k], want[k], 1e-4 * size) << k;
    EXPECT_EQ(found[r * n + 7], 0.0f);
  }
}

TEST_P(Drift, MadeUpForIsNearerAndNothingNearIsNearer) {
  const Streams streams(5);
  const std::vector<float> w = random_values(kRows * kCols, 11);
  const std::vector<float> change =
      correction(w, as_matrix(streams.exact), as_matrix(streams.quantized), 1e-6);
  // || W X - (W + part change + 0.001 e) X_q ||^2
  const auto error = [&](double part, const std::vector<float>* e) {
    double sum = 0.0;
    for (int64_t t = 0; t < kTokens; ++t) {
      for (size_t r = 0; r < kRows; ++r) {
        double off = 0.0;
        for (size_t k = 0; k < kCols; ++k) {
          const size_t at = r * kCols + k;
          const double v = double{w[at]} + part * double{change[at]} +
                           (e == nullptr ? 0.0 : 0.001 * double{(*e)[at]});
          off += double{w[at]} * double{as_matrix(streams.exact).row(t)[k]} -
                 v * double{as_matrix(streams.quantized).row(t)[k]};
        }
        sum += off * off;
      }
    }
    return sum;
  };
  const double best = error(1.0, nullptr);
  EXPECT_LT(best, 0.9 * error(0.0, nullptr));
  for (const double part : {0.98, 1.02}) EXPECT_GT(error(part, nullptr), best);
  for (const uint64_t seed : {21, 22, 23}) {
    const std::vector<float> e = random_values(kRows * kCols, seed);
    EXPECT_GT(error(1.0, &e), best);
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, Drift, testing::Values(1, 3));

TEST(DriftEdges, EqualInputsHaveNoneAndThreadsChangeNothing) {
  const Streams streams(7);
  const ConstMatrixF32 exact = as_matrix(streams.exact);
  std::vector<double> hessian(kCols * kCols);
  for (size_t k = 0; k < kCols; ++k) hessian[k * kCols + k] = 1.0 + static_cast<double>(k);
  std::vector<float> first;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    const auto ops = make_cpu_ops(threads);
    ASSERT_TRUE(ops);
    EXPECT_TRUE(InputDrift::make(**ops, pool, exact, exact, 9)->none());
    EXPECT_TRUE(InputDrift::make(**ops, pool, {exact.data, 0, kCols, kCols}, exact, 0)->none());
    const auto drift = InputDrift::make(**ops, pool, exact, as_matrix(streams.quantized), 100);
    ASSERT_TRUE(drift);
    const auto plan = plan_gptq(hessian, kCols, {}, pool);
    ASSERT_TRUE(plan);
    const auto solver = FactorSolver::make(**ops, *plan);
    ASSERT_TRUE(solver);
    const std::vector<float> w = random_values(kRows * kCols, 1);
    const std::vector<float> found = drift->change(as_matrix(w), *solver, {});
    if (threads == 1) first = found;
    EXPECT_EQ(found, first);
  }
}

// A change that is right for the tokens held out is trusted whole, twice that half, and one that
// has nothing to do with them, or goes the other way, not at all; rotated or not.
TEST(DriftEdges, TheTrustedPartIsWhatIsBestForTokensHeldOut) {
  ThreadPool pool(2);
  const auto ops = make_cpu_ops(2);
  ASSERT_TRUE(ops);
  // x = x_q + part x_q[k + 1 of the row].
  const std::vector<float> quantized = random_values(kTokens * kCols, 31);
  std::vector<float> exact = quantized;
  std::vector<float> shift(kCols * kCols);
  for (int64_t k = 0; k < kCols; ++k) {
    const int64_t next = (k + 1) % kCols;
    shift[static_cast<size_t>(k * kCols + next)] = 0.3f;
    for (int64_t t = 0; t < kTokens; ++t) {
      exact[static_cast<size_t>(t * kCols + k)] += 0.3f * as_matrix(quantized).row(t)[next];
    }
  }
  const std::vector<float> w = random_values(kRows * kCols, 33);
  std::vector<float> right(w.size());  // W times shift
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t i = 0; i < kCols; ++i) {
      for (size_t j = 0; j < kCols; ++j)
        right[r * kCols + j] += w[r * kCols + i] * shift[i * kCols + j];
    }
  }
  const auto drift = InputDrift::make(**ops, pool, as_matrix(exact), as_matrix(quantized), 200);
  ASSERT_TRUE(drift);
  for (const InputTransform& rotation : {InputTransform(), make_rotation(kCols, 8, 1)}) {
    const auto part = [&](float scale, const std::vector<float>& of) {
      std::vector<float> change = of;
      for (float& v : change) v *= scale;
      if (!rotation.empty()) change = rotate_rows(as_matrix(change), rotation);
      return drift->trusted_part(as_matrix(w), as_matrix(change), rotation).value();
    };
    EXPECT_NEAR(part(1.0f, right), 1.0, 1e-4);
    EXPECT_NEAR(part(2.0f, right), 0.5, 1e-4);
    EXPECT_EQ(part(0.5f, right), 1.0);  // no more than it is
    EXPECT_EQ(part(-1.0f, right), 0.0);
    EXPECT_LT(part(1.0f, random_values(kRows * kCols, 35)), 0.1);
    EXPECT_EQ(part(0.0f, right), 0.0);
  }
}

}  // namespace
}  // namespace ruvllm
