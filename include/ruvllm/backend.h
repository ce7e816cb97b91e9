// LlmBackend: everything an application, server or binding knows about the engine.
//
// A backend holds at most one model. Threads: every method may be called from any thread; the edge
// backend runs one generation at a time and lets others wait, the serving backend runs many.
// Ownership: the backend owns the model; Tokenizer and ChatTemplate references stay valid until
// unload_model. Failure: Result, never an exception.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "ruvllm/options.h"
#include "ruvllm/request.h"
#include "ruvllm/result.h"

namespace ruvllm {

struct ModelInfo {
  std::string name;          // as given to load_model
  std::string architecture;  // e.g. "llama"
  std::string format;        // "safetensors" or "gguf"
  std::string quantization;  // e.g. "bf16", "q4_0"
  uint64_t num_parameters = 0;
  uint64_t weight_bytes = 0;  // as held in memory
  int64_t max_seq_len = 0;    // of this load
  int32_t vocab_size = 0;
  int32_t hidden_size = 0;
  int32_t num_layers = 0;
  std::string device;   // "cpu"
  std::string kernels;  // e.g. "avx2"
  GenerationDefaults generation_defaults;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual Result<std::vector<int32_t>> encode(std::string_view text, bool add_special) const = 0;
  // Text that a chat template made: control tokens in it are always parsed and nothing is added.
  // (encode follows the tokenizer's original library, and sentencepiece's parses none.)
  virtual Result<std::vector<int32_t>> encode_rendered(std::string_view text) const {
    return encode(text, false);
  }
  virtual std::string decode(const std::vector<int32_t>& ids, bool skip_special) const = 0;
  // What one token stands for inside a text, as bytes: not always whole characters, and with the
  // space it begins with. Empty for an unknown id.
  virtual std::string token_bytes(int32_t id) const { return decode({id}, false); }
  virtual int32_t vocab_size() const = 0;
};

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool"
  std::string content;
};

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // The prompt text; with add_generation_prompt it ends where the assistant's answer begins.
  virtual Result<std::string> render(const std::vector<ChatMessage>& messages,
                                     bool add_generation_prompt) const = 0;
  // The same with everything a template may see, as JSON text: an array of messages, an array of
  // tools or "", and an object of further variables or "".
  virtual Result<std::string> render_json(std::string_view messages_json,
                                          std::string_view tools_json,
                                          std::string_view variables_json,
                                          bool add_generation_prompt) const = 0;
};

// What a backend can do with the optional fields of GenerateParams and RequestOptions; what is
// false it refuses by name. Constant while a model is loaded.
struct BackendFeatures {
  bool concurrent = false;       // several generations advance at a time
  bool sampling_masks = false;   // min_tokens, allowed_token_ids, banned_sequences
  bool stop_in_output = false;   // include_stop_in_output
  bool special_tokens = false;   // skip_special_tokens = false
  bool prompt_logprobs = false;  // prompt_logprobs
  bool priority = false;         // RequestOptions::priority
  bool cache_salt = false;       // RequestOptions::cache_salt; also: prompts are cached
  bool deadlines = false;        // RequestOptions::queue_timeout and total_timeout
  bool adapters = false;         // RequestOptions::adapter; load_adapter, unload_adapter
};

// Upper bounds (inclusive) of the classes of EngineStats::step_tokens; the last class has none.
inline constexpr std::array<int32_t, 14> kStepTokenBounds = {
    1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};

// The engine's state and counters at one moment, for metrics and health checks. Counters grow from
// 0 at load_model.
struct EngineStats {
  int64_t running = 0;  // sequences that take part in steps
  int64_t waiting = 0;  // sequences in the queue, or for the prompt of several answers
  int64_t kv_page_tokens = 0;
  int64_t kv_pages_total = 0;
  int64_t kv_pages_used = 0;    // by running sequences (kept prompts that may be evicted: free)
  int64_t kv_pages_cached = 0;  // free ones that hold a kept prompt
  int64_t kv_empty_tokens = 0;  // places in used pages that hold no token: the fragmentation
  int64_t max_running = 0;      // bound of `running`

