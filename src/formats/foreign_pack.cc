#include "formats/foreign_pack.h"

#include <algorithm>
#include <utility>

#include "base/float_types.h"
#include "base/str.h"

namespace ruvllm {
namespace {

constexpr int kAwqOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};  // column of each nibble of a word

// `count` fields of `bits` bits, LSB first, running on through word boundaries; field i of stream s
// goes to the words at base + s, `stride` apart.
class BitStream {
 public:
  BitStream(std::vector<uint32_t>& words, size_t first, size_t stride)
      : words_(words), first_(first), stride_(stride) {}
  void put(int64_t index, int32_t bits, uint32_t value) {
    const int64_t bit = index * bits;
    const auto word = static_cast<size_t>(bit / 32);
    const int shift = static_cast<int>(bit % 32);
    words_[first_ + word * stride_] |= value << shift;
    if (shift + bits > 32) words_[first_ + (word + 1) * stride_] |= value >> (32 - shift);
  }

 private:
  std::vector<uint32_t>& words_;
  size_t first_;
  size_t stride_;
};

uint32_t code_at(const QuantizedMatrix& matrix, int64_t n, int64_t k) {
  return matrix.codes[static_cast<size_t>(n * matrix.cols + k)];
}

// [groups, N]
std::vector<uint16_t> scales_by_group(const QuantizedMatrix& matrix) {
  std::vector<uint16_t> out;
  out.reserve(matrix.scales.size());
  for (int64_t g = 0; g < matrix.num_groups(); ++g) {
    for (int64_t n = 0; n < matrix.rows; ++n) out.push_back(f32_to_f16(matrix.scale_at(n, g)));
  }
  return out;
}

std::vector<PackedTensor> pack_gptq(const QuantizedMatrix& matrix, const std::string& prefix) {
  const int64_t groups = matrix.num_groups();
  const int64_t code_words = matrix.cols * matrix.bits / 32;
  const int64_t zero_words = matrix.rows * matrix.bits / 32;
  std::vector<uint32_t> codes(static_cast<size_t>(code_words * matrix.rows));
  std::vector<uint32_t> zeros(static_cast<size_t>(groups * zero_words));
  std::vector<int32_t> group_of;
  for (int64_t n = 0; n < matrix.rows; ++n) {
    BitStream column(codes, static_cast<size_t>(n), static_cast<size_t>(matrix.rows));
    for (int64_t k = 0; k < matrix.cols; ++k) column.put(k, matrix.bits, code_at(matrix, n, k));
  }
  for (int64_t g = 0; g < groups; ++g) {
    BitStream line(zeros, static_cast<size_t>(g * zero_words), 1);
    for (int64_t n = 0; n < matrix.rows; ++n) {
      line.put(n, matrix.bits, static_cast<uint32_t>(matrix.zero_at(n, g)));
    }
  }
  for (int64_t k = 0; k < matrix.cols; ++k) {
    group_of.push_back(static_cast<int32_t>(k / matrix.group_size));
  }
  std::vector<PackedTensor> out;
  out.push_back(packed_tensor(prefix + ".qweight", DType::kI32, {code_words, matrix.rows}, codes));
  out.push_back(packed_tensor(prefix + ".qzeros", DType::kI32, {groups, zero_words}, zeros));
  out.push_back(packed_tensor(prefix + ".scales", DType::kF16, {groups, matrix.rows},
                              scales_by_group(matrix)));
  out.push_back(packed_tensor(prefix + ".g_idx", DType::kI32, {matrix.cols}, group_of));
  return out;
}

std::vector<PackedTensor> pack_awq(const QuantizedMatrix& matrix, const std::string& prefix) {
  const int64_t groups = matrix.num_groups();
  const int64_t words = matrix.rows / 8;
  std::vector<uint32_t> codes(static_cast<size_t>(matrix.cols * words));
  std::vector<uint32_t> zeros(static_cast<size_t>(groups * words));
  for (int64_t word = 0; word < words; ++word) {
    for (int nibble = 0; nibble < 8; ++nibble) {
      const int64_t n = word * 8 + kAwqOrder[nibble];
      for (int64_t k = 0; k < matrix.cols; ++k) {
        codes[static_cast<size_t>(k * words + word)] |= code_at(matrix, n, k) << (4 * nibble);
      }
      for (int64_t g = 0; g < groups; ++g) {
        zeros[static_cast<size_t>(g * words + word)] |= static_cast<uint32_t>(matrix.zero_at(n, g))
                                                        << (4 * nibble);
      }
    }
  }
  std::vector<PackedTensor> out;
  out.push_back(packed_tensor(prefix + ".qweight", DType::kI32, {matrix.cols, words}, codes));
  out.push_back(packed_tensor(prefix + ".qzeros", DType::kI32, {groups, words}, zeros));
  out.push_back(packed_tensor(prefix + ".scales", DType::kF16, {groups, matrix.rows},
                              scales_by_group(matrix)));
  return out;
}

// [N, K] of signed bytes, a scale per row.
std::vector<PackedTensor> pack_int8(const QuantizedMatrix& matrix, const std::string& prefix) {
  std::vector<int8_t> values;
  values.reserve(matrix.codes.size());
  for (const uint8_t code : matrix.codes) values.push_back(static_cast<int8_t>(code - 128));
  std::vector<PackedTensor> out;
  out.push_back(packed_tensor(prefix + ".weight", DType::kI8, {matrix.rows, matrix.cols}, values));
  out.push_back(
      packed_tensor(prefix + ".weight_scale", DType::kF32, {matrix.rows, 1}, matrix.scales));
  return out;
}

// The project's own layout without its own parts; weight_shape is [N, K] there.
Result<std::vector<PackedTensor>> pack_compressed(const QuantizedMatrix& matrix,
                                                  const std::string& prefix) {
  if (matrix.int8_activations) {
    if (matrix.bits == 8 && matrix.zero == 128 && matrix.zeros.empty() &&
        matrix.num_groups() == 1) {
      return pack_int8(matrix, prefix);
    }
    return fail(ErrorCode::kUnsupported,
                concat(prefix, ": int-quantized holds 8 bits with one scale per row"));
  }
  RUVLLM_ASSIGN(std::vector<PackedTensor> out, pack_matrix(matrix, prefix));
  for (PackedTensor& part : out) {
    if (!part.name.ends_with(".weight_shape")) continue;
    part =
        packed_tensor(part.name, DType::kI64, {2}, std::vector<int64_t>{matrix.rows, matrix.cols});
  }
  return out;
}

}  // namespace

