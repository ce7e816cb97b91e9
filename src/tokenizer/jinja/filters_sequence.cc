// Filters over lists and other iterables, but those that compare (filters_order.cc).
#include <algorithm>
#include <optional>

#include "tokenizer/jinja/attribute_path.h"
#include "tokenizer/jinja/filters.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/string_tools.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/jinja/unicode.h"

namespace ruvllm::jinja {
namespace {

Result<Value> first(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("first", args));
  RUVLLM_ASSIGN(Cursor cursor, Cursor::open(self));
  Value item;
  RUVLLM_ASSIGN(const bool found, cursor.next(runtime, item));
  return found ? item : runtime.heap.undefined_hint("No first item, sequence was empty.");
}

bool is_reversible(const Value& value) {
  return value.is_string() || value.is_sequence() || value.is(Kind::kDict) ||
         value.is(Kind::kDictView) || value.is(Kind::kRange);
}

Result<Value> last(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("last", args));
  if (!is_reversible(self))
    return raise(concat("'", type_name(self), "' object is not reversible"));
  if (self.is_sequence() && !self.items().empty()) return self.items().back();
  if (self.is_string() && !self.text().empty()) {
    size_t at = self.text().size();
    previous_char(self.text(), at);
    return runtime.heap.string(std::string_view(self.text()).substr(at));
  }
  RUVLLM_ASSIGN(const std::vector<Value> items, to_vector(runtime, self));
  if (items.empty()) return runtime.heap.undefined_hint("No last item, sequence was empty.");
  return items.back();
}

Result<Value> reverse(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("reverse", args));
  if (self.is_string()) {
    RUVLLM_TRY(runtime.check_size(self.text().size() * sizeof(char32_t)));
    RUVLLM_TRY(runtime.charge_walk(self.text()));
    std::vector<char32_t> chars = to_chars(self.text());
    std::reverse(chars.begin(), chars.end());
    return make_like(runtime, self, from_chars(chars));
  }
  RUVLLM_ASSIGN(std::vector<Value> items, to_vector(runtime, self));
  std::reverse(items.begin(), items.end());
  return is_reversible(self) ? runtime.heap.iterator(std::move(items))
                             : runtime.heap.list(std::move(items));
}

Result<Value> list(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("list", args));
  RUVLLM_ASSIGN(std::vector<Value> items, to_vector(runtime, self));
  return runtime.heap.list(std::move(items));
}

Result<Value> items(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("items", args));
  std::vector<Value> pairs;
  if (!self.is_undefined()) {
    if (!self.is(Kind::kDict)) return raise("Can only get item pairs from a mapping.");
    for (const auto& [key, value] : self.as<DictObject>().items) {
      pairs.push_back(runtime.heap.tuple({key, value}));
    }
  }
  return runtime.heap.iterator(std::move(pairs));
}

Result<Value> join(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("join", args, {"d", "attribute"}));
  const AttributePath path(runtime, given[1]);
  std::string separator;
  if (given.has(0)) {
    RUVLLM_ASSIGN(separator, str(runtime, given[0]));
  }
  RUVLLM_ASSIGN(Cursor cursor, Cursor::open(self));
  std::string out;
  Value item;
  for (bool first_item = true;; first_item = false) {
    RUVLLM_ASSIGN(const bool more, cursor.next(runtime, item));
    if (!more) break;
    RUVLLM_ASSIGN(const Value part, path.get(runtime, item, Value()));
    const size_t before = out.size();
    if (!first_item) out += separator;
    RUVLLM_TRY(append_str(runtime, out, part));
    RUVLLM_TRY(runtime.charge(1 + (out.size() - before) / 64));
    if (!runtime.heap.fits(out.size() + separator.size())) return over_limit("the size of values");
  }
  return runtime.make_string(std::move(out));
}

