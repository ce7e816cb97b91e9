#include "kernels/quantizer/quantizer_columns_impl.h"
#include "kernels/quantizer/quantizer_impl.h"
#include "kernels/quantizer/quantizer_sums_impl.h"
#include "kernels/quantizer/quantizer_walk_impl.h"

namespace ruvllm::kernels::generic {

const QuantizerKernels kQuantizer = {dot<Lanes>,
                                     dots<Lanes>,
                                     quadratic_form<Lanes>,
                                     first_better_code,
                                     subtract_rows<Lanes>,
                                     subtract_terms<Lanes>,
                                     subtract_all_terms<Lanes, 2>,
                                     walk_columns<Lanes>,
                                     add_products<4, 2>,
                                     f64_products<2>,
                                     round_to_grid,
                                     encode,
                                     range_of,
                                     all_finite,
                                     scales_of_ranges,
                                     round_row,
                                     rounding_errors,
                                     quadratic_errors};

}  // namespace ruvllm::kernels::generic
