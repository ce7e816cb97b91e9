#include "tokenizer/jinja/value.h"

#include <algorithm>
#include <cmath>

#include "tokenizer/jinja/operators.h"

namespace ruvllm::jinja {

void release_object(Object* object) {
  object->heap->release(object);
}

Heap::~Heap() {
  for (const Ref<Object>& object : cyclic_) object->clear();
  cyclic_.clear();
}

void Heap::release(Object* object) {
  pending_.push_back(object);
  if (draining_) return;
  draining_ = true;
  while (!pending_.empty()) {
    Object* dead = pending_.back();
    pending_.pop_back();
    // What was alive before forgive() is not in the count; the count never goes below zero.
    live_bytes_ -= std::min<uint64_t>(live_bytes_, dead->charged_bytes);
    delete dead;
  }
  draining_ = false;
}

bool Heap::exhausted() {
  if (live_bytes_ <= max_bytes_) return false;
  sweep_if_worth();
  return live_bytes_ > max_bytes_;
}

bool Heap::fits(uint64_t bytes) {
  if (bytes > max_bytes_) return false;
  if (live_bytes_ + bytes > max_bytes_) sweep_if_worth();
  return live_bytes_ + bytes <= max_bytes_;
}

// Drops the objects that only the list of possible cycles still holds.
void Heap::sweep() {
  std::vector<Ref<Object>> dead;
  std::erase_if(cyclic_, [&dead](Ref<Object>& object) {
    if (object->refs != 1) return false;
    dead.push_back(std::move(object));
    return true;
  });
  survivors_ = cyclic_.size();
  sweep_at_ = std::max<size_t>(64, 2 * survivors_);
}

// Near the limit everything asks; a sweep is due only when enough is new since the last one.
void Heap::sweep_if_worth() {
  if (cyclic_.size() - std::min(cyclic_.size(), survivors_) > survivors_ / 8) sweep();
}

Value Heap::string(std::string text) {
  const size_t bytes = text.size();
  return Value(Kind::kString, make<StringObject>(bytes, std::move(text)));
}

Value Heap::markup(std::string text) {
  const size_t bytes = text.size();
  return Value(Kind::kString, make<StringObject>(bytes, std::move(text), true));
}

Value Heap::list(std::vector<Value> items) {
  const size_t bytes = items.size() * sizeof(Value);
  return Value(Kind::kList, make<ListObject>(bytes, std::move(items)));
}

Value Heap::tuple(std::vector<Value> items) {
  const size_t bytes = items.size() * sizeof(Value);
  return Value(Kind::kTuple, make<ListObject>(bytes, std::move(items)));
}

Value Heap::dict(std::vector<DictObject::Item> items) {
  const size_t bytes = items.size() * (sizeof(DictObject::Item) + sizeof(uint32_t));
  return Value(Kind::kDict, make<DictObject>(bytes, std::move(items)));
}

Value Heap::iterator(std::vector<Value> items) {
  const size_t bytes = items.size() * sizeof(Value);
  return Value(Kind::kIterator, make<IteratorObject>(bytes, std::move(items)));
}

Value Heap::integer(BigInt value) {
  if (const auto small = value.to_int64()) return Value(*small);
  const size_t bytes = value.num_bits() / 8;
  return Value(Kind::kBigInt, make<BigIntObject>(bytes, std::move(value)));
}

Value Heap::undefined_name(std::string_view name) {
  return Value(Kind::kUndefined,
               make<UndefinedObject>(0, UndefinedObject::Form::kName, string(name), ""));
}

Value Heap::undefined_attribute(const char* owner_type, std::string_view name) {
  return Value(Kind::kUndefined, make<UndefinedObject>(0, UndefinedObject::Form::kAttribute,
                                                       string(name), owner_type));
}

Value Heap::undefined_element(const char* owner_type, const Value& key) {
  const auto form =
      key.is_string() ? UndefinedObject::Form::kAttribute : UndefinedObject::Form::kElement;
  return Value(Kind::kUndefined, make<UndefinedObject>(0, form, key, owner_type));
}

Value Heap::undefined_hint(std::string hint) {
  return Value(Kind::kUndefined,
               make<UndefinedObject>(0, UndefinedObject::Form::kHint, string(std::move(hint)), ""));
}

namespace {

// Below this many items a walk is faster than the sorted index.
constexpr size_t kSmallDict = 8;

int key_rank(const Value& value) {
  if (value.is_number()) return 0;
  return static_cast<int>(value.kind());
}

}  // namespace

int order_keys(const Value& a, const Value& b) {
  const int rank_a = key_rank(a);
  const int rank_b = key_rank(b);
  if (rank_a != rank_b) return rank_a < rank_b ? -1 : 1;
  if (a.is_number()) {
    const std::optional<int> order = compare_numbers(a, b);
    if (order) return *order;
    const bool nan_a = a.is(Kind::kFloat) && std::isnan(a.real());
    const bool nan_b = b.is(Kind::kFloat) && std::isnan(b.real());
    return nan_a == nan_b ? 0 : nan_a ? -1 : 1;
  }
  switch (a.kind()) {
    case Kind::kNone:
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return a.object() == b.object() ? 0 : a.text().compare(b.text());
    case Kind::kTuple: {
      const std::vector<Value>& left = a.items();
      const std::vector<Value>& right = b.items();
      for (size_t i = 0; i < left.size() && i < right.size(); ++i) {
        if (const int order = order_keys(left[i], right[i]); order != 0) return order;
      }
      return left.size() == right.size() ? 0 : left.size() < right.size() ? -1 : 1;
    }
    default:
      return a.object() == b.object() ? 0 : a.object() < b.object() ? -1 : 1;
  }
}

namespace {

bool is_hashable_within(const Value& value, int& budget) {
  if (--budget < 0) return false;
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kList:
    case Kind::kDict:
    case Kind::kDictView:
    case Kind::kScope:
      return false;
    case Kind::kTuple:
      for (const Value& item : value.items()) {
        if (!is_hashable_within(item, budget)) return false;
      }
      return true;
    default:
      return true;
  }
}

}  // namespace

