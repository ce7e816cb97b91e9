// What can be called, and what stands behind a dot: builtin functions, methods of values, filters,
// tests, and the binding of arguments to parameters.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tokenizer/jinja/runtime.h"
#include "tokenizer/jinja/value.h"

namespace ruvllm::jinja {

// A builtin: `self` is the value it belongs to (the filtered value, the tested value, the owner of
// a method), kMissing for global functions.
using BuiltinFunction = Result<Value> (*)(Runtime& runtime, const Value& self, const Args& args);

struct Builtin {
  const char* name;
  BuiltinFunction function;
};

struct FunctionObject : Object {
  FunctionObject(const Builtin* what, Value owner) : builtin(what), self(std::move(owner)) {}
  void clear() override { self = Value(); }
  const Builtin* const builtin;
  Value self;
};

// nullptr when there is none of that name.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_global(std::string_view name);
// Methods that a value of this kind has; mutators are not among them.
const Builtin* find_method(const Value& object, std::string_view name);

// object.name as the sandbox does it: attribute, then item, then undefined.
Result<Value> get_attribute(Runtime& runtime, const Value& object, const Value& name);
// object[key]: item, then attribute, then undefined.
Result<Value> get_item(Runtime& runtime, const Value& object, const Value& key);
// Only the attribute; kMissing when there is none.
Result<Value> find_attribute(Runtime& runtime, const Value& object, std::string_view name);
// Whether the environment's callable() holds.
bool is_callable(const Value& value);
// "<function range>", "<Macro 'm'>": for printing.
std::string describe_callable(const Value& value);
// Attributes of a loop or macro (interpreter.cc); kMissing when there is none.
Result<Value> loop_attribute(Runtime& runtime, const Value& loop, std::string_view name);
Value macro_attribute(Runtime& runtime, const Value& macro, std::string_view name);

// Parameters of a builtin, in order; arguments are given by place or name. After bind(), what was
// not given is kMissing.
template <size_t N>
struct Bound {
  Value values[N];
  const Value& operator[](size_t i) const { return values[i]; }
  bool has(size_t i) const { return !values[i].is_missing(); }
};
Status bind_arguments(const char* function, const Args& args, std::span<const char* const> names,
                      size_t num_required, std::span<Value> out);

template <size_t N>
Result<Bound<N>> bind(const char* function, const Args& args, const char* const (&names)[N],
                      size_t num_required = 0) {
  Bound<N> bound;
  RUVLLM_TRY(bind_arguments(function, args, names, num_required, bound.values));
  return bound;
}
// For builtins without parameters.
Status bind_nothing(const char* function, const Args& args);

}  // namespace ruvllm::jinja
