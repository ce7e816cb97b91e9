#!/usr/bin/env python3
"""Keeps the README's first program equal to examples/first_program/main.cc.

  tools/sync_readme.py           rewrites README.md
  tools/sync_readme.py --check   exit 1 when it differs (CI)
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    program = (ROOT / "examples" / "first_program" / "main.cc").read_text(encoding="utf-8")
    block = f"<!-- first_program -->\n```cpp\n{program.rstrip()}\n```"
    wanted, count = re.subn(r"<!-- first_program -->\n```cpp\n.*?```", lambda _: block, text,
                            flags=re.S)
    if count != 1:
        print("README.md: expected one block after <!-- first_program -->")
        return 1
    if "--check" in sys.argv[1:]:
        if wanted != text:
            print("README.md: the first program differs from examples/first_program/main.cc; "
                  "run tools/sync_readme.py")
            return 1
        return 0
    readme.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
