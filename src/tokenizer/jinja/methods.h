// Tables of methods by kind of value; call.cc picks from them.
#pragma once

#include <span>
#include <string_view>

#include "tokenizer/jinja/call.h"

namespace ruvllm::jinja {

std::span<const Builtin> string_methods();
std::span<const Builtin> sequence_methods();  // list, tuple, range
std::span<const Builtin> dict_methods();
std::span<const Builtin> integer_methods();
std::span<const Builtin> real_methods();
std::span<const Builtin> cycler_methods();
std::span<const Builtin> dict_type_methods();

// str.isupper and str.islower.
bool is_upper_text(std::string_view text);
bool is_lower_text(std::string_view text);

// The one of that name in a table, or nullptr.
inline const Builtin* find_builtin(std::span<const Builtin> table, std::string_view name) {
  for (const Builtin& builtin : table) {
    if (!name.empty() && name[0] == builtin.name[0] && name == builtin.name) return &builtin;
  }
  return nullptr;
}

}  // namespace ruvllm::jinja