std::string_view foreign_layout_name(ForeignLayout layout) {
  switch (layout) {
    case ForeignLayout::kGptq:
      return "gptq";
    case ForeignLayout::kAwq:
      return "awq";
    case ForeignLayout::kCompressedTensors:
      return "compressed-tensors";
  }
  return "";
}

Status check_foreign(ForeignLayout layout, int64_t rows, int64_t cols, int32_t bits,
                     int64_t group_size) {
  const auto refuse = [&](const auto&... what) {
    return fail(ErrorCode::kUnsupported, concat(foreign_layout_name(layout), ": ", what...));
  };
  if (cols % group_size != 0) {
    return refuse("groups of ", group_size, " do not divide ", cols,
                  " inputs; another group, or keep this matrix (NAME=keep in --isq)");
  }
  switch (layout) {
    case ForeignLayout::kGptq:
      if (cols * bits % 32 == 0 && rows * bits % 32 == 0 && cols % 32 == 0) return {};
      return refuse("[", rows, ", ", cols, "] at ", bits, " bits fills no whole words of 32 bits");
    case ForeignLayout::kAwq:
      if (bits != 4) return refuse("holds 4 bits, not ", bits);
      if (rows % 8 != 0) return refuse(rows, " outputs are no multiple of 8");
      return {};
    case ForeignLayout::kCompressedTensors:
      if (bits != 4 && bits != 8)
        return refuse("pack-quantized is read with 4 or 8 bits, not ", bits);
      return {};
  }
  return {};
}

Result<std::vector<PackedTensor>> pack_foreign(ForeignLayout layout, const QuantizedMatrix& matrix,
                                               const std::string& prefix) {
  const auto refuse = [&](const auto&... what) {
    return fail(ErrorCode::kUnsupported,
                concat(prefix, ": ", foreign_layout_name(layout), ": ", what...));
  };
  if (const Status fits =
          check_foreign(layout, matrix.rows, matrix.cols, matrix.bits, matrix.group_size);
      !fits) {
    return fail(fits.error().code, concat(prefix, ": ", fits.error().message));
  }
  const int32_t most = (1 << matrix.bits) - 1;
  const bool in_range =
      matrix.kind == CodeKind::kInteger && is_valid(matrix) && matrix.zero >= 0 &&
      matrix.zero <= most &&
      std::ranges::all_of(matrix.zeros, [most](int16_t z) { return z >= 0 && z <= most; });
  if (!in_range) return refuse("codes or zero points of another kind");
  if (!matrix.transform.empty()) return refuse("has no place for an input transform");
  if (!matrix.int8_activations &&
      !std::ranges::all_of(matrix.scales, [](float s) { return f16_to_f32(f32_to_f16(s)) == s; })) {
    return refuse("a scale is no f16 number");
  }
  switch (layout) {
    case ForeignLayout::kGptq:
      return pack_gptq(matrix, prefix);
    case ForeignLayout::kAwq:
      return pack_awq(matrix, prefix);
    case ForeignLayout::kCompressedTensors:
      return pack_compressed(matrix, prefix);
  }
  return refuse("unknown");
}

}  // namespace ruvllm
