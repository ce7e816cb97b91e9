// ruvllm quantize: a model with other precision, saved.
#include <chrono>
#include <cstdio>
#include <functional>
#include <optional>

#include "base/str.h"
#include "engine/foreign_config.h"
#include "engine/gguf_save.h"
#include "engine/isq_loader.h"
#include "engine/model_folder.h"
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

struct FormatName {
  std::string_view name;
  std::optional<ForeignLayout> layout;
  bool gguf = false;
};
constexpr FormatName kFormats[] = {{"ruvllm", std::nullopt},
                                   {"gptq", ForeignLayout::kGptq},
                                   {"awq", ForeignLayout::kAwq},
                                   {"compressed-tensors", ForeignLayout::kCompressedTensors},
                                   {"gguf", std::nullopt, true}};

struct QuantizeFlags {
  ModelFlags model;
  std::string out;
  FormatName format = kFormats[0];
  bool json = false;
};

Status set_format(std::string_view text, QuantizeFlags& flags) {
  std::string known;
  for (const FormatName& format : kFormats) {
    if (format.name == text) {
      flags.format = format;
      return {};
    }
    known += concat(known.empty() ? "" : "|", format.name);
  }
  return fail(ErrorCode::kInvalidArgument, concat("expected ", known));
}

// What was asked for, as the format can hold it. Other layouts have the embedding and the head as
// they were, whatever the rest is.
Result<std::string> isq_of(const QuantizeFlags& flags) {
  RUVLLM_ASSIGN(IsqConfig config, parse_isq(flags.model.load.isq));
  if (config.auto_bits != 0.0 && (flags.format.layout || flags.format.gguf)) {
    return fail(ErrorCode::kUnsupported,
                concat("--format ", flags.format.name,
                       flags.format.gguf ? " has 8 and 4 bits, auto mixes 8, 4, 3 and 2"
                                         : " has one width for all, auto mixes them",
                       " (--format ruvllm holds a mix)"));
  }
  if (flags.format.layout) {
    config.overrides.insert(config.overrides.begin(), {{"embed", 0, 0}, {"head", 0, 0}});
  }
  return isq_text(config);
}

// What the format would refuse, before the work.
Status check_target(const QuantizeFlags& flags, const Checkpoint& source,
                    const std::vector<IsqMatrix>& matrices) {
  if (flags.format.gguf) return check_gguf_target(source, matrices, flags.out);
  RUVLLM_TRY(check_model_folder(source, flags.out));
  if (flags.format.layout) return check_foreign_matrices(*flags.format.layout, matrices);
  return {};
}

std::function<void(int64_t, int64_t)> progress_bar() {
  if (!stderr_is_terminal()) return {};
  const auto start = std::chrono::steady_clock::now();
  return [start](int64_t done, int64_t total) {
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    const double left =
        spent.count() * static_cast<double>(total - done) / static_cast<double>(done);
    std::fprintf(stderr, "\rquantizing %3d %%, %s s left \033[K%s",
                 static_cast<int>(100 * done / total), fixed(left, 0).c_str(),
                 done == total ? "\r\033[K" : "");
  };
}

Result<Report> run(const QuantizeFlags& flags) {
  const auto start = std::chrono::steady_clock::now();
  Report report;
  LoadOptions load = flags.model.load;
  RUVLLM_ASSIGN(load.isq, isq_of(flags));
  RUVLLM_ASSIGN(const std::string path, resolve_model(flags.model.model, load.offline));
  RUVLLM_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, open_checkpoint(path));
  const std::shared_ptr<const Checkpoint> source = checkpoint;  // what the matrices point into
  RUVLLM_ASSIGN(const IsqConfig config, parse_isq(load.isq));
  SaveFormat format{flags.format.layout, {}, {}, interrupt_flag()};
  RUVLLM_ASSIGN(format.matrices, list_matrices(*source, config));
  RUVLLM_TRY(check_target(flags, *source, format.matrices));
  const Result<TextParts> text = load_text_parts(path);
  Result<const Tokenizer*> tokenizer = nullptr;
  if (text) {
    tokenizer = text->tokenizer.get();
  } else {
    tokenizer = std::unexpected(text.error());
  }
  // From here on Ctrl-C raises a flag, and the work stops at its next step or lets a file that is
  // being written become complete; before, it ends the program at once.
  note_interrupt();
  const IsqRun run{progress_bar(), interrupt_flag(), flags.format.layout || flags.format.gguf};
  RUVLLM_ASSIGN(checkpoint,
                quantize_checkpoint(std::move(checkpoint), tokenizer, load, run, &report.summary));
  format.isq = report.summary.isq;
  if (flags.format.gguf) {
    RUVLLM_ASSIGN(report.saved, save_gguf(*checkpoint, flags.out, interrupt_flag()));
  } else {
    RUVLLM_ASSIGN(report.saved, save_quantized(*checkpoint, flags.out, format));
  }
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
  report.seconds = spent.count();
  return report;
}

}  // namespace

int verb_quantize(Args args) {
  QuantizeFlags options;
  std::string& out = options.out;
  FlagSet flags("quantize", "rounds a model's weights to fewer bits and saves the result");
  options.model.add_to(flags, kIsqFlags);
  flags.add("-o,--out", "DIR", out,
            "the folder (gguf: file) to write; it must not exist as a model");
  flags.add_custom("--format", "LAYOUT", "ruvllm",
                   "ruvllm, gptq (v2), awq (gemm, 4 bits), compressed-tensors, or gguf (-o FILE, "
                   "of a GGUF file)",
                   [&options](std::string_view text) { return set_format(text, options); });
  flags.add("--json", options.json, "one JSON object");
  flags.add_example("ruvllm quantize -m model --isq gptq4:g64 --calibration book.txt -o model-q4");
  if (const auto status = flags.parse(args)) return *status;
  if (const auto status = options.model.check(flags)) return *status;
  if (options.model.load.isq.empty())
    return flags.usage_error("how? give --isq, such as rtn8 or gptq4");
  if (out.empty()) return flags.usage_error("where to? give -o DIR");
  const auto report = run(options);
  if (!report) {
    const int status = fail_with("quantize", report.error());
    return interrupt_flag() ? kExitInterrupted : status;
  }
  const IsqSummary& summary = report->summary;
  if (options.json) {
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
