#include "kernels/quantizer/quantizer_columns_impl.h"
#include "kernels/quantizer/quantizer_impl.h"
#include "kernels/quantizer/quantizer_sums_impl.h"
#include "kernels/quantizer/quantizer_walk_impl.h"

namespace ruvllm::kernels {
namespace {

using SubtractAllTerms = decltype(QuantizerKernels::subtract_all_terms);

constexpr QuantizerKernels kernels_with(SubtractAllTerms subtract_all) {
  return {dot<Lanes16>,
          dots<Lanes16>,
          quadratic_form<Lanes16>,
          first_better_code,
          subtract_rows<Lanes16>,
          subtract_terms<Lanes16>,
          subtract_all,
          walk_columns<Lanes16>,
          add_products<4, 4>,
          f64_products<4>,
          round_to_grid,
          encode,
          range_of,
          all_finite,
          scales_of_ranges,
          round_row,
          rounding_errors,
          quadratic_errors};
}

}  // namespace

// Where each number of one side meets a whole row of the other, 32 registers of eight lanes are
// better than of sixteen: on Zen 4 a number in all lanes of a 512-bit register costs more than the
// wider sums save (subtract_all_terms 112 against 78 GFLOP/s, add_products 100 against 71).
constinit const QuantizerKernels avx512::kQuantizer = kernels_with(subtract_all_terms<Lanes, 4>);

// Processors with AMX have two ports for 512 bits and two for 256 that multiply (Emerald Rapids: 62
// against 84 GFLOP/s).
constinit const QuantizerKernels avx512::kWideQuantizer =
    kernels_with(subtract_all_terms<Lanes16, 2>);

}  // namespace ruvllm::kernels
