#include "model/weights.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/str.h"
#include "model/tensor_finder.h"

namespace ruvllm {
namespace {

// Matrix `index` of a stack [X, N, K].
TensorView slice_of(const TensorView& stack, int64_t index) {
  TensorView slice = make_view(stack.data, stack.dtype, {stack.dim(1), stack.dim(2)});
  uint64_t bytes = 0;
  RUVLLM_CHECK(row_bytes(stack.dtype, stack.dim(2), bytes), stack.describe());
  slice.data += static_cast<size_t>(bytes) * static_cast<size_t>(stack.dim(1) * index);
  return slice;
}

class WeightLoader {
 public:
  explicit WeightLoader(const WeightLoadArgs& args)
      : args_(args),
        config_(args.config),
        finder_(args.config.family, args.names, args.tensors, args.path) {}

  Result<ModelWeights> load();

 private:
  // A matrix on its way to the device, and the tensor to name when that fails.
  struct Source {
    TensorView view;
    const FileTensor* tensor = nullptr;
    bool transposed = false;
  };

  Status load_layer(int32_t layer, LayerWeights& out);
  Status load_norms(int32_t layer, LayerWeights& out);
  Status load_attention(int32_t layer, LayerWeights& out);
  Status load_dense_mlp(int32_t layer, LayerWeights& out);
  Status load_experts(int32_t layer, LayerWeights& out);
  bool tied() const;
  Status load_output();
  Result<NormWeights> load_norm(Role role, TensorPlace place, int64_t size, bool bias);
  Result<Source> find_matrix(Role role, TensorPlace place, int64_t rows, int64_t cols);
  // One expert's matrix, from a tensor of its own or from the stack of all.
  Result<Source> find_expert(Role single, Role stack, TensorPlace place, int64_t rows,
                             int64_t cols);
  Result<std::unique_ptr<Weight>> make(std::span<const Source> sources, WeightOptions options);
  Result<Linear> load_linear(Role role, TensorPlace place, int64_t rows, int64_t cols, bool bias);
  // The matrix `fused` when the file has it, otherwise the parts.
  Result<Projection> load_projection(Role fused, std::span<const std::pair<Role, int64_t>> parts,
                                     TensorPlace place, int64_t cols, bool bias);
  bool has_bias(bool configured, Role role, TensorPlace place) const {
    // GGUF metadata does not say which biases there are; their presence does.
    return configured || (args_.names == NameStyle::kGguf && finder_.has_bias(role, place));
  }
  void count(const Weight& weight);

