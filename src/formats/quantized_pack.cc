#include "formats/quantized_pack.h"

#include <algorithm>
#include <utility>

#include "base/float_types.h"
#include "base/str.h"
#include "formats/quantized_tensors.h"

namespace ruvllm {
namespace {

// Scales as f16 where that is exact for all, else f32.
PackedTensor pack_scales(const QuantizedMatrix& matrix, std::string name) {
  const bool exact =
      std::ranges::all_of(matrix.scales, [](float s) { return f16_to_f32(f32_to_f16(s)) == s; });
  std::vector<int64_t> shape = {matrix.rows, matrix.num_groups()};
  if (!exact) return packed_tensor(std::move(name), DType::kF32, std::move(shape), matrix.scales);
  std::vector<uint16_t> half;
  half.reserve(matrix.scales.size());
  for (const float s : matrix.scales) half.push_back(f32_to_f16(s));
  return packed_tensor(std::move(name), DType::kF16, std::move(shape), half);
}

template <int kBits>
std::vector<uint32_t> pack_codes_of(const QuantizedMatrix& matrix) {
  constexpr int64_t kPerWord = 32 / kBits;
  const int64_t words = (matrix.cols + kPerWord - 1) / kPerWord;
  std::vector<uint32_t> out(static_cast<size_t>(matrix.rows * words));
  const uint8_t* code = matrix.codes.data();
  uint32_t* word = out.data();
  for (int64_t n = 0; n < matrix.rows; ++n) {
    int64_t left = matrix.cols;
    for (; left >= kPerWord; left -= kPerWord, code += kPerWord, ++word) {
      uint32_t all = 0;
      for (int64_t i = 0; i < kPerWord; ++i) all |= uint32_t{code[i]} << (i * kBits);
      *word = all;
    }
    if (left == 0) continue;
    for (int64_t i = 0; i < left; ++i) *word |= uint32_t{*code++} << (i * kBits);
    ++word;
  }
  return out;
}

std::vector<uint32_t> pack_codes(const QuantizedMatrix& matrix) {
  switch (matrix.bits) {
    case 2:
      return pack_codes_of<2>(matrix);
    case 3:
      return pack_codes_of<3>(matrix);
    case 4:
      return pack_codes_of<4>(matrix);
    default:
      return pack_codes_of<8>(matrix);
  }
}

// Fields along the rows; a word holds the same group of several rows.
std::vector<uint32_t> pack_zeros(const QuantizedMatrix& matrix) {
  const int64_t per_word = 32 / matrix.bits;
  const int64_t groups = matrix.num_groups();
  std::vector<uint32_t> out(static_cast<size_t>((matrix.rows + per_word - 1) / per_word * groups));
  for (int64_t n = 0; n < matrix.rows; ++n) {
    for (int64_t g = 0; g < groups; ++g) {
      out[static_cast<size_t>(n / per_word * groups + g)] |=
          static_cast<uint32_t>(matrix.zero_at(n, g)) << (n % per_word * matrix.bits);
    }
  }
  return out;
}

// Owns the parts that `inner` reads.
class OwnedSource final : public QuantizedSource {
 public:
  OwnedSource(std::vector<PackedTensor> parts, std::shared_ptr<const QuantizedSource> inner)
      : parts_(std::move(parts)), inner_(std::move(inner)) {}
  Result<QuantizedMatrix> read() const override { return inner_->read(); }
  std::string_view layout() const override { return inner_->layout(); }
  uint64_t stored_bytes() const override { return inner_->stored_bytes(); }

