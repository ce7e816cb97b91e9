#include "server/api_error.h"

#include "base/json.h"
#include "base/str.h"

namespace ruvllm::server {
namespace {

std::string_view type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    case 504:
      return "timeout_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

// At most `limit` bytes, cut between characters.
std::string_view cut(std::string_view text, size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xc0) == 0x80) --limit;
  return text.substr(0, limit);
}

}  // namespace

ApiError from_engine(const Error& error) {
  ApiError out;
  out.message = error.message;
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kUnsupported:
      out.status = 400;
      break;
    case ErrorCode::kNotFound:
      out.status = 404;
      break;
    case ErrorCode::kUnavailable:
    case ErrorCode::kOutOfMemory:
      out.status = 429;
      out.code = "queue_full";
      out.retry_after_seconds = 1;
      break;
    default:
      out.status = 500;
      break;
  }
  return out;
}

std::string error_json(const ApiError& error) {
  std::string out = "{\"error\":{\"message\":";
  append_json_string(out, cut(error.message, 1000));
  out += ",\"type\":";
  append_json_string(out, type_of(error.status));
  out += ",\"param\":";
  if (error.param.empty())
    out += "null";
  else
    append_json_string(out, error.param);
  out += ",\"code\":";
  if (error.code.empty())
    out += concat(error.status);
  else
    append_json_string(out, error.code);
  return out + "}}";
}

HttpResponse error_response(const ApiError& error) {
  HttpResponse response;
  response.status = error.status;
  response.body = error_json(error);
  if (error.retry_after_seconds > 0) {
    response.headers.emplace_back("Retry-After", concat(error.retry_after_seconds));
  }
  if (error.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

}  // namespace ruvllm::server
