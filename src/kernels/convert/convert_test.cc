#include "kernels/convert/convert.h"

#include <algorithm>

#include "base/float_types.h"
#include "kernels/kernel_test_util.h"

namespace ruvllm::kernels {
namespace {

using ConvertTest = test::KernelTest<ConvertKernels>;
INSTANTIATE_TEST_SUITE_P(Isa, ConvertTest, test::rows_of(convert_kernel_list()),
                         test::row_name<ConvertKernels>);

std::vector<uint16_t> all_halves() {
  std::vector<uint16_t> out(65536);
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<uint16_t>(i);
  return out;
}

// Bits of f32 around everything that rounds differently in bf16 or f16, and a sweep over all.
std::vector<float> hard_floats() {
  std::vector<float> out;
  for (uint64_t bits = 0; bits < 0x100000000u; bits += 65521) {
    out.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  }
  for (uint32_t i = 0; i < 65536; ++i) {  // every bf16 and every f16, and their half-way points
    for (const uint32_t base :
         {i << 16, std::bit_cast<uint32_t>(f16_to_f32(static_cast<uint16_t>(i)))}) {
      for (const int32_t offset : {-1, 0, 1, 0xfff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001}) {
        out.push_back(std::bit_cast<float>(base + static_cast<uint32_t>(offset)));
      }
    }
  }
  return out;
}

TEST_P(ConvertTest, WideningIsExact) {
  const std::vector<uint16_t> halves = all_halves();
  const ConvertKernels& k = kernels();
  std::vector<float> bf16(halves.size());
  std::vector<float> f16(halves.size());
  k.bf16_to_f32(halves.data(), bf16.data(), 65536);
  k.f16_to_f32(halves.data(), f16.data(), 65536);
  for (size_t i = 0; i < halves.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(bf16[i]), std::bit_cast<uint32_t>(bf16_to_f32(halves[i])));
    const float expected = f16_to_f32(halves[i]);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(f16[i])) << i;  // an instruction may quiet a signalling NaN
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(f16[i]), std::bit_cast<uint32_t>(expected)) << i;
    }
  }
}

TEST_P(ConvertTest, NarrowingRoundsAsTheTruth) {
  const std::vector<float> floats = hard_floats();
  const auto n = static_cast<int64_t>(floats.size());
  const ConvertKernels& k = kernels();
  std::vector<uint16_t> bf16(floats.size());
  std::vector<uint16_t> f16(floats.size());
  k.f32_to_bf16(floats.data(), bf16.data(), n);
  k.f32_to_f16(floats.data(), f16.data(), n);
  for (size_t i = 0; i < floats.size(); ++i) {
    ASSERT_EQ(bf16[i], f32_to_bf16(floats[i])) << std::bit_cast<uint32_t>(floats[i]);
    ASSERT_EQ(f16[i], f32_to_f16(floats[i])) << std::bit_cast<uint32_t>(floats[i]);
  }
}

TEST_P(ConvertTest, EveryLength) {
  test::Random random(1);
  const std::vector<float> x = random.vector(64, 100.0f);
  const ConvertKernels& k = kernels();
  for (int64_t n = 0; n <= 40; ++n) {
    std::vector<uint16_t> narrow(64, 0x1234);
    k.f32_to_bf16(x.data() + 3, narrow.data() + 1, n);
    std::vector<float> wide(64, -7.0f);
    k.bf16_to_f32(narrow.data() + 1, wide.data() + 5, n);
    for (int64_t i = 0; i < 40; ++i) {
      const auto at = static_cast<size_t>(i);
      ASSERT_EQ(narrow[at + 1], i < n ? f32_to_bf16(x[at + 3]) : 0x1234) << n;
      ASSERT_EQ(wide[at + 5], i < n ? bf16_to_f32(narrow[at + 1]) : -7.0f) << n;
    }
    std::fill(narrow.begin(), narrow.end(), uint16_t{0x1234});
    k.f32_to_f16(x.data() + 3, narrow.data() + 1, n);
    std::fill(wide.begin(), wide.end(), -7.0f);
    k.f16_to_f32(narrow.data() + 1, wide.data() + 5, n);
    for (int64_t i = 0; i < 40; ++i) {
      const auto at = static_cast<size_t>(i);
      ASSERT_EQ(narrow[at + 1], i < n ? f32_to_f16(x[at + 3]) : 0x1234) << n;
      ASSERT_EQ(wide[at + 5], i < n ? f16_to_f32(narrow[at + 1]) : -7.0f) << n;
    }
  }
}

}  // namespace
}  // namespace ruvllm::kernels
