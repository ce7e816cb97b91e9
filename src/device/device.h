// Which devices this build and this machine can run on. Each device is one folder; a device that is
// off at build time, or whose toolchain was absent, is a file that explains itself (chosen by
// CMake, so that callers have no #if). Pure functions; any thread.
#pragma once

#include "ruvllm/options.h"
#include "ruvllm/result.h"

namespace ruvllm {

const char* device_name(DeviceKind kind);  // "auto", "cpu", "cuda", "metal"

// The device to use: kAuto becomes one that works here. kUnsupported with the reason, and what to
// do about it, when the one asked for does not.
Result<DeviceKind> choose_device(DeviceKind wanted);

// Of the folders; Status says why the device cannot be used.
Status cuda_status();
Status metal_status();

}  // namespace ruvllm
