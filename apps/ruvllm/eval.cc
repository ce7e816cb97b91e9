// ruvllm eval: perplexity of a text, and how far a model is from a reference.
#include <cmath>
#include <cstdio>
#include <utility>

#include "base/str.h"
#include "engine/perplexity.h"
#include "io.h"
#include "model_flags.h"
#include "verbs.h"

namespace ruvllm::cli {
namespace {

struct EvalFlags {
  ModelFlags model;
  std::string text_path;
  std::string reference;
  int64_t ctx = 512;
  int64_t max_tokens = 0;
  bool json = false;
};

Result<PerplexityResult> evaluate(const EvalFlags& flags) {
  RUVLLM_ASSIGN(const std::string text, read_input(flags.text_path));
  RUVLLM_ASSIGN(const std::shared_ptr<EdgeModel> model, flags.model.open_model());
  std::shared_ptr<EdgeModel> reference;
  if (!flags.reference.empty()) {
    ModelFlags other = flags.model;
    other.model = flags.reference;
    other.load.adapters.clear();  // the reference is a plain model
    other.load.xlora.clear();
    other.load.isq.clear();
    other.load.isq_cache.clear();
    other.load.calibration.clear();
    other.load.use_adapter.clear();
    RUVLLM_ASSIGN(reference, other.open_model());
  }
  RUVLLM_ASSIGN(const Tokenizer* tokenizer, model->parts.find_tokenizer());
  RUVLLM_ASSIGN(std::vector<int32_t> ids, tokenizer->encode(text, /*add_special=*/true));
  RUVLLM_ASSIGN(const std::vector<int32_t> special, tokenizer->encode("", /*add_special=*/true));
  if (flags.max_tokens > 0 && static_cast<int64_t>(ids.size()) > flags.max_tokens) {
    ids.resize(static_cast<size_t>(flags.max_tokens));
  }
  const ModelConfig& config = model->parts.runner->config();
  for (const int32_t id : ids) {
    if (id >= config.vocab_size) {
      return fail(ErrorCode::kBadFile, concat(flags.model.model, ": the tokenizer makes token ", id,
                                              ", the model has ", config.vocab_size));
    }
  }
  PerplexityOptions options;
  options.ctx = flags.ctx;
  // The tokenizer puts BOS before a text: then every chunk begins with it.
  options.add_bos = !special.empty() && config.bos_id >= 0 && special.front() == config.bos_id;
  options.bos_id = config.bos_id;
  if (stderr_is_terminal()) {
    options.progress = [](int64_t done, int64_t total) {
      std::fprintf(stderr, "\rchunk %lld of %lld%s", static_cast<long long>(done),
                   static_cast<long long>(total), done == total ? "\r\033[K" : "");
    };
  }
  return measure_perplexity(*model, reference.get(), ids, options);
}

void add_chunks(Json::Object& members, const char* name, const PerplexityResult& result,
                double ChunkScore::* field) {
  Json::Array values;
  for (const ChunkScore& chunk : result.chunks) values.emplace_back(chunk.*field);
  members.push_back({name, Json(std::move(values))});
}

void print_result(const PerplexityResult& result, const EvalFlags& flags) {
  const bool compared = !flags.reference.empty();
  if (flags.json) {
    Json::Object members;
    const auto add = [&](const char* name, double value) {
      members.push_back({name, Json(value)});
    };
    members.push_back({"tokens", Json(result.num_tokens)});
    add("ppl", result.ppl);
    add("ln_ppl_se", result.ln_ppl_se);
    if (compared) {
      add("kld_mean", result.kld_mean);
      add("kld_p99", result.kld_p99);
      add("kld_max", result.kld_max);
      add("same_top1", result.same_top1);
      add("ln_ppl_ratio", result.ln_ppl_ratio);
      add("ln_ppl_ratio_se", result.ln_ppl_ratio_se);
    }
    add_chunks(members, "chunk_nll", result, &ChunkScore::nll);
    if (compared) {
      add_chunks(members, "chunk_reference_nll", result, &ChunkScore::reference_nll);
      add_chunks(members, "chunk_kld", result, &ChunkScore::kld);
    }
    write_out(Json(std::move(members)).dump() + "\n");
    return;
  }
  write_out(concat("perplexity ", fixed(result.ppl, 4), " (ln ", fixed(std::log(result.ppl), 5),
                   " +- ", fixed(result.ln_ppl_se, 5), ") over ", result.num_tokens, " tokens\n"));
  if (!compared) return;
  write_out(concat("against ", flags.reference, ": KL divergence mean ", fixed(result.kld_mean, 6),
                   ", 99% ", fixed(result.kld_p99, 6), ", max ", fixed(result.kld_max, 6),
                   " | same best token ", fixed(result.same_top1, 2), " % | ln ppl ratio ",
                   fixed(result.ln_ppl_ratio, 6), " +- ", fixed(result.ln_ppl_ratio_se, 6), "\n"));
}

}  // namespace

int verb_eval(Args args) {
  EvalFlags options;
  FlagSet flags("eval",
                "perplexity of a text (llama.cpp's convention), divergence from a reference");
  options.model.add_to(flags, kComputeFlags);
  flags.add("--text", "FILE", options.text_path, "the text (- is stdin)");
  flags.add("--ctx", "N", options.ctx, "tokens of a chunk; the second half is scored", 4);
  flags.add("--reference", "MODEL2", options.reference, "compare with this model's distributions");
  flags.add("--max-tokens", "N", options.max_tokens, "use the first N tokens; 0: all", 0);
  flags.add("--json", options.json, "one JSON object");
  flags.add_example("ruvllm eval -m model-q4.gguf --text book.txt --reference model-f16.gguf");
  if (const auto status = flags.parse(args)) return *status;
  if (const auto status = options.model.check(flags)) return *status;
  if (options.text_path.empty()) return flags.usage_error("which text? give --text FILE");
  const auto result = evaluate(options);
  if (!result) return fail_with("eval", result.error());
  print_result(*result, options);
  return kExitOk;
}

}  // namespace ruvllm::cli
