// Filters over lists and other iterables.
#include <algorithm>
#include <optional>

#include "tokenizer/jinja/filters.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/string_tools.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/jinja/unicode.h"

namespace ruvllm::jinja {
namespace {

// A path such as "a.b.0": what make_attrgetter of the original does with it.
class AttributePath {
 public:
  AttributePath() = default;
  AttributePath(Runtime& runtime, const Value& attribute) {
    if (attribute.is_missing() || attribute.is_none()) return;
    if (!attribute.is_string()) {
      parts_.push_back(attribute);
      return;
    }
    std::string_view rest = attribute.text();
    while (true) {
      const size_t dot = std::min(rest.find('.'), rest.size());
      const std::string_view part = rest.substr(0, dot);
      int64_t index = 0;
      const bool number = !part.empty() && part.find_first_not_of("0123456789") == part.npos &&
                          parse_number(part, index);
      parts_.push_back(number ? Value(index) : runtime.heap.string(part));
      if (dot == rest.size()) break;
      rest.remove_prefix(dot + 1);
    }
  }

  Result<Value> get(Runtime& runtime, Value item, const Value& otherwise) const {
    for (const Value& part : parts_) {
      RUVLLM_ASSIGN(item, get_item(runtime, item, part));
      if (item.is_undefined() && !otherwise.is_missing() && !otherwise.is_none()) item = otherwise;
    }
    return item;
  }

 private:
  std::vector<Value> parts_;
};

Result<Value> fold_case(Runtime& runtime, const Value& value) {
  if (!value.is_string()) return value;
  RUVLLM_TRY(runtime.check_size(value.text().size()));
  RUVLLM_TRY(runtime.charge_walk(value.text()));
  return make_like(runtime, value, to_lower(value.text()));
}

struct Keyed {
  Value key;
  Value item;
};

// A stable merge sort that can fail: comparing may raise.
Status sort_keyed(Runtime& runtime, std::vector<Keyed>& rows, bool reverse) {
  std::vector<Keyed> merged(rows.size());
  for (size_t width = 1; width < rows.size(); width *= 2) {
    for (size_t begin = 0; begin < rows.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, rows.size());
      const size_t end = std::min(begin + 2 * width, rows.size());
      size_t left = begin;
      size_t right = middle;
      for (size_t out = begin; out < end; ++out) {
        bool take_right = left >= middle;
        if (!take_right && right < end) {
          RUVLLM_TRY(runtime.charge(1));
          RUVLLM_ASSIGN(const int result, order(runtime, rows[right].key, rows[left].key));
          take_right = reverse ? result == 1 : result < 0;
        }
        merged[out] = std::move(take_right ? rows[right++] : rows[left++]);
      }
    }
    std::swap(rows, merged);
  }
  return {};
}

template <typename KeyOf>
Result<std::vector<Keyed>> with_keys(Runtime& runtime, const Value& iterable, const KeyOf& key_of) {
  RUVLLM_ASSIGN(std::vector<Value> items, to_vector(runtime, iterable));
  std::vector<Keyed> rows;
  rows.reserve(items.size());
  for (Value& item : items) {
    RUVLLM_TRY(runtime.charge(1));
    RUVLLM_ASSIGN(Value key, key_of(item));
    rows.push_back({std::move(key), std::move(item)});
  }
  return rows;
}

std::vector<Value> items_of(std::vector<Keyed>& rows) {
  std::vector<Value> items;
  items.reserve(rows.size());
  for (Keyed& row : rows) items.push_back(std::move(row.item));
  return items;
}

// Python's sorted() wants an integer, which a bool is.
Result<bool> reverse_argument(const Value& value) {
  if (value.is_missing()) return false;
  if (!value.is_integer()) return raise(concat("reverse must be a bool, not ", type_name(value)));
  return truth(value);
}

Result<Value> sort(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("sort", args, {"reverse", "case_sensitive", "attribute"}));
  RUVLLM_ASSIGN(const bool reversed, reverse_argument(given[0]));
  const bool fold = !truth(given[1]);
  // Several attributes, separated by commas, are compared one after the other.
  std::vector<AttributePath> paths;
  if (given[2].is_string()) {
    std::string_view rest = given[2].text();
    for (size_t comma = 0; comma != rest.npos;
         rest.remove_prefix(comma == rest.npos ? 0 : comma + 1)) {
      comma = rest.find(',');
      paths.emplace_back(runtime, runtime.heap.string(rest.substr(0, comma)));
    }
  } else {
    paths.emplace_back(runtime, given[2]);
  }
  const auto key_of = [&](const Value& item) -> Result<Value> {
    std::vector<Value> keys;
    for (const AttributePath& path : paths) {
      RUVLLM_ASSIGN(const Value key, path.get(runtime, item, Value()));
      if (!fold) {
        keys.push_back(key);
        continue;
      }
      RUVLLM_ASSIGN(Value folded, fold_case(runtime, key));
      keys.push_back(std::move(folded));
    }
    return runtime.heap.list(std::move(keys));
  };
  RUVLLM_ASSIGN(std::vector<Keyed> rows, with_keys(runtime, self, key_of));
  RUVLLM_TRY(sort_keyed(runtime, rows, reversed));
  return runtime.heap.list(items_of(rows));
}

