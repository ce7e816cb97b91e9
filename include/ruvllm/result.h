// How every call of ruvllm reports failure: a Result<T> holds a value or an Error. Nothing in the
// library throws. An Error's message is one line for a person: it names the thing (file, field,
// flag), what was found, what was expected and, where there is one, the way out.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <utility>

namespace ruvllm {

// What a caller may want to branch on; the message carries everything else.
enum class ErrorCode : uint8_t {
  kInvalidArgument,  // the caller's request or option is wrong
  kNotFound,         // a file, model, tensor or name does not exist
  kBadFile,          // a file was read and is malformed or contradicts itself
  kUnsupported,      // well-formed, but this engine or this build does not do it
  kOutOfMemory,      // the memory budget (or the machine) cannot hold it
  kUnavailable,      // busy, full, cancelled or not loaded; trying again later may work
  kIo,               // the operating system or the network refused
  kInternal,         // a broken invariant that did not have to end the process
};

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

template <typename T>
using Result = std::expected<T, Error>;

// A Result without a value: `Status s = f(); if (!s) report(s.error().message);`
using Status = std::expected<void, Error>;

inline std::unexpected<Error> fail(ErrorCode code, std::string message) {
  return std::unexpected<Error>(Error{code, std::move(message)});
}

}  // namespace ruvllm

// Evaluates an expression of type Result/Status; on failure returns its Error from the function.
#define RUVLLM_TRY(expr)                                                              \
  do {                                                                                \
    if (auto ruvllm_try_status_ = (expr); !ruvllm_try_status_)                        \
      return std::unexpected<::ruvllm::Error>(std::move(ruvllm_try_status_).error()); \
  } while (false)

#define RUVLLM_CONCAT_INNER_(a, b) a##b
#define RUVLLM_CONCAT_(a, b) RUVLLM_CONCAT_INNER_(a, b)

// RUVLLM_ASSIGN(auto x, f()): x = value of the Result, or returns its Error from the function.
#define RUVLLM_ASSIGN(decl, expr) \
  RUVLLM_ASSIGN_INNER_(RUVLLM_CONCAT_(ruvllm_result_, __LINE__), decl, expr)
#define RUVLLM_ASSIGN_INNER_(tmp, decl, expr)                                \
  auto tmp = (expr);                                                         \
  if (!tmp) return std::unexpected<::ruvllm::Error>(std::move(tmp).error()); \
  decl = *std::move(tmp)
