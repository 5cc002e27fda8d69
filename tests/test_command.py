"""The command as a user runs it: real child processes, real signals, real sockets."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import skipIf

from twisted.trial.unittest import SkipTest

from .support import ActorTestCase, Authority

TWISTD = (
    sys.executable,
    "-c",
    "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()",
)
TWIST = (sys.executable, "-m", "twisted", "--log-format=text")  # into a file it would log JSON
NODAEMON = (*TWISTD, "-n")
PATIENCE = 20.0  # seconds until a child that hangs fails its test
AT_ONCE = 10.0  # seconds: enough on any machine, and less than a server waits for its clients when it stops


class CommandTestCase(ActorTestCase):
    """Runs the command in an empty directory."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = self.temporary_directory()

    def run_command(self, *command: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command that ends by itself."""
        return subprocess.run(
            command,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3 * PATIENCE,
            check=False,
            **more,
        )

    def run_commands(self, *commands: Sequence[str]) -> Iterator[subprocess.CompletedProcess[str]]:
        """Run commands that end by themselves, on all processors; what came of each, in order."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(lambda command: self.run_command(*command), commands)

    def wait_for(self, condition: Any, what: str) -> Any:
        """Wait until ``condition()`` is true, and return what it returned."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            result = condition()
            if result:
                return result
            time.sleep(0.02)
        return self.fail(f"{what} did not happen in {PATIENCE} s; the log's end:\n{self.log()[-4000:]}")

    def log(self) -> str:
        return "".join(file.read_text() for file in sorted(self.directory.glob("*log")))

    def ports(self) -> list[int]:
        """Where the log says that it listens."""
        return [int(port) for port in re.findall(r"listening on IPv4Address\(.*port=(\d+)\)", self.log())]

    @contextmanager
    def serving(self, *command: str, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A server in the foreground; ``self.port`` is where it listens."""
        with (self.directory / "log").open("wb") as log:
            child = subprocess.Popen(
                command, cwd=self.directory, stdout=log, stderr=subprocess.STDOUT, **more
            )
        try:
            [self.port, *_] = self.wait_for(lambda: self.ports() or child.poll() is not None, "listening")
            yield child
        finally:
            child.kill()
            child.wait()

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        self.addCleanup(client.close)
        return client

    def stream(self) -> socket.SocketIO:
        """A connection as a file."""
        client = self.connect()
        stream = client.makefile("rwb", buffering=0)
        client.close()  # or the file's own close would leave the connection open
        self.addCleanup(stream.close)
        return stream

    def check_one(self, client: socket.socket) -> None:
        """A connection that is served."""
        client.sendall(b"hello")
        self.assertEqual(client.recv(5, socket.MSG_WAITALL), b"hello")

    def check_echo(self) -> None:
        """Send, half-close, and get everything back, then the end."""
        client = self.connect()
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual((client.recv(5, socket.MSG_WAITALL), client.recv(1)), (b"hello", b""))


class ServingTests(CommandTestCase):
    def test_twistd(self) -> None:
        """``twistd -n echoactor`` serves echo; the log says where it listens, and nothing of connections."""
        with self.serving(*NODAEMON, "echoactor", "--port", "0") as child:
            self.check_echo()
            child.terminate()
            self.assertEqual(child.wait(PATIENCE), 0)
        self.assertIn("listening on", self.log())
        self.assertNotIn("connection", self.log())
        self.assertNotIn("Traceback", self.log())

    def test_twist(self) -> None:
        """``twist echoactor`` serves echo."""
        with self.serving(*TWIST, "echoactor", "--port", "0"):
            self.check_echo()

    def test_several_endpoints(self) -> None:
        """Each endpoint given is served."""
        endpoint = ("-e", "tcp:0:interface=127.0.0.1")
        with self.serving(*NODAEMON, "echoactor", "-p", "0", *endpoint, *endpoint):
            ports = self.wait_for(lambda: len(self.ports()) == 3 and self.ports(), "listening on three ports")
            for self.port in ports:
                self.check_echo()

    def test_a_client_that_waits(self) -> None:
        """A client that sends and keeps its end open gets its answer without closing."""
        with self.serving(*NODAEMON, "echoactor", "--port", "0"):
            client = self.connect()
            for message in (b"one", b"two"):
                client.sendall(message)
                self.assertEqual(client.recv(100), message)

    def test_reactors(self) -> None:
        """The echo works on each of Twisted's reactors, and stops with status 0 there."""
        for name in ("epoll", "poll", "select", "asyncio"):
            self.check_reactor(name)

    @skipIf(find_spec("uvloop") is None, "uvloop is not installed")
    def test_uvloop(self) -> None:
        """So it does on uvloop's."""
        self.check_reactor("uvloop")

    def check_reactor(self, name: str) -> None:
        with self.serving(*NODAEMON, f"--reactor={name}", "echoactor", "--port", "0") as child:
            self.check_echo()
            self.assertIn(name, self.log().lower())
            child.terminate()
            self.assertEqual(child.wait(PATIENCE), 0)


class SignalTests(CommandTestCase):
    def test_drains(self) -> None:
        """SIGINT and SIGTERM close the port, serve open connections on, and end the process with status 0."""
        for command in (NODAEMON, TWIST):
            for number in (signal.SIGINT, signal.SIGTERM):
                with self.serving(*command, "echoactor", "--port", "0") as child:
                    client = self.connect()
                    client.sendall(b"hello")
                    self.assertEqual(client.recv(5), b"hello")
                    child.send_signal(number)
                    self.wait_for(lambda: "draining: 1 connections left" in self.log(), "draining")
                    with self.assertRaises(ConnectionRefusedError):
                        self.connect()
                    client.sendall(b"still there?")
                    self.assertEqual(client.recv(100), b"still there?")
                    self.assertIsNone(child.poll())
                    client.shutdown(socket.SHUT_WR)
                    self.assertEqual(client.recv(1), b"")
                    self.assertEqual(child.wait(PATIENCE), 0)
                self.assertNotIn("Traceback", self.log())
                self.assertFalse((self.directory / "twistd.pid").exists())

    def test_time_is_over(self) -> None:
        """After the shutdown timeout open connections are aborted; the exit status is 0 all the same."""
        arguments = ("--port", "0", "--shutdown-timeout", "0.5", "--access-log", "-")
        with self.serving(*NODAEMON, "echoactor", *arguments) as child:
            client = self.connect()
            client.sendall(b"x")
            self.assertEqual(client.recv(1), b"x")
            child.terminate()
            with self.assertRaises(ConnectionResetError):
                client.recv(1)
            self.assertEqual(child.wait(PATIENCE), 0)
        self.assertIn("Shutdown(detail='shutdown timeout')", self.log())
        self.assertNotIn("Traceback", self.log())

    def test_second_signal(self) -> None:
        """While the first signal waits for a client, a second one ends the process at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.serving(*NODAEMON, "echoactor", "--port", "0") as child:
                client = self.connect()
                client.sendall(b"hello")
                self.assertEqual(client.recv(5), b"hello")
                child.send_signal(number)
                self.wait_for(lambda: "draining: 1 connections left" in self.log(), "draining")
                self.assertIsNone(child.poll())
                child.send_signal(number)
                self.assertEqual(child.wait(PATIENCE), 0)
            self.assertNotIn("Traceback", self.log())


class ReloadTests(CommandTestCase):
    def test_certificates(self) -> None:
        """SIGHUP loads certificates again; a bad one costs a line, and nothing else; systemd is told."""
        authority = Authority(self.directory)
        file = authority.make("x.pem", "old.example")
        notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notifications.close)
        notifications.settimeout(PATIENCE)
        path = str(self.directory / "notify")
        notifications.bind(path)
        environment = {**os.environ, "NOTIFY_SOCKET": path}
        tls = ("--tls-port", "0", "--interface", "127.0.0.1", "--certificate", file)

        def name() -> str:
            context = ssl.create_default_context(cafile=str(authority.file))
            context.check_hostname = False
            with context.wrap_socket(self.connect()) as client:
                certificate: Any = client.getpeercert()
            return str(certificate["subjectAltName"][0][1])

        with self.serving(*NODAEMON, "echoactor", *tls, env=environment) as child:
            self.assertEqual(notifications.recv(100), b"READY=1")
            self.assertEqual(name(), "old.example")
            for text, words in (("garbage", "not reloaded: --certificate: "), (None, "reloaded")):
                if text is None:
                    authority.make("x.pem", "new.example")
                else:
                    (self.directory / "x.pem").write_text(text)
                child.send_signal(signal.SIGHUP)
                self.assertRegex(notifications.recv(100), rb"^RELOADING=1\nMONOTONIC_USEC=\d+$")
                self.assertEqual(notifications.recv(100), b"READY=1")
                self.wait_for(lambda words=words: words in self.log(), words)
                self.assertEqual(name(), "old.example" if text else "new.example")
            child.terminate()
            self.assertEqual(notifications.recv(100), b"STOPPING=1")
            self.assertEqual(child.wait(PATIENCE), 0)
        self.assertNotIn("Traceback", self.log())

    def test_each_for_itself(self) -> None:
        """A token is changed, whatever is wrong with a certificate; also in another directory."""
        authority = Authority(self.directory)
        for name in ("x.pem", "admin.pem"):
            authority.make(name, "localhost")
        (self.directory / "elsewhere").mkdir()
        tls = ("--tls-port", "0", "--interface", "127.0.0.1", "--certificate", "x.pem")
        admin = ("--admin", "0", "--admin-certificate", "admin.pem", "--admin-token-file", "token")
        token = self.directory / "token"
        token.write_text("a" * 16)
        # SIGHUP comes when it runs in the other directory.
        context = ssl.create_default_context(cafile=str(authority.file))
        with self.serving(*NODAEMON, "--rundir", "elsewhere", "echoactor", *tls, *admin) as child:
            context.wrap_socket(self.connect(), server_hostname="localhost").close()  # now it runs
            (self.directory / "x.pem").write_text("garbage")
            (self.directory / "admin.pem").write_text("garbage")
            token.write_text("short")
            child.send_signal(signal.SIGHUP)
            for option in ("certificate", "admin-certificate"):
                words = f"not reloaded: --{option}: '{self.directory.resolve()}"
                self.wait_for(lambda words=words: words in self.log(), words)
            authority.make("admin.pem", "localhost")
            child.send_signal(signal.SIGHUP)
            words = "not reloaded: --admin-token-file: '"
            self.wait_for(lambda: words in self.log(), words)
        self.assertNotIn("Traceback", self.log())

    def test_nothing_to_reload(self) -> None:
        """SIGHUP does not end a server that has nothing to load again."""
        with self.serving(*NODAEMON, "echoactor", "--port", "0") as child:
            self.check_echo()  # its port is open before it runs
            child.send_signal(signal.SIGHUP)
            self.wait_for(lambda: "reloaded" in self.log(), "reloading")
            self.check_echo()


class WaysInTests(CommandTestCase):
    def test_datagrams(self) -> None:
        """``--udp`` opens the echo of datagrams beside the other."""
        with self.serving(*NODAEMON, "echoactor", "-p", "0", "--udp", "0") as child:
            found = self.wait_for(lambda: re.search(r"'UDP'.*port=(\d+)\)", self.log()), "listening")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(PATIENCE)
                client.sendto(b"hello", ("127.0.0.1", int(found[1])))
                self.assertEqual(client.recv(100), b"hello")
            self.check_echo()
            child.terminate()
            self.assertEqual(child.wait(PATIENCE), 0)

    def test_dual_stack(self) -> None:
        """``--interface ::`` takes IPv6 and IPv4 clients; the latter are in lists by their IPv4 addresses."""
        arguments = ("-p", "0", "--interface", "::", "--deny", "127.0.0.2")
        with self.serving(*NODAEMON, "echoactor", *arguments):
            self.check_echo()
            with socket.create_connection(("::1", self.port), timeout=PATIENCE) as client:
                client.sendall(b"six")
                self.assertEqual(client.recv(100), b"six")
            denied = socket.create_connection(("127.0.0.1", self.port), PATIENCE, ("127.0.0.2", 0))
            self.addCleanup(denied.close)
            with self.assertRaises(ConnectionResetError):
                denied.recv(1)
            self.wait_for(lambda: "its address is denied" in self.log(), "a line about the refusal")

    def ports(self) -> list[int]:
        """On any kind of address."""
        return [int(port) for port in re.findall(r"listening on IPv[46]Address\(.*port=(\d+)", self.log())]

    def test_reuse_port(self) -> None:
        """With ``--reuse-port`` two servers serve one port; one stops, and no client is lost."""
        arguments = ("echoactor", "--reuse-port", "-p")
        with self.serving(*NODAEMON, "--pidfile=", *arguments, "0") as first:
            port = self.port
            self.directory = self.temporary_directory()
            with self.serving(*NODAEMON, "--pidfile=", *arguments, str(port)):
                for _ in range(20):
                    self.check_echo()
                first.terminate()
                self.assertEqual(first.wait(PATIENCE), 0)
                for _ in range(20):
                    self.check_echo()

    def test_systemd_socket(self) -> None:
        """A socket that systemd has opened is served, and stays open for the next."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            program = (
                "import os, sys; os.dup2(int(sys.argv[1]), 3, inheritable=True);"
                "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES='echo');"
                "os.execv(sys.argv[2], sys.argv[2:])"
            )
            start = (sys.executable, "-c", program, str(listener.fileno()))
            endpoint = ("echoactor", "-e", "systemd:domain=INET:index=0")
            for _ in range(2):
                with self.serving(*start, *NODAEMON, *endpoint, pass_fds=[listener.fileno()]) as child:
                    self.port = listener.getsockname()[1]
                    self.check_echo()
                    child.terminate()
                    self.assertEqual(child.wait(PATIENCE), 0)

    def test_killed_on_a_unix_socket(self) -> None:
        """A server that was killed on a UNIX socket can be started again."""
        path = self.directory / "echo.sock"
        for _ in range(2):
            with (self.directory / "log").open("wb") as log:
                child = subprocess.Popen(
                    (*NODAEMON, "--pidfile=", "echoactor", "-e", f"unix:{path}:mode=600"),
                    cwd=self.directory,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            self.addCleanup(child.wait)
            self.addCleanup(child.kill)
            self.wait_for(lambda: "listening on UNIXAddress" in self.log(), "listening")
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(str(path))
                client.sendall(b"hello")
                self.assertEqual(client.recv(100), b"hello")
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            child.kill()
            child.wait()


class ErrorTests(CommandTestCase):
    def check_error(self, result: subprocess.CompletedProcess[str], words: str) -> None:
        """One clear line, a status, no traceback, no pidfile."""
        self.assertEqual(result.returncode, 1, result.stdout)
        # A daemon's launcher may end before the daemon has written its log.
        self.wait_for(lambda: words in result.stdout + self.log(), f"saying {words!r}")
        self.assertNotIn("Traceback", result.stdout)
        self.assertEqual([file.name for file in self.directory.glob("*.pid")], [])

    def test_wrong_options(self) -> None:
        """Wrong options end each form of the command with one line and status 1."""
        wrong = [
            (command, arguments, words)
            for command in (NODAEMON, TWISTD, TWIST)
            for arguments, words in (
                (("--port", "99999"), "--port: 99999 is not a number from 0 to 65535"),
                (("--port", "abc"), "--port: 'abc' is not a number"),
                (("-e", "nonsense:1"), "--endpoint: 'nonsense:1' cannot be used"),
            )
        ]
        results = self.run_commands(*((*command, "echoactor", *arguments) for command, arguments, _ in wrong))
        for result, (_, _, words) in zip(results, wrong, strict=True):
            self.check_error(result, words)
            self.assertEqual(len(result.stdout.splitlines()), 1, result.stdout)

    def test_port_in_use(self) -> None:
        """A port in use ends each form of the command with a line that says so; nobody hangs."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            for command in (NODAEMON, TWISTD, TWIST):
                result = self.run_command(*command, "echoactor", "-e", endpoint)
                self.check_error(result, f"cannot listen on {endpoint}: Address already in use")

    def test_no_permission(self) -> None:
        """A port that only root may open ends the command with a line that says so."""
        first_free = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
        if first_free <= 7:
            raise SkipTest("this machine lets everybody open low ports")

        def drop_capability() -> None:
            PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE = 24, 10
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE)

        result = self.run_command(*NODAEMON, "echoactor", "--port", "7", preexec_fn=drop_capability)
        self.check_error(result, "cannot listen on tcp:7: Permission denied")

    def test_help_and_version(self) -> None:
        """--help shows the options, --version the version, both with status 0."""
        forms = [(*command, "echoactor") for command in (NODAEMON, TWIST)]
        for result in self.run_commands(*((*form, "--help") for form in forms)):
            self.assertEqual(result.returncode, 0)
            for words in ("-p, --port=", "-e, --endpoint=", "8080", "RFC 862"):
                self.assertIn(words, result.stdout)
        for result in self.run_commands(*((*form, "--version") for form in forms)):
            self.assertEqual((result.returncode, result.stdout), (0, f"echoactor {version('echoactor')}\n"))

    def test_listed(self) -> None:
        """``twistd --help`` lists the command."""
        self.assertRegex(self.run_command(*TWISTD, "--help").stdout, r"echoactor +Echo server")


class DaemonTests(CommandTestCase):
    def start(self, *options: str, arguments: tuple[str, ...] = ("--port", "0")) -> int:
        """Start a daemon; returns its process number."""
        # Nothing may be read from a pipe here: the daemon would keep it open.
        launcher = subprocess.run(
            (*TWISTD, "--pidfile=pid", "--logfile=log", *options, "echoactor", *arguments),
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(launcher.returncode, 0, self.log())
        process = int((self.directory / "pid").read_text())
        self.addCleanup(self.end, process)
        [self.port, *_] = self.wait_for(self.ports, "listening")
        return process

    def end(self, process: int) -> None:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def test_daemon(self) -> None:
        """Daemonized, it serves when the launcher has returned; SIGTERM ends it and removes the pidfile."""
        self.check_daemon()

    @skipIf(find_spec("uvloop") is None, "uvloop is not installed")
    def test_uvloop(self) -> None:
        """So it does on uvloop's reactor, whose loop was made before the process forked."""
        self.check_daemon("--reactor=uvloop")

    def check_daemon(self, *options: str) -> None:
        process = self.start(*options)
        self.check_echo()
        os.kill(process, signal.SIGTERM)
        self.wait_for(lambda: "Server Shut Down" in self.log(), "stopping")  # its last line
        self.assertFalse((self.directory / "pid").exists())
        self.assertNotIn("Traceback", self.log())

    def test_drops_privileges(self) -> None:
        """With --uid a low port is open, and the process is no longer root."""
        if os.getuid() != 0:
            raise SkipTest("only root may change its user")
        self.directory.chmod(0o777)
        with socket.socket() as probe:
            low = next(port for port in range(1023, 512, -1) if probe.connect_ex(("127.0.0.1", port)))
        process = self.start("--uid=65534", "--gid=65534", arguments=("--port", str(low)))
        self.assertEqual(self.port, low)
        self.check_echo()
        status = Path(f"/proc/{process}/status").read_text()
        self.assertRegex(status, r"Uid:\s+65534\s+65534")
        os.kill(process, signal.SIGTERM)
        self.wait_for(lambda: "Server Shut Down" in self.log(), "stopping")
