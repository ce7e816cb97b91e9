// Ops: the whole-tensor operations a model is made of, and the seam between the model and a device.
//
// ops/reference is a complete device in plain loops and the oracle of every other; ops/cpu has
// threads and vector kernels. Activations are f32 rows; what a matrix product rounds its input to
// (nothing, bf16, int8 per group) is the device's business, decided when the Weight is made from
// WeightOptions::compute and documented in docs/numerics.md.
//
// Batch invariance: the values of an output row depend on that row's inputs only, bit for bit,
// never on how many rows stand beside it, on chunking, page size or the number of threads.
//
// Threads: an Ops object belongs to one engine loop; calls are made one at a time (they use the
// object's scratch memory and thread pool), but for make_weight of f32 sources as stored, which
// uses neither and may run beside any other call: that is how an X-LoRA's classifier is loaded
// while the loop computes. Weights are immutable and may be read from anywhere.
// Memory: scratch grows on first use of a larger shape and is then kept; reserve() sizes it ahead,
// after which a step allocates nothing. Failure: only the load-time calls can fail; a step call
// with wrong shapes is a broken invariant (RUVLLM_CHECK).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "ops/lora_batch.h"
#include "ruvllm/options.h"
#include "ruvllm/result.h"
#include "spec/model_config.h"
#include "tensor/tensor_view.h"

namespace ruvllm {

// A weight matrix [N, K] in the device's own layout. y = x W^T. Owned by the model.
class Weight {
 public:
  virtual ~Weight() = default;
  int64_t rows() const { return rows_; }  // N, outputs
  int64_t cols() const { return cols_; }  // K, inputs
  uint64_t bytes() const { return bytes_; }
  std::string_view layout() const { return layout_; }  // e.g. "bf16", "q8_0", "q4_k"

 protected:
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  uint64_t bytes_ = 0;            // memory it keeps (mapped file bytes included)
  std::string_view layout_ = "";  // static string
};

struct WeightOptions {
  ComputeType compute = ComputeType::kAuto;  // kF32: exact
  bool is_embedding = false;  // also read by embed(): rows must be recoverable exactly
  // Read by embed() and by no product: a file's bytes stay as they are.
  bool embedding_only = false;
};

class QuantizedSource;

// One source of a weight: a matrix of the checkpoint. `view` is [N, K], or [K, N] when transposed
// (GPT-2). The bytes must stay valid while the Weight lives (it may keep pointing at them).
struct WeightSource {
  TensorView view;
  bool transposed = false;
  // Not null: the elements come from here, read during make_weight; `view` has the shape only.
  const QuantizedSource* quantized = nullptr;
};

struct MatmulArgs {
  ConstMatrixF32 x;                // [T, K]
  const Weight* weight = nullptr;  // [N, K]
  const float* bias = nullptr;     // [N] or null
  ConstMatrixF32 delta;            // [T, N] or absent: adapters; added before bias
  ConstMatrixF32 residual;         // [T, N] or absent: y = residual + branch_scale * (...)
  float branch_scale = 1.0f;
  MatrixF32 y;  // [T, N]; may be the same memory as residual, not as x
};

// The KV cache of one layer, in pages ("blocks") of block_tokens tokens. Block b begins at
// blocks[b]; in it the keys of this layer begin at k_offset_bytes and the values at v_offset_bytes,
// head after head. How a head's part is laid out is the matter of ops/kv_layout.h; whoever manages
// blocks may copy whole ones and nothing else.
struct KvLayerView {
  std::byte* const* blocks = nullptr;
  int64_t k_offset_bytes = 0;
  int64_t v_offset_bytes = 0;
  DType dtype = DType::kF32;  // f32, bf16, f16, or i8: codes with a scale per token and head
  int32_t block_tokens = 0;
  int32_t num_kv_heads = 0;  // K
  int32_t head_dim = 0;      // D
};

// One sequence of a step: `num_tokens` consecutive rows beginning at row `first_row`, standing at
// positions first_position ... of the sequence, whose block ids are in order in block_table.
struct SequenceSpan {
  int64_t first_row = 0;
  int64_t num_tokens = 0;
  int64_t first_position = 0;
  std::span<const int32_t> block_table;
};

struct KvWriteArgs {
  ConstMatrixF32 k;  // [T, K*D], rotated already
  ConstMatrixF32 v;  // [T, K*D]
  KvLayerView kv;
  std::span<const SequenceSpan> sequences;
};

struct AttentionArgs {
  ConstMatrixF32 q;  // [T, H*D], rotated already
  MatrixF32 out;     // [T, H*D]
  KvLayerView kv;    // holds the keys and values of this step's rows too
  std::span<const SequenceSpan> sequences;
  int32_t num_heads = 0;  // H
  int32_t window = 0;     // 0: none
  float scale = 1.0f;
  float softcap = 0.0f;  // 0: none; otherwise s -> cap * tanh(s / cap)
  // Sequences of one token whose block tables begin with the same blocks (a common prefix) may have
  // those read once for all of them. The device finds them by itself; no bit of the result changes.
  // Off is for measuring and testing.
  bool share_prefixes = true;
};

struct RopeArgs {
  MatrixF32 x;  // [T, heads*D], in place
  int32_t num_heads = 0;
  int32_t head_dim = 0;
  int32_t rotary_dim = 0;
  RopeLayout layout = RopeLayout::kHalves;
  ConstMatrixF32 cos;  // [T, rotary_dim / 2]
  ConstMatrixF32 sin;  // [T, rotary_dim / 2]
};

struct NormArgs {
  ConstMatrixF32 x;               // [T, C]; C = groups * norm_size
  const float* weight = nullptr;  // [norm_size]; for groups > 1 every group uses the same
  const float* bias = nullptr;    // [norm_size] or null (layer norm only)
  float eps = 0.0f;
  bool plus_one = false;  // multiply by (1 + weight)
  int32_t groups = 1;     // each of these many parts of a row is normalized alone (heads)
  MatrixF32 y;            // [T, C]; may be x
};

// Mixture of experts: y[t] = residual[t] + branch_scale * sum_j w[t,j] * down_e(act(gate_e x) *
// up_e x)
struct MoeArgs {
  ConstMatrixF32 x;              // [T, E]
  ConstMatrixF32 router_logits;  // [T, X]
  int32_t experts_per_token = 0;
  bool norm_topk_prob = true;
  Activation activation = Activation::kSilu;
  std::span<const std::unique_ptr<Weight>> gate_up;  // [X] of [2F, E]: gate rows, then up rows
  std::span<const std::unique_ptr<Weight>> down;     // [X] of [E, F]
  ConstMatrixF32 residual;                           // [T, E] or absent
  float branch_scale = 1.0f;
  MatrixF32 y;  // [T, E]; may be residual
};

// The largest shapes a step will have, for reserve().
struct StepLimits {
  int64_t max_rows = 0;
  int64_t max_columns = 0;  // widest activation row
  int64_t max_context = 0;
};

class Ops {
 public:
  virtual ~Ops() = default;
  virtual std::string_view name() const = 0;     // "reference", "cpu"
  virtual std::string_view kernels() const = 0;  // ISA in use, e.g. "avx2"
  virtual void reserve(const StepLimits& limits) = 0;

