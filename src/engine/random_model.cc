#include "engine/random_model.h"

#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "base/str.h"
#include "tensor/dequantize.h"

namespace ruvllm {
namespace {

constexpr ModelShape kShapes[] = {
    {"llama-1b", 22, 2048, 5632, 32, 4, 32000, 2048, 0.02f},
    {"llama-8b", 32, 4096, 14336, 32, 8, 128256, 8192, 0.02f},
    {"llama-tiny", 2, 64, 160, 4, 2, 320, 128, 0.125f},
};

// A checkpoint and the memory its views point at.
struct OwnedCheckpoint {
  Checkpoint checkpoint;
  std::vector<std::unique_ptr<std::byte[]>> memory;
};

// Fills tensors from a pool of encoded random weights: every row is a run of blocks that begins at
// a random place of it, so a billion weights cost a copy each.
class WeightSource {
 public:
  WeightSource(DType dtype, float scale, uint64_t seed) : dtype_(dtype), seed_(seed) {
    std::vector<float> values(kPoolElements);
    for (size_t i = 0; i < values.size(); ++i) {
      // The sum of three uniform numbers in [-1, 1] has variance 1.
      double sum = 0.0;
      for (uint64_t j = 0; j < 3; ++j) sum += 2.0 * random_uniform(seed, j, i) - 1.0;
      values[i] = scale * static_cast<float>(sum);
    }
    uint64_t bytes = 0;
    valid_ = can_quantize(dtype) && row_bytes(dtype, kPoolElements, bytes);
    if (!valid_) return;
    pool_ = std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(bytes));
    quantize_row(dtype, values.data(), pool_.get(), kPoolElements);
  }

  bool valid() const { return valid_; }

  void fill(std::byte* out, int64_t rows, uint64_t bytes_per_row) {
    const DTypeInfo& info = dtype_info(dtype_);
    const auto block_bytes = static_cast<uint64_t>(info.block_bytes);
    const uint64_t pool_blocks = static_cast<uint64_t>(kPoolElements / info.block_elements);
    for (int64_t row = 0; row < rows; ++row) {
      uint64_t block = random_bits(seed_, 7, num_rows_++) % pool_blocks;
      for (uint64_t done = 0; done < bytes_per_row;) {
        const uint64_t count = std::min(bytes_per_row - done, (pool_blocks - block) * block_bytes);
        std::memcpy(out + done, pool_.get() + block * block_bytes, static_cast<size_t>(count));
        done += count;
        block = 0;
      }
      out += bytes_per_row;
    }
  }

 private:
  static constexpr int64_t kPoolElements = 1 << 18;
  DType dtype_;
  uint64_t seed_;
  uint64_t num_rows_ = 0;
  bool valid_ = false;
  std::unique_ptr<std::byte[]> pool_;
};

ModelConfig make_config(const ModelShape& shape) {
  ModelConfig config;
  config.family = Family::kLlama;
  config.architecture = "LlamaForCausalLM";
  config.vocab_size = shape.vocab_size;
  config.hidden_size = shape.hidden_size;
  config.ffn_size = shape.ffn_size;
  config.num_heads = shape.num_heads;
  config.num_kv_heads = shape.num_kv_heads;
  config.head_dim = shape.hidden_size / shape.num_heads;
  config.max_positions = shape.max_positions;
  config.layers.resize(static_cast<size_t>(shape.num_layers));
  config.rope.rotary_dim = config.head_dim;
  config.attention_scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  config.bos_id = 1;
  config.eos_ids = {2};
  return config;
}

class Builder {
 public:
  Builder(const ModelShape& shape, DType dtype, uint64_t seed)
      : shape_(shape), dtype_(dtype), source_(dtype, shape.weight_scale, seed) {}

  Result<std::shared_ptr<const Checkpoint>> build();

 private:
  Status matrix(std::string name, int64_t rows, int64_t cols);
  void norm(std::string name);
  std::byte* allocate(uint64_t bytes) {
    auto memory = std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(bytes));
    owner_->memory.push_back(std::move(memory));
    return owner_->memory.back().get();
  }
  void add(std::string name, TensorView view) {
    owner_->checkpoint.tensors.push_back({std::move(name), view, "memory", {}});
  }

