#include "kernels/quantizer/quantizer_impl.h"

namespace ruvllm::kernels::avx2 {

const QuantizerKernels kQuantizer = {
    dot,           subtract_rows,   subtract_terms,  subtract_all_terms, add_products,
    round_to_grid, encode,          range_of,        all_finite,         scales_of_ranges,
    round_row,     rounding_errors, quadratic_errors};

}  // namespace ruvllm::kernels::avx2
