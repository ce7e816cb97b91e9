// ruvllm quantize: a model with other precision, saved.
#include <chrono>
#include <cstdio>

#include "base/str.h"
#include "engine/isq_loader.h"
#include "engine/quantized_save.h"
#include "io.h"
#include "model_flags.h"
#include "verbs.h"

namespace ruvllm::cli {
namespace {

struct Report {
  SavedModel saved;
  IsqSummary summary;
  double seconds = 0.0;
};

Result<Report> run(const ModelFlags& flags, const std::string& out) {
  const auto start = std::chrono::steady_clock::now();
  Report report;
  RUVLLM_ASSIGN(const std::string path, resolve_model(flags.model, flags.load.offline));
  RUVLLM_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, open_checkpoint(path));
  RUVLLM_TRY(check_save_target(*checkpoint, out));
  const Result<TextParts> text = load_text_parts(path);
  Result<const Tokenizer*> tokenizer = nullptr;
  if (text) {
    tokenizer = text->tokenizer.get();
  } else {
    tokenizer = std::unexpected(text.error());
  }
  const bool show = stderr_is_terminal();
  const auto progress = [&](int64_t done, int64_t total) {
    if (!show) return;
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    const double left =
        spent.count() * static_cast<double>(total - done) / static_cast<double>(done);
    std::fprintf(stderr, "\rquantizing %3d %%, %s s left \033[K%s",
                 static_cast<int>(100 * done / total), fixed(left, 0).c_str(),
                 done == total ? "\r\033[K" : "");
  };
  RUVLLM_ASSIGN(checkpoint, quantize_checkpoint(std::move(checkpoint), tokenizer, flags.load,
                                                progress, &report.summary));
  RUVLLM_ASSIGN(report.saved, save_quantized(*checkpoint, out, report.summary.isq));
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
  report.seconds = spent.count();
  return report;
}

}  // namespace

int verb_quantize(Args args) {
  ModelFlags options;
  std::string out;
  bool json = false;
  FlagSet flags("quantize", "rounds a model's weights to fewer bits and saves the result");
  options.add_to(flags);
  flags.add("-o,--out", "DIR", out, "the folder to write; it must not hold a model");
  flags.add("--json", json, "one JSON object");
  flags.add_example("ruvllm quantize -m model --isq gptq4:g64 --calibration book.txt -o model-q4");
  if (const auto status = flags.parse(args)) return *status;
  if (const auto status = options.check(flags)) return *status;
  if (options.load.isq.empty()) return flags.usage_error("how? give --isq, such as rtn8 or gptq4");
  if (out.empty()) return flags.usage_error("where to? give -o DIR");
  const auto report = run(options, out);
  if (!report) return fail_with("quantize", report.error());
  const IsqSummary& summary = report->summary;
  if (json) {
    write_out(object({{"isq", Json(summary.isq)},
                      {"matrices", Json(report->saved.num_matrices)},
                      {"weights", Json(summary.num_weights)},
                      {"weight_bytes", Json(summary.num_bytes)},
                      {"bits_per_weight", Json(summary.bits_per_weight)},
                      {"file_bytes", Json(report->saved.file_bytes)},
                      {"seconds", Json(report->seconds)},
                      {"peak_rss_bytes", Json(peak_resident_bytes())}})
                  .dump() +
              "\n");
    return kExitOk;
  }
  write_out(concat(out, ": ", report->saved.num_matrices, " matrices, ", summary.num_weights,
                   " weights at ", fixed(summary.bits_per_weight, 3), " bits, file ",
                   human_bytes(report->saved.file_bytes), ", ", fixed(report->seconds, 1),
                   " s, peak memory ", human_bytes(peak_resident_bytes()), "\n"));
  return kExitOk;
}

}  // namespace ruvllm::cli
