// Methods of lists, tuples, ranges, dicts, numbers and cyclers.
#include "tokenizer/jinja/methods.h"

#include <cmath>

#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/text.h"

namespace ruvllm::jinja {
namespace {

Result<Value> sequence_count(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("count", args, {"value"}, 1));
  RUVLLM_ASSIGN(const std::vector<Value> items, to_vector(runtime, self));
  int64_t count = 0;
  for (const Value& item : items) {
    RUVLLM_TRY(runtime.charge(1));
    RUVLLM_ASSIGN(const bool same, equals(runtime, item, given[0]));
    count += same ? 1 : 0;
  }
  return Value(count);
}

Result<Value> sequence_index(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("index", args, {"value", "start", "stop"}, 1));
  RUVLLM_ASSIGN(const std::vector<Value> items, to_vector(runtime, self));
  const auto length = static_cast<int64_t>(items.size());
  const auto bound = [&](size_t which, int64_t otherwise) -> Result<int64_t> {
    if (!given.has(which)) return otherwise;
    RUVLLM_ASSIGN(int64_t index, to_index(given[which], "a slice index"));
    return index < 0 ? std::max<int64_t>(index < -length ? 0 : index + length, 0) : index;
  };
  RUVLLM_ASSIGN(const int64_t start, bound(1, 0));
  RUVLLM_ASSIGN(const int64_t stop, bound(2, length));
  for (int64_t i = start; i < std::min(stop, length); ++i) {
    RUVLLM_TRY(runtime.charge(1));
    RUVLLM_ASSIGN(const bool same, equals(runtime, items[static_cast<size_t>(i)], given[0]));
    if (same) return Value(i);
  }
  return raise(concat(short_repr(runtime, given[0]), " is not in the ", type_name(self)));
}

Result<Value> copy(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("copy", args));
  if (self.is(Kind::kTuple) || self.is(Kind::kRange)) {
    return raise(concat("'", type_name(self), "' object has no attribute 'copy'"));
  }
  (void)runtime;
  return self;  // nothing can change it
}

Result<Value> dict_get(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("get", args, {"key", "default"}, 1));
  if (!is_hashable(given[0])) return raise(concat("unhashable type: '", type_name(given[0]), "'"));
  if (given[0].is_string()) RUVLLM_TRY(runtime.charge_bytes(given[0].text().size()));
  if (const Value* found = self.as<DictObject>().find(given[0])) return *found;
  return given.has(1) ? given[1] : Value::none();
}

template <DictViewObject::Part part>
Result<Value> dict_view(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("dict view", args));
  return Value(Kind::kDictView, runtime.heap.make<DictViewObject>(0, self, part));
}

Result<Value> from_keys(Runtime& runtime, const Value&, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("fromkeys", args, {"iterable", "value"}, 1));
  RUVLLM_ASSIGN(const std::vector<Value> keys, to_vector(runtime, given[0]));
  std::vector<DictObject::Item> items;
  for (const Value& key : keys) {
    if (!is_hashable(key)) return raise(concat("unhashable type: '", type_name(key), "'"));
    RUVLLM_TRY(runtime.charge(1 + (key.is_string() ? key.text().size() / 4 : 16)));
    items.emplace_back(key, given.has(1) ? given[1] : Value::none());
  }
  return runtime.heap.dict(std::move(items));
}

Result<Value> bit_length(Runtime&, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("bit_length", args));
  return Value(static_cast<int64_t>(to_big_int(self).num_bits()));
}

Result<Value> conjugate(Runtime&, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("conjugate", args));
  return self.is(Kind::kBool) ? Value(self.integer()) : self;
}

Result<Value> real_is_integer(Runtime&, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("is_integer", args));
  return Value(std::isfinite(self.real()) && std::trunc(self.real()) == self.real());
}

Result<Value> cycler_next(Runtime&, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("next", args));
  auto& cycler = self.as<CyclerObject>();
  Value item = cycler.items[cycler.position];
  cycler.position = (cycler.position + 1) % cycler.items.size();
  return item;
}

Result<Value> cycler_reset(Runtime&, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("reset", args));
  self.as<CyclerObject>().position = 0;
  return Value::none();
}

constexpr Builtin kSequence[] = {
    {"count", sequence_count}, {"index", sequence_index}, {"copy", copy}};
constexpr Builtin kDict[] = {{"copy", copy},
                             {"fromkeys", from_keys},
                             {"get", dict_get},
                             {"items", dict_view<DictViewObject::Part::kItems>},
                             {"keys", dict_view<DictViewObject::Part::kKeys>},
                             {"values", dict_view<DictViewObject::Part::kValues>}};
constexpr Builtin kDictType[] = {{"fromkeys", from_keys}};
constexpr Builtin kInteger[] = {{"bit_length", bit_length}, {"conjugate", conjugate}};
constexpr Builtin kReal[] = {{"is_integer", real_is_integer}, {"conjugate", conjugate}};
constexpr Builtin kCycler[] = {{"next", cycler_next}, {"reset", cycler_reset}};

}  // namespace

std::span<const Builtin> sequence_methods() {
  return kSequence;
}
std::span<const Builtin> dict_methods() {
  return kDict;
}
std::span<const Builtin> dict_type_methods() {
  return kDictType;
}
std::span<const Builtin> integer_methods() {
  return kInteger;
}
std::span<const Builtin> real_methods() {
  return kReal;
}
std::span<const Builtin> cycler_methods() {
  return kCycler;
}

}  // namespace ruvllm::jinja
