#include "formats/quantized_tensors.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "base/str.h"
#include "formats/quantized_unpack.h"
#include "tensor/dequantize.h"

namespace ruvllm {
namespace {

// The endings that are parts of a quantized matrix, and whether they alone make one.
constexpr std::string_view kParts[] = {"qweight",
                                       "qzeros",
                                       "scales",
                                       "g_idx",
                                       "weight_packed",
                                       "weight_scale",
                                       "weight_shape",
                                       "weight_zero_point",
                                       "weight_g_idx",
                                       "ruvllm_input_scale",
                                       "ruvllm_permutation",
                                       "ruvllm_hadamard_signs",
                                       "ruvllm_hadamard_block",
                                       "ruvllm_int8_activations"};
// Scales of static activation quantization: not used, activations are not rounded so.
constexpr std::string_view kUnusedParts[] = {"input_scale", "input_zero_point", "output_scale",
                                             "output_zero_point"};

class FileSource final : public QuantizedSource {
 public:
  FileSource(PackedMatrix packed, std::string_view layout, uint64_t bytes)
      : packed_(std::move(packed)), layout_(layout), bytes_(bytes) {}
  Result<QuantizedMatrix> read() const override { return unpack(packed_); }
  // What is wrong with a file is said by read().
  std::optional<QuantizedMatrix> form() const override {
    Result<QuantizedMatrix> form = unpacked_form(packed_);
    return form ? std::optional(std::move(*form)) : std::nullopt;
  }
  Status read_rows(int64_t first, int64_t count, QuantizedMatrix& out) const override {
    return unpack_rows(packed_, first, count, out);
  }
  std::string_view layout() const override { return layout_; }
  uint64_t stored_bytes() const override { return bytes_; }

 private:
  PackedMatrix packed_;
  std::string_view layout_;
  uint64_t bytes_;
};

std::string_view layout_name(QuantMethod method, int32_t bits, bool is_float) {
  if (is_float) return "fp8";
  static constexpr std::string_view kNames[4][4] = {{"gptq2", "gptq3", "gptq4", "gptq8"},
                                                    {"awq2", "awq3", "awq4", "awq8"},
                                                    {"int2", "int3", "int4", "int8"},
                                                    {"isq2", "isq3", "isq4", "isq8"}};
  const size_t row = method == QuantMethod::kGptq                ? 0
                     : method == QuantMethod::kAwq               ? 1
                     : method == QuantMethod::kCompressedTensors ? 2
                                                                 : 3;
  return kNames[row][bits == 2 ? 0 : bits == 3 ? 1 : bits == 4 ? 2 : 3];
}

class Joiner {
 public:
  Joiner(const QuantizationConfig& config, std::string_view prefix,
         const std::map<std::string_view, const FileTensor*>& parts)
      : config_(config), prefix_(prefix), parts_(parts) {}

  Result<FileTensor> join() {
    packed_.where = concat(parts_.begin()->second->file, ": tensor ", printable(prefix_));
    switch (config_.method) {
      case QuantMethod::kGptq:
        RUVLLM_TRY(join_gptq());
        break;
      case QuantMethod::kAwq:
        RUVLLM_TRY(join_awq());
        break;
      default:
        RUVLLM_TRY(join_by_rows());
    }
    uint64_t bytes = 0;
    for (const auto& [name, tensor] : parts_) {
      uint64_t size = 0;
      if (row_bytes(tensor->view.dtype, tensor->view.num_elements(), size)) bytes += size;
    }
    FileTensor out;
    out.name = concat(prefix_, ".weight");
    out.file = parts_.begin()->second->file;
    out.view = make_view(nullptr, DType::kF32, {packed_.rows, packed_.cols});
    const bool is_float = packed_.packing == CodePacking::kFloatBytes;
    const std::string_view layout = layout_name(config_.method, packed_.bits, is_float);
    out.quantized = std::make_shared<FileSource>(std::move(packed_), layout, bytes);
    return out;
  }

 private:
  template <typename... Parts>
  Status bad(const Parts&... parts) const {
    return fail(ErrorCode::kBadFile, concat(packed_.where, ".", parts...));
  }

  const TensorView* find(std::string_view part) const {
    const auto found = parts_.find(part);
    return found == parts_.end() ? nullptr : &found->second->view;
  }

