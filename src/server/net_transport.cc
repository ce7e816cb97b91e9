#include "server/net_transport.h"

#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <utility>

namespace ruvllm::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

void close_socket(tcp::socket& socket) {
  boost::system::error_code ignored;
  socket.shutdown(tcp::socket::shutdown_both, ignored);
  socket.close(ignored);
}

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(tcp::socket socket) : socket_(std::move(socket)) {}

  void handshake(NetHandler handler) override {
    asio::post(socket_.get_executor(), [handler = std::move(handler)] { handler({}, 0); });
  }
  void read_some(char* data, size_t size, NetHandler handler) override {
    socket_.async_read_some(asio::buffer(data, size), std::move(handler));
  }
  void write_some(const char* data, size_t size, NetHandler handler) override {
    socket_.async_write_some(asio::buffer(data, size), std::move(handler));
  }
  void shutdown_send() override {
    boost::system::error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
  }
  void close() override { close_socket(socket_); }

 private:
  tcp::socket socket_;
};

class TlsTransport final : public Transport {
 public:
  TlsTransport(tcp::socket socket, asio::ssl::context& context)
      : stream_(std::make_shared<Stream>(std::move(socket), context)) {}

  void handshake(NetHandler handler) override {
    stream_->async_handshake(asio::ssl::stream_base::server,
                             [stream = stream_, handler = std::move(handler)](
                                 const boost::system::error_code& error) { handler(error, 0); });
  }
  void read_some(char* data, size_t size, NetHandler handler) override {
    stream_->async_read_some(asio::buffer(data, size), std::move(handler));
  }
  void write_some(const char* data, size_t size, NetHandler handler) override {
    stream_->async_write_some(asio::buffer(data, size), std::move(handler));
  }
  void shutdown_send() override {
    // close_notify, then the end of the socket's sending side; the stream lives until it is done.
    stream_->async_shutdown([stream = stream_](const boost::system::error_code&) {
      boost::system::error_code ignored;
      stream->next_layer().shutdown(tcp::socket::shutdown_send, ignored);
    });
  }
  void close() override { close_socket(stream_->next_layer()); }

 private:
  using Stream = asio::ssl::stream<tcp::socket>;
  std::shared_ptr<Stream> stream_;
};

}  // namespace

std::unique_ptr<Transport> make_plain_transport(tcp::socket socket) {
  return std::make_unique<PlainTransport>(std::move(socket));
}

std::unique_ptr<Transport> make_tls_transport(tcp::socket socket, asio::ssl::context& context) {
  return std::make_unique<TlsTransport>(std::move(socket), context);
}

}  // namespace ruvllm::server
