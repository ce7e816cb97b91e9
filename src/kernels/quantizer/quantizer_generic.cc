#include "kernels/quantizer/quantizer_impl.h"
#include "kernels/quantizer/quantizer_sums_impl.h"

namespace ruvllm::kernels::generic {

const QuantizerKernels kQuantizer = {dot,
                                     dots,
                                     quadratic_form,
                                     first_better_code,
                                     subtract_rows,
                                     subtract_terms,
                                     subtract_all_terms,
                                     walk_columns,
                                     add_products,
                                     f64_products,
                                     round_to_grid,
                                     encode,
                                     range_of,
                                     all_finite,
                                     scales_of_ranges,
                                     round_row,
                                     rounding_errors,
                                     quadratic_errors};

}  // namespace ruvllm::kernels::generic
