// LoraBatch: which rows of a step have an adapter, and what it adds to which matrix product. Plain
// values and views; lora/ makes the tables, model/linear passes them on, a device computes with
// them (Ops::lora_delta).
//
// What an adapter adds at one module is a term: delta = gate * scale * (x A^T) B^T, for the columns
// of the module inside its site. A site is a matrix of the model as it is multiplied, so q, k and v
// are column ranges of one site, and so are gate and up.
//
// Nothing here owns the numbers: a table is valid while the adapters it was made of live.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/tensor_view.h"

namespace ruvllm {

inline constexpr int32_t kMaxLoraRank = 1024;

enum class LoraSite : uint8_t {
  kEmbedding,  // [E]
  kLmHead,     // [V]
  kQkv,        // [(H + 2K) * D]
  kAttnOut,    // [E]
  kUp,         // [2F] gate, then up; [F] without a gate
  kDown,       // [E]
};

// B stands in panels of so many columns, rank after rank, so that adding it is one stream of
// memory; the last panel is filled up with zeros.
inline constexpr int64_t kLoraPanel = 32;
inline int64_t lora_panel_index(int64_t column, int64_t j, int64_t rank) {
  return (column / kLoraPanel * rank + j) * kLoraPanel + column % kLoraPanel;
}
inline int64_t lora_panel_elements(int64_t columns, int64_t rank) {
  return (columns + kLoraPanel - 1) / kLoraPanel * kLoraPanel * rank;
}

struct LoraTerm {
  const void* a = nullptr;    // [R, K]; of the embedding [V, R]
  const void* b = nullptr;    // [panels][R][kLoraPanel]: see lora_panel_index
  DType dtype = DType::kF32;  // of a and b: f32 or bf16
  int32_t rank = 0;           // R
  int64_t first_column = 0;   // of the site's output
  int64_t num_columns = 0;
  float scale = 1.0f;
  int32_t gate = -1;  // the column of the row's gates that multiplies it too; -1: none
};

// The terms of every site, in the order they are added.
class LoraTable {
 public:
  LoraTable() = default;
  explicit LoraTable(int32_t num_layers) : sites_(2 + 4 * static_cast<size_t>(num_layers)) {}

  std::span<const LoraTerm> at(LoraSite site, int32_t layer) const {
    return sites_[index(site, layer)];
  }
  void add(LoraSite site, int32_t layer, const LoraTerm& term) {
    sites_[index(site, layer)].push_back(term);
  }
  // Layers before this one have no term, nor has the embedding; at most the last layer.
  int32_t first_layer() const {
    if (sites_.size() <= 2 || !at(LoraSite::kEmbedding, 0).empty()) return 0;
    size_t site = 2;
    while (site + 4 < sites_.size() && sites_[site].empty()) ++site;
    return static_cast<int32_t>((site - 2) / 4);
  }

 private:
  static size_t index(LoraSite site, int32_t layer) {
    const auto number = static_cast<size_t>(site);
    return number < 2 ? number : number + 4 * static_cast<size_t>(layer);
  }
  std::vector<std::vector<LoraTerm>> sites_;
};

// Rows of a step that share a table.
struct LoraGroup {
  const LoraTable* table = nullptr;
  std::span<const int32_t> rows;  // of the step
  ConstMatrixF32 gates;           // [T, columns] by row of the step; absent: no term has a gate
};

struct LoraBatch {
  std::span<const LoraGroup> groups;  // a row is in at most one
};

// One call for one site.
struct LoraArgs {
  struct Rows {
    std::span<const LoraTerm> terms;
    std::span<const int32_t> rows;  // of x (or ids) and delta
    ConstMatrixF32 gates;           // by row of x
  };
  ConstMatrixF32 x;              // [T, K]
  std::span<const int32_t> ids;  // [T], instead of x: x is one-hot (the embedding)
  std::span<const Rows> groups;
  MatrixF32 delta;  // [T, N]; rows and columns without a term become -0.0, which changes no sum
};

}  // namespace ruvllm
