// ModelConfig: what a checkpoint says about its model, in one vocabulary for every family and file
// format. Filled by formats/ (from config.json or GGUF metadata), checked there, constant after.
// Families differ by values here (traits), not by code: the decoder reads only this.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ruvllm {

enum class Family : uint8_t {
  kLlama,
  kMistral,
  kMixtral,
  kQwen2,
  kQwen3,
  kQwen3Moe,
  kPhi,
  kPhi3,
  kGemma,
  kGemma2,
  kGemma3,
  kStarcoder2,
  kOlmo2,
  kGranite,
  kSmolLm3,
  kGpt2,
};

enum class NormKind : uint8_t { kRms, kLayer };
enum class Activation : uint8_t { kSilu, kGeluTanh, kGeluErf, kRelu };
enum class QkNorm : uint8_t {
  kNone,
  kPerHead,  // over D, one weight [D] for all heads (Qwen3, Gemma 3)
  kFull,     // over all heads at once, weight [H*D] / [K*D] (OLMo 2)
};

// Where the norms and residual additions of a layer stand.
enum class BlockForm : uint8_t {
  kPreNorm,   // x += attn(norm(x)); x += mlp(norm(x))
  kPostNorm,  // x += norm(attn(x)); x += norm(mlp(x))                      (OLMo 2)
  kSandwich,  // x += norm(attn(norm(x))); x += norm(mlp(norm(x)))          (Gemma 2, 3)
  kParallel,  // x += attn(norm(x)) + mlp(norm(x)), one norm                (Phi)
};

enum class RopeScaling : uint8_t { kNone, kLinear, kYarn, kLlama3, kLongRope };

// How the two halves of a rotation pair lie in a head.
enum class RopeLayout : uint8_t {
  kHalves,       // (i, i + rotary_dim/2): Hugging Face files, most GGUF architectures
  kInterleaved,  // (2i, 2i + 1): GGUF files of the llama architecture (rows permuted on export)
};

struct RopeConfig {
  double theta = 10000.0;
  int32_t rotary_dim = 0;  // rotated elements of a head, from its start; even
  RopeLayout layout = RopeLayout::kHalves;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;                 // linear, yarn, llama3
  double low_freq_factor = 1.0;        // llama3
  double high_freq_factor = 4.0;       // llama3
  int64_t original_max_positions = 0;  // yarn, llama3, longrope
  double beta_fast = 32.0;             // yarn
  double beta_slow = 1.0;              // yarn
  bool yarn_truncate = true;           // yarn: correction range rounded to whole dimensions
  // Multiplies cos and sin. 0: as the scaling's own rule computes it from the fields here.
  double attention_factor = 0.0;
  double mscale = 0.0;  // yarn, with mscale_all_dim (0: absent)
  double mscale_all_dim = 0.0;
  std::vector<float> short_factors;  // longrope, [rotary_dim / 2]
  std::vector<float> long_factors;   // longrope, [rotary_dim / 2]
  // Divides each inverse frequency; [rotary_dim / 2] or empty (GGUF rope_freqs.weight). When it is
  // given, scaling is kNone.
  std::vector<float> freq_divisors;
};

struct LayerConfig {
  int32_t window = 0;       // a query sees itself and window-1 tokens before it; 0: everything
  bool use_rope = true;     // false: no positions in this layer (SmolLM3)
  bool local_rope = false;  // rotates with rope_local instead of rope (Gemma 3)
  bool moe = false;         // the feed-forward part is a mixture of experts
};

struct ModelConfig {
  Family family = Family::kLlama;
  std::string architecture;  // as the file spells it: "LlamaForCausalLM", or GGUF "llama"

  int32_t vocab_size = 0;           // rows of the embedding [V, E]
  int32_t hidden_size = 0;          // E
  int32_t ffn_size = 0;             // F (of dense layers)
  int32_t num_heads = 0;            // H
  int32_t num_kv_heads = 0;         // K, divides H
  int32_t head_dim = 0;             // D
  int64_t max_positions = 0;        // positions the model was made for
  std::vector<LayerConfig> layers;  // [L]

  BlockForm block_form = BlockForm::kPreNorm;
  NormKind norm = NormKind::kRms;
  float norm_eps = 1e-5f;
  bool norm_plus_one = false;  // multiply by (1 + w): Gemma's safetensors (not its GGUF)
  bool norm_bias = false;      // LayerNorm's bias
  QkNorm qk_norm = QkNorm::kNone;

  Activation activation = Activation::kSilu;
  bool gated_mlp = true;  // act(gate) * up; otherwise act(up)

  bool qkv_bias = false;
  bool attn_out_bias = false;
  bool mlp_bias = false;
  bool lm_head_bias = false;
  bool tied_embeddings = false;    // logits use the embedding matrix
  bool learned_positions = false;  // a position embedding [max_positions, E] is added (GPT-2)
  bool conv1d_weights = false;     // matrices stored [in, out] (GPT-2 safetensors)

  RopeConfig rope;
  RopeConfig rope_local;  // of layers with local_rope

  float embedding_scale = 1.0f;    // multiplies the embedding's output
  float residual_scale = 1.0f;     // multiplies each branch before it is added (Granite)
  float attention_scale = 0.0f;    // multiplies q.k; formats/ fills it in (1/sqrt(D) unless told)
  float attention_softcap = 0.0f;  // 0: none
  float logit_scale = 1.0f;        // multiplies the logits
  float logit_softcap = 0.0f;      // 0: none

  int32_t num_experts = 0;  // X
  int32_t experts_per_token = 0;
  int32_t expert_ffn_size = 0;  // F of one expert
  bool norm_topk_prob = true;   // the chosen experts' weights are rescaled to sum to 1
  // Weights are the softmax over all experts, of which the best are kept (true), or the softmax
  // over the kept ones (the same as true with norm_topk_prob).

  int32_t bos_id = -1;           // -1: none
  std::vector<int32_t> eos_ids;  // any of them ends a generation
  int32_t pad_id = -1;

  int32_t num_layers() const { return static_cast<int32_t>(layers.size()); }
};

}  // namespace ruvllm
