#!/bin/sh
# Proves that the object files of one instruction set (*_avx2.cc, *_avx512.cc, *_neon.cc, ...) share
# no code with others: they define no weak symbols (the linker keeps one copy of those, perhaps the
# one with the newer instructions), define global symbols in ruvllm::kernels::<isa> only, and need
# nothing from outside but C functions and that namespace.
#
# Usage: tools/check_isa_symbols.sh BUILD_DIR     exit 1 and one line per breach
set -eu

if [ $# -ne 1 ] || [ ! -d "$1" ]; then
  echo "usage: $0 BUILD_DIR" >&2
  exit 2
fi

isas='avx2|avxvnni|avx512|avx512vnni|avx512bf16|amx|neon|neon_dotprod|neon_i8mm'
objects=$(find "$1" -name '*.cc.o' | sed -nE "/_($isas)\.cc\.o\$/p" | sort)
if [ -z "$objects" ]; then
  echo "$0: no per-ISA object files in $1: build it first" >&2
  exit 2
fi

status=0
count=0
for object in $objects; do
  isa=$(basename "$object" .cc.o | sed -E "s/.*_($isas)$/\1/")
  breaches=$(nm "$object" | awk -v isa="$isa" '
    {
      type = $(NF - 1); name = $NF
      ours = name ~ ("^_ZNK?6ruvllm7kernels" length(isa) isa)
      cxx = name ~ /^_Z/
      if (type ~ /^[WVuwv]$/) print "weak symbol " name
      else if (type == "U" && cxx && !ours) print "needs C++ symbol " name
      else if (type ~ /^[A-TX-Z]$/ && type != "U" && !ours) print "global symbol " name
    }' | c++filt)
  if [ -n "$breaches" ]; then
    echo "$breaches" | sed "s|^|$object: |"
    status=1
  fi
  count=$((count + 1))
done
[ $status -eq 0 ] && echo "check_isa_symbols: $count object files share no code"
exit $status
