// LlmBackend: everything an application, server or binding knows about the engine.
//
// A backend holds at most one model. Threads: every method may be called from any thread; the edge
// backend runs one generation at a time and lets others wait, the serving backend runs many.
// Ownership: the backend owns the model; Tokenizer and ChatTemplate references stay valid until
// unload_model. Failure: Result, never an exception.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
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
  // One vector per text: the mean of the hidden states after the final norm over the text's tokens
  // (special ones included), L2-normalized. A text longer than max_seq_len is an error.
  virtual Result<std::vector<float>> get_embeddings(const std::string& text) = 0;
};

// A backend of the kind asked for, or kUnsupported when this build has none of it.
Result<std::unique_ptr<LlmBackend>> create_backend(BackendKind kind);
Result<std::unique_ptr<LlmBackend>> create_backend(BackendKind kind, const ServingConfig& config);

}  // namespace ruvllm
