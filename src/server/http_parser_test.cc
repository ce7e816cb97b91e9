#include "server/http_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ruvllm::server {
namespace {

// Feeds in pieces of `step` bytes; what is left over.
std::string feed(RequestParser& parser, std::string_view bytes, size_t step) {
  std::string rest(bytes);
  while (!rest.empty() && !parser.complete() && !parser.failed()) {
    const size_t size = std::min(step, rest.size());
    const size_t used = parser.feed(std::string_view(rest).substr(0, size));
    rest.erase(0, used);
    if (used == 0 && size == rest.size()) break;
  }
  return rest;
}

constexpr std::string_view kPost =
    "POST /v1/x?q=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX-A:  b c \r\n\r\nhello";

TEST(RequestParser, ReadsARequestHoweverItIsCut) {
  for (const size_t step : {size_t{1}, size_t{2}, size_t{7}, size_t{1000}}) {
    RequestParser parser{HttpLimits()};
    const std::string rest = feed(parser, std::string(kPost) + "GET", step);
    ASSERT_TRUE(parser.complete()) << step << parser.error_message();
    EXPECT_EQ(rest, "GET");
    EXPECT_TRUE(parser.keep_alive());
    const HttpRequest request = parser.take_request();
    EXPECT_EQ(request.method, "POST");
    EXPECT_EQ(request.path, "/v1/x");
    EXPECT_EQ(request.query, "q=1");
    EXPECT_EQ(request.body, "hello");
    ASSERT_NE(request.header("x-a"), nullptr);
    EXPECT_EQ(*request.header("x-a"), "b c");
    EXPECT_FALSE(parser.began());
  }
}

TEST(RequestParser, ReadsChunksWithExtensionsAndTrailers) {
  for (const size_t step : {size_t{1}, size_t{3}, size_t{1000}}) {
    RequestParser parser{HttpLimits()};
    const std::string rest = feed(parser,
                                  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  "3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\nNEXT",
                                  step);
    ASSERT_TRUE(parser.complete()) << parser.error_message();
    EXPECT_EQ(parser.request().body, "abc0123456789");
    EXPECT_EQ(rest, "NEXT");
  }
}

struct Bad {
  const char* bytes;
  int status;
};

TEST(RequestParser, RefusesWhatCouldBeReadInTwoWays) {
  const Bad cases[] = {
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505},
      {"GET /\r\n\r\n", 400},
      {"\x16\x03\x01\x02", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n: b\r\n\r\n", 400},
      {"GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
      {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
       400},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 501},
      {"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n", 413},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFF\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7FFFFFFF\r\n", 413},
      {"GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", 417},
  };
  for (const Bad& bad : cases) {
    for (const size_t step : {size_t{1}, size_t{1000}}) {
      RequestParser parser{HttpLimits()};
      feed(parser, bad.bytes, step);
      EXPECT_TRUE(parser.failed()) << bad.bytes;
      EXPECT_EQ(parser.error_status(), bad.status) << bad.bytes;
    }
  }
  RequestParser nul{HttpLimits()};
  feed(nul, std::string_view("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 35), 100);
  EXPECT_TRUE(nul.failed());
}

TEST(RequestParser, BoundsTheHead) {
  for (const size_t step : {size_t{1000}, size_t{1} << 20}) {
    RequestParser parser{HttpLimits()};
    feed(parser, "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(1 << 20, 'a'), step);
    EXPECT_EQ(parser.error_status(), 431);
  }
  std::string many = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (int i = 0; i < 200; ++i) many += "X: 1\r\n";
  RequestParser parser{HttpLimits()};
  feed(parser, many + "\r\n", 1000);
  EXPECT_EQ(parser.error_status(), 431);
}

TEST(RequestParser, KnowsWhetherTheConnectionStays) {
  const auto keeps = [](std::string_view head) {
    RequestParser parser{HttpLimits()};
    feed(parser, head, 1000);
    EXPECT_TRUE(parser.complete()) << head;
    return parser.keep_alive();
  };
  EXPECT_TRUE(keeps("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_FALSE(keeps("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
  EXPECT_FALSE(keeps("GET / HTTP/1.0\r\n\r\n"));
  EXPECT_TRUE(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
}

}  // namespace
}  // namespace ruvllm::server
