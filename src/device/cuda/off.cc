// The cuda device of a build without RUVLLM_CUDA.
#include "device/device.h"

namespace ruvllm {

Status cuda_status() {
  return fail(ErrorCode::kUnsupported,
              "--device cuda: built without RUVLLM_CUDA; use --device cpu, or configure with "
              "-DRUVLLM_CUDA=ON");
}

}  // namespace ruvllm
