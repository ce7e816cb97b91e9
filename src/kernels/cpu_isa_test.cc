#include "kernels/cpu_isa.h"

#include <gtest/gtest.h>

namespace ruvllm::kernels {
namespace {

TEST(CpuIsa, GenericIsAlwaysThereAndEndsEveryWayDown) {
  EXPECT_TRUE(isa_supported(IsaLevel::kGeneric));
  for (const IsaLevel level : all_isa_levels()) {
    EXPECT_TRUE(isa_includes(level, IsaLevel::kGeneric));
    EXPECT_TRUE(isa_includes(level, level));
    EXPECT_TRUE(!isa_supported(level) || isa_supported(isa_fallback(level)));
  }
  EXPECT_TRUE(isa_includes(IsaLevel::kAmx, IsaLevel::kAvx2));
  EXPECT_FALSE(isa_includes(IsaLevel::kAvx2, IsaLevel::kAvx512));
  EXPECT_FALSE(isa_includes(IsaLevel::kAvx512Vnni, IsaLevel::kAvxVnni));
  EXPECT_FALSE(isa_includes(IsaLevel::kNeon, IsaLevel::kAvx2));
  EXPECT_TRUE(isa_includes(IsaLevel::kNeonI8mm, IsaLevel::kNeon));
  EXPECT_FALSE(isa_includes(IsaLevel::kNeonDotprod, IsaLevel::kNeonI8mm));
}

TEST(CpuIsa, OnlyWhatIsSupportedIsFast) {
  EXPECT_TRUE(!has_fast_bf16_dot() || isa_supported(IsaLevel::kAvx512Bf16));
}

TEST(CpuIsa, PicksTheBestOrWhatIsForcedOrRefusesByName) {
  const auto best = pick_isa("");
  ASSERT_TRUE(best.has_value());
  EXPECT_TRUE(isa_supported(*best));
  EXPECT_EQ(pick_isa("generic").value(), IsaLevel::kGeneric);
  for (const IsaLevel level : all_isa_levels()) {
    const auto picked = pick_isa(isa_name(level));
    if (isa_supported(level)) {
      EXPECT_EQ(picked.value(), level);
    } else {
      ASSERT_FALSE(picked.has_value());
      EXPECT_EQ(picked.error().code, ErrorCode::kUnsupported);
      EXPECT_NE(picked.error().message.find(isa_name(level)), std::string::npos);
    }
  }
  const auto unknown = pick_isa("avx1024\n");
  ASSERT_FALSE(unknown.has_value());
  EXPECT_NE(unknown.error().message.find("known: generic"), std::string::npos);
}

}  // namespace
}  // namespace ruvllm::kernels
