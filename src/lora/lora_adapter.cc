#include "lora/lora_adapter.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/float_types.h"
#include "base/mmap_file.h"
#include "base/read_file.h"
#include "base/str.h"
#include "base/yielding_thread.h"
#include "formats/safetensors.h"
#include "lora/lora_config.h"
#include "tensor/dequantize.h"

namespace ruvllm {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;
constexpr std::string_view kTensorPrefix = "base_model.model.";

enum class Half : uint8_t { kA, kB, kBaseCopy };

// A tensor's name, taken apart.
struct TensorName {
  std::string_view module;
  Half half = Half::kA;
  bool embedding = false;
};

std::optional<TensorName> split_name(std::string_view name) {
  struct Ending {
    std::string_view text;
    Half half;
    bool embedding;
  };
  constexpr Ending kEndings[] = {
      {".lora_A.weight", Half::kA, false},
      {".lora_B.weight", Half::kB, false},
      {".lora_A.default.weight", Half::kA, false},
      {".lora_B.default.weight", Half::kB, false},
      {".lora_embedding_A", Half::kA, true},
      {".lora_embedding_B", Half::kB, true},
      {".base_layer.weight", Half::kBaseCopy, false},
  };
  if (!name.starts_with(kTensorPrefix)) return std::nullopt;
  name.remove_prefix(kTensorPrefix.size());
  for (const Ending& ending : kEndings) {
    if (!name.ends_with(ending.text)) continue;
    name.remove_suffix(ending.text.size());
    return TensorName{name, ending.half, ending.embedding};
  }
  return std::nullopt;
}

bool is_real(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 ||
         dtype == DType::kF64;
}

// The values as bytes of this type, f32 or bf16 (which they are then already).
std::vector<std::byte> stored(std::span<const float> values, DType dtype) {
  if (dtype == DType::kF32) {
    const auto bytes = std::as_bytes(values);
    return {bytes.begin(), bytes.end()};
  }
  std::vector<std::byte> out(values.size() * sizeof(uint16_t));
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t bits = f32_to_bf16(values[i]);
    std::memcpy(out.data() + i * sizeof bits, &bits, sizeof bits);
  }
  return out;
}

class AdapterLoader {
 public:
  AdapterLoader(std::string path, const Checkpoint& base, uint64_t max_bytes)
      : path_(std::move(path)),
        base_(base),
        max_bytes_(std::min(max_bytes, kMaxAdapterBytes)),
        modules_(lora_modules(base.config)) {}

  Result<std::shared_ptr<const LoraAdapter>> load();

 private:
  struct Found {
    const FileTensor* a = nullptr;
    const FileTensor* b = nullptr;
  };

  std::unexpected<Error> bad(const FileTensor& tensor, std::string_view what,
                             ErrorCode code = ErrorCode::kBadFile) const {
    return fail(code, concat(tensor.file, ": tensor ", printable(tensor.name, 160), ": ", what));
  }
  Status sort_tensors(std::span<const FileTensor> tensors);
  Status check_targets() const;
  Status check_base_copy(const FileTensor& tensor, const LoraModule& module) const;
  Status read(const FileTensor& tensor, int64_t rows, int64_t cols, std::string_view shape_names,
              std::vector<float>& values) const;
  Status add_pair(const LoraModule& module, const Found& found, LoraAdapter& out);
  Result<std::vector<int64_t>> row_order(const LoraModule& module) const;
  std::string unknown_module(std::string_view module) const;
  // Numbers take at most 8 bytes here and 4 in memory; copies of the base's two matrices go again.
  uint64_t max_file_bytes() const {
    const auto copy = static_cast<uint64_t>(base_.config.vocab_size * base_.config.hidden_size);
    return 2 * max_bytes_ + 16 * copy + kMaxConfigBytes;
  }

  std::string path_;
  const Checkpoint& base_;
  uint64_t max_bytes_;
  std::vector<LoraModule> modules_;
  LoraConfig config_;
  std::vector<Found> found_;  // beside modules_
  // Kept from tensor to tensor: giving large memory back stops every thread of the process for a
  // moment, which is felt where others compute.
  std::vector<float> a_, b_, turned_;
};

