// Filters that compare items: sorting, grouping, extremes.
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

constexpr Builtin kFilters[] = {
    {"dictsort", dict_sort}, {"groupby", group_by}, {"max", extreme<true>},
    {"min", extreme<false>}, {"sort", sort},        {"unique", unique},
};

}  // namespace

std::span<const Builtin> order_filters() {
  return kFilters;
}

}  // namespace ruvllm::jinja
