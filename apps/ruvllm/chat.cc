#include "chat.h"

#include <cstdio>
#include <utility>
#include <vector>

#include "answer.h"
#include "base/str.h"
#include "flags.h"
#include "io.h"
#include "line_reader.h"

namespace ruvllm::cli {
namespace {

constexpr std::string_view kHelp =
    "  /help           this list\n"
    "  /reset          forget the conversation\n"
    "  /system TEXT    set the system message (no TEXT: none) and start anew\n"
    "  /quit           leave (Ctrl-D too)\n"
    "  Ctrl-C stops an answer; a line that ends in \\ goes on in the next one\n";

class Chat {
 public:
  Chat(LlmBackend& backend, const ChatOptions& options) : backend_(backend), options_(options) {
    reset(options.system);
  }

  int loop();

 private:
  void reset(std::string system);
  // Whether the line was a command; `done` when it ends the chat.
  bool command(std::string_view line, bool& done);
  Result<Prompt> prompt_that_fits();
  void answer(std::string line);
  bool read_message(std::string& message, bool& end);

  LlmBackend& backend_;
  const ChatOptions& options_;
  LineReader reader_;
  std::string system_;
  std::vector<ChatMessage> messages_;
};

void Chat::reset(std::string system) {
  system_ = std::move(system);
  messages_.clear();
  if (!system_.empty()) messages_.push_back({"system", system_});
}

bool Chat::command(std::string_view line, bool& done) {
  if (!line.starts_with('/')) return false;
  const size_t space = line.find(' ');
  const std::string_view name = line.substr(0, space);
  const std::string_view rest =
      space == std::string_view::npos ? std::string_view() : line.substr(space + 1);
  if (name == "/quit" || name == "/exit") {
    done = true;
  } else if (name == "/reset") {
    reset(system_);
    write_out("(a new conversation)\n");
  } else if (name == "/system") {
    reset(std::string(rest));
    write_out(rest.empty() ? "(no system message; a new conversation)\n"
                           : "(system message set; a new conversation)\n");
  } else if (name == "/help") {
    write_out(kHelp);
  } else {
    write_out(concat("unknown command ", printable(name), "\n", kHelp));
  }
  return true;
}

// Drops the oldest turns until the conversation leaves room for an answer.
Result<Prompt> Chat::prompt_that_fits() {
  RUVLLM_ASSIGN(const ModelInfo info, backend_.model_info());
  const int64_t room = std::max<int64_t>(info.max_seq_len - info.max_seq_len / 8, 1);
  bool dropped = false;
  while (true) {
    RUVLLM_ASSIGN(Prompt prompt, make_prompt(backend_, messages_, options_.raw));
    const auto* ids = std::get_if<std::vector<int32_t>>(&prompt);
    const size_t first = system_.empty() ? 0 : 1;
    if (ids == nullptr || static_cast<int64_t>(ids->size()) <= room ||
        messages_.size() <= first + 2) {
      if (dropped) write_out("(the context is full: the oldest turns were dropped)\n");
      return prompt;
    }
    const auto begin = messages_.begin() + static_cast<ptrdiff_t>(first);
    messages_.erase(begin, begin + 2);
    dropped = true;
  }
}

void Chat::answer(std::string line) {
  messages_.push_back({"user", std::move(line)});
  Result<Prompt> prompt = prompt_that_fits();
  if (!prompt) {
    messages_.pop_back();
    fail_with("run", prompt.error());
    return;
  }
  const Result<GenerateResult> result =
      stream_answer(backend_, *prompt, options_.params, write_out);
  write_out("\n");
  if (!result) {
    messages_.pop_back();
    fail_with("run", result.error());
    return;
  }
  if (result->finish_reason == FinishReason::kCancelled) write_out("(stopped)\n");
  messages_.push_back({"assistant", result->text});
  if (options_.stats) {
    const std::string stats = stats_line(*result, *backend_.model_info());
    std::fputs(stats.c_str(), stderr);
  }
}

bool Chat::read_message(std::string& message, bool& end) {
  message.clear();
  std::string line;
  while (true) {
    const LineReader::Outcome outcome = reader_.read(message.empty() ? "> " : ". ", line);
    if (outcome == LineReader::Outcome::kInterrupted) {
      write_out("\n(/quit or Ctrl-D leaves)\n");
      return false;
    }
    if (outcome == LineReader::Outcome::kEnd) {
      end = true;
      return !message.empty();
    }
    message += line;
    if (!message.ends_with('\\')) return !message.empty();
    message.back() = '\n';
  }
}

int Chat::loop() {
  if (stdin_is_terminal()) write_out("Type a message, /help for commands, /quit to leave.\n");
  bool end = false;
  while (!end) {
    std::string message;
    if (!read_message(message, end)) continue;
    if (!command(message, end)) answer(std::move(message));
  }
  if (stdin_is_terminal()) write_out("\n");
  return kExitOk;
}

}  // namespace

int chat(LlmBackend& backend, const ChatOptions& options) {
  note_interrupt();
  const int status = Chat(backend, options).loop();
  exit_on_interrupt();
  return status;
}

}  // namespace ruvllm::cli
