// Tables of the builtin filters by what they work on; find_filter (call.h) looks through them.
#pragma once

#include <span>

#include "tokenizer/jinja/call.h"

namespace ruvllm::jinja {

std::span<const Builtin> text_filters();
std::span<const Builtin> sequence_filters();
std::span<const Builtin> order_filters();
std::span<const Builtin> scalar_filters();
Result<Value> wordwrap_filter(Runtime& runtime, const Value& self, const Args& args);

}  // namespace ruvllm::jinja
