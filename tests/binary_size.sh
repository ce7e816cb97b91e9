#!/usr/bin/env bash
# Prints the stripped size of a binary and fails above the edge build's limit of 4 MB.
set -euo pipefail
stripped=$(mktemp)
trap 'rm -f "$stripped"' EXIT
strip -o "$stripped" "$1"
bytes=$(stat -c %s "$stripped")
echo "edge binary, stripped: $bytes bytes (limit 4194304)"
[ "$bytes" -le 4194304 ]
