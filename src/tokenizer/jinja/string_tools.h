// Parts of Python's str that both the methods of strings and the filters use.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/jinja/runtime.h"
#include "tokenizer/jinja/value.h"

namespace ruvllm::jinja {

// A string like `self`: Markup when `self` is.
Value make_like(Runtime& runtime, const Value& self, std::string text);
Value make_like(Runtime& runtime, const Value& self, std::string_view text);

// All but negative counts replace at most so many. Linear time.
Result<std::string> replace_text(Runtime& runtime, std::string_view text, std::string_view from,
                                 std::string_view to, int64_t max_count);
enum class Side : uint8_t { kBoth, kLeft, kRight };
// `chars` missing or None: white space.
Result<std::string_view> strip_text(std::string_view text, const Value& chars, Side side);
// Lines without their ends (or with).
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);
// Fills up to `width` characters; the text is at the left, right or in the middle of the result.
enum class Justify : uint8_t { kLeft, kRight, kCenter };
Result<std::string> justify_text(Runtime& runtime, const Value& text, int64_t width,
                                 std::string_view fill, Justify how);
// separator.join(items), each of which must be a string.
Result<Value> join_strings(Runtime& runtime, const Value& separator, const Value& items);

}  // namespace ruvllm::jinja
