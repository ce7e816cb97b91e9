// ruvllm info: what a model file says, and what it will cost in memory.
#include <map>
#include <utility>

#include "base/mmap_file.h"
#include "base/str.h"
#include "engine/model_parts.h"
#include "engine/serving_fields.h"
#include "io.h"
#include "model_flags.h"
#include "verbs.h"
#if defined(RUVLLM_HAS_SERVING)
#include "engine/engine_plan.h"
#include "model/kv_storage.h"
#endif

namespace ruvllm::cli {
namespace {

// Activations, scratch and the program itself, on top of weights and KV.
constexpr uint64_t kOverheadBytes = uint64_t{32} << 20;

struct Summary {
  uint64_t num_parameters = 0;
  uint64_t tensor_bytes = 0;
  std::map<std::string, std::pair<int64_t, uint64_t>> by_type;  // name -> {tensors, bytes}
  uint64_t kv_bytes_per_token = 0;                              // bf16
};

std::string_view type_name(const FileTensor& tensor) {
  return tensor.quantized != nullptr ? tensor.quantized->layout()
                                     : dtype_info(tensor.view.dtype).name;
}

uint64_t bytes_of(const FileTensor& tensor) {
  if (tensor.quantized != nullptr) return tensor.quantized->stored_bytes();
  uint64_t row = 0;
  const int last = tensor.view.rank - 1;
  if (last < 0 || !row_bytes(tensor.view.dtype, tensor.view.dim(last), row)) return 0;
  const int64_t columns = tensor.view.dim(last);
  return columns > 0 ? row * static_cast<uint64_t>(tensor.view.num_elements() / columns) : 0;
}

Summary summarize(const Checkpoint& checkpoint) {
  Summary summary;
  for (const FileTensor& tensor : checkpoint.tensors) {
    const uint64_t bytes = bytes_of(tensor);
    summary.num_parameters += static_cast<uint64_t>(tensor.view.num_elements());
    summary.tensor_bytes += bytes;
    auto& entry = summary.by_type[std::string(type_name(tensor))];
    entry.first += 1;
    entry.second += bytes;
  }
  const ModelConfig& config = checkpoint.config;
  summary.kv_bytes_per_token = uint64_t{2} * 2 * static_cast<uint64_t>(config.num_layers()) *
                               static_cast<uint64_t>(config.num_kv_heads) *
                               static_cast<uint64_t>(config.head_dim);
  return summary;
}

// The longest sequence that fits `budget`, at most what the model was made for; 0: not even one.
int64_t tokens_that_fit(const Summary& summary, const ModelConfig& config, uint64_t budget) {
  const uint64_t fixed_bytes = summary.tensor_bytes + kOverheadBytes;
  if (budget <= fixed_bytes || summary.kv_bytes_per_token == 0) return 0;
  const uint64_t tokens = (budget - fixed_bytes) / summary.kv_bytes_per_token;
  return static_cast<int64_t>(
      std::min<uint64_t>(tokens, static_cast<uint64_t>(config.max_positions)));
}

// How the serving backend would run the model in `budget` bytes; null where it is not built in.
struct ServingSummary {
  Json json;
  std::string text;
};

#if defined(RUVLLM_HAS_SERVING)
Result<EnginePlan> plan_serving(const Summary& summary, const ModelConfig& model,
                                const ServingConfig& config, uint64_t budget) {
  RUVLLM_TRY(check_serving_config(config));
  RUVLLM_ASSIGN(const KvStorage kv,
                KvStorage::make(model, DType::kBF16, config.paged_attention.block_size));
  PlannedModel planned;
  planned.block_tokens = kv.block_tokens();
  planned.block_bytes = kv.block_bytes();
  planned.max_step_rows = config.max_batched_tokens;
  planned.max_seq_len = model.max_positions;
  planned.vocab_size = model.vocab_size;
  const uint64_t fixed_bytes = summary.tensor_bytes + kOverheadBytes;
  return make_engine_plan(config, planned,
                          budget > fixed_bytes ? budget - fixed_bytes : uint64_t{1});
}

Json plan_json(const EnginePlan& plan) {
  return object({{"kv_dtype", text_json("bf16")},
                 {"block_tokens", Json(int64_t{plan.block_tokens})},
                 {"block_bytes", Json(plan.block_bytes)},
                 {"num_blocks", Json(int64_t{plan.num_blocks})},
                 {"pool_tokens", Json(plan.pool_tokens())},
                 {"pool_bytes", Json(plan.pool_bytes())},
                 {"max_running", Json(int64_t{plan.max_running})},
                 {"max_waiting", Json(int64_t{plan.max_waiting})},
                 {"max_step_rows", Json(int64_t{plan.max_step_rows})},
                 {"max_tokens", Json(plan.max_tokens)},
                 {"prefix_caching", Json(plan.prefix_caching)}});
}

ServingSummary summarize_serving(const Summary& summary, const ModelConfig& model,
                                 const ServingConfig& config, uint64_t budget) {
  const Result<EnginePlan> plan = plan_serving(summary, model, config, budget);
  const std::string limit = plan ? pool_limits_context(*plan, model.max_positions) : std::string();
  return {object({{"config", serving_config_json(config)},
                  {"plan", plan ? plan_json(*plan) : Json()},
                  {"problem", !plan           ? Json(plan.error().message)
                              : limit.empty() ? Json()
                                              : Json(limit)}}),
          plan ? concat(describe(*plan), limit.empty() ? "" : "; ", limit) : plan.error().message};
}
#else
ServingSummary summarize_serving(const Summary&, const ModelConfig&, const ServingConfig&,
                                 uint64_t) {
  return {};
}
#endif

struct TextSummary {
  bool has_tokenizer = false;
  int32_t vocab_size = 0;
  bool has_chat_template = false;
  std::string problem;  // why there is none, or why it cannot be used
};

TextSummary summarize_text(const std::string& path) {
  TextSummary summary;
  Result<TextParts> parts = load_text_parts(path);
  if (!parts) {
    summary.problem = parts.error().message;
    return summary;
  }
  summary.has_tokenizer = true;
  summary.vocab_size = parts->tokenizer->vocab_size();
  summary.has_chat_template = parts->chat_template && *parts->chat_template != nullptr;
  if (!parts->chat_template) summary.problem = parts->chat_template.error().message;
  return summary;
}

// A float as the file wrote it: 0.6, not 0.6000000238.
Json optional_number(const auto& value) {
  if (!value) return Json();
  double written = 0.0;
  parse_number(concat(*value), written);
  return Json(written);
}

Json tensors_json(const Checkpoint& checkpoint) {
  Json::Array tensors;
  for (const FileTensor& tensor : checkpoint.tensors) {
    Json::Array shape;
    for (int i = 0; i < tensor.view.rank; ++i) shape.emplace_back(tensor.view.dim(i));
    tensors.push_back(object({{"name", Json(tensor.name)},
                              {"dtype", text_json(type_name(tensor))},
                              {"shape", Json(std::move(shape))},
                              {"bytes", Json(bytes_of(tensor))},
                              {"file", Json(tensor.file)}}));
  }
  return Json(std::move(tensors));
}

Json config_json(const ModelConfig& config) {
  return object({{"vocab_size", Json(int64_t{config.vocab_size})},
                 {"hidden_size", Json(int64_t{config.hidden_size})},
                 {"ffn_size", Json(int64_t{config.ffn_size})},
                 {"num_layers", Json(int64_t{config.num_layers()})},
                 {"num_heads", Json(int64_t{config.num_heads})},
                 {"num_kv_heads", Json(int64_t{config.num_kv_heads})},
                 {"head_dim", Json(int64_t{config.head_dim})},
                 {"max_positions", Json(config.max_positions)},
                 {"rope_theta", Json(config.rope.theta)},
                 {"tied_embeddings", Json(config.tied_embeddings)},
                 {"num_experts", Json(int64_t{config.num_experts})},
                 {"experts_per_token", Json(int64_t{config.experts_per_token})},
                 {"bos_id", Json(int64_t{config.bos_id})},
                 {"eos_ids", ids_json(config.eos_ids)}});
}

Json memory_json(const Summary& summary, const ModelConfig& config, uint64_t budget) {
  const uint64_t kv = summary.kv_bytes_per_token * static_cast<uint64_t>(config.max_positions);
  return object({{"weights_bytes", Json(summary.tensor_bytes)},
                 {"kv_bytes_per_token", Json(summary.kv_bytes_per_token)},
                 {"kv_bytes_at_max", Json(kv)},
                 {"overhead_bytes", Json(kOverheadBytes)},
                 {"total_bytes_at_max", Json(summary.tensor_bytes + kv + kOverheadBytes)},
                 {"machine_total_bytes", Json(total_memory_bytes())},
                 {"machine_available_bytes", Json(available_memory_bytes())},
                 {"budget_bytes", Json(budget)},
                 {"max_seq_len_that_fits", Json(tokens_that_fit(summary, config, budget))}});
}

void print_json(const std::string& model, const Checkpoint& checkpoint, const Summary& summary,
                const TextSummary& text, const ServingSummary& serving, uint64_t budget) {
  Json::Object types;
  for (const auto& [name, entry] : summary.by_type) {
    types.push_back(
        {name, object({{"tensors", Json(entry.first)}, {"bytes", Json(entry.second)}})});
  }
  const GenerationDefaults& defaults = checkpoint.generation;
  const Json json = object({
      {"model", Json(model)},
      {"path", Json(checkpoint.path)},
      {"format", Json(checkpoint.format)},
      {"architecture", Json(checkpoint.config.architecture)},
      {"parameters", Json(summary.num_parameters)},
      {"bytes", Json(summary.tensor_bytes)},
      {"config", config_json(checkpoint.config)},
      {"generation_defaults",
       object({{"temperature", optional_number(defaults.temperature)},
               {"top_p", optional_number(defaults.top_p)},
               {"min_p", optional_number(defaults.min_p)},
               {"top_k", optional_number(defaults.top_k)},
               {"repetition_penalty", optional_number(defaults.repetition_penalty)}})},
      {"dtypes", Json(std::move(types))},
      {"tokenizer", object({{"present", Json(text.has_tokenizer)},
                            {"vocab_size", Json(int64_t{text.vocab_size})},
                            {"chat_template", Json(text.has_chat_template)},
                            {"problem", text.problem.empty() ? Json() : Json(text.problem)}})},
      {"memory", memory_json(summary, checkpoint.config, budget)},
      {"serving", serving.json},
      {"tensors", tensors_json(checkpoint)},
  });
  write_out(json.dump() + "\n");
}

void print_text(const std::string& model, const Checkpoint& checkpoint, const Summary& summary,
                const TextSummary& text, const ServingSummary& serving, uint64_t budget) {
  const ModelConfig& c = checkpoint.config;
  std::string out = concat("model         ", model, " (", checkpoint.path, ")\n");
  out += concat("architecture  ", c.architecture, ", ", checkpoint.format, "\n");
  out += concat("parameters    ", summary.num_parameters, " in ", checkpoint.tensors.size(),
                " tensors, ", human_bytes(summary.tensor_bytes), " (");
  bool first = true;
  for (const auto& [name, entry] : summary.by_type) {
    out += concat(first ? "" : ", ", name, " ", human_bytes(entry.second));
    first = false;
  }
  out += ")\n";
  out += concat("shape         ", c.num_layers(), " layers, hidden ", c.hidden_size, ", ffn ",
                c.ffn_size, ", ", c.num_heads, " heads on ", c.num_kv_heads, " of ", c.head_dim,
                ", vocabulary ", c.vocab_size, "\n");
  if (c.num_experts > 0) {
    out += concat("experts       ", c.num_experts, ", ", c.experts_per_token, " per token\n");
  }
  out += concat("context       ", c.max_positions, " tokens\n");
  out += concat("tokenizer     ", text.has_tokenizer ? concat(text.vocab_size, " tokens") : "none",
                text.has_chat_template ? ", chat template" : ", no chat template",
                text.problem.empty() ? "" : concat(" (", text.problem, ")"), "\n");
  const int64_t fits = tokens_that_fit(summary, c, budget);
  out += concat("memory        weights ", human_bytes(summary.tensor_bytes), " + KV ",
                human_bytes(summary.kv_bytes_per_token), " per token (bf16) + ",
                human_bytes(kOverheadBytes), "; this machine has ",
                human_bytes(available_memory_bytes()), " free of ",
                human_bytes(total_memory_bytes()), "\n");
  out += fits > 0 ? concat("plan          ", human_bytes(budget), " hold a context of ", fits,
                           " tokens", fits == c.max_positions ? " (all of it)" : "", "\n")
                  : concat("plan          ", human_bytes(budget), " do not hold this model\n");
  if (!serving.text.empty()) out += concat("serving       ", serving.text, "\n");
  write_out(out);
}

}  // namespace

int verb_info(Args args) {
  std::string model;
  uint64_t budget = 0;
  bool json = false;
  bool offline = false;
  ServingConfig config;
  FlagSet flags("info", "what a model file says: architecture, tensors, tokenizer, memory plan");
  flags.add_positional("MODEL", model, "a Hugging Face directory, a .gguf file, org/name, or demo");
  flags.add("-m,--model", "MODEL", model, "the same as a flag");
  flags.add_custom("--fit", "BYTES", "free memory", "plan for this much memory, e.g. 8G",
                   [&](std::string_view text) -> Status {
                     RUVLLM_ASSIGN(budget, parse_bytes(text));
                     return {};
                   });
  flags.add("--offline", offline, "never download");
  flags.add("--json", json, "everything, with the list of tensors");
#if defined(RUVLLM_HAS_SERVING)
  add_serving_flags(flags, config);
#endif
  flags.add_example("ruvllm info demo");
  flags.add_example("ruvllm info model.gguf --fit 8G --json");
  if (const auto status = flags.parse(args)) return *status;
  if (model.empty()) return flags.usage_error("which model? give MODEL (demo is built in)");
  if (budget == 0) budget = available_memory_bytes();
  const Result<std::string> path = resolve_model(model, offline);
  if (!path) return fail_with("info", path.error());
  const auto checkpoint = open_checkpoint(*path);
  if (!checkpoint) return fail_with("info", checkpoint.error());
  const Summary summary = summarize(**checkpoint);
  const TextSummary text = summarize_text(*path);
  const ServingSummary serving = summarize_serving(summary, (**checkpoint).config, config, budget);
  (json ? print_json : print_text)(model, **checkpoint, summary, text, serving, budget);
  return kExitOk;
}

}  // namespace ruvllm::cli
