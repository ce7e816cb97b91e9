#include "ops/cpu/machine_roofs.h"

#include <gtest/gtest.h>

namespace ruvllm {
namespace {

TEST(MachineRoofs, AreMeasuredAndPlausible) {
  const MachineRoofs roofs = measure_machine_roofs(2, 0.1, int64_t{16} << 20);
  EXPECT_GT(roofs.read_bytes_per_second, 1e8);
  EXPECT_LT(roofs.read_bytes_per_second, 1e13);
  ASSERT_FALSE(roofs.peaks.empty());
  for (const ArithmeticPeak& peak : roofs.peaks) {
    std::printf("%s %s: %.1f GMAC/s\n", std::string(peak.isa).c_str(),
                std::string(peak.unit).c_str(), peak.macs_per_second * 1e-9);
    EXPECT_GT(peak.macs_per_second, 1e8);
    EXPECT_LT(peak.macs_per_second, 1e14);  // more: the loop was folded away
  }
}

TEST(MachineRoofs, TheMeanIsAReadSpeedToo) {
  const double mean = measure_read_mean(2, 0.05, int64_t{16} << 20);
  EXPECT_GT(mean, 1e8);
  EXPECT_LT(mean, 1e13);
}

TEST(MachineRoofs, TheMeanOfAPeakIsOneOfItsLoop) {
  const MachineRoofs roofs = measure_machine_roofs(1, 0.1, int64_t{16} << 20);
  for (const ArithmeticPeak& peak : roofs.peaks) {
    const double mean = measure_peak_mean(peak, 1, 0.02);
    EXPECT_GT(mean, 1e8) << peak.isa << " " << peak.unit;
    EXPECT_LT(mean, 1e14);
  }
  EXPECT_EQ(measure_peak_mean({"avx2", "no unit"}, 1, 0.02), 0.0);
}

TEST(MachineRoofs, EachLayoutHasThePeakOfItsUnit) {
  MachineRoofs roofs;
  roofs.peaks = {{"generic", "f32", 1.0}, {"avx2", "f32", 2.0},        {"avx2", "int8", 3.0},
                 {"avx2", "int4", 4.0},   {"avx512vnni", "int8", 5.0}, {"amx", "bf16", 6.0}};
  const auto peak = [&](std::string_view isa, std::string_view layout) {
    const ArithmeticPeak* found = peak_of(roofs, isa, layout);
    return found == nullptr ? 0.0 : found->macs_per_second;
  };
  EXPECT_EQ(peak("generic", "bf16"), 1.0);
  EXPECT_EQ(peak("generic", "q8_0"), 0.0);
#if defined(__x86_64__)  // the names have kernels there alone
  EXPECT_EQ(peak("avx2", "bf16"), 2.0);
  EXPECT_EQ(peak("avx2", "q8_0"), 3.0);
  EXPECT_EQ(peak("avx2", "q4_0"), 4.0);
  EXPECT_EQ(peak("avx512", "q8_0"), 3.0);
  EXPECT_EQ(peak("avx512", "q6_k"), 4.0);
  EXPECT_EQ(peak("avx512vnni", "q8_0"), 5.0);
  EXPECT_EQ(peak("avx512vnni", "q4_0"), 5.0);
  EXPECT_EQ(peak("avx512vnni", "f16"), 2.0);  // what avx512 falls back to
  EXPECT_EQ(peak("amx", "bf16"), 6.0);
  EXPECT_EQ(peak("amx", "f32"), 2.0);
  EXPECT_EQ(peak("amx", "q8_0"), 5.0);
  EXPECT_EQ(peak("avx2", "rtn8"), 3.0);
  EXPECT_EQ(peak("avx2", "gptq3"), 4.0);
  EXPECT_EQ(peak("avx512vnni", "smoothquant8"), 5.0);
  EXPECT_EQ(peak("avx2", "fp8"), 0.0);
  EXPECT_EQ(peak("avx2", "mixed"), 0.0);
#endif
  EXPECT_EQ(peak("reference", "bf16"), 0.0);
}

}  // namespace
}  // namespace ruvllm
