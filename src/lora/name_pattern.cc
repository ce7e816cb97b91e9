#include "lora/name_pattern.h"

#include <limits>
#include <optional>
#include <utility>

#include "base/str.h"

namespace ruvllm {
namespace {

constexpr size_t kMaxPatternBytes = 8192;
constexpr int kMaxNesting = 50;
constexpr int32_t kMaxRepeat = 1000;
constexpr int64_t kMaxSteps = 1'000'000;
constexpr int kMaxDepth = 5000;

std::bitset<256> range(unsigned char first, unsigned char last) {
  std::bitset<256> set;
  for (unsigned c = first; c <= last; ++c) set.set(c);
  return set;
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// \d, \w, ...; nullopt: not a class.
std::optional<std::bitset<256>> escaped_class(char c) {
  std::bitset<256> set;
  switch (c) {
    case 'd':
    case 'D':
      set = range('0', '9');
      break;
    case 'w':
    case 'W':
      set = range('a', 'z') | range('A', 'Z') | range('0', '9') | range('_', '_');
      break;
    case 's':
    case 'S':
      set = range('\t', '\r') | range(' ', ' ');
      break;
    default:
      return std::nullopt;
  }
  return c < 'a' ? ~set : set;
}

}  // namespace

class NamePattern::Parser {
 public:
  explicit Parser(NamePattern& out) : out_(out), text_(out.text_) {}

  Status run() {
    RUVLLM_ASSIGN(out_.root_, choice(0));
    if (at_ < text_.size()) return refuse("an unmatched ')'");
    return {};
  }

 private:
  std::unexpected<Error> refuse(std::string_view what) const {
    return fail(ErrorCode::kUnsupported,
                concat("pattern \"", printable(text_), "\": ", what, " at byte ", at_));
  }
  bool take(std::string_view token) {
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  int32_t add(Node node) {
    out_.nodes_.push_back(std::move(node));
    return static_cast<int32_t>(out_.nodes_.size()) - 1;
  }
  int32_t add(Kind kind) {
    Node node;
    node.kind = kind;
    return add(std::move(node));
  }

  Result<int32_t> choice(int depth) {
    if (depth > kMaxNesting) return refuse("too many nested groups");
    Node node;
    node.kind = Kind::kChoice;
    do {
      RUVLLM_ASSIGN(const int32_t branch, sequence(depth));
      node.children.push_back(branch);
    } while (take("|"));
    return add(std::move(node));
  }

  Result<int32_t> sequence(int depth) {
    Node node;
    while (at_ < text_.size() && text_[at_] != '|' && text_[at_] != ')') {
      RUVLLM_ASSIGN(const int32_t atom, this->atom(depth));
      RUVLLM_ASSIGN(const int32_t item, repeated(atom));
      node.children.push_back(item);
    }
    return add(std::move(node));
  }

  Result<int32_t> group(int depth) {
    Node look;
    look.kind = Kind::kLookahead;
    bool is_look = false;
    if (take("?=")) {
      is_look = true;
    } else if (take("?!")) {
      is_look = look.negated = true;
    } else if (!take("?:") && at_ < text_.size() && text_[at_] == '?') {
      return refuse("a group of a kind that is not supported");
    }
    RUVLLM_ASSIGN(const int32_t inside, choice(depth + 1));
    if (!take(")")) return refuse("a group without ')'");
    if (!is_look) return inside;
    look.children.push_back(inside);
    return add(std::move(look));
  }

  Result<int32_t> atom(int depth) {
    const char c = text_[at_++];
    switch (c) {
      case '(':
        return group(depth);
      case '[':
        return char_class();
      case '^':
        return add(Kind::kStart);
      case '$':
        return add(Kind::kEnd);
      case '*':
      case '+':
      case '?':
        return refuse("nothing to repeat");
      case '.': {
        Node node;
        node.kind = Kind::kSet;
        node.set = ~range('\n', '\n');
        return add(std::move(node));
      }
      case '\\':
        return escape();
      default:
        return literal(c);
    }
  }

  int32_t literal(char c) {
    Node node;
    node.kind = Kind::kSet;
    node.set.set(static_cast<unsigned char>(c));
    return add(std::move(node));
  }

  Result<int32_t> escape() {
    if (at_ == text_.size()) return refuse("a lone backslash");
    const char c = text_[at_++];
    if (c == 'b') return add(Kind::kBoundary);
    if (c == 'Z') return add(Kind::kEnd);
    if (c == 'A') return add(Kind::kStart);
    if (const auto set = escaped_class(c)) {
      Node node;
      node.kind = Kind::kSet;
      node.set = *set;
      return add(std::move(node));
    }
    if (is_word(c)) return refuse("an escape that is not supported");
    return literal(c);
  }

  // One character of a class, after its escape was read: the character or the class it stands for.
  Result<std::pair<char, std::optional<std::bitset<256>>>> class_item() {
    char c = text_[at_++];
    if (c != '\\') return std::pair{c, std::optional<std::bitset<256>>()};
    if (at_ == text_.size()) return refuse("a lone backslash");
    c = text_[at_++];
    auto set = escaped_class(c);
    if (!set && is_word(c)) return refuse("an escape that is not supported");
    return std::pair{c, set};
  }

  Result<int32_t> char_class() {
    Node node;
    node.kind = Kind::kSet;
    const bool negated = take("^");
    bool first = true;
    while (true) {
      if (at_ == text_.size()) return refuse("a '[' without ']'");
      if (text_[at_] == ']' && !first) break;
      first = false;
      RUVLLM_ASSIGN(const auto item, class_item());
      const bool is_range =
          !item.second && at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']';
      if (item.second) {
        node.set |= *item.second;
      } else if (is_range) {
        ++at_;
        RUVLLM_ASSIGN(const auto last, class_item());
        if (last.second ||
            static_cast<unsigned char>(last.first) < static_cast<unsigned char>(item.first)) {
          return refuse("a bad character range");
        }
        node.set |=
            range(static_cast<unsigned char>(item.first), static_cast<unsigned char>(last.first));
      } else {
        node.set.set(static_cast<unsigned char>(item.first));
      }
    }
    ++at_;
    if (negated) node.set = ~node.set;
    return add(std::move(node));
  }

  // {m}, {m,}, {,n}, {m,n}; false: the brace is a literal, as in Python.
  bool braces(int32_t& min, int32_t& max) {
    const size_t close = text_.find('}', at_);
    if (close == std::string_view::npos) return false;
    const std::string_view inside = text_.substr(at_ + 1, close - at_ - 1);
    const size_t comma = inside.find(',');
    const std::string_view low = inside.substr(0, std::min(comma, inside.size()));
    min = 0;
    if (!low.empty() && !parse_number(low, min)) return false;
    if (comma == std::string_view::npos) {
      if (low.empty()) return false;
      max = min;
    } else {
      const std::string_view high = inside.substr(comma + 1);
      max = std::numeric_limits<int32_t>::max();
      if (!high.empty() && !parse_number(high, max)) return false;
    }
    at_ = close + 1;
    return true;
  }

  Result<int32_t> repeated(int32_t atom) {
    Node node;
    node.kind = Kind::kRepeat;
    node.children.push_back(atom);
    node.max = std::numeric_limits<int32_t>::max();
    if (take("*")) {
    } else if (take("+")) {
      node.min = 1;
    } else if (take("?")) {
      node.max = 1;
    } else if (at_ < text_.size() && text_[at_] == '{') {
      if (!braces(node.min, node.max)) return atom;
      const bool fits = node.max == std::numeric_limits<int32_t>::max() || node.max <= kMaxRepeat;
      if (node.min < 0 || node.min > kMaxRepeat || node.max < node.min || !fits) {
        return refuse("a repeat count that is not supported");
      }
    } else {
      return atom;
    }
    if (take("+")) return refuse("a possessive repeat");
    take("?");  // lazy: the same set of whole names
    if (at_ < text_.size() && (text_[at_] == '*' || text_[at_] == '?' || text_[at_] == '+')) {
      return refuse("a repeat of a repeat");
    }
    return add(std::move(node));
  }

  NamePattern& out_;
  std::string_view text_;
  size_t at_ = 0;
};

// Backtracking with continuations; `next` is what must match after a node.
class NamePattern::Matcher {
 public:
  using Next = FunctionRef<bool(size_t)>;

