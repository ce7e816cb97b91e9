// Runs a compiled template once: walks the tree with a chain of scopes and writes the text.
//
// An Interpreter is made for one render and thrown away; the Template outlives it. Every statement
// and expression costs a step. Recursion is bounded twice: by the calls under way (max_depth) and
// by the levels of the tree being walked, which bounds the stack.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/runtime.h"

namespace ruvllm::jinja {

// Levels of the tree being walked, per level of calls allowed: what bounds the stack.
inline constexpr int32_t kTreeLevelsPerCall = 5;

// Variables of one level. Few per level, so a walk finds them fastest.
struct Scope : Object {
  explicit Scope(Ref<Scope> outer) : parent(std::move(outer)) {}
  void clear() override {
    names.clear();
    parent = Ref<Scope>();
  }
  Value* find(Symbol symbol) {
    for (auto& [name, value] : names) {
      if (name == symbol) return &value;
    }
    return nullptr;
  }
  void set(Symbol symbol, Value value) {
    if (Value* found = find(symbol)) {
      *found = std::move(value);
    } else {
      names.emplace_back(symbol, std::move(value));
    }
  }
  Ref<Scope> parent;
  std::vector<std::pair<Symbol, Value>> names;
};

struct MacroObject : Object {
  MacroObject(const MacroDecl* what, Ref<Scope> where) : decl(what), scope(std::move(where)) {}
  void clear() override { scope = Ref<Scope>(); }
  const MacroDecl* const decl;
  Ref<Scope> scope;  // where it was defined
};

// The `loop` of a for: also the state of the walk over its items, one of which may be read ahead.
struct LoopObject : Object {
  void clear() override;
  class Interpreter* interpreter = nullptr;
  const Stmt* stmt = nullptr;
  Ref<Scope> outer;
  Cursor cursor;
  std::vector<Value> buffered;  // what was left when somebody asked for the length
  size_t next_buffered = 0;
  bool is_buffered = false;
  bool has_after = false;
  int64_t index0 = -1;
  int64_t length = -1;
  int64_t depth0 = 0;
  Value before, current, after, last_changed;
};

class Interpreter {
 public:
  Interpreter(const Template& program, const Json& context, const RenderOptions& options)
      : program_(program), context_(context), runtime_(options) {}

  Result<std::string> render();

 private:
  enum class Flow : uint8_t { kNormal, kBreak, kContinue };
  friend Result<Value> loop_attribute(Runtime& runtime, const Value& loop, std::string_view name);

  Result<Flow> run_block(const Block& block);
  Result<Flow> run(const Stmt& stmt);
  Result<Flow> run_if(const Stmt& stmt);
  Result<Flow> run_for(const Stmt& stmt);
  Result<Flow> run_loop(const Stmt& stmt, const Value& iterable, int64_t depth0);
  Result<Flow> run_with(const Stmt& stmt);
  Result<Flow> run_named_block(const Stmt& stmt);
  Result<Flow> run_set_block(const Stmt& stmt);
  Result<Flow> run_filter_block(const Stmt& stmt);
  Status run_set(const Stmt& stmt);
  Status run_call_block(const Stmt& stmt);
  Status define_macro(const Stmt& stmt);
  Status print(const Expr& expr);
  Status print_value(const Value& value);
  Status write(std::string_view text);
  // Runs the block with its own scope and its output captured and put through the filters.
  Result<Flow> capture(const Block& block, const Expr* filters, Value& result);

  Result<Value> evaluate(const Expr& expr);
  Result<Value> evaluate_kind(const Expr& expr);
  Result<Value> evaluate_name(const Expr& expr);
  Result<Value> evaluate_sequence(const Expr& expr);
  Result<Value> evaluate_dict(const Expr& expr);
  Result<Value> evaluate_concat(const Expr& expr);
  Result<Value> evaluate_compare(const Expr& expr);
  Result<Value> evaluate_slice(const Expr& expr);
  Result<Value> evaluate_call(const Expr& expr, const Value* caller);
  Result<Value> evaluate_builtin(const Expr& expr, const Value& input);
  Result<Value> evaluate_filters(const Expr* filters, Value captured);
  Result<Args> evaluate_arguments(const CallSite* site);
  Result<Value> lookup(Symbol symbol);

  Status assign(const Expr& target, Value value);
  Status check_namespace_targets(const Expr& target);
  Result<Value> call(const Value& callee, const Args& args);
  Result<Value> call_macro(const MacroObject& macro, const Args& args);
  Status bind_macro(const MacroDecl& decl, const Args& args);
  Status fill_defaults(const MacroDecl& decl);
  Result<Value> call_loop(LoopObject& loop, const Args& args);

  Result<bool> next_item(LoopObject& loop);
  Result<bool> fetch(LoopObject& loop, Value& out);
  Result<bool> passes_test(LoopObject& loop, const Value& item);
  Result<bool> peek(LoopObject& loop);
  Result<int64_t> loop_length(LoopObject& loop);
  Result<Value> loop_value(const Value& loop, std::string_view name);

  Ref<Scope> new_scope(Ref<Scope> parent);
  Value import(const Json& json);
  std::unexpected<Error> locate(Error error, int32_t line);

  const Template& program_;
  const Json& context_;
  Runtime runtime_;
  std::vector<Value> globals_;  // by symbol, kMissing: not there
  Ref<Scope> scope_;
  Ref<Scope> root_;
  std::string* out_ = nullptr;
  uint64_t captured_bytes_ = 0;  // of outputs that wait below out_
  int32_t call_depth_ = 0;
  int32_t tree_depth_ = 0;
  bool located_ = false;
};

}  // namespace ruvllm::jinja
