# Sourced by the other scripts: installs what a build or a test needs and this machine lacks.
# On Debian (and its kin) with apt-get; elsewhere it names the packages and stops.

BUILD_PACKAGES="g++ cmake ninja-build pkg-config nlohmann-json3-dev libutf8proc-dev
  libpcre2-dev libcurl4-openssl-dev libssl-dev libedit-dev"
SERVER_PACKAGES="libboost1.81-dev curl openssl"
TEST_PACKAGES="libgtest-dev python3"
CI_PACKAGES="ccache clang-19 clang-format-19 lld-19 llvm-19 libclang-rt-19-dev wasi-libc
  libc++-19-dev-wasm32 libc6-dev-arm64-cross libstdc++-12-dev-arm64-cross qemu-user binutils
  libbenchmark-dev python3-venv"

# ensure_packages NAME...
ensure_packages() {
  local missing=() name
  for name in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "This machine has no apt-get. Please install by hand: ${missing[*]}" >&2
    return 1
  fi
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "As root, please run: apt-get install ${missing[*]}" >&2; return 1; }
    as_root=(sudo)
  fi
  echo "Installing: ${missing[*]}" >&2
  "${as_root[@]}" apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends \
      "${missing[@]}" >/dev/null
}
