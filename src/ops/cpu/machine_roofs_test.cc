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

}  // namespace
}  // namespace ruvllm
