// The fields of ServingConfig as one list: their flags, ranges and help, their names in JSON.
// --help, the check of load_model, `ruvllm info --json` and --serving-config all read it. Pure
// functions; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "base/json.h"
#include "ruvllm/options.h"
#include "ruvllm/result.h"

namespace ruvllm {

using ServingTarget = std::variant<int32_t*, float*, bool*, uint64_t*>;

// A number or a switch. isq, xlora and device are not here: LoadOptions' flags set them.
struct ServingField {
  std::string_view path;   // in JSON; a dot parts an object from its member
  std::string_view flag;   // of a switch: what turns it on; --no-... turns it off
  std::string_view value;  // what the help calls it
  std::string_view help;
  int64_t min = 0;  // of whole numbers; the bounds of a float are above min, at most max
  int64_t max = 0;
  ServingTarget (*target)(ServingConfig& config);

  std::string_view name() const { return path.substr(path.rfind('.') + 1); }
};
std::span<const ServingField> serving_fields();

// What the field may be, for messages: "1 to 4096", "a number above 0, at most 1".
std::string allowed_text(const ServingField& field, const ServingTarget& target);
// Whether the value that `target` points to lies within the field's bounds.
bool is_allowed(const ServingField& field, const ServingTarget& target);

// Every field of the config; from_json() of it gives an equal config.
Json serving_config_json(const ServingConfig& config);
// What `json` leaves out keeps the default. kInvalidArgument names a member that is not known, of
// the wrong type or out of range, with the value found and what is allowed.
Result<ServingConfig> serving_config_from_json(const Json& json);

}  // namespace ruvllm
