#include "quantize/decoder_parts.h"

#include <algorithm>
#include <span>
#include <utility>

#include "base/str.h"
#include "model/tensor_finder.h"

namespace ruvllm {
namespace {

class PartFinder {
 public:
  PartFinder(const Checkpoint& checkpoint, const std::vector<IsqMatrix>& matrices)
      : checkpoint_(checkpoint),
        config_(checkpoint.config),
        matrices_(matrices),
        finder_(config_.family, checkpoint.names, checkpoint.tensors, checkpoint.path) {}

  Result<DecoderParts> run() {
    DecoderParts out;
    for (size_t i = 0; i < matrices_.size(); ++i) {
      if (matrices_[i].kind == MatrixKind::kEmbedding) out.embedding = out.output = i;
    }
    for (size_t i = 0; i < matrices_.size(); ++i) {
      if (matrices_[i].kind == MatrixKind::kHead) out.output = i;
    }
    for (const size_t i : {out.embedding, out.output}) {
      RUVLLM_TRY(check_matrix(i, config_.vocab_size, config_.hidden_size));
    }
    RUVLLM_ASSIGN(out.final_norm, norm(Role::kFinalNorm, {}, config_.hidden_size));
    if (config_.lm_head_bias) {
      RUVLLM_ASSIGN(out.output_bias,
                    finder_.read_vector(Role::kLmHead, {}, config_.vocab_size, true));
    }
    for (int32_t layer = 0; layer < config_.num_layers(); ++layer) {
      RUVLLM_TRY(add_layer({layer}, out.layers.emplace_back()));
    }
    return out;
  }

 private:
  struct Part {
    Role role;
    int64_t rows;
  };

  Status add_layer(TensorPlace place, DecoderLayer& out) {
    const int64_t width = config_.hidden_size, ffn = config_.ffn_size;
    const int64_t q = int64_t{config_.num_heads} * config_.head_dim;
    const int64_t kv = int64_t{config_.num_kv_heads} * config_.head_dim;
    RUVLLM_ASSIGN(out.attn_norm, norm(Role::kAttnNorm, place, width));
    RUVLLM_ASSIGN(out.mlp_norm, norm(Role::kMlpNorm, place, width));
    if (config_.qk_norm != QkNorm::kNone) {
      const bool full = config_.qk_norm == QkNorm::kFull;
      RUVLLM_ASSIGN(out.q_norm, norm(Role::kQNorm, place, full ? q : config_.head_dim));
      RUVLLM_ASSIGN(out.k_norm, norm(Role::kKNorm, place, full ? kv : config_.head_dim));
    }
    const Part qkv[] = {{Role::kQ, q}, {Role::kK, kv}, {Role::kV, kv}};
    const Part gate_up[] = {{Role::kGate, ffn}, {Role::kUp, ffn}};
    const Part attn_out[] = {{Role::kAttnOut, width}};
    const Part down[] = {{Role::kDown, width}};
    RUVLLM_TRY(stack(Role::kQkv, qkv, place, width, config_.qkv_bias, out.qkv));
    RUVLLM_TRY(stack(Role::kAttnOut, attn_out, place, q, config_.attn_out_bias, out.attn_out));
    RUVLLM_TRY(stack(Role::kGateUp, gate_up, place, width, config_.mlp_bias, out.gate_up));
    return stack(Role::kDown, down, place, ffn, config_.mlp_bias, out.down);
  }

  // The matrix `fused` where the file has it, else the parts.
  Status stack(Role fused, std::span<const Part> parts, TensorPlace place, int64_t cols, bool bias,
               StackedMatrices& out) {
    out.cols = cols;
    for (const Part& part : parts) out.rows += part.rows;
    const Part whole = {fused, out.rows};
    if (finder_.has(fused, place)) parts = {&whole, 1};
    int64_t first = 0;
    for (const Part& part : parts) {
      const auto found = std::ranges::find_if(matrices_, [&](const IsqMatrix& matrix) {
        return matrix.layer == place.layer && matrix.role == part.role;
      });
      if (found == matrices_.end()) {
        return fail(ErrorCode::kBadFile,
                    concat(checkpoint_.path, ": no tensor ", finder_.name_of(part.role, place)));
      }
      const auto index = static_cast<size_t>(found - matrices_.begin());
      RUVLLM_TRY(check_matrix(index, part.rows, cols));
      out.parts.push_back({index, first, part.rows});
      // GGUF metadata does not say which biases there are; their presence does.
      if (bias || (checkpoint_.names == NameStyle::kGguf && finder_.has_bias(part.role, place))) {
        out.bias.resize(static_cast<size_t>(out.rows));
        RUVLLM_ASSIGN(const std::vector<float> values,
                      finder_.read_vector(part.role, place, part.rows, true));
        std::ranges::copy(values, out.bias.begin() + first);
      }
      first += part.rows;
    }
    return {};
  }

  Result<std::vector<float>> norm(Role role, TensorPlace place, int64_t size) {
    RUVLLM_ASSIGN(std::vector<float> weight, finder_.read_vector(role, place, size, false));
    if (config_.norm_plus_one) {
      for (float& w : weight) w += 1.0f;
    }
    return weight;
  }

  Status check_matrix(size_t index, int64_t rows, int64_t cols) const {
    const IsqMatrix& matrix = matrices_[index];
    const DType dtype = matrix.view.dtype;
    if (matrix.tensor->quantized != nullptr ||
        (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16)) {
      return fail(
          ErrorCode::kUnsupported,
          concat(matrix.tensor->file, ": tensor ", printable(matrix.name),
                 " is quantized already; isq: tuned: what is kept must be f32, f16 or bf16"));
    }
    if (matrix.rows() == rows && matrix.cols() == cols) return {};
    return fail(ErrorCode::kBadFile,
                concat(matrix.tensor->file, ": tensor ", printable(matrix.name), ": found [",
                       matrix.rows(), ", ", matrix.cols(), "], expected [", rows, ", ", cols, "]"));
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  const std::vector<IsqMatrix>& matrices_;
  TensorFinder finder_;
};

}  // namespace

Status check_has_gradient(const ModelConfig& config) {
  const bool experts =
      std::ranges::any_of(config.layers, [](const LayerConfig& layer) { return layer.moe; });
  const bool local =
      std::ranges::any_of(config.layers, [](const LayerConfig& layer) { return layer.local_rope; });
  const std::pair<bool, std::string_view> lacks[] = {
      {local, "two kinds of rotary positions"},
      {experts, "a mixture of experts"},
      {config.norm == NormKind::kLayer, "LayerNorm"},
      {config.block_form == BlockForm::kPostNorm, "norms after its branches"},
      {config.block_form == BlockForm::kSandwich, "norms after its branches"},
      {config.block_form == BlockForm::kParallel, "attention and feed-forward part in parallel"},
      {!config.gated_mlp, "a feed-forward part without gate"},
      {config.learned_positions, "learned positions"},
      {config.attention_softcap != 0.0f, "a soft cap on attention"},
      {config.logit_softcap != 0.0f, "a soft cap on its logits"}};
  for (const auto& [has, what] : lacks) {
    if (!has) continue;
    return fail(ErrorCode::kUnsupported,
                concat("isq: tuned: the model has ", what,
                       ", whose gradient is not computed: use gptq or auto without :tuned"));
  }
  return {};
}

Result<DecoderParts> find_decoder_parts(const Checkpoint& checkpoint,
                                        const std::vector<IsqMatrix>& matrices) {
  RUVLLM_TRY(check_has_gradient(checkpoint.config));
  return PartFinder(checkpoint, matrices).run();
}

}  // namespace ruvllm
