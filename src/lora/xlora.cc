#include "lora/xlora.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/json.h"
#include "base/mmap_file.h"
#include "base/read_file.h"
#include "base/str.h"
#include "formats/json_fields.h"
#include "formats/safetensors.h"
#include "tensor/dequantize.h"

namespace ruvllm {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;
constexpr int64_t kMaxExperts = 256;
constexpr int64_t kMaxDepth = 32;
constexpr int64_t kMaxWidth = 1 << 16;

// The two ways to lay out a folder.
struct Layout {
  std::string_view config_file;
  std::string_view tensors_file;
  std::string_view inner_prefix;  // of the classifier's layers, before their number
  std::string_view last_prefix;   // of the last one; empty: numbered as the others
};
constexpr Layout kPeft = {"adapter_config.json", "adapter_model.safetensors",
                          "base_model.internal_xlora_classifier.layers.", ""};
constexpr Layout kOriginal = {"xlora_config.json", "xlora_classifier.safetensors", "inner.",
                              "last"};

class XLoraLoader {
 public:
  XLoraLoader(std::string path, const Checkpoint& base, const XLoraLimits& limits)
      : path_(std::move(path)), base_(base), limits_(limits) {}

  Result<std::shared_ptr<const XLora>> load();

 private:
  Status read_config();
  Status read_policy(JsonFields& fields);
  Result<std::string> expert_folder(const std::string& name, const std::string& path) const;
  Status load_experts();
  Status order_modules();
  Status load_classifier();
  Status take_layer(const std::vector<FileTensor>& tensors, const std::string& prefix, int64_t rows,
                    int64_t cols);
  Result<std::vector<float>> read_tensor(const std::vector<FileTensor>& tensors,
                                         const std::string& name, std::vector<int64_t> shape) const;
  Status take_bytes(uint64_t bytes);
  std::string file(std::string_view name) const { return concat(path_, "/", name); }

