"""``echoactor-top``, as a user runs it: in a terminal, on real servers."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import redirect_stderr, redirect_stdout

from echoactor.admin.top import main

from .support import Authority
from .test_admin_page import BAKERY, HOSTILE
from .test_command import NODAEMON, PATIENCE, CommandTestCase

TOP = (
    sys.executable,
    "-W",
    "error",
    "-c",
    "import sys; from echoactor.admin.top import main; sys.exit(main())",
)
TOKEN = "a-token-of-some-length"


class TopTestCase(CommandTestCase):
    def admin(self) -> str:
        """The URL of the server's observer."""
        return f"http://127.0.0.1:{self.wait_for(lambda: len(self.ports()) == 2 and self.ports()[-1], 'it')}"

    def once(self, *arguments: str) -> tuple[str, int]:
        """What ``echoactor-top --once`` prints, and its exit status."""
        result = self.run_command(*TOP, "--once", *arguments, env={**os.environ, "COLUMNS": "100"})
        return result.stdout, result.returncode


class OnceTests(TopTestCase):
    def test_once(self) -> None:
        """With --once it prints what there is, in words for people and programs, and ends."""
        with self.serving(*BAKERY, "0", "0"):
            client = self.connect()
            text, status = self.once(self.admin())
            self.assertEqual(status, 0)
            self.assertRegex(text, r"^bakery  ● live\nactors 12   connections 1 ")
            self.assertRegex(text, r"(?m)^messages/s +\d+ ")
            self.assertRegex(text, r"(?m)^    \S oven 1  Oven +\d+ +0 +\d+$")
            self.assertRegex(text, rf"(?m)^127\.0\.0\.1:{client.getsockname()[1]} .* B .* Customer \d+$")
            self.assertNotIn("\x1b", text)

    def test_workers(self) -> None:
        """With workers, the first line says that the connections are in them."""
        with self.serving(*NODAEMON, "echoactor", "--port", "0", "--admin", "0", "--workers", "2"):
            found = self.wait_for(lambda: re.search(r"port=(\d+)\) \(admin", self.log()), "its port")
            text, status = self.once(f"http://127.0.0.1:{found[1]}")
        self.assertEqual(status, 0)
        self.assertRegex(text, r"^echoactor  ● live \(connections are in its workers\)\nactors ")

    def test_token(self) -> None:
        """It brings the token that the server wants, and says so when there is none."""
        token = self.directory / "token"
        token.write_text(TOKEN)
        options = ("--port", "0", "--admin", "0", "--admin-token-file", str(token))
        with self.serving(*NODAEMON, "echoactor", *options):
            url = self.admin()
            text, status = self.once("--token-file", str(token), url)
            self.assertEqual((text[:9], status), ("echoactor", 0))
            wants = f"echoactor-top: {url}: wants a token; give it as --token-file\n"
            self.assertEqual(self.once(url), (wants, 1))

    def test_unix(self) -> None:
        """It reads from a UNIX socket."""
        path = self.directory / "admin"
        with self.serving(*NODAEMON, "echoactor", "--port", "0", "--admin", f"unix:{path}"):
            self.wait_for(path.exists, "the socket")
            text, status = self.once(f"unix:{path}")
            self.assertEqual((text[:9], status), ("echoactor", 0))

    def test_tls(self) -> None:
        """It checks the server's certificate, and shows its own."""
        authority = Authority(self.directory)
        certificate = authority.make("server.pem", "localhost")
        own = authority.make("own.pem", "me")
        options = ("--admin-certificate", certificate, "--admin-client-ca", str(authority.file))
        with self.serving(*NODAEMON, "echoactor", "--port", "0", "--admin", "0", *options):
            url = self.admin().replace("http://127.0.0.1", "https://localhost")
            text, status = self.once("--ca", str(authority.file), "--certificate", own, url)
            self.assertEqual((text[:9], status), ("echoactor", 0), text)
            text, status = self.once("--certificate", own, url)
            self.assertRegex(text, rf"^echoactor-top: {url}: .*certificate verify failed.*\n$")
            text, status = self.once("--ca", str(authority.file), url)
            self.assertRegex(text, rf"^echoactor-top: {url}: .+\n$")
            self.assertEqual(status, 1)

    def test_errors(self) -> None:
        """What cannot be is told in one line, with an exit status."""
        bad = self.directory / "bad"
        bad.write_bytes(b"\xff")
        for arguments, text, status in (
            ((), "the following arguments are required: URL; --help lists the options", 2),
            (("--what", "http://x"), "unrecognized arguments: --what; --help lists the options", 2),
            (("x\x1b",), r"URL: 'x\\x1b' is none of http://HOST:PORT, https://HOST:PORT, unix:PATH", 1),
            (("http://localhost:1/x",), "URL: .* is none of .*", 1),
            (("http://localhost:99999",), "URL: .* is none of .*", 1),
            (("ftp://localhost",), "URL: .* is none of .*", 1),
            (("http://127.0.0.1:1",), "http://127.0.0.1:1: Connection refused", 1),
            (("unix:/nowhere",), "unix:/nowhere: No such file or directory", 1),
            (
                ("--token-file", "/nowhere", "http://x"),
                "--token-file: '/nowhere': No such file or directory",
                1,
            ),
            (("--token-file", str(bad), "http://x"), "--token-file: '.*bad': is not ASCII", 1),
            (("--ca", "/nowhere", "https://x"), "--ca: '/nowhere': No such file or directory", 1),
            (("--certificate", str(bad), "https://x"), "--certificate: '.*bad': .*", 1),
        ):
            said, ended = self.main(*arguments)
            self.assertRegex(said, rf"^echoactor-top: {text}\n$")
            self.assertEqual(ended, status, text)
        self.assertEqual(self.once(*arguments), (said, ended))  # as the command itself does

    def main(self, *arguments: str) -> tuple[str, int | str | None]:
        """The same, in this process: for what ends before it has a stream."""
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            try:
                status: int | str | None = main(["--once", *arguments])
            except SystemExit as ended:
                status = ended.code
        return said.getvalue(), status

    def test_strange_input(self) -> None:
        """So it is with a host that can be none, a file that holds no token, and an output that is full."""
        key = self.directory / "key.pem"
        key.write_text("-----BEGIN PRIVATE KEY-----\nsecret\n")
        self.assertRegex(self.main("http://exa mple")[0], "^echoactor-top: URL: 'http://exa mple' is none of")
        said, status = self.main("--token-file", str(key), "http://127.0.0.1:1")
        self.assertRegex(
            said, "^echoactor-top: --token-file: '.*key.pem': holds no token, which is one word\n$"
        )
        self.assertEqual(status, 1)
        with self.serving(*NODAEMON, "echoactor", "--port", "0", "--admin", "0"):
            url = self.admin()
            ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
            result = self.run_command(*TOP, "--once", url, env=ascii_only)
            self.assertRegex(result.stdout, r"^echoactor  \? live\n")
            with open("/dev/full", "w") as full:
                result = subprocess.run(
                    [*TOP, "--once", url], stdout=full, stderr=subprocess.PIPE, text=True, check=False
                )
            words = "echoactor-top: the output cannot be written: No space left on device\n"
            self.assertEqual((result.stderr, result.returncode), (words, 1))

    def test_another_stream(self) -> None:
        """A stream that is no observer's is told from one, whatever it says."""
        for number, said in enumerate(("5", "{}", '{"system":{}}', '{"system":null}', "nope", "[" * 100_000)):
            with self.serving(sys.executable, "-u", "-c", STREAM, said):
                url = f"http://127.0.0.1:{self.port}"
                text, status = self.once(url)
            self.assertRegex(text, rf"^echoactor-top: {url}: .+\n$", number)
            self.assertEqual(status, 1)

    def test_another_server(self) -> None:
        """A server that is no observer is told from one."""
        with self.serving(sys.executable, "-u", "-c", OTHER):
            url = f"http://127.0.0.1:{self.port}"
            said = f"echoactor-top: {url}: answers with status 200, no stream: hello\\x1b[2J\n"
            self.assertEqual(self.once(url), (said, 1))

    def test_hostile_names(self) -> None:
        """Names can be what they like: no escape sequence of theirs gets to the terminal."""
        log_as_utf8 = {**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace"}
        with self.serving(*HOSTILE, "socket", env=log_as_utf8):
            text, status = self.once(f"http://127.0.0.1:{self.ports()[-1]}")
            self.assertEqual(status, 0)
            self.assertIn("<img src=x", text)
            self.assertIn(r"\x1b[2J\x1b]0;owned\x07", text)
            self.assertEqual([letter for letter in text if not letter.isprintable() and letter != "\n"], [])


OTHER = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello\\x1b[2J\\n")
server = HTTPServer(("127.0.0.1", 0), Hello)
print(f"listening on IPv4Address(port={server.server_port})")
server.serve_forever()
"""


STREAM = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(f"listening on IPv4Address(port={server.getsockname()[1]})")
while True:
    client = server.accept()[0]
    client.recv(1000)
    client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n\\r\\ndata: ")
    client.sendall(sys.argv[1].encode() + b"\\n\\n")
    client.close()
"""


class Terminal:
    """Runs a command in a terminal of its own."""

    def __init__(self, test: CommandTestCase, *command: str) -> None:
        self._test = test
        self.said = ""
        self._end, there = pty.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 110, 0, 0))
        test.addCleanup(os.close, self._end)
        environment = {**os.environ, "TERM": "xterm-256color"}
        self.child = subprocess.Popen(
            command, stdin=there, stdout=there, stderr=there, env=environment, start_new_session=True
        )
        os.close(there)
        test.addCleanup(self.child.wait)
        test.addCleanup(self.child.kill)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._end, keys)

    def wait_for(self, pattern: str) -> str:
        """Wait until what was drawn since the last wait has this in it."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if select.select([self._end], [], [], 0.1)[0]:
                try:
                    self.said += os.read(self._end, 65536).decode("utf-8", "replace")
                except OSError:  # it has ended
                    break
            plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", self.said)
            if re.search(pattern, plain):
                self.said = ""
                return plain
        self._test.fail(f"{pattern!r} is not in {self.said!r}")


class LiveTests(TopTestCase):
    def test_live(self) -> None:
        """It follows what happens, and the key q ends it, with the terminal as it was."""
        with self.serving(*BAKERY, "0", "0"):
            terminal = Terminal(self, *TOP, self.admin())
            terminal.wait_for(r"bakery  ● live\s+actors 11   connections 0 ")
            self.connect().sendall(b"cat\n")
            terminal.wait_for(r"connections 1 ")
            terminal.wait_for(r"oven 1  Oven +\d+ +1 ")
            terminal.wait_for(r"restarted +oven 1 as ")
            terminal.type(b"xq")
            self.assertEqual(terminal.child.wait(PATIENCE), 0)

    def test_control_c(self) -> None:
        """Ctrl-C ends it, too, without a word, and so do the signals of who ends a session."""
        with self.serving(*BAKERY, "0", "0"):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                terminal = Terminal(self, *TOP, self.admin())
                terminal.wait_for("● live")
                terminal.child.send_signal(number)
                self.assertEqual(terminal.child.wait(PATIENCE), 0)
                self.assertNotIn("Traceback", terminal.said)

    def test_restart(self) -> None:
        """When the server goes away it says so, and goes on when the server is back."""
        with self.serving(*BAKERY, "0", "0"):
            url = self.admin()
            terminal = Terminal(self, *TOP, url)
            terminal.wait_for("● live")
        terminal.wait_for("; trying again")
        (self.directory / "log").unlink()
        with self.serving(*BAKERY, "0", url.rpartition(":")[2]):
            terminal.wait_for(r"● live \(started again\)")
            terminal.type(b"q")
            self.assertEqual(terminal.child.wait(PATIENCE), 0)

    def test_nobody(self) -> None:
        """With nobody there from the start, it ends with one line: more likely the URL is wrong."""
        terminal = Terminal(self, *TOP, "http://127.0.0.1:1")
        terminal.wait_for("echoactor-top: http://127.0.0.1:1: Connection refused")
        self.assertEqual(terminal.child.wait(PATIENCE), 1)
