"""The interactive chat on a real terminal (a pty), Ctrl-C, broken pipes, speed and memory."""

import os
import pty
import re
import select
import signal
import subprocess
import time
import unittest

from common import BINARY, DEMO, SANITIZERS, CliTest, needs_demo

CTRL_C, CTRL_D = b"\x03", b"\x04"


class Terminal:
    """A chat in a pseudo-terminal; reads what a person would see."""

    def __init__(self, *args, locale="C.UTF-8"):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.environ["LC_ALL"] = locale
            os.execv(BINARY, [BINARY, *args])
        self.seen = ""
        self.raw = b""

    def read_until(self, pattern, timeout=30):
        """Reads until the text not yet taken matches; gives it and takes it."""
        end = time.monotonic() + timeout
        while True:
            text = self.raw.decode("utf-8", "ignore")
            clean = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
            if re.search(pattern, clean):
                self.raw = b""
                self.seen += clean
                return clean
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f"no {pattern!r} within {timeout} s, only {clean!r}")
            if select.select([self.fd], [], [], min(left, 0.5))[0]:
                try:
                    self.raw += os.read(self.fd, 65536)
                except OSError:  # the other end is closed
                    raise AssertionError(f"no {pattern!r}, the chat ended with {clean!r}") from None

    def type(self, text):
        os.write(self.fd, text if isinstance(text, bytes) else text.encode())

    def wait(self, timeout=20):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    os.read(self.fd, 65536)
                except OSError:
                    pass
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError("the chat did not end")


@needs_demo
class Chat(CliTest):
    PROMPT = r"> $"

    def start(self, *args, **kwargs):
        terminal = Terminal("run", "-m", str(DEMO), "--temperature", "0", "--repetition-penalty",
                            "1", *args, **kwargs)
        terminal.read_until(self.PROMPT)
        return terminal

    def test_a_conversation(self):
        chat = self.start("-n", "40")
        chat.type("What is 2 + 2?\r")
        answer = chat.read_until(r"\n> $")
        self.assertGreater(len(answer.strip().splitlines()), 1, answer)
        chat.type("/help\r")
        help_text = chat.read_until(r"\n> $")
        for word in ["/reset", "/system", "/quit", "Ctrl-C"]:
            self.assertIn(word, help_text)
        chat.type("/reset\r")
        self.assertIn("new conversation", chat.read_until(r"\n> $"))
        chat.type("What is 2 + 2?\r")
        again = chat.read_until(r"\n> $")
        self.assertEqual(again.strip(), answer.strip())  # nothing was remembered
        chat.type("/system Be brief.\r")
        self.assertIn("system message set", chat.read_until(r"\n> $"))
        chat.type("/dance\r")
        self.assertIn("unknown command /dance", chat.read_until(r"\n> $"))
        chat.type("/quit\r")
        self.assertEqual(chat.wait(), 0)

    @unittest.skipIf(os.environ.get("RUVLLM_LINE_EDITOR") == "0", "built without the line editor")
    def test_utf8_and_history(self):
        for locale in ["C.UTF-8", "C"]:  # a bare container has no locale, its terminal has UTF-8
            with self.subTest(locale=locale):
                self.utf8_and_history(locale)

    def utf8_and_history(self, locale):
        chat = self.start("-n", "3", locale=locale)
        chat.type("naïve 日本 🙂\r")
        self.assertIn("naïve 日本 🙂", chat.read_until(r"\n> $"))
        chat.type(b"\x1b[A")  # arrow up: the last line again
        self.assertIn("日本", chat.read_until("日本"))
        # Left over the wide characters, insert: the line stays whole.
        chat.type(b"\x1b[D\x1b[Dx\r")
        self.assertIn("x", chat.read_until(r"\n> $"))
        chat.type(CTRL_D)
        self.assertEqual(chat.wait(), 0)

    def test_ctrl_c_stops_the_answer_only(self):
        chat = self.start("-n", "2000", "--ignore-eos")
        chat.type("Tell me a long story.\r")
        chat.read_until(r"story\.\r*\n.{5,}")
        chat.type(CTRL_C)
        self.assertIn("(stopped)", chat.read_until(r"\n> $", timeout=20))
        chat.type("half a line" )
        chat.type(CTRL_C)  # drops the line
        chat.read_until(r"leaves\)\r*\n> $")
        chat.type("/quit\r")
        self.assertEqual(chat.wait(), 0)

    def test_piped_chat(self):
        out = self.ok("run", "-m", DEMO, "-i", "-n", "8", "--temperature", "0",
                      stdin="hello\n/reset\nhello\n/quit\nnever read\n")
        first, second = out.stdout.split("(a new conversation)\n")
        self.assertEqual(first, second)
        self.assertNotIn("never", out.stdout)


@needs_demo
class OneShot(CliTest):

    def test_answer(self):
        out = self.ok_json("run", "-m", "demo", "-p", "What is 2 + 2?", "--temperature", "0", "-n",
                           "40", "--json")
        self.assertGreater(out["completion_tokens"], 0)
        self.assertEqual(out["completion_tokens"], len(out["tokens"]))
        plain = self.ok("run", "-m", "demo", "-p", "What is 2 + 2?", "--temperature", "0", "-n", "40")
        self.assertEqual(plain.stdout.rstrip("\n"), out["text"].rstrip("\n"))
        self.assertEqual(plain.stderr, "")

    def test_ctrl_c_ends_with_130(self):
        # A pipe that holds less than the whole answer: it cannot end before the signal.
        process = subprocess.Popen([BINARY, "run", "-m", str(DEMO), "--raw", "-p", "Once", "-n",
                                    "100000", "--ignore-eos"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, pipesize=4096)
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 130)
        self.assertEqual(errors, b"")

    def test_a_broken_pipe_is_quiet(self):
        process = subprocess.Popen([BINARY, "run", "-m", str(DEMO), "--raw", "-p", "Once", "-n",
                                    "100000", "--ignore-eos"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        process.stdout.read(1)
        process.stdout.close()
        with process.stderr as errors:
            self.assertEqual(errors.read(), b"")
        self.assertEqual(process.wait(timeout=20), 0)

    @unittest.skipIf(SANITIZERS, f"memory and time mean nothing with -fsanitize={SANITIZERS}")
    def test_memory_and_speed(self):
        """Peak memory <= weights + KV + 32 MB. The start is reported, not judged: a busy machine may
        slow it."""
        weights = (DEMO / "model.safetensors").stat().st_size
        best = 1e9
        for _ in range(3):
            start = time.monotonic()
            self.ok("run", "-m", DEMO, "-p", "What is 2 + 2?", "-n", "1")
            best = min(best, time.monotonic() - start)
        print(f"starts and gives the first token in {best:.3f} s")
        process = subprocess.Popen([BINARY, "run", "-m", str(DEMO), "--raw", "-p", "Once " * 200,
                                    "-n", "100", "--ignore-eos"], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        info = self.ok_json("info", DEMO, "--json")["memory"]
        bound = weights + 1024 * info["kv_bytes_per_token"] + (32 << 20)
        peak = usage.ru_maxrss * 1024
        print(f"peak memory {peak / 1e6:.1f} MB, bound {bound / 1e6:.1f} MB")
        self.assertLessEqual(peak, bound)


if __name__ == "__main__":
    unittest.main()
