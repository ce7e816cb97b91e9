// The quantization_config of config.json in other projects' words, and which matrices fit one.
// Pure functions.
//
// Such a config describes one grid for all matrices; those kept as they are it lists by name.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "formats/foreign_pack.h"
#include "quantize/isq_matrices.h"

namespace ruvllm {

// kUnsupported, naming the first matrix that does not fit and what would.
Status check_foreign_matrices(ForeignLayout layout, const std::vector<IsqMatrix>& matrices);

// Of matrices that were checked.
Json::Object foreign_quantization(ForeignLayout layout, const std::vector<IsqMatrix>& matrices);

}  // namespace ruvllm
