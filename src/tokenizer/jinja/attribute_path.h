// AttributePath: the `attribute` argument of filters, a path such as "a.b.0": what make_attrgetter
// of the original does with it. A value; get() fails as the lookup of one of its parts does.
#pragma once

#include <vector>

#include "tokenizer/jinja/runtime.h"

namespace ruvllm::jinja {

class AttributePath {
 public:
  AttributePath() = default;
  AttributePath(Runtime& runtime, const Value& attribute);

  // `otherwise` stands for what is undefined on the way, unless it is missing or none.
  Result<Value> get(Runtime& runtime, Value item, const Value& otherwise) const;

 private:
  std::vector<Value> parts_;
};

}  // namespace ruvllm::jinja
