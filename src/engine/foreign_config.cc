#include "engine/foreign_config.h"

#include <utility>

#include "base/str.h"
#include "ruvllm/version.h"

namespace ruvllm {
namespace {

// The grid that all quantized matrices share; nullptr: none is quantized.
const IsqMatrix* first_quantized(const std::vector<IsqMatrix>& matrices) {
  for (const IsqMatrix& matrix : matrices) {
    if (!matrix.scheme.keep) return &matrix;
  }
  return nullptr;
}

bool by_row(const IsqMatrix& matrix) {
  return matrix.scheme.grid.group_size == 0;
}

std::vector<std::string> kept_modules(const std::vector<IsqMatrix>& matrices) {
  std::vector<std::string> kept;
  for (const IsqMatrix& matrix : matrices) {
    if (matrix.scheme.keep && matrix.kind != MatrixKind::kEmbedding) {
      kept.push_back(matrix_prefix(matrix.name));
    }
  }
  return kept;
}

Json text(std::string_view value) {
  return Json(std::string(value));
}

Json list(const std::vector<std::string>& values) {
  Json::Array out;
  for (const std::string& value : values) out.push_back(Json(value));
  return Json(std::move(out));
}

Json quantizer() {
  Json::Object meta;
  meta.push_back({"quantizer", list({concat("ruvllm:", kVersion)})});
  return Json(std::move(meta));
}

Json::Object gptq(const IsqMatrix& first, const std::vector<std::string>& kept) {
  const Grid& grid = first.scheme.grid;
  Json::Object out;
  out.push_back({"quant_method", text("gptq")});
  out.push_back({"bits", Json(int64_t{grid.bits})});
  out.push_back({"group_size", Json(by_row(first) ? int64_t{-1} : grid.group_size)});
  out.push_back({"sym", Json(grid.symmetric)});
  out.push_back({"desc_act", Json(false)});
  out.push_back({"lm_head", Json(false)});
  out.push_back({"checkpoint_format", text("gptq_v2")});
  out.push_back({"format", text("gptq_v2")});
  out.push_back({"pack_dtype", text("int32")});
  out.push_back({"meta", quantizer()});
  Json::Object dynamic;  // "-:" and a pattern: not quantized
  for (const std::string& module : kept) {
    if (module == "lm_head") continue;
    std::string pattern = "-:^";
    for (const char c : module) pattern += c == '.' ? std::string("\\.") : std::string(1, c);
    dynamic.push_back({pattern + "$", Json(Json::Object{})});
  }
  if (!dynamic.empty()) out.push_back({"dynamic", Json(std::move(dynamic))});
  return out;
}

Json::Object awq(const IsqMatrix& first, const std::vector<std::string>& kept) {
  const Grid& grid = first.scheme.grid;
  Json::Object out;
  out.push_back({"quant_method", text("awq")});
  out.push_back({"bits", Json(int64_t{grid.bits})});
  out.push_back({"group_size", Json(by_row(first) ? int64_t{-1} : grid.group_size)});
  out.push_back({"zero_point", Json(!grid.symmetric)});
  out.push_back({"version", text("gemm")});
  out.push_back({"modules_to_not_convert", kept.empty() ? Json() : list(kept)});
  return out;
}

Json::Object compressed_tensors(const IsqMatrix& first, const std::vector<std::string>& kept) {
  const Grid& grid = first.scheme.grid;
  const bool w8a8 = first.scheme.method == IsqMethod::kSmoothQuant;
  const std::string_view format = w8a8 ? "int-quantized" : "pack-quantized";
  Json::Object weights;
  weights.push_back({"num_bits", Json(int64_t{grid.bits})});
  weights.push_back({"type", text("int")});
  weights.push_back({"symmetric", Json(grid.symmetric)});
  weights.push_back({"strategy", text(by_row(first) ? "channel" : "group")});
  weights.push_back({"group_size", by_row(first) ? Json() : Json(grid.group_size)});
  weights.push_back({"dynamic", Json(false)});
  Json::Object group;
  group.push_back({"format", text(format)});
  group.push_back({"targets", list({"Linear"})});
  group.push_back({"weights", Json(std::move(weights))});
  Json::Object activations;
  activations.push_back({"num_bits", Json(int64_t{8})});
  activations.push_back({"type", text("int")});
  activations.push_back({"symmetric", Json(true)});
  activations.push_back({"strategy", text("token")});
  activations.push_back({"dynamic", Json(true)});
  group.push_back({"input_activations", w8a8 ? Json(std::move(activations)) : Json()});
  group.push_back({"output_activations", Json()});
  Json::Object groups;
  groups.push_back({"group_0", Json(std::move(group))});
  Json::Object out;
  out.push_back({"quant_method", text("compressed-tensors")});
  out.push_back({"format", text(format)});
  out.push_back({"quantization_status", text("compressed")});
  out.push_back({"config_groups", Json(std::move(groups))});
  out.push_back({"ignore", list(kept)});
  return out;
}

}  // namespace

Status check_foreign_matrices(ForeignLayout layout, const std::vector<IsqMatrix>& matrices) {
  const IsqMatrix* first = first_quantized(matrices);
  if (first == nullptr) return fail(ErrorCode::kInvalidArgument, "every matrix is kept as it is");
  const auto refuse = [&](const IsqMatrix& matrix, const auto&... what) {
    return fail(ErrorCode::kUnsupported, concat(matrix.name, ": ", what...));
  };
  for (const IsqMatrix& matrix : matrices) {
    const MatrixScheme& scheme = matrix.scheme;
    if (scheme.keep) continue;
    if (matrix.kind != MatrixKind::kLinear) {
      return refuse(matrix, foreign_layout_name(layout), " keeps embedding and head as they are");
    }
    if (matrix.transposed || matrix.view.data != matrix.tensor->view.data ||
        matrix.tensor->view.rank != 2) {
      return refuse(matrix, "only matrices [N, K] of their own can be saved for ",
                    foreign_layout_name(layout), ", not transposed ones or stacks of experts");
    }
    const Grid& grid = scheme.grid;
    const Grid& expected = first->scheme.grid;
    if (grid.bits != expected.bits || grid.group_size != expected.group_size ||
        grid.symmetric != expected.symmetric || scheme.method != first->scheme.method) {
      return refuse(matrix, foreign_layout_name(layout), " has one grid for all, and ", first->name,
                    " has another");
    }
    if (scheme.rotate) return refuse(matrix, "rotated inputs fit the ruvllm layout only");
    if (scheme.method == IsqMethod::kSmoothQuant && layout != ForeignLayout::kCompressedTensors) {
      return refuse(matrix, "smoothquant is saved as compressed-tensors or ruvllm");
    }
    const int64_t group = by_row(matrix) ? matrix.cols() : grid.group_size;
    const Status fits = check_foreign(layout, matrix.rows(), matrix.cols(), grid.bits, group);
    if (!fits) return refuse(matrix, fits.error().message);
  }
  return {};
}

Json::Object foreign_quantization(ForeignLayout layout, const std::vector<IsqMatrix>& matrices) {
  const IsqMatrix& first = *first_quantized(matrices);
  const std::vector<std::string> kept = kept_modules(matrices);
  switch (layout) {
    case ForeignLayout::kGptq:
      return gptq(first, kept);
    case ForeignLayout::kAwq:
      return awq(first, kept);
    case ForeignLayout::kCompressedTensors:
      return compressed_tensors(first, kept);
  }
  return {};
}

}  // namespace ruvllm
