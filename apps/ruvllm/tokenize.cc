// ruvllm tokenize and detokenize: text to token ids and back, for anything that holds a tokenizer.
#include <utility>

#include "base/str.h"
#include "engine/model_parts.h"
#include "io.h"
#include "verbs.h"

namespace ruvllm::cli {
namespace {

Result<std::unique_ptr<Tokenizer>> open_tokenizer(const std::string& model, bool offline) {
  RUVLLM_ASSIGN(const std::string path, resolve_model(model, offline));
  RUVLLM_ASSIGN(TokenizerData data, load_tokenizer_data(path));
  return make_tokenizer(std::move(data));
}

// Runs `convert` on every line of `path` and prints what it gives; the error names the line.
int convert_lines(std::string_view verb, const std::string& path,
                  const std::function<Result<std::string>(const Json&)>& convert) {
  int64_t number = 0;
  Status status;
  std::string out;
  const auto on_line = [&](std::string_view line) {
    ++number;
    const Result<Json> json = Json::parse(line, 256);
    Result<std::string> text = json ? convert(*json) : std::unexpected(json.error());
    if (!text) {
      status = fail(text.error().code, concat(path, " line ", number, ": ", text.error().message));
      return false;
    }
    out += *text;
    out += '\n';
    if (out.size() > (1 << 16)) {
      write_out(out);
      out.clear();
    }
    return true;
  };
  const Status read = for_each_line(path, on_line);
  write_out(out);
  if (!read) return fail_with(verb, read.error());
  return status ? kExitOk : fail_with(verb, status.error());
}

std::string stream_pieces(const Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                          bool skip_special) {
  const auto decoder = make_incremental_decoder(tokenizer, skip_special);
  Json::Array pieces;
  const auto add = [&](std::string piece) {
    if (!piece.empty()) pieces.emplace_back(std::move(piece));
  };
  for (const int32_t id : ids) add(decoder->push(id));
  add(decoder->flush());
  return Json(std::move(pieces)).dump();
}

}  // namespace

int verb_tokenize(Args args) {
  std::string model;
  std::optional<std::string> text;
  std::string file;
  std::string jsonl;
  bool no_special = false;
  bool offline = false;
  bool json = true;
  FlagSet flags("tokenize", "text to token ids, as a JSON list");
  flags.add("-m,--model", "MODEL", model, "a model, or a file or directory with a tokenizer");
  flags.add_custom("-t,--text", "TEXT", "", "the text", [&](std::string_view value) -> Status {
    text = std::string(value);
    return {};
  });
  flags.add("--file", "FILE", file, "the text is in this file (- is stdin)");
  flags.add("--jsonl", "FILE", jsonl,
            "one JSON string per line; one list of ids per line comes out");
  flags.add("--no-special", no_special, "without the special tokens around the text");
  flags.add("--offline", offline, "never download");
  flags.add("--json", json, "JSON output (always on)");
  flags.add_example("ruvllm tokenize -m demo --text \"Hello there\"");
  flags.add_example("ruvllm tokenize -m tokenizer.json --jsonl texts.jsonl --no-special");
  if (const auto status = flags.parse(args)) return *status;
  if (model.empty()) return flags.usage_error("which tokenizer? give -m MODEL");
  if (text.has_value() + !file.empty() + !jsonl.empty() != 1) {
    return flags.usage_error("give one of --text, --file and --jsonl");
  }
  const auto tokenizer = open_tokenizer(model, offline);
  if (!tokenizer) return fail_with("tokenize", tokenizer.error());
  const auto encode = [&](std::string_view input) -> Result<std::string> {
    RUVLLM_ASSIGN(const std::vector<int32_t> ids, (*tokenizer)->encode(input, !no_special));
    return ids_json(ids).dump();
  };
  if (!jsonl.empty()) {
    return convert_lines("tokenize", jsonl, [&](const Json& line) -> Result<std::string> {
      const std::string* input = line.as_string();
      if (input == nullptr) {
        return fail(ErrorCode::kInvalidArgument,
                    concat("expected a JSON string, found ", line.type_name()));
      }
      return encode(*input);
    });
  }
  if (!text) {
    Result<std::string> content = read_input(file);
    if (!content) return fail_with("tokenize", content.error());
    text = *std::move(content);
  }
  const Result<std::string> ids = encode(*text);
  if (!ids) return fail_with("tokenize", ids.error());
  write_out(*ids + "\n");
  return kExitOk;
}

int verb_detokenize(Args args) {
  std::string model;
  std::string ids_path;
  std::string jsonl;
  bool skip_special = false;
  bool offline = false;
  bool stream = false;
  bool json = false;
  FlagSet flags("detokenize", "token ids to text");
  flags.add("-m,--model", "MODEL", model, "a model, or a file or directory with a tokenizer");
  flags.add("--ids", "FILE", ids_path, "a JSON list of ids (- is stdin)");
  flags.add("--jsonl", "FILE", jsonl,
            "one list of ids per line; one JSON string per line comes out");
  flags.add("--skip-special", skip_special, "drop special tokens");
  flags.add("--stream", stream, "the pieces an incremental decoder emits, as a JSON list");
  flags.add("--offline", offline, "never download");
  flags.add("--json", json, "a JSON string instead of plain text");
  flags.add_example("ruvllm tokenize -m demo --text Hi | ruvllm detokenize -m demo --ids -");
  if (const auto status = flags.parse(args)) return *status;
  if (model.empty()) return flags.usage_error("which tokenizer? give -m MODEL");
  if (ids_path.empty() == jsonl.empty()) return flags.usage_error("give one of --ids and --jsonl");
  const auto tokenizer = open_tokenizer(model, offline);
  if (!tokenizer) return fail_with("detokenize", tokenizer.error());
  const auto decode = [&](const Json& input, bool as_json) -> Result<std::string> {
    RUVLLM_ASSIGN(const std::vector<int32_t> ids, ids_from_json(input));
    if (stream) return stream_pieces(**tokenizer, ids, skip_special);
    std::string text = (*tokenizer)->decode(ids, skip_special);
    return as_json ? Json(std::move(text)).dump() : text;
  };
  if (!jsonl.empty()) {
    return convert_lines("detokenize", jsonl, [&](const Json& line) { return decode(line, true); });
  }
  const auto content = read_input(ids_path);
  if (!content) return fail_with("detokenize", content.error());
  const Result<Json> input = Json::parse(*content);
  const Result<std::string> text = input ? decode(*input, json) : std::unexpected(input.error());
  if (!text)
    return fail_with("detokenize",
                     {text.error().code, concat(ids_path, ": ", text.error().message)});
  // The text exactly; JSON and terminals get their newline.
  write_out(stream || json || stdout_is_terminal() ? *text + "\n" : *text);
  return kExitOk;
}

}  // namespace ruvllm::cli
