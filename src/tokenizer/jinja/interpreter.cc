#include "tokenizer/jinja/interpreter.h"

#include "tokenizer/jinja/text.h"

namespace ruvllm::jinja {
namespace {

template <typename T>
class Restore {
 public:
  Restore(T& slot, T value) : slot_(slot), saved_(std::exchange(slot, std::move(value))) {}
  ~Restore() { slot_ = std::move(saved_); }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  T& slot_;
  T saved_;
};

}  // namespace

Ref<Scope> Interpreter::new_scope(Ref<Scope> parent) {
  return Ref<Scope>(runtime_.heap.make_cyclic<Scope>(64, std::move(parent)));
}

Value Interpreter::import(const Json& json) {
  Heap& heap = runtime_.heap;
  if (const auto b = json.as_bool()) return Value(*b);
  if (const auto i = json.as_int64()) return Value(*i);
  if (const auto u = json.as_uint64()) {
    const auto half = BigInt(static_cast<int64_t>(*u >> 1));
    return heap.integer(half + half + BigInt(static_cast<int64_t>(*u & 1)));
  }
  if (const auto d = json.as_double()) return Value(*d);
  if (const std::string* s = json.as_string()) return heap.string(*s);
  if (const Json::Array* array = json.as_array()) {
    std::vector<Value> items;
    items.reserve(array->size());
    for (const Json& item : *array) items.push_back(import(item));
    return heap.list(std::move(items));
  }
  if (const Json::Object* object = json.as_object()) {
    std::vector<DictObject::Item> items;
    items.reserve(object->size());
    for (const JsonMember& member : *object) {
      items.emplace_back(heap.string(member.key), import(member.value));
    }
    return heap.dict(std::move(items));
  }
  return Value::none();
}

Result<std::string> Interpreter::render() {
  globals_.resize(program_.symbols.size());
  for (size_t i = 0; i < globals_.size(); ++i) {
    const std::string& name = program_.symbols[i];
    if (const Json* given = context_.find(name)) {
      globals_[i] = import(*given);
    } else if (const Builtin* builtin = find_global(name)) {
      globals_[i] = Value(Kind::kFunction, runtime_.heap.make<FunctionObject>(0, builtin, Value()));
    }
  }
  runtime_.heap.forgive();
  std::string text;
  out_ = &text;
  root_ = new_scope(Ref<Scope>());
  scope_ = root_;
  RUVLLM_TRY(run_block(program_.body));
  if (!is_valid_utf8(text)) {
    return fail(ErrorCode::kInvalidArgument,
                "chat template: the text it makes has a lone surrogate");
  }
  return text;
}

std::unexpected<Error> Interpreter::locate(Error error, int32_t line) {
  if (!located_ && !runtime_.raised_by_template) {
    error.message = concat("chat template line ", line, ": ", error.message);
  }
  located_ = true;
  return std::unexpected<Error>(std::move(error));
}

Status Interpreter::write(std::string_view text) {
  if (captured_bytes_ + out_->size() + text.size() > runtime_.heap.max_bytes()) {
    return over_limit("output");
  }
  out_->append(text);
  return runtime_.charge(text.size() / 256);
}

Status Interpreter::print_value(const Value& value) {
  if (value.is_string()) return write(value.text());
  if (value.is_undefined()) return {};
  RUVLLM_ASSIGN(const std::string text, str(runtime_, value));
  return write(text);
}

Result<Interpreter::Flow> Interpreter::run_block(const Block& block) {
  for (const Stmt& stmt : block) {
    Result<Flow> flow = run(stmt);
    if (!flow) return locate(std::move(flow).error(), stmt.line);
    if (*flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Result<Interpreter::Flow> Interpreter::run(const Stmt& stmt) {
  RUVLLM_TRY(runtime_.charge(1));
  const Restore<int32_t> depth(tree_depth_, tree_depth_ + 1);
  if (tree_depth_ > runtime_.max_depth * kTreeLevelsPerCall) return over_limit("nesting");
  switch (stmt.kind) {
    case StmtKind::kData:
      RUVLLM_TRY(write(stmt.text));
      return Flow::kNormal;
    case StmtKind::kPrint:
      for (const ExprPtr& expr : stmt.exprs) {
        RUVLLM_ASSIGN(const Value value, evaluate(*expr));
        RUVLLM_TRY(print_value(value));
      }
      return Flow::kNormal;
    case StmtKind::kIf:
      return run_if(stmt);
    case StmtKind::kFor:
      return run_for(stmt);
    case StmtKind::kWith:
      return run_with(stmt);
    case StmtKind::kNamedBlock:
      return run_named_block(stmt);
    case StmtKind::kSetBlock:
      return run_set_block(stmt);
    case StmtKind::kFilterBlock:
      return run_filter_block(stmt);
    case StmtKind::kScope: {
      const Restore<Ref<Scope>> scope(scope_, new_scope(scope_));
      return run_block(*stmt.blocks[0]);
    }
    case StmtKind::kSet:
      RUVLLM_TRY(run_set(stmt));
      return Flow::kNormal;
    case StmtKind::kMacro:
      RUVLLM_TRY(define_macro(stmt));
      return Flow::kNormal;
    case StmtKind::kCallBlock:
      RUVLLM_TRY(run_call_block(stmt));
      return Flow::kNormal;
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
    case StmtKind::kRefuse:
      return unsupported(stmt.text);
  }
  return Flow::kNormal;
}

Result<Interpreter::Flow> Interpreter::run_if(const Stmt& stmt) {
  for (size_t i = 0; i < stmt.exprs.size(); ++i) {
    RUVLLM_ASSIGN(const Value test, evaluate(*stmt.exprs[i]));
    if (truth(test)) return run_block(*stmt.blocks[i]);
  }
  if (stmt.blocks.size() > stmt.exprs.size()) return run_block(*stmt.blocks.back());
  return Flow::kNormal;
}

Result<Interpreter::Flow> Interpreter::run_with(const Stmt& stmt) {
  // All values are evaluated outside, before the first name is set.
  const Ref<Scope> inner = new_scope(scope_);
  std::vector<Value> values;
  for (const ExprPtr& expr : stmt.exprs) {
    RUVLLM_ASSIGN(Value value, evaluate(*expr));
    values.push_back(std::move(value));
  }
  const Restore<Ref<Scope>> scope(scope_, inner);
  for (size_t i = 0; i < values.size(); ++i) {
    RUVLLM_TRY(assign(*stmt.targets[i], std::move(values[i])));
  }
  return run_block(*stmt.blocks[0]);
}

Result<Interpreter::Flow> Interpreter::run_named_block(const Stmt& stmt) {
  const Restore<Ref<Scope>> scope(scope_, new_scope(stmt.scoped ? scope_ : root_));
  return run_block(*stmt.blocks[0]);
}

Result<Interpreter::Flow> Interpreter::capture(const Block& block, const Expr* filters,
                                               Value& result) {
  const Restore<Ref<Scope>> scope(scope_, new_scope(scope_));
  std::string text;
  Flow flow = Flow::kNormal;
  {
    const Restore<uint64_t> waiting(captured_bytes_, captured_bytes_ + out_->size());
    const Restore<std::string*> output(out_, &text);
    RUVLLM_ASSIGN(flow, run_block(block));
  }
  if (flow != Flow::kNormal) return flow;
  RUVLLM_ASSIGN(Value captured, runtime_.make_string(std::move(text)));
  RUVLLM_ASSIGN(result, evaluate_filters(filters, std::move(captured)));
  return flow;
}

Result<Interpreter::Flow> Interpreter::run_set_block(const Stmt& stmt) {
  RUVLLM_TRY(check_namespace_targets(*stmt.targets[0]));
  Value result;
  RUVLLM_ASSIGN(const Flow flow, capture(*stmt.blocks[0], stmt.exprs[0].get(), result));
  if (flow == Flow::kNormal) RUVLLM_TRY(assign(*stmt.targets[0], std::move(result)));
  return flow;
}

Result<Interpreter::Flow> Interpreter::run_filter_block(const Stmt& stmt) {
  Value result;
  RUVLLM_ASSIGN(const Flow flow, capture(*stmt.blocks[0], stmt.exprs[0].get(), result));
  if (flow == Flow::kNormal) RUVLLM_TRY(print_value(result));
  return flow;
}

Status Interpreter::run_set(const Stmt& stmt) {
  RUVLLM_TRY(check_namespace_targets(*stmt.targets[0]));
  RUVLLM_ASSIGN(Value value, evaluate(*stmt.exprs[0]));
  return assign(*stmt.targets[0], std::move(value));
}

Status Interpreter::check_namespace_targets(const Expr& target) {
  if (target.kind == ExprKind::kAttributeTarget) {
    RUVLLM_ASSIGN(const Value owner, lookup(target.symbol));
    if (!owner.is(Kind::kNamespace))
      return raise("cannot assign attribute on non-namespace object");
  }
  for (const ExprPtr& child : target.children) RUVLLM_TRY(check_namespace_targets(*child));
  return {};
}

Status Interpreter::assign(const Expr& target, Value value) {
  if (target.kind == ExprKind::kName) {
    scope_->set(target.symbol, std::move(value));
    return {};
  }
  if (target.kind == ExprKind::kAttributeTarget) {
    RUVLLM_ASSIGN(const Value owner, lookup(target.symbol));
    if (!owner.is(Kind::kNamespace))
      return raise("cannot assign attribute on non-namespace object");
    if (target.value.text().starts_with('_')) {
      return raise("names in a namespace must not begin with an underscore");
    }
    auto& space = owner.as<NamespaceObject>();
    RUVLLM_TRY(runtime_.charge(space.items.size() / 8));
    if (Value* found = space.find(target.value.text())) {
      *found = std::move(value);
    } else {
      space.items.emplace_back(target.value, std::move(value));
    }
    return {};
  }
  RUVLLM_ASSIGN(std::vector<Value> parts, to_vector(runtime_, value));
  if (parts.size() != target.children.size()) {
    return raise(concat(parts.size() < target.children.size() ? "not enough" : "too many",
                        " values to unpack (expected ", target.children.size(), ", got ",
                        parts.size(), ")"));
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    RUVLLM_TRY(assign(*target.children[i], std::move(parts[i])));
  }
  return {};
}

Status Interpreter::define_macro(const Stmt& stmt) {
  scope_->set(stmt.symbol,
              Value(Kind::kMacro, runtime_.heap.make<MacroObject>(0, stmt.macro.get(), scope_)));
  return {};
}

Status Interpreter::run_call_block(const Stmt& stmt) {
  const Value caller(Kind::kMacro, runtime_.heap.make<MacroObject>(0, stmt.macro.get(), scope_));
  RUVLLM_ASSIGN(const Value result, evaluate_call(*stmt.exprs[0], &caller));
  return print_value(result);
}

Result<Value> Interpreter::call(const Value& callee, const Args& args) {
  switch (callee.kind()) {
    case Kind::kFunction: {
      const auto& function = callee.as<FunctionObject>();
      return function.builtin->function(runtime_, function.self, args);
    }
    case Kind::kMacro:
      return call_macro(callee.as<MacroObject>(), args);
    case Kind::kLoop:
      return call_loop(callee.as<LoopObject>(), args);
    case Kind::kJoiner: {
      RUVLLM_TRY(bind_nothing("joiner", args));
      auto& joiner = callee.as<JoinerObject>();
      if (std::exchange(joiner.used, true)) return joiner.separator;
      return runtime_.heap.string("");
    }
    case Kind::kUndefined:
      return raise(undefined_message(callee));
    default:
      return raise(concat("'", type_name(callee), "' object is not callable"));
  }
}

Result<Value> Interpreter::call_macro(const MacroObject& macro, const Args& args) {
  if (call_depth_ >= runtime_.max_depth) return over_limit("the depth of calls");
  const Restore<int32_t> depth(call_depth_, call_depth_ + 1);
  const Restore<Ref<Scope>> scope(scope_, new_scope(macro.scope));
  std::string text;
  const Restore<uint64_t> waiting(captured_bytes_, captured_bytes_ + out_->size());
  const Restore<std::string*> output(out_, &text);
  RUVLLM_TRY(bind_macro(*macro.decl, args));
  RUVLLM_TRY(run_block(*macro.decl->body));
  return runtime_.make_string(std::move(text));
}

// Places first, then names; what is left over goes to varargs, kwargs and caller if the body
// mentions them, and is an error otherwise.
Status Interpreter::bind_macro(const MacroDecl& decl, const Args& args) {
  const size_t by_place = std::min(args.positional.size(), decl.parameters.size());
  for (size_t i = 0; i < by_place; ++i) scope_->set(decl.parameters[i], args.positional[i]);
  std::vector<DictObject::Item> rest = args.named;
  const auto pop = [&rest](std::string_view name) {
    for (size_t i = 0; i < rest.size(); ++i) {
      if (rest[i].first.text() != name) continue;
      Value value = std::move(rest[i].second);
      rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(i));
      return value;
    }
    return Value();
  };
  for (size_t i = by_place; i < decl.parameters.size(); ++i) {
    // kMissing until its default is evaluated: not to be found outside either.
    scope_->set(decl.parameters[i], pop(program_.symbols[decl.parameters[i]]));
  }
  if (decl.uses_caller) {
    Value caller = pop("caller");
    if (caller.is_missing() || caller.is_none()) {
      caller = runtime_.heap.undefined_hint("No caller defined");
    }
    scope_->set(program_.caller, std::move(caller));
  }
  if (decl.uses_kwargs) {
    scope_->set(program_.kwargs, runtime_.heap.dict(std::move(rest)));
  } else if (!rest.empty()) {
    return raise(concat("macro '", decl.name, "' takes no keyword argument '",
                        printable(rest[0].first.text()), "'"));
  }
  if (decl.uses_varargs) {
    scope_->set(program_.varargs, runtime_.heap.tuple({args.positional.begin() +
                                                           static_cast<std::ptrdiff_t>(by_place),
                                                       args.positional.end()}));
  } else if (args.positional.size() > decl.parameters.size()) {
    return raise(concat("macro '", decl.name, "' takes not more than ", decl.parameters.size(),
                        " argument(s)"));
  }
  return fill_defaults(decl);
}

Status Interpreter::fill_defaults(const MacroDecl& decl) {
  const size_t first_default = decl.parameters.size() - decl.defaults.size();
  for (size_t i = 0; i < decl.parameters.size(); ++i) {
    const Symbol name = decl.parameters[i];
    if (!scope_->find(name)->is_missing()) continue;
    Value value;
    if (i >= first_default) {
      RUVLLM_ASSIGN(value, evaluate(*decl.defaults[i - first_default]));
    } else {
      value = runtime_.heap.undefined_hint(
          concat("parameter '", program_.symbols[name], "' was not provided"));
    }
    scope_->set(name, std::move(value));
  }
  return {};
}

std::string describe_callable(const Value& value) {
  switch (value.kind()) {
    case Kind::kMacro: {
      const std::string& name = value.as<MacroObject>().decl->name;
      return name.empty() ? "<Macro anonymous>" : concat("<Macro '", name, "'>");
    }
    case Kind::kFunction:
      return concat("<function ", value.as<FunctionObject>().builtin->name, ">");
    case Kind::kLoop: {
      const auto& loop = value.as<LoopObject>();
      return concat("<LoopContext ", loop.index0 + 1, ">");
    }
    default:
      return concat("<", type_name(value), " object>");
  }
}

Value macro_attribute(Runtime& runtime, const Value& macro, std::string_view name) {
  const MacroDecl& decl = *macro.as<MacroObject>().decl;
  if (name == "name") return decl.name.empty() ? Value::none() : runtime.heap.string(decl.name);
  if (name == "catch_kwargs") return Value(decl.uses_kwargs);
  if (name == "catch_varargs") return Value(decl.uses_varargs);
  if (name == "caller") return Value(decl.uses_caller);
  return {};
}

}  // namespace ruvllm::jinja