  const ModelShape& shape_;
  DType dtype_;
  WeightSource source_;
  std::shared_ptr<OwnedCheckpoint> owner_ = std::make_shared<OwnedCheckpoint>();
};

Status Builder::matrix(std::string name, int64_t rows, int64_t cols) {
  uint64_t bytes_per_row = 0;
  if (!row_bytes(dtype_, cols, bytes_per_row)) {
    return fail(ErrorCode::kInvalidArgument,
                concat(name, ": rows of ", cols, " do not divide into blocks of ",
                       dtype_info(dtype_).name));
  }
  std::byte* data = allocate(bytes_per_row * static_cast<uint64_t>(rows));
  source_.fill(data, rows, bytes_per_row);
  add(std::move(name), make_view(data, dtype_, {rows, cols}));
  return {};
}

void Builder::norm(std::string name) {
  const int64_t size = shape_.hidden_size;
  auto* values = reinterpret_cast<float*>(allocate(static_cast<uint64_t>(size) * sizeof(float)));
  for (int64_t i = 0; i < size; ++i) values[i] = 1.0f;
  add(std::move(name), make_view(values, DType::kF32, {size}));
}

Result<std::shared_ptr<const Checkpoint>> Builder::build() {
  if (!source_.valid()) {
    return fail(ErrorCode::kUnsupported,
                concat("random weights cannot be made in ", dtype_info(dtype_).name));
  }
  Checkpoint& checkpoint = owner_->checkpoint;
  checkpoint.path = std::string(shape_.name);
  checkpoint.format = "memory";
  checkpoint.names = NameStyle::kHuggingFace;
  checkpoint.config = make_config(shape_);
  const int64_t hidden = shape_.hidden_size;
  const int64_t kv = int64_t{checkpoint.config.head_dim} * shape_.num_kv_heads;
  RUVLLM_TRY(matrix("model.embed_tokens.weight", shape_.vocab_size, hidden));
  for (int32_t i = 0; i < shape_.num_layers; ++i) {
    const std::string prefix = concat("model.layers.", i, ".");
    norm(prefix + "input_layernorm.weight");
    RUVLLM_TRY(matrix(prefix + "self_attn.q_proj.weight", hidden, hidden));
    RUVLLM_TRY(matrix(prefix + "self_attn.k_proj.weight", kv, hidden));
    RUVLLM_TRY(matrix(prefix + "self_attn.v_proj.weight", kv, hidden));
    RUVLLM_TRY(matrix(prefix + "self_attn.o_proj.weight", hidden, hidden));
    norm(prefix + "post_attention_layernorm.weight");
    RUVLLM_TRY(matrix(prefix + "mlp.gate_proj.weight", shape_.ffn_size, hidden));
    RUVLLM_TRY(matrix(prefix + "mlp.up_proj.weight", shape_.ffn_size, hidden));
    RUVLLM_TRY(matrix(prefix + "mlp.down_proj.weight", hidden, shape_.ffn_size));
  }
  norm("model.norm.weight");
  RUVLLM_TRY(matrix("lm_head.weight", shape_.vocab_size, hidden));
  for (size_t i = 0; i < checkpoint.tensors.size(); ++i) {
    checkpoint.index.emplace(checkpoint.tensors[i].name, i);
  }
  return std::shared_ptr<const Checkpoint>(owner_, &owner_->checkpoint);
}

}  // namespace

const ModelShape* find_shape(std::string_view name) {
  for (const ModelShape& shape : kShapes) {
    if (shape.name == name) return &shape;
  }
  return nullptr;
}

std::string_view known_shapes() {
  return "llama-1b, llama-8b, llama-tiny";
}

Result<std::shared_ptr<const Checkpoint>> make_random_checkpoint(const ModelShape& shape,
                                                                 DType dtype, uint64_t seed) {
  return Builder(shape, dtype, seed).build();
}

}  // namespace ruvllm
