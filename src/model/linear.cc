#include "model/linear.h"

namespace ruvllm {

int64_t Projection::rows() const {
  int64_t rows = 0;
  for (const Linear& part : parts) rows += part.rows();
  return rows;
}

void apply(Ops& ops, const Linear& linear, ConstMatrixF32 x, MatrixF32 y, ConstMatrixF32 delta) {
  MatmulArgs args;
  args.x = x;
  args.weight = linear.weight.get();
  args.bias = linear.bias_data();
  args.delta = delta;
  args.y = y;
  ops.matmul(args);
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

void apply_and_add(Ops& ops, const Linear& linear, ConstMatrixF32 input, float branch_scale,
                   MatrixF32 x, ConstMatrixF32 delta) {
  MatmulArgs args;
  args.x = input;
  args.weight = linear.weight.get();
  args.bias = linear.bias_data();
  args.delta = delta;
  args.residual = x;
  args.branch_scale = branch_scale;
  args.y = x;
  ops.matmul(args);
}

}  // namespace ruvllm
