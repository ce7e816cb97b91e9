#include "server/api_request.h"

#include <algorithm>
#include <cmath>

#include "base/str.h"
#include "server/json_fields.h"

namespace ruvllm::server {
namespace {

constexpr double kNoLimit = 3e38;

// Fields that this server knows of and cannot obey (yet). None is ignored.
void refuse_unsupported(Fields& fields, bool is_chat) {
  constexpr std::string_view kLater = "is not supported by this server";
  fields.refuse("response_format", "other than {\"type\":\"text\"} is not supported by this server",
                {"{\"type\":\"text\"}"});
  for (const char* name :
       {"structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
        "guided_decoding_backend", "guided_whitespace_pattern", "structural_tag",
        "kv_transfer_params", "thinking_token_budget", "prompt_embeds", "logits_processors",
        "vllm_xargs", "mm_processor_kwargs", "media_io_kwargs", "repetition_detection",
        "logprob_token_ids"}) {
    fields.refuse(name, kLater);
  }
  fields.refuse("use_beam_search", kLater, {"false"});
  fields.refuse("length_penalty", kLater, {"1", "1.0"});
  fields.refuse("detokenize", "must be true on this server", {"true"});
  if (!is_chat) {
    fields.refuse("suffix", "needs a model that can infill, which this one is not", {"\"\""});
    return;
  }
  for (const char* name :
       {"functions", "function_call", "documents", "chat_template", "audio", "prediction",
        "web_search_options", "reasoning_effort", "reasoning", "verbosity"}) {
    fields.refuse(name, kLater);
  }
  fields.refuse("tools", kLater);
  fields.refuse("tool_choice", "needs tools, which this server does not support", {"\"none\""});
  fields.refuse("modalities", "other than text is not supported by this server");
  fields.refuse("echo", kLater, {"false"});
  fields.refuse("include_reasoning", "needs a reasoning model, which this one is not", {"true"});
  fields.flag("parallel_tool_calls", true);  // there are no tools: nothing to obey
}

void read_logit_bias(Fields& fields, const ModelFacts& facts, GenerateParams& params) {
  const Json* value = fields.get("logit_bias");
  if (value == nullptr) return;
  const Json::Object* object = value->as_object();
  if (object == nullptr) {
    return fields.fail("logit_bias", concat("is ", value->type_name(), ", expected an object"));
  }
  if (object->size() > kMaxLogitBias) {
    return fields.fail(
        "logit_bias", concat("has ", object->size(), " entries, expected at most ", kMaxLogitBias));
  }
  for (const JsonMember& member : *object) {
    int32_t id = -1;
    if (!parse_number(member.key, id) || id < 0 || id >= facts.vocab_size) {
      return fields.fail("logit_bias",
                         concat("has a key that is no token id from 0 to ", facts.vocab_size - 1));
    }
    const std::optional<double> bias = member.value.as_double();
    if (!bias || !(std::fabs(*bias) <= 100.0)) {
      return fields.fail("logit_bias", "must hold numbers from -100 to 100");
    }
    params.logit_bias.emplace_back(id, static_cast<float>(*bias));
  }
}

void read_sampling(Fields& fields, const ModelFacts& facts, GenerateParams& params) {
  params.temperature = static_cast<float>(fields.number("temperature", 1.0, 0.0, kNoLimit));
  params.top_p = static_cast<float>(fields.number("top_p", 1.0, 0.0, 1.0, /*above_min=*/true));
  // A top_p below the smallest float still keeps the best token.
  params.top_p = std::max(params.top_p, 1e-30f);
  params.top_k =
      static_cast<int32_t>(std::max<int64_t>(0, fields.integer("top_k", 0, -1, INT32_MAX)));
  params.min_p = static_cast<float>(fields.number("min_p", 0.0, 0.0, 1.0));
  params.repetition_penalty =
      static_cast<float>(fields.number("repetition_penalty", 1.0, 0.0, 1000.0, true));
  params.frequency_penalty = static_cast<float>(fields.number("frequency_penalty", 0.0, -2.0, 2.0));
  params.presence_penalty = static_cast<float>(fields.number("presence_penalty", 0.0, -2.0, 2.0));
  if (const auto seed = fields.integer("seed", INT64_MIN, INT64_MAX)) {
    params.seed = static_cast<uint64_t>(*seed);
  }
  read_logit_bias(fields, facts, params);
  const int32_t last_id = facts.vocab_size - 1;
  if (auto ids =
          fields.ids("allowed_token_ids", 0, last_id, static_cast<size_t>(facts.vocab_size))) {
    if (ids->empty()) fields.fail("allowed_token_ids", "is empty");
    params.allowed_token_ids = *std::move(ids);
  }
}

void read_stops(Fields& fields, const ModelFacts& facts, GenerationRequest& request) {
  GenerateParams& params = request.params;
  params.stop = fields.texts("stop", kMaxStops, kMaxStopBytes, /*single_allowed=*/true);
  if (auto ids = fields.ids("stop_token_ids", 0, facts.vocab_size - 1, kMaxStopIds)) {
    params.stop_token_ids = *std::move(ids);
  }
  params.include_stop_in_output = fields.flag("include_stop_str_in_output", false);
  params.ignore_eos = fields.flag("ignore_eos", false);
  params.skip_special_tokens = fields.flag("skip_special_tokens", true);
  fields.flag("spaces_between_special_tokens", true);  // this decoder adds none, as HF's fast ones
  request.bad_words = fields.texts("bad_words", kMaxBadWords, kMaxStopBytes, false);
  params.min_tokens = static_cast<int32_t>(fields.integer("min_tokens", 0, 0, INT32_MAX));
  if (request.max_tokens && params.min_tokens > *request.max_tokens) {
    fields.fail("min_tokens", concat("is ", params.min_tokens, ", which is more than max_tokens, ",
                                     *request.max_tokens));
  }
}

void read_stream(Fields& fields, GenerationRequest& request) {
  request.stream = fields.flag("stream", false);
  const Json* value = fields.get("stream_options");
  if (value == nullptr) return;
  if (!value->is_object()) {
    return fields.fail("stream_options", concat("is ", value->type_name(), ", expected an object"));
  }
  if (!request.stream) return fields.fail("stream_options", "is given, but stream is not true");
  Fields options(*value, "stream_options.");
  request.include_usage = options.flag("include_usage", false);
  request.continuous_usage = options.flag("continuous_usage_stats", false);
  options.refuse("include_obfuscation", "is not supported by this server", {"false"});
  if (options.error()) {
    fields.fail("stream_options", options.error()->message);
  }
  if (request.continuous_usage && !request.include_usage) request.include_usage = true;
}

void check_features(Fields& fields, const GenerationRequest& request, const ModelFacts& facts) {
  constexpr std::string_view kReason = "is not supported by this backend (see --backend serving)";
  const BackendFeatures& can = facts.features;
  const GenerateParams& params = request.params;
  const auto need = [&](bool wanted, bool possible, std::string_view name) {
    if (wanted && !possible) fields.fail(name, std::string(kReason));
  };
  need(params.min_tokens > 0, can.sampling_masks, "min_tokens");
  need(!params.allowed_token_ids.empty(), can.sampling_masks, "allowed_token_ids");
  need(!request.bad_words.empty(), can.sampling_masks, "bad_words");
  need(params.include_stop_in_output, can.stop_in_output, "include_stop_str_in_output");
  need(!params.skip_special_tokens, can.special_tokens, "skip_special_tokens");
  need(request.prompt_logprobs >= 0, can.prompt_logprobs, "prompt_logprobs");
  need(request.echo && request.logprobs >= 0, can.prompt_logprobs, "echo with logprobs");
  if (request.priority != 0 && !can.priority) {
    fields.fail("priority", "other than 0 needs --scheduling-policy priority (serving backend)");
  }
  need(!request.cache_salt.empty(), can.cache_salt, "cache_salt");
}

// {"law": 0.7, "poetry": 0.3}: what the request is computed with, in place of its model's adapter.
void read_adapter_sum(Fields& fields, const ModelFacts& facts, const Json& value,
                      GenerationRequest& request) {
  constexpr std::string_view kName = "ruvllm.adapters";
  const Json::Object* object = value.as_object();
  if (object == nullptr || object->empty() || object->size() > kMaxAdapters) {
    return fields.fail(
        kName, concat("must be an object of 1 to ", kMaxAdapters, " adapters and their weights"));
  }
  request.adapter.clear();
  for (const JsonMember& member : *object) {
    const std::optional<double> weight = member.value.as_double();
    if (!weight || !(std::fabs(*weight) <= 1e6)) {
      return fields.fail(kName, "must have numbers as weights");
    }
    if (!facts.is_adapter || !facts.is_adapter(member.key)) {
      return fields.fail(
          kName, concat("names ", printable(member.key, 200), ", and there is no such adapter"));
    }
    request.adapter += concat(request.adapter.empty() ? "" : "+", member.key, ":", *weight);
  }
}

// {"gates": true | "mean" | "modules", "adapters": {"name": weight, ...}}
void read_own_fields(Fields& fields, const ModelFacts& facts, GenerationRequest& request) {
  const Json* value = fields.get("ruvllm");
  if (value == nullptr) return;
  const Json::Object* object = value->as_object();
  if (object == nullptr) {
    return fields.fail("ruvllm", concat("is ", value->type_name(), ", expected an object"));
  }
  for (const JsonMember& member : *object) {
    if (member.value.is_null()) continue;
    if (member.key == "gates") {
      const std::string* detail = member.value.as_string();
      const std::optional<bool> flag = member.value.as_bool();
      if (flag || (detail != nullptr && *detail == "mean")) {
        request.params.gates = flag.value_or(true) ? GateDetail::kMean : GateDetail::kNone;
      } else if (detail != nullptr && *detail == "modules") {
        request.params.gates = GateDetail::kModules;
      } else {
        fields.fail("ruvllm.gates", "must be true, false, \"mean\" or \"modules\"");
      }
    } else if (member.key == "adapters") {
      read_adapter_sum(fields, facts, member.value, request);
    } else {
      fields.fail("ruvllm", concat("has a field ", printable(member.key, 100),
                                   ", expected gates or adapters"));
    }
  }
}

void read_common(Fields& fields, const ModelFacts& facts, GenerationRequest& request) {
  read_own_fields(fields, facts, request);
  read_sampling(fields, facts, request.params);
  read_stops(fields, facts, request);
  read_stream(fields, request);
  request.n = static_cast<int32_t>(fields.integer("n", 1, 1, kMaxChoices));
  if (const auto best_of = fields.integer("best_of", 1, kMaxChoices);
      best_of && *best_of != request.n) {
    fields.fail("best_of", "other than n is not supported by this server");
  }
  request.return_token_ids = fields.flag("return_token_ids", false);
  request.tokens_as_ids = fields.flag("return_tokens_as_token_ids", false);
  request.truncate_prompt = fields.integer("truncate_prompt_tokens", -1, INT32_MAX);
  if (request.truncate_prompt == -1) request.truncate_prompt = facts.max_seq_len;
  if (auto count = fields.integer("prompt_logprobs", -1, kMaxLogprobs)) {
    request.prompt_logprobs = static_cast<int32_t>(*count);
    if (*count == -1) fields.fail("prompt_logprobs", "-1 (all) is not supported by this server");
  }
  if (request.stream && request.prompt_logprobs >= 0) {
    fields.fail("prompt_logprobs", "cannot be streamed");
  }
  request.priority = fields.integer("priority", 0, INT64_MIN, INT64_MAX);
  request.cache_salt = fields.text("cache_salt", 1, 128).value_or("");
  request.request_id = fields.text("request_id", 1, 128).value_or("");
  refuse_unsupported(fields, request.is_chat);
  request.params.top_logprobs = request.logprobs;
  request.params.prompt_logprobs = request.prompt_logprobs;
  if (request.echo && request.logprobs >= 0) {
    request.params.prompt_logprobs = std::max(request.prompt_logprobs, request.logprobs);
    if (request.stream) fields.fail("echo", "with logprobs cannot be streamed");
  }
  check_features(fields, request, facts);
}

}  // namespace

Api<std::string> read_model(const Json& body, const ModelFacts& facts) {
  const Json* model = body.find("model");
  if (model == nullptr || model->is_null()) return std::string();
  const std::string* name = model->as_string();
  if (name == nullptr) {
    return bad_request("model", concat("model is ", model->type_name(), ", expected a string"));
  }
  if (std::ranges::find(facts.names, *name) != facts.names.end()) return std::string();
  if (facts.is_adapter && facts.is_adapter(*name)) return *name;
  return std::unexpected<ApiError>(
      ApiError{404,
               concat("the model ", printable(*name, 200), " does not exist; this server has ",
                      facts.names.front()),
               "model", "model_not_found", 0});
}

Api<CompletionRequest> read_completion(const Json& body, const ModelFacts& facts) {
  Api<std::string> adapter = read_model(body, facts);
  if (!adapter) return std::unexpected(std::move(adapter).error());
  CompletionRequest request;
  request.adapter = *std::move(adapter);
  Fields fields(body);
  request.echo = fields.flag("echo", false);
  request.max_tokens = fields.integer("max_tokens", 16, 0, INT32_MAX);
  if (request.max_tokens == 0 && !request.echo) {
    fields.fail("max_tokens", "0 is possible only with echo");
  }
  request.logprobs = static_cast<int32_t>(fields.integer("logprobs", -1, 0, kMaxLogprobs));
  request.add_special_tokens = fields.flag("add_special_tokens", true);
  read_common(fields, facts, request);
  if (!fields.ok()) return std::unexpected(*fields.error());
  Api<std::vector<PromptInput>> prompts = read_prompts(body, "prompt", facts);
  if (!prompts) return std::unexpected(std::move(prompts).error());
  request.prompts = *std::move(prompts);
  if (request.prompts.size() * static_cast<size_t>(request.n) > kMaxSequences) {
    return bad_request("n", concat("n times the number of prompts is more than ", kMaxSequences));
  }
  return request;
}

Api<ChatRequest> read_chat(const Json& body, const ModelFacts& facts) {
  Api<std::string> adapter = read_model(body, facts);
  if (!adapter) return std::unexpected(std::move(adapter).error());
  Api<ChatRequest> messages = read_messages(body);
  if (!messages) return messages;
  ChatRequest request = *std::move(messages);
  request.adapter = *std::move(adapter);
  request.is_chat = true;
  Fields fields(body);
  request.max_tokens = fields.integer("max_tokens", 1, INT32_MAX);
  if (const auto wins = fields.integer("max_completion_tokens", 1, INT32_MAX)) {
    request.max_tokens = wins;
  }
  const bool wants_logprobs = fields.flag("logprobs", false);
  const auto top = fields.integer("top_logprobs", 0, kMaxLogprobs);
  if (top && *top > 0 && !wants_logprobs) {
    fields.fail("top_logprobs", "needs logprobs to be true");
  }
  if (wants_logprobs) request.logprobs = static_cast<int32_t>(top.value_or(0));
  request.add_special_tokens = fields.flag("add_special_tokens", false);
  read_common(fields, facts, request);
  if (!fields.ok()) return std::unexpected(*fields.error());
  return request;
}

Api<void> fit_to_context(GenerationRequest& request, size_t prompt_tokens,
                         const ModelFacts& facts) {
  const int64_t left = facts.max_seq_len - static_cast<int64_t>(prompt_tokens);
  const bool wants_none = request.max_tokens == 0;
  if (left < (wants_none ? 0 : 1)) {
    std::unexpected<ApiError> error =
        bad_request(request.is_chat ? "messages" : "prompt",
                    concat("this model's maximum context length is ", facts.max_seq_len,
                           " tokens, and the prompt has ", prompt_tokens,
                           wants_none ? "" : " (and an answer needs 1)"));
    error.error().code = "context_length_exceeded";
    return error;
  }
  // What was asked for, but never more than the context has left.
  request.params.max_tokens =
      static_cast<int32_t>(std::min<int64_t>(request.max_tokens.value_or(left), left));
  request.params.min_tokens = std::min(request.params.min_tokens, request.params.max_tokens);
  return {};
}

}  // namespace ruvllm::server
