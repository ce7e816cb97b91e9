// How well a model predicts a text, in the convention of llama.cpp's perplexity tool: the tokens
// are cut into chunks of `ctx`; each chunk's first token is replaced by BOS when the model has one;
// the tokens of the second half of each chunk are scored. With a reference model, its distribution
// at the same places is compared too.
//
// Pure apart from running the models; one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/edge_model.h"

namespace ruvllm {

struct PerplexityOptions {
  int64_t ctx = 512;
  bool add_bos = false;
  int32_t bos_id = -1;
  std::function<void(int64_t done, int64_t total)> progress;  // in chunks; may be empty
};

// Means over the scored tokens of one chunk.
struct ChunkScore {
  double nll = 0.0;
  double reference_nll = 0.0;  // with a reference, and so is kld
  double kld = 0.0;
};

struct PerplexityResult {
  int64_t num_tokens = 0;  // scored
  double ppl = 0.0;
  double ln_ppl_se = 0.0;  // standard error of ln(ppl)
  // With a reference:
  double kld_mean = 0.0;  // of KL(reference || model), nats
  double kld_p99 = 0.0;
  double kld_max = 0.0;
  double same_top1 = 0.0;        // percent of places with the same most likely token
  double ln_ppl_ratio = 0.0;     // ln(ppl / reference's ppl)
  double ln_ppl_ratio_se = 0.0;  // of the paired differences
  // In order: what a comparison of two results on the same text needs (tokens of a chunk depend on
  // each other, chunks hardly do).
  std::vector<ChunkScore> chunks;
};

// `reference` may be null; else it has the same vocabulary. Fails when `ids` fill no chunk.
Result<PerplexityResult> measure_perplexity(EdgeModel& model, EdgeModel* reference,
                                            std::span<const int32_t> ids,
                                            const PerplexityOptions& options);

}  // namespace ruvllm
