#include "tokenizer/jinja/attribute_path.h"

#include <algorithm>
#include <string_view>

#include "tokenizer/jinja/call.h"
#include "tokenizer/jinja/string_tools.h"

namespace ruvllm::jinja {

AttributePath::AttributePath(Runtime& runtime, const Value& attribute) {
  if (attribute.is_missing() || attribute.is_none()) return;
  if (!attribute.is_string()) {
    parts_.push_back(attribute);
    return;
  }
  std::string_view rest = attribute.text();
  while (true) {
    const size_t dot = std::min(rest.find('.'), rest.size());
    const std::string_view part = rest.substr(0, dot);
    int64_t index = 0;
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == part.npos &&
                        parse_number(part, index);
    parts_.push_back(number ? Value(index) : runtime.heap.string(part));
    if (dot == rest.size()) break;
    rest.remove_prefix(dot + 1);
  }
}

Result<Value> AttributePath::get(Runtime& runtime, Value item, const Value& otherwise) const {
  for (const Value& part : parts_) {
    RUVLLM_ASSIGN(item, get_item(runtime, item, part));
    if (item.is_undefined() && !otherwise.is_missing() && !otherwise.is_none()) item = otherwise;
  }
  return item;
}

}  // namespace ruvllm::jinja
