#include "device/device.h"

#include <gtest/gtest.h>

#include <string>

namespace ruvllm {
namespace {

TEST(Device, AutoFindsOneThatWorksAndOthersAreRefusedByName) {
  EXPECT_EQ(choose_device(DeviceKind::kCpu).value(), DeviceKind::kCpu);
  EXPECT_TRUE(choose_device(DeviceKind::kAuto).has_value());
  for (const DeviceKind kind : {DeviceKind::kCuda, DeviceKind::kMetal}) {
    const auto chosen = choose_device(kind);
    if (chosen) continue;
    EXPECT_EQ(chosen.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(chosen.error().message.find(device_name(kind)), std::string::npos);
    EXPECT_NE(chosen.error().message.find("RUVLLM_"), std::string::npos);
  }
}

}  // namespace
}  // namespace ruvllm
