// The metal device of a build without RUVLLM_METAL.
#include "device/device.h"

namespace ruvllm {

Status metal_status() {
  return fail(ErrorCode::kUnsupported,
              "--device metal: built without RUVLLM_METAL; use --device cpu, or configure with "
              "-DRUVLLM_METAL=ON");
}

}  // namespace ruvllm
