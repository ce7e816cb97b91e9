// The global functions of a chat template's environment.
#include "tokenizer/jinja/call.h"
#include "tokenizer/jinja/methods.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/strftime.h"
#include "tokenizer/jinja/text.h"

namespace ruvllm::jinja {
namespace {

constexpr int64_t kMaxRange = 100000;  // the sandbox's bound

Result<Value> make_range(Runtime& runtime, const Value&, const Args& args) {
  if (!args.named.empty()) return raise("range() takes no keyword arguments");
  const size_t given = args.positional.size();
  if (given < 1 || given > 3) return raise(concat("range expected 1 to 3 arguments, got ", given));
  int64_t numbers[3] = {0, 0, 1};
  for (size_t i = 0; i < given; ++i) {
    RUVLLM_ASSIGN(numbers[given == 1 ? 1 : i],
                  to_index(args.positional[i], "the range() argument"));
  }
  const auto [start, stop, step] = numbers;
  if (step == 0) return raise("range() arg 3 must not be zero");
  // Unsigned differences: the whole 64-bit line fits.
  uint64_t length = 0;
  if (step > 0 && stop > start) {
    length = (static_cast<uint64_t>(stop) - static_cast<uint64_t>(start) - 1) /
                 static_cast<uint64_t>(step) +
             1;
  } else if (step < 0 && start > stop) {
    length = (static_cast<uint64_t>(start) - static_cast<uint64_t>(stop) - 1) /
                 (~static_cast<uint64_t>(step) + 1) +
             1;
  }
  if (length > static_cast<uint64_t>(kMaxRange)) {
    return fail(ErrorCode::kOutOfMemory,
                concat("Range too big. The sandbox blocks ranges larger than ", kMaxRange, "."));
  }
  return Value(Kind::kRange,
               runtime.heap.make<RangeObject>(0, start, stop, step, static_cast<int64_t>(length)));
}

// dict(mapping or pairs, **named) as a list of items.
Result<std::vector<DictObject::Item>> dict_items(Runtime& runtime, const Args& args) {
  std::vector<DictObject::Item> items;
  if (args.positional.size() > 1) return raise("dict expected at most 1 argument");
  if (args.positional.size() == 1) {
    const Value& source = args.positional[0];
    if (source.is_undefined()) return raise(undefined_message(source));
    if (source.is(Kind::kDict)) {
      items = source.as<DictObject>().items;
    } else {
      RUVLLM_ASSIGN(const std::vector<Value> pairs, to_vector(runtime, source));
      for (const Value& pair : pairs) {
        RUVLLM_ASSIGN(const std::vector<Value> parts, to_vector(runtime, pair));
        if (parts.size() != 2) return raise("dictionary update sequence element is not a pair");
        if (!is_hashable(parts[0])) {
          return raise(concat("unhashable type: '", type_name(parts[0]), "'"));
        }
        RUVLLM_TRY(runtime.charge(1 + (parts[0].is_string() ? parts[0].text().size() / 4 : 16)));
        items.emplace_back(parts[0], parts[1]);
      }
    }
  }
  for (const auto& [name, value] : args.named) items.emplace_back(name, value);
  RUVLLM_TRY(runtime.check_size(items.size() * sizeof(DictObject::Item)));
  RUVLLM_TRY(runtime.charge(items.size()));
  return items;
}

Result<Value> make_dict(Runtime& runtime, const Value&, const Args& args) {
  RUVLLM_ASSIGN(std::vector<DictObject::Item> items, dict_items(runtime, args));
  return runtime.heap.dict(std::move(items));
}

Result<Value> make_namespace(Runtime& runtime, const Value&, const Args& args) {
  RUVLLM_ASSIGN(std::vector<DictObject::Item> items, dict_items(runtime, args));
  // A dict sorts out repeated names; names must be texts to be reachable at all.
  const Value dict = runtime.heap.dict(std::move(items));
  auto* space = runtime.heap.make_cyclic<NamespaceObject>(0);
  Value result(Kind::kNamespace, space);
  for (const DictObject::Item& item : dict.as<DictObject>().items) {
    if (!item.first.is_string()) return raise("names in a namespace must be texts");
    if (item.first.text().starts_with('_')) {
      return raise("names in a namespace must not begin with an underscore");
    }
    space->items.push_back(item);
  }
  return result;
}

Result<Value> make_cycler(Runtime& runtime, const Value&, const Args& args) {
  if (!args.named.empty()) return raise("cycler() takes no keyword arguments");
  if (args.positional.empty()) return raise("at least one item has to be provided");
  return Value(Kind::kCycler, runtime.heap.make<CyclerObject>(
                                  args.positional.size() * sizeof(Value), args.positional));
}

Result<Value> make_joiner(Runtime& runtime, const Value&, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("joiner", args, {"sep"}));
  Value separator = given.has(0) ? given[0] : runtime.heap.string(", ");
  return Value(Kind::kJoiner, runtime.heap.make<JoinerObject>(0, std::move(separator)));
}

Result<Value> raise_exception(Runtime& runtime, const Value&, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("raise_exception", args, {"message"}, 1));
  RUVLLM_ASSIGN(std::string message, str(runtime, given[0]));
  runtime.raised_by_template = true;
  return raise(std::move(message));
}

Result<Value> strftime_now(Runtime& runtime, const Value&, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("strftime_now", args, {"format"}, 1));
  if (!given[0].is_string()) return raise("strftime() argument 1 must be str");
  RUVLLM_TRY(runtime.check_size(given[0].text().size() * 16));
  RUVLLM_ASSIGN(std::string text,
                format_time(given[0].text(), time_parts(runtime.now_unix_seconds)));
  return runtime.make_string(std::move(text));
}

Result<Value> lipsum(Runtime&, const Value&, const Args&) {
  return unsupported("lipsum() makes random text and is not available in templates here");
}

constexpr Builtin kGlobals[] = {
    {"range", make_range},          {"dict", make_dict},     {"namespace", make_namespace},
    {"cycler", make_cycler},        {"joiner", make_joiner}, {"raise_exception", raise_exception},
    {"strftime_now", strftime_now}, {"lipsum", lipsum},
};

}  // namespace

const Builtin* find_global(std::string_view name) {
  return find_builtin(kGlobals, name);
}

}  // namespace ruvllm::jinja