  // The part `name` as `view`: it must have that element type and shape.
  Status take(std::string_view name, std::initializer_list<DType> dtypes,
              std::initializer_list<int64_t> shape, TensorView& view) const {
    const TensorView* part = find(name);
    if (part == nullptr) return bad(name, ": is missing");
    bool equal = part->rank == static_cast<int>(shape.size()) &&
                 std::ranges::find(dtypes, part->dtype) != dtypes.end();
    int axis = 0;
    for (const int64_t extent : shape) equal = equal && part->dim(axis++) == extent;
    if (!equal) {
      std::string expected;
      for (const int64_t extent : shape) expected += concat(expected.empty() ? "" : ", ", extent);
      return bad(name, ": found ", part->describe(), ", expected [", expected, "] ",
                 dtype_info(*dtypes.begin()).name);
    }
    view = *part;
    return {};
  }

  // The codes: a matrix of i32.
  Result<const TensorView*> take_words(std::string_view name) {
    const TensorView* part = find(name);
    if (part == nullptr) return std::unexpected(bad(name, ": is missing").error());
    if (part->rank != 2 || part->dtype != DType::kI32 || part->num_elements() <= 0) {
      return std::unexpected(
          bad(name, ": found ", part->describe(), ", expected i32 words").error());
    }
    packed_.codes = *part;
    return part;
  }

  static constexpr std::initializer_list<DType> kReals = {DType::kF16, DType::kBF16, DType::kF32};

  Status set_size(int64_t rows, int64_t cols, int32_t bits, int64_t group_size) {
    if (rows < 1 || cols < 1 || rows > INT64_C(1) << 31 || cols > INT64_C(1) << 31 ||
        static_cast<uint64_t>(rows) * static_cast<uint64_t>(cols) > SIZE_MAX / 16) {
      return bad("weight: [", rows, ", ", cols, "] is no size of a matrix");
    }
    packed_.rows = rows;
    packed_.cols = cols;
    packed_.bits = bits;
    packed_.group_size = group_size == 0 || group_size > cols ? cols : group_size;
    return {};
  }

  // The inputs' groups; without them, in order.
  Status take_groups(std::string_view name) {
    const TensorView* part = find(name);
    if (part == nullptr || part->num_elements() == 0) return {};
    return take(name, {DType::kI32}, {packed_.cols}, packed_.group_of);
  }

  Status join_gptq() {
    RUVLLM_ASSIGN(const TensorView* words, take_words("qweight"));
    QuantizationConfig::Scheme scheme = config_.schemes.front();
    const TensorView* group_of = find("g_idx");
    const int64_t all_bits = words->dim(0) * 32;
    // Single modules may have other bits than the config says ("dynamic"): g_idx tells.
    if (group_of != nullptr && group_of->rank == 1 && group_of->dim(0) > 0) {
      const int64_t cols = group_of->dim(0);
      if (all_bits % cols == 0) scheme.bits = static_cast<int32_t>(all_bits / cols);
    }
    if ((scheme.bits != 2 && scheme.bits != 3 && scheme.bits != 4 && scheme.bits != 8) ||
        all_bits % scheme.bits != 0) {
      return bad("qweight: found ", words->describe(), ", which holds no whole number of fields");
    }
    packed_.packing = CodePacking::kAlongInputs;
    packed_.zeros_less_one = !config_.gptq_v2;
    RUVLLM_TRY(set_size(words->dim(1), all_bits / scheme.bits, scheme.bits, scheme.group_size));
    RUVLLM_TRY(fit_group_size("scales", 0));
    RUVLLM_TRY(take("scales", kReals, {packed_.num_groups(), packed_.rows}, packed_.scales));
    RUVLLM_TRY(take("qzeros", {DType::kI32},
                    {packed_.num_groups(), (packed_.rows * packed_.bits + 31) / 32},
                    packed_.zeros));
    return take_groups("g_idx");
  }

  // "dynamic" may give a module another group size, too: the number of groups tells.
  Status fit_group_size(std::string_view scales, int axis) {
    const TensorView* part = find(scales);
    if (part == nullptr || part->rank != 2) return {};  // take() will say so
    const int64_t groups = part->dim(axis);
    if (groups == packed_.num_groups() || groups < 1) return {};
    if (packed_.cols % groups == 0) packed_.group_size = packed_.cols / groups;
    return {};
  }

  Status join_awq() {
    RUVLLM_ASSIGN(const TensorView* words, take_words("qweight"));
    packed_.packing = CodePacking::kAwqNibbles;
    RUVLLM_TRY(set_size(words->dim(1) * 8, words->dim(0), 4, config_.schemes.front().group_size));
    RUVLLM_TRY(take("scales", kReals, {packed_.num_groups(), packed_.rows}, packed_.scales));
    return take("qzeros", {DType::kI32}, {packed_.num_groups(), packed_.rows / 8}, packed_.zeros);
  }

