// Indexing, slicing and iteration of operators.h.
#include <algorithm>

#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/text.h"

namespace ruvllm::jinja {
namespace {

// Python's index rule: negative counts from the end. False when outside.
bool resolve_index(int64_t index, uint64_t length, size_t& out) {
  if (index < 0) index += static_cast<int64_t>(length);
  if (index < 0 || static_cast<uint64_t>(index) >= length) return false;
  out = static_cast<size_t>(index);
  return true;
}

// The byte where character `index` begins.
size_t byte_of_char(const StringObject& string, size_t index) {
  if (string.is_ascii()) return index;
  size_t position = 0;
  for (size_t i = 0; i < index && position < string.text.size(); ++i) {
    next_char(string.text, position);
  }
  return position;
}

struct SliceBounds {
  int64_t start = 0;
  int64_t step = 1;
  int64_t count = 0;
};

Result<SliceBounds> resolve_slice(uint64_t length_u, const Value& start, const Value& stop,
                                  const Value& step) {
  const auto length = static_cast<int64_t>(length_u);
  const auto given = [](const Value& value) { return !value.is_missing() && !value.is_none(); };
  SliceBounds bounds;
  if (given(step)) {
    RUVLLM_ASSIGN(bounds.step, to_index(step, "a slice index"));
    if (bounds.step == 0) return raise("slice step cannot be zero");
  }
  const bool backward = bounds.step < 0;
  const int64_t lowest = backward ? -1 : 0;
  const int64_t highest = backward ? length - 1 : length;
  const auto clamp = [&](int64_t index) {
    if (index < 0) index = index < -length ? lowest : index + length;
    return std::clamp(index, lowest, highest);
  };
  bounds.start = backward ? highest : lowest;
  int64_t end = backward ? lowest : highest;
  if (given(start)) {
    RUVLLM_ASSIGN(const int64_t index, to_index(start, "a slice index"));
    bounds.start = clamp(index);
  }
  if (given(stop)) {
    RUVLLM_ASSIGN(const int64_t index, to_index(stop, "a slice index"));
    end = clamp(index);
  }
  const int64_t distance = backward ? bounds.start - end : end - bounds.start;
  // |step| without overflow for the smallest integer: anything that long visits one item.
  const int64_t stride =
      backward ? (bounds.step == INT64_MIN ? INT64_MAX : -bounds.step) : bounds.step;
  bounds.count = distance <= 0 ? 0 : (distance - 1) / stride + 1;
  return bounds;
}

Result<Value> slice_string(Runtime& runtime, const Value& object, const SliceBounds& bounds) {
  const auto& string = object.as<StringObject>();
  const auto start = static_cast<size_t>(bounds.start);
  const auto count = static_cast<size_t>(bounds.count);
  RUVLLM_TRY(runtime.check_size(string.text.size()));
  if (bounds.step != 1 || !string.is_ascii()) RUVLLM_TRY(runtime.charge_bytes(string.text.size()));
  std::string out;
  if (bounds.step == 1) {
    const size_t begin = byte_of_char(string, start);
    size_t end = begin;
    if (string.is_ascii()) {
      end = begin + count;
    } else {
      for (size_t i = 0; i < count; ++i) next_char(string.text, end);
    }
    out = string.text.substr(begin, end - begin);
  } else {
    const std::vector<char32_t> chars = to_chars(string.text);
    int64_t index = bounds.start;
    for (size_t i = 0; i < count; ++i) {
      append_char(out, chars[static_cast<size_t>(index)]);
      if (i + 1 < count) index += bounds.step;
    }
  }
  return string.markup ? runtime.heap.markup(std::move(out)) : runtime.heap.string(std::move(out));
}

Result<Value> slice_range(Runtime& runtime, const Value& object, const SliceBounds& bounds) {
  const auto& range = object.as<RangeObject>();
  int64_t start = 0;
  int64_t step = 0;
  int64_t span = 0;
  int64_t stop = 0;
  if (__builtin_mul_overflow(bounds.start, range.step, &start) ||
      __builtin_add_overflow(start, range.start, &start) ||
      __builtin_mul_overflow(bounds.step, range.step, &step) ||
      __builtin_mul_overflow(bounds.count, step, &span) ||
      __builtin_add_overflow(start, span, &stop)) {
    return over_limit("the size of integers");
  }
  return Value(Kind::kRange, runtime.heap.make<RangeObject>(0, start, stop, step, bounds.count));
}

}  // namespace

Value substring(Runtime& runtime, const Value& string, size_t begin, size_t end) {
  const auto& object = string.as<StringObject>();
  const size_t first = byte_of_char(object, begin);
  size_t last = first;
  if (object.is_ascii()) {
    last = std::min(end, object.text.size());
  } else {
    for (size_t i = begin; i < end && last < object.text.size(); ++i) next_char(object.text, last);
  }
  std::string out = object.text.substr(first, last - first);
  return object.markup ? runtime.heap.markup(std::move(out)) : runtime.heap.string(std::move(out));
}

Result<Value> subscript(Runtime& runtime, const Value& object, const Value& key) {
  if (object.is_undefined()) return raise(undefined_message(object));
  if (object.is(Kind::kDict)) {
    if (key.is_string()) RUVLLM_TRY(runtime.charge_bytes(key.text().size()));
    if (is_hashable(key)) {
      if (const Value* found = object.as<DictObject>().find(key)) return *found;
    }
    return runtime.heap.undefined_element("dict object", key);
  }
  const bool indexable = object.is_string() || object.is_sequence() || object.is(Kind::kRange);
  if (indexable && key.is_integer()) {
    RUVLLM_ASSIGN(const int64_t index, to_index(key, "an index"));
    size_t at = 0;
    if (resolve_index(index, *length_of(object), at)) {
      if (object.is_sequence()) return object.items()[at];
      if (object.is(Kind::kRange)) {
        return Value(object.as<RangeObject>().at(static_cast<int64_t>(at)));
      }
      RUVLLM_TRY(runtime.charge_bytes(at));
      return substring(runtime, object, at, at + 1);
    }
  }
  return runtime.heap.undefined_element(object_name(object), key);
}

Result<Value> slice(Runtime& runtime, const Value& object, const Value& start, const Value& stop,
                    const Value& step) {
  if (object.is_undefined()) return raise(undefined_message(object));
  if (!object.is_string() && !object.is_sequence() && !object.is(Kind::kRange)) {
    return raise(concat("'", type_name(object), "' object cannot be sliced"));
  }
  RUVLLM_ASSIGN(const SliceBounds bounds, resolve_slice(*length_of(object), start, stop, step));
  if (object.is_string()) return slice_string(runtime, object, bounds);
  if (object.is(Kind::kRange)) return slice_range(runtime, object, bounds);
  RUVLLM_TRY(runtime.check_size(static_cast<uint64_t>(bounds.count) * sizeof(Value)));
  std::vector<Value> out;
  out.reserve(static_cast<size_t>(bounds.count));
  int64_t index = bounds.start;
  for (int64_t i = 0; i < bounds.count; ++i) {
    out.push_back(object.items()[static_cast<size_t>(index)]);
    if (i + 1 < bounds.count) index += bounds.step;
  }
  return object.is(Kind::kList) ? runtime.heap.list(std::move(out))
                                : runtime.heap.tuple(std::move(out));
}

bool is_iterable(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kDictView:
    case Kind::kRange:
    case Kind::kIterator:
      return true;
    default:
      return false;
  }
}

