// g++ 12 takes the "undefined" vectors of its own AVX-512 header for uninitialized ones.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "kernels/matmul/quant_panel_amx_impl.h"

namespace ruvllm::kernels::amx {
namespace {

#define RUVLLM_SIMD_HAS_DOT 1
#include "kernels/matmul/quant_panel_simd_avx512.h"

}  // namespace

// A constant of another file is no constant expression.
void quantize_tile(const float* const* rows, int64_t num_rows, int64_t groups, int64_t block,
                   uint32_t* tile) {
  avx512::kQuantizeTile(rows, num_rows, groups, block, tile);
}

const QuantPanelKernel kQuantPanel = make_quant_panel_amx<AmxTiles, Simd>(quantize_tile);

}  // namespace ruvllm::kernels::amx
