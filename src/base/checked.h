// Arithmetic on sizes that came from a file or a peer. Each function returns false on overflow and
// then leaves `out` unspecified.
#pragma once

#include <cstdint>

namespace ruvllm {

[[nodiscard]] inline bool checked_add(uint64_t a, uint64_t b, uint64_t& out) {
  return !__builtin_add_overflow(a, b, &out);
}
[[nodiscard]] inline bool checked_mul(uint64_t a, uint64_t b, uint64_t& out) {
  return !__builtin_mul_overflow(a, b, &out);
}
// Whether [offset, offset + size) lies within [0, total).
[[nodiscard]] inline bool range_fits(uint64_t offset, uint64_t size, uint64_t total) {
  return offset <= total && size <= total - offset;
}

}  // namespace ruvllm
