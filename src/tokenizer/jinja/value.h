// Values of the template language: Python's, as far as a template can see them.
//
// A Value is 16 bytes: a kind and a scalar or a pointer to a counted Object. Copying is cheap.
// Strings, lists, tuples and dicts never change once made; namespaces, loops, cyclers, joiners,
// iterators and scopes do. Objects belong to the Heap of one render and are used by one thread;
// constants of a compiled template are immortal (never counted) and may be read by many threads.
// The Heap bounds what is alive, frees chains of any depth without recursion, and takes apart
// cycles when the render ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ruvllm/result.h"
#include "tokenizer/jinja/big_int.h"
#include "tokenizer/jinja/unicode.h"

namespace ruvllm::jinja {

enum class Kind : uint8_t {
  kMissing,  // no value at all: an argument not given, a name not set
  kNone,
  kBool,
  kInt,
  kFloat,
  // From here on a Value points to an Object.
  kUndefined,
  kBigInt,  // an integer that does not fit 64 bits
  kString,
  kList,
  kTuple,
  kDict,
  kDictView,
  kRange,
  kIterator,
  kNamespace,
  kMacro,
  kFunction,
  kLoop,
  kCycler,
  kJoiner,
  kScope,  // internal: never seen by a template
};

class Heap;

struct Object {
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;
  // Lets go of every other object; for taking cycles apart.
  virtual void clear() {}

  Heap* heap = nullptr;
  size_t charged_bytes = 0;
  int32_t refs = 0;  // negative: immortal
};

void release_object(Object* object);

// A counted pointer to an object of a known type.
template <typename T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* object) : object_(object) { retain(); }
  Ref(const Ref& other) : object_(other.object_) { retain(); }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr && object_->refs > 0 && --object_->refs == 0) release_object(object_);
  }
  T* get() const { return object_; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  void retain() {
    if (object_ != nullptr && object_->refs >= 0) ++object_->refs;
  }
  T* object_ = nullptr;
};

struct StringObject;
struct ListObject;
struct DictObject;

class Value {
 public:
  Value() = default;
  explicit Value(bool value) : kind_(Kind::kBool), integer_(value ? 1 : 0) {}
  explicit Value(int64_t value) : kind_(Kind::kInt), integer_(value) {}
  explicit Value(double value) : kind_(Kind::kFloat), real_(value) {}
  Value(Kind kind, Object* object) : kind_(kind), object_(object) { retain(); }
  Value(const Value& other) : kind_(other.kind_), integer_(other.integer_) { retain(); }
  Value(Value&& other) noexcept : kind_(other.kind_), integer_(other.integer_) {
    other.kind_ = Kind::kMissing;
  }
  Value& operator=(const Value& other) {
    Value copy(other);
    swap(copy);
    return *this;
  }
  Value& operator=(Value&& other) noexcept {
    Value taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~Value() {
    if (is_object() && object_->refs > 0 && --object_->refs == 0) release_object(object_);
  }
  static Value none() {
    Value value;
    value.kind_ = Kind::kNone;
    return value;
  }

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_missing() const { return kind_ == Kind::kMissing; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_sequence() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }
  bool is_integer() const {  // bools are integers in Python
    return kind_ == Kind::kInt || kind_ == Kind::kBool || kind_ == Kind::kBigInt;
  }
  bool is_number() const { return is_integer() || kind_ == Kind::kFloat; }
  bool is_small_integer() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }

  bool boolean() const { return integer_ != 0; }
  int64_t integer() const { return integer_; }  // kInt and kBool
  double real() const { return real_; }
  Object* object() const { return object_; }
  template <typename T>
  T& as() const {
    return *static_cast<T*>(object_);
  }
  // Of a kString.
  inline const std::string& text() const;
  // Of a kList or kTuple.
  inline const std::vector<Value>& items() const;
  // Identity, as Python's `is`.
  bool same_as(const Value& other) const {
    return kind_ == other.kind_ && (kind_ == Kind::kNone || integer_ == other.integer_);
  }

 private:
  bool is_object() const { return kind_ >= Kind::kUndefined; }
  void retain() const {
    if (is_object() && object_->refs >= 0) ++object_->refs;
  }
  void swap(Value& other) noexcept {
    std::swap(kind_, other.kind_);
    std::swap(integer_, other.integer_);
  }

  Kind kind_ = Kind::kMissing;
  union {
    int64_t integer_ = 0;
    double real_;
    Object* object_;
  };
};
static_assert(sizeof(Value) == 16);

struct StringObject : Object {
  explicit StringObject(std::string value, bool is_markup = false)
      : text(std::move(value)), num_chars(count_chars(text)), markup(is_markup) {}
  bool is_ascii() const { return num_chars == text.size(); }
  const std::string text;  // UTF-8; lone surrogates, if a literal makes one, as three bytes
  const size_t num_chars;
  const bool markup;  // Markup: text that is already HTML
};

struct ListObject : Object {
  explicit ListObject(std::vector<Value> values) : items(std::move(values)) {}
  void clear() override { items.clear(); }
  std::vector<Value> items;  // filled before anyone else sees it
  bool is_group = false;     // a tuple of `groupby`: has .grouper and .list
};