  Matcher(const std::vector<Node>& nodes, std::string_view name) : nodes_(nodes), name_(name) {}

  bool exhausted() const { return exhausted_; }

  bool match(int32_t index, size_t at, Next next) {
    if (++steps_ > kMaxSteps || depth_ >= kMaxDepth) exhausted_ = true;
    if (exhausted_) return false;
    ++depth_;
    const bool found = match_node(nodes_[static_cast<size_t>(index)], at, next);
    --depth_;
    return found;
  }

 private:
  bool match_node(const Node& node, size_t at, Next next) {
    switch (node.kind) {
      case Kind::kSet:
        return at < name_.size() && node.set.test(static_cast<unsigned char>(name_[at])) &&
               next(at + 1);
      case Kind::kSequence:
        return match_sequence(node, 0, at, next);
      case Kind::kChoice:
        for (const int32_t child : node.children) {
          if (match(child, at, next)) return true;
        }
        return false;
      case Kind::kRepeat:
        return match_repeat(node, 0, at, next);
      case Kind::kStart:
        return at == 0 && next(at);
      case Kind::kEnd:
        return at == name_.size() && next(at);
      case Kind::kBoundary: {
        const bool before = at > 0 && is_word(name_[at - 1]);
        const bool after = at < name_.size() && is_word(name_[at]);
        return before != after && next(at);
      }
      case Kind::kLookahead: {
        const bool found = match(node.children[0], at, [](size_t) { return true; });
        return !exhausted_ && found != node.negated && next(at);
      }
    }
    return false;
  }

  bool match_sequence(const Node& node, size_t child, size_t at, Next next) {
    if (child == node.children.size()) return next(at);
    return match(node.children[child], at,
                 [&](size_t end) { return match_sequence(node, child + 1, end, next); });
  }

  bool match_repeat(const Node& node, int32_t count, size_t at, Next next) {
    if (count < node.max) {
      const bool found = match(node.children[0], at, [&](size_t end) {
        // A turn that takes nothing is worth counting up to `min` only.
        if (end == at && count >= node.min) return false;
        return match_repeat(node, count + 1, end, next);
      });
      if (found) return true;
    }
    return count >= node.min && next(at);
  }

  const std::vector<Node>& nodes_;
  std::string_view name_;
  int64_t steps_ = 0;
  int depth_ = 0;
  bool exhausted_ = false;
};

Result<NamePattern> NamePattern::compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return fail(ErrorCode::kUnsupported, concat("a pattern of ", pattern.size(),
                                                " bytes, expected at most ", kMaxPatternBytes));
  }
  NamePattern out;
  out.text_ = pattern;
  RUVLLM_TRY(Parser(out).run());
  return out;
}

Result<bool> NamePattern::matches(std::string_view name) const {
  Matcher matcher(nodes_, name);
  const bool found = matcher.match(root_, 0, [&](size_t end) { return end == name.size(); });
  if (matcher.exhausted()) {
    return fail(ErrorCode::kUnsupported,
                concat("pattern \"", printable(text_), "\" takes too long to match"));
  }
  return found;
}

}  // namespace ruvllm
