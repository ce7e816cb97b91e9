// QuantLayout: how an integer weight format is built, in terms that kernels can branch on; and the
// plain reading and writing of its groups. What is said here about a format is the truth that
// repacked forms are tested against.
//
// A row is a sequence of groups of 32 elements. An element is scale * (code - zero) [+ minimum]
// with an unsigned code of `bits` bits. Scales (and minimums) are one f16 per group, or two-level:
// one f16 per 256 elements times a small integer per group, or per half of a group.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace ruvllm {

inline constexpr int32_t kQuantGroup = 32;
inline constexpr int32_t kQuantSuperGroups = 8;  // groups under one two-level scale: 256 elements

struct QuantLayout {
  DType dtype = DType::kQ8_0;
  int32_t bits = 8;          // 4, 5, 6 or 8
  int32_t zero = 128;        // subtracted from each code; 0 where there is a minimum
  bool has_minimum = false;  // each group adds a real minimum
  bool two_level = false;    // scales (and minimums) are f16 * integer
  bool half_scales = false;  // two integer scales per group (two-level only)
};

// The layout of a format that is one, or null.
const QuantLayout* quant_layout(DType dtype);

// One group, taken apart. f16 fields are bit patterns. For two-level layouts d and m belong to the
// group's 256 elements: scale = d * scale_code, minimum = -m * min_code.
struct QuantGroup {
  uint8_t codes[kQuantGroup] = {};
  uint16_t d = 0;
  uint16_t m = 0;
  int8_t scale_code[2] = {1, 1};  // equal where the layout has one per group
  uint8_t min_code = 0;
};

// Group `index` of a row of the format's blocks.
QuantGroup read_quant_group(const QuantLayout& layout, const std::byte* row, int64_t index);
// Its scales and minimum only; the codes are left 0.
QuantGroup read_quant_scales(const QuantLayout& layout, const std::byte* row, int64_t index);
// The inverse. The row's bytes must have been zeroed before its first group is written.
void write_quant_group(const QuantLayout& layout, const QuantGroup& group, int64_t index,
                       std::byte* row);

}  // namespace ruvllm