  uint64_t prompt_tokens = 0;        // of admitted sequences, cached or computed
  uint64_t generated_tokens = 0;     // handed out
  uint64_t preemptions = 0;          // a running sequence went back to the queue
  uint64_t prefix_query_tokens = 0;  // prompt tokens looked up in the prefix cache
  uint64_t prefix_hit_tokens = 0;    // of these: found
  uint64_t steps = 0;
  uint64_t step_tokens_sum = 0;    // tokens (prompt and generated) computed in all steps
  uint64_t recomputed_tokens = 0;  // computed again after a preemption
  uint64_t started = 0;            // requests that have left the queue
  double queue_seconds_sum = 0.0;  // their time in it
  double step_seconds_sum = 0.0;
  double model_seconds_sum = 0.0;     // of the steps: the model itself
  double schedule_seconds_sum = 0.0;  // of the steps: planning and the pages' bookkeeping
  std::array<uint64_t, kStepTokenBounds.size() + 1> step_tokens = {};  // steps per class, by tokens

  bool alive = true;                // false: the loop has failed and answers no more
  double seconds_since_step = 0.0;  // since a step ended, or since there is work again; 0: idle
};

// A LoRA adapter that a backend knows by name.
struct AdapterInfo {
  std::string name;
  std::string path;
  uint64_t generation = 0;  // no two different adapters ever have the same
  uint64_t num_bytes = 0;
  bool resident = false;  // in memory; else it is read again when a request names it
  int32_t max_rank = 0;
};

// An X-LoRA that a backend knows by name, or a sum of adapters that has a name.
struct XLoraInfo {
  std::string name;
  std::string path;                  // of its folder; empty: a sum
  std::vector<std::string> experts;  // their names; of a sum: its adapters
  int32_t num_modules = 0;           // that some expert touches
  uint64_t num_bytes = 0;            // of experts and classifier, in memory; of a sum: 0
  int32_t max_rank = 0;              // of the experts; of a sum: 0
  bool layerwise = false;            // gates differ from module to module
  int32_t top_k = 0;                 // experts kept per token and module; 0: all
  float temperature = 1.0f;
  XLoraMixingMode mixing_mode = XLoraMixingMode::kGated;
  std::string sum;  // "a:0.5+b:0.5"; empty: it has a router
};

class LlmBackend {
 public:
  virtual ~LlmBackend() = default;

  // MODEL: a Hugging Face directory, a .gguf file, "org/name", or "demo".
  virtual Status load_model(const std::string& model, const LoadOptions& options) = 0;
  virtual void unload_model() = 0;
  virtual bool is_model_loaded() const = 0;
  virtual Result<ModelInfo> model_info() const = 0;

  virtual Result<const Tokenizer*> tokenizer() const = 0;
  virtual Result<const ChatTemplate*> chat_template() const = 0;

