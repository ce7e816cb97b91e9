#include "kernels/quantizer/quantizer_list.h"

namespace ruvllm::kernels {

// Where each number of one side meets a whole row of the other, 32 registers of eight lanes are
// better than of sixteen: on Zen 4 a number in all lanes of a 512-bit register costs more than the
// wider sums save (subtract_all_terms 112 against 78 GFLOP/s, add_products 100 against 71, with
// products and sums rounded apart).
constinit const QuantizerKernels avx512::kQuantizer = quantizer_list<Lanes16>(
    subtract_all_terms<Lanes, 4>, add_products<Lanes, 4, 4>, f64_products<WideLanes, 4>);

// Processors with AMX have two ports for 512 bits and two for 256 that multiply (Emerald Rapids:
// subtract_all_terms 150 against 80 GFLOP/s, add_products 134 against 74).
constinit const QuantizerKernels avx512::kWideQuantizer = quantizer_list<Lanes16>(
    subtract_all_terms<Lanes16, 2>, add_products<Lanes16, 8, 2>, f64_products<WideLanes8, 2>);

}  // namespace ruvllm::kernels