 private:
  std::vector<PackedTensor> parts_;
  std::shared_ptr<const QuantizedSource> inner_;
};

}  // namespace

std::string matrix_prefix(std::string_view tensor_name) {
  constexpr std::string_view kEnd = ".weight";
  if (tensor_name.ends_with(kEnd)) tensor_name.remove_suffix(kEnd.size());
  return std::string(tensor_name);
}

Result<std::vector<PackedTensor>> pack_matrix(const QuantizedMatrix& matrix,
                                              const std::string& prefix) {
  const int32_t most = (1 << matrix.bits) - 1;
  const bool fits =
      matrix.kind == CodeKind::kInteger && matrix.zero >= 0 && matrix.zero <= most &&
      std::ranges::all_of(matrix.zeros, [most](int16_t z) { return z >= 0 && z <= most; });
  if (!is_valid(matrix) || !fits) {
    return fail(ErrorCode::kInternal, concat(prefix, ": a matrix that cannot be packed"));
  }
  std::vector<PackedTensor> out;
  const int64_t per_word = 32 / matrix.bits;
  const std::vector<uint32_t> codes = pack_codes(matrix);
  out.push_back(packed_tensor(prefix + ".weight_packed", DType::kI32,
                              {matrix.rows, (matrix.cols + per_word - 1) / per_word}, codes));
  out.push_back(pack_scales(matrix, prefix + ".weight_scale"));
  const std::vector<int64_t> shape = {matrix.rows, matrix.cols, matrix.bits, matrix.group_size};
  out.push_back(packed_tensor(prefix + ".weight_shape", DType::kI64, {4}, shape));
  if (!matrix.zeros.empty() || matrix.zero != 1 << (matrix.bits - 1)) {
    out.push_back(packed_tensor(prefix + ".weight_zero_point", DType::kI32,
                                {(matrix.rows + per_word - 1) / per_word, matrix.num_groups()},
                                pack_zeros(matrix)));
  }
  const InputTransform& t = matrix.transform;
  if (!t.input_scale.empty()) {
    out.push_back(
        packed_tensor(prefix + ".ruvllm_input_scale", DType::kF32, {matrix.cols}, t.input_scale));
  }
  if (!t.permutation.empty()) {
    out.push_back(
        packed_tensor(prefix + ".ruvllm_permutation", DType::kI32, {matrix.cols}, t.permutation));
  }
  if (t.hadamard_block != 0) {
    const std::vector<int8_t> ones(static_cast<size_t>(matrix.cols), 1);
    out.push_back(packed_tensor(prefix + ".ruvllm_hadamard_signs", DType::kI8, {matrix.cols},
                                t.hadamard_signs.empty() ? ones : t.hadamard_signs));
    out.push_back(packed_tensor(prefix + ".ruvllm_hadamard_block", DType::kI32, {1},
                                std::vector<int32_t>{t.hadamard_block}));
  }
  if (matrix.int8_activations) {
    out.push_back(packed_tensor(prefix + ".ruvllm_int8_activations", DType::kI32, {1},
                                std::vector<int32_t>{1}));
  }
  return out;
}

Result<FileTensor> tensor_of_parts(std::vector<PackedTensor> parts, const std::string& file) {
  std::vector<FileTensor> tensors;
  for (const PackedTensor& part : parts) {
    FileTensor tensor;
    tensor.name = part.name;
    tensor.file = file;
    tensor.view.data = part.bytes.data();
    tensor.view.dtype = part.dtype;
    tensor.view.rank = static_cast<int>(part.shape.size());
    int64_t stride = 1;
    for (size_t i = part.shape.size(); i-- > 0;) {
      tensor.view.shape[i] = part.shape[i];
      tensor.view.stride[i] = stride;
      stride *= part.shape[i];
    }
    tensors.push_back(std::move(tensor));
  }
  QuantizationConfig config;
  config.method = QuantMethod::kRuvllm;
  RUVLLM_TRY(join_quantized_tensors(config, file, tensors));
  if (tensors.size() != 1 || tensors.front().quantized == nullptr) {
    return fail(ErrorCode::kInternal, concat(file, ": parts of more than one matrix"));
  }
  FileTensor out = std::move(tensors.front());
  // Moving a vector moves no element: the views stay right.
  out.quantized = std::make_shared<OwnedSource>(std::move(parts), std::move(out.quantized));
  return out;
}

}  // namespace ruvllm
