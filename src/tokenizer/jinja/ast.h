// The compiled form of a template: a tree of statements and expressions, immutable after parsing.
//
// Names are numbered once per template; strings and big integers in the text are immortal values
// owned by the Program. Depth is bounded by the parser, so walking and freeing may recurse.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/jinja/call.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/value.h"

namespace ruvllm::jinja {

using Symbol = uint32_t;

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

enum class ExprKind : uint8_t {
  kConstant,
  kName,
  kList,
  kTuple,
  kDict,  // children: key, value, key, value, ...
  kBinary,
  kNegate,
  kPlus,
  kNot,
  kAnd,
  kOr,
  kConcat,           // ~, n-ary
  kCompare,          // children[0] op[0] children[1] op[1] ...
  kCondition,        // children: test, then, [else]
  kAttribute,        // children[0].name
  kItem,             // children[0][children[1]]
  kSlice,            // children[0][children[1]:children[2]:children[3]], each may be null
  kCall,             // children[0](call)
  kFilter,           // children[0] | builtin(call); children[0] null: the captured block
  kTest,             // children[0] is builtin(call)
  kAttributeTarget,  // only as a target of set: name.attribute
};

// The arguments of a call, filter or test.
struct CallSite {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<Value, ExprPtr>> named;
  ExprPtr spread;        // *args
  ExprPtr named_spread;  // **kwargs
};

struct Expr {
  ExprKind kind = ExprKind::kConstant;
  BinaryOp op = BinaryOp::kAdd;
  int16_t depth = 1;
  int32_t line = 1;
  Symbol symbol = 0;                 // kName, kAttributeTarget
  const Builtin* builtin = nullptr;  // kFilter, kTest; null: unknown, an error when it runs
  Value value;                       // kConstant; the name of kAttribute, kFilter, kTest
  std::vector<ExprPtr> children;
  std::vector<CompareOp> compare_ops;
  std::unique_ptr<CallSite> call;
};

struct Stmt;
using Block = std::vector<Stmt>;

enum class StmtKind : uint8_t {
  kData,         // text
  kPrint,        // expr
  kIf,           // exprs are tests, blocks their bodies; one more block: else
  kFor,          // target in exprs[0] if exprs[1]; blocks[0] body, blocks[1] else
  kSet,          // target = exprs[0]
  kSetBlock,     // target = blocks[0], through the filters exprs[0]
  kMacro,        // macro
  kCallBlock,    // exprs[0] with macro as its caller
  kFilterBlock,  // blocks[0] through the filters exprs[0]
  kWith,         // targets = exprs; blocks[0]
  kScope,        // blocks[0] in a scope of its own
  kNamedBlock,   // blocks[0] in a scope that sees only the template's top
  kBreak,
  kContinue,
  kRefuse,  // text: why; an error when it runs
};

struct MacroDecl {
  std::string name;  // empty: a call block's body
  std::vector<Symbol> parameters;
  std::vector<ExprPtr> defaults;  // of the last parameters
  Block* body = nullptr;          // in the statement that holds this
  bool uses_caller = false;
  bool uses_kwargs = false;
  bool uses_varargs = false;
};

struct Stmt {
  StmtKind kind = StmtKind::kData;
  bool recursive = false;  // kFor
  bool scoped = false;     // kNamedBlock
  int32_t line = 1;
  Symbol symbol = 0;  // kMacro: its name
  std::string text;
  std::vector<ExprPtr> targets;  // kName, kTuple or kAttributeTarget
  std::vector<ExprPtr> exprs;
  std::vector<std::unique_ptr<Block>> blocks;
  std::unique_ptr<MacroDecl> macro;
};

struct Template {
  std::vector<std::string> symbols;
  std::vector<std::unique_ptr<Object>> constants;  // outlive the body, which points to them
  Block body;
  // Numbers of names the interpreter itself uses.
  Symbol loop = 0, caller = 0, kwargs = 0, varargs = 0;
};

Result<std::unique_ptr<Template>> parse_template(std::string_view source);

}  // namespace ruvllm::jinja
