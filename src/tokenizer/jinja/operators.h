// Python's operators on Values: arithmetic, comparison, truth, membership, indexing, iteration.
// Errors are those that Python would raise, or the render's limits.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tokenizer/jinja/runtime.h"
#include "tokenizer/jinja/value.h"

namespace ruvllm::jinja {

enum class BinaryOp : uint8_t { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
enum class CompareOp : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

bool truth(const Value& value);
// Numbers only; nullopt when one of them is not a number in the sense of IEEE 754.
std::optional<int> compare_numbers(const Value& a, const Value& b);
Result<bool> equals(Runtime& runtime, const Value& a, const Value& b);
// Negative, zero or positive; an error for values that have no order. NaN counts as unordered: 2.
Result<int> order(Runtime& runtime, const Value& a, const Value& b);
Result<bool> compare(Runtime& runtime, CompareOp op, const Value& a, const Value& b);
Result<bool> contains(Runtime& runtime, const Value& container, const Value& item);

Result<Value> binary(Runtime& runtime, BinaryOp op, const Value& a, const Value& b);
Result<Value> negate(Runtime& runtime, const Value& value);
Result<Value> plus(Runtime& runtime, const Value& value);

// As Python's int(): any integer as BigInt; bools count.
BigInt to_big_int(const Value& value);
double to_real(const Value& value);  // of a number; infinite when out of range
// An integer argument that has to fit 64 bits, saturated; an error for other types.
Result<int64_t> to_index(const Value& value, const char* what);

// len(): nullopt when the value has none.
std::optional<uint64_t> length_of(const Value& value);
Result<uint64_t> require_length(const Value& value);

// obj[key] as the environment does it: undefined where there is no such item. Attributes are not
// tried here.
Result<Value> subscript(Runtime& runtime, const Value& object, const Value& key);
// object[start:stop:step]; kMissing or None for what is not given.
Result<Value> slice(Runtime& runtime, const Value& object, const Value& start, const Value& stop,
                    const Value& step);
// The characters [begin, end) of a string.
Value substring(Runtime& runtime, const Value& string, size_t begin, size_t end);

bool is_iterable(const Value& value);

// Walks over anything iterable. Consumes iterators, as Python does.
class Cursor {
 public:
  Cursor() = default;
  explicit Cursor(Value source) : source_(std::move(source)) {}
  static Result<Cursor> open(Value source);
  // False at the end.
  Result<bool> next(Runtime& runtime, Value& out);
  const Value& source() const { return source_; }
  void clear() { source_ = Value(); }

 private:
  Value source_;
  size_t position_ = 0;
};

Result<std::vector<Value>> to_vector(Runtime& runtime, const Value& iterable);

}  // namespace ruvllm::jinja
