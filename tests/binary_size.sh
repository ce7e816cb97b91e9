#!/usr/bin/env bash
# Prints the stripped sizes of ruvllm binaries; fails when the first, the edge build's, is above its
# limit of 4 MB.
#   binary_size.sh EDGE_BINARY [BINARY ...]
set -euo pipefail
stripped=$(mktemp)
trap 'rm -f "$stripped"' EXIT
edge_bytes=
for binary in "$@"; do
  strip -o "$stripped" "$binary"
  bytes=$(stat -c %s "$stripped")
  edge_bytes=${edge_bytes:-$bytes}
  echo "$(basename "$(dirname "$binary")"): $bytes bytes stripped"
done
[ "$edge_bytes" -le 4194304 ] || { echo "the edge binary is above its limit of 4194304 bytes"; exit 1; }
