// Four codes as the bytes of a word, wherever it stands: how codes move into panels.
#pragma once

#include <cstdint>
#include <cstring>

namespace ruvllm::kernels {

inline uint32_t load_u32(const uint8_t* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store_u32(uint8_t* p, uint32_t v) {
  std::memcpy(p, &v, sizeof v);
}

}  // namespace ruvllm::kernels
