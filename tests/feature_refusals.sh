#!/usr/bin/env bash
# A device that this build cannot run on is refused by name, with status 1 and one line.
#   feature_refusals.sh BINARY cuda|metal on|off     (whether its option was on at build time)
set -euo pipefail
binary=$1 device=$2 option=$3
status=0
message=$("$binary" run -m demo --device "$device" -p hi 2>&1 >/dev/null) || status=$?
[ "$status" = 1 ] || { echo "expected exit status 1, found $status: $message"; exit 1; }
case "$option" in
  on) expected="contains no ${device^^} operations" ;;
  off) expected="built without RUVLLM_${device^^}" ;;
esac
[[ "$message" == *"$expected"* ]] || { echo "expected \"$expected\", found: $message"; exit 1; }
[ "$(wc -l <<<"$message")" = 1 ] || { echo "expected one line, found: $message"; exit 1; }
echo "refused as it should be: $message"
