// The ops of CpuOps that work row by row, beside the reference device, and with the same bits for
// every number of threads and rows.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel_rows.h"

namespace ruvllm {
namespace {

using kernels::IsaLevel;

constexpr float kEps = 0x1p-23f;

// Rows of a matrix wider than its columns: the gap must stay untouched.
struct Matrix {
  int64_t rows, cols, stride;
  std::vector<float> data;

  Matrix(int64_t r, int64_t c, uint32_t seed, float limit = 2.0f)
      : rows(r), cols(c), stride(c + 5), data(static_cast<size_t>(r * (c + 5)) + 1) {
    uint32_t state = seed * 2654435761u + 1;
    for (float& x : data) {
      state = state * 1664525u + 1013904223u;
      x = (static_cast<float>(state >> 8) * 0x1p-23f - 1.0f) * limit;
    }
  }
  MatrixF32 view() { return {data.data(), rows, cols, stride}; }
  float at(int64_t t, int64_t i) const { return data[static_cast<size_t>(t * stride + i)]; }
};

void expect_near(const Matrix& got, const Matrix& want, float relative, float absolute) {
  for (int64_t t = 0; t < got.rows; ++t) {
    for (int64_t i = 0; i < got.cols; ++i) {
      const float limit = std::fabs(want.at(t, i)) * relative + absolute;
      ASSERT_NEAR(got.at(t, i), want.at(t, i), limit) << "row " << t << " column " << i;
    }
    for (int64_t i = got.cols; i < got.stride; ++i) ASSERT_EQ(got.at(t, i), want.at(t, i));
  }
}

class RowsTest : public testing::TestWithParam<IsaLevel> {
 protected:
  void SetUp() override {
    if (!kernels::isa_supported(GetParam())) {
      GTEST_SKIP() << "not run: this machine has no " << kernels::isa_name(GetParam());
    }
  }

