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

// Whole fields of a word, the first one lowest: 32 / kBits bytes.
template <int kBits>
void split_word(uint32_t word, uint8_t* out) {
  for (int i = 0; i < 32 / kBits; ++i) {
    out[i] = static_cast<uint8_t>(word >> (i * kBits) & ((1u << kBits) - 1));
  }
}

// The same from nibbles, four bytes at a time.
template <>
void split_word<4>(uint32_t word, uint8_t* out) {
  const uint64_t spread = (word & 0xffffu) | uint64_t{word >> 16} << 32;
  const uint64_t pairs = (spread | spread << 8) & 0x00ff00ff00ff00ffu;
  const uint64_t nibbles = (pairs | pairs << 4) & 0x0f0f0f0f0f0f0f0fu;
  std::memcpy(out, &nibbles, sizeof nibbles);
}

// Rows of a packed matrix.
class Unpacker {
 public:
  // Rows [first, first + count). The memory of `out` is used again.
  Unpacker(const PackedMatrix& packed, int64_t first, int64_t count, QuantizedMatrix out)
      : p_(packed), first_(first), out_(std::move(out)) {
    out_.rows = count;
    out_.cols = p_.cols;
    out_.bits = p_.bits;
    out_.group_size = p_.group_size;
    out_.int8_activations = p_.int8_activations;
    out_.kind = p_.packing == CodePacking::kFloatBytes ? CodeKind::kF8E4M3 : CodeKind::kInteger;
  }

  Result<QuantizedMatrix> whole() {
    RUVLLM_TRY(order_columns());
    read_numbers();
    RUVLLM_TRY(read_transform());
    if (!is_valid(out_)) {
      return fail(ErrorCode::kBadFile, concat(p_.where, ": the parts contradict each other"));
    }
    return std::move(out_);
  }

  // Without codes, scales and zeros; one row stands for the others where it is checked.
  Result<QuantizedMatrix> form() {
    const int64_t rows = std::exchange(out_.rows, 1);
    RUVLLM_ASSIGN(QuantizedMatrix out, whole());
    out.rows = rows;
    out.codes.clear();
    out.scales.clear();
    out.zeros.clear();
    return out;
  }

  // Without the transform.
  Result<QuantizedMatrix> numbers() {
    RUVLLM_TRY(order_columns());
    read_numbers();
    return std::move(out_);
  }

 private:
  void read_numbers() {
    out_.codes.resize(static_cast<size_t>(out_.rows * p_.cols));
    unpack_codes();
    if (!stored_at_.empty()) reorder_codes();
    unpack_scales();
    unpack_zeros();
  }

  // Where each input stands so that groups are runs of columns; nothing where they are.
  Status order_columns() {
    if (p_.group_of.empty()) return {};
    stored_at_.resize(static_cast<size_t>(p_.cols));
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
    if (in_order) stored_at_.clear();
    return {};
  }

  uint8_t* codes_of(int64_t row) { return out_.codes.data() + row * p_.cols; }

  // Codes in the order of the inputs.
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

  void reorder_codes() {
    std::vector<uint8_t> line(static_cast<size_t>(p_.cols));
    for (int64_t n = 0; n < out_.rows; ++n) {
      uint8_t* const codes = codes_of(n);
      for (size_t k = 0; k < line.size(); ++k) line[static_cast<size_t>(stored_at_[k])] = codes[k];
      std::memcpy(codes, line.data(), line.size());
    }
  }

  // Calls with the width of the codes as a constant, where words hold whole ones.
  template <typename F>
  void with_bits(F&& call) const {
    switch (p_.bits) {
      case 2:
        return call.template operator()<2>();
      case 4:
        return call.template operator()<4>();
      default:
        return call.template operator()<8>();
    }
  }

  void unpack_along_inputs() {
    const Words words(p_.codes);
    constexpr int64_t kTile = 256;  // rows whose codes of one cache line are filled together
    for (int64_t begin = 0; begin < out_.rows; begin += kTile) {
      const int64_t end = std::min(out_.rows, begin + kTile);
      if (p_.bits == 3) {
        for (int64_t k = 0; k < p_.cols; ++k) {
          for (int64_t n = begin; n < end; ++n) {
            codes_of(n)[k] =
                static_cast<uint8_t>(running_field(words, first_ + n, p_.rows, k, p_.bits));
          }
        }
        continue;
      }
      with_bits([&]<int kBits>() {
        constexpr int64_t kPerWord = 32 / kBits;
        for (int64_t k = 0; k < p_.cols; k += kPerWord) {
          for (int64_t n = begin; n < end; ++n) {
            put_word<kBits>(words[k / kPerWord * p_.rows + first_ + n], n, k);
          }
        }
      });
    }
  }

  // The codes of a word, from column k on; those beyond the row are none.
  template <int kBits>
  void put_word(uint32_t word, int64_t row, int64_t k) {
    constexpr int64_t kPerWord = 32 / kBits;
    uint8_t* const to = codes_of(row) + k;
    if (k + kPerWord <= p_.cols) return split_word<kBits>(word, to);
    uint8_t fields[kPerWord];
    split_word<kBits>(word, fields);
    std::memcpy(to, fields, static_cast<size_t>(p_.cols - k));
  }

