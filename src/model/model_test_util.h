// Tests only: a small model in memory, its tensors named as a checkpoint names them.
#pragma once

#include <cmath>
#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "base/str.h"
#include "model/weights.h"

namespace ruvllm::test {

inline ModelConfig tiny_config() {
  ModelConfig config;
  config.vocab_size = 48;
  config.hidden_size = 32;
  config.ffn_size = 64;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 8;
  config.max_positions = 128;
  config.layers.resize(2);
  config.rope.rotary_dim = 8;
  config.attention_scale = 1.0f / std::sqrt(8.0f);
  return config;
}

// Tensors with values of a small fixed pattern that differs from name to name.
class TensorSet {
 public:
  void add(const std::string& name, std::vector<int64_t> shape) {
    int64_t count = 1;
    for (const int64_t extent : shape) count *= extent;
    std::vector<float> values(static_cast<size_t>(count));
    uint32_t state = 1;
    for (const char c : name) state = state * 31u + static_cast<uint8_t>(c);
    for (float& value : values) {
      state = state * 1664525u + 1013904223u;
      value = static_cast<float>(static_cast<int32_t>(state >> 16) - 32768) / 131072.0f;
    }
    add(name, std::move(shape), std::move(values));
  }
  void add(const std::string& name, std::vector<int64_t> shape, std::vector<float> values) {
    storage_.push_back(std::move(values));
    FileTensor tensor;
    tensor.name = name;
    tensor.file = "tiny.safetensors";
    tensor.view = make_view(storage_.back().data(), DType::kF32, {});
    tensor.view.rank = static_cast<int>(shape.size());
    int64_t stride = 1;
    for (size_t i = shape.size(); i-- > 0;) {
      tensor.view.shape[i] = shape[i];
      tensor.view.stride[i] = stride;
      stride *= shape[i];
    }
    tensors.push_back(std::move(tensor));
  }
  FileTensor* find(const std::string& name) {
    for (FileTensor& tensor : tensors) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  }
  std::vector<float> values(const std::string& name) {
    const TensorView& view = find(name)->view;
    const auto* data = reinterpret_cast<const float*>(view.data);
    return {data, data + view.num_elements()};
  }
  void remove(const std::string& name) {
    std::erase_if(tensors, [&name](const FileTensor& tensor) { return tensor.name == name; });
  }

  std::vector<FileTensor> tensors;

 private:
  std::deque<std::vector<float>> storage_;
};

// The tensors of a dense llama, as Hugging Face names them.
inline void add_llama(TensorSet& set, const ModelConfig& config, const std::string& prefix) {
  const int64_t e = config.hidden_size;
  const int64_t q = config.num_heads * config.head_dim;
  const int64_t kv = config.num_kv_heads * config.head_dim;
  set.add(prefix + "embed_tokens.weight", {config.vocab_size, e});
  set.add(prefix + "norm.weight", {e});
  set.add("lm_head.weight", {config.vocab_size, e});
  for (int32_t l = 0; l < config.num_layers(); ++l) {
    const std::string layer = concat(prefix, "layers.", l, ".");
    set.add(layer + "input_layernorm.weight", {e});
    set.add(layer + "post_attention_layernorm.weight", {e});
    set.add(layer + "self_attn.q_proj.weight", {q, e});
    set.add(layer + "self_attn.k_proj.weight", {kv, e});
    set.add(layer + "self_attn.v_proj.weight", {kv, e});
    set.add(layer + "self_attn.o_proj.weight", {e, q});
    set.add(layer + "mlp.gate_proj.weight", {config.ffn_size, e});
    set.add(layer + "mlp.up_proj.weight", {config.ffn_size, e});
    set.add(layer + "mlp.down_proj.weight", {e, config.ffn_size});
  }
}

inline Result<ModelWeights> load(const TensorSet& set, const ModelConfig& config, Ops& ops,
                                 NameStyle names = NameStyle::kHuggingFace,
                                 ComputeType compute = ComputeType::kF32) {
  const auto ignore = [](int64_t, int64_t) {};
  return load_weights({config, names, set.tensors, "tiny", ops, compute, ignore});
}

}  // namespace ruvllm::test
