// FlagSet: the flags of one verb, as one list that gives parsing, --help and the defaults shown in
// it.
//
// A flag writes into a variable of the caller, whose value at add() is the default. Values may be
// given as `--name value` or `--name=value`. parse() prints help, or one line about what is wrong,
// and tells the verb to end.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ruvllm/result.h"

namespace ruvllm::cli {

constexpr int kExitOk = 0;
constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int kExitInterrupted = 130;

using Args = std::span<const std::string_view>;

class FlagSet {
 public:
  FlagSet(std::string verb, std::string summary)
      : verb_(std::move(verb)), summary_(std::move(summary)) {}

  // `names`: "-m,--model"; `value`: what the value is called in the help.
  void add(std::string names, bool& target, std::string help);  // no value: sets true
  void add(std::string names, std::string value, std::string& target, std::string help);
  void add(std::string names, std::string value, int32_t& target, std::string help,
           int64_t min = INT32_MIN, int64_t max = INT32_MAX);
  void add(std::string names, std::string value, int64_t& target, std::string help,
           int64_t min = INT64_MIN, int64_t max = INT64_MAX);
  void add(std::string names, std::string value, float& target, std::string help);
  void add(std::string names, std::string value, std::optional<uint64_t>& target, std::string help);
  // Repeatable; every use appends.
  void add(std::string names, std::string value, std::vector<std::string>& target,
           std::string help);
  // Anything else: `set` checks and stores the value.
  void add_custom(std::string names, std::string value, std::string default_text, std::string help,
                  std::function<Status(std::string_view)> set);
  // A flag this build cannot honour: using it is refused with `reason`. Not shown in the help.
  void add_refused(std::string names, bool takes_value, std::string reason);
  // The one argument without a flag.
  void add_positional(std::string name, std::string& target, std::string help);
  void add_example(std::string text) { examples_.push_back(std::move(text)); }

  // Exit status when the verb must end now (help or a mistake); nullopt: go on.
  std::optional<int> parse(Args args);
  // Whether the flag of that name was used; after parse().
  bool given(std::string_view name) const;
  // Prints "ruvllm VERB: message" and gives kExitUsage.
  int usage_error(std::string_view message) const;

 private:
  struct Flag {
    std::vector<std::string> names;
    std::string value;  // "": takes none
    std::string default_text;
    std::string help;
    std::function<Status(std::string_view)> set;
    bool hidden = false;
    bool given = false;
  };
  void add_flag(const std::string& names, Flag flag);
  const Flag* find(std::string_view name) const;
  std::string help_text() const;

  std::string verb_;
  std::string summary_;
  std::vector<Flag> flags_;
  std::optional<Flag> positional_;
  std::vector<std::string> examples_;
};

// "1,8,32" as numbers of at least `min`.
Result<std::vector<int64_t>> parse_int_list(std::string_view text, int64_t min);
// "4G", "512M", "1000000": bytes; K, M, G, T are powers of 1024.
Result<uint64_t> parse_bytes(std::string_view text);

}  // namespace ruvllm::cli
