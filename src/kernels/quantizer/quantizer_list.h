// The list of an instruction set: its own vectors, and how many of them the loops take at once that
// depend on how many registers and ports there are.
#pragma once

#include "kernels/quantizer/quantizer_columns_impl.h"
#include "kernels/quantizer/quantizer_impl.h"
#include "kernels/quantizer/quantizer_sums_impl.h"
#include "kernels/quantizer/quantizer_walk_impl.h"

namespace ruvllm::kernels {
namespace {

// F: a vector of f32 for sums of their own each. The others: where each number of one side meets a
// whole row of the other.
template <class F>
constexpr QuantizerKernels quantizer_list(
    decltype(QuantizerKernels::subtract_all_terms) subtract_all,
    decltype(QuantizerKernels::add_products) add_all,
    decltype(QuantizerKernels::f64_products) f64_all) {
  return {dot<F>,           dots<F>,           quadratic_form<F>, first_better_code,
          subtract_rows<F>, subtract_terms<F>, subtract_all,      walk_columns<F>,
          add_all,          f64_all,           exponentials,      round_to_grid,
          encode,           range_of,          all_finite,        scales_of_ranges,
          round_row,        rounding_errors,   quadratic_errors};
}

}  // namespace
}  // namespace ruvllm::kernels
