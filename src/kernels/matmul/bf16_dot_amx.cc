#include "kernels/matmul/bf16_tiles_impl.h"

namespace ruvllm::kernels::amx {

const Bf16DotKernel kBf16Dot = make_bf16_tiles<AmxTiles>();

}  // namespace ruvllm::kernels::amx
