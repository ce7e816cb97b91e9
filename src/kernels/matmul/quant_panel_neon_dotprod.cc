#include <arm_neon.h>

#include "kernels/matmul/quant_panel_impl.h"

namespace ruvllm::kernels::neon_dotprod {
namespace {

#define RUVLLM_SIMD_NEON 1
#include "kernels/matmul/quant_panel_simd_neon.h"

}  // namespace

const QuantPanelKernel kQuantPanel = make_quant_panel<Simd>();

}  // namespace ruvllm::kernels::neon_dotprod
