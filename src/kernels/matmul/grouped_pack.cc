#include "kernels/matmul/grouped_pack.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/float_types.h"
#include "kernels/matmul/packed_words.h"
#include "tensor/quant_layout.h"

namespace ruvllm::kernels {
namespace {

// Where a code stands in its group: a byte, a shift in it, and for 3 bits the same of the high bit.
struct CodePlace {
  int64_t byte;
  int shift;
  int64_t high_byte = 0;
  int high_shift = 0;
};

CodePlace place_of(int32_t bits, int64_t panel_rows, int64_t row, int64_t column) {
  const int64_t j = column / 4;
  const int64_t in_plane = row * 4 + column % 4;
  const int64_t plane = panel_rows * 4;
  if (bits == 8) return {j * plane + in_plane, 0};
  if (bits == 4) return {j % 4 * plane + in_plane, j < 4 ? 0 : 4};
  const int64_t low = j / 4 * plane + in_plane;
  const int shift = static_cast<int>(2 * (j % 4));
  if (bits == 2) return {low, shift};
  return {plane + low, shift, in_plane, static_cast<int>(j)};
}

// The codes of a group of one row, four at a time as the bytes of a word, to the places that
// place_of() says: `group` is where its first word of a plane stands, planes `plane` bytes apart.
void put_codes(int32_t bits, const uint8_t* codes, int64_t plane, uint8_t* group) {
  if (bits == 8) {
    for (int64_t j = 0; j < 8; ++j) store_u32(group + j * plane, load_u32(codes + 4 * j));
    return;
  }
  if (bits == 4) {
    for (int64_t j = 0; j < 4; ++j) {
      store_u32(group + j * plane, load_u32(codes + 4 * j) | load_u32(codes + 16 + 4 * j) << 4);
    }
    return;
  }
  uint32_t low[2] = {0, 0};
  uint32_t high = 0;
  for (int j = 0; j < 8; ++j) {
    const uint32_t four = load_u32(codes + 4 * j);
    low[j / 4] |= (four & 0x03030303U) << (2 * (j % 4));
    high |= (four >> 2 & 0x01010101U) << j;
  }
  if (bits == 3) {
    store_u32(group, high);
    group += plane;
  }
  store_u32(group, low[0]);
  store_u32(group + plane, low[1]);
}

uint8_t get_code(int32_t bits, const CodePlace& place, const uint8_t* group) {
  const int low_bits = bits == 3 ? 2 : bits;
  int code = group[place.byte] >> place.shift & ((1 << low_bits) - 1);
  if (bits == 3) code |= (group[place.high_byte] >> place.high_shift & 1) << 2;
  return static_cast<uint8_t>(code);
}

// code - zero of 8-bit codes is a 16-bit number in the kernels; with half scales it is a signed
// byte.
constexpr int32_t kMaxPanelZero = 32000;
constexpr int32_t kMaxHalfZero = 100;

// Scales of a row in a header.
int64_t num_scales(const GroupedShape& shape) {
  return shape.halves ? 2 : 1;
}

struct Header {
  float scale;
  int32_t zero;
};

// Which of a header's scales: of a row, and there of a half (without half scales 0).
struct HeaderPlace {
  int64_t row;
  int64_t half;
};

// Where a zero point stands in a compact header.
struct ZeroPlace {
  int64_t byte;
  int shift;
  int mask;
};
ZeroPlace zero_place(const GroupedShape& shape, const HeaderPlace& place) {
  const int64_t row = place.row;
  const int64_t begin = 2 * shape.panel_rows * num_scales(shape);
  if (shape.bits == 8) return {begin + row, 0, 255};
  const int half = static_cast<int>(place.half);
  if (shape.halves && shape.bits > 2) return {begin + row, 4 * half, 15};
  const int64_t rows = shape.panel_rows / 2;
  const int nibble = row < rows ? 0 : 4;
  if (shape.halves) return {begin + row % rows, nibble + 2 * half, 3};
  return {begin + row % rows, nibble, 15};
}

// False: it does not fit a compact header.
bool put_header(const GroupedShape& shape, const HeaderPlace& where, const Header& header,
                uint8_t* to) {
  const int64_t at = where.half * shape.panel_rows + where.row;
  if (!shape.compact) {
    const auto zero = static_cast<int16_t>(header.zero);
    std::memcpy(to + 4 * at, &header.scale, sizeof header.scale);
    std::memcpy(to + 4 * shape.panel_rows * num_scales(shape) + 2 * at, &zero, sizeof zero);
    return true;
  }
  const uint16_t scale = f32_to_f16(header.scale);
  const ZeroPlace place = zero_place(shape, where);
  const float back = f16_to_f32(scale);
  if (std::memcmp(&back, &header.scale, sizeof back) != 0) return false;
  if (header.zero < 0 || header.zero > place.mask) return false;
  std::memcpy(to + 2 * at, &scale, sizeof scale);
  to[place.byte] = static_cast<uint8_t>((to[place.byte] & ~(place.mask << place.shift)) |
                                        header.zero << place.shift);
  return true;
}

Header get_header(const GroupedShape& shape, const HeaderPlace& where, const uint8_t* from) {
  const int64_t at = where.half * shape.panel_rows + where.row;
  if (!shape.compact) {
    Header out;
    int16_t zero = 0;
    std::memcpy(&out.scale, from + 4 * at, sizeof out.scale);
    std::memcpy(&zero, from + 4 * shape.panel_rows * num_scales(shape) + 2 * at, sizeof zero);
    out.zero = zero;
    return out;
  }
  uint16_t scale = 0;
  std::memcpy(&scale, from + 2 * at, sizeof scale);
  const ZeroPlace place = zero_place(shape, where);
  return {f16_to_f32(scale), from[place.byte] >> place.shift & place.mask};
}

int64_t group_bytes(int32_t bits, int64_t panel_rows) {
  return panel_rows * bits * 4;
}

// Puts the header `index` of the rows [first, first + num_rows) of the matrix. False: one does not
// fit.
bool put_headers(const QuantizedMatrix& matrix, const GroupedShape& shape, int64_t first,
                 int64_t num_rows, int64_t index, uint8_t* to) {
  const int64_t scales_per_row = matrix.num_groups();
  for (int64_t half = 0; half < num_scales(shape); ++half) {
    int64_t at = first * scales_per_row + index * num_scales(shape) + half;
    for (int64_t r = 0; r < num_rows; ++r, at += scales_per_row) {
      const auto i = static_cast<size_t>(at);
      const int32_t zero = matrix.zeros.empty() ? matrix.zero : matrix.zeros[i];
      if (!put_header(shape, {r, half}, {matrix.scales[i], zero}, to)) return false;
    }
  }
  return true;
}

}  // namespace

bool has_grouped_panels(const QuantizedMatrix& matrix) {
  const bool halves = half_scales(matrix);
  const int32_t most = halves ? kMaxHalfZero : kMaxPanelZero;
  const auto fits = [most](int32_t zero) { return zero >= -most && zero <= most; };
  return matrix.kind == CodeKind::kInteger && matrix.cols % kQuantGroup == 0 && fits(matrix.zero) &&
         std::ranges::all_of(matrix.zeros, fits) &&
         (matrix.group_size % kQuantGroup == 0 || matrix.group_size >= matrix.cols ||
          (halves && matrix.bits <= 4));
}

bool half_scales(const QuantizedMatrix& matrix) {
  return matrix.group_size == kQuantGroup / 2 && matrix.cols > matrix.group_size;
}

QuantFormat grouped_format(int32_t bits, bool half_scales) {
  switch (bits) {
    case 8:
      RUVLLM_CHECK(!half_scales, "no panel form of 8 bits with half scales");
      return QuantFormat::kI8;
    case 4:
      return half_scales ? QuantFormat::kI4H : QuantFormat::kI4;
    case 3:
      return half_scales ? QuantFormat::kI3H : QuantFormat::kI3;
    default:
      break;
  }
  RUVLLM_CHECK(bits == 2, "no panel form of ", bits, " bits");
  return half_scales ? QuantFormat::kI2H : QuantFormat::kI2;
}

bool one_x_scale(const QuantizedMatrix& matrix) {
  const bool symmetric = matrix.bits == 8 && matrix.zeros.empty() && matrix.zero == 128;
  return symmetric && matrix.group_size >= matrix.cols && matrix.cols <= kMostExactColumns;
}

int64_t scale_groups(const QuantizedMatrix& matrix) {
  if (half_scales(matrix)) return 1;
  return std::min(matrix.group_size, matrix.cols) / kQuantGroup;
}

int64_t grouped_header_bytes(const GroupedShape& shape) {
  const int64_t rows = shape.panel_rows;
  if (!shape.compact) return rows * 6 * num_scales(shape);
  const bool bytes = shape.halves ? shape.bits > 2 : shape.bits == 8;  // of zero points
  return rows * 2 * num_scales(shape) + (bytes ? rows : rows / 2);
}

int64_t grouped_panel_bytes(const GroupedShape& shape) {
  const int64_t headers = (shape.groups + shape.scale_groups - 1) / shape.scale_groups;
  return shape.groups * group_bytes(shape.bits, shape.panel_rows) +
         headers * grouped_header_bytes(shape);
}

bool pack_grouped_panel(const QuantizedMatrix& matrix, const GroupedShape& shape, int64_t first,
                        uint8_t* panel) {
  const int64_t num_rows = std::min(shape.panel_rows, matrix.rows - first);
  if (num_rows < shape.panel_rows) {
    std::memset(panel, 0, static_cast<size_t>(grouped_panel_bytes(shape)));
  }
  for (int64_t g = 0; g < shape.groups; ++g) {
    if (g % shape.scale_groups == 0) {
      if (!put_headers(matrix, shape, first, num_rows, g / shape.scale_groups, panel)) return false;
      panel += grouped_header_bytes(shape);
    }
    for (int64_t r = 0; r < num_rows; ++r) {
      const uint8_t* codes = matrix.codes.data() + (first + r) * matrix.cols + g * kQuantGroup;
      put_codes(matrix.bits, codes, 4 * shape.panel_rows, panel + 4 * r);
    }
    panel += group_bytes(matrix.bits, shape.panel_rows);
  }
  return true;
}

QuantizedMatrix unpack_grouped_row(const GroupedShape& shape, const uint8_t* panel, int64_t row) {
  QuantizedMatrix out;
  out.rows = 1;
  out.cols = shape.groups * kQuantGroup;
  out.bits = shape.bits;
  out.group_size = shape.halves ? kQuantGroup / 2 : shape.scale_groups * kQuantGroup;
  out.codes.resize(static_cast<size_t>(out.cols));
  for (int64_t g = 0; g < shape.groups; ++g) {
    if (g % shape.scale_groups == 0) {
      for (int64_t half = 0; half < num_scales(shape); ++half) {
        const Header header = get_header(shape, {row, half}, panel);
        out.scales.push_back(header.scale);
        out.zeros.push_back(static_cast<int16_t>(header.zero));
      }
      panel += grouped_header_bytes(shape);
    }
    for (int64_t k = 0; k < kQuantGroup; ++k) {
      out.codes[static_cast<size_t>(g * kQuantGroup + k)] =
          get_code(shape.bits, place_of(shape.bits, shape.panel_rows, row, k), panel);
    }
    panel += group_bytes(shape.bits, shape.panel_rows);
  }
  return out;
}

void dequantize_grouped_row(const GroupedShape& shape, const uint8_t* panel, int64_t row,
                            float* out) {
  CodePlace places[kQuantGroup];
  for (int64_t k = 0; k < kQuantGroup; ++k) {
    places[k] = place_of(shape.bits, shape.panel_rows, row, k);
  }
  Header headers[2] = {};
  for (int64_t g = 0; g < shape.groups; ++g, out += kQuantGroup) {
    if (g % shape.scale_groups == 0) {
      for (int64_t half = 0; half < 2; ++half) {
        headers[half] = get_header(shape, {row, shape.halves ? half : 0}, panel);
      }
      panel += grouped_header_bytes(shape);
    }
    for (int64_t k = 0; k < kQuantGroup; ++k) {
      const int code = get_code(shape.bits, places[k], panel);
      const Header& header = headers[2 * k / kQuantGroup];
      out[k] = static_cast<float>(code - header.zero) * header.scale;
    }
    panel += group_bytes(shape.bits, shape.panel_rows);
  }
}

}  // namespace ruvllm::kernels
