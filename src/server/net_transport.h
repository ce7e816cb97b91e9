// Transport: a connected socket, plain or TLS, behind one interface. All calls and all handlers on
// the I/O thread; a handler is called exactly once. (Part of the network layer: the only files that
// see Boost.Asio.)
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <functional>
#include <memory>

namespace ruvllm::server {

using NetHandler = std::function<void(const boost::system::error_code&, size_t)>;

class Transport {
 public:
  virtual ~Transport() = default;
  virtual void handshake(NetHandler handler) = 0;  // plain: succeeds at once
  virtual void read_some(char* data, size_t size, NetHandler handler) = 0;
  virtual void write_some(const char* data, size_t size, NetHandler handler) = 0;
  virtual void shutdown_send() = 0;  // the client sees the end; reading goes on
  virtual void close() = 0;          // outstanding calls end with an error
};

std::unique_ptr<Transport> make_plain_transport(boost::asio::ip::tcp::socket socket);
std::unique_ptr<Transport> make_tls_transport(boost::asio::ip::tcp::socket socket,
                                              boost::asio::ssl::context& context);

}  // namespace ruvllm::server