std::string AdapterLoader::unknown_module(std::string_view module) const {
  const bool expert = module.find(".experts") != std::string_view::npos ||
                      module.ends_with(".mlp.gate") || module.ends_with("block_sparse_moe.gate");
  return expert ? "adapters of experts and routers are not supported"
                : concat("the model has no such module (", base_.config.num_layers(), " layers of ",
                         printable(base_.config.architecture), ")");
}

Status AdapterLoader::sort_tensors(std::span<const FileTensor> tensors) {
  std::unordered_map<std::string_view, size_t> index;
  for (size_t i = 0; i < modules_.size(); ++i) index.emplace(modules_[i].name, i);
  found_.resize(modules_.size());
  for (const FileTensor& tensor : tensors) {
    const auto name = split_name(tensor.name);
    if (!name) {
      return bad(tensor,
                 "expected names base_model.model.MODULE.lora_A.weight, .lora_B.weight, "
                 ".lora_embedding_A or .lora_embedding_B");
    }
    auto entry = index.find(name->module);
    if (entry == index.end()) {  // saved around the model without its head
      entry = index.find(concat("model.", name->module));
    }
    if (entry == index.end()) return bad(tensor, unknown_module(name->module));
    const LoraModule& module = modules_[entry->second];
    if (name->half == Half::kBaseCopy) {  // harmless wherever it is
      RUVLLM_TRY(check_base_copy(tensor, module));
      continue;
    }
    RUVLLM_ASSIGN(const bool wanted, config_.targets(module));
    if (!config_.target.empty() && !wanted) {
      return bad(tensor, "target_modules of adapter_config.json does not name its module");
    }
    if (name->embedding != (module.site == LoraSite::kEmbedding)) {
      return bad(tensor, name->embedding ? "the module is not an embedding"
                                         : "expected lora_embedding_A and lora_embedding_B");
    }
    Found& found = found_[entry->second];
    const FileTensor*& slot = name->half == Half::kA ? found.a : found.b;
    if (slot != nullptr) return bad(tensor, concat("the same as ", printable(slot->name, 160)));
    slot = &tensor;
  }
  return {};
}

// Every module that the config names exists, and the file has both halves of it.
Status AdapterLoader::check_targets() const {
  bool any = false;
  for (size_t i = 0; i < modules_.size(); ++i) {
    RUVLLM_ASSIGN(const bool targeted, config_.targets(modules_[i]));
    const Found& found = found_[i];
    const bool wanted =
        config_.target.empty() ? found.a != nullptr || found.b != nullptr : targeted;
    if (!wanted) continue;
    any = true;
    if (found.a != nullptr && found.b != nullptr) continue;
    const bool embedding = modules_[i].site == LoraSite::kEmbedding;
    return fail(
        ErrorCode::kBadFile,
        concat(path_, "/adapter_model.safetensors: tensor ", kTensorPrefix, modules_[i].name,
               embedding ? ".lora_embedding_" : ".lora_", found.a == nullptr ? "A" : "B",
               embedding ? "" : ".weight", " is missing (target_modules of adapter_config.json)"));
  }
  for (const std::string& ending : config_.target.endings) {
    const ModuleSelector selector{{ending}, std::nullopt, false};
    bool exists = false;
    for (const LoraModule& module : modules_) exists = exists || *selector.selects(module);
    if (!exists) {
      return fail(ErrorCode::kBadFile, concat(config_.file, ": target_modules: found \"",
                                              printable(ending), "\", ", unknown_module(ending)));
    }
  }
  if (!any) {
    return fail(ErrorCode::kBadFile,
                concat(config_.file, ": target_modules: none of the model's modules"));
  }
  return {};
}

