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
  int32_t sum;
  int32_t lanes[2];  // not used here
};
static_assert(sizeof(Activations) == kInt8Words * 4);

// The sums of one row of w in one group: adds to *sum. `d`, `m`: two-level factors of the row.
template <class Fmt>
void add_group(const uint8_t* w, int row, float d, float m, const Activations& x, float* sum) {
  const uint8_t* scales = w;
  const uint8_t* minimums = scales + kRows * (Fmt::kTwoLevel ? (Fmt::kHalves ? 2 : 1) : 2);
  const uint8_t* high = minimums + (Fmt::kMinimum ? kRows * (Fmt::kTwoLevel ? 1 : 2) : 0);
  const uint8_t* codes = high + kRows * (Fmt::kBits == 5 ? 4 : Fmt::kBits == 6 ? 8 : 0);
  const int zero = Fmt::kZeroLog2 >= 0 ? 1 << (Fmt::kZeroLog2 >= 0 ? Fmt::kZeroLog2 : 0) : 0;
  const int parts = Fmt::kHalves ? 2 : 1;
  for (int part = 0; part < parts; ++part) {
    int32_t dot = 0;
    const int end = (part + 1) * 32 / parts;
    for (int k = part * 32 / parts; k < end; ++k) {
      dot += (code_at<Fmt>(high, codes, row, k) - zero) * x.codes[k];
    }
    float scale;
    if (Fmt::kHalves) {
      scale = d * (float)(int8_t)scales[part * kRows + row];
    } else if (Fmt::kTwoLevel) {
      scale = d * (float)scales[row];
    } else {
      scale = read_f16(scales + 2 * row);
    }
    *sum = __builtin_fmaf((float)dot, scale * x.scale, *sum);
  }
  if (Fmt::kMinimum) {
    const float minimum =
        Fmt::kTwoLevel ? -(m * (float)minimums[row]) : read_f16(minimums + 2 * row);
    *sum = __builtin_fmaf(minimum, x.scale * (float)x.sum, *sum);
  }
}

template <class Fmt>
void panel_product(const QuantPanelArgs* args) {
  for (int64_t p = 0; p < args->num_panels; ++p) {
    for (int64_t t = 0; t < args->num_x; ++t) {
      const Activations* x = (const Activations*)args->x + t * args->groups;
      const uint8_t* w = args->panels + p * args->panel_bytes;
      const uint8_t* super = w;
      float* sums = args->sums + t * args->sums_stride + p * kRows;
      for (int r = 0; r < kRows; ++r) sums[r] = 0.0f;
      for (int64_t g = 0; g < args->groups; ++g) {
        if (Fmt::kTwoLevel && g % 8 == 0) {
          super = w;
          w += Fmt::super_bytes(kRows);
        }
        for (int r = 0; r < kRows; ++r) {
          const float d = Fmt::kTwoLevel ? read_f16(super + 2 * r) : 0.0f;
          const float m =
              Fmt::kTwoLevel && Fmt::kMinimum ? read_f16(super + 2 * (kRows + r)) : 0.0f;
          add_group<Fmt>(w, r, d, m, x[g], sums + r);
        }
        w += Fmt::group_bytes(kRows);
      }
    }
  }
}

// One row of w and of x in a grouped format; w: the panel.
template <class Fmt>
float grouped_row(const QuantPanelArgs& args, const uint8_t* w, int row, const Activations* x) {
  float sum = 0.0f;
  for (int64_t begin = 0; begin < args.groups; begin += args.scale_groups) {
    float scale;
    int16_t zero;
    memcpy(&scale, w + 4 * row, sizeof scale);
    memcpy(&zero, w + 4 * kRows + 2 * row, sizeof zero);
    w += Fmt::header_bytes(kRows);
    float part = 0.0f;
    int32_t dot = 0;
    const int64_t left = args.groups - begin;
    const int64_t end = begin + (args.scale_groups < left ? args.scale_groups : left);
    const int64_t block = args.x_groups;
    for (int64_t g = begin; g < end; ++g) {
      for (int k = 0; k < 32; ++k) {
        const int code = code_at<Fmt>(w, w + (Fmt::kBits == 3 ? kRows * 4 : 0), row, k);
        dot += (code - zero) * x[g].codes[k];
      }
      w += Fmt::group_bytes(kRows);
      if ((g + 1 - begin) % block != 0 && g + 1 < end) continue;
      part = __builtin_fmaf((float)dot, x[g].scale, part);
      dot = 0;
    }
    sum = __builtin_fmaf(part, scale, sum);
  }
  return sum;
}

template <class Fmt>
void grouped_product(const QuantPanelArgs* args) {
  for (int64_t p = 0; p < args->num_panels; ++p) {
    for (int64_t t = 0; t < args->num_x; ++t) {
      for (int r = 0; r < kRows; ++r) {
        args->sums[t * args->sums_stride + p * kRows + r] =
            grouped_row<Fmt>(*args, args->panels + p * args->panel_bytes, r,
                             (const Activations*)args->x + t * args->groups);
      }
    }
  }
}

}  // namespace

const QuantPanelKernel kQuantPanel = {kRows,
                                      1,
                                      1,
                                      {{ActivationForm::kInt8, panel_product<Q8_0>},
                                       {ActivationForm::kInt8, panel_product<Q4_0>},
                                       {ActivationForm::kInt8, panel_product<Q4_1>},
                                       {ActivationForm::kInt8, panel_product<Q5_0>},
                                       {ActivationForm::kInt8, panel_product<Q5_1>},
                                       {ActivationForm::kInt8, panel_product<Q4_K>},
                                       {ActivationForm::kInt8, panel_product<Q5_K>},
                                       {ActivationForm::kInt8, panel_product<Q6_K>},
                                       {ActivationForm::kInt8, grouped_product<I8>},
                                       {ActivationForm::kInt8, grouped_product<I4>},
                                       {ActivationForm::kInt8, grouped_product<I3>},
                                       {ActivationForm::kInt8, grouped_product<I2>}}};

}  // namespace ruvllm::kernels::generic
