// The access log: one line per request, without anything of its body, its key or its query.
#pragma once

#include <string>
#include <string_view>

#include "server/exchange.h"

namespace ruvllm::server {

// A JSON object or plain text, with its line end. `route`: the path's pattern, not what was sent.
std::string access_line(const Exchange& exchange, std::string_view route, double seconds,
                        bool aborted, bool as_json);

// X-Request-Id when it is 1 to 128 harmless characters, else a new random one.
std::string request_id_of(const HttpRequest& request);

// "2026-01-31T12:00:00.123Z"
std::string utc_now();

}  // namespace ruvllm::server
