// The for statement of interpreter.h and its `loop`.
#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/text.h"

namespace ruvllm::jinja {
namespace {

Result<Value> loop_cycle(Runtime&, const Value& self, const Args& args) {
  if (!args.named.empty()) return raise("cycle() takes no keyword arguments");
  if (args.positional.empty()) return raise("no items for cycling given");
  const int64_t index = self.as<LoopObject>().index0;
  return args.positional[static_cast<size_t>(index) % args.positional.size()];
}

Result<Value> loop_changed(Runtime& runtime, const Value& self, const Args& args) {
  if (!args.named.empty()) return raise("changed() takes no keyword arguments");
  auto& loop = self.as<LoopObject>();
  Value values = runtime.heap.tuple(args.positional);
  if (!loop.last_changed.is_missing()) {
    RUVLLM_ASSIGN(const bool same, equals(runtime, loop.last_changed, values));
    if (same) return Value(false);
  }
  loop.last_changed = std::move(values);
  return Value(true);
}

constexpr Builtin kCycle = {"cycle", loop_cycle};
constexpr Builtin kChanged = {"changed", loop_changed};

}  // namespace

void LoopObject::clear() {
  outer = Ref<Scope>();
  cursor.clear();
  buffered.clear();
  before = current = after = last_changed = Value();
}

Result<Value> loop_attribute(Runtime& runtime, const Value& loop, std::string_view name) {
  (void)runtime;
  return loop.as<LoopObject>().interpreter->loop_value(loop, name);
}

Result<Value> Interpreter::loop_value(const Value& value, std::string_view name) {
  auto& loop = value.as<LoopObject>();
  if (name == "index") return Value(loop.index0 + 1);
  if (name == "index0") return Value(loop.index0);
  if (name == "first") return Value(loop.index0 == 0);
  if (name == "depth") return Value(loop.depth0 + 1);
  if (name == "depth0") return Value(loop.depth0);
  if (name == "last") {
    RUVLLM_ASSIGN(const bool more, peek(loop));
    return Value(!more);
  }
  if (name == "length" || name == "revindex" || name == "revindex0") {
    RUVLLM_ASSIGN(const int64_t length, loop_length(loop));
    if (name == "length") return Value(length);
    return Value(length - loop.index0 - (name == "revindex0" ? 1 : 0));
  }
  if (name == "previtem") {
    if (loop.index0 == 0) return runtime_.heap.undefined_hint("there is no previous item");
    return loop.before;
  }
  if (name == "nextitem") {
    RUVLLM_ASSIGN(const bool more, peek(loop));
    return more ? loop.after : runtime_.heap.undefined_hint("there is no next item");
  }
  const Builtin* method = name == "cycle" ? &kCycle : name == "changed" ? &kChanged : nullptr;
  if (method == nullptr) return Value();
  return Value(Kind::kFunction, runtime_.heap.make<FunctionObject>(0, method, value));
}

Result<bool> Interpreter::passes_test(LoopObject& loop, const Value& item) {
  const Expr* test = loop.stmt->exprs[1].get();
  if (test == nullptr) return true;
  // The test sees the target and what is outside, not `loop`.
  Ref<Scope> saved = std::exchange(scope_, new_scope(loop.outer));
  const auto evaluate_test = [&]() -> Result<bool> {
    RUVLLM_TRY(assign(*loop.stmt->targets[0], item));
    RUVLLM_ASSIGN(const Value verdict, evaluate(*test));
    return truth(verdict);
  };
  Result<bool> verdict = evaluate_test();
  scope_ = std::move(saved);
  return verdict;
}

// The next item that passes the test, from what was read ahead for the length or from the source.
Result<bool> Interpreter::fetch(LoopObject& loop, Value& out) {
  if (loop.is_buffered) {
    if (loop.next_buffered >= loop.buffered.size()) return false;
    out = std::move(loop.buffered[loop.next_buffered++]);
    return true;
  }
  while (true) {
    RUVLLM_TRY(runtime_.charge(1));
    RUVLLM_ASSIGN(const bool more, loop.cursor.next(runtime_, out));
    if (!more) return false;
    RUVLLM_ASSIGN(const bool passes, passes_test(loop, out));
    if (passes) return true;
  }
}

Result<bool> Interpreter::peek(LoopObject& loop) {
  if (!loop.has_after) {
    RUVLLM_ASSIGN(loop.has_after, fetch(loop, loop.after));
  }
  return loop.has_after;
}

Result<bool> Interpreter::next_item(LoopObject& loop) {
  Value item;
  if (loop.has_after) {
    item = std::move(loop.after);
    loop.has_after = false;
  } else {
    RUVLLM_ASSIGN(const bool more, fetch(loop, item));
    if (!more) return false;
  }
  ++loop.index0;
  loop.before = std::move(loop.current);
  loop.current = std::move(item);
  return true;
}

Result<int64_t> Interpreter::loop_length(LoopObject& loop) {
  if (loop.length >= 0) return loop.length;
  const auto known = length_of(loop.cursor.source());
  if (known && loop.stmt->exprs[1] == nullptr) {
    loop.length = static_cast<int64_t>(*known);
    return loop.length;
  }
  std::vector<Value> rest;
  Value item;
  while (true) {
    RUVLLM_ASSIGN(const bool more, fetch(loop, item));
    if (!more) break;
    rest.push_back(std::move(item));
  }
  loop.length = static_cast<int64_t>(rest.size()) + loop.index0 + 1 + (loop.has_after ? 1 : 0);
  loop.buffered = std::move(rest);
  loop.next_buffered = 0;
  loop.is_buffered = true;
  return loop.length;
}

Result<Interpreter::Flow> Interpreter::run_for(const Stmt& stmt) {
  RUVLLM_ASSIGN(const Value iterable, evaluate(*stmt.exprs[0]));
  return run_loop(stmt, iterable, 0);
}

// A recursive loop's body, run again for other items by loop(items).
Result<Value> Interpreter::call_loop(LoopObject& loop, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("loop", args, {"iterable"}, 1));
  if (!loop.stmt->recursive) {
    return raise("The loop must have the 'recursive' marker to be called recursively.");
  }
  if (call_depth_ >= runtime_.max_depth) return over_limit("the depth of calls");
  const Ref<Scope> saved_scope = std::exchange(scope_, loop.outer);
  std::string text;
  std::string* saved_out = std::exchange(out_, &text);
  captured_bytes_ += saved_out->size();
  ++call_depth_;
  Result<Flow> flow = run_loop(*loop.stmt, given[0], loop.depth0 + 1);
  --call_depth_;
  captured_bytes_ -= saved_out->size();
  out_ = saved_out;
  scope_ = saved_scope;
  if (!flow) return std::unexpected<Error>(std::move(flow).error());
  return runtime_.make_string(std::move(text));
}