  std::string path_;
  const Checkpoint& base_;
  const XLoraLimits& limits_;
  const Layout* layout_ = &kPeft;
  std::vector<std::pair<std::string, std::string>> folders_;  // expert name, path of the config
  int64_t depth_ = 1;
  int64_t width_ = 2048;
  bool bias_ = true;
  std::shared_ptr<XLora> out_ = std::make_shared<XLora>();
};

Status XLoraLoader::read_policy(JsonFields& fields) {
  XLoraPolicy& policy = out_->policy;
  const auto n = static_cast<int64_t>(folders_.size());
  policy.softmax = fields.flag_or("enable_softmax", true);
  policy.softmax_topk = fields.flag_or("enable_softmax_topk", false);
  policy.temperature = fields.number_or("softmax_temperature", 1.0, 1e-6, 1e6);
  policy.top_k = static_cast<int32_t>(fields.integer_or("top_k_lora", 0, 1, n));
  policy.pass_value = static_cast<float>(fields.number_or("scaling_pass_value", 0.0, -1e6, 1e6));
  policy.global_scale =
      static_cast<float>(fields.number_or("global_scaling_weight", 1.0, -1e6, 1e6));
  // Null is what PEFT's setter writes for 1/n.
  if (fields.is_null("scaling_pass_value")) policy.pass_value = 1.0f / static_cast<float>(n);
  out_->layerwise = fields.flag_or("layerwise_scalings", false);
  depth_ = fields.integer_or("xlora_depth", 1, 1, kMaxDepth);
  width_ = fields.integer_or("xlora_size", 2048, 1, kMaxWidth);
  if (layout_ == &kOriginal) {
    bias_ = fields.flag_or("use_bias", true);
    out_->relu = fields.flag_or("enable_relu_and_dropout", true);
  }
  const int64_t hidden = fields.integer("hidden_size", 1, int64_t{1} << 24);
  if (hidden != base_.config.hidden_size) {
    fields.bad("hidden_size", "found ", hidden, ", the base model has ", base_.config.hidden_size);
  }
  return fields.status();
}

Status XLoraLoader::read_config() {
  if (!directory_exists(path_)) {
    return fail(ErrorCode::kNotFound, concat(path_, ": no such folder"));
  }
  if (file_exists(file(kOriginal.config_file))) layout_ = &kOriginal;
  const std::string config_path = file(layout_->config_file);
  RUVLLM_ASSIGN(const std::string text, read_text_file(config_path, kMaxConfigBytes));
  const auto parsed = Json::parse(text);
  if (!parsed) return fail(ErrorCode::kBadFile, concat(config_path, ": ", parsed.error().message));
  JsonFields fields(*parsed, config_path);
  RUVLLM_TRY(fields.status());
  const std::string type = fields.text_or("peft_type", layout_ == &kOriginal ? "XLORA" : "");
  if (type != "XLORA")
    fields.unsupported("peft_type", "found ", printable(type), ", expected XLORA");
  const Json* adapters = fields.find("adapters");
  const Json::Object* members = adapters != nullptr ? adapters->as_object() : nullptr;
  const bool countable = members != nullptr && !members->empty() &&
                         static_cast<int64_t>(members->size()) <= kMaxExperts;
  if (!countable) {
    fields.bad("adapters", "found ",
               adapters == nullptr ? "nothing" : printable(adapters->dump(), 48),
               ", expected an object of 1 to ", kMaxExperts, " names and paths");
    return fields.status();
  }
  for (const JsonMember& member : *members) {
    const std::string* folder = member.value.as_string();
    folders_.emplace_back(member.key, folder != nullptr ? *folder : std::string());
  }
  return read_policy(fields);
}

// An expert lies in the folder under its name, or where the config says.
Result<std::string> XLoraLoader::expert_folder(const std::string& name,
                                               const std::string& path) const {
  const bool plain = !name.empty() && name != "." && name != ".." &&
                     name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
  if (plain && directory_exists(file(name))) return limits_.folder(file(name));
  if (!path.empty()) {
    RUVLLM_ASSIGN(std::string there, limits_.folder(path.starts_with('/') ? path : file(path)));
    if (directory_exists(there)) return there;
  }
  return fail(ErrorCode::kNotFound,
              concat(file(layout_->config_file), ": adapters: expert \"", printable(name),
                     "\": no folder ", printable(file(name), 200)));
}

Status XLoraLoader::take_bytes(uint64_t bytes) {
  if (bytes > limits_.max_bytes - out_->num_bytes) {
    return fail(ErrorCode::kOutOfMemory,
                concat(path_, ": experts and classifier need more than ", limits_.max_bytes,
                       " bytes, the budget of adapters"));
  }
  out_->num_bytes += bytes;
  return {};
}

Status XLoraLoader::load_experts() {
  for (const auto& [name, path] : folders_) {
    RUVLLM_ASSIGN(const std::string folder, expert_folder(name, path));
    RUVLLM_ASSIGN(auto expert,
                  load_lora_adapter(folder, base_, limits_.max_bytes - out_->num_bytes));
    RUVLLM_TRY(take_bytes(expert->num_bytes));
    for (const LoraPair& pair : expert->pairs) {
      if (pair.module.site != LoraSite::kLmHead) continue;
      return fail(ErrorCode::kUnsupported,
                  concat(folder, ": an X-LoRA expert of ", pair.module.name, " is not supported"));
    }
    out_->expert_names.push_back(name);
    out_->experts.push_back(std::move(expert));
  }
  return {};
}

// Numbers the modules that some expert touches and makes the table.
Status XLoraLoader::order_modules() {
  out_->table = LoraTable(base_.config.num_layers());
  const int32_t n = out_->num_experts();
  for (const LoraModule& module : lora_modules(base_.config)) {
    bool touched = false;
    for (int32_t i = 0; i < n; ++i) {
      const LoraPair* pair = out_->experts[static_cast<size_t>(i)]->find(module.name);
      if (pair == nullptr) continue;
      touched = true;
      LoraTerm term = pair->term();
      term.scale *= out_->policy.global_scale;
      term.gate = (out_->layerwise ? out_->num_modules() * n : 0) + i;
      out_->table.add(module.site, module.layer, term);
    }
    if (touched) out_->module_names.push_back(module.name);
  }
  out_->first_layer = out_->table.first_layer();
  return {};
}

Result<std::vector<float>> XLoraLoader::read_tensor(const std::vector<FileTensor>& tensors,
                                                    const std::string& name,
                                                    std::vector<int64_t> shape) const {
  const std::string where = concat(file(layout_->tensors_file), ": tensor ", printable(name, 160));
  const auto tensor = std::ranges::find(tensors, name, &FileTensor::name);
  if (tensor == tensors.end()) return fail(ErrorCode::kBadFile, where + " is missing");
  const TensorView& view = tensor->view;
  const bool real = view.dtype == DType::kF32 || view.dtype == DType::kF16 ||
                    view.dtype == DType::kBF16 || view.dtype == DType::kF64;
  bool fits = view.rank == static_cast<int>(shape.size());
  for (size_t i = 0; fits && i < shape.size(); ++i) fits = view.shape[i] == shape[i];
  if (!real || !fits) {
    std::string expected;
    for (const int64_t extent : shape) expected += concat(expected.empty() ? "[" : ", ", extent);
    return fail(ErrorCode::kBadFile, concat(where, ": found ", view.describe(), ", expected ",
                                            expected, "] f32, f16 or bf16"));
  }
  std::vector<float> values(static_cast<size_t>(view.num_elements()));
  dequantize_row(view.dtype, view.data, values.data(), view.num_elements());
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return fail(ErrorCode::kBadFile, concat(where, ": element ", i, " is not a finite number"));
    }
  }
  return values;
}

