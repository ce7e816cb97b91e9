#include "quantize/calibration_text.h"

#include <algorithm>

#include "base/json.h"
#include "base/mmap_file.h"
#include "base/str.h"

namespace ruvllm {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;

Result<std::string> text_of_line(std::string_view line, const std::string& path, int64_t number) {
  const auto json = Json::parse(line);
  if (!json) {
    return fail(ErrorCode::kBadFile, concat(path, ": line ", number, ": ", json.error().message));
  }
  const Json* text = json->is_object() ? json->find("text") : &*json;
  if (text == nullptr || text->as_string() == nullptr) {
    return fail(ErrorCode::kBadFile,
                concat(path, ": line ", number, ": expected a string or an object with \"text\""));
  }
  return *text->as_string();
}

// Of long texts pieces at even distances, twice as long as the samples can need: the rest need not
// be encoded. Pieces begin and end at a newline or a blank.
std::vector<std::string> thin_out(const std::vector<std::string>& texts, int64_t max_samples,
                                  int64_t tokens) {
  constexpr size_t kBytesPerToken = 8;
  const auto count = static_cast<size_t>(max_samples);
  const size_t piece = static_cast<size_t>(tokens) * kBytesPerToken;
  size_t all_bytes = 0;
  for (const std::string& text : texts) all_bytes += text.size();
  if (all_bytes / piece <= 2 * count) return texts;
  std::string joined;
  for (const std::string& text : texts) joined += text + "\n";
  std::vector<std::string> out;
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = joined.find_first_of(" \n", i * (joined.size() / count));
    if (begin == std::string::npos) break;
    const size_t end = std::min(joined.find_last_of(" \n", begin + piece), joined.size());
    if (end > begin) out.push_back(joined.substr(begin + 1, end - begin - 1));
  }
  return out;
}

}  // namespace

Result<std::vector<std::string>> read_calibration_texts(const std::string& path) {
  if (path.empty()) return std::vector<std::string>{std::string(builtin_calibration_text())};
  RUVLLM_ASSIGN(std::string all, read_text_file(path, kMaxFileBytes));
  if (!path.ends_with(".jsonl")) return std::vector<std::string>{std::move(all)};
  return parse_calibration_lines(all, path);
}

Result<std::vector<std::string>> parse_calibration_lines(std::string_view lines,
                                                         const std::string& path) {
  std::vector<std::string> texts;
  std::string_view rest = lines;
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    RUVLLM_ASSIGN(std::string text, text_of_line(line, path, number));
    texts.push_back(std::move(text));
  }
  return texts;
}

Result<std::vector<std::vector<int32_t>>> make_calibration_samples(
    const std::vector<std::string>& texts, const Tokenizer& tokenizer, int32_t vocab_size,
    int64_t max_samples, int64_t tokens) {
  std::vector<int32_t> all;
  for (const std::string& text : thin_out(texts, max_samples, tokens)) {
    RUVLLM_ASSIGN(const std::vector<int32_t> ids, tokenizer.encode(text, /*add_special=*/true));
    all.insert(all.end(), ids.begin(), ids.end());
  }
  for (const int32_t id : all) {
    if (id >= 0 && id < vocab_size) continue;
    return fail(ErrorCode::kBadFile, concat("calibration: the tokenizer makes token ", id,
                                            ", the model has ", vocab_size));
  }
  constexpr int64_t kLeastTokens = 16;
  const auto count = static_cast<int64_t>(all.size());
  if (count < kLeastTokens) {
    return fail(ErrorCode::kInvalidArgument, concat("calibration: the text has ", count,
                                                    " tokens, expected at least ", kLeastTokens));
  }
  const int64_t length = std::min(tokens, count);
  const int64_t available = count / length;
  const int64_t taken = std::min(max_samples, available);
  std::vector<std::vector<int32_t>> samples;
  for (int64_t i = 0; i < taken; ++i) {
    const auto begin = all.begin() + i * available / taken * length;
    samples.emplace_back(begin, begin + length);
  }
  return samples;
}

}  // namespace ruvllm