Result<Interpreter::Flow> Interpreter::run_loop(const Stmt& stmt, const Value& iterable,
                                                int64_t depth0) {
  const Ref<Scope> outer = scope_;
  const Ref<LoopObject> loop(runtime_.heap.make_cyclic<LoopObject>(0));
  loop->interpreter = this;
  loop->stmt = &stmt;
  loop->outer = outer;
  loop->depth0 = depth0;
  RUVLLM_ASSIGN(loop->cursor, Cursor::open(iterable));
  const auto iterate = [&]() -> Result<Flow> {
    Ref<Scope> inner;
    while (true) {
      RUVLLM_ASSIGN(const bool more, next_item(*loop));
      if (!more) break;
      // A scope that nobody kept is used again; one is kept by the list of possible cycles.
      if (inner && inner->refs == 3) {
        inner->names.clear();
      } else {
        inner = new_scope(outer);
      }
      scope_ = inner;
      RUVLLM_TRY(runtime_.charge(2));
      RUVLLM_TRY(assign(*stmt.targets[0], loop->current));
      inner->set(program_.loop, Value(Kind::kLoop, loop.get()));
      RUVLLM_ASSIGN(const Flow flow, run_block(*stmt.blocks[0]));
      if (flow == Flow::kBreak) break;
    }
    if (loop->index0 >= 0 || stmt.blocks.size() < 2) return Flow::kNormal;
    scope_ = new_scope(outer);
    return run_block(*stmt.blocks[1]);
  };
  Result<Flow> flow = iterate();
  scope_ = outer;
  return flow;
}

}  // namespace ruvllm::jinja
