"""Each example runs, as its first lines say."""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.request import urlopen

from .test_command import AT_ONCE, NODAEMON, CommandTestCase

EXAMPLES = Path(__file__).parent.parent / "examples"


class ExampleTests(CommandTestCase):
    def python(self, name: str, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-W", "error", str(EXAMPLES / name), *arguments)

    def test_all_are_tested(self) -> None:
        """Every example has a test here."""
        tests = Path(__file__).read_text()
        names = [file.name for file in EXAMPLES.iterdir() if file.suffix in (".py", ".tac")]
        self.assertGreaterEqual(len(names), 5)
        self.assertEqual([name for name in names if f'"{name}"' not in tests], [])

    def test_article(self) -> None:
        """The article's program greets, and goes on when nobody answers."""
        result = self.run_command(*self.python("article.py"))
        self.assertEqual((result.stdout, result.returncode), ("Hello, world!\nnobody answers\n", 0))

    def test_counter(self) -> None:
        """Both counters give the same total."""
        result = self.run_command(*self.python("counter.py"))
        self.assertEqual((result.stdout, result.returncode), ("Counter 42\ncounter 42\n", 0))

    def test_worker_pool(self) -> None:
        """Jobs get their results although workers die; those that cannot be done or do not fit fail."""
        result = self.run_command(*self.python("worker_pool.py"))
        lines = [line for line in result.stdout.splitlines() if line.startswith("sqrt(")]
        expected = [f"sqrt({root * root}) is {root}.0" for root in range(2, 8)]
        expected[2:2] = ["sqrt(-1): tried 2 times, the last time: builtins.ValueError"]
        expected += [f"sqrt({number}): too many jobs wait" for number in (64, 81)]
        self.assertEqual((lines, result.returncode), (expected, 0))

    def test_rate_limiter(self) -> None:
        """Three requests pass at once, the others one with each tick, in turns."""
        result = self.run_command(*self.python("rate_limiter.py"))
        passed = [("Ann", 1, 0), ("Bob", 1, 0), ("Ann", 2, 0), ("Bob", 2, 1), ("Ann", 3, 2), ("Bob", 3, 3)]
        lines = [f"{name}: request {number} after {ticks} ticks\n" for name, number, ticks in passed]
        self.assertEqual((result.stdout, result.returncode), ("".join(lines), 0))

    def test_observed(self) -> None:
        """The bakery sells bread, lives through a cat, and shows itself."""
        ports = runpy.run_path(str(EXAMPLES / "observed.py"))["main"].__defaults__
        self.assertEqual(ports, ("8086", "9090"))  # what its first lines say of it without arguments
        with self.serving(*self.python("observed.py", "0", "0")):
            client = self.stream()
            client.write(b"bread\nbread\n")
            self.assertEqual((client.readline(), client.readline()), (b"a loaf\n", b"a loaf\n"))
            client.write(b"cat\nbread\n")
            self.assertIn(client.readline()[:6], (b"a loaf", b"sorry:"))
            self.wait_for(lambda: self.log().count("has restarted") == 3, "three ovens started again")
            url = f"http://127.0.0.1:{self.ports()[-1]}/"
            self.assertIn(b"supervisor", urlopen(url).read())

    def test_supervised_echo(self) -> None:
        """A crash of a connection ends that one alone, and one of the counter lets it count anew."""
        with self.serving(*self.python("supervised_echo.py", "0")) as child:
            ann, bob = self.stream(), self.stream()

            def ask(line: bytes) -> bytes:
                ann.write(line + b"\n")
                return ann.readline()

            self.assertEqual(ask(b"hello"), b"1 hello\n")
            bob.write(b"crash\n")
            with contextlib.suppress(ConnectionResetError):  # it is aborted
                self.assertEqual(bob.readline(), b"")
            self.assertEqual(ask(b"still here"), b"2 still here\n")
            self.assertEqual(ask(b"reset"), b"0 reset\n")
            self.wait_for(lambda: ask(b"again") == b"1 again\n", "the restart of the counter")
            child.terminate()
            self.assertEqual(ask(b"at last"), b"2 at last\n")  # it is served until it has enough
            self.assertIsNone(child.poll())
            ann.close()
            self.assertEqual(child.wait(AT_ONCE), 0)
        self.assertEqual(self.log().count("crashed"), 2)

    def test_pytest_twisted(self) -> None:
        """The example of a test passes under pytest with pytest-twisted, run as it says."""
        self.directory = EXAMPLES.parent
        result = self.run_command(
            sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "examples/" + "test_counter.py"
        )
        self.assertIn("1 passed", result.stdout)

    def test_simulation(self) -> None:
        """The example of a simulation passes under pytest and under trial, run as it says."""
        trial = ("twisted.trial", "--temp-directory", str(self.directory / "trial"))
        self.directory = EXAMPLES.parent
        for runner, passed in ((("pytest", "-p", "no:cacheprovider"), "3 passed"), (trial, "successes=3")):
            result = self.run_command(sys.executable, "-m", *runner, "examples/" + "test_race.py")
            self.assertIn(passed, result.stdout)

    def ports(self) -> list[int]:
        """Where an example says that it listens."""
        return [int(port) for port in re.findall(r"listening on (?:.*port=)?(\d+)", self.log())]

    def member(self, name: str) -> socket.SocketIO:
        """Join the chat room."""
        stream = self.stream()
        self.assertEqual(stream.readline(), b"What is your name?\n")
        stream.write(name.encode() + b"\n")
        return stream

    def test_readme(self) -> None:
        """The README's programs run as they stand, and the second one answers as it says."""
        readme = (EXAMPLES.parent / "README.rst").read_text()
        blocks = re.findall(r"code-block:: python\n\n((?:    .*\n|\n)+)", readme)
        echo, counting = (textwrap.dedent(block) for block in blocks)
        self.assertEqual(self.run_command(sys.executable, "-W", "error", "-c", echo).returncode, 0)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.assertIn("ServerOptions(port=8083)", counting)
        program = counting.replace("port=8083", f"port={self.port}, interface='127.0.0.1'")
        child = subprocess.Popen([sys.executable, "-W", "error", "-c", program], cwd=self.directory)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        client = self.wait_for(self.try_to_connect, "listening")
        for data, answer in ((b"hello", b"5 bytes so far\n"), (b"world", b"10 bytes so far\n")):
            client.sendall(data)
            self.assertEqual(client.recv(100), answer)
        child.terminate()
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(client.recv(1), b"")
        child.wait(20)

    def try_to_connect(self) -> socket.socket | None:
        try:
            return self.connect()
        except ConnectionRefusedError:
            return None

    def test_chat(self) -> None:
        """In the chat room, what one says the others see, and who leaves is missed; also after a crash."""
        with self.serving(*self.python("chat.py", "0")):
            ann = self.member("Ann")
            bob = self.member("Bob")
            self.assertEqual(ann.readline(), b"Bob is here\n")
            bob.write(b"hello\nhow are you?\n")
            self.assertEqual((ann.readline(), ann.readline()), (b"Bob: hello\n", b"Bob: how are you?\n"))
            ann.write(b"f" + b"i" * 100 + b"ne\n")
            self.assertEqual(bob.readline(), b"Ann: f" + b"i" * 100 + b"ne\n")
            bob.write(b"x" * 5000)  # longer than any line: Bob is thrown out
            self.assertEqual(ann.readline(), b"Bob has left\n")

    def test_tac(self) -> None:
        """The .tac serves the echo and a web page side by side, and stops cleanly."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            web = probe.getsockname()[1]
        environment = {**os.environ, "ECHO_PORT": "0", "WEB_PORT": str(web)}
        command = (*NODAEMON, "--no_save", "-y", str(EXAMPLES / "echo_and_web.tac"))
        with self.serving(*command, env=environment) as child:
            self.check_echo()
            client = self.connect()
            client.sendall(b"hello")
            self.assertEqual(client.recv(5), b"hello")
            with urlopen(f"http://127.0.0.1:{web}/", timeout=10) as page:
                self.assertIn(b"1 connections are actors", page.read())
            child.terminate()
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(client.recv(1), b"")
            child.wait(10)
        self.assertNotIn("Traceback", self.log())