bool is_hashable(const Value& value) {
  // Tuples that share their parts can have more parts than there is time.
  int budget = 64;
  return is_hashable_within(value, budget);
}

DictObject::DictObject(std::vector<Item> pairs) : items(std::move(pairs)) {
  if (items.size() <= kSmallDict) {
    for (size_t i = 1; i < items.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (order_keys(items[i].first, items[j].first) != 0) continue;
        items[j].second = std::move(items[i].second);
        items.erase(items.begin() + static_cast<std::ptrdiff_t>(i));
        --i;
        break;
      }
    }
    return;
  }
  const auto sort_indices = [this] {
    order_.resize(items.size());
    for (size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<uint32_t>(i);
    std::sort(order_.begin(), order_.end(), [this](uint32_t a, uint32_t b) {
      const int order = order_keys(items[a].first, items[b].first);
      return order != 0 ? order < 0 : a < b;
    });
  };
  sort_indices();
  std::vector<bool> repeated(items.size(), false);
  bool any = false;
  for (size_t first = 0; first < order_.size();) {
    size_t last = first;
    while (last + 1 < order_.size() &&
           order_keys(items[order_[first]].first, items[order_[last + 1]].first) == 0) {
      ++last;
      repeated[order_[last]] = any = true;
    }
    if (last != first) items[order_[first]].second = items[order_[last]].second;
    first = last + 1;
  }
  if (!any) return;
  size_t index = 0;
  std::erase_if(items, [&](const Item&) { return repeated[index++]; });
  sort_indices();
}

const Value* DictObject::find(const Value& key) const {
  if (order_.empty()) {
    for (const Item& item : items) {
      if (order_keys(item.first, key) == 0) return &item.second;
    }
    return nullptr;
  }
  const auto found = std::lower_bound(
      order_.begin(), order_.end(), key,
      [this](uint32_t index, const Value& k) { return order_keys(items[index].first, k) < 0; });
  if (found == order_.end() || order_keys(items[*found].first, key) != 0) return nullptr;
  return &items[*found].second;
}

const Value* DictObject::find(std::string_view key) const {
  if (order_.empty()) {
    for (const Item& item : items) {
      if (item.first.is_string() && item.first.text() == key) return &item.second;
    }
    return nullptr;
  }
  const auto less = [this](uint32_t index, std::string_view k) {
    const Value& have = items[index].first;
    const int rank = have.is_number() ? 0 : static_cast<int>(have.kind());
    if (rank != static_cast<int>(Kind::kString)) return rank < static_cast<int>(Kind::kString);
    return have.text() < k;
  };
  const auto found = std::lower_bound(order_.begin(), order_.end(), key, less);
  if (found == order_.end()) return nullptr;
  const Item& item = items[*found];
  return item.first.is_string() && item.first.text() == key ? &item.second : nullptr;
}

Value* NamespaceObject::find(std::string_view name) {
  for (auto& [key, value] : items) {
    if (key.text() == name) return &value;
  }
  return nullptr;
}

const char* type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
      return "missing";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
    case Kind::kBigInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kString:
      return value.as<StringObject>().markup ? "Markup" : "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kDictView: {
      const auto part = value.as<DictViewObject>().part;
      return part == DictViewObject::Part::kKeys     ? "dict_keys"
             : part == DictViewObject::Part::kValues ? "dict_values"
                                                     : "dict_items";
    }
    case Kind::kRange:
      return "range";
    case Kind::kIterator:
      return "generator";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kMacro:
      return "Macro";
    case Kind::kFunction:
      return "function";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kCycler:
      return "Cycler";
    case Kind::kJoiner:
      return "Joiner";
    case Kind::kScope:
      return "scope";
  }
  return "object";
}

}  // namespace ruvllm::jinja