  // Runs `call(ops, matrix)` on copies of `start`: close to the reference, and the same bits with
  // 1 to 4 threads and for the last row alone.
  template <typename Call>
  void check(const Matrix& start, Call call, float relative, float absolute) {
    Matrix want = start;
    call(*make_reference_ops(), want.view(), int64_t{0});
    Matrix one = start;
    CpuOps single(1, GetParam());
    call(single, one.view(), int64_t{0});
    expect_near(one, want, relative, absolute);
    for (int threads = 2; threads <= 4; ++threads) {
      Matrix many = start;
      CpuOps ops(threads, GetParam());
      call(ops, many.view(), int64_t{0});
      ASSERT_EQ(many.data, one.data) << threads;
    }
    Matrix last = start;
    MatrixF32 view = last.view();
    view.data += (start.rows - 1) * start.stride;
    view.rows = 1;
    call(single, view, start.rows - 1);
    for (int64_t i = 0; i < start.cols; ++i) {
      ASSERT_EQ(last.at(start.rows - 1, i), one.at(start.rows - 1, i)) << i;
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Isa, RowsTest,
                         testing::Values(IsaLevel::kGeneric, IsaLevel::kNeon, IsaLevel::kAvx2,
                                         IsaLevel::kAvx512),
                         [](const auto& info) {
                           return std::string(kernels::isa_name(info.param));
                         });

TEST_P(RowsTest, Norms) {
  const Matrix weight(2, 2048, 3);
  for (const bool layer : {false, true}) {
    for (const int32_t groups : {1, 4}) {
      for (const int64_t cols : {64, 1028, 2048}) {
        for (const int64_t rows : {1, 3, 60}) {
          const auto call = [&](Ops& ops, MatrixF32 x, int64_t) {
            NormArgs args{.x = x, .weight = weight.data.data(), .y = x};
            args.eps = 1e-5f;
            args.groups = groups;
            if (layer) {
              args.bias = weight.data.data() + 2000;
              ops.layer_norm(args);
            } else {
              args.plus_one = groups == 4;
              ops.rms_norm(args);
            }
          };
          check(Matrix(rows, cols, 1), call, 32 * kEps, 16 * kEps);
        }
      }
    }
  }
}

TEST_P(RowsTest, Rope) {
  const Matrix angles(200, 32, 4, 3.0f);
  // Rows that are not dense.
  constexpr int64_t kStride = 33;
  std::vector<float> cosine(200 * kStride, NAN), sine(200 * kStride, NAN);
  for (int64_t t = 0; t < 200; ++t) {
    for (int64_t i = 0; i < 32; ++i) {
      cosine[static_cast<size_t>(t * kStride + i)] = std::cos(angles.at(t, i));
      sine[static_cast<size_t>(t * kStride + i)] = std::sin(angles.at(t, i));
    }
  }
  for (const RopeLayout layout : {RopeLayout::kHalves, RopeLayout::kInterleaved}) {
    for (const int64_t rows : {1, 2, 200}) {
      const auto call = [&](Ops& ops, MatrixF32 x, int64_t first) {
        ops.rope({.x = x,
                  .num_heads = 4,
                  .head_dim = 80,
                  .rotary_dim = 64,
                  .layout = layout,
                  .cos = {cosine.data() + first * kStride, x.rows, 32, kStride},
                  .sin = {sine.data() + first * kStride, x.rows, 32, kStride}});
      };
      check(Matrix(rows, 320, 5), call, 0, 2 * 2 * 2 * kEps);
    }
  }
}

TEST_P(RowsTest, Activations) {
  for (const Activation activation :
       {Activation::kSilu, Activation::kGeluTanh, Activation::kGeluErf, Activation::kRelu}) {
    for (const int64_t cols : {1, 100, 20000}) {
      for (const int64_t rows : {1, 7}) {
        const Matrix gate_up(rows, 2 * cols, 6, 8.0f);
        const auto gated = [&](Ops& ops, MatrixF32 y, int64_t first) {
          const ConstMatrixF32 x(gate_up.data.data() + first * gate_up.stride, y.rows, 2 * cols,
                                 gate_up.stride);
          ops.activate_and_multiply(x, activation, y);
        };
        check(Matrix(rows, cols, 7), gated, 8 * kEps, 8 * 8 * 4 * kEps);
        const auto plain = [&](Ops& ops, MatrixF32 x, int64_t) { ops.activate(x, activation); };
        check(Matrix(rows, cols, 8, 8.0f), plain, 8 * kEps, 8 * 4 * kEps);
      }
    }
  }
}

TEST_P(RowsTest, AddAndLogits) {
  for (const int64_t cols : {5, 700, 40000}) {
    const Matrix y(3, cols, 9);
    const auto add = [&](Ops& ops, MatrixF32 x, int64_t first) {
      ops.add(x, {y.data.data() + first * y.stride, x.rows, cols, y.stride}, 0.22f);
    };
    check(Matrix(3, cols, 10), add, 2 * kEps, kEps);
    for (const float softcap : {0.0f, 30.0f}) {
      for (const float scale : {1.0f, 0.0625f}) {
        const auto finish = [&](Ops& ops, MatrixF32 x, int64_t) {
          ops.finish_logits(x, scale, softcap);
        };
        check(Matrix(3, cols, 11, 100.0f), finish, 8 * kEps, 1e-30f);
      }
    }
  }
}

TEST_P(RowsTest, Embed) {
  const int64_t vocab = 50;
  const int64_t cols = 96;
  const Matrix table(vocab, cols, 12);
  std::vector<float> packed;
  for (int64_t t = 0; t < vocab; ++t) {
    for (int64_t i = 0; i < cols; ++i) packed.push_back(table.at(t, i));
  }
  const WeightSource source{make_view(packed.data(), DType::kF32, {vocab, cols}), false};
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 400; ++i) ids.push_back(i * 17 % 50);
  for (const float scale : {1.0f, 9.797959f}) {
    const auto call = [&](Ops& ops, MatrixF32 out, int64_t first) {
      const auto weight = ops.make_weight({&source, 1}, {.is_embedding = true});
      ASSERT_TRUE(weight.has_value()) << weight.error().message;
      ops.embed(**weight, std::span(ids).subspan(static_cast<size_t>(first)), scale, out);
    };
    check(Matrix(400, cols, 13), call, 0, 0);
  }
}

// Every element once, whatever the shape.
TEST(ParallelRows, CoverEverythingOnce) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const int64_t rows : {0, 1, 2, 5, 100}) {
      for (const int64_t cols : {0, 1, 300, 16384, 16385, 50000}) {
        std::vector<int> seen(static_cast<size_t>(rows * cols), 0);
        for_row_pieces(pool, rows, cols, [&](int64_t t, int64_t first, int64_t n) {
          for (int64_t i = first; i < first + n; ++i) ++seen[static_cast<size_t>(t * cols + i)];
        });
        EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), rows * cols) << rows << " " << cols;
      }
    }
  }
}

}  // namespace
}  // namespace ruvllm
