#include <immintrin.h>

#include "kernels/matmul/quant_panel_impl.h"

namespace ruvllm::kernels::avxvnni {
namespace {

#define RUVLLM_SIMD_HAS_DOT 1
#include "kernels/matmul/quant_panel_simd_avx2.h"

}  // namespace

const QuantPanelKernel kQuantPanel = make_quant_panel<Simd>();

}  // namespace ruvllm::kernels::avxvnni