// The values of the base's own matrix, which PEFT stores beside an adapter of it.
Status AdapterLoader::check_base_copy(const FileTensor& tensor, const LoraModule& module) const {
  const FileTensor* original = base_.find(module.name + ".weight");
  if (original == nullptr && module.site == LoraSite::kLmHead) {
    original = base_.find(modules_.front().name + ".weight");  // tied
  }
  const bool comparable = original != nullptr && original->quantized == nullptr &&
                          is_real(original->view.dtype) && is_real(tensor.view.dtype);
  if (!comparable) {
    return bad(tensor, "a copy of a base weight that this base model cannot be compared with",
               ErrorCode::kUnsupported);
  }
  const TensorView& want = original->view;
  if (tensor.view.rank != 2 || tensor.view.shape != want.shape) {
    return bad(tensor,
               concat("found ", tensor.view.describe(), ", the base model has ", want.describe()));
  }
  const int64_t cols = want.dim(1);
  std::vector<float> left(static_cast<size_t>(cols));
  std::vector<float> right(static_cast<size_t>(cols));
  uint64_t left_bytes = 0;
  uint64_t right_bytes = 0;
  if (!row_bytes(tensor.view.dtype, cols, left_bytes) ||
      !row_bytes(want.dtype, cols, right_bytes)) {
    return bad(tensor, "too large");
  }
  for (int64_t row = 0; row < want.dim(0); ++row) {
    const auto at = static_cast<uint64_t>(row);
    dequantize_row(tensor.view.dtype, tensor.view.data + at * left_bytes, left.data(), cols);
    dequantize_row(want.dtype, want.data + at * right_bytes, right.data(), cols);
    if (left != right) {
      return bad(tensor,
                 concat("differs from the base model's in row ", row,
                        ": the adapter was trained on another base, or the module in full"),
                 ErrorCode::kUnsupported);
    }
  }
  return {};
}

Status AdapterLoader::read(const FileTensor& tensor, int64_t rows, int64_t cols,
                           std::string_view shape_names, std::vector<float>& values) const {
  const TensorView& view = tensor.view;
  if (!is_real(view.dtype)) {
    return bad(tensor, concat("found ", view.describe(), ", expected f32, f16 or bf16"),
               ErrorCode::kUnsupported);
  }
  if (view.rank != 2 || view.dim(0) != rows || view.dim(1) != cols) {
    return bad(tensor, concat("found ", view.describe(), ", expected [", rows, ", ", cols, "] (",
                              shape_names, ")"));
  }
  // The reader has checked that the file holds as many elements.
  values.resize(static_cast<size_t>(view.num_elements()));
  dequantize_row(view.dtype, view.data, values.data(), view.num_elements());
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return bad(tensor, concat("element ", i, " is not a finite number"));
    }
  }
  return {};
}

// Which row of the file's B stands in row n of this model's: files of the llama architecture in
// GGUF have the rows of q and k in another order.
Result<std::vector<int64_t>> AdapterLoader::row_order(const LoraModule& module) const {
  std::vector<int64_t> order(static_cast<size_t>(module.rows));
  for (size_t n = 0; n < order.size(); ++n) order[n] = static_cast<int64_t>(n);
  const bool interleaved =
      base_.config.rope.layout == RopeLayout::kInterleaved && base_.config.rope.rotary_dim > 0;
  if (!interleaved || module.site != LoraSite::kQkv || base_.names != NameStyle::kGguf) {
    return order;
  }
  const int64_t dim = base_.config.head_dim;
  if (base_.config.rope.rotary_dim != dim) {
    return fail(ErrorCode::kUnsupported,
                concat(path_, ": adapters for a GGUF model that rotates parts of its heads"));
  }
  for (int64_t head = 0; head < module.rotated_heads; ++head) {
    for (int64_t i = 0; i < dim; ++i) {
      order[static_cast<size_t>(head * dim + i)] = head * dim + i / 2 + (i % 2) * (dim / 2);
    }
  }
  return order;
}

Status AdapterLoader::add_pair(const LoraModule& module, const Found& found, LoraAdapter& out) {
  LoraPair pair;
  pair.module = module;
  RUVLLM_ASSIGN(pair.rank, config_.rank_of(module));
  RUVLLM_ASSIGN(const double scale, config_.scale_of(module));
  pair.scale = static_cast<float>(scale);
  const int64_t rank = pair.rank;
  RUVLLM_TRY(read(*found.a, rank, module.cols, "rank, inputs", a_));
  RUVLLM_TRY(read(*found.b, module.rows, rank, "outputs, rank", b_));
  if (module.site == LoraSite::kEmbedding) {
    turned_.resize(a_.size());
    for (int64_t j = 0; j < rank; ++j) {
      for (int64_t v = 0; v < module.cols; ++v) {
        turned_[static_cast<size_t>(v * rank + j)] = a_[static_cast<size_t>(j * module.cols + v)];
      }
    }
    a_.swap(turned_);
  }
  RUVLLM_ASSIGN(const std::vector<int64_t> order, row_order(module));
  turned_.assign(static_cast<size_t>(lora_panel_elements(module.rows, rank)), 0.0f);
  for (int64_t n = 0; n < module.rows; ++n) {
    const int64_t from = order[static_cast<size_t>(n)];
    for (int64_t j = 0; j < rank; ++j) {
      turned_[static_cast<size_t>(lora_panel_index(n, j, rank))] =
          b_[static_cast<size_t>(from * rank + j)];
    }
  }
  const bool narrow = found.a->view.dtype == DType::kBF16 && found.b->view.dtype == DType::kBF16;
  pair.dtype = narrow ? DType::kBF16 : DType::kF32;
  pair.a = stored(a_, pair.dtype);
  pair.b = stored(turned_, pair.dtype);
  out.num_bytes += pair.a.size() + pair.b.size();
  out.max_rank = std::max(out.max_rank, pair.rank);
  out.pairs.push_back(std::move(pair));
  return {};
}

