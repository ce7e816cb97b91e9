// Tests only: GGUF files made in memory.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf.h"
#include "formats/gguf_config.h"

namespace ruvllm {

// Builds GGUF files, right or wrong ones.
class GgufBuilder {
 public:
  template <typename T>
  static std::string raw(T value) {
    std::string out(sizeof value, '\0');
    std::memcpy(out.data(), &value, sizeof value);
    return out;
  }
  static std::string text(std::string_view value) {
    return raw<uint64_t>(value.size()) + std::string(value);
  }
  GgufBuilder& entry(std::string_view key, GgufType type, const std::string& value) {
    entries_ += text(key) + raw(static_cast<uint32_t>(type)) + value;
    ++num_entries_;
    return *this;
  }
  GgufBuilder& u32(std::string_view key, uint32_t value) {
    return entry(key, GgufType::kU32, raw(value));
  }
  GgufBuilder& f32(std::string_view key, float value) {
    return entry(key, GgufType::kF32, raw(value));
  }
  GgufBuilder& string(std::string_view key, std::string_view value) {
    return entry(key, GgufType::kString, text(value));
  }
  GgufBuilder& array(std::string_view key, GgufType type, const std::vector<std::string>& items) {
    std::string value = raw(static_cast<uint32_t>(type)) + raw<uint64_t>(items.size());
    for (const std::string& item : items) value += item;
    return entry(key, GgufType::kArray, value);
  }
  // An f32 tensor of zeros (or of `value`); dims innermost first.
  GgufBuilder& tensor(std::string_view name, const std::vector<uint64_t>& dims,
                      float value = 0.0f) {
    infos_ += text(name) + raw(static_cast<uint32_t>(dims.size()));
    uint64_t elements = 1;
    for (const uint64_t dim : dims) {
      infos_ += raw(dim);
      elements *= dim;
    }
    infos_ += raw<uint32_t>(0) + raw<uint64_t>(data_.size());
    for (uint64_t i = 0; i < elements; ++i) data_ += raw(value);
    data_.resize((data_.size() + 31) / 32 * 32);
    ++num_tensors_;
    return *this;
  }
  std::string build(uint32_t version = 3) const {
    std::string out = "GGUF" + raw(version) + raw(num_tensors_) + raw(num_entries_) + entries_;
    out += infos_;
    out.resize((out.size() + 31) / 32 * 32);
    return out + data_;
  }

 private:
  std::string entries_;
  std::string infos_;
  std::string data_;
  uint64_t num_entries_ = 0;
  uint64_t num_tensors_ = 0;
};

inline std::span<const std::byte> as_bytes(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// A small model of the architecture: 2 layers, E 32, 4 heads on 2, vocabulary 16.
inline GgufBuilder model(const std::string& arch, bool layer_norm = false) {
  GgufBuilder b;
  b.string("general.architecture", arch);
  b.u32(arch + ".context_length", 64).u32(arch + ".embedding_length", 32);
  b.u32(arch + ".block_count", 2).u32(arch + ".feed_forward_length", 48);
  b.u32(arch + ".attention.head_count", 4).u32(arch + ".attention.head_count_kv", 2);
  b.f32(arch + (layer_norm ? ".attention.layer_norm_epsilon" : ".attention.layer_norm_rms_epsilon"),
        1e-5f);
  b.tensor("token_embd.weight", {32, 16});
  return b;
}

inline Result<ModelConfig> config_of(const GgufBuilder& builder) {
  const std::string file = builder.build();
  auto parsed = parse_gguf(as_bytes(file), "f");
  if (!parsed) return std::unexpected(parsed.error());
  return gguf_model_config(*parsed);
}

}  // namespace ruvllm
