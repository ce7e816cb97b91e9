// create_backend: which backends this build has.
#include <memory>

#include "engine/model_parts.h"
#include "ruvllm/backend.h"
#if defined(RUVLLM_HAS_EDGE)
#include "engine/edge_backend.h"
#endif
#if defined(RUVLLM_HAS_SERVING)
#include "engine/serving_backend.h"
#endif

namespace ruvllm {
namespace {

Result<std::unique_ptr<LlmBackend>> make_edge() {
#if defined(RUVLLM_HAS_EDGE)
  return std::make_unique<EdgeBackend>(
      [](const std::string& model, const LoadOptions& options) {
        return load_model_parts(model, options);
      },
      make_incremental_decoder);
#else
  return fail(ErrorCode::kUnsupported,
              "the edge backend is not in this binary (built without RUVLLM_EDGE)");
#endif
}

Result<std::unique_ptr<LlmBackend>> make_serving([[maybe_unused]] const ServingConfig& config) {
#if defined(RUVLLM_HAS_SERVING)
  RUVLLM_TRY(check_serving_config(config));
  LoaderSettings settings;
  settings.max_step_rows = config.max_batched_tokens;
  settings.kv_block_tokens = config.paged_attention.block_size;
  return std::make_unique<ServingBackend>(
      config,
      [settings](const std::string& model, const LoadOptions& options) {
        return load_model_parts(model, options, settings);
      },
      make_incremental_decoder);
#else
  return fail(ErrorCode::kUnsupported,
              "the serving backend is not in this binary (built without RUVLLM_SERVING)");
#endif
}

}  // namespace

Result<std::unique_ptr<LlmBackend>> create_backend(BackendKind kind) {
  return create_backend(kind, ServingConfig());
}

Result<std::unique_ptr<LlmBackend>> create_backend(BackendKind kind, const ServingConfig& config) {
  return kind == BackendKind::kEdge ? make_edge() : make_serving(config);
}

}  // namespace ruvllm
