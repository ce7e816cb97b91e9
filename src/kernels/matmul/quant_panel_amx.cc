// g++ 12 takes the "undefined" vectors of its own AVX-512 header for uninitialized ones.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "kernels/matmul/quant_panel_amx_impl.h"
#include "kernels/quantize/quantize_tile_avx512.h"

namespace ruvllm::kernels::amx {
namespace {

#define RUVLLM_SIMD_HAS_DOT 1
#include "kernels/matmul/quant_panel_simd_avx512.h"

}  // namespace

const QuantPanelKernel kQuantPanel = make_quant_panel_amx<AmxTiles, Simd>(quantize_tile);

}  // namespace ruvllm::kernels::amx
