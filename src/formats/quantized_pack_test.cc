// What is packed reads back equal.
#include "formats/quantized_pack.h"

#include <gtest/gtest.h>

#include "tensor/random_quantized.h"

namespace ruvllm {
namespace {

using test::random_matrix;

TEST(QuantizedPack, RoundTrip) {
  for (const int32_t bits : {2, 3, 4, 8}) {
    for (const bool zeros : {false, true}) {
      for (const int64_t group : {16, 50}) {
        QuantizedMatrix m = random_matrix(bits, 7, 50, group, zeros);
        if (bits == 8) m.scales[0] = 0.1f;  // no f16 number
        if (zeros) {
          m.transform.hadamard_block = 2;
          m.transform.hadamard_signs.assign(50, int8_t{-1});
          m.transform.input_scale.assign(50, 0.3f);
          for (int32_t k = 0; k < 50; ++k) m.transform.permutation.push_back(49 - k);
          m.int8_activations = true;
        }
        auto parts = pack_matrix(m, "a.b");
        ASSERT_TRUE(parts) << parts.error().message;
        const auto tensor = tensor_of_parts(std::move(*parts), "memory");
        ASSERT_TRUE(tensor) << tensor.error().message;
        EXPECT_EQ(tensor->name, "a.b.weight");
        const auto back = tensor->quantized->read();
        ASSERT_TRUE(back) << back.error().message;
        EXPECT_EQ(back->codes, m.codes);
        EXPECT_EQ(back->scales, m.scales);
        for (int64_t n = 0; n < 7; ++n) {
          for (int64_t g = 0; g < m.num_groups(); ++g) {
            EXPECT_EQ(back->zero_at(n, g), m.zero_at(n, g));
          }
        }
        EXPECT_EQ(back->transform, m.transform);
        EXPECT_EQ(back->int8_activations, m.int8_activations);
        EXPECT_EQ(back->group_size, m.group_size);
      }
    }
  }
  QuantizedMatrix wide = random_matrix(4, 2, 32, 32, true);
  wide.zeros[0] = 16;
  EXPECT_FALSE(pack_matrix(wide, "x"));
}

}  // namespace
}  // namespace ruvllm
