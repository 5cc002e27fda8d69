"""A server as its operator sees it: logs, the access log, and the admin site of real child processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import sys
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from echoactor.tap import Options, makeService

from .support import Authority, storm
from .test_command import AT_ONCE, NODAEMON, PATIENCE, TWIST, TWISTD, CommandTestCase

STORM = f"""
import sys
from twisted.internet import reactor
{storm(300, b"done")}
sys.argv[0] = "twistd"
from twisted.scripts.twistd import run
run()
"""
"""A command whose connections cause a storm of crashes."""


def get(port: str, path: str, **headers: str) -> tuple[int, str]:
    """Status and body of what a port of this machine answers."""
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", headers=headers), timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


class LogTests(CommandTestCase):
    def json_lines(self, text: str) -> list[dict[str, Any]]:
        """What each line holds; each has to be a JSON object with the same keys."""
        lines = [json.loads(line) for line in text.splitlines()]
        for line in lines:
            self.assertLessEqual({"time", "level", "logger", "message"}, set(line))
            self.assertLessEqual(set(line), {"time", "level", "logger", "message", "fields", "traceback"})
        return lines

    def test_json(self) -> None:
        """With ``--log-format json``, each line of the log is a JSON object, from the first to the last."""
        arguments = ("--port", "0", "--log-format", "json", "--deny", "127.0.0.1")
        with self.serving(*NODAEMON, "echoactor", *arguments) as child:
            with contextlib.suppress(ConnectionResetError):  # it is refused
                self.connect()
            self.wait_for(lambda: "refused: its" in self.log(), "the refusal")
            child.terminate()
            self.assertEqual(child.wait(PATIENCE), 0)
        lines = self.json_lines(self.log())
        messages = [line["message"] for line in lines]
        self.assertIn("Main loop terminated.", messages)
        [refused] = [line for line in lines if line["message"].endswith("refused: its address is denied")]
        self.assertEqual((refused["level"], refused["logger"]), ("info", "echoactor.logs"))
        self.assertEqual(refused["fields"]["reason"], "its address is denied")

    def test_daemon(self) -> None:
        """As a daemon, too, and into the file that twistd was given, which it rotates on SIGUSR1."""
        arguments = (
            "--logfile",
            "own.log",
            "--pidfile",
            "pid",
            "echoactor",
            "--port",
            "0",
            "--log-format",
            "json",
        )
        result = self.run_command(*TWISTD, *arguments)
        self.assertEqual((result.stdout, result.returncode), ("", 0))
        self.wait_for(lambda: "listening on" in self.log(), "listening")
        number = int(self.wait_for(lambda: (self.directory / "pid").read_text(), "the pidfile"))
        self.addCleanup(self.stop, number)
        os.kill(number, signal.SIGUSR1)
        rotated = self.wait_for(lambda: list(self.directory.glob("own.log.*")), "rotation")
        self.assertGreater(len(self.json_lines(rotated[0].read_text())), 2)
        os.kill(number, signal.SIGTERM)
        self.wait_for(lambda: "Server Shut Down." in self.log(), "the stop")
        self.json_lines(self.log())

    def stop(self, number: int) -> None:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def test_twist(self) -> None:
        """Under twist, too."""
        with self.serving(*TWIST, "echoactor", "--port", "0", "--log-format", "json"):
            self.check_echo()
        self.assertIn("listening on", "".join(line["message"] for line in self.json_lines(self.log())))

    def log_of_a_storm(self, *options: str) -> str:
        """What a server logs of a storm, until it has told that there is more."""
        with self.serving(sys.executable, "-c", STORM, "-n", "echoactor", "--port", "0", *options) as child:
            client = self.connect()
            for _ in range(3):
                client.sendall(b"x")
                self.assertEqual(client.recv(4, socket.MSG_WAITALL), b"done")
            self.wait_for(lambda: "more like this: actor <" in self.log(), "telling what was left out")
            client.close()
            child.terminate()
            self.assertEqual(child.wait(AT_ONCE), 0)
        return self.log()

    def test_storm(self) -> None:
        """In a storm of errors, each line is JSON, none is forged, and they are few."""
        for log_format in ("json", "text"):
            text = self.log_of_a_storm("--log-format", log_format)
            self.assertNotIn("\x1b", text)
            crashed = [line for line in text.splitlines() if re.search("actor <[^>]*> crashed", line)]
            crashes = sum("more like this" not in line for line in crashed)
            self.assertIn(crashes, range(1, 51), log_format)
            self.assertRegex(text, r"\d+ more like this: actor <[^>]*> crashed")
            if log_format == "json":
                lines = self.json_lines(text)
                self.assertEqual(sum("traceback" in line for line in lines), crashes)


class AccessLogTests(CommandTestCase):
    def lines(self) -> list[dict[str, Any]]:
        file = self.directory / "access"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def test_file(self) -> None:
        """A line for each connection, also with TLS; after SIGHUP, into a new file."""
        authority = Authority(self.directory)
        tls = ("--tls-port", "0", "--certificate", authority.make("x.pem", "localhost"))
        arguments = (
            "--port",
            "0",
            *tls,
            "--interface",
            "127.0.0.1",
            "--access-log",
            "access",
            "--log-format",
            "json",
        )
        with self.serving(*NODAEMON, "echoactor", *arguments) as child:
            self.check_echo()
            [line] = self.wait_for(self.lines, "a line")
            self.assertRegex(line["peer"], r"^127\.0\.0\.1:\d+$")
            self.assertEqual((line["reason"], line["tls"]), ("normal", None))
            (self.directory / "access").rename(self.directory / "access.1")
            child.send_signal(signal.SIGHUP)
            self.wait_for(lambda: '"reloaded"' in self.log(), "reopening")
            self.check_tls(authority)
            [line] = self.wait_for(self.lines, "a line")
            self.assertRegex(line["tls"], r"^TLSv1\.\d$")
        self.assertEqual(len((self.directory / "access.1").read_text().splitlines()), 1)

    def check_tls(self, authority: Authority) -> None:
        context = ssl.create_default_context(cafile=str(authority.file))
        port = self.ports()[1]
        with context.wrap_socket(
            socket.create_connection(("127.0.0.1", port)), server_hostname="localhost"
        ) as client:
            client.sendall(b"hello")
            self.assertEqual(client.recv(5), b"hello")

    def test_standard_output(self) -> None:
        """With ``-``, to the standard output, beside the log; behind a proxy, with the real client."""
        arguments = ("--port", "0", "--access-log", "-", "--trusted-proxies", "127.0.0.1/32")
        with self.serving(*NODAEMON, "echoactor", *arguments):
            client = self.connect()
            client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 4242 7\r\nhello")
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(client.recv(5, socket.MSG_WAITALL), b"hello")
            pattern = r"(?m)^\S+Z 192\.0\.2\.7:4242 <\S+> - in=\d+ out=\d+ \d+\.\d\d\ds 'normal'$"
            self.wait_for(lambda: re.search(pattern, self.log()), "a line")


class AdminTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.token = self.directory / "token"
        self.token.write_text("0123456789abcdef\n")

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and body of what admin answers."""
        port = self.wait_for(lambda: re.search(r"port=(\d+)\) \(admin", self.log()), "listening")[1]
        return get(port, path, **headers)

    def test_number(self) -> None:
        """``--admin PORT`` listens on the loopback interface, and shows what the server does."""
        with self.serving(*NODAEMON, "echoactor", "--port", "0", "--admin", "0") as child:
            self.assertEqual(self.get("/readyz"), (200, "ok\n"))
            self.check_echo()
            status, text = self.get("/metrics")
            self.assertEqual(status, 200)
            self.assertIn('echoactor_connections_accepted_total{worker="0"} 1.0', text)
            self.assertEqual(self.get("/")[0], 200)
            [host] = re.findall(r"host='(\S+)', port=\d+\) \(admin", self.log())
            self.assertEqual(host, "127.0.0.1")
            client = self.connect()
            client.sendall(b"hello")
            client.recv(5)
            child.terminate()
            self.wait_for(lambda: self.get("/readyz") == (503, "draining\n"), "the drain to show")
            self.assertEqual(self.get("/healthz"), (200, "ok\n"))
            client.close()
            self.assertEqual(child.wait(PATIENCE), 0)
        self.assertNotIn("Traceback", self.log())

    def test_token(self) -> None:
        """On another endpoint, with a token, which SIGHUP reads again."""
        arguments = ("--admin", "tcp:0:interface=0.0.0.0", "--admin-token-file", "token")
        with self.serving(*NODAEMON, "echoactor", "--port", "0", *arguments) as child:
            self.assertEqual(self.get("/metrics")[0], 401)
            self.assertEqual(self.get("/metrics", Authorization="Bearer 0123456789abcdef")[0], 200)
            self.token.write_text("fedcba9876543210\n")
            child.send_signal(signal.SIGHUP)
            self.wait_for(lambda: "reloaded" in self.log(), "reloading")
            self.assertEqual(self.get("/metrics", Authorization="Bearer 0123456789abcdef")[0], 401)
            self.assertEqual(self.get("/metrics", Authorization="Bearer fedcba9876543210")[0], 200)

    def test_hosts(self) -> None:
        """A page that a stranger's name leads to is refused; names can be given."""
        with self.serving(
            *NODAEMON, "echoactor", "--port", "0", "--admin", "0", "--admin-host", "a.example,b.example"
        ):
            statuses = [self.get("/", Host=host)[0] for host in ("evil.example", "a.example", "b.example:80")]
        self.assertEqual(statuses, [421, 200, 200])

    def test_off(self) -> None:
        """Without ``--admin``, nothing of it listens, and its web server is not even imported."""
        code = "import sys; from echoactor.tap import Options, makeService; options = Options(); "
        code += "options.parseOptions([]); makeService(options); sys.exit('twisted.web' in sys.modules)"
        self.assertEqual(self.run_command(sys.executable, "-c", code).returncode, 0)

    def test_without_its_package(self) -> None:
        """Without prometheus-client, one line says what to install."""
        code = "import sys; sys.modules['prometheus_client'] = None; sys.argv[0] = 'twistd'; "
        code += "from twisted.scripts.twistd import run; run()"
        result = self.run_command(
            sys.executable, "-c", code, "-n", "echoactor", "--port", "0", "--admin", "0"
        )
        line = "echoactor: --admin: needs the package prometheus_client (pip install 'echoactor[admin]')\n"
        self.assertEqual((result.stdout, result.returncode), (line, 1))

    def test_wrong_options(self) -> None:
        """Each wrong option is one line and status 1."""
        wrong = [
            (
                ("--admin", "tcp:0"),
                "--admin: 'tcp:0' may be reached from other machines, and then --admin-token-file",
            ),
            (("--admin", "0.0.0.0:9090"), "--admin: '0.0.0.0:9090' cannot be used: Unknown endpoint type"),
            (("--admin", "0", "--admin-host", "a:1"), "--admin-host: 'a:1' is no host name"),
            (("--admin", "70000"), "--admin: 70000 is not a number from 0 to 65535"),
            (("--admin", "tcp:x:interface=127.0.0.1"), "--admin: 'tcp:x:interface=127.0.0.1' cannot be used"),
            (
                ("--admin", "0", "--admin-token-file", "/none"),
                "--admin-token-file: '/none': No such file or directory",
            ),
            (
                ("--admin", "0", "--admin-client-ca", "/ca"),
                "--admin-client-ca: '/ca' needs --admin-certificate",
            ),
            (
                ("--admin", "0", "--admin-certificate", "/x"),
                "--admin-certificate: '/x': No such file or directory",
            ),
            (("--admin-token-file", "token"), "--admin-token-file: 'token' is of no use without --admin"),
            (("--log-format", "xml"), "--log-format: 'xml' is neither text nor json"),
            (("--access-log", "no/where"), "--access-log: 'no/where': No such file or directory"),
        ]
        for arguments, words in wrong:
            options = Options()
            with self.assertRaises(SystemExit) as caught:
                options.parseOptions(["--port", "0", *arguments])
                makeService(options)
            line = f"{caught.exception.code}\n"
            self.assertEqual(line.count("\n"), 1, line)
            self.assertIn(f"echoactor: {words}", line)
        result = self.run_command(*NODAEMON, "echoactor", "--port", "0", *arguments)
        self.assertEqual((result.stdout, result.returncode), (line, 1))  # what it is as a command
        result = self.run_command(*TWISTD, "echoactor", "--access-log", "-")
        self.assertIn("--access-log: a daemon has no standard output", result.stdout)
        self.assertEqual(result.returncode, 1)

    def test_taken(self) -> None:
        """A port that is taken ends the command with one line."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            result = self.run_command(*NODAEMON, "echoactor", "--port", "0", "--admin", port)
        self.assertEqual(result.returncode, 1)
        self.assertIn(
            f"] echoactor: cannot listen on admin, tcp:{port}:interface=127.0.0.1: Address", result.stdout
        )