  virtual Result<std::string> generate(const Prompt& prompt, const GenerateParams& params) = 0;
  virtual Result<GenerateResult> generate_detailed(const Prompt& prompt,
                                                   const GenerateParams& params) = 0;
  virtual Result<std::unique_ptr<TokenStream>> generate_stream(const Prompt& prompt,
                                                               const GenerateParams& params) = 0;
  // The same for one request among many. Returns at once (it encodes a text prompt, and queues).
  // kUnavailable: the queue is full, try again later.
  virtual Result<std::unique_ptr<TokenStream>> generate_stream(const Prompt& prompt,
                                                               const GenerateParams& params,
                                                               const RequestOptions& options) {
    if (options.priority != 0) return fail(ErrorCode::kUnsupported, "priority is not supported");
    if (!options.cache_salt.empty()) {
      return fail(ErrorCode::kUnsupported, "cache_salt is not supported");
    }
    if (!options.adapter.empty()) {
      return fail(ErrorCode::kUnsupported, "a request's own adapter is not supported");
    }
    if (options.queue_timeout.count() != 0 || options.total_timeout.count() != 0) {
      return fail(ErrorCode::kUnsupported, "queue_timeout and total_timeout are not supported");
    }
    return generate_stream(prompt, params);
  }
  // What the optional fields above may ask for.
  virtual BackendFeatures features() const { return {}; }
  // A snapshot that takes no lock of the engine's loop and well under a millisecond; nullopt when
  // this backend keeps none or no model is loaded.
  virtual std::optional<EngineStats> stats() const { return std::nullopt; }
  // Adapters come and go while requests run; a request keeps the one it began with. load_adapter
  // reads and checks the files first (see docs/adapters.md), so it may take seconds; it holds up no
  // request. A name that is known is refused unless `replace`. kNotFound, kInvalidArgument,
  // kBadFile, kOutOfMemory, kUnavailable (all resident ones are in use).
  virtual Status load_adapter(const std::string& name, const std::string& path, bool replace) {
    static_cast<void>(name), static_cast<void>(path), static_cast<void>(replace);
    return fail(ErrorCode::kUnsupported, "this backend loads no adapters while it runs");
  }
  virtual Status unload_adapter(const std::string& name) {
    static_cast<void>(name);
    return fail(ErrorCode::kUnsupported, "this backend unloads no adapters while it runs");
  }
  virtual std::vector<AdapterInfo> adapters() const { return {}; }  // X-LoRAs too, by name
  virtual bool has_adapter(std::string_view name) const {
    static_cast<void>(name);
    return false;
  }
  // X-LoRAs, by the same rules; unload_adapter() takes their names too. `config` changes what the
  // folder says, see LoadOptions::xlora_config. XLoraManager (xlora_manager.h) is made of these.
  virtual Status load_xlora(const std::string& name, const std::string& path,
                            const std::optional<XLoraConfig>& config, bool replace) {
    static_cast<void>(name), static_cast<void>(path), static_cast<void>(config);
    static_cast<void>(replace);
    return fail(ErrorCode::kUnsupported, "this backend loads no X-LoRA while it runs");
  }
  virtual std::vector<XLoraInfo> xloras() const { return {}; }  // by name
  // What requests are computed with from now on that name nothing; as RequestOptions::adapter.
  virtual Status set_default_adapter(const std::string& selection) {
    static_cast<void>(selection);
    return fail(ErrorCode::kUnsupported, "this backend does not change its default adapter");
  }
  virtual std::string default_adapter() const { return "base"; }
  // The gates (GateDetail::kModules) of the token that an X-LoRA routed last, of whichever request;
  // no row before the first. "": of the default. kNotFound.
  virtual Result<GateTrace> last_gates(const std::string& name) const {
    return fail(ErrorCode::kNotFound, "no X-LoRA " + name);
  }
  // One vector per text: the mean of the hidden states after the final norm over the text's tokens
  // (special ones included), L2-normalized. A text longer than max_seq_len is an error.
  virtual Result<std::vector<float>> get_embeddings(const std::string& text) = 0;
  // The same for several inputs, in order; token ids are taken as they are. The first failure ends
  // it.
  virtual Result<std::vector<std::vector<float>>> get_embeddings_batch(
      const std::vector<Prompt>& inputs) {
    std::vector<std::vector<float>> out;
    for (const Prompt& input : inputs) {
      const auto* text = std::get_if<std::string>(&input);
      if (text == nullptr) {
        return fail(ErrorCode::kUnsupported, "embeddings of token ids are not supported");
      }
      RUVLLM_ASSIGN(std::vector<float> vector, get_embeddings(*text));
      out.push_back(std::move(vector));
    }
    return out;
  }
  // `n` answers to one prompt, each with a stream of its own, in order, all or none. Answer i is
  // the one that generate_stream gives alone with seed_of_answer(seed, i) and, but for the first,
  // without prompt_logprobs. The serving backend computes the prompt once and shares its memory.
  // Each may be cancelled alone. Failures: those of generate_stream; kInvalidArgument: n < 1.
  virtual Result<std::vector<std::unique_ptr<TokenStream>>> generate_answers(
      const Prompt& prompt, const GenerateParams& params, int32_t n,
      const RequestOptions& options) {
    if (n < 1) return fail(ErrorCode::kInvalidArgument, "n: expected at least one answer");
    std::vector<std::unique_ptr<TokenStream>> streams;
    for (int32_t i = 0; i < n; ++i) {
      RUVLLM_ASSIGN(std::unique_ptr<TokenStream> stream,
                    generate_stream(prompt, params_of_answer(params, i), options));
      streams.push_back(std::move(stream));
    }
    return streams;
  }
};

// A backend of the kind asked for, or kUnsupported when this build has none of it.
Result<std::unique_ptr<LlmBackend>> create_backend(BackendKind kind);
Result<std::unique_ptr<LlmBackend>> create_backend(BackendKind kind, const ServingConfig& config);

}  // namespace ruvllm
