#include "engine/isq_loader.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/str.h"
#include "engine/isq_cache.h"
#include "quantize/calibrate.h"
#include "quantize/calibration_text.h"
#include "quantize/decoder_parts.h"
#include "quantize/distill.h"
#include "quantize/isq_checkpoint.h"
#include "quantize/mixed_widths.h"

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

using SharedCheckpoint = std::shared_ptr<const Checkpoint>;
using Samples = std::vector<std::vector<int32_t>>;

Result<SharedCheckpoint> quantize_now(SharedCheckpoint checkpoint, std::vector<IsqMatrix>& matrices,
                                      const IsqConfig& config, Samples samples,
                                      const std::shared_ptr<ThreadPool>& pool, const IsqRun& run) {
  // Steps: of choosing widths, of calibration, of tuning.
  int64_t passes = 0;
  const int64_t calibrated = std::ranges::count_if(matrices, is_calibrated);
  const int64_t tuning =
      config.tuned_passes == 0 ? 0 : num_distill_steps(samples, config.tuned_passes);
  const auto progress = [&](int64_t done) {
    if (run.progress) run.progress(done, passes + calibrated + tuning);
  };
  if (config.auto_bits != 0.0) {
    RUVLLM_TRY(choose_widths({*checkpoint, matrices, config.auto_bits, samples, pool,
                              [&](int64_t done, int64_t total) {
                                passes = total;
                                progress(done);
                              },
                              run.stop}));
  }
  std::vector<FileTensor> ready;
  if (needs_calibration(config.method)) {
    CalibrationArgs args{.checkpoint = *checkpoint, .matrices = matrices};
    args.samples = samples;
    args.pool = pool;
    args.seed = config.seed;
    args.progress = [&](int64_t done, int64_t) { progress(passes + done); };
    args.stop = run.stop;
    args.foldable_scales = run.foldable_scales;
    RUVLLM_ASSIGN(ready, calibrate(std::move(args)));
  }
  if (config.tuned_passes != 0) {
    DistillArgs args{.checkpoint = *checkpoint, .matrices = matrices};
    args.samples = std::move(samples);
    args.starts = std::move(ready);
    args.pool = pool;
    args.passes = config.tuned_passes;
    args.seed = config.seed;
    args.progress = [&](int64_t done, int64_t) { progress(passes + calibrated + done); };
    args.stop = run.stop;
    RUVLLM_ASSIGN(ready, distill(std::move(args)));
  }
  return make_isq_checkpoint(std::move(checkpoint), matrices, std::move(ready), pool, config.seed);
}

Result<SharedCheckpoint> quantize_or_read(SharedCheckpoint base, std::vector<IsqMatrix>& matrices,
                                          const IsqConfig& config, Samples samples,
                                          const std::shared_ptr<ThreadPool>& pool,
                                          const IsqRun& run, const IsqCache& cache) {
  const auto use = [&](IsqCache::Entry entry) {
    std::vector<MmapFile> files;
    files.push_back(std::move(entry.file));
    return make_isq_checkpoint(base, matrices, std::move(entry.tensors), pool, config.seed,
                               std::move(files));
  };
  if (auto entry = cache.read(matrices)) {
    log_info("isq: read from ", cache.path());
    return use(std::move(*entry));
  }
  RUVLLM_ASSIGN(SharedCheckpoint made,
                quantize_now(base, matrices, config, std::move(samples), pool, run));
  if (const Status written = cache.write(*made, matrices, run.stop); !written) {
    RUVLLM_TRY(run.stop.status());
    log_warning("isq cache: not stored: ", written.error().message);
    return made;
  }
  log_info("isq: stored in ", cache.path());
  // From there on its pages are the file's, and nothing is rounded twice.
  if (auto entry = cache.read(matrices)) return use(std::move(*entry));
  return made;
}

}  // namespace

Status check_isq_options(const LoadOptions& options) {
  if (options.isq.empty()) {
    const std::string_view idle = !options.isq_cache.empty()     ? "isq_cache (--isq-cache)"
                                  : !options.calibration.empty() ? "calibration (--calibration)"
                                                                 : "";
    if (idle.empty()) return {};
    return fail(ErrorCode::kInvalidArgument,
                concat(idle, " does nothing without isq: add --isq, such as rtn8 or awq4"));
  }
  RUVLLM_ASSIGN(IsqConfig config, parse_isq(options.isq));
  config.calibration_samples = options.calibration_samples;
  return check_isq(config);
}

Result<std::shared_ptr<const Checkpoint>> quantize_checkpoint(
    std::shared_ptr<const Checkpoint> checkpoint, const Result<const Tokenizer*>& tokenizer,
    const LoadOptions& options, const IsqRun& run, IsqSummary* summary) {
  if (options.isq.empty()) return checkpoint;
  RUVLLM_TRY(check_isq_options(options));
  RUVLLM_ASSIGN(const IsqConfig config, parse_isq(options.isq));
  RUVLLM_ASSIGN(std::vector<IsqMatrix> matrices, list_matrices(*checkpoint, config));
  if (config.auto_bits != 0.0) RUVLLM_TRY(check_width_budget(matrices, config.auto_bits));
  if (config.tuned_passes != 0) RUVLLM_TRY(find_decoder_parts(*checkpoint, matrices));
  std::vector<std::vector<int32_t>> samples;
  if (needs_calibration(config)) {
    RUVLLM_ASSIGN(samples, read_samples(*checkpoint, tokenizer, options));
  }
  const auto pool =
      std::make_shared<ThreadPool>(options.threads > 0 ? options.threads : default_num_threads());
  if (options.isq_cache.empty()) {
    RUVLLM_ASSIGN(checkpoint, quantize_now(std::move(checkpoint), matrices, config,
                                           std::move(samples), pool, run));
  } else {
    const IsqCache cache(options.isq_cache, *checkpoint, isq_text(config), run.foldable_scales,
                         samples);
    RUVLLM_ASSIGN(checkpoint, quantize_or_read(std::move(checkpoint), matrices, config,
                                               std::move(samples), pool, run, cache));
  }
  const IsqSize size = isq_size(*checkpoint, matrices);
  log_info("isq ", isq_text(config), ": ", size.elements, " weights in ", size.bytes, " bytes, ",
           size.bits_per_weight(), " bits each");
  if (summary != nullptr) {
    *summary = {isq_text(config), size.elements, size.bytes, size.bits_per_weight()};
  }
  return checkpoint;
}

}  // namespace ruvllm