inline const std::string& Value::text() const {
  return as<StringObject>().text;
}
inline const std::vector<Value>& Value::items() const {
  return as<ListObject>().items;
}

// Insertion order is kept. Keys are hashable values; equal ones are one key.
struct DictObject : Object {
  using Item = std::pair<Value, Value>;
  // Of equal keys the first gives the place and the last the value.
  explicit DictObject(std::vector<Item> pairs);
  void clear() override { items.clear(); }
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;

  std::vector<Item> items;

 private:
  std::vector<uint32_t> order_;  // indices sorted by key; empty for few items
};

struct DictViewObject : Object {
  enum class Part : uint8_t { kKeys, kValues, kItems };
  DictViewObject(Value of, Part which) : dict(std::move(of)), part(which) {}
  void clear() override { dict = Value(); }
  Value dict;
  const Part part;
};

struct RangeObject : Object {
  RangeObject(int64_t first, int64_t end, int64_t by, int64_t count)
      : start(first), stop(end), step(by), length(count) {}
  int64_t at(int64_t index) const { return start + index * step; }
  const int64_t start, stop, step, length;
};

// What a generator yields: made at once, consumed once. An error that making it met is kept and
// raised when the consumer gets there, as a generator would.
struct IteratorObject : Object {
  explicit IteratorObject(std::vector<Value> values) : items(std::move(values)) {}
  void clear() override { items.clear(); }
  std::vector<Value> items;
  size_t next = 0;
  std::optional<Error> error;
};

// Why a value is undefined; the message is made only when somebody needs it.
struct UndefinedObject : Object {
  enum class Form : uint8_t { kName, kAttribute, kElement, kHint };
  UndefinedObject(Form why, Value what, const char* owner)
      : form(why), name(std::move(what)), owner_type(owner) {}
  void clear() override { name = Value(); }
  const Form form;
  Value name;  // the name, key or hint
  const char* const owner_type;
};

struct NamespaceObject : Object {
  void clear() override { items.clear(); }
  Value* find(std::string_view name);
  std::vector<std::pair<Value, Value>> items;
};

struct CyclerObject : Object {
  explicit CyclerObject(std::vector<Value> values) : items(std::move(values)) {}
  void clear() override { items.clear(); }
  std::vector<Value> items;
  size_t position = 0;
};

struct JoinerObject : Object {
  explicit JoinerObject(Value with) : separator(std::move(with)) {}
  void clear() override { separator = Value(); }
  Value separator;
  bool used = false;
};

struct BigIntObject : Object {
  explicit BigIntObject(BigInt number) : value(std::move(number)) {}
  const BigInt value;
};

class Heap {
 public:
  explicit Heap(int64_t max_bytes) : max_bytes_(static_cast<uint64_t>(max_bytes)) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;
  ~Heap();

  // True once more is alive than allowed; whoever runs the template asks after every step.
  bool exhausted();
  // Whether a value of so many bytes may be made; to be asked before anything that multiplies.
  bool fits(uint64_t bytes);
  uint64_t max_bytes() const { return max_bytes_; }
  void forgive() { live_bytes_ = 0; }  // what is alive now is the caller's, not the template's

  template <typename T, typename... Args>
  T* make(size_t payload_bytes, Args&&... args) {
    T* object = new T(std::forward<Args>(args)...);
    object->heap = this;
    object->charged_bytes = sizeof(T) + payload_bytes;
    live_bytes_ += object->charged_bytes;
    return object;
  }
  // The same for an object through which a cycle may go.
  template <typename T, typename... Args>
  T* make_cyclic(size_t payload_bytes, Args&&... args) {
    if (cyclic_.size() >= sweep_at_) sweep();  // before, for the new one has no owner yet
    T* object = make<T>(payload_bytes, std::forward<Args>(args)...);
    cyclic_.push_back(Ref<Object>(object));
    return object;
  }

  Value string(std::string text);
  Value string(std::string_view text) { return string(std::string(text)); }
  Value string(const char* text) { return string(std::string(text)); }
  Value markup(std::string text);
  Value list(std::vector<Value> items);
  Value tuple(std::vector<Value> items);
  Value dict(std::vector<DictObject::Item> items);
  Value iterator(std::vector<Value> items);
  Value integer(BigInt value);  // a kInt when it fits
  Value undefined_name(std::string_view name);
  Value undefined_attribute(const char* owner_type, std::string_view name);
  Value undefined_element(const char* owner_type, const Value& key);
  Value undefined_hint(std::string hint);

  void release(Object* object);

 private:
  void sweep();
  void sweep_if_worth();

  const uint64_t max_bytes_;
  uint64_t live_bytes_ = 0;
  std::vector<Object*> pending_;  // dead, not yet freed: a chain is freed in a loop
  bool draining_ = false;
  std::vector<Ref<Object>> cyclic_;
  size_t sweep_at_ = 64;
  size_t survivors_ = 0;  // of the last sweep
};

// Total order over hashable values that agrees with Python's ==; for dict keys and sets.
int order_keys(const Value& a, const Value& b);
// As a key; tuples of more than 64 parts, counted all the way down, are refused too.
bool is_hashable(const Value& value);

// The compiler's type names, as error messages use them.
const char* type_name(const Value& value);

}  // namespace ruvllm::jinja
