// What everything that runs inside a render shares: the heap, the limits, and how errors are made.
// One Runtime per render, used by one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/str.h"
#include "ruvllm/result.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/jinja/value.h"

namespace ruvllm::jinja {

// An error of the template or its data (Python would raise); the message says what and with what.
inline std::unexpected<Error> raise(std::string message) {
  return fail(ErrorCode::kInvalidArgument, std::move(message));
}

inline std::unexpected<Error> over_limit(std::string_view what) {
  return fail(ErrorCode::kOutOfMemory, concat("the template exceeds the limit on ", what));
}

inline std::unexpected<Error> unsupported(std::string message) {
  return fail(ErrorCode::kUnsupported, std::move(message));
}

struct Runtime {
  explicit Runtime(const RenderOptions& options)
      : heap(options.limits.max_output_bytes),
        steps_left(options.limits.max_steps),
        max_depth(options.limits.max_depth),
        now_unix_seconds(options.now_unix_seconds) {}

  // Pays for work. Bulk operations pay by bytes or items, so that a step is a bounded time.
  Status charge(uint64_t steps) {
    if (steps > static_cast<uint64_t>(steps_left)) {
      steps_left = 0;
      return over_limit("steps");
    }
    steps_left -= static_cast<int64_t>(steps);
    if (heap.exhausted()) return over_limit("memory");
    return {};
  }
  Status charge_bytes(uint64_t bytes) { return charge(bytes / 32); }
  // For walking over every character, which is slow where it needs the Unicode tables.
  Status charge_walk(std::string_view text) {
    return charge(text.size() / (is_ascii(text) ? 32 : 4));
  }
  // To be asked before making or extending a value to this size.
  Status check_size(uint64_t bytes) {
    if (!heap.fits(bytes)) return over_limit("the size of values");
    return charge_bytes(bytes / 2);
  }
  Result<Value> make_string(std::string text) {
    RUVLLM_TRY(check_size(text.size()));
    return heap.string(std::move(text));
  }

  Heap heap;
  int64_t steps_left;
  const int32_t max_depth;
  const int64_t now_unix_seconds;
  int32_t value_depth = 0;          // of the walk over a nested value that is under way
  bool raised_by_template = false;  // raise_exception: the message stays as it is
};

// Counts one level of a walk over nested values.
class ValueDepth {
 public:
  explicit ValueDepth(Runtime& runtime) : runtime_(runtime) { ++runtime_.value_depth; }
  ~ValueDepth() { --runtime_.value_depth; }
  ValueDepth(const ValueDepth&) = delete;
  ValueDepth& operator=(const ValueDepth&) = delete;
  Status check() const {
    if (runtime_.value_depth > runtime_.max_depth) return over_limit("the nesting of values");
    return {};
  }

 private:
  Runtime& runtime_;
};

// The arguments of a call, filter or test.
struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<Value, Value>> named;  // name, value; names are strings, each once
};

}  // namespace ruvllm::jinja
