#include "quantize/fold_scales.h"

#include <algorithm>
#include <utility>

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

bool follows_norm(const ModelConfig& config, Role role) {
  if (config.block_form != BlockForm::kPreNorm || config.norm != NormKind::kRms ||
      config.norm_plus_one) {
    return false;
  }
  return std::ranges::any_of(kSites, [role](const NormReaders& site) {
    return std::ranges::find(site.readers, role) != site.readers.end();
  });
}

Result<FoldedScales> fold_scales(const Checkpoint& checkpoint) {
  FoldedScales out;
  if (!follows_norm(checkpoint.config, Role::kQ)) return out;
  TensorFinder finder(checkpoint.config.family, checkpoint.names, checkpoint.tensors,
                      checkpoint.path);
  for (int32_t layer = 0; layer < checkpoint.config.num_layers(); ++layer) {
    for (const NormReaders& site : kSites) {
      const bool experts = checkpoint.config.layers[static_cast<size_t>(layer)].moe;
      if (experts && site.norm == Role::kMlpNorm) continue;  // the router reads this norm, too
      RUVLLM_TRY(fold_site(checkpoint, finder, site, {layer}, out));
    }
  }
  return out;
}

}  // namespace ruvllm
