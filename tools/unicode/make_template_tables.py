#!/usr/bin/env python3
"""Writes src/tokenizer/jinja/unicode_tables.inc from Python's own Unicode data.

The template language has Python's string methods, so its character properties and case mappings
are Python's. usage: make_template_tables.py > src/tokenizer/jinja/unicode_tables.inc
"""
import sys
import unicodedata

PROPERTIES = [  # bit, name, test: the order is that of enum CharProperty in unicode.h
    ("alpha", str.isalpha), ("decimal", str.isdecimal), ("digit", str.isdigit),
    ("numeric", str.isnumeric), ("space", str.isspace), ("printable", str.isprintable),
    ("upper", str.isupper), ("lower", str.islower), ("title", lambda c: unicodedata.category(c) == "Lt"),
    ("identifier_start", str.isidentifier), ("identifier_part", lambda c: ("a" + c).isidentifier()),
]
ALL = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def rows(name, ctype, cells, per_line):
    print(f"constexpr {ctype} {name}[] = {{")
    for i in range(0, len(cells), per_line):
        print("    " + ", ".join(cells[i : i + per_line]) + ",")
    print("};\n")


def properties():
    """Starts of runs of characters with equal properties: code point << 11 | bits."""
    cells, last = [], None
    for c in range(0x110000):
        bits = 0
        if not 0xD800 <= c <= 0xDFFF:
            for i, (_, test) in enumerate(PROPERTIES):
                bits |= bool(test(chr(c))) << i
        if bits != last:
            cells.append(f"0x{c << 11 | bits:x}")
            last = bits
    rows("kPropertyRuns", "uint32_t", cells, 9)


def ignorable():
    """Characters that the rule for a final sigma skips, as found by asking Python: a sigma after
    'a' and before nothing is final also when such a character stands between."""
    cells, start = [], None
    for c in ALL + [0x110000]:
        skip = c < 0x110000 and ("a" + chr(c) + "\u03a3").lower().endswith("\u03c2") and not (
            chr(c) + "\u03a3").lower().endswith("\u03c2")
        if skip and start is None:
            start = c
        elif not skip and start is not None:
            cells.append(f"{{0x{start:x}, 0x{c - 1:x}}}")
            start = None
    rows("kCaseIgnorable", "CharRange", cells, 5)


def mapping(name, change):
    """Runs {first, last, stride, delta} of one-to-one changes, and the one-to-many ones apart.
    `change` gives None for a character that is not to be listed."""
    single, many = [], []
    for c in ALL:
        to = change(chr(c))
        if to is None:
            continue
        if len(to) == 1:
            single.append((c, ord(to) - c))
        else:
            many.append((c, to))
    runs = []
    for c, delta in single:
        if runs:
            run = runs[-1]
            step = c - run[1]
            if run[3] == delta and (run[2] == 0 and step in (1, 2) or step == run[2]):
                run[1], run[2] = c, step
                continue
        runs.append([c, c, 0, delta])
    rows(f"k{name}Runs", "CaseRun", [f"{{0x{a:x}, 0x{b:x}, {max(s, 1)}, {d}}}" for a, b, s, d in runs], 3)
    escaped = ['{0x%x, "%s"}' % (c, "".join(f"\\x{b:02x}" for b in to.encode())) for c, to in many]
    rows(f"k{name}Many", "CaseMany", escaped or ['{0, ""}'], 3)


print(f"// Made by tools/unicode/make_template_tables.py, Unicode {unicodedata.unidata_version}.")
print("// clang-format off\n")
properties()
ignorable()
mapping("Upper", lambda c: c.upper() if c.upper() != c else None)
mapping("Lower", lambda c: c.lower() if c.lower() != c else None)
mapping("Title", lambda c: c.title() if c.title() != c.upper() else None)  # where not as upper
mapping("Fold", lambda c: c.casefold() if c.casefold() != c.lower() else None)  # nor as lower
sys.stdout.flush()
