// What quantizing the layers before did to the inputs X_q of a product, and the weights that make
// up for it: W X is wanted of W' X_q, X the inputs that the unquantized model gives. By least
// squares W' = W + W D (H + damping)^-1 with D = sum (x - x_q) x_q^T and H = sum x_q x_q^T over the
// tokens; || W X - Q X_q ||^2 is || (W' - Q) X_q ||^2 and what no Q changes, so that GPTQ rounds W'
// by the same H (the asymmetric calibration of GPTAQ, Li et al. 2025, in closed form).
//
// A text of fewer tokens than a few times K tells more of itself than of others: some tokens can be
// held out of D, and what part of the change is best for them says how much of it is to be trusted.
//
// All products run on the given device, so that the bytes do not depend on the number of threads.
// Memory: D and two factors, f32 [K, K] each, one [N, K], and of the inputs 2,048 tokens twice. One
// thread at a time. Failure: what the device says of a matrix of f32.
#pragma once

#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "ops/ops.h"
#include "quantize/gptq.h"
#include "tensor/quantized_matrix.h"

namespace ruvllm {

// v (H + damping)^-1 for rows v [K], by the factor U that a plan has: the inverse is U^T U.
class FactorSolver {
 public:
  // Keeps a reference to the plan, not to the factor.
  static Result<FactorSolver> make(Ops& ops, const GptqPlan& plan);
  void solve(MatrixF32 v) const;  // in place

 private:
  // Some columns of U: what is below the diagonal is 0 and stays out of the products.
  struct Block {
    int64_t begin = 0;
    int64_t end = 0;
    std::vector<float> rows;     // U[begin:end, begin:], which of_rows reads
    std::vector<float> columns;  // U[:end, begin:end], which of_columns reads
    std::unique_ptr<Weight> of_rows, of_columns;
  };

  Ops* ops_ = nullptr;
  const GptqPlan* plan_ = nullptr;
  std::vector<Block> blocks_;
};

class InputDrift {
 public:
  // `exact` and the first rows of `quantized` [T, K] are the same tokens, of which the last
  // `held_tokens` stay out of D; `quantized` may have more, which H is over. No drift at all where
  // both are the same numbers (the first layer).
  static Result<InputDrift> make(Ops& ops, ThreadPool& pool, ConstMatrixF32 exact,
                                 ConstMatrixF32 quantized, int64_t held_tokens);

  bool none() const { return drift_ == nullptr; }

  // W' - W in the space of the solver's factor, after `rotation` (empty: none), [N, K].
  std::vector<float> change(ConstMatrixF32 w, const FactorSolver& solver,
                            const InputTransform& rotation) const;
  // For changes of more rows than inputs, with that solver and that rotation: solves once for all.
  Status solve(const FactorSolver& solver, const InputTransform& rotation);

  // The part in [0, 1] of `change` [N, K], W' - W after `rotation` (empty: none), that is best for
  // the tokens held out: of those, least || W (x - x_q) - part change x_q ||^2. 1 without any.
  Result<double> trusted_part(ConstMatrixF32 w, ConstMatrixF32 change,
                              const InputTransform& rotation) const;

 private:
  Ops* ops_ = nullptr;
  std::vector<float> values_;      // D, or what solve() made of it, [K, K]
  std::unique_ptr<Weight> drift_;  // its transpose
  bool solved_ = false;
  int64_t cols_ = 0;
  std::vector<float> held_;       // x_q of the tokens held out, [held, K]
  std::vector<float> held_lost_;  // x - x_q
};

}  // namespace ruvllm
