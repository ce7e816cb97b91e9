// Input scales moved into the weights of the norm before: for layouts of files that have no place
// for them. Inside the engine scales stay with their matrix (adapters read the same inputs); a file
// that others read has to fold.
//
// Only matrices that alone read a norm can be folded so: q, k, v and gate, up of a layer that
// normalizes first. Quantizers of such a file ask follows_norm() before they scale (elsewhere they
// search ranges only). Pure; any thread.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "formats/checkpoint.h"
#include "spec/weight_names.h"

namespace ruvllm {

bool follows_norm(const ModelConfig& config, Role role);

struct FoldedScales {
  std::unordered_map<std::string, std::vector<float>> norms;  // tensor -> its new values [E]
  std::unordered_set<std::string> matrices;                   // whose input scale is in there
};

// Failure: kUnsupported, naming a matrix whose scale cannot be folded.
Result<FoldedScales> fold_scales(const Checkpoint& checkpoint);

}  // namespace ruvllm
