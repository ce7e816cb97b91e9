// ruvllm logits: the logits (and final hidden states) of sequences, to a safetensors file.
#include <deque>
#include <utility>

#include "base/str.h"
#include "engine/gate_recorder.h"
#include "formats/safetensors_writer.h"
#include "io.h"
#include "model_flags.h"
#include "verbs.h"

namespace ruvllm::cli {
namespace {

struct LogitsFlags {
  ModelFlags model;
  std::string ids_path;
  std::string out_path;
  int64_t last = 0;  // 0: all rows
  bool hidden = false;
  bool gates = false;
};

// What one sequence gave, kept until the file is written.
struct SequenceOutput {
  std::vector<float> logits;  // [rows, V]
  std::vector<float> hidden;  // [T, E]
  std::vector<float> gates;   // [T, L, n]
};

Status run_sequence(EdgeModel& model, std::span<const int32_t> ids, const LogitsFlags& flags,
                    SequenceOutput& output) {
  const ModelConfig& config = model.parts.runner->config();
  const auto total = static_cast<int64_t>(ids.size());
  const int64_t first = flags.last > 0 ? std::max<int64_t>(total - flags.last, 0) : 0;
  ScoreOptions options;
  options.first_row = flags.hidden || flags.gates ? 0 : first;
  options.hidden = flags.hidden;
  output.logits.reserve(static_cast<size_t>((total - first) * config.vocab_size));
  return model.session.score(ids, options, [&](const ScoredRow& row) {
    if (row.position >= first) {
      output.logits.insert(output.logits.end(), row.logits, row.logits + config.vocab_size);
    }
    if (flags.gates) {
      GateRecorder::append_gates(model.session.adapter().xlora->xlora(), GateDetail::kModules,
                                 row.gates, output.gates);
    }
    if (flags.hidden) {
      output.hidden.insert(output.hidden.end(), row.hidden, row.hidden + config.hidden_size);
    }
  });
}

Status write_logits(EdgeModel& model, const std::vector<std::vector<int32_t>>& lists,
                    const LogitsFlags& flags) {
  const ModelConfig& config = model.parts.runner->config();
  std::deque<SequenceOutput> outputs;
  const std::vector<std::string>& names = flags.model.use_adapters;
  if (names.size() > 1 && names.size() != lists.size()) {
    return fail(ErrorCode::kInvalidArgument, concat("--use-adapter has ", names.size(),
                                                    " names for ", lists.size(), " sequences"));
  }
  SafetensorsWriter writer;
  for (size_t i = 0; i < lists.size(); ++i) {
    const Result<std::vector<int32_t>> ids = model.parts.prompt_ids(lists[i]);
    if (!ids) return fail(ids.error().code, concat("sequence ", i, ": ", ids.error().message));
    SequenceOutput& output = outputs.emplace_back();
    if (names.size() > 1) {
      RUVLLM_ASSIGN(SequenceAdapter adapter, model.parts.adapters.select(names[i]));
      model.session.set_adapter(std::move(adapter));
    }
    if (flags.gates && model.session.adapter().xlora == nullptr) {
      return fail(ErrorCode::kInvalidArgument,
                  concat("--gates: sequence ", i, " has no X-LoRA (--xlora DIR)"));
    }
    RUVLLM_TRY(run_sequence(model, *ids, flags, output));
    const auto rows = static_cast<int64_t>(output.logits.size()) / config.vocab_size;
    RUVLLM_TRY(writer.add(concat("logits.", i), DType::kF32, {rows, config.vocab_size},
                          std::as_bytes(std::span(output.logits))));
    if (flags.gates) {
      const XLora& xlora = model.session.adapter().xlora->xlora();
      RUVLLM_TRY(
          writer.add(concat("gates.", i), DType::kF32,
                     {static_cast<int64_t>(ids->size()), xlora.num_modules(), xlora.num_experts()},
                     std::as_bytes(std::span(output.gates))));
    }
    if (flags.hidden) {
      RUVLLM_TRY(writer.add(concat("hidden.", i), DType::kF32,
                            {static_cast<int64_t>(ids->size()), config.hidden_size},
                            std::as_bytes(std::span(output.hidden))));
    }
  }
  return writer.write(flags.out_path);
}

}  // namespace

int verb_logits(Args args) {
  LogitsFlags options;
  FlagSet flags("logits", "writes logits.i f32 [T, V] of every sequence i to a safetensors file");
  options.model.adapter_per_sequence = true;
  options.model.add_to(flags, kComputeFlags);
  flags.add("--ids", "FILE", options.ids_path, "JSON: [[ids],[ids],...] (- is stdin)");
  flags.add("--out", "FILE", options.out_path, "the safetensors file to write");
  flags.add("--last", "N", options.last, "only the last N rows of each; 0: all", 0);
  flags.add("--hidden", options.hidden, "hidden.i f32 [T, E] too: after the final norm");
  flags.add("--gates", options.gates, "gates.i f32 [T, L, n] too: what X-LoRA gave each expert");
  flags.add_example("ruvllm logits -m demo --dtype f32 --ids ids.json --out logits.safetensors");
  if (const auto status = flags.parse(args)) return *status;
  if (const auto status = options.model.check(flags)) return *status;
  if (options.ids_path.empty()) return flags.usage_error("which sequences? give --ids FILE");
  if (options.out_path.empty()) return flags.usage_error("where to? give --out FILE");
  const auto lists = read_id_lists(options.ids_path);
  if (!lists) return fail_with("logits", lists.error());
  const auto model = options.model.open_model();
  if (!model) return fail_with("logits", model.error());
  if (const Status status = write_logits(**model, *lists, options); !status) {
    return fail_with("logits", status.error());
  }
  return kExitOk;
}

}  // namespace ruvllm::cli
