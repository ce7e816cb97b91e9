"""Every Python program of the source tree compiles: those of tools/ need packages that a machine may
lack, so no other test imports them all. With warnings as errors (a wrong escape, a literal that is
called); writes nothing."""

import pathlib
import unittest
import warnings

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ["tools", "tests", "scripts", "deploy", "examples", ".ci"]


def is_python(path):
    if path.suffix == ".py":
        return True
    with open(path, "rb") as file:
        first = file.readline(100)
    return first.startswith(b"#!") and b"python" in first


def programs():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and not path.is_symlink() and is_python(path):
                yield path


class Compile(unittest.TestCase):
    def test_every_program(self):
        count = 0
        for path in programs():
            with self.subTest(path.relative_to(ROOT)), warnings.catch_warnings():
                warnings.simplefilter("error")
                compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
            count += 1
        self.assertGreater(count, 40)


if __name__ == "__main__":
    unittest.main()