Result<Value> dict_sort(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("dictsort", args, {"case_sensitive", "by", "reverse"}));
  if (self.is_undefined()) return raise(undefined_message(self));
  if (!self.is(Kind::kDict))
    return raise(concat("dictsort needs a mapping, not ", type_name(self)));
  bool by_value = false;
  if (given.has(1)) {
    const std::string by = given[1].is_string() ? given[1].text() : "";
    if (by != "key" && by != "value")
      return raise("You can only sort by either \"key\" or \"value\"");
    by_value = by == "value";
  }
  const bool fold = !truth(given[0]);
  std::vector<Keyed> rows;
  for (const auto& [key, value] : self.as<DictObject>().items) {
    const Value& by = by_value ? value : key;
    Value sort_key = by;
    if (fold) {
      RUVLLM_ASSIGN(sort_key, fold_case(runtime, by));
    }
    rows.push_back({std::move(sort_key), runtime.heap.tuple({key, value})});
  }
  RUVLLM_ASSIGN(const bool reversed, reverse_argument(given[2]));
  RUVLLM_TRY(sort_keyed(runtime, rows, reversed));
  return runtime.heap.list(items_of(rows));
}

Result<Value> unique(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("unique", args, {"case_sensitive", "attribute"}));
  const AttributePath path(runtime, given[1]);
  const bool fold = !truth(given[0]);
  const auto key_of = [&](const Value& item) -> Result<Value> {
    RUVLLM_ASSIGN(const Value key, path.get(runtime, item, Value()));
    if (!is_hashable(key)) return raise(concat("unhashable type: '", type_name(key), "'"));
    if (!fold) return key;
    return fold_case(runtime, key);
  };
  RUVLLM_ASSIGN(std::vector<Keyed> rows, with_keys(runtime, self, key_of));
  // The first of each key: sort places by key, then by place.
  std::vector<size_t> places(rows.size());
  for (size_t i = 0; i < places.size(); ++i) places[i] = i;
  for (const Keyed& row : rows) {  // about log2 of as many comparisons each
    RUVLLM_TRY(runtime.charge(1 + (row.key.is_string() ? row.key.text().size() / 4 : 16)));
  }
  std::sort(places.begin(), places.end(), [&rows](size_t a, size_t b) {
    const int order = order_keys(rows[a].key, rows[b].key);
    return order != 0 ? order < 0 : a < b;
  });
  std::vector<bool> keep(rows.size(), false);
  for (size_t i = 0; i < places.size(); ++i) {
    keep[places[i]] = i == 0 || order_keys(rows[places[i - 1]].key, rows[places[i]].key) != 0;
  }
  std::vector<Value> items;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (keep[i]) items.push_back(std::move(rows[i].item));
  }
  return runtime.heap.iterator(std::move(items));
}

template <bool want_max>
Result<Value> extreme(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("min/max", args, {"case_sensitive", "attribute"}));
  const AttributePath path(runtime, given[1]);
  const bool fold = !truth(given[0]);
  const auto key_of = [&](const Value& item) -> Result<Value> {
    RUVLLM_ASSIGN(const Value key, path.get(runtime, item, Value()));
    if (!fold) return key;
    return fold_case(runtime, key);
  };
  RUVLLM_ASSIGN(std::vector<Keyed> rows, with_keys(runtime, self, key_of));
  if (rows.empty()) return runtime.heap.undefined_hint("No aggregated item, sequence was empty.");
  size_t best = 0;
  for (size_t i = 1; i < rows.size(); ++i) {
    RUVLLM_ASSIGN(const int result, order(runtime, rows[i].key, rows[best].key));
    if (want_max ? result == 1 : result < 0) best = i;
  }
  return rows[best].item;
}

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

Result<Value> group_by(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given,
                bind("groupby", args, {"attribute", "default", "case_sensitive"}, 1));
  const AttributePath path(runtime, given[0]);
  const bool fold = !truth(given[2]);
  const auto key_of = [&](const Value& item) -> Result<Value> {
    RUVLLM_ASSIGN(const Value key, path.get(runtime, item, given[1]));
    if (!fold) return key;
    return fold_case(runtime, key);
  };
  RUVLLM_ASSIGN(std::vector<Keyed> rows, with_keys(runtime, self, key_of));
  RUVLLM_TRY(sort_keyed(runtime, rows, false));
  std::vector<Value> groups;
  for (size_t begin = 0; begin < rows.size();) {
    std::vector<Value> members;
    size_t end = begin;
    while (end < rows.size()) {
      RUVLLM_TRY(runtime.charge(1));
      RUVLLM_ASSIGN(const bool same, equals(runtime, rows[begin].key, rows[end].key));
      if (!same && end > begin) break;
      members.push_back(rows[end++].item);
    }
    // The group is named by its first member's own key, not the folded one.
    RUVLLM_ASSIGN(const Value name, path.get(runtime, rows[begin].item, given[1]));
    Value group = runtime.heap.tuple({name, runtime.heap.list(std::move(members))});
    group.as<ListObject>().is_group = true;
    groups.push_back(std::move(group));
    begin = end;
  }
  return runtime.heap.list(std::move(groups));
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
    {"dictsort", dict_sort},
    {"first", first},
    {"groupby", group_by},
    {"items", items},
    {"join", join},
    {"last", last},
    {"list", list},
    {"map", map},
    {"max", extreme<true>},
    {"min", extreme<false>},
    {"reject", select<false, false>},
    {"rejectattr", select<true, false>},
    {"reverse", reverse},
    {"select", select<false, true>},
    {"selectattr", select<true, true>},
    {"slice", slice_filter},
    {"sort", sort},
    {"sum", sum},
    {"unique", unique},
};

}  // namespace

std::span<const Builtin> sequence_filters() {
  return kFilters;
}

}  // namespace ruvllm::jinja