  // The scheme of the config that this matrix's tensors fit; the shapes tell.
  Result<QuantizationConfig::Scheme> fitting_scheme(int64_t rows, int64_t cols,
                                                    int64_t words_per_row, bool is_float) const {
    const TensorView* scale = find("weight_scale");
    for (const QuantizationConfig::Scheme& scheme : config_.schemes) {
      if (scheme.is_float != is_float || scale == nullptr) continue;
      const int32_t per_word = 32 / scheme.bits;
      if (words_per_row != 0 && words_per_row != (cols + per_word - 1) / per_word) continue;
      if (words_per_row == 0 && scheme.bits != 8) continue;
      const int64_t group = scheme.group_size == 0 ? cols : scheme.group_size;
      const bool one_scale = scale->num_elements() == 1 && scheme.group_size == 0;
      if (one_scale || scale->num_elements() == rows * ((cols + group - 1) / group)) return scheme;
    }
    return std::unexpected(
        bad("weight_scale: no group of quantization_config fits the shapes of this matrix")
            .error());
  }

  Status read_shape(std::initializer_list<int64_t*> numbers) const {
    TensorView view;
    RUVLLM_TRY(take("weight_shape", {DType::kI64, DType::kI32},
                    {static_cast<int64_t>(numbers.size())}, view));
    int64_t i = 0;
    for (int64_t* const number : numbers) {
      if (view.dtype == DType::kI64) {
        std::memcpy(number, view.data + static_cast<size_t>(i) * 8, 8);
      } else {
        int32_t narrow = 0;
        std::memcpy(&narrow, view.data + static_cast<size_t>(i) * 4, 4);
        *number = narrow;
      }
      ++i;
    }
    return {};
  }

  // compressed-tensors and ruvllm: rows of words or bytes.
  Status join_by_rows() {
    const bool own = config_.method == QuantMethod::kRuvllm;
    if (find("weight_packed") == nullptr)
      return own ? bad("weight_packed: is missing") : join_bytes();
    RUVLLM_ASSIGN(const TensorView* words, take_words("weight_packed"));
    int64_t rows = 0, cols = 0, bits = 0, group = 0;
    if (own) {
      RUVLLM_TRY(read_shape({&rows, &cols, &bits, &group}));
      if ((bits != 2 && bits != 3 && bits != 4 && bits != 8) || group < 1) {
        return bad("weight_shape: found ", bits, " bits and groups of ", group);
      }
    } else {
      RUVLLM_TRY(read_shape({&rows, &cols}));
    }
    if (rows < 1 || cols < 1 || cols > INT64_C(1) << 31) {
      return bad("weight_shape: found [", rows, ", ", cols, "]");
    }
    if (!own) {
      RUVLLM_ASSIGN(const auto scheme, fitting_scheme(rows, cols, words->dim(1), false));
      bits = scheme.bits;
      group = scheme.group_size;
      packed_.int8_activations = scheme.int8_activations;
    }
    const int64_t per_word = 32 / bits;
    packed_.packing = CodePacking::kRowWords;
    RUVLLM_TRY(set_size(rows, cols, static_cast<int32_t>(bits), group));
    RUVLLM_TRY(take("weight_packed", {DType::kI32}, {rows, (cols + per_word - 1) / per_word},
                    packed_.codes));
    RUVLLM_TRY(take_scale());
    if (find("weight_zero_point") != nullptr) {
      RUVLLM_TRY(take("weight_zero_point", {DType::kI32},
                      {(rows + per_word - 1) / per_word, packed_.num_groups()}, packed_.zeros));
    }
    RUVLLM_TRY(take_groups("weight_g_idx"));
    return own ? take_transform() : Status();
  }

