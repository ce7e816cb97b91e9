// A dense pre-norm decoder as its gradient sees it (decoder_gradient.h): which matrices stand where
// in each layer, with the vectors beside them. Values; constant after they were found; any thread.
#pragma once

#include <vector>

#include "quantize/isq_matrices.h"

namespace ruvllm {

// Matrices that read one input, stacked by rows: y = W x + bias.
struct StackedMatrices {
  struct Part {
    size_t matrix;  // of the list of matrices
    int64_t first;  // its first row in the stack
    int64_t rows;
  };
  std::vector<Part> parts;
  int64_t rows = 0;         // N of all
  int64_t cols = 0;         // K
  std::vector<float> bias;  // [N] or empty
};

struct DecoderLayer {
  std::vector<float> attn_norm;  // [E]; norms are what is multiplied with: 1 + w where w is stored
  std::vector<float> mlp_norm;   // [E]
  std::vector<float> q_norm;     // [D], [H * D] or empty
  std::vector<float> k_norm;     // [D], [K * D] or empty
  StackedMatrices qkv;           // [(H + 2K) * D, E]
  StackedMatrices attn_out;      // [E, H * D]
  StackedMatrices gate_up;       // [2F, E]
  StackedMatrices down;          // [E, F]
};

struct DecoderParts {
  std::vector<DecoderLayer> layers;
  std::vector<float> final_norm;  // [E]
  size_t embedding = 0;           // indices of the list of matrices
  size_t output = 0;              // the embedding where they are tied
  std::vector<float> output_bias;
};

// Whether such a model's gradient is computed here: RMSNorm before each branch, rotary positions,
// gated dense feed-forward parts; biases, norms of heads, windows and scales of any kind.
// kUnsupported naming what the model has.
Status check_has_gradient(const ModelConfig& config);

// Checks that, too. kBadFile naming a tensor that is missing or of another shape, kUnsupported one
// that is quantized already.
Result<DecoderParts> find_decoder_parts(const Checkpoint& checkpoint,
                                        const std::vector<IsqMatrix>& matrices);

// The matrices' elements, as whoever computes with them wants to see them. Any thread.
class MatrixRows {
 public:
  virtual ~MatrixRows() = default;
  // Row n of a matrix, [K].
  virtual void read(size_t matrix, int64_t row, float* out) const = 0;
};

// As they are stored.
class StoredRows final : public MatrixRows {
 public:
  explicit StoredRows(const std::vector<IsqMatrix>& matrices) : matrices_(matrices) {}
  void read(size_t matrix, int64_t row, float* out) const override {
    read_matrix_row(matrices_[matrix], row, out);
  }

 private:
  const std::vector<IsqMatrix>& matrices_;
};

}  // namespace ruvllm
