// The builtin tests (`x is name`).
#include <cmath>

#include "tokenizer/jinja/call.h"
#include "tokenizer/jinja/methods.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/text.h"

namespace ruvllm::jinja {
namespace {

using Predicate = bool (*)(const Value& value);

template <Predicate holds>
Result<Value> plain(Runtime&, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("test", args));
  return Value(holds(self));
}

bool is_defined(const Value& v) {
  return !v.is_undefined();
}
bool is_undefined(const Value& v) {
  return v.is_undefined();
}
bool is_none(const Value& v) {
  return v.is_none();
}
bool is_boolean(const Value& v) {
  return v.is(Kind::kBool);
}
bool is_true(const Value& v) {
  return v.is(Kind::kBool) && v.boolean();
}
bool is_false(const Value& v) {
  return v.is(Kind::kBool) && !v.boolean();
}
bool is_integer(const Value& v) {
  return v.is(Kind::kInt) || v.is(Kind::kBigInt);
}
bool is_real(const Value& v) {
  return v.is(Kind::kFloat);
}
bool is_number(const Value& v) {
  return v.is_number();
}
bool is_string(const Value& v) {
  return v.is_string();
}
bool is_mapping(const Value& v) {
  return v.is(Kind::kDict);
}
bool is_iterable_value(const Value& v) {
  return is_iterable(v) || v.is(Kind::kLoop);
}
bool is_callable_value(const Value& v) {
  return is_callable(v);
}
bool is_escaped(const Value& v) {
  return v.is_string() && v.as<StringObject>().markup;
}

// Has a length and subscripts.
bool is_sequence(const Value& v) {
  return v.is_string() || v.is_sequence() || v.is_undefined() || v.is(Kind::kDict) ||
         v.is(Kind::kRange);
}

// value % divisor, compared with `wanted`.
Result<Value> remainder_is(Runtime& runtime, const Value& self, const Value& divisor,
                           int64_t wanted) {
  RUVLLM_ASSIGN(const Value remainder, binary(runtime, BinaryOp::kMod, self, divisor));
  RUVLLM_ASSIGN(const bool same, equals(runtime, remainder, Value(wanted)));
  return Value(same);
}

template <int64_t wanted>
Result<Value> parity(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("test", args));
  return remainder_is(runtime, self, Value(int64_t{2}), wanted);
}

Result<Value> divisible_by(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("divisibleby", args, {"num"}, 1));
  return remainder_is(runtime, self, given[0], 0);
}

template <bool upper>
Result<Value> letter_case(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("test", args));
  RUVLLM_ASSIGN(const std::string text, str(runtime, self));
  return Value(upper ? is_upper_text(text) : is_lower_text(text));
}

template <CompareOp op>
Result<Value> comparison(Runtime& runtime, const Value& self, const Args& args) {
  if (args.positional.size() != 1 || !args.named.empty())
    return raise("the test takes one argument");
  RUVLLM_ASSIGN(const bool holds, compare(runtime, op, self, args.positional[0]));
  return Value(holds);
}

Result<Value> is_in(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("in", args, {"seq"}, 1));
  RUVLLM_ASSIGN(const bool found, contains(runtime, given[0], self));
  return Value(found);
}

Result<Value> same_as(Runtime&, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("sameas", args, {"other"}, 1));
  return Value(self.same_as(given[0]));
}

template <const Builtin* (*find)(std::string_view)>
Result<Value> names_builtin(Runtime&, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("test", args));
  if (!is_hashable(self)) return raise(concat("unhashable type: '", type_name(self), "'"));
  return Value(self.is_string() && find(self.text()) != nullptr);
}

constexpr Builtin kTests[] = {
    {"odd", parity<1>},
    {"even", parity<0>},
    {"divisibleby", divisible_by},
    {"defined", plain<is_defined>},
    {"undefined", plain<is_undefined>},
    {"filter", names_builtin<find_filter>},
    {"test", names_builtin<find_test>},
    {"none", plain<is_none>},
    {"boolean", plain<is_boolean>},
    {"false", plain<is_false>},
    {"true", plain<is_true>},
    {"integer", plain<is_integer>},
    {"float", plain<is_real>},
    {"lower", letter_case<false>},
    {"upper", letter_case<true>},
    {"string", plain<is_string>},
    {"mapping", plain<is_mapping>},
    {"number", plain<is_number>},
    {"sequence", plain<is_sequence>},
    {"iterable", plain<is_iterable_value>},
    {"callable", plain<is_callable_value>},
    {"sameas", same_as},
    {"escaped", plain<is_escaped>},
    {"in", is_in},
    {"==", comparison<CompareOp::kEq>},
    {"eq", comparison<CompareOp::kEq>},
    {"equalto", comparison<CompareOp::kEq>},
    {"!=", comparison<CompareOp::kNe>},
    {"ne", comparison<CompareOp::kNe>},
    {">", comparison<CompareOp::kGt>},
    {"gt", comparison<CompareOp::kGt>},
    {"greaterthan", comparison<CompareOp::kGt>},
    {"ge", comparison<CompareOp::kGe>},
    {">=", comparison<CompareOp::kGe>},
    {"<", comparison<CompareOp::kLt>},
    {"lt", comparison<CompareOp::kLt>},
    {"lessthan", comparison<CompareOp::kLt>},
    {"<=", comparison<CompareOp::kLe>},
    {"le", comparison<CompareOp::kLe>},
};

}  // namespace

const Builtin* find_test(std::string_view name) {
  return find_builtin(kTests, name);
}

}  // namespace ruvllm::jinja
