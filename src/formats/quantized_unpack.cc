#include "formats/quantized_unpack.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/str.h"
#include "tensor/dequantize.h"

namespace ruvllm {
namespace {

// Column 8c + kAwqOrder[i] is nibble i of word c.
constexpr int kAwqOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};

// 32-bit words of a view that need not be aligned.
class Words {
 public:
  explicit Words(const TensorView& view) : data_(view.data) {}
  uint32_t operator[](int64_t i) const {
    uint32_t word = 0;
    std::memcpy(&word, data_ + static_cast<size_t>(i) * 4, 4);
    return word;
  }

 private:
  const std::byte* data_;
};

uint32_t field_mask(int32_t bits) {
  return (1u << bits) - 1;
}

// Field `index` of a run of words that are `stride` apart; fields run on through word boundaries.
uint32_t running_field(const Words& words, int64_t first, int64_t stride, int64_t index,
                       int32_t bits) {
  const int64_t bit = index * bits;
  const int64_t at = first + bit / 32 * stride;
  const auto shift = static_cast<uint32_t>(bit % 32);
  uint32_t value = words[at] >> shift;
  if (shift + static_cast<uint32_t>(bits) > 32) value |= words[at + stride] << (32 - shift);
  return value & field_mask(bits);
}

class Unpacker {
 public:
  explicit Unpacker(const PackedMatrix& packed) : p_(packed) {}

  Result<QuantizedMatrix> run() {
    out_.rows = p_.rows;
    out_.cols = p_.cols;
    out_.bits = p_.bits;
    out_.group_size = p_.group_size;
    out_.int8_activations = p_.int8_activations;
    out_.kind = p_.packing == CodePacking::kFloatBytes ? CodeKind::kF8E4M3 : CodeKind::kInteger;
    RUVLLM_TRY(order_columns());
    out_.codes.resize(static_cast<size_t>(p_.rows * p_.cols));
    unpack_codes();
    unpack_scales();
    unpack_zeros();
    RUVLLM_TRY(read_transform());
    if (!is_valid(out_)) {
      return fail(ErrorCode::kBadFile, concat(p_.where, ": the parts contradict each other"));
    }
    return std::move(out_);
  }

 private:
  // Where each input stands so that groups are runs of columns.
  Status order_columns() {
    stored_at_.resize(static_cast<size_t>(p_.cols));
    for (size_t k = 0; k < stored_at_.size(); ++k) stored_at_[k] = static_cast<int32_t>(k);
    if (p_.group_of.empty()) return {};
    const Words group_of(p_.group_of);
    const int64_t groups = p_.num_groups();
    std::vector<int64_t> next(static_cast<size_t>(groups));
    for (int64_t g = 0; g < groups; ++g) next[static_cast<size_t>(g)] = g * p_.group_size;
    bool in_order = true;
    for (int64_t k = 0; k < p_.cols; ++k) {
      const uint32_t group = group_of[k];
      if (group >= static_cast<uint64_t>(groups)) {
        return fail(ErrorCode::kBadFile, concat(p_.where, ": g_idx: input ", k, " is in group ",
                                                static_cast<int32_t>(group), " of ", groups));
      }
      int64_t& place = next[group];
      if (place >= std::min(p_.cols, (int64_t{group} + 1) * p_.group_size)) {
        return fail(ErrorCode::kUnsupported, concat(p_.where, ": g_idx: group ", group,
                                                    " has more than ", p_.group_size, " inputs"));
      }
      in_order = in_order && place == k;
      stored_at_[static_cast<size_t>(k)] = static_cast<int32_t>(place++);
    }
    if (in_order) return {};
    out_.transform.permutation.resize(stored_at_.size());
    for (size_t k = 0; k < stored_at_.size(); ++k) {
      out_.transform.permutation[static_cast<size_t>(stored_at_[k])] = static_cast<int32_t>(k);
    }
    return {};
  }

  uint8_t& code(int64_t row, int64_t input) {
    return out_.codes[static_cast<size_t>(row * p_.cols + stored_at_[static_cast<size_t>(input)])];
  }

  void unpack_codes() {
    switch (p_.packing) {
      case CodePacking::kAlongInputs:
        return unpack_along_inputs();
      case CodePacking::kAwqNibbles:
        return unpack_awq();
      case CodePacking::kRowWords:
        return unpack_row_words();
      case CodePacking::kSignedBytes:
      case CodePacking::kFloatBytes:
        return copy_bytes();
    }
  }

  void unpack_along_inputs() {
    const Words words(p_.codes);
    constexpr int64_t kTile = 256;  // rows whose codes of one cache line are filled together
    for (int64_t begin = 0; begin < p_.rows; begin += kTile) {
      const int64_t end = std::min(p_.rows, begin + kTile);
      for (int64_t k = 0; k < p_.cols; ++k) {
        for (int64_t n = begin; n < end; ++n) {
          code(n, k) = static_cast<uint8_t>(running_field(words, n, p_.rows, k, p_.bits));
        }
      }
    }
  }

  void unpack_awq() {
    const Words words(p_.codes);
    const int64_t per_input = p_.rows / 8;
    for (int64_t c = 0; c < per_input; ++c) {
      for (int64_t k = 0; k < p_.cols; ++k) {
        const uint32_t word = words[k * per_input + c];
        for (int i = 0; i < 8; ++i) {
          code(8 * c + kAwqOrder[i], k) = static_cast<uint8_t>((word >> (4 * i)) & 15u);
        }
      }
    }
  }

