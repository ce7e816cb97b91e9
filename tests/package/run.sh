#!/usr/bin/env bash
# Installs a build to a fresh prefix, builds the README's first program against the package from
# another project, and runs it: it must find the installed demo model and print an answer.
#   run.sh BUILD_DIR
set -euo pipefail
build=$(realpath "$1")
source=$(realpath "$(dirname "$0")/../..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/prefix" >/dev/null
cmake -S "$source/tests/package" -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" \
  -DFIRST_PROGRAM="$source/examples/first_program/main.cc" >/dev/null
cmake --build "$work/build" >/dev/null
cd "$work"
answer=$(RUVLLM_MODELS="$work/prefix/share/ruvllm/models" "$work/build/first_program")
[ -n "$answer" ] || { echo "the first program printed nothing"; exit 1; }
echo "first program against the installed package: $(head -n 1 <<<"$answer")"
answer=$("$work/prefix/bin/ruvllm" run -m demo --temperature 0 -n 8 -p "Hello" 2>/dev/null)
[ -n "$answer" ] || { echo "the installed command found no demo model"; exit 1; }
