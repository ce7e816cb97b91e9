#include "ops/kv_layout.h"

#include <bit>
#include <cmath>
#include <limits>

namespace ruvllm {

uint16_t quantize_kv_row(const float* x, int64_t n, int8_t* codes, int64_t stride) {
  float largest = 0.0f;
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    const float magnitude = std::fabs(x[i]);
    finite &= magnitude <= std::numeric_limits<float>::max();
    largest = magnitude > largest ? magnitude : largest;
  }
  if (!finite || largest < 0x1p-100f) {
    for (int64_t i = 0; i < n; ++i) codes[i * stride] = 0;
    return finite ? uint16_t{0} : uint16_t{0x7fc0};
  }
  uint32_t bits = std::bit_cast<uint32_t>(largest / 127.0f);
  if ((bits & 0xffffu) != 0) bits = (bits | 0xffffu) + 1;
  const float inverse = 1.0f / std::bit_cast<float>(bits);
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  for (int64_t i = 0; i < n; ++i) {
    codes[i * stride] =
        static_cast<int8_t>(static_cast<int32_t>((x[i] * inverse + kMagic) - kMagic));
  }
  return static_cast<uint16_t>(bits >> 16);
}

}  // namespace ruvllm
