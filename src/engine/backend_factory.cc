// create_backend: which backends this build has.
#include <memory>

#include "engine/edge_backend.h"
#include "ruvllm/backend.h"

namespace ruvllm {
namespace {

Result<std::unique_ptr<LlmBackend>> make_edge() {
#if defined(RUVLLM_HAS_EDGE)
  return std::make_unique<EdgeBackend>(
      [](const std::string& model, const LoadOptions& options) {
        return load_model_parts(model, options);
      },
      [](const Tokenizer& tokenizer) {
        return make_incremental_decoder(tokenizer, /*skip_special=*/true);
      });
#else
  return fail(ErrorCode::kUnsupported,
              "the edge backend is not in this binary (built without RUVLLM_EDGE)");
#endif
}

Result<std::unique_ptr<LlmBackend>> make_serving() {
#if defined(RUVLLM_HAS_SERVING)
  return fail(ErrorCode::kUnsupported,
              "RUVLLM_SERVING is on, but this version has no serving backend yet; use edge");
#else
  return fail(ErrorCode::kUnsupported,
              "the serving backend is not in this binary (built without RUVLLM_SERVING)");
#endif
}

}  // namespace

Result<std::unique_ptr<LlmBackend>> create_backend(BackendKind kind) {
  return create_backend(kind, ServingConfig());
}

Result<std::unique_ptr<LlmBackend>> create_backend(BackendKind kind, const ServingConfig&) {
  return kind == BackendKind::kEdge ? make_edge() : make_serving();
}

}  // namespace ruvllm
