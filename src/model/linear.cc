#include "model/linear.h"

namespace ruvllm {
namespace {

MatmulArgs product(const Linear& linear, ConstMatrixF32 x, ConstMatrixF32 delta, MatrixF32 y) {
  MatmulArgs args;
  args.x = x;
  args.weight = linear.weight.get();
  args.bias = linear.bias_data();
  args.delta = delta;
  args.y = y;
  return args;
}

}  // namespace

int64_t Projection::rows() const {
  int64_t rows = 0;
  for (const Linear& part : parts) rows += part.rows();
  return rows;
}

void apply(Ops& ops, const Linear& linear, ConstMatrixF32 x, MatrixF32 y, ConstMatrixF32 delta) {
  ops.matmul(product(linear, x, delta, y));
}

void apply(Ops& ops, const Projection& projection, ConstMatrixF32 x, MatrixF32 y,
           ConstMatrixF32 delta) {
  int64_t column = 0;
  for (const Linear& part : projection.parts) {
    apply(ops, part, x, y.columns(column, part.rows()),
          delta.empty() ? delta : delta.columns(column, part.rows()));
    column += part.rows();
  }
}

void apply_gated(Ops& ops, const Projection& projection, ConstMatrixF32 x, ConstMatrixF32 delta,
                 Activation activation, MatrixF32 both, MatrixF32 y) {
  if (projection.parts.size() == 1) {
    return ops.gated_matmul(product(projection.parts[0], x, delta, both), activation, y);
  }
  apply(ops, projection, x, both, delta);
  ops.activate_and_multiply(both, activation, y);
}

void apply_and_add(Ops& ops, const Linear& linear, ConstMatrixF32 input, float branch_scale,
                   MatrixF32 x, ConstMatrixF32 delta) {
  MatmulArgs args = product(linear, input, delta, x);
  args.residual = x;
  args.branch_scale = branch_scale;
  ops.matmul(args);
}

}  // namespace ruvllm
