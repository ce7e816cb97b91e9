// The panel products in plain C++: any machine's kernel, and the oracle of the others.
#include "kernels/matmul/quant_panel.h"
#include "kernels/matmul/quant_panel_formats.h"

#include <string.h>

#include "base/float_types.h"

namespace ruvllm::kernels::generic {
namespace {

enum { kRows = 8 };

float read_f16(const uint8_t* p) {
  uint16_t bits;
  memcpy(&bits, p, sizeof bits);
  return f16_to_f32(bits);
}

template <class Fmt>
int code_at(const uint8_t* high, const uint8_t* codes, int row, int column) {
  const int j = column / 4;
  const int i = row * 4 + column % 4;
  if (Fmt::kBits == 8) return codes[j * kRows * 4 + i];
  if (Fmt::kBits <= 3) {
    const int two = codes[(j / 4) * kRows * 4 + i] >> (2 * (j % 4)) & 3;
    return Fmt::kBits == 2 ? two : two | (high[i] >> j & 1) << 2;
  }
  const int low = codes[(j % 4) * kRows * 4 + i] >> (j < 4 ? 0 : 4) & 15;
  if (Fmt::kBits == 4) return low;
  if (Fmt::kBits == 5) return low | (high[i] >> j & 1) << 4;
  return low | (high[(j / 4) * kRows * 4 + i] >> (2 * (j % 4)) & 3) << 4;
}

struct Activations {
  int8_t codes[32];
  float scale;
  int32_t offset;    // -128 times the sum of the codes
  int32_t lanes[2];  // not used here
};
static_assert(sizeof(Activations) == kRecordWords * 4);

// One group of a row of w: adds to *part. `d`, `m`: two-level factors of the row.
template <class Fmt>
void add_group(const uint8_t* w, int row, float d, float m, const Activations& x, float* part) {
  const uint8_t* scales = w;
  const uint8_t* minimums = scales + kRows * (Fmt::kTwoLevel ? (Fmt::kHalves ? 2 : 1) : 2);
  const uint8_t* high = minimums + (Fmt::kMinimum ? kRows * (Fmt::kTwoLevel ? 1 : 2) : 0);
  const uint8_t* codes = high + kRows * (Fmt::kBits == 5 ? 4 : Fmt::kBits == 6 ? 8 : 0);
  const int zero = Fmt::kZeroLog2 >= 0 ? 1 << (Fmt::kZeroLog2 >= 0 ? Fmt::kZeroLog2 : 0) : 0;
  const int halves = Fmt::kHalves ? 2 : 1;
  for (int half = 0; half < halves; ++half) {
    int32_t dot = 0;
    const int end = (half + 1) * 32 / halves;
    for (int k = half * 32 / halves; k < end; ++k) {
      dot += (code_at<Fmt>(high, codes, row, k) - zero) * x.codes[k];
    }
    float scale;
    if (Fmt::kHalves) {
      scale = d * (float)(int8_t)scales[half * kRows + row];
    } else if (Fmt::kTwoLevel) {
      scale = d * (float)scales[row];
    } else {
      scale = read_f16(scales + 2 * row);
    }
    *part = __builtin_fmaf((float)dot, scale, *part);
  }
  if (Fmt::kMinimum) {
    const float minimum =
        Fmt::kTwoLevel ? -(m * (float)minimums[row]) : read_f16(minimums + 2 * row);
    *part = __builtin_fmaf(minimum, (float)(-x.offset / 128), *part);
  }
}

// One row of w and of x; w: the panel.
template <class Fmt>
float block_row(const QuantPanelArgs& args, const uint8_t* w, int row, const Activations* x) {
  float sum = 0.0f;
  float part = 0.0f;
  float d = 0.0f;
  float m = 0.0f;
  for (int64_t g = 0; g < args.groups; ++g) {
    if (Fmt::kTwoLevel && g % 8 == 0) {
      d = read_f16(w + 2 * row);
      if (Fmt::kMinimum) m = read_f16(w + 2 * (kRows + row));
      w += Fmt::super_bytes(kRows);
    }
    add_group<Fmt>(w, row, d, m, x[g], &part);
    w += Fmt::group_bytes(kRows);
    if ((g + 1) % kXBlock != 0 && g + 1 < args.groups) continue;
    sum = __builtin_fmaf(part, x[g].scale, sum);
    part = 0.0f;
  }
  return sum;
}

// The same in a grouped format.
template <class Fmt>
float grouped_row(const QuantPanelArgs& args, const uint8_t* w, int row, const Activations* x) {
  const int64_t block = args.one_x_scale ? args.groups : (int64_t)kXBlock;
  const int64_t unit = args.one_x_scale ? args.groups : unit_groups(args.scale_groups, args.groups);
  float sum = 0.0f;
  float part = 0.0f;
  int32_t dot = 0;
  float scale = 0.0f;
  int16_t zero = 0;
  for (int64_t g = 0; g < args.groups; ++g) {
    if (g % args.scale_groups == 0) {
      if (args.compact_scales) {
        const uint8_t* zeros = w + 2 * kRows;
        scale = read_f16(w + 2 * row);
        zero =
            Fmt::kBits == 8 ? zeros[row] : zeros[row % (kRows / 2)] >> (row / (kRows / 2) * 4) & 15;
      } else {
        memcpy(&scale, w + 4 * row, sizeof scale);
        memcpy(&zero, w + 4 * kRows + 2 * row, sizeof zero);
      }
      w += Fmt::header_bytes(kRows, args.compact_scales);
    }
    for (int k = 0; k < 32; ++k) {
      const int code = code_at<Fmt>(w, w + (Fmt::kBits == 3 ? kRows * 4 : 0), row, k);
      dot += (code - zero) * x[g].codes[k];
    }
    w += Fmt::group_bytes(kRows);
    const bool last = g + 1 == args.groups;
    if ((g + 1) % unit == 0 || last) {
      part = __builtin_fmaf((float)dot, scale, part);
      dot = 0;
    }
    if ((g + 1) % block == 0 || last) {
      sum = __builtin_fmaf(part, x[g].scale, sum);
      part = 0.0f;
    }
  }
  return sum;
}

// The same with half scales: their zero points are read one by one.
template <class Fmt>
float halves_row(const QuantPanelArgs& args, const uint8_t* w, int row, const Activations* x) {
  float sum = 0.0f;
  float part = 0.0f;
  for (int64_t g = 0; g < args.groups; ++g) {
    const uint8_t* const codes = w + Fmt::header_bytes(kRows, args.compact_scales);
    for (int half = 0; half < 2; ++half) {
      float scale = 0.0f;
      int16_t zero = 0;
      if (args.compact_scales) {
        const uint8_t* const zeros = w + 4 * kRows;
        scale = read_f16(w + 2 * (half * kRows + row));
        zero = Fmt::kBits == 2 ? zeros[row % (kRows / 2)] >> (row / (kRows / 2) * 4 + 2 * half) & 3
                               : zeros[row] >> (4 * half) & 15;
      } else {
        memcpy(&scale, w + 4 * (half * kRows + row), sizeof scale);
        memcpy(&zero, w + 8 * kRows + 2 * (half * kRows + row), sizeof zero);
      }
      int32_t dot = 0;
      for (int k = 16 * half; k < 16 * half + 16; ++k) {
        const int code = code_at<Fmt>(codes, codes + (Fmt::kBits == 3 ? kRows * 4 : 0), row, k);
        dot += (code - zero) * x[g].codes[k];
      }
      part = __builtin_fmaf((float)dot, scale, part);
    }
    w = codes + Fmt::group_bytes(kRows);
    if ((g + 1) % kXBlock != 0 && g + 1 < args.groups) continue;
    sum = __builtin_fmaf(part, x[g].scale, sum);
    part = 0.0f;
  }
  return sum;
}

template <class Fmt>
void panel_product(const QuantPanelArgs* args) {
  for (int64_t p = 0; p < args->num_panels; ++p) {
    const uint8_t* w = args->panels + p * args->panel_bytes;
    for (int64_t t = 0; t < args->num_x; ++t) {
      const Activations* x = (const Activations*)args->x + t * args->groups;
      float* sums = args->sums + t * args->sums_stride + p * kRows;
      for (int r = 0; r < kRows; ++r) {
        if constexpr (Fmt::kGrouped && Fmt::kHalves) {
          sums[r] = halves_row<Fmt>(*args, w, r, x);
        } else if constexpr (Fmt::kGrouped) {
          sums[r] = grouped_row<Fmt>(*args, w, r, x);
        } else {
          sums[r] = block_row<Fmt>(*args, w, r, x);
        }
      }
    }
  }
}

}  // namespace

const QuantPanelKernel kQuantPanel = {
    kRows,
    kTaskPanels,
    1,
    nullptr,
    {panel_product<Q8_0>, panel_product<Q4_0>, panel_product<Q4_1>, panel_product<Q5_0>,
     panel_product<Q5_1>, panel_product<Q4_K>, panel_product<Q5_K>, panel_product<Q6_K>,
     panel_product<I8>, panel_product<I4>, panel_product<I3>, panel_product<I2>, panel_product<I4H>,
     panel_product<I3H>, panel_product<I2H>}};

}  // namespace ruvllm::kernels::generic
