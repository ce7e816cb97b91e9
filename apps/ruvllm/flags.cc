#include "flags.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/str.h"
#include "io.h"

namespace ruvllm::cli {
namespace {

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (true) {
    const size_t end = text.find(separator, begin);
    parts.emplace_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

std::string range_text(int64_t min, int64_t max) {
  if (min == 0 && max >= INT32_MAX) return "a whole number of 0 or more";
  if (min == 1 && max >= INT32_MAX) return "a whole number of 1 or more";
  return concat("a whole number from ", min, " to ", max);
}

template <typename N>
std::function<Status(std::string_view)> integer_setter(N& target, int64_t min, int64_t max) {
  return [&target, min, max](std::string_view text) -> Status {
    int64_t value = 0;
    if (!parse_number(text, value) || value < min || value > max) {
      return fail(ErrorCode::kInvalidArgument, concat("expected ", range_text(min, max)));
    }
    target = static_cast<N>(value);
    return {};
  };
}

}  // namespace

void FlagSet::add_flag(const std::string& names, Flag flag) {
  flag.names = split(names, ',');
  flags_.push_back(std::move(flag));
}

void FlagSet::add(std::string names, bool& target, std::string help) {
  add_custom(std::move(names), "", "", std::move(help), [&target](std::string_view) -> Status {
    target = true;
    return {};
  });
}

void FlagSet::add(std::string names, std::string value, std::string& target, std::string help) {
  add_custom(std::move(names), std::move(value), target, std::move(help),
             [&target](std::string_view text) -> Status {
               target = std::string(text);
               return {};
             });
}

void FlagSet::add(std::string names, std::string value, int32_t& target, std::string help,
                  int64_t min, int64_t max) {
  add_custom(std::move(names), std::move(value), concat(target), std::move(help),
             integer_setter(target, min, max));
}

void FlagSet::add(std::string names, std::string value, int64_t& target, std::string help,
                  int64_t min, int64_t max) {
  add_custom(std::move(names), std::move(value), concat(target), std::move(help),
             integer_setter(target, min, max));
}

void FlagSet::add(std::string names, std::string value, float& target, std::string help) {
  add_custom(std::move(names), std::move(value), concat(target), std::move(help),
             [&target](std::string_view text) -> Status {
               double number = 0.0;
               if (!parse_number(text, number) || !std::isfinite(number)) {
                 return fail(ErrorCode::kInvalidArgument, "expected a number");
               }
               target = static_cast<float>(number);
               return {};
             });
}

void FlagSet::add(std::string names, std::string value, std::optional<uint64_t>& target,
                  std::string help) {
  add_custom(std::move(names), std::move(value), "", std::move(help),
             [&target](std::string_view text) -> Status {
               uint64_t number = 0;
               if (!parse_number(text, number)) {
                 return fail(ErrorCode::kInvalidArgument, "expected a whole number of 0 or more");
               }
               target = number;
               return {};
             });
}

void FlagSet::add(std::string names, std::string value, std::vector<std::string>& target,
                  std::string help) {
  add_custom(std::move(names), std::move(value), "", std::move(help),
             [&target](std::string_view text) -> Status {
               target.emplace_back(text);
               return {};
             });
}

void FlagSet::add_custom(std::string names, std::string value, std::string default_text,
                         std::string help, std::function<Status(std::string_view)> set) {
  Flag flag;
  flag.value = std::move(value);
  flag.default_text = std::move(default_text);
  flag.help = std::move(help);
  flag.set = std::move(set);
  add_flag(names, std::move(flag));
}

void FlagSet::add_refused(std::string names, bool takes_value, std::string reason) {
  Flag flag;
  flag.value = takes_value ? "VALUE" : "";
  flag.hidden = true;
  flag.set = [reason = std::move(reason)](std::string_view) -> Status {
    return fail(ErrorCode::kUnsupported, reason);
  };
  add_flag(names, std::move(flag));
}

void FlagSet::add_positional(std::string name, std::string& target, std::string help) {
  Flag flag;
  flag.value = std::move(name);
  flag.help = std::move(help);
  flag.set = [&target](std::string_view text) -> Status {
    target = std::string(text);
    return {};
  };
  positional_ = std::move(flag);
}

const FlagSet::Flag* FlagSet::find(std::string_view name) const {
  for (const Flag& flag : flags_) {
    if (std::find(flag.names.begin(), flag.names.end(), name) != flag.names.end()) return &flag;
  }
  return nullptr;
}

bool FlagSet::given(std::string_view name) const {
  const Flag* flag = find(name);
  return flag != nullptr && flag->given;
}

int FlagSet::usage_error(std::string_view message) const {
  print_error(verb_, message);
  return kExitUsage;
}

std::optional<int> FlagSet::parse(Args args) {
  bool positional_seen = false;
  for (size_t i = 0; i < args.size(); ++i) {
    std::string_view name = args[i];
    if (name == "--help" || name == "-h") {
      write_out(help_text());
      return kExitOk;
    }
    std::optional<std::string_view> value;
    if (name.size() < 2 || name[0] != '-') {
      if (!positional_ || positional_seen) {
        return usage_error(concat("unexpected argument ", printable(name), " (see --help)"));
      }
      positional_seen = true;
      static_cast<void>(positional_->set(name));
      continue;
    }
    if (const size_t equals = name.find('=');
        name.starts_with("--") && equals != std::string_view::npos) {
      value = name.substr(equals + 1);
      name = name.substr(0, equals);
    }
    const Flag* known = find(name);
    if (known == nullptr) {
      return usage_error(concat("unknown flag ", printable(name), " (see --help)"));
    }
    Flag* flag = &flags_[static_cast<size_t>(known - flags_.data())];
    flag->given = true;
    if (flag->value.empty() && value) {
      return usage_error(concat(name, " takes no value, found ", printable(*value)));
    }
    if (!flag->value.empty() && !value) {
      if (i + 1 >= args.size()) return usage_error(concat(name, " needs a value: ", flag->value));
      value = args[++i];
    }
    if (const Status status = flag->set(value.value_or("")); !status) {
      if (status.error().code == ErrorCode::kUnsupported) {
        print_error(verb_, concat(name, ": ", status.error().message));
        return kExitFailure;
      }
      return usage_error(
          concat(name, " is ", printable(value.value_or("")), ", ", status.error().message));
    }
  }
  return std::nullopt;
}

std::string FlagSet::help_text() const {
  std::string text = concat("ruvllm ", verb_, ": ", summary_, "\n\nusage: ruvllm ", verb_);
  if (positional_) text += concat(" ", positional_->value);
  text += " [flags]\n";
  constexpr size_t kColumn = 30;
  const auto line = [&](std::string left, const std::string& help, const std::string& fallback) {
    // What is too long for its column has a line of its own.
    if (left.size() >= kColumn)
      left += "\n" + std::string(kColumn, ' ');
    else
      left.resize(kColumn, ' ');
    text += left + help;
    if (!fallback.empty()) text += concat(" [", fallback, "]");
    text += '\n';
  };
  if (positional_) line("  " + positional_->value, positional_->help, "");
  for (const Flag& flag : flags_) {
    if (flag.hidden) continue;
    std::string left = "  ";
    for (const std::string& name : flag.names) left += (left.size() > 2 ? ", " : "") + name;
    if (!flag.value.empty()) left += " " + flag.value;
    line(left, flag.help, flag.default_text);
  }
  if (!examples_.empty()) text += "\nexamples:\n";
  for (const std::string& example : examples_) text += "  " + example + "\n";
  return text;
}

Result<std::vector<int64_t>> parse_int_list(std::string_view text, int64_t min) {
  std::vector<int64_t> values;
  for (const std::string& part : split(text, ',')) {
    int64_t value = 0;
    if (!parse_number(part, value) || value < min) {
      return fail(ErrorCode::kInvalidArgument,
                  concat("expected whole numbers of ", min, " or more, separated by commas"));
    }
    values.push_back(value);
  }
  return values;
}

Result<uint64_t> parse_bytes(std::string_view text) {
  uint64_t unit = 1;
  constexpr std::string_view kUnits = "KMGT";
  std::string_view digits = text;
  if (digits.ends_with("iB")) digits.remove_suffix(2);
  if (!digits.empty() && digits.back() == 'B') digits.remove_suffix(1);
  if (!digits.empty()) {
    const size_t power = kUnits.find(static_cast<char>(digits.back() & ~0x20));
    if (power != std::string_view::npos) {
      unit = uint64_t{1} << (10 * (power + 1));
      digits.remove_suffix(1);
    }
  }
  double value = 0.0;
  if (!parse_number(digits, value) || !(value >= 0.0) || value * static_cast<double>(unit) > 1e18) {
    return fail(ErrorCode::kInvalidArgument, "expected a size such as 8G, 512M or 1000000");
  }
  return static_cast<uint64_t>(value * static_cast<double>(unit));
}

}  // namespace ruvllm::cli