  // Makes one matrix of the sources, stacked by rows in order (a fused QKV has three). All sources
  // have the same K; N is the sum. Fails with kUnsupported naming a format it cannot run.
  virtual Result<std::unique_ptr<Weight>> make_weight(std::span<const WeightSource> sources,
                                                      const WeightOptions& options) = 0;

  // out[t] = scale * row ids[t] of the table.
  virtual void embed(const Weight& table, std::span<const int32_t> ids, float scale,
                     MatrixF32 out) = 0;
  virtual void rms_norm(const NormArgs& args) = 0;
  virtual void layer_norm(const NormArgs& args) = 0;
  virtual void matmul(const MatmulArgs& args) = 0;
  // What adapters add to a product: MatmulArgs::delta. Unless overridden, plain loops.
  virtual void lora_delta(const LoraArgs& args);
  virtual void rope(const RopeArgs& args) = 0;
  virtual void kv_write(const KvWriteArgs& args) = 0;
  virtual void attention(const AttentionArgs& args) = 0;
  // y = act(gate_up[:, :F]) * gate_up[:, F:]
  virtual void activate_and_multiply(ConstMatrixF32 gate_up, Activation activation,
                                     MatrixF32 y) = 0;
  // The same of a product: gate_up is what matmul(args) gives, without residual. args.y [T, 2F] is
  // room for it and undefined afterwards. Unless overridden, one after the other.
  virtual void gated_matmul(const MatmulArgs& args, Activation activation, MatrixF32 y) {
    matmul(args);
    activate_and_multiply(args.y, activation, y);
  }
  virtual void activate(MatrixF32 x, Activation activation) = 0;  // in place
  // x += scale * y
  virtual void add(MatrixF32 x, ConstMatrixF32 y, float scale) = 0;
  virtual void moe(const MoeArgs& args) = 0;
  // logits = softcap(scale * logits), in place; softcap 0: none
  virtual void finish_logits(MatrixF32 logits, float scale, float softcap) = 0;
};

// Plain loops, one thread, f32, weights dequantized exactly.
std::unique_ptr<Ops> make_reference_ops();
// Threads and vector kernels. num_threads 0: default_num_threads(). RUVLLM_ISA forces an ISA;
// kUnsupported when this machine or this build lacks it.
Result<std::unique_ptr<Ops>> make_cpu_ops(int num_threads);

}  // namespace ruvllm
