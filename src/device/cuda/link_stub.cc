// The cuda device of a build with RUVLLM_CUDA that contains no CUDA operations: it links
// everywhere, also where the toolchain is absent, and refuses by name.
#include "device/device.h"

namespace ruvllm {

Status cuda_status() {
  return fail(ErrorCode::kUnsupported,
              "--device cuda: this build has RUVLLM_CUDA switched on but contains no CUDA "
              "operations; use --device cpu");
}

}  // namespace ruvllm