Result<Value> sum(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("sum", args, {"attribute", "start"}));
  const AttributePath path(runtime, given[0]);
  Value total = given.has(1) ? given[1] : Value(int64_t{0});
  if (total.is_string()) return raise("sum() can't sum strings [use ''.join(seq) instead]");
  RUVLLM_ASSIGN(Cursor cursor, Cursor::open(self));
  Value item;
  while (true) {
    RUVLLM_ASSIGN(const bool more, cursor.next(runtime, item));
    if (!more) return total;
    RUVLLM_TRY(runtime.charge(1));
    RUVLLM_ASSIGN(const Value part, path.get(runtime, item, Value()));
    RUVLLM_ASSIGN(total, binary(runtime, BinaryOp::kAdd, total, part));
  }
}

Result<Value> batch(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("batch", args, {"linecount", "fill_with"}, 1));
  const bool fill = given.has(1) && !given[1].is_none();
  RUVLLM_ASSIGN(std::vector<Value> all, to_vector(runtime, self));
  // A line that never counts as full takes everything.
  int64_t per_line = INT64_MAX;
  if (given[0].is_number()) {
    if (given[0].is_integer()) {
      RUVLLM_ASSIGN(per_line, to_index(given[0], "the line count"));
    } else if (to_real(given[0]) >= 0 && to_real(given[0]) < 1e9 &&
               static_cast<double>(static_cast<int64_t>(to_real(given[0]))) == to_real(given[0])) {
      per_line = static_cast<int64_t>(to_real(given[0]));
    }
  }
  std::vector<Value> lines;
  std::vector<Value> line;
  for (size_t i = 0; i < all.size(); ++i) {
    RUVLLM_TRY(runtime.charge(1));
    if (static_cast<int64_t>(line.size()) == per_line) {
      lines.push_back(runtime.heap.list(std::exchange(line, {})));
    }
    line.push_back(std::move(all[i]));
  }
  if (!line.empty()) {
    if (fill && static_cast<int64_t>(line.size()) < per_line) {
      RUVLLM_TRY(runtime.check_size(
          static_cast<uint64_t>(std::min<int64_t>(per_line, int64_t{1} << 50)) * sizeof(Value)));
      line.resize(static_cast<size_t>(per_line), given[1]);
    }
    lines.push_back(runtime.heap.list(std::move(line)));
  }
  return runtime.heap.iterator(std::move(lines));
}

Result<Value> slice_filter(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("slice", args, {"slices", "fill_with"}, 1));
  RUVLLM_ASSIGN(const int64_t slices, to_index(given[0], "the number of slices"));
  RUVLLM_ASSIGN(const std::vector<Value> all, to_vector(runtime, self));
  if (slices == 0) return raise("integer division or modulo by zero");
  const bool fill = given.has(1) && !given[1].is_none();
  std::vector<Value> out;
  const int64_t count = std::max<int64_t>(slices, 0);
  RUVLLM_TRY(runtime.check_size(static_cast<uint64_t>(std::min(count, int64_t{1} << 50)) * 64));
  const size_t per_slice = count > 0 ? all.size() / static_cast<size_t>(count) : 0;
  const size_t with_extra = count > 0 ? all.size() % static_cast<size_t>(count) : 0;
  size_t at = 0;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    RUVLLM_TRY(runtime.charge(1));
    const size_t size = per_slice + (i < with_extra ? 1 : 0);
    std::vector<Value> part(all.begin() + static_cast<std::ptrdiff_t>(at),
                            all.begin() + static_cast<std::ptrdiff_t>(at + size));
    at += size;
    if (fill && i >= with_extra) part.push_back(given[1]);
    out.push_back(runtime.heap.list(std::move(part)));
  }
  return runtime.heap.iterator(std::move(out));
}

