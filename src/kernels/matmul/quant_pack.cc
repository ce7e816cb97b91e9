#include "kernels/matmul/quant_pack.h"

#include <cstring>

#include "base/check.h"
#include "kernels/matmul/packed_words.h"

namespace ruvllm::kernels {
namespace {

// Where the fields of a group's record begin; see quant_panel.h.
struct Record {
  Record(const QuantLayout& layout, int64_t rows) {
    const int64_t scale = layout.two_level ? (layout.half_scales ? 2 : 1) : 2;
    const int64_t minimum = layout.has_minimum ? (layout.two_level ? 1 : 2) : 0;
    minimums = rows * scale;
    high = minimums + rows * minimum;
    codes = high + rows * (layout.bits == 5 ? 4 : layout.bits == 6 ? 8 : 0);
    size = codes + rows * (layout.bits == 8 ? 32 : 16);
    super_size = layout.two_level ? rows * (layout.has_minimum ? 4 : 2) : 0;
  }
  int64_t minimums;
  int64_t high;
  int64_t codes;
  int64_t size;
  int64_t super_size;  // before each eight groups
};

void put_u16(uint8_t* p, uint16_t v) {
  std::memcpy(p, &v, sizeof v);
}
uint16_t get_u16(const uint8_t* p) {
  uint16_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// Codes go from file to panel four at a time, as the bytes of a word. `to(j)`: the four of columns
// 4j ... 4j + 3 of one row; the words of a plane stand `stride` bytes apart.
struct PackedRow {
  uint8_t* high;
  uint8_t* codes;
  int64_t stride;
};

// Bytes, or nibbles of which the low ones are columns 0-15: as the panel has them.
void put_simple_codes(const QuantLayout& layout, const uint8_t* block, const PackedRow& row) {
  const int64_t scales = layout.has_minimum ? 4 : 2;
  if (layout.bits == 8) {
    for (int64_t j = 0; j < 8; ++j) {
      store_u32(row.codes + j * row.stride, load_u32(block + scales + 4 * j) ^ 0x80808080U);
    }
    return;
  }
  const uint8_t* codes = block + scales + (layout.bits == 5 ? 4 : 0);
  for (int64_t j = 0; j < 4; ++j) store_u32(row.codes + j * row.stride, load_u32(codes + 4 * j));
  if (layout.bits == 5) {
    const uint32_t bits = load_u32(block + scales);
    uint32_t plane = 0;
    for (int j = 0; j < 8; ++j) {  // four bits to the lowest bit of four bytes
      plane |= ((bits >> (4 * j) & 15) * 0x00204081U & 0x01010101U) << j;
    }
    store_u32(row.high, plane);
  }
}

// Formats of 256 elements: the nibbles of a group are the low or the high ones of 32 bytes.
void put_two_level_codes(const QuantLayout& layout, const uint8_t* block, int64_t g,
                         const PackedRow& row) {
  const bool q6 = layout.bits == 6;
  const int64_t nibbles =
      q6 ? g / 4 * 64 + (g & 1) * 32 : (layout.bits == 5 ? 48 : 16) + g / 2 * 32;
  const int shift = static_cast<int>(4 * (q6 ? g >> 1 & 1 : g & 1));
  for (int64_t j = 0; j < 4; ++j) {
    const uint32_t low = load_u32(block + nibbles + 4 * j) >> shift & 0x0f0f0f0fU;
    const uint32_t high = load_u32(block + nibbles + 16 + 4 * j) >> shift & 0x0f0f0f0fU;
    store_u32(row.codes + j * row.stride, low | high << 4);
  }
  if (layout.bits == 4) return;
  const uint8_t* bits = block + (q6 ? 128 + g / 4 * 32 : 16);
  const int bit_shift = static_cast<int>(q6 ? 2 * (g & 3) : g);
  const uint32_t mask = q6 ? 0x03030303U : 0x01010101U;
  uint32_t planes[2] = {0, 0};
  for (int j = 0; j < 8; ++j) {
    const uint32_t four = load_u32(bits + 4 * j) >> bit_shift & mask;
    planes[q6 ? j / 4 : 0] |= four << (q6 ? 2 * (j % 4) : j);
  }
  store_u32(row.high, planes[0]);
  if (q6) store_u32(row.high + row.stride, planes[1]);
}

void get_codes(const QuantLayout& layout, const uint8_t* high, const uint8_t* codes, int64_t row,
               int64_t rows, QuantGroup& group) {
  for (int64_t k = 0; k < kQuantGroup; ++k) {
    const int64_t j = k / 4;
    const int64_t at = row * 4 + k % 4;
    int code = 0;
    if (layout.bits == 8) {
      code = codes[j * rows * 4 + at];
    } else {
      code = codes[j % 4 * rows * 4 + at] >> (j < 4 ? 0 : 4) & 15;
      if (layout.bits == 5) code |= (high[at] >> j & 1) << 4;
      if (layout.bits == 6) code |= (high[j / 4 * rows * 4 + at] >> (2 * (j % 4)) & 3) << 4;
    }
    group.codes[k] = static_cast<uint8_t>(code);
  }
}

void put_scales(const QuantLayout& layout, const QuantGroup& group, int64_t row, int64_t rows,
                const Record& at, uint8_t* super, uint8_t* record) {
  if (layout.two_level) {
    put_u16(super + 2 * row, group.d);
    if (layout.has_minimum) put_u16(super + 2 * (rows + row), group.m);
    record[row] = static_cast<uint8_t>(group.scale_code[0]);
    if (layout.half_scales) record[rows + row] = static_cast<uint8_t>(group.scale_code[1]);
    if (layout.has_minimum) record[at.minimums + row] = group.min_code;
  } else {
    put_u16(record + 2 * row, group.d);
    if (layout.has_minimum) put_u16(record + at.minimums + 2 * row, group.m);
  }
}

QuantGroup get_group(const QuantLayout& layout, int64_t row, int64_t rows, const uint8_t* super,
                     const uint8_t* record) {
  const Record at(layout, rows);
  QuantGroup group;
  if (layout.two_level) {
    group.d = get_u16(super + 2 * row);
    if (layout.has_minimum) group.m = get_u16(super + 2 * (rows + row));
    group.scale_code[0] = group.scale_code[1] = static_cast<int8_t>(record[row]);
    if (layout.half_scales) group.scale_code[1] = static_cast<int8_t>(record[rows + row]);
    if (layout.has_minimum) group.min_code = record[at.minimums + row];
  } else {
    group.d = get_u16(record + 2 * row);
    if (layout.has_minimum) group.m = get_u16(record + at.minimums + 2 * row);
  }
  get_codes(layout, record + at.high, record + at.codes, row, rows, group);
  return group;
}

// Offset of the record of group `g`, and of what precedes its eight.
int64_t super_offset(const Record& record, int64_t g) {
  return g / kQuantSuperGroups * (record.super_size + kQuantSuperGroups * record.size);
}
int64_t record_offset(const Record& record, int64_t g) {
  return super_offset(record, g) + record.super_size + g % kQuantSuperGroups * record.size;
}

}  // namespace

QuantFormat quant_format(const QuantLayout& layout) {
  switch (layout.dtype) {
    case DType::kQ8_0:
      return QuantFormat::kQ8_0;
    case DType::kQ4_0:
      return QuantFormat::kQ4_0;
    case DType::kQ4_1:
      return QuantFormat::kQ4_1;
    case DType::kQ5_0:
      return QuantFormat::kQ5_0;
    case DType::kQ5_1:
      return QuantFormat::kQ5_1;
    case DType::kQ4_K:
      return QuantFormat::kQ4_K;
    case DType::kQ5_K:
      return QuantFormat::kQ5_K;
    case DType::kQ6_K:
      return QuantFormat::kQ6_K;
    default:
      break;
  }
  RUVLLM_CHECK(false, "no panel form of ", dtype_info(layout.dtype).name);
  return QuantFormat::kQ8_0;
}

int64_t quant_panel_bytes(const QuantLayout& layout, int64_t panel_rows, int64_t groups) {
  const Record record(layout, panel_rows);
  return groups * record.size + groups / kQuantSuperGroups * record.super_size;
}

void pack_quant_panel(const QuantLayout& layout, const std::byte* const* rows, int64_t num_rows,
                      int64_t panel_rows, int64_t groups, uint8_t* panel) {
  RUVLLM_CHECK(num_rows <= panel_rows && (!layout.two_level || groups % kQuantSuperGroups == 0));
  const Record record(layout, panel_rows);
  if (num_rows < panel_rows) {
    std::memset(panel, 0, static_cast<size_t>(quant_panel_bytes(layout, panel_rows, groups)));
  }
  const int64_t block_bytes = dtype_info(layout.dtype).block_bytes;
  for (int64_t g = 0; g < groups; ++g) {
    uint8_t* to = panel + record_offset(record, g);
    for (int64_t r = 0; r < num_rows; ++r) {
      const auto* row = reinterpret_cast<const uint8_t*>(rows[r]);
      const PackedRow codes{to + record.high + 4 * r, to + record.codes + 4 * r, 4 * panel_rows};
      if (layout.two_level) {
        put_scales(layout, read_quant_scales(layout, rows[r], g), r, panel_rows, record,
                   panel + super_offset(record, g), to);
        put_two_level_codes(layout, row + g / kQuantSuperGroups * block_bytes,
                            g % kQuantSuperGroups, codes);
      } else {
        const uint8_t* block = row + g * block_bytes;
        std::memcpy(to + 2 * r, block, 2);
        if (layout.has_minimum) std::memcpy(to + record.minimums + 2 * r, block + 2, 2);
        put_simple_codes(layout, block, codes);
      }
    }
  }
}

void unpack_quant_groups(const QuantLayout& layout, const uint8_t* panel, int64_t row,
                         int64_t panel_rows, int64_t first, int64_t count, std::byte* out) {
  uint64_t bytes = 0;
  RUVLLM_CHECK(row_bytes(layout.dtype, count * kQuantGroup, bytes));
  std::memset(out, 0, static_cast<size_t>(bytes));
  const Record record(layout, panel_rows);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t g = first + i;
    const QuantGroup group = get_group(layout, row, panel_rows, panel + super_offset(record, g),
                                       panel + record_offset(record, g));
    write_quant_group(layout, group, i, out);
  }
}

}  // namespace ruvllm::kernels
