// Passes with twins: rows that stay what the unquantized model gives beside others that do not.
#include <gtest/gtest.h>

#include "base/test_util.h"
#include "quantize/sample_pass.h"
#include "quantize/watched_ops.h"

namespace ruvllm {
namespace {

// Rounds every matrix in the rows that are no twins.
class RoundingOps final : public WatchedOps {
 public:
  RoundingOps(const std::vector<IsqMatrix>& matrices, int64_t num_twins, bool round = true)
      : WatchedOps(make_cpu_ops(2).value(), matrices, {}, num_twins), round_(round) {}

  int64_t num_products = 0;

 private:
  bool watches(const IsqMatrix& matrix) const override {
    return matrix.kind == MatrixKind::kLinear;
  }
  Result<bool> on_product(const Site& site, const MatmulArgs& args) override {
    ++num_products;
    if (!round_) return false;
    ThreadPool pool(1);
    std::vector<QuantizedMatrix> rounded;
    for (const size_t i : site) {
      const IsqMatrix& matrix = matrices()[i];
      RUVLLM_ASSIGN(const std::vector<float> w, read_matrix(matrix, pool));
      rounded.push_back(quantize_rtn({w.data(), matrix.rows(), matrix.cols(), matrix.cols()},
                                     Grid{.bits = 3, .group_size = 16}));
    }
    const int64_t count = args.x.rows - num_twins();
    RUVLLM_TRY(multiply(rows_of(args, 0, count), rounded));
    if (num_twins() > 0) inner().matmul(rows_of(args, count, num_twins()));
    return true;
  }

  bool round_;
};

std::vector<float> rows(MatrixF32 logits, int64_t first, int64_t count) {
  std::vector<float> out;
  for (int64_t t = first; t < first + count; ++t) {
    out.insert(out.end(), logits.row(t), logits.row(t) + logits.cols);
  }
  return out;
}

// Every row's logits; a model with experts among them, whose rows go to others when rounded.
TEST(WatchedOps, TwinsStayExactAndOthersDoNotSeeThem) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data";
  for (const char* name : {"mixtral", "gemma2", "gpt2"}) {
    SCOPED_TRACE(name);
    const auto checkpoint = open_checkpoint(*shared + "/golden/models/" + name);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    const auto matrices = list_matrices(**checkpoint, *parse_isq("gptq3:g16"));
    ASSERT_TRUE(matrices) << matrices.error().message;
    std::vector<std::vector<int32_t>> ids(3);
    for (int32_t i = 0; i < 30; ++i) ids[static_cast<size_t>(i % 3)].push_back(i * 37 % 100);
    // Two of the three pieces have twins.
    const std::span<const int32_t> pieces[] = {ids[0], ids[1], ids[2], ids[0], ids[1]};
    std::vector<int32_t> all(50);
    for (int32_t i = 0; i < 50; ++i) all[static_cast<size_t>(i)] = i;
    const std::span<const int32_t> first_thirty = std::span(all).first(30);

    RoundingOps plain_ops(*matrices, 0, false), rounded_ops(*matrices, 0), both_ops(*matrices, 20);
    auto plain = SamplePass::make(**checkpoint, plain_ops, std::span(pieces).first(3));
    auto rounded = SamplePass::make(**checkpoint, rounded_ops, std::span(pieces).first(3));
    auto both = SamplePass::make(**checkpoint, both_ops, pieces);
    ASSERT_TRUE(plain && rounded && both);
    const std::vector<float> exact = rows(plain->run(first_thirty), 0, 20);
    const std::vector<float> coarse = rows(rounded->run(first_thirty), 0, 30);
    const MatrixF32 found = both->run(all);
    ASSERT_TRUE(plain_ops.status() && rounded_ops.status() && both_ops.status());
    EXPECT_GT(both_ops.num_products, 0);
    EXPECT_EQ(rows(found, 0, 30), coarse);
    EXPECT_EQ(rows(found, 30, 20), exact);
    EXPECT_NE(rows(found, 0, 20), exact);
  }
}

}  // namespace
}  // namespace ruvllm
