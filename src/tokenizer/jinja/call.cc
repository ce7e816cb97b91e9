#include "tokenizer/jinja/call.h"

#include <algorithm>

#include "tokenizer/jinja/methods.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/text.h"

namespace ruvllm::jinja {
namespace {

std::span<const Builtin> method_table(const Value& object) {
  switch (object.kind()) {
    case Kind::kString:
      return string_methods();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      return sequence_methods();
    case Kind::kDict:
      return dict_methods();
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kBigInt:
      return integer_methods();
    case Kind::kFloat:
      return real_methods();
    case Kind::kCycler:
      return cycler_methods();
    case Kind::kFunction:
      // The global `dict` has one method, fromkeys.
      if (std::string_view(object.as<FunctionObject>().builtin->name) == "dict") {
        return dict_type_methods();
      }
      return {};
    default:
      return {};
  }
}

// Methods that would change the value in place; the immutable sandbox refuses them.
bool is_mutator(const Value& object, std::string_view name) {
  constexpr const char* kList[] = {"append", "clear",  "extend",  "insert",
                                   "pop",    "remove", "reverse", "sort"};
  constexpr const char* kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  if (object.is(Kind::kList))
    return std::find(std::begin(kList), std::end(kList), name) != std::end(kList);
  if (object.is(Kind::kDict))
    return std::find(std::begin(kDict), std::end(kDict), name) != std::end(kDict);
  return false;
}

Value unsafe_attribute(Runtime& runtime, const Value& object, std::string_view name) {
  return runtime.heap.undefined_hint(concat("access to attribute '", printable(name), "' of '",
                                            type_name(object), "' object is unsafe."));
}

// Attributes that are data, not methods.
Value data_attribute(Runtime& runtime, const Value& object, std::string_view name) {
  switch (object.kind()) {
    case Kind::kTuple: {
      const auto& list = object.as<ListObject>();
      if (list.is_group && name == "grouper") return list.items[0];
      if (list.is_group && name == "list") return list.items[1];
      return {};
    }
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kBigInt:
      if (name == "real" || name == "numerator") {
        return object.is(Kind::kBool) ? Value(object.integer()) : object;
      }
      if (name == "imag") return Value(int64_t{0});
      if (name == "denominator") return Value(int64_t{1});
      return {};
    case Kind::kFloat:
      if (name == "real") return object;
      if (name == "imag") return Value(0.0);
      return {};
    case Kind::kRange: {
      const auto& range = object.as<RangeObject>();
      if (name == "start") return Value(range.start);
      if (name == "stop") return Value(range.stop);
      if (name == "step") return Value(range.step);
      return {};
    }
    case Kind::kNamespace: {
      const Value* found = object.as<NamespaceObject>().find(name);
      return found != nullptr ? *found : Value();
    }
    case Kind::kCycler: {
      auto& cycler = object.as<CyclerObject>();
      if (name == "current") return cycler.items[cycler.position];
      if (name == "pos") return Value(static_cast<int64_t>(cycler.position));
      if (name == "items") return runtime.heap.tuple(cycler.items);
      return {};
    }
    case Kind::kJoiner:
      if (name == "sep") return object.as<JoinerObject>().separator;
      if (name == "used") return Value(object.as<JoinerObject>().used);
      return {};
    case Kind::kMacro:
      return macro_attribute(runtime, object, name);
    default:
      return {};
  }
}

bool is_dunder(std::string_view name) {
  return name.size() > 4 && name.starts_with("__") && name.ends_with("__");
}

}  // namespace

const Builtin* find_method(const Value& object, std::string_view name) {
  return find_builtin(method_table(object), name);
}

Result<Value> find_attribute(Runtime& runtime, const Value& object, std::string_view name) {
  if (is_dunder(name) && !object.is(Kind::kNamespace))
    return unsafe_attribute(runtime, object, name);
  if (is_mutator(object, name)) return unsafe_attribute(runtime, object, name);
  if (object.is(Kind::kLoop)) return loop_attribute(runtime, object, name);
  if (object.is(Kind::kNamespace)) {
    RUVLLM_TRY(runtime.charge(object.as<NamespaceObject>().items.size() / 8));
  }
  if (Value data = data_attribute(runtime, object, name); !data.is_missing()) return data;
  if (const Builtin* method = find_method(object, name)) {
    return Value(Kind::kFunction, runtime.heap.make<FunctionObject>(0, method, object));
  }
  return Value();
}

Result<Value> get_attribute(Runtime& runtime, const Value& object, const Value& name) {
  if (object.is_undefined()) return raise(undefined_message(object));
  RUVLLM_ASSIGN(Value found, find_attribute(runtime, object, name.text()));
  if (!found.is_missing()) return found;
  if (object.is(Kind::kDict)) {
    if (const Value* item = object.as<DictObject>().find(name.text())) return *item;
  }
  return runtime.heap.undefined_attribute(object_name(object), name.text());
}

Result<Value> get_item(Runtime& runtime, const Value& object, const Value& key) {
  RUVLLM_ASSIGN(Value item, subscript(runtime, object, key));
  if (!item.is_undefined() || !key.is_string()) return item;
  if (object.is(Kind::kDict) && object.as<DictObject>().find(key.text()) != nullptr) return item;
  RUVLLM_ASSIGN(Value found, find_attribute(runtime, object, key.text()));
  return found.is_missing() ? item : found;
}

bool is_callable(const Value& value) {
  switch (value.kind()) {
    case Kind::kFunction:
    case Kind::kMacro:
    case Kind::kLoop:
    case Kind::kJoiner:
    case Kind::kUndefined:  // has __call__, which raises
      return true;
    default:
      return false;
  }
}

Status bind_arguments(const char* function, const Args& args, std::span<const char* const> names,
                      size_t num_required, std::span<Value> out) {
  if (args.positional.size() > names.size()) {
    return raise(concat(function, "() takes at most ", names.size(), " arguments (",
                        args.positional.size(), " given)"));
  }
  for (size_t i = 0; i < args.positional.size(); ++i) out[i] = args.positional[i];
  for (const auto& [name, value] : args.named) {
    size_t i = 0;
    while (i < names.size() && name.text() != names[i]) ++i;
    if (i == names.size()) {
      return raise(
          concat(function, "() got an unexpected keyword argument '", printable(name.text()), "'"));
    }
    if (!out[i].is_missing()) {
      return raise(concat(function, "() got multiple values for argument '", names[i], "'"));
    }
    out[i] = value;
  }
  for (size_t i = 0; i < num_required; ++i) {
    if (out[i].is_missing()) {
      return raise(concat(function, "() missing the argument '", names[i], "'"));
    }
  }
  return {};
}

Status bind_nothing(const char* function, const Args& args) {
  if (args.positional.empty() && args.named.empty()) return {};
  return raise(concat(function, "() takes no arguments"));
}

}  // namespace ruvllm::jinja
