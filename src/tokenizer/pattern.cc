#include "tokenizer/pattern.h"

#include "tokenizer/pcre2_regex.h"

namespace ruvllm {

Result<Pattern> Pattern::regex(std::string_view text) {
  Pattern pattern;
  pattern.scanner_ = find_scanner(text);
  pattern.finder_ = find_finder(text);
  if (pattern.scanner_ != nullptr || pattern.finder_ != nullptr) return pattern;
  return regex_by_pcre2(text);
}

Result<Pattern> Pattern::regex_by_pcre2(std::string_view text) {
  Pattern pattern;
  RUVLLM_ASSIGN(pattern.pcre2_, Pcre2Regex::make(text));
  return pattern;
}

Pattern Pattern::literal(std::string text) {
  Pattern pattern;
  pattern.literal_ = std::move(text);
  return pattern;
}

Status Pattern::for_each_match(std::string_view text,
                               FunctionRef<void(size_t, size_t)> visit) const {
  if (pcre2_ != nullptr) return pcre2_->for_each_match(text, visit);
  size_t from = 0;
  if (scanner_ != nullptr) {
    while (from < text.size()) {
      const size_t end = scanner_(text, from);
      visit(from, end);
      from = end;
    }
  } else if (finder_ != nullptr) {
    size_t begin = 0, end = 0;
    while (finder_(text, from, begin, end)) {
      visit(begin, end);
      from = end;
    }
  } else if (!literal_.empty()) {
    while ((from = text.find(literal_, from)) != std::string_view::npos) {
      visit(from, from + literal_.size());
      from += literal_.size();
    }
  }
  return {};
}

Status Pattern::for_each_span(std::string_view text, FunctionRef<void(Span)> visit) const {
  size_t done = 0;
  RUVLLM_TRY(for_each_match(text, [&](size_t begin, size_t end) {
    if (begin > done) visit({done, begin, false});
    visit({begin, end, true});
    done = end;
  }));
  if (done < text.size()) visit({done, text.size(), false});
  return {};
}

std::vector<Span> apply_behavior(const std::vector<Span>& spans, SplitBehavior behavior) {
  std::vector<Span> pieces;
  bool previous_is_match = false;
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return spans;
    case SplitBehavior::kRemoved:
      for (const Span& span : spans) {
        if (!span.is_match) pieces.push_back(span);
      }
      return pieces;
    case SplitBehavior::kContiguous:
      for (const Span& span : spans) {
        if (span.is_match == previous_is_match && !pieces.empty()) {
          pieces.back().end = span.end;
        } else {
          pieces.push_back(span);
        }
        previous_is_match = span.is_match;
      }
      return pieces;
    case SplitBehavior::kMergedWithPrevious:
      for (const Span& span : spans) {
        if (span.is_match && !previous_is_match && !pieces.empty()) {
          pieces.back().end = span.end;
        } else {
          pieces.push_back(span);
        }
        previous_is_match = span.is_match;
      }
      return pieces;
    case SplitBehavior::kMergedWithNext:
      for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
        if (span->is_match && !previous_is_match && !pieces.empty()) {
          pieces.back().begin = span->begin;
        } else {
          pieces.push_back(*span);
        }
        previous_is_match = span->is_match;
      }
      return {pieces.rbegin(), pieces.rend()};
  }
  return pieces;
}

}  // namespace ruvllm