  void unpack_awq() {
    const Words words(p_.codes);
    const int64_t per_input = p_.rows / 8;
    const int64_t last = first_ + out_.rows;
    for (int64_t c = first_ / 8; c * 8 < last; ++c) {
      for (int64_t k = 0; k < p_.cols; ++k) {
        const uint32_t word = words[k * per_input + c];
        for (int i = 0; i < 8; ++i) {
          const int64_t row = 8 * c + kAwqOrder[i];
          if (row < first_ || row >= last) continue;
          codes_of(row - first_)[k] = static_cast<uint8_t>((word >> (4 * i)) & 15u);
        }
      }
    }
  }

  void unpack_row_words() {
    out_.zero = 1 << (p_.bits - 1);
    const Words words(p_.codes);
    const int32_t per_word = 32 / p_.bits;
    const int64_t words_per_row = (p_.cols + per_word - 1) / per_word;
    for (int64_t n = 0; n < out_.rows; ++n) {
      const int64_t at = (first_ + n) * words_per_row;
      if (p_.bits == 3) {
        for (int64_t k = 0; k < p_.cols; ++k) {
          codes_of(n)[k] = static_cast<uint8_t>(words[at + k / 10] >> (k % 10 * 3) & 7u);
        }
        continue;
      }
      with_bits([&]<int kBits>() {
        for (int64_t i = 0; i < words_per_row; ++i) {
          put_word<kBits>(words[at + i], n, i * (32 / kBits));
        }
      });
    }
  }

  void copy_bytes() {
    const bool is_integer = p_.packing == CodePacking::kSignedBytes;
    // Two's complement plus 128 is the sign bit turned.
    const auto turned = static_cast<uint8_t>(is_integer ? 0x80 : 0);
    const auto* bytes = reinterpret_cast<const uint8_t*>(p_.codes.data) + first_ * p_.cols;
    for (size_t i = 0; i < out_.codes.size(); ++i) {
      out_.codes[i] = static_cast<uint8_t>(bytes[i] ^ turned);
    }
    out_.zero = is_integer ? 128 : 0;
  }

  bool by_columns() const {
    return p_.packing == CodePacking::kAlongInputs || p_.packing == CodePacking::kAwqNibbles;
  }

  void unpack_scales() {
    const int64_t groups = p_.num_groups();
    const DTypeInfo& info = dtype_info(p_.scales.dtype);
    out_.scales.resize(static_cast<size_t>(out_.rows * groups));
    const auto read = [&](int64_t from, float* to, int64_t count) {
      const std::byte* const data = p_.scales.data + from * info.block_bytes;
      dequantize_row(p_.scales.dtype, data, to, count);
    };
    if (p_.scales.num_elements() == 1) {
      read(0, out_.scales.data(), 1);
      std::fill(out_.scales.begin(), out_.scales.end(), out_.scales.front());
    } else if (!by_columns()) {
      read(first_ * groups, out_.scales.data(), out_.rows * groups);
    } else {
      std::vector<float> stored(static_cast<size_t>(out_.rows));
      for (int64_t g = 0; g < groups; ++g) {
        read(g * p_.rows + first_, stored.data(), out_.rows);
        for (int64_t n = 0; n < out_.rows; ++n) {
          out_.scales[static_cast<size_t>(n * groups + g)] = stored[static_cast<size_t>(n)];
        }
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
    out_.zeros.clear();
    if (p_.zeros.empty()) return;
    const int64_t groups = p_.num_groups();
    out_.zeros.resize(static_cast<size_t>(out_.rows * groups));
    bool all_equal = true;
    for (int64_t n = 0; n < out_.rows; ++n) {
      for (int64_t g = 0; g < groups; ++g) {
        int16_t& zero = out_.zeros[static_cast<size_t>(n * groups + g)];
        zero = zero_point(first_ + n, g);
        all_equal = all_equal && zero == out_.zeros.front();
      }
    }
    if (!all_equal) return;
    out_.zero = out_.zeros.front();
    out_.zeros.clear();
  }

  Status read_transform() {
    InputTransform& t = out_.transform;
    if (!stored_at_.empty()) {
      t.permutation.resize(stored_at_.size());
      for (size_t k = 0; k < stored_at_.size(); ++k) {
        t.permutation[static_cast<size_t>(stored_at_[k])] = static_cast<int32_t>(k);
      }
    }
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
  int64_t first_;
  QuantizedMatrix out_;
  std::vector<int32_t> stored_at_;  // [K]: the column of each input; empty: its own
};

}  // namespace

Result<QuantizedMatrix> unpack(const PackedMatrix& packed) {
  return Unpacker(packed, 0, packed.rows, {}).whole();
}

Result<QuantizedMatrix> unpacked_form(const PackedMatrix& packed) {
  return Unpacker(packed, 0, packed.rows, {}).form();
}

Status unpack_rows(const PackedMatrix& packed, int64_t first, int64_t count, QuantizedMatrix& out) {
  RUVLLM_ASSIGN(out, Unpacker(packed, first, count, std::move(out)).numbers());
  return {};
}

}  // namespace ruvllm
