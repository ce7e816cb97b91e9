// Input scales moved into the weights of the norm before: for layouts of files that have no place
// for them. Inside the engine scales stay with their matrix (adapters read the same inputs); a file
// that others read has to fold.
//
// A norm takes a scale only when everything that reads it does: q, k, v or gate, up of a layer that
// normalizes first, all quantized by one product. Where one of them is kept as it is or has a
// product of its own, where a router of experts reads the norm, or attention and feed-forward part
// share it, nothing is scaled. Quantizers of such a file ask can_fold() before they scale
// (elsewhere they search ranges only). An adapter that was trained on the model itself reads inputs
// that are scaled in such a file: it does not fit it. Pure; any thread.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "formats/checkpoint.h"
#include "quantize/isq_matrices.h"

namespace ruvllm {

// Whether a scale of the inputs of a product can be folded. `site`: the product's matrices that are
// quantized, indices into `matrices`, which list_matrices() gave.
bool can_fold(const ModelConfig& config, const std::vector<IsqMatrix>& matrices,
              const std::vector<size_t>& site);

struct FoldedScales {
  std::unordered_map<std::string, std::vector<float>> norms;  // tensor -> its new values [E]
  std::unordered_set<std::string> matrices;                   // whose input scale is in there
};

// Failure: kUnsupported, naming a matrix whose scale cannot be folded. Warns when norms took
// scales.
Result<FoldedScales> fold_scales(const Checkpoint& checkpoint);

}  // namespace ruvllm
