#include "tensor/quant_layout.h"

#include "base/check.h"

namespace ruvllm {
namespace {

constexpr QuantLayout kLayouts[] = {
    {.dtype = DType::kQ8_0, .bits = 8, .zero = 128},
    {.dtype = DType::kQ4_0, .bits = 4, .zero = 8},
    {.dtype = DType::kQ4_1, .bits = 4, .zero = 0, .has_minimum = true},
    {.dtype = DType::kQ5_0, .bits = 5, .zero = 16},
    {.dtype = DType::kQ5_1, .bits = 5, .zero = 0, .has_minimum = true},
    {.dtype = DType::kQ4_K, .bits = 4, .zero = 0, .has_minimum = true, .two_level = true},
    {.dtype = DType::kQ5_K, .bits = 5, .zero = 0, .has_minimum = true, .two_level = true},
    {.dtype = DType::kQ6_K, .bits = 6, .zero = 32, .two_level = true, .half_scales = true},
};

uint16_t get_u16(const uint8_t* p) {
  return static_cast<uint16_t>(p[0] | p[1] << 8);
}
void put_u16(uint8_t* p, uint16_t v) {
  p[0] = static_cast<uint8_t>(v);
  p[1] = static_cast<uint8_t>(v >> 8);
}

// Where the fields of a block of 32 (Q4_0 ... Q8_0) begin.
struct SimpleOffsets {
  int32_t high;   // 32 high bits (5-bit codes)
  int32_t codes;  // nibbles: element i < 16 low, i >= 16 high; or bytes
};
SimpleOffsets simple_offsets(const QuantLayout& layout) {
  const int32_t scales = layout.has_minimum ? 4 : 2;
  return {scales, layout.bits == 5 ? scales + 4 : scales};
}

// Q4_K and Q5_K: d, dmin, 12 bytes of 6-bit scales and minimums, [32 bytes of high bits,] nibbles.
constexpr int32_t kScales = 4;
constexpr int32_t kHighOfQ5K = 16;
// Q6_K: 128 bytes of low nibbles, 64 of high pairs, 16 scales, d.
constexpr int32_t kHighOfQ6K = 128;
constexpr int32_t kScalesOfQ6K = 192;
constexpr int32_t kDOfQ6K = 208;

// The eight pairs of 6-bit numbers in 12 bytes: 0..3 in the low six bits of bytes 0..7, 4..7 as
// nibbles of bytes 8..11 with their upper bits in the top of bytes 0..7.
void get_scale_min(const uint8_t* s, int32_t j, uint8_t& scale, uint8_t& min) {
  if (j < 4) {
    scale = s[j] & 63;
    min = s[j + 4] & 63;
  } else {
    scale = static_cast<uint8_t>((s[j + 4] & 15) | (s[j - 4] >> 6) << 4);
    min = static_cast<uint8_t>((s[j + 4] >> 4) | (s[j] >> 6) << 4);
  }
}
void put_scale_min(uint8_t* s, int32_t j, uint8_t scale, uint8_t min) {
  const auto put = [](uint8_t& byte, int bits) { byte = static_cast<uint8_t>(byte | bits); };
  if (j < 4) {
    put(s[j], scale & 63);
    put(s[j + 4], min & 63);
  } else {
    put(s[j + 4], (scale & 15) | (min & 15) << 4);
    put(s[j - 4], (scale >> 4 & 3) << 6);
    put(s[j], (min >> 4 & 3) << 6);
  }
}

// The place of code i of group g in a block of 256: a byte and the shift within it.
struct Place {
  int32_t byte;
  int32_t shift;
};
Place low_place(const QuantLayout& layout, int32_t g, int32_t i) {
  if (layout.bits == 6) return {g / 4 * 64 + (g & 1) * 32 + i, 4 * (g >> 1 & 1)};
  const int32_t begin = layout.bits == 5 ? kHighOfQ5K + 32 : kHighOfQ5K;
  return {begin + g / 2 * 32 + i, 4 * (g & 1)};
}
Place high_place(const QuantLayout& layout, int32_t g, int32_t i) {
  if (layout.bits == 6) return {kHighOfQ6K + g / 4 * 32 + i, 2 * (g & 3)};
  return {kHighOfQ5K + i, g};
}

void read_scales(const QuantLayout& layout, const uint8_t* block, int32_t g, QuantGroup& group) {
  if (layout.half_scales) {
    group.d = get_u16(block + kDOfQ6K);
    group.scale_code[0] = static_cast<int8_t>(block[kScalesOfQ6K + 2 * g]);
    group.scale_code[1] = static_cast<int8_t>(block[kScalesOfQ6K + 2 * g + 1]);
    return;
  }
  group.d = get_u16(block);
  if (layout.has_minimum) group.m = get_u16(block + 2);
  if (layout.two_level) {
    uint8_t scale = 0;
    get_scale_min(block + kScales, g, scale, group.min_code);
    group.scale_code[0] = group.scale_code[1] = static_cast<int8_t>(scale);
  }
}

void read_simple(const QuantLayout& layout, const uint8_t* block, QuantGroup& group) {
  const auto [high, codes] = simple_offsets(layout);
  for (int32_t i = 0; i < kQuantGroup; ++i) {
    int code = 0;
    if (layout.bits == 8) {
      code = block[codes + i] ^ 0x80;  // signed byte + 128
    } else {
      code = i < 16 ? block[codes + i] & 15 : block[codes + i - 16] >> 4;
      if (layout.bits == 5) code |= (block[high + i / 8] >> (i % 8) & 1) << 4;
    }
    group.codes[i] = static_cast<uint8_t>(code);
  }
}

void read_two_level(const QuantLayout& layout, const uint8_t* block, int32_t g, QuantGroup& group) {
  for (int32_t i = 0; i < kQuantGroup; ++i) {
    const Place low = low_place(layout, g, i);
    int code = block[low.byte] >> low.shift & 15;
    if (layout.bits > 4) {
      const Place high = high_place(layout, g, i);
      code |= (block[high.byte] >> high.shift & ((1 << (layout.bits - 4)) - 1)) << 4;
    }
    group.codes[i] = static_cast<uint8_t>(code);
  }
}

void set_bits(uint8_t& byte, int bits) {
  byte = static_cast<uint8_t>(byte | bits);
}

void write_simple(const QuantLayout& layout, const QuantGroup& group, uint8_t* block) {
  put_u16(block, group.d);
  if (layout.has_minimum) put_u16(block + 2, group.m);
  const auto [high, codes] = simple_offsets(layout);
  for (int32_t i = 0; i < kQuantGroup; ++i) {
    const int code = group.codes[i];
    if (layout.bits == 8) {
      block[codes + i] = static_cast<uint8_t>(code ^ 0x80);
      continue;
    }
    set_bits(block[codes + i % 16], (code & 15) << (i < 16 ? 0 : 4));
    if (layout.bits == 5) set_bits(block[high + i / 8], (code >> 4) << (i % 8));
  }
}

void write_two_level(const QuantLayout& layout, const QuantGroup& group, int32_t g,
                     uint8_t* block) {
  if (layout.half_scales) {
    put_u16(block + kDOfQ6K, group.d);
    block[kScalesOfQ6K + 2 * g] = static_cast<uint8_t>(group.scale_code[0]);
    block[kScalesOfQ6K + 2 * g + 1] = static_cast<uint8_t>(group.scale_code[1]);
  } else {
    put_u16(block, group.d);
    put_u16(block + 2, group.m);
    put_scale_min(block + kScales, g, static_cast<uint8_t>(group.scale_code[0]), group.min_code);
  }
  for (int32_t i = 0; i < kQuantGroup; ++i) {
    const int code = group.codes[i];
    const Place low = low_place(layout, g, i);
    set_bits(block[low.byte], (code & 15) << low.shift);
    if (layout.bits > 4) {
      const Place high = high_place(layout, g, i);
      set_bits(block[high.byte], (code >> 4) << high.shift);
    }
  }
}

}  // namespace

const QuantLayout* quant_layout(DType dtype) {
  for (const QuantLayout& layout : kLayouts) {
    if (layout.dtype == dtype) return &layout;
  }
  return nullptr;
}

namespace {

// The block of the file that group `index` of a row stands in, and which of its groups it is.
const uint8_t* block_of(const QuantLayout& layout, const std::byte* row, int64_t index) {
  const int64_t block = layout.two_level ? index / kQuantSuperGroups : index;
  return reinterpret_cast<const uint8_t*>(row) + block * dtype_info(layout.dtype).block_bytes;
}
int32_t group_in_block(const QuantLayout& layout, int64_t index) {
  return layout.two_level ? static_cast<int32_t>(index % kQuantSuperGroups) : 0;
}

}  // namespace

QuantGroup read_quant_scales(const QuantLayout& layout, const std::byte* row, int64_t index) {
  QuantGroup group;
  read_scales(layout, block_of(layout, row, index), group_in_block(layout, index), group);
  return group;
}

QuantGroup read_quant_group(const QuantLayout& layout, const std::byte* row, int64_t index) {
  QuantGroup group = read_quant_scales(layout, row, index);
  const uint8_t* block = block_of(layout, row, index);
  if (layout.two_level) {
    read_two_level(layout, block, group_in_block(layout, index), group);
  } else {
    read_simple(layout, block, group);
  }
  return group;
}

void write_quant_group(const QuantLayout& layout, const QuantGroup& group, int64_t index,
                       std::byte* row) {
  auto* bytes = reinterpret_cast<uint8_t*>(row);
  const int64_t block_bytes = dtype_info(layout.dtype).block_bytes;
  if (layout.two_level) {
    write_two_level(layout, group, static_cast<int32_t>(index % kQuantSuperGroups),
                    bytes + index / kQuantSuperGroups * block_bytes);
  } else {
    write_simple(layout, group, bytes + index * block_bytes);
  }
}

}  // namespace ruvllm
