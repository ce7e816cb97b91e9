#include "tokenizer/jinja/strftime.h"

#include <ctime>
#include <optional>
#include <string_view>

#include "base/str.h"
#include "tokenizer/jinja/unicode.h"

namespace ruvllm::jinja {
namespace {

constexpr const char* kWeekdays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                     "Thursday", "Friday", "Saturday"};
constexpr const char* kMonths[] = {"January",   "February", "March",    "April",
                                   "May",       "June",     "July",     "August",
                                   "September", "October",  "November", "December"};

bool is_leap(int64_t year) {
  return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

// Days from 0000-03-01 to the civil date and back, in years that begin in March, so that the leap
// day is the last day of its year.
TimeParts from_local_seconds(int64_t seconds) {
  TimeParts time;
  time.unix_seconds = seconds;
  int64_t days = seconds / 86400;
  int64_t rest = seconds % 86400;
  if (rest < 0) {
    rest += 86400;
    --days;
  }
  time.hour = static_cast<int>(rest / 3600);
  time.minute = static_cast<int>(rest / 60 % 60);
  time.second = static_cast<int>(rest % 60);
  time.weekday = static_cast<int>(((days + 4) % 7 + 7) % 7);
  const int64_t shifted = days + 719468;
  const int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
  const int64_t day_of_era = shifted - era * 146097;
  const int64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const int64_t day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t month = (5 * day_of_year + 2) / 153;  // 0 is March
  time.day = static_cast<int>(day_of_year - (153 * month + 2) / 5 + 1);
  time.month = static_cast<int>(month < 10 ? month + 3 : month - 9);
  time.year = year_of_era + era * 400 + (time.month <= 2 ? 1 : 0);
  constexpr int kDaysBefore[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  time.day_of_year =
      kDaysBefore[time.month - 1] + time.day + (time.month > 2 && is_leap(time.year) ? 1 : 0);
  return time;
}

// ISO 8601: the week with the year's first Thursday is week 1.
void iso_week(const TimeParts& time, int64_t& year, int& week) {
  const int from_monday = (time.weekday + 6) % 7;
  year = time.year;
  week = (time.day_of_year - 1 - from_monday + 10) / 7;
  const auto weeks_in = [](int64_t y) {
    const auto new_year = [](int64_t z) {
      const int64_t v = z - 1;
      return ((v + v / 4 - v / 100 + v / 400) % 7 + 7) % 7;  // weekday of 31 December before
    };
    const int64_t first = (new_year(y) + 1) % 7;
    return first == 4 || (first == 3 && is_leap(y)) ? 53 : 52;
  };
  if (week < 1) {
    --year;
    week = weeks_in(year);
  } else if (week > weeks_in(year)) {
    ++year;
    week = 1;
  }
}

class TimeFormatter {
 public:
  explicit TimeFormatter(const TimeParts& time) : time_(time) {}

  std::string format(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '%' || i + 1 >= text.size()) {
        out += text[i];
        continue;
      }
      const size_t begin = i++;
      flag_ = 0;
      bool upper = false;
      bool swap = false;
      while (i + 1 < text.size() &&
             std::string_view("-_0^#").find(text[i]) != std::string_view::npos) {
        if (text[i] == '^')
          upper = true;
        else if (text[i] == '#')
          swap = true;
        else
          flag_ = text[i];
        ++i;
      }
      if (i + 1 < text.size() && (text[i] == 'E' || text[i] == 'O')) ++i;
      std::string piece;
      if (!directive(piece, text[i])) piece = text.substr(begin, i - begin + 1);
      if (upper || (swap && (text[i] == 'a' || text[i] == 'A' || text[i] == 'b' || text[i] == 'B' ||
                             text[i] == 'h'))) {
        piece = to_upper(piece);
      }
      if (swap && text[i] == 'p') piece = to_lower(piece);
      out += piece;
    }
    return out;
  }

 private:
  void number(std::string& out, int64_t value, size_t width, char pad) const {
    if (flag_ == '_') pad = ' ';
    if (flag_ == '0') pad = '0';
    const std::string digits = concat(value);
    if (flag_ != '-' && digits.size() < width) out.append(width - digits.size(), pad);
    out += digits;
  }

  struct Number {
    int64_t value;
    size_t width;
    char pad;
  };

  std::optional<Number> number_of(char c) const {
    const int hour12 = time_.hour % 12 == 0 ? 12 : time_.hour % 12;
    int64_t iso_year = 0;
    int week = 0;
    iso_week(time_, iso_year, week);
    switch (c) {
      case 'C':
        return Number{time_.year / 100, 2, '0'};
      case 'd':
        return Number{time_.day, 2, '0'};
      case 'e':
        return Number{time_.day, 2, ' '};
      case 'g':
        return Number{iso_year % 100, 2, '0'};
      case 'G':
        return Number{iso_year, 4, '0'};
      case 'H':
        return Number{time_.hour, 2, '0'};
      case 'I':
        return Number{hour12, 2, '0'};
      case 'j':
        return Number{time_.day_of_year, 3, '0'};
      case 'k':
        return Number{time_.hour, 2, ' '};
      case 'l':
        return Number{hour12, 2, ' '};
      case 'm':
        return Number{time_.month, 2, '0'};
      case 'M':
        return Number{time_.minute, 2, '0'};
      case 's':
        return Number{time_.unix_seconds, 1, '0'};
      case 'S':
        return Number{time_.second, 2, '0'};
      case 'u':
        return Number{time_.weekday == 0 ? 7 : time_.weekday, 1, '0'};
      case 'U':
        return Number{(time_.day_of_year + 6 - time_.weekday) / 7, 2, '0'};
      case 'V':
        return Number{week, 2, '0'};
      case 'w':
        return Number{time_.weekday, 1, '0'};
      case 'W':
        return Number{(time_.day_of_year + 6 - (time_.weekday + 6) % 7) / 7, 2, '0'};
      case 'y':
        return Number{time_.year % 100, 2, '0'};
      case 'Y':
        return Number{time_.year, 1, '0'};
      default:
        return std::nullopt;
    }
  }

  // What a directive is short for; empty: nothing.
  static std::string_view longhand(char c) {
    switch (c) {
      case 'c':
        return "%a %b %e %H:%M:%S %Y";
      case 'D':
      case 'x':
        return "%m/%d/%y";
      case 'F':
        return "%Y-%m-%d";
      case 'r':
        return "%I:%M:%S %p";
      case 'R':
        return "%H:%M";
      case 'T':
      case 'X':
        return "%H:%M:%S";
      default:
        return {};
    }
  }

  std::optional<std::string_view> word(char c) const {
    switch (c) {
      case 'a':
        return std::string_view(kWeekdays[time_.weekday]).substr(0, 3);
      case 'A':
        return kWeekdays[time_.weekday];
      case 'b':
      case 'h':
        return std::string_view(kMonths[time_.month - 1]).substr(0, 3);
      case 'B':
        return kMonths[time_.month - 1];
      case 'f':
        return "000000";
      case 'n':
        return "\n";
      case 'p':
        return time_.hour < 12 ? "AM" : "PM";
      case 'P':
        return time_.hour < 12 ? "am" : "pm";
      case 't':
        return "\t";
      case 'z':
      case 'Z':
        return "";  // a time without a zone
      case '%':
        return "%";
      default:
        return std::nullopt;
    }
  }

  bool directive(std::string& out, char c) const {
    if (const auto field = number_of(c)) {
      number(out, field->value, field->width, field->pad);
    } else if (const std::string_view text = longhand(c); !text.empty()) {
      out += TimeFormatter(time_).format(text);
    } else if (const auto known = word(c)) {
      out += *known;
    } else {
      return false;
    }
    return true;
  }

  const TimeParts& time_;
  char flag_ = 0;
};

}  // namespace

TimeParts time_parts(int64_t local_unix_seconds) {
  if (local_unix_seconds >= 0) return from_local_seconds(local_unix_seconds);
  const std::time_t now = std::time(nullptr);
  std::tm local = {};
  if (localtime_r(&now, &local) == nullptr) return from_local_seconds(static_cast<int64_t>(now));
  TimeParts time;
  time.year = local.tm_year + 1900;
  time.month = local.tm_mon + 1;
  time.day = local.tm_mday;
  time.hour = local.tm_hour;
  time.minute = local.tm_min;
  time.second = local.tm_sec < 60 ? local.tm_sec : 59;
  time.weekday = local.tm_wday;
  time.day_of_year = local.tm_yday + 1;
  time.unix_seconds = static_cast<int64_t>(now);
  return time;
}

Result<std::string> format_time(std::string_view format, const TimeParts& time) {
  return TimeFormatter(time).format(format);
}

}  // namespace ruvllm::jinja