  const WeightLoadArgs& args_;
  const ModelConfig& config_;
  TensorFinder finder_;
  ModelWeights weights_;
  std::vector<std::pair<std::string_view, uint64_t>> layout_bytes_;
};

void WeightLoader::count(const Weight& weight) {
  weights_.num_parameters +=
      static_cast<uint64_t>(weight.rows()) * static_cast<uint64_t>(weight.cols());
  weights_.num_bytes += weight.bytes();
  for (auto& [layout, bytes] : layout_bytes_) {
    if (layout == weight.layout()) {
      bytes += weight.bytes();
      return;
    }
  }
  layout_bytes_.emplace_back(weight.layout(), weight.bytes());
}

Result<WeightLoader::Source> WeightLoader::find_matrix(Role role, TensorPlace place, int64_t rows,
                                                       int64_t cols) {
  // Quantized matrices are [N, K] in every family.
  const FileTensor* stored = finder_.peek(role, place);
  const bool turned = config_.conv1d_weights && role != Role::kEmbedding &&
                      role != Role::kPositionEmbedding && role != Role::kLmHead &&
                      (stored == nullptr || stored->quantized == nullptr);
  if (turned) std::swap(rows, cols);
  RUVLLM_ASSIGN(const FileTensor* tensor, finder_.find(role, place, {rows, cols}));
  return Source{tensor->view, tensor, turned};
}

Result<WeightLoader::Source> WeightLoader::find_expert(Role single, Role stack, TensorPlace place,
                                                       int64_t rows, int64_t cols) {
  if (!finder_.has(stack, place)) return find_matrix(single, place, rows, cols);
  RUVLLM_ASSIGN(const FileTensor* tensor,
                finder_.find(stack, place, {config_.num_experts, rows, cols}));
  return Source{slice_of(tensor->view, place.expert), tensor};
}

Result<std::unique_ptr<Weight>> WeightLoader::make(std::span<const Source> sources,
                                                   WeightOptions options) {
  std::vector<WeightSource> views;
  for (const Source& source : sources) {
    views.push_back({source.view, source.transposed, source.tensor->quantized.get()});
  }
  auto weight = args_.ops.make_weight(views, options);
  if (!weight) {
    const FileTensor& tensor = *sources.front().tensor;
    return fail(weight.error().code, concat(tensor.file, ": tensor ", printable(tensor.name), ": ",
                                            weight.error().message));
  }
  count(**weight);
  return weight;
}

Result<NormWeights> WeightLoader::load_norm(Role role, TensorPlace place, int64_t size, bool bias) {
  NormWeights norm;
  RUVLLM_ASSIGN(norm.weight, finder_.read_vector(role, place, size, false));
  if (bias) {
    RUVLLM_ASSIGN(norm.bias, finder_.read_vector(role, place, size, true));
  }
  const uint64_t elements = norm.weight.size() + norm.bias.size();
  weights_.num_parameters += elements;
  weights_.num_bytes += elements * sizeof(float);
  return norm;
}

Result<Linear> WeightLoader::load_linear(Role role, TensorPlace place, int64_t rows, int64_t cols,
                                         bool bias) {
  RUVLLM_ASSIGN(const Source source, find_matrix(role, place, rows, cols));
  Linear linear;
  // The router decides between experts by small differences, and costs next to nothing: exact.
  const ComputeType compute = role == Role::kRouter ? ComputeType::kF32 : args_.compute;
  RUVLLM_ASSIGN(linear.weight, make({&source, 1}, {compute, false}));
  if (has_bias(bias, role, place)) {
    RUVLLM_ASSIGN(linear.bias, finder_.read_vector(role, place, rows, true));
    weights_.num_parameters += linear.bias.size();
  }
  return linear;
}

Result<Projection> WeightLoader::load_projection(Role fused,
                                                 std::span<const std::pair<Role, int64_t>> parts,
                                                 TensorPlace place, int64_t cols, bool bias) {
  Projection projection;
  if (finder_.has(fused, place)) {
    int64_t rows = 0;
    for (const auto& [role, part_rows] : parts) rows += part_rows;
    RUVLLM_ASSIGN(Linear whole, load_linear(fused, place, rows, cols, bias));
    projection.parts.push_back(std::move(whole));
    return projection;
  }
  std::vector<Source> sources;
  for (const auto& [role, rows] : parts) {
    RUVLLM_ASSIGN(const Source source, find_matrix(role, place, rows, cols));
    sources.push_back(source);
  }
  // Neighbours of one format become one matrix.
  for (size_t begin = 0; begin < sources.size();) {
    size_t end = begin + 1;
    while (end < sources.size() && sources[end].view.dtype == sources[begin].view.dtype) ++end;
    Linear linear;
    RUVLLM_ASSIGN(linear.weight,
                  make(std::span(sources).subspan(begin, end - begin), {args_.compute, false}));
    for (size_t i = begin; i < end; ++i) {
      const auto& [role, rows] = parts[i];
      const auto filled = static_cast<size_t>(linear.weight->rows());
      if (!has_bias(bias, role, place)) continue;
      RUVLLM_ASSIGN(const std::vector<float> values, finder_.read_vector(role, place, rows, true));
      linear.bias.resize(filled);
      int64_t first = 0;
      for (size_t j = begin; j < i; ++j) first += parts[j].second;
      std::copy(values.begin(), values.end(), linear.bias.begin() + static_cast<ptrdiff_t>(first));
      weights_.num_parameters += values.size();
    }
    projection.parts.push_back(std::move(linear));
    begin = end;
  }
  return projection;
}

Status WeightLoader::load_norms(int32_t layer, LayerWeights& out) {
  const TensorPlace place{layer};
  const BlockForm form = config_.block_form;
  const int64_t width = config_.hidden_size;
  const bool bias = config_.norm_bias;
  const bool before = form != BlockForm::kPostNorm;
  const bool after = form == BlockForm::kPostNorm || form == BlockForm::kSandwich;
  if (before) {
    RUVLLM_ASSIGN(out.attn_norm, load_norm(Role::kAttnNorm, place, width, bias));
  }
  if (before && form != BlockForm::kParallel) {
    RUVLLM_ASSIGN(out.mlp_norm, load_norm(Role::kMlpNorm, place, width, bias));
  }
  if (after) {
    RUVLLM_ASSIGN(out.attn_post_norm, load_norm(Role::kAttnPostNorm, place, width, bias));
    RUVLLM_ASSIGN(out.mlp_post_norm, load_norm(Role::kMlpPostNorm, place, width, bias));
  }
  return {};
}

Status WeightLoader::load_attention(int32_t layer, LayerWeights& out) {
  const TensorPlace place{layer};
  const int64_t q_size = int64_t{config_.num_heads} * config_.head_dim;
  const int64_t kv_size = int64_t{config_.num_kv_heads} * config_.head_dim;
  const std::pair<Role, int64_t> parts[] = {
      {Role::kQ, q_size}, {Role::kK, kv_size}, {Role::kV, kv_size}};
  RUVLLM_ASSIGN(out.qkv,
                load_projection(Role::kQkv, parts, place, config_.hidden_size, config_.qkv_bias));
  if (config_.qk_norm != QkNorm::kNone) {
    const bool full = config_.qk_norm == QkNorm::kFull;
    RUVLLM_ASSIGN(out.q_norm,
                  load_norm(Role::kQNorm, place, full ? q_size : config_.head_dim, false));
    RUVLLM_ASSIGN(out.k_norm,
                  load_norm(Role::kKNorm, place, full ? kv_size : config_.head_dim, false));
  }
  RUVLLM_ASSIGN(out.attn_out, load_linear(Role::kAttnOut, place, config_.hidden_size, q_size,
                                          config_.attn_out_bias));
  return {};
}

Status WeightLoader::load_dense_mlp(int32_t layer, LayerWeights& out) {
  const TensorPlace place{layer};
  const int64_t ffn = config_.ffn_size;
  if (config_.gated_mlp) {
    const std::pair<Role, int64_t> parts[] = {{Role::kGate, ffn}, {Role::kUp, ffn}};
    RUVLLM_ASSIGN(out.up, load_projection(Role::kGateUp, parts, place, config_.hidden_size,
                                          config_.mlp_bias));
  } else {
    RUVLLM_ASSIGN(Linear up,
                  load_linear(Role::kUp, place, ffn, config_.hidden_size, config_.mlp_bias));
    out.up.parts.push_back(std::move(up));
  }
  RUVLLM_ASSIGN(out.down,
                load_linear(Role::kDown, place, config_.hidden_size, ffn, config_.mlp_bias));
  return {};
}

Status WeightLoader::load_experts(int32_t layer, LayerWeights& out) {
  const int64_t width = config_.hidden_size;
  const int64_t ffn = config_.expert_ffn_size;
  RUVLLM_ASSIGN(out.router, load_linear(Role::kRouter, {layer}, config_.num_experts, width, false));
  for (int32_t expert = 0; expert < config_.num_experts; ++expert) {
    const TensorPlace place{layer, expert};
    std::vector<Source> up;
    if (finder_.has(Role::kExpertsGateUp, place)) {
      RUVLLM_ASSIGN(const Source both,
                    find_expert(Role::kExpertUp, Role::kExpertsGateUp, place, 2 * ffn, width));
      up = {both};
    } else {
      RUVLLM_ASSIGN(const Source gate,
                    find_expert(Role::kExpertGate, Role::kExpertsGate, place, ffn, width));
      RUVLLM_ASSIGN(const Source upper,
                    find_expert(Role::kExpertUp, Role::kExpertsUp, place, ffn, width));
      up = {gate, upper};
    }
    RUVLLM_ASSIGN(auto gate_up, make(up, {args_.compute, false}));
    RUVLLM_ASSIGN(const Source lower,
                  find_expert(Role::kExpertDown, Role::kExpertsDown, place, width, ffn));
    RUVLLM_ASSIGN(auto down, make({&lower, 1}, {args_.compute, false}));
    out.experts_gate_up.push_back(std::move(gate_up));
    out.experts_down.push_back(std::move(down));
  }
  return {};
}

Status WeightLoader::load_layer(int32_t layer, LayerWeights& out) {
  RUVLLM_TRY(load_norms(layer, out));
  RUVLLM_TRY(load_attention(layer, out));
  return config_.layers[static_cast<size_t>(layer)].moe ? load_experts(layer, out)
                                                        : load_dense_mlp(layer, out);
}

// A GGUF file without an output matrix means: the embedding.
bool WeightLoader::tied() const {
  return config_.tied_embeddings ||
         (args_.names == NameStyle::kGguf && !finder_.has(Role::kLmHead));
}

Status WeightLoader::load_output() {
  RUVLLM_ASSIGN(weights_.final_norm,
                load_norm(Role::kFinalNorm, {}, config_.hidden_size, config_.norm_bias));
  if (tied()) {
    finder_.ignore(Role::kLmHead);  // some files store the same matrix twice
    return {};
  }
  RUVLLM_ASSIGN(weights_.lm_head, load_linear(Role::kLmHead, {}, config_.vocab_size,
                                              config_.hidden_size, config_.lm_head_bias));
  return {};
}

Result<ModelWeights> WeightLoader::load() {
  // A table that no product reads is left as the file has it.
  const WeightOptions table{args_.compute, true, !tied()};
  RUVLLM_ASSIGN(const Source embedding,
                find_matrix(Role::kEmbedding, {}, config_.vocab_size, config_.hidden_size));
  RUVLLM_ASSIGN(weights_.embedding, make({&embedding, 1}, table));
  if (config_.learned_positions) {
    RUVLLM_ASSIGN(const Source positions, find_matrix(Role::kPositionEmbedding, {},
                                                      config_.max_positions, config_.hidden_size));
    RUVLLM_ASSIGN(weights_.position_embedding, make({&positions, 1}, {args_.compute, true, true}));
  }
  for (int32_t layer = 0; layer < config_.num_layers(); ++layer) {
    LayerWeights loaded;
    RUVLLM_TRY(load_layer(layer, loaded));
    weights_.layers.push_back(std::move(loaded));
    args_.progress(layer + 1, config_.num_layers());
  }
  RUVLLM_TRY(load_output());
  RUVLLM_TRY(finder_.check_leftovers(config_.num_layers()));
  uint64_t most = 0;
  for (const auto& [layout, bytes] : layout_bytes_) {
    if (bytes > most) weights_.main_layout = layout;
    most = std::max(most, bytes);
  }
  return std::move(weights_);
}

}  // namespace

Result<ModelWeights> load_weights(const WeightLoadArgs& args) {
  return WeightLoader(args).load();
}

}  // namespace ruvllm
