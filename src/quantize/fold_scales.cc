#include "quantize/fold_scales.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/str.h"
#include "model/tensor_finder.h"

namespace ruvllm {
namespace {

struct NormReaders {
  Role norm;
  std::vector<Role> readers;
};
const NormReaders kSites[] = {{Role::kAttnNorm, {Role::kQkv, Role::kQ, Role::kK, Role::kV}},
                              {Role::kMlpNorm, {Role::kGateUp, Role::kGate, Role::kUp}}};

bool reads(const NormReaders& site, Role role) {
  return std::ranges::find(site.readers, role) != site.readers.end();
}

// Whether each norm of a layer has its readers to itself, and is a mere product with its weight.
bool norms_can_scale(const ModelConfig& config) {
  return config.block_form == BlockForm::kPreNorm && config.norm == NormKind::kRms &&
         !config.norm_plus_one;
}

// The router of experts reads this norm, too.
bool has_router(const ModelConfig& config, const NormReaders& site, int32_t layer) {
  return site.norm == Role::kMlpNorm && config.layers[static_cast<size_t>(layer)].moe;
}

Status fold_site(const Checkpoint& checkpoint, TensorFinder& finder, const NormReaders& site,
                 TensorPlace place, FoldedScales& out) {
  std::vector<std::pair<std::string, std::vector<float>>> readers;  // name, input scale
  for (const Role role : site.readers) {
    const FileTensor* tensor = finder.peek(role, place);
    if (tensor == nullptr) continue;
    readers.push_back({tensor->name, {}});
    if (tensor->quantized == nullptr) continue;
    RUVLLM_ASSIGN(QuantizedMatrix matrix, tensor->quantized->read());
    readers.back().second = std::move(matrix.transform.input_scale);
  }
  const bool scaled = std::ranges::any_of(readers, [](const auto& r) { return !r.second.empty(); });
  if (!scaled) return {};
  for (const auto& [name, scale] : readers) {
    if (scale == readers.front().second) continue;
    return fail(ErrorCode::kUnsupported,
                concat(name, ": its input scale is another than ", readers.front().first,
                       "'s, which reads the same norm: they cannot be folded into it"));
  }
  RUVLLM_ASSIGN(std::vector<float> norm,
                finder.read_vector(site.norm, place, checkpoint.config.hidden_size, false));
  for (size_t i = 0; i < norm.size(); ++i) norm[i] *= readers.front().second[i];
  const FileTensor* tensor = finder.peek(site.norm, place);
  out.norms.emplace(tensor->name, std::move(norm));
  for (auto& reader : readers) out.matrices.insert(std::move(reader.first));
  return {};
}

}  // namespace

bool can_fold(const ModelConfig& config, const std::vector<IsqMatrix>& matrices,
              const std::vector<size_t>& site) {
  if (site.empty() || !norms_can_scale(config)) return false;
  const IsqMatrix& first = matrices[site.front()];
  const auto norm = std::ranges::find_if(
      kSites, [&first](const NormReaders& readers) { return reads(readers, first.role); });
  if (norm == std::end(kSites) || has_router(config, *norm, first.layer)) return false;
  const auto reads_it = [&](const IsqMatrix& matrix) {
    return matrix.layer == first.layer && reads(*norm, matrix.role);
  };
  return std::ranges::all_of(site, [&](size_t i) { return reads_it(matrices[i]); }) &&
         std::ranges::count_if(matrices, reads_it) == static_cast<int64_t>(site.size());
}

Result<FoldedScales> fold_scales(const Checkpoint& checkpoint) {
  FoldedScales out;
  if (!norms_can_scale(checkpoint.config)) return out;
  TensorFinder finder(checkpoint.config.family, checkpoint.names, checkpoint.tensors,
                      checkpoint.path);
  for (int32_t layer = 0; layer < checkpoint.config.num_layers(); ++layer) {
    for (const NormReaders& site : kSites) {
      if (has_router(checkpoint.config, site, layer)) continue;
      RUVLLM_TRY(fold_site(checkpoint, finder, site, {layer}, out));
    }
  }
  if (!out.norms.empty()) {
    log_warning(out.norms.size(),
                " norms take the scales of inputs: adapters that were trained on ",
                "the model do not fit this file (--format ruvllm, or a method without scales)");
  }
  return out;
}

}  // namespace ruvllm
