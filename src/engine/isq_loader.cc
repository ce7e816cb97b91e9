#include "engine/isq_loader.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/str.h"
#include "quantize/calibrate.h"
#include "quantize/calibration_text.h"
#include "quantize/isq_checkpoint.h"

namespace ruvllm {
namespace {

constexpr int64_t kSampleTokens = 512;

Result<std::vector<std::vector<int32_t>>> read_samples(const Checkpoint& checkpoint,
                                                       const Result<const Tokenizer*>& tokenizer,
                                                       const LoadOptions& options) {
  if (!tokenizer || *tokenizer == nullptr) {
    return fail(
        ErrorCode::kInvalidArgument,
        concat("isq ", options.isq, ": calibration reads a text and so needs the model's ",
               "tokenizer", tokenizer ? "" : ": ", tokenizer ? "" : tokenizer.error().message));
  }
  if (options.calibration.empty())
    log_warning("isq: calibrated on the built-in text (--calibration)");
  RUVLLM_ASSIGN(const std::vector<std::string> texts, read_calibration_texts(options.calibration));
  return make_calibration_samples(texts, **tokenizer, checkpoint.config.vocab_size,
                                  options.calibration_samples,
                                  std::min(kSampleTokens, checkpoint.config.max_positions));
}

}  // namespace

Status check_isq_options(const LoadOptions& options) {
  if (options.isq.empty()) return {};
  RUVLLM_ASSIGN(IsqConfig config, parse_isq(options.isq));
  config.calibration_samples = options.calibration_samples;
  return check_isq(config);
}

Result<std::shared_ptr<const Checkpoint>> quantize_checkpoint(
    std::shared_ptr<const Checkpoint> checkpoint, const Result<const Tokenizer*>& tokenizer,
    const LoadOptions& options, const std::function<void(int64_t done, int64_t total)>& progress,
    IsqSummary* summary) {
  if (options.isq.empty()) return checkpoint;
  RUVLLM_TRY(check_isq_options(options));
  RUVLLM_ASSIGN(const IsqConfig config, parse_isq(options.isq));
  RUVLLM_ASSIGN(const std::vector<IsqMatrix> matrices, list_matrices(*checkpoint, config));
  const auto pool =
      std::make_shared<ThreadPool>(options.threads > 0 ? options.threads : default_num_threads());
  std::vector<FileTensor> ready;
  if (needs_calibration(config.method)) {
    CalibrationArgs args{.checkpoint = *checkpoint, .matrices = matrices};
    RUVLLM_ASSIGN(args.samples, read_samples(*checkpoint, tokenizer, options));
    args.pool = pool;
    args.seed = config.seed;
    args.progress = progress;
    RUVLLM_ASSIGN(ready, calibrate(std::move(args)));
  }
  RUVLLM_ASSIGN(checkpoint, make_isq_checkpoint(std::move(checkpoint), matrices, std::move(ready),
                                                pool, config.seed));
  const IsqSize size = isq_size(*checkpoint, matrices);
  log_info("isq ", isq_text(config), ": ", size.elements, " weights in ", size.bytes, " bytes, ",
           size.bits_per_weight(), " bits each");
  if (summary != nullptr) {
    *summary = {isq_text(config), size.elements, size.bytes, size.bits_per_weight()};
  }
  return checkpoint;
}

}  // namespace ruvllm