Status XLoraLoader::take_layer(const std::vector<FileTensor>& tensors, const std::string& prefix,
                               int64_t rows, int64_t cols) {
  XLora::Layer layer;
  layer.rows = rows;
  layer.cols = cols;
  RUVLLM_TRY(take_bytes(static_cast<uint64_t>(rows * cols + rows) * sizeof(float)));
  RUVLLM_ASSIGN(layer.weight, read_tensor(tensors, prefix + ".weight", {rows, cols}));
  if (bias_) {
    RUVLLM_ASSIGN(layer.bias, read_tensor(tensors, prefix + ".bias", {rows}));
  }
  out_->classifier.push_back(std::move(layer));
  return {};
}

Status XLoraLoader::load_classifier() {
  const std::string tensors_path = file(layout_->tensors_file);
  RUVLLM_ASSIGN(
      const FileBytes contents,
      read_file(tensors_path, 2 * (limits_.max_bytes - out_->num_bytes) + kMaxConfigBytes));
  RUVLLM_ASSIGN(const std::vector<FileTensor> tensors,
                parse_safetensors(contents.bytes(), tensors_path));
  // The layers are numbered with gaps, one for each activation and dropout between them.
  std::vector<int64_t> numbers;
  const std::string_view inner = layout_->inner_prefix;
  size_t known = 0;
  for (const FileTensor& tensor : tensors) {
    std::string_view name = tensor.name;
    if (!name.starts_with(inner)) continue;
    name.remove_prefix(inner.size());
    int64_t number = 0;
    if (!parse_number(name.substr(0, std::min(name.find('.'), name.size())), number)) continue;
    if (std::ranges::find(numbers, number) == numbers.end()) numbers.push_back(number);
  }
  std::ranges::sort(numbers);
  const bool has_last = !layout_->last_prefix.empty();
  const auto num_inner = static_cast<size_t>(has_last ? depth_ - 1 : depth_);
  if (numbers.size() != num_inner) {
    return fail(ErrorCode::kBadFile,
                concat(tensors_path, ": found ", numbers.size(), " classifier layers ", inner,
                       "N, expected ", num_inner, " (xlora_depth ", depth_, ")"));
  }
  const int64_t outputs = out_->num_gates();
  int64_t inputs = base_.config.hidden_size;
  for (int64_t i = 0; i < depth_; ++i) {
    const bool last = i + 1 == depth_;
    const std::string prefix = last && has_last ? std::string(layout_->last_prefix)
                                                : concat(inner, numbers[static_cast<size_t>(i)]);
    RUVLLM_TRY(take_layer(tensors, prefix, last ? outputs : width_, inputs));
    known += bias_ ? 2 : 1;
    inputs = width_;
  }
  if (known != tensors.size()) {
    return fail(ErrorCode::kBadFile, concat(tensors_path, ": found ", tensors.size(),
                                            " tensors, expected the classifier's ", known));
  }
  return {};
}

Result<std::shared_ptr<const XLora>> XLoraLoader::load() {
  out_->path = path_;
  RUVLLM_TRY(read_config());
  RUVLLM_TRY(load_experts());
  RUVLLM_TRY(order_modules());
  RUVLLM_TRY(load_classifier());
  return out_;
}

}  // namespace

Result<std::shared_ptr<const XLora>> load_xlora(const std::string& path, const Checkpoint& base,
                                                const XLoraLimits& limits) {
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.ends_with('/')) trimmed.pop_back();
  return XLoraLoader(std::move(trimmed), base, limits).load();
}

}  // namespace ruvllm
