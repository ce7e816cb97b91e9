// The metal device of a build with RUVLLM_METAL that contains no METAL operations: it links
// everywhere, also where the toolchain is absent, and refuses by name.
#include "device/device.h"

namespace ruvllm {

Status metal_status() {
  return fail(ErrorCode::kUnsupported,
              "--device metal: this build has RUVLLM_METAL switched on but contains no METAL "
              "operations; use --device cpu");
}

}  // namespace ruvllm
