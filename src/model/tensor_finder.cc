#include "model/tensor_finder.h"

#include <algorithm>

#include "base/log.h"
#include "base/str.h"
#include "tensor/dequantize.h"

namespace ruvllm {
namespace {

// The pattern with '@', {L} and {X} replaced; a bias has ".bias" where its weight has ".weight".
std::string expand(std::string_view pattern, std::string_view prefix, TensorPlace place,
                   bool bias) {
  std::string name;
  if (pattern.starts_with('@')) {
    name = prefix;
    pattern.remove_prefix(1);
  }
  constexpr std::string_view kWeight = ".weight";
  if (bias && pattern.ends_with(kWeight)) pattern.remove_suffix(kWeight.size());
  while (!pattern.empty()) {
    if (pattern.starts_with("{L}") || pattern.starts_with("{X}")) {
      name += concat(pattern[1] == 'L' ? place.layer : place.expert);
      pattern.remove_prefix(3);
    } else {
      name += pattern.front();
      pattern.remove_prefix(1);
    }
  }
  if (bias) name += ".bias";
  return name;
}

// The rows of a role: the family's own, or else the base's.
template <typename Visit>
void for_each_pattern(const NameTable& table, Role role, Visit visit) {
  bool has_own = false;
  for (const WeightName& row : table.own) {
    if (row.role != role) continue;
    has_own = true;
    visit(row.pattern);
  }
  if (has_own) return;
  for (const WeightName& row : table.base) {
    if (row.role == role) visit(row.pattern);
  }
}

bool holds_real_numbers(DType dtype) {
  switch (dtype) {
    case DType::kI8:
    case DType::kU8:
    case DType::kI16:
    case DType::kI32:
    case DType::kI64:
    case DType::kBool:
      return false;
    default:
      return true;
  }
}

std::string shape_text(std::initializer_list<int64_t> shape) {
  std::string text = "[";
  for (const int64_t extent : shape) {
    if (text.size() > 1) text += ", ";
    text += concat(extent);
  }
  return text + "]";
}

// A bias of zeros: some quantizers write one for every matrix.
bool adds_nothing(const FileTensor& tensor) {
  uint64_t bytes = 0;
  if (!tensor.name.ends_with(".bias") || tensor.view.data == nullptr ||
      !row_bytes(tensor.view.dtype, tensor.view.num_elements(), bytes)) {
    return false;
  }
  const std::span data(tensor.view.data, static_cast<size_t>(bytes));
  return std::ranges::all_of(data, [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

TensorFinder::TensorFinder(Family family, NameStyle style, std::span<const FileTensor> tensors,
                           std::string_view path)
    : table_(weight_names(family, style)),
      style_(style),
      prefix_(table_.prefixes.front()),
      tensors_(tensors),
      path_(path),
      used_(tensors.size(), false) {
  index_.reserve(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) index_.emplace(tensors[i].name, i);
  for (const std::string_view prefix : table_.prefixes) {
    prefix_ = prefix;
    if (has(Role::kEmbedding)) return;
  }
  prefix_ = table_.prefixes.front();
}

const FileTensor* TensorFinder::lookup(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

const FileTensor* TensorFinder::lookup(Role role, TensorPlace place, bool bias) const {
  const FileTensor* tensor = nullptr;
  for_each_pattern(table_, role, [&](std::string_view pattern) {
    if (tensor == nullptr) tensor = lookup(expand(pattern, prefix_, place, bias));
  });
  return tensor;
}

std::string TensorFinder::expected_name(Role role, TensorPlace place, bool bias) const {
  std::string name;
  for_each_pattern(table_, role, [&](std::string_view pattern) {
    if (name.empty()) name = expand(pattern, prefix_, place, bias);
  });
  return name.empty() ? "(a tensor this family has no name for)" : name;
}

bool TensorFinder::has(Role role, TensorPlace place) const {
  return lookup(role, place, false) != nullptr;
}

bool TensorFinder::has_bias(Role role, TensorPlace place) const {
  return lookup(role, place, true) != nullptr;
}

Status TensorFinder::check(const FileTensor& tensor, std::initializer_list<int64_t> shape) const {
  const TensorView& view = tensor.view;
  bool equal = view.rank == static_cast<int>(shape.size());
  int axis = 0;
  for (const int64_t extent : shape) {
    if (equal && view.dim(axis++) != extent) equal = false;
  }
  if (!equal) {
    return fail(ErrorCode::kBadFile,
                concat(tensor.file, ": tensor ", printable(tensor.name), ": found ",
                       view.describe(), ", expected ", shape_text(shape)));
  }
  if (!holds_real_numbers(view.dtype)) {
    return fail(ErrorCode::kBadFile,
                concat(tensor.file, ": tensor ", printable(tensor.name), ": found integers (",
                       dtype_info(view.dtype).name, "), expected real numbers"));
  }
  if (!can_dequantize(view.dtype)) {
    return fail(ErrorCode::kUnsupported,
                concat(tensor.file, ": tensor ", printable(tensor.name), ": element format ",
                       dtype_info(view.dtype).name, " is not supported"));
  }
  return {};
}

Result<const FileTensor*> TensorFinder::find(Role role, TensorPlace place,
                                             std::initializer_list<int64_t> shape) {
  const FileTensor* tensor = lookup(role, place, false);
  if (tensor == nullptr) {
    return fail(ErrorCode::kBadFile, concat(path_, ": tensor ", expected_name(role, place, false),
                                            " is missing, expected ", shape_text(shape)));
  }
  RUVLLM_TRY(check(*tensor, shape));
  used_[static_cast<size_t>(tensor - tensors_.data())] = true;
  return tensor;
}

Result<std::vector<float>> TensorFinder::read_vector(Role role, TensorPlace place, int64_t size,
                                                     bool bias) {
  const FileTensor* tensor = lookup(role, place, bias);
  if (tensor == nullptr) {
    return fail(ErrorCode::kBadFile, concat(path_, ": tensor ", expected_name(role, place, bias),
                                            " is missing, expected ", shape_text({size})));
  }
  RUVLLM_TRY(check(*tensor, {size}));
  used_[static_cast<size_t>(tensor - tensors_.data())] = true;
  std::vector<float> values(static_cast<size_t>(size));
  dequantize_row(tensor->view.dtype, tensor->view.data, values.data(), size);
  return values;
}

void TensorFinder::ignore(Role role) {
  for (const bool bias : {false, true}) {
    const FileTensor* tensor = lookup(role, {}, bias);
    if (tensor != nullptr) used_[static_cast<size_t>(tensor - tensors_.data())] = true;
  }
}

int64_t TensorFinder::layer_of(std::string_view name) const {
  for (const WeightName& row : table_.base) {
    const size_t at = row.pattern.find("{L}");
    if (at == std::string_view::npos) continue;
    const std::string before = expand(row.pattern.substr(0, at), prefix_, {}, false);
    if (!name.starts_with(before)) return -1;
    name.remove_prefix(before.size());
    int64_t layer = -1;
    return parse_number(name.substr(0, name.find('.')), layer) ? layer : -1;
  }
  return -1;
}

Status TensorFinder::check_leftovers(int32_t num_layers) const {
  size_t count = 0;
  const FileTensor* first = nullptr;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (used_[i]) continue;
    bool harmless = false;
    for (const std::string_view ending : kHarmlessTensorEndings) {
      harmless = harmless || std::string_view(tensors_[i].name).ends_with(ending);
    }
    if (harmless) continue;
    const int64_t layer = layer_of(tensors_[i].name);
    if (layer >= 0 && layer < num_layers && !adds_nothing(tensors_[i])) {
      return fail(
          ErrorCode::kUnsupported,
          concat(tensors_[i].file, ": tensor ", printable(tensors_[i].name),
                 ": layers of this family, as the config describes them, have no such part"));
    }
    if (first == nullptr) first = &tensors_[i];
    ++count;
  }
  if (count == 0) return {};
  log_warning(path_, ": ", count, count == 1 ? " tensor is" : " tensors are",
              " not part of this model and not used, e.g. ", printable(first->name));
  return {};
}

}  // namespace ruvllm
