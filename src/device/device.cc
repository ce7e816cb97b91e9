#include "device/device.h"

namespace ruvllm {

const char* device_name(DeviceKind kind) {
  static constexpr const char* kNames[] = {"auto", "cpu", "cuda", "metal"};
  return kNames[static_cast<size_t>(kind)];
}

Result<DeviceKind> choose_device(DeviceKind wanted) {
  switch (wanted) {
    case DeviceKind::kCuda:
      RUVLLM_TRY(cuda_status());
      return DeviceKind::kCuda;
    case DeviceKind::kMetal:
      RUVLLM_TRY(metal_status());
      return DeviceKind::kMetal;
    case DeviceKind::kAuto:
      if (cuda_status()) return DeviceKind::kCuda;
      if (metal_status()) return DeviceKind::kMetal;
      return DeviceKind::kCpu;
    case DeviceKind::kCpu:
      break;
  }
  return DeviceKind::kCpu;
}

}  // namespace ruvllm