Result<Cursor> Cursor::open(Value source) {
  if (!is_iterable(source)) {
    return raise(concat("'", type_name(source), "' object is not iterable"));
  }
  return Cursor(std::move(source));
}

Result<bool> Cursor::next(Runtime& runtime, Value& out) {
  switch (source_.kind()) {
    case Kind::kString: {
      const std::string& text = source_.text();
      if (position_ >= text.size()) return false;
      const size_t begin = position_;
      next_char(text, position_);
      out = runtime.heap.string(text.substr(begin, position_ - begin));  // of Markup too
      return true;
    }
    case Kind::kList:
    case Kind::kTuple:
      if (position_ >= source_.items().size()) return false;
      out = source_.items()[position_++];
      return true;
    case Kind::kDict:
      if (position_ >= source_.as<DictObject>().items.size()) return false;
      out = source_.as<DictObject>().items[position_++].first;
      return true;
    case Kind::kDictView: {
      const auto& view = source_.as<DictViewObject>();
      const auto& items = view.dict.as<DictObject>().items;
      if (position_ >= items.size()) return false;
      const DictObject::Item& item = items[position_++];
      if (view.part == DictViewObject::Part::kItems) {
        out = runtime.heap.tuple({item.first, item.second});
      } else {
        out = view.part == DictViewObject::Part::kKeys ? item.first : item.second;
      }
      return true;
    }
    case Kind::kRange: {
      const auto& range = source_.as<RangeObject>();
      if (static_cast<int64_t>(position_) >= range.length) return false;
      out = Value(range.at(static_cast<int64_t>(position_++)));
      return true;
    }
    case Kind::kIterator: {
      auto& iterator = source_.as<IteratorObject>();
      if (iterator.next >= iterator.items.size()) {
        if (iterator.error) return std::unexpected<Error>(*std::exchange(iterator.error, {}));
        return false;
      }
      out = std::move(iterator.items[iterator.next++]);
      return true;
    }
    default:
      return false;
  }
}

Result<std::vector<Value>> to_vector(Runtime& runtime, const Value& iterable) {
  RUVLLM_ASSIGN(Cursor cursor, Cursor::open(iterable));
  if (const auto length = length_of(iterable)) {
    RUVLLM_TRY(runtime.check_size(*length * sizeof(Value)));
    RUVLLM_TRY(runtime.charge(*length / 8));
  }
  if (iterable.is_sequence()) return iterable.items();
  std::vector<Value> items;
  Value item;
  while (true) {
    RUVLLM_TRY(runtime.charge(1));
    RUVLLM_ASSIGN(const bool more, cursor.next(runtime, item));
    if (!more) return items;
    items.push_back(std::move(item));
  }
}

}  // namespace ruvllm::jinja
