#include "kernels/quantizer/quantizer_list.h"

namespace ruvllm::kernels {

constinit const QuantizerKernels generic::kQuantizer = quantizer_list<Lanes>(
    subtract_all_terms<Lanes, 2>, add_products<Lanes, 4, 2>, f64_products<WideLanes, 2>);

}  // namespace ruvllm::kernels