// Runs `step` over the items into an iterator. An error ends the items and is kept in the iterator,
// to be raised when the consumer gets there.
template <typename Step>
Result<Value> generate(Runtime& runtime, const Value& self, const Step& step) {
  std::vector<Value> out;
  std::optional<Error> error;
  if (truth(self)) {
    const auto run = [&]() -> Status {
      RUVLLM_ASSIGN(Cursor cursor, Cursor::open(self));
      Value item;
      while (true) {
        RUVLLM_ASSIGN(const bool more, cursor.next(runtime, item));
        if (!more) return {};
        RUVLLM_TRY(runtime.charge(1));
        RUVLLM_TRY(step(item, out));
      }
    };
    if (Status status = run(); !status) {
      if (status.error().code != ErrorCode::kInvalidArgument) {
        return std::unexpected<Error>(std::move(status).error());
      }
      error = std::move(status).error();
    }
  }
  Value iterator = runtime.heap.iterator(std::move(out));
  iterator.as<IteratorObject>().error = std::move(error);
  return iterator;
}

Args rest_of(const Args& args, size_t skip) {
  Args rest;
  rest.positional.assign(args.positional.begin() + static_cast<std::ptrdiff_t>(skip),
                         args.positional.end());
  rest.named = args.named;
  return rest;
}

Result<Value> map(Runtime& runtime, const Value& self, const Args& args) {
  Value attribute;
  Value otherwise;
  if (args.positional.empty()) {
    for (const auto& [name, value] : args.named) {
      if (name.text() == "attribute") attribute = value;
    }
  }
  if (!attribute.is_missing()) {
    for (const auto& [name, value] : args.named) {
      if (name.text() == "default")
        otherwise = value;
      else if (name.text() != "attribute")
        return raise("map: unexpected keyword argument");
    }
    const AttributePath path(runtime, attribute);
    return generate(runtime, self, [&](const Value& item, std::vector<Value>& out) -> Status {
      RUVLLM_ASSIGN(Value value, path.get(runtime, item, otherwise));
      out.push_back(std::move(value));
      return {};
    });
  }
  const Args rest = args.positional.empty() ? Args() : rest_of(args, 1);
  return generate(runtime, self, [&](const Value& item, std::vector<Value>& out) -> Status {
    if (args.positional.empty()) return raise("map requires a filter argument");
    const Value& name = args.positional[0];
    const Builtin* filter = name.is_string() ? find_filter(name.text()) : nullptr;
    if (filter == nullptr) return raise(concat("No filter named ", short_repr(runtime, name), "."));
    const ValueDepth depth(runtime);
    RUVLLM_TRY(depth.check());
    RUVLLM_ASSIGN(Value value, filter->function(runtime, item, rest));
    out.push_back(std::move(value));
    return {};
  });
}

template <bool by_attribute, bool keep>
Result<Value> select(Runtime& runtime, const Value& self, const Args& args) {
  const size_t skip = by_attribute ? 1 : 0;
  const bool has_attribute = args.positional.size() >= skip;
  const AttributePath path(runtime, by_attribute && has_attribute ? args.positional[0] : Value());
  const bool has_test = args.positional.size() > skip;
  const Args rest = has_test ? rest_of(args, skip + 1) : Args();
  return generate(runtime, self, [&](const Value& item, std::vector<Value>& out) -> Status {
    if (!has_attribute) return raise("Missing parameter for attribute name");
    RUVLLM_ASSIGN(const Value subject, path.get(runtime, item, Value()));
    bool holds = false;
    if (has_test) {
      const Value& name = args.positional[skip];
      const Builtin* test = name.is_string() ? find_test(name.text()) : nullptr;
      if (test == nullptr) return raise(concat("No test named ", short_repr(runtime, name), "."));
      RUVLLM_ASSIGN(const Value verdict, test->function(runtime, subject, rest));
      holds = truth(verdict);
    } else {
      holds = truth(subject);
    }
    if (holds == keep) out.push_back(item);
    return {};
  });
}

constexpr Builtin kFilters[] = {
    {"batch", batch},
    {"first", first},
    {"items", items},
    {"join", join},
    {"last", last},
    {"list", list},
    {"map", map},
    {"reject", select<false, false>},
    {"rejectattr", select<true, false>},
    {"reverse", reverse},
    {"select", select<false, true>},
    {"selectattr", select<true, true>},
    {"slice", slice_filter},
    {"sum", sum},
};

}  // namespace

std::span<const Builtin> sequence_filters() {
  return kFilters;
}

}  // namespace ruvllm::jinja
