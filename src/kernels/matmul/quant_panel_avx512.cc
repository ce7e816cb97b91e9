// g++ 12 takes the "undefined" vectors of its own AVX-512 header for uninitialized ones.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "kernels/matmul/quant_panel_impl.h"

namespace ruvllm::kernels::avx512 {
namespace {

#define RUVLLM_SIMD_HAS_DOT 0
#include "kernels/matmul/quant_panel_simd_avx512.h"

}  // namespace

const QuantPanelKernel kQuantPanel = make_quant_panel<Simd>();

}  // namespace ruvllm::kernels::avx512