  Status join_bytes() {
    const TensorView* weight = find("weight");
    if (weight == nullptr || weight->rank != 2 ||
        (weight->dtype != DType::kI8 && weight->dtype != DType::kF8E4M3)) {
      return bad("weight: found ", weight != nullptr ? weight->describe() : "nothing",
                 ", expected a matrix of i8 or f8_e4m3 beside weight_scale");
    }
    const bool is_float = weight->dtype == DType::kF8E4M3;
    RUVLLM_ASSIGN(const auto scheme, fitting_scheme(weight->dim(0), weight->dim(1), 0, is_float));
    packed_.packing = is_float ? CodePacking::kFloatBytes : CodePacking::kSignedBytes;
    packed_.codes = *weight;
    packed_.int8_activations = scheme.int8_activations;
    RUVLLM_TRY(set_size(weight->dim(0), weight->dim(1), 8, scheme.group_size));
    RUVLLM_TRY(take_scale());
    // For fp8 the package stores zero points of 0: nothing to subtract.
    const TensorView* zeros = find("weight_zero_point");
    if (zeros == nullptr || is_float) return {};
    if (zeros->num_elements() == 1) {
      packed_.zeros = *zeros;
      return zeros->dtype == DType::kI8 ? Status() : bad("weight_zero_point: expected i8");
    }
    return take("weight_zero_point", {DType::kI8}, {packed_.rows, packed_.num_groups()},
                packed_.zeros);
  }

  Status take_scale() {
    const TensorView* scale = find("weight_scale");
    if (scale != nullptr && scale->num_elements() == 1 && packed_.num_groups() == 1 &&
        std::ranges::find(kReals, scale->dtype) != kReals.end()) {
      packed_.scales = *scale;
      return {};
    }
    return take("weight_scale", kReals, {packed_.rows, packed_.num_groups()}, packed_.scales);
  }

  Status take_transform() {
    if (find("ruvllm_input_scale") != nullptr) {
      RUVLLM_TRY(take("ruvllm_input_scale", kReals, {packed_.cols}, packed_.input_scale));
    }
    if (find("ruvllm_permutation") != nullptr) {
      RUVLLM_TRY(take("ruvllm_permutation", {DType::kI32}, {packed_.cols}, packed_.permutation));
    }
    packed_.int8_activations = find("ruvllm_int8_activations") != nullptr;
    if (find("ruvllm_hadamard_signs") == nullptr) return {};
    TensorView block;
    RUVLLM_TRY(take("ruvllm_hadamard_signs", {DType::kI8}, {packed_.cols}, packed_.hadamard_signs));
    RUVLLM_TRY(take("ruvllm_hadamard_block", {DType::kI32}, {1}, block));
    std::memcpy(&packed_.hadamard_block, block.data, 4);
    return {};
  }

  const QuantizationConfig& config_;
  std::string_view prefix_;
  const std::map<std::string_view, const FileTensor*>& parts_;
  PackedMatrix packed_;
};

using PartMap = std::map<std::string_view, const FileTensor*>;

std::pair<std::string_view, std::string_view> split_name(std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return {"", name};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

template <size_t N>
bool contains(const std::string_view (&list)[N], std::string_view name) {
  return std::find(list, list + N, name) != list + N;
}

}  // namespace

Status join_quantized_tensors(const QuantizationConfig& config, const std::string& path,
                              std::vector<FileTensor>& tensors) {
  std::map<std::string_view, PartMap> modules;
  for (const FileTensor& tensor : tensors) {
    const auto [prefix, part] = split_name(tensor.name);
    if (contains(kParts, part)) modules[prefix][part] = &tensor;
  }
  if (modules.empty()) {
    return fail(ErrorCode::kBadFile,
                concat(path, ": quantization_config: the files hold no quantized matrix"));
  }
  std::map<std::string_view, FileTensor> joined;
  std::vector<FileTensor> kept;
  // "weight" belongs to a quantized module when the codes are in it.
  for (const FileTensor& tensor : tensors) {
    const auto [prefix, part] = split_name(tensor.name);
    const auto module = modules.find(prefix);
    if (module != modules.end() && part == "weight") module->second[part] = &tensor;
  }
  for (const auto& [prefix, parts] : modules) {
    RUVLLM_ASSIGN(joined[prefix], Joiner(config, prefix, parts).join());
  }
  for (FileTensor& tensor : tensors) {
    const auto [prefix, part] = split_name(tensor.name);
    const auto module = modules.find(prefix);
    if (module == modules.end()) {
      kept.push_back(tensor);
      continue;
    }
    const auto matrix = joined.find(prefix);
    if (matrix != joined.end()) {
      kept.push_back(std::move(matrix->second));
      joined.erase(matrix);
    }
    const bool taken = contains(kParts, part) || part == "weight" || contains(kUnusedParts, part);
    if (!taken) kept.push_back(tensor);
  }
  tensors = std::move(kept);
  return {};
}

}  // namespace ruvllm
