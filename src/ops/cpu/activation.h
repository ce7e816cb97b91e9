// Which kernel computes an activation. Private to ops/cpu.
#pragma once

#include "kernels/elementwise/elementwise.h"
#include "ops/ops.h"

namespace ruvllm {

inline kernels::UnaryFunction unary_function(Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return kernels::UnaryFunction::kSilu;
    case Activation::kGeluTanh:
      return kernels::UnaryFunction::kGeluTanh;
    case Activation::kGeluErf:
      return kernels::UnaryFunction::kGeluErf;
    case Activation::kRelu:
      return kernels::UnaryFunction::kRelu;
  }
  return kernels::UnaryFunction::kSilu;
}

}  // namespace ruvllm