Result<std::shared_ptr<const LoraAdapter>> AdapterLoader::load() {
  if (path_.ends_with(".gguf")) {
    return fail(ErrorCode::kUnsupported,
                concat(path_, ": adapters in GGUF files are not read; expected a folder in PEFT's ",
                       "format (adapter_config.json, adapter_model.safetensors)"));
  }
  if (!directory_exists(path_)) {
    return fail(ErrorCode::kNotFound, concat(path_, ": no such folder"));
  }
  const std::string config_path = path_ + "/adapter_config.json";
  const std::string tensors_path = path_ + "/adapter_model.safetensors";
  RUVLLM_ASSIGN(const std::string text, read_text_file(config_path, kMaxConfigBytes));
  RUVLLM_ASSIGN(config_, parse_lora_config(text, config_path));
  if (!file_exists(tensors_path) && file_exists(path_ + "/adapter_model.bin")) {
    return fail(ErrorCode::kUnsupported,
                concat(path_,
                       "/adapter_model.bin is a pickle and is not read; expected "
                       "adapter_model.safetensors"));
  }
  RUVLLM_ASSIGN(const FileBytes file, read_file(tensors_path, max_file_bytes()));
  RUVLLM_ASSIGN(const std::vector<FileTensor> tensors,
                parse_safetensors(file.bytes(), tensors_path));
  yield_between();
  RUVLLM_TRY(sort_tensors(tensors));
  RUVLLM_TRY(check_targets());
  auto adapter = std::make_shared<LoraAdapter>();
  adapter->path = path_;
  for (size_t i = 0; i < modules_.size(); ++i) {
    if (found_[i].a == nullptr) continue;
    RUVLLM_TRY(add_pair(modules_[i], found_[i], *adapter));
    yield_between();
  }
  adapter->table = LoraTable(base_.config.num_layers());
  for (const LoraPair& pair : adapter->pairs) {
    adapter->table.add(pair.module.site, pair.module.layer, pair.term());
  }
  return adapter;
}

}  // namespace

LoraTerm LoraPair::term() const {
  LoraTerm term;
  term.a = a.data();
  term.b = b.data();
  term.dtype = dtype;
  term.rank = rank;
  term.first_column = module.first_column;
  term.num_columns = module.rows;
  term.scale = scale;
  return term;
}

const LoraPair* LoraAdapter::find(const std::string& module_name) const {
  const auto pair =
      std::ranges::find(pairs, module_name, [](const LoraPair& p) { return p.module.name; });
  return pair != pairs.end() ? &*pair : nullptr;
}

Result<std::shared_ptr<const LoraAdapter>> load_lora_adapter(const std::string& path,
                                                             const Checkpoint& base,
                                                             uint64_t max_bytes) {
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.ends_with('/')) trimmed.pop_back();
  return AdapterLoader(std::move(trimmed), base, max_bytes).load();
}

std::shared_ptr<const LoraMix> mix_lora_adapters(std::vector<LoraMix::Part> parts,
                                                 int32_t num_layers) {
  auto mix = std::make_shared<LoraMix>();
  mix->parts = std::move(parts);
  mix->table = LoraTable(num_layers);
  for (const LoraMix::Part& part : mix->parts) {
    for (const LoraPair& pair : part.adapter->pairs) {
      LoraTerm term = pair.term();
      term.scale *= part.weight;
      mix->table.add(pair.module.site, pair.module.layer, term);
    }
  }
  return mix;
}

}  // namespace ruvllm
