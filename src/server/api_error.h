// ApiError: why a request is refused, in the shape of OpenAI's API:
// {"error": {"message", "type", "param", "code"}}. Plain values.
#pragma once

#include <expected>
#include <string>
#include <utility>

#include "ruvllm/result.h"
#include "server/http_message.h"

namespace ruvllm::server {

struct ApiError {
  int status = 400;
  std::string message;
  std::string param;            // the field it is about; "": none
  std::string code;             // e.g. "model_not_found"; "": none
  int retry_after_seconds = 0;  // 0: no Retry-After header
};

template <typename T>
using Api = std::expected<T, ApiError>;

inline std::unexpected<ApiError> bad_request(std::string param, std::string message) {
  return std::unexpected<ApiError>(ApiError{400, std::move(message), std::move(param), "", 0});
}
inline std::unexpected<ApiError> refuse(int status, std::string message, std::string code = "") {
  return std::unexpected<ApiError>(ApiError{status, std::move(message), "", std::move(code), 0});
}

// The engine's refusal of a request as an HTTP status. kUnavailable is 429: the queue is full.
ApiError from_engine(const Error& error);

// {"error": {...}}; messages are cut at 1000 bytes.
std::string error_json(const ApiError& error);
HttpResponse error_response(const ApiError& error);

}  // namespace ruvllm::server