  void unpack_row_words() {
    const Words words(p_.codes);
    const int32_t per_word = 32 / p_.bits;
    const int64_t words_per_row = (p_.cols + per_word - 1) / per_word;
    for (int64_t n = 0; n < p_.rows; ++n) {
      for (int64_t k = 0; k < p_.cols; ++k) {
        const uint32_t word = words[n * words_per_row + k / per_word];
        code(n, k) = static_cast<uint8_t>((word >> (k % per_word * p_.bits)) & field_mask(p_.bits));
      }
    }
    out_.zero = 1 << (p_.bits - 1);
  }

  void copy_bytes() {
    const bool is_integer = p_.packing == CodePacking::kSignedBytes;
    const auto* bytes = reinterpret_cast<const uint8_t*>(p_.codes.data);
    for (int64_t n = 0; n < p_.rows; ++n) {
      for (int64_t k = 0; k < p_.cols; ++k) {
        // Two's complement plus 128 is the sign bit turned.
        code(n, k) = static_cast<uint8_t>(bytes[n * p_.cols + k] ^ (is_integer ? 0x80 : 0));
      }
    }
    out_.zero = is_integer ? 128 : 0;
  }

  bool by_columns() const {
    return p_.packing == CodePacking::kAlongInputs || p_.packing == CodePacking::kAwqNibbles;
  }

  void unpack_scales() {
    const int64_t groups = p_.num_groups();
    const int64_t count = p_.scales.num_elements();
    std::vector<float> stored(static_cast<size_t>(count));
    dequantize_row(p_.scales.dtype, p_.scales.data, stored.data(), count);
    out_.scales.resize(static_cast<size_t>(p_.rows * groups));
    for (int64_t n = 0; n < p_.rows; ++n) {
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t from = count == 1 ? 0 : by_columns() ? g * p_.rows + n : n * groups + g;
        out_.scales[static_cast<size_t>(n * groups + g)] = stored[static_cast<size_t>(from)];
      }
    }
  }

  int16_t zero_point(int64_t row, int64_t group) const {
    const Words words(p_.zeros);
    switch (p_.packing) {
      case CodePacking::kAlongInputs: {
        const int64_t words_per_group = (p_.rows * p_.bits + 31) / 32;
        if (!p_.zeros_less_one) {
          return static_cast<int16_t>(
              running_field(words, group * words_per_group, 1, row, p_.bits));
        }
        if (p_.bits == 3) {
          return static_cast<int16_t>(
              (running_field(words, group * words_per_group, 1, row, 3) + 1) & 7u);
        }
        // The whole word was made less 1 in every field: undone so, a borrow cancels.
        const uint32_t ones = 0xffffffffu / field_mask(p_.bits);
        const int64_t per_word = 32 / p_.bits;
        const uint32_t word = words[group * words_per_group + row / per_word] + ones;
        return static_cast<int16_t>((word >> (row % per_word * p_.bits)) & field_mask(p_.bits));
      }
      case CodePacking::kAwqNibbles: {
        const uint32_t word = words[group * (p_.rows / 8) + row / 8];
        const auto* place = std::find(kAwqOrder, kAwqOrder + 8, static_cast<int>(row % 8));
        return static_cast<int16_t>((word >> (4 * (place - kAwqOrder))) & 15u);
      }
      case CodePacking::kRowWords: {
        const int64_t per_word = 32 / p_.bits;
        const uint32_t word = words[row / per_word * p_.num_groups() + group];
        return static_cast<int16_t>((word >> (row % per_word * p_.bits)) & field_mask(p_.bits));
      }
      case CodePacking::kSignedBytes:
      case CodePacking::kFloatBytes:
        break;
    }
    const int64_t groups = p_.zeros.num_elements() == 1 ? 0 : p_.num_groups();
    const auto* bytes = reinterpret_cast<const int8_t*>(p_.zeros.data);
    return static_cast<int16_t>(bytes[row * groups + (groups == 0 ? 0 : group)] + 128);
  }

  void unpack_zeros() {
    if (p_.zeros.empty()) return;
    const int64_t groups = p_.num_groups();
    out_.zeros.resize(static_cast<size_t>(p_.rows * groups));
    bool all_equal = true;
    for (int64_t n = 0; n < p_.rows; ++n) {
      for (int64_t g = 0; g < groups; ++g) {
        int16_t& zero = out_.zeros[static_cast<size_t>(n * groups + g)];
        zero = zero_point(n, g);
        all_equal = all_equal && zero == out_.zeros.front();
      }
    }
    if (!all_equal) return;
    out_.zero = out_.zeros.front();
    out_.zeros.clear();
  }

  Status read_transform() {
    InputTransform& t = out_.transform;
    const auto cols = static_cast<size_t>(p_.cols);
    if (!p_.input_scale.empty()) {
      t.input_scale.resize(cols);
      dequantize_row(p_.input_scale.dtype, p_.input_scale.data, t.input_scale.data(), p_.cols);
    }
    if (!p_.permutation.empty()) {
      t.permutation.resize(cols);
      std::memcpy(t.permutation.data(), p_.permutation.data, cols * 4);
    }
    t.hadamard_block = p_.hadamard_block;
    if (p_.hadamard_signs.empty()) return {};
    t.hadamard_signs.resize(cols);
    std::memcpy(t.hadamard_signs.data(), p_.hadamard_signs.data, cols);
    for (const int8_t sign : t.hadamard_signs) {
      if (sign == 1 || sign == -1) continue;
      return fail(ErrorCode::kBadFile,
                  concat(p_.where, ": hadamard_signs: found ", int{sign}, ", expected 1 or -1"));
    }
    return {};
  }

  const PackedMatrix& p_;
  QuantizedMatrix out_;
  std::vector<int32_t> stored_at_;  // [K]: the column of each input
};

}  // namespace

Result<QuantizedMatrix> unpack(const PackedMatrix& packed) {
  return Unpacker(packed).run();
}

}  // namespace ruvllm
