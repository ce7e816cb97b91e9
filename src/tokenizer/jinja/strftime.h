// strftime in the C locale without the C library's: the same text on every platform.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ruvllm/result.h"

namespace ruvllm::jinja {

// A moment in local time.
struct TimeParts {
  int64_t year = 1970;
  int month = 1;  // 1-12
  int day = 1;    // 1-31
  int hour = 0;
  int minute = 0;
  int second = 0;
  int weekday = 4;  // 0 is Sunday
  int day_of_year = 1;
  int64_t unix_seconds = 0;  // as if local time were UTC
};

// Negative: now, by the system's clock and time zone. Otherwise seconds since 1970 in local time.
TimeParts time_parts(int64_t local_unix_seconds);

// Directives of C and glibc with its flags - _ 0 ^ #; one that it does not know stays as written.
Result<std::string> format_time(std::string_view format, const TimeParts& time);

}  // namespace ruvllm::jinja
