#!/usr/bin/env python3
"""Writes src/tokenizer/unicode_tables.inc from Python's view of the Unicode database.

Needs Unicode 16.0, the version of the reference tokenizers: Python >= 3.14, or
`pip install unicodedata2==16.0.0`; and perl, whose \\p{Present_In} tells which characters Unicode 9
had (the version of the reference's normalization forms).
Usage: make_tokenizer_tables.py > src/tokenizer/unicode_tables.inc

Chat templates have tables of their own (make_template_tables.py): they follow Python's version of
Unicode and its string methods, these here the version and the properties of tokenizer libraries.
"""
import subprocess
import sys

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

VERSION = "16.0.0"
CATEGORIES = ["Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps",
              "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"]
# White_Space, the property behind \s (PropList.txt; it has not changed since Unicode 6.3).
WHITE_SPACE = [*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F,
               0x205F, 0x3000]
SPACE_BIT, HAN_BIT, UNICODE_9_BIT = 0x20, 0x40, 0x80
# Script=Han (Scripts.txt, Unicode 16).
HAN = [(0x2E80, 0x2E99), (0x2E9B, 0x2EF3), (0x2F00, 0x2FD5), (0x3005, 0x3005), (0x3007, 0x3007),
       (0x3021, 0x3029), (0x3038, 0x303B), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFA6D),
       (0xFA70, 0xFAD9), (0x16FE2, 0x16FE3), (0x16FF0, 0x16FF1), (0x20000, 0x2A6DF), (0x2A700, 0x2B739),
       (0x2B740, 0x2B81D), (0x2B820, 0x2CEA1), (0x2CEB0, 0x2EBE0), (0x2EBF0, 0x2EE5D), (0x2F800, 0x2FA1D),
       (0x30000, 0x3134A), (0x31350, 0x323AF)]
# Lower case of characters newer than this Python's str.lower() (UnicodeData.txt of 16 and 17).
NEW_LOWER = {0x1C89: 0x1C8A, 0xA7CB: 0x264, 0xA7CC: 0xA7CD, 0xA7CE: 0xA7CF, 0xA7D2: 0xA7D3, 0xA7D4: 0xA7D5,
             0xA7DA: 0xA7DB, 0xA7DC: 0x19B, **{c: c + 32 for c in range(0x10D50, 0x10D66)},
             **{c: c + 27 for c in range(0x16EA0, 0x16EB9)}}
BLOCK = 128


def properties():
    index = {name: i for i, name in enumerate(CATEGORIES)}
    values = bytearray(index[unicodedata.category(chr(c))] for c in range(0x110000))
    for c in WHITE_SPACE:
        values[c] |= SPACE_BIT
    for low, high in HAN:
        for c in range(low, high + 1):
            values[c] |= HAN_BIT
    for c in in_unicode_9():
        values[c] |= UNICODE_9_BIT
    return values


def in_unicode_9():
    program = 'for (0..0x10ffff) { next if $_ >= 0xd800 && $_ <= 0xdfff; print "$_\\n" if chr($_) =~ /\\p{Present_In: 9.0}/ }'
    return map(int, subprocess.check_output(["perl", "-e", program]).split())


def lower_case():
    """(code point, lower case code point); U+0130, whose lower case is two, is left to the code."""
    pairs = []
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000 or c == 0x130:
            continue
        low = lower_of(c)
        if low is not None:
            pairs.append((c, low))
    return pairs


def lower_of(c):
    if c in NEW_LOWER:
        return NEW_LOWER[c]
    low = chr(c).lower()
    return ord(low) if len(low) == 1 and low != chr(c) else None


def rows(numbers, per_row=24):
    numbers = list(numbers)
    for i in range(0, len(numbers), per_row):
        yield "    " + ", ".join(str(n) for n in numbers[i:i + per_row]) + ","


def main():
    if unicodedata.unidata_version != VERSION:
        sys.exit(f"needs Unicode {VERSION}, this Python has {unicodedata.unidata_version}")
    values = properties()
    blocks, first = {}, []
    for start in range(0, 0x110000, BLOCK):
        block = bytes(values[start:start + BLOCK])
        first.append(blocks.setdefault(block, len(blocks)))
    print(f"// Made by tools/unicode/make_tokenizer_tables.py from Unicode {VERSION}; do not edit.")
    print("// clang-format off")
    print(f"inline constexpr uint16_t kBlockOfCodePoint[{len(first)}] = {{")
    print("\n".join(rows(first)))
    print("};")
    print(f"inline constexpr uint8_t kBlockProperties[{len(blocks)}][{BLOCK}] = {{")
    for block in blocks:
        print("    {" + ",".join(str(b) for b in block) + "},")
    print("};")
    # Runs of equal distance: first, last, step, distance.
    runs = []
    for c, low in lower_case():
        delta = low - c
        if runs and runs[-1][3] == delta:
            run = runs[-1]
            gap = c - run[1]
            if gap in (1, 2) and (run[0] == run[1] or run[2] == gap):
                runs[-1] = (run[0], c, gap, delta)
                continue
        runs.append((c, c, 1, delta))
    print(f"inline constexpr LowerCaseRun kLowerCaseRuns[{len(runs)}] = {{")
    for run in runs:
        print("    {0x%x, 0x%x, %d, %d}," % run)
    print("};")
    print("// clang-format on")


if __name__ == "__main__":
    main()
