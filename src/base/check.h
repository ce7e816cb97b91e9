// RUVLLM_CHECK(condition, parts...): a broken invariant of our own (never bad input) prints the
// condition, the place and the parts, and aborts. It stays on in release builds.
#pragma once

#include <string>

#include "base/str.h"

namespace ruvllm {

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const std::string& details);

}  // namespace ruvllm

#define RUVLLM_CHECK(condition, ...)                                           \
  do {                                                                         \
    if (!(condition)) [[unlikely]]                                             \
      ::ruvllm::check_failed(__FILE__, __LINE__, #condition,                   \
                             ::ruvllm::concat("" __VA_OPT__(, ) __VA_ARGS__)); \
  } while (false)
