// Expressions of interpreter.h.
#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/text.h"

namespace ruvllm::jinja {
namespace {

class Level {
 public:
  explicit Level(int32_t& depth) : depth_(depth) { ++depth_; }
  ~Level() { --depth_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  int32_t& depth_;
};

// Kinds whose methods can be called without making a bound method first.
bool has_plain_methods(const Value& value) {
  return value.is_string() || value.is(Kind::kDict);
}

}  // namespace

Result<Value> Interpreter::lookup(Symbol symbol) {
  for (Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    if (const Value* found = scope->find(symbol)) {
      if (found->is_missing()) break;
      return *found;
    }
  }
  if (!globals_[symbol].is_missing()) return globals_[symbol];
  return runtime_.heap.undefined_name(program_.symbols[symbol]);
}

Result<Value> Interpreter::evaluate(const Expr& expr) {
  if (expr.kind == ExprKind::kConstant) return expr.value;
  RUVLLM_TRY(runtime_.charge(1));
  if (expr.kind == ExprKind::kName) return lookup(expr.symbol);
  const Level level(tree_depth_);
  if (tree_depth_ > runtime_.max_depth * kTreeLevelsPerCall) return over_limit("nesting");
  return evaluate_kind(expr);
}

Result<Value> Interpreter::evaluate_kind(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kConstant:
      return expr.value;
    case ExprKind::kName:
    case ExprKind::kAttributeTarget:
      return lookup(expr.symbol);
    case ExprKind::kList:
    case ExprKind::kTuple:
      return evaluate_sequence(expr);
    case ExprKind::kDict:
      return evaluate_dict(expr);
    case ExprKind::kConcat:
      return evaluate_concat(expr);
    case ExprKind::kCompare:
      return evaluate_compare(expr);
    case ExprKind::kSlice:
      return evaluate_slice(expr);
    case ExprKind::kCall:
      return evaluate_call(expr, nullptr);
    case ExprKind::kBinary: {
      RUVLLM_ASSIGN(const Value left, evaluate(*expr.children[0]));
      RUVLLM_ASSIGN(const Value right, evaluate(*expr.children[1]));
      return binary(runtime_, expr.op, left, right);
    }
    case ExprKind::kAnd:
    case ExprKind::kOr: {
      RUVLLM_ASSIGN(Value left, evaluate(*expr.children[0]));
      if (truth(left) == (expr.kind == ExprKind::kOr)) return left;
      return evaluate(*expr.children[1]);
    }
    case ExprKind::kItem: {
      RUVLLM_ASSIGN(const Value object, evaluate(*expr.children[0]));
      RUVLLM_ASSIGN(const Value key, evaluate(*expr.children[1]));
      return get_item(runtime_, object, key);
    }
    case ExprKind::kCondition: {
      RUVLLM_ASSIGN(const Value test, evaluate(*expr.children[0]));
      if (truth(test)) return evaluate(*expr.children[1]);
      if (expr.children.size() > 2) return evaluate(*expr.children[2]);
      return runtime_.heap.undefined_hint(
          concat("the inline if-expression on line ", expr.line,
                 " evaluated to false and no else section was defined."));
    }
    default:
      break;
  }
  RUVLLM_ASSIGN(const Value operand, evaluate(*expr.children[0]));
  switch (expr.kind) {
    case ExprKind::kNegate:
      return negate(runtime_, operand);
    case ExprKind::kPlus:
      return plus(runtime_, operand);
    case ExprKind::kNot:
      return Value(!truth(operand));
    case ExprKind::kAttribute:
      return get_attribute(runtime_, operand, expr.value);
    default:
      return evaluate_builtin(expr, operand);
  }
}

Result<Value> Interpreter::evaluate_sequence(const Expr& expr) {
  std::vector<Value> items;
  items.reserve(expr.children.size());
  for (const ExprPtr& child : expr.children) {
    RUVLLM_ASSIGN(Value item, evaluate(*child));
    items.push_back(std::move(item));
  }
  return expr.kind == ExprKind::kList ? runtime_.heap.list(std::move(items))
                                      : runtime_.heap.tuple(std::move(items));
}

Result<Value> Interpreter::evaluate_dict(const Expr& expr) {
  std::vector<DictObject::Item> items;
  items.reserve(expr.children.size() / 2);
  for (size_t i = 0; i + 1 < expr.children.size(); i += 2) {
    RUVLLM_ASSIGN(Value key, evaluate(*expr.children[i]));
    RUVLLM_ASSIGN(Value value, evaluate(*expr.children[i + 1]));
    if (!is_hashable(key)) return raise(concat("unhashable type: '", type_name(key), "'"));
    if (key.is_string()) RUVLLM_TRY(runtime_.charge(key.text().size() / 8));
    items.emplace_back(std::move(key), std::move(value));
  }
  return runtime_.heap.dict(std::move(items));
}

Result<Value> Interpreter::evaluate_concat(const Expr& expr) {
  std::string text;
  for (const ExprPtr& child : expr.children) {
    RUVLLM_ASSIGN(const Value value, evaluate(*child));
    if (value.is_string() && !runtime_.heap.fits(text.size() + value.text().size())) {
      return over_limit("the size of values");
    }
    RUVLLM_TRY(append_str(runtime_, text, value));
  }
  return runtime_.make_string(std::move(text));
}

Result<Value> Interpreter::evaluate_compare(const Expr& expr) {
  RUVLLM_ASSIGN(Value left, evaluate(*expr.children[0]));
  for (size_t i = 0; i < expr.compare_ops.size(); ++i) {
    RUVLLM_ASSIGN(Value right, evaluate(*expr.children[i + 1]));
    RUVLLM_ASSIGN(const bool holds, compare(runtime_, expr.compare_ops[i], left, right));
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Result<Value> Interpreter::evaluate_slice(const Expr& expr) {
  RUVLLM_ASSIGN(const Value object, evaluate(*expr.children[0]));
  // The original folds subscripts of constants, and then a slice that fails is undefined.
  const ExprKind kind = expr.children[0]->kind;
  if ((kind == ExprKind::kConstant && !object.is_string()) || kind == ExprKind::kDict) {
    return runtime_.heap.undefined_hint(concat(object_name(object), " has no such element"));
  }
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (expr.children[i + 1] == nullptr) continue;
    RUVLLM_ASSIGN(bounds[i], evaluate(*expr.children[i + 1]));
  }
  return slice(runtime_, object, bounds[0], bounds[1], bounds[2]);
}

Result<Args> Interpreter::evaluate_arguments(const CallSite* site) {
  Args args;
  if (site == nullptr) return args;
  args.positional.reserve(site->positional.size());
  for (const ExprPtr& expr : site->positional) {
    RUVLLM_ASSIGN(Value value, evaluate(*expr));
    args.positional.push_back(std::move(value));
  }
  if (site->spread != nullptr) {
    RUVLLM_ASSIGN(const Value value, evaluate(*site->spread));
    RUVLLM_ASSIGN(const std::vector<Value> items, to_vector(runtime_, value));
    args.positional.insert(args.positional.end(), items.begin(), items.end());
  }
  for (const auto& [name, expr] : site->named) {
    RUVLLM_ASSIGN(Value value, evaluate(*expr));
    args.named.emplace_back(name, std::move(value));
  }
  if (site->named_spread == nullptr) return args;
  RUVLLM_ASSIGN(const Value value, evaluate(*site->named_spread));
  if (!value.is(Kind::kDict)) {
    return raise(concat("argument after ** must be a mapping, not ", type_name(value)));
  }
  for (const DictObject::Item& item : value.as<DictObject>().items) {
    if (!item.first.is_string()) return raise("keywords must be strings");
    for (const auto& [name, given] : args.named) {
      if (name.text() == item.first.text()) {
        return raise(concat("multiple values for keyword argument '", printable(name.text()), "'"));
      }
    }
    RUVLLM_TRY(runtime_.charge((1 + args.named.size() / 8) * (1 + item.first.text().size() / 64)));
    args.named.push_back(item);
  }
  return args;
}

Result<Value> Interpreter::evaluate_call(const Expr& expr, const Value* caller) {
  const Expr& target = *expr.children[0];
  Value callee;
  const Builtin* method = nullptr;
  if (target.kind == ExprKind::kAttribute) {
    RUVLLM_ASSIGN(const Value object, evaluate(*target.children[0]));
    if (has_plain_methods(object)) method = find_method(object, target.value.text());
    if (method != nullptr) {
      callee = object;
    } else {
      RUVLLM_ASSIGN(callee, get_attribute(runtime_, object, target.value));
    }
  } else {
    RUVLLM_ASSIGN(callee, evaluate(target));
  }
  RUVLLM_ASSIGN(Args args, evaluate_arguments(expr.call.get()));
  if (caller != nullptr) {
    for (const auto& [name, value] : args.named) {
      if (name.text() == "caller") return raise("multiple values for keyword argument 'caller'");
    }
    args.named.emplace_back(runtime_.heap.string("caller"), *caller);
  }
  if (method != nullptr) return method->function(runtime_, callee, args);
  return call(callee, args);
}

Result<Value> Interpreter::evaluate_builtin(const Expr& expr, const Value& input) {
  RUVLLM_ASSIGN(const Args args, evaluate_arguments(expr.call.get()));
  if (expr.builtin == nullptr) {
    return raise(concat("No ", expr.kind == ExprKind::kFilter ? "filter" : "test", " named '",
                        printable(expr.value.text()), "'."));
  }
  return expr.builtin->function(runtime_, input, args);
}

Result<Value> Interpreter::evaluate_filters(const Expr* filters, Value captured) {
  if (filters == nullptr) return captured;
  RUVLLM_ASSIGN(const Value input,
                evaluate_filters(filters->children[0].get(), std::move(captured)));
  RUVLLM_TRY(runtime_.charge(1));
  return evaluate_builtin(*filters, input);
}

}  // namespace ruvllm::jinja
