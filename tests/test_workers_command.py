"""The command with ``--workers``: real parents, real workers, real signals."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from .support import Authority
from .test_command import NODAEMON, PATIENCE, TWIST, TWISTD, CommandTestCase


def children_of(pid: int) -> list[int]:
    """The child processes of a process, oldest first."""
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def is_alive(pid: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class WorkersTestCase(CommandTestCase):
    """Runs the command with two workers."""

    workers: list[int]

    @contextmanager
    def serving(self, *command: str, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A server in the foreground, whose workers listen."""
        with super().serving(*command, "--interface", "127.0.0.1", "--workers", "2", **more) as child:
            self.wait_for(self.all_listen, "listening of both workers")
            self.workers = children_of(child.pid)
            self.assertEqual(len(self.workers), 2)
            yield child

    def all_listen(self) -> bool:
        return all(f"worker {number}: listening on" in self.log() for number in (1, 2))

    def open_on_both(self) -> list[socket.socket]:
        """Open connections, some of which each worker has."""
        clients = [self.connect() for _ in range(32)]
        for client in clients:
            self.check_one(client)
        return clients

    def wait_for_end(self, pids: list[int]) -> None:
        """Wait until these processes are gone."""
        self.wait_for(lambda: not any(map(is_alive, pids)), "the end of the workers")


class SignalTests(WorkersTestCase):
    def test_drains(self) -> None:
        """SIGTERM and SIGINT drain all workers, and the parent ends after them, with status 0."""
        for command, number in ((NODAEMON, signal.SIGTERM), (TWIST, signal.SIGINT)):
            # A terminal sends SIGINT to the whole group, as systemd does with SIGTERM.
            with self.serving(*command, "echoactor", "-p", "0", start_new_session=True) as child:
                clients = self.open_on_both()
                for worker in self.workers:
                    os.kill(worker, signal.SIGUSR1)  # which is for twistd's log, and goes to all as well
                os.killpg(child.pid, number)
                for worker in (1, 2):
                    self.wait_for(
                        lambda worker=worker: f"worker {worker}: draining" in self.log(), "draining"
                    )
                with self.assertRaises(ConnectionRefusedError):
                    self.connect()
                for client in clients:
                    self.check_one(client)
                self.assertIsNone(child.poll())
                for client in clients:
                    client.shutdown(socket.SHUT_WR)
                    self.assertEqual(client.recv(1), b"")
                self.assertEqual(child.wait(PATIENCE), 0)
                self.wait_for_end(self.workers)
            self.assertNotIn("Traceback", self.log())
            self.assertNotIn("restarted", self.log())

    def test_time_is_over(self) -> None:
        """After the shutdown timeout open connections are aborted, with status 0."""
        with self.serving(*NODAEMON, "echoactor", "-p", "0", "--shutdown-timeout", "0.5") as child:
            clients = self.open_on_both()
            child.terminate()
            for client in clients:
                with self.assertRaises(ConnectionResetError):
                    client.recv(1)
            self.assertEqual(child.wait(PATIENCE), 0)
        self.assertNotIn("Traceback", self.log())

    def test_second_signal(self) -> None:
        """A second signal ends all at once, also a worker that hangs."""
        with self.serving(*NODAEMON, "echoactor", "-p", "0", "--shutdown-timeout", "100") as child:
            self.open_on_both()
            os.kill(self.workers[0], signal.SIGSTOP)
            child.terminate()
            self.wait_for(lambda: "worker 2: draining" in self.log(), "draining")
            child.terminate()
            self.assertEqual(child.wait(PATIENCE), 0)
            self.wait_for_end(self.workers)
        self.assertNotIn("Traceback", self.log())

    def test_stopped_while_starting(self) -> None:
        """SIGTERM before the workers listen ends everything with status 0."""
        with super().serving(*NODAEMON, "echoactor", "-p", "0", "--workers", "2") as child:
            pids = self.wait_for(
                lambda: len(children_of(child.pid)) == 2 and children_of(child.pid), "starting"
            )
            child.terminate()
            self.assertEqual(child.wait(PATIENCE), 0)
            self.wait_for_end(pids)
        self.assertNotIn("Traceback", self.log())

    def test_orphans(self) -> None:
        """Workers whose parent is killed drain, and end."""
        with self.serving(*NODAEMON, "--pidfile=", "echoactor", "-p", "0") as child:
            clients = self.open_on_both()
            child.kill()
            child.wait()

            def is_closed() -> bool:
                try:
                    self.connect().close()
                except ConnectionRefusedError:
                    return True
                except ConnectionResetError:
                    pass
                return False

            self.wait_for(is_closed, "the end of listening")
            self.assertTrue(all(map(is_alive, self.workers)))
            for client in clients:
                self.check_one(client)
                client.close()
            self.wait_for_end(self.workers)

    def test_given_up(self) -> None:
        """When a worker ends too often, the command ends with a line that says so, and status 1."""
        with self.serving(*NODAEMON, "echoactor", "-p", "0") as child:
            seen: set[int] = set()

            def a_new_one() -> int | None:
                try:
                    others = set(children_of(child.pid)) - seen - {self.workers[1]}
                except FileNotFoundError:
                    return None
                return others.pop() if others else None

            while child.poll() is None:
                pid = self.wait_for(lambda: a_new_one() or child.poll() is not None, "a restart")
                if child.poll() is None:
                    seen.add(pid)
                    os.kill(pid, signal.SIGKILL)
            self.assertEqual(child.returncode, 1)
            self.wait_for_end([*self.workers, *seen])
        lines = [line for line in self.log().splitlines() if "echoactor: " in line]
        self.assertEqual(len(lines), 1)
        self.assertRegex(
            lines[0], r"critical\] echoactor: worker 1 has ended more than 3 times in 30 seconds$"
        )
        self.assertNotIn("Traceback", self.log())
        self.assertFalse((self.directory / "twistd.pid").exists())


class ReloadTests(WorkersTestCase):
    def test_certificates(self) -> None:
        """SIGHUP loads certificates again in all workers; systemd hears of it, from the parent alone."""
        authority = Authority(self.directory)
        file = authority.make("x.pem", "old.example")
        notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notifications.close)
        notifications.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        notifications.settimeout(PATIENCE)
        path = str(self.directory / "notify")
        notifications.bind(path)
        environment = {**os.environ, "NOTIFY_SOCKET": path}

        def told() -> bytes:
            data, ancillary, *_ = notifications.recvmsg(100, 100)
            self.assertEqual(struct.unpack("=iii", ancillary[0][2])[0], child.pid)
            return data

        def names() -> set[str]:
            context = ssl.create_default_context(cafile=str(authority.file))
            context.check_hostname = False
            found = set()
            for _ in range(16):
                with context.wrap_socket(self.connect()) as client:
                    certificate: Any = client.getpeercert()
                found.add(str(certificate["subjectAltName"][0][1]))
            return found

        arguments = ("echoactor", "--tls-port", "0", "--certificate", file)
        with self.serving(*NODAEMON, *arguments, env=environment) as child:
            self.assertEqual(told(), b"READY=1")
            self.assertEqual(names(), {"old.example"})
            for text, words in (
                ("garbage", "not reloaded: worker 1: certificate: "),
                (None, "reloaded"),
            ):
                if text is None:
                    authority.make("x.pem", "new.example")
                else:
                    (self.directory / "x.pem").write_text(text)
                child.send_signal(signal.SIGHUP)
                self.assertRegex(told(), rb"^RELOADING=1\n")
                self.assertEqual(told(), b"READY=1")
                self.wait_for(lambda words=words: words in self.log(), words)
                self.assertEqual(names(), {"old.example" if text else "new.example"})
            child.terminate()
            self.assertEqual(told(), b"STOPPING=1")
            self.assertEqual(child.wait(PATIENCE), 0)
            notifications.setblocking(False)
            with self.assertRaises(BlockingIOError):
                notifications.recv(100)
        self.assertNotIn("Traceback", self.log())


class WaysInTests(WorkersTestCase):
    def test_reactors(self) -> None:
        """Workers run on the parent's kind of reactor."""
        for name in ("poll", "select", "asyncio"):
            with self.serving(*NODAEMON, f"--reactor={name}", "echoactor", "-p", "0") as child:
                for client in self.open_on_both():
                    client.close()
                for pid in self.workers:
                    self.assertIn(f"twisted.internet.{name}reactor", Path(f"/proc/{pid}/cmdline").read_text())
                child.terminate()
                self.assertEqual(child.wait(PATIENCE), 0)
            self.assertNotIn("Traceback", self.log())

    def test_datagrams(self) -> None:
        """Datagrams are answered as without workers."""
        with self.serving(*NODAEMON, "echoactor", "-p", "0", "--udp", "0"):
            found = self.wait_for(lambda: re.search(r"'UDP'.*port=(\d+)\)", self.log()), "listening")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(PATIENCE)
                client.sendto(b"hello", ("127.0.0.1", int(found[1])))
                self.assertEqual(client.recv(100), b"hello")

    def test_systemd_socket(self) -> None:
        """A socket that systemd has opened is served by all, and its queue is kept for the next server."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            program = (
                "import os, sys; os.dup2(int(sys.argv[1]), 3, inheritable=True);"
                "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES='echo');"
                "os.execv(sys.argv[2], sys.argv[2:])"
            )
            start = (NODAEMON[0], "-c", program, str(listener.fileno()))
            endpoint = ("echoactor", "-e", "systemd:domain=INET:index=0")
            for _ in range(2):
                self.port = listener.getsockname()[1]
                early = self.connect()
                with self.serving(*start, *NODAEMON, *endpoint, pass_fds=[listener.fileno()]) as child:
                    self.port = listener.getsockname()[1]
                    self.check_one(early)
                    early.close()
                    self.check_echo()
                    child.terminate()
                    self.assertEqual(child.wait(PATIENCE), 0)

    def test_taken(self) -> None:
        """A second server on the same port ends with one line, although the port could be shared."""
        with self.serving(*NODAEMON, "--pidfile=", "echoactor", "-p", "0"):
            result = self.run_command(
                *NODAEMON,
                "--pidfile=",
                "echoactor",
                "-p",
                str(self.port),
                "--interface",
                "127.0.0.1",
                "--workers",
                "2",
            )
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"echoactor: cannot listen on tcp:{self.port}: Address already in use", result.stdout)
        self.assertNotIn("Traceback", result.stdout)

    def test_strangers_modules(self) -> None:
        """A worker takes no modules from where the server was started."""
        for module in ("json", "signal"):
            (self.directory / f"{module}.py").write_text("raise SystemExit('taken over')")
        twistd = (*TWISTD[:2], f"import sys; sys.path.remove(''); {TWISTD[2]}")
        with self.serving(*twistd, "-n", "echoactor", "-p", "0"):
            self.open_on_both()
        self.assertNotIn("taken over", self.log())

    def test_unreadable_certificate(self) -> None:
        """A certificate that workers cannot read ends the command with one line, and status 1."""
        file = Authority(self.directory).make("x.pem", "a.example")
        for command in (NODAEMON, TWIST):
            with open(file) as certificate:
                path = f"/dev/fd/{certificate.fileno()}"  # which the parent alone has
                result = self.run_command(
                    *(*command, "echoactor", "--tls-port", "0", "--interface", "127.0.0.1"),
                    *("--certificate", path, "--private-key", file, "--workers", "2"),
                    pass_fds=[certificate.fileno()],
                )
            self.assertEqual(result.returncode, 1, result.stdout)
            [line] = [line for line in result.stdout.splitlines() if "echoactor: " in line]
            self.assertRegex(line, f"echoactor: --certificate: '{path}': (No such|Permission|Bad).*$")
            self.assertNotIn("Traceback", result.stdout)


class DaemonTests(CommandTestCase):
    def start(self, *options: str, arguments: tuple[str, ...], before: tuple[str, ...] = ()) -> int:
        """Start a daemon with two workers; returns its process number."""
        launcher = subprocess.run(
            (
                *(*before, *TWISTD, "--pidfile=pid", "--logfile=log", *options, "echoactor"),
                *(*arguments, "--interface", "127.0.0.1", "--workers", "2"),
            ),
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(launcher.returncode, 0, self.log())
        return int((self.directory / "pid").read_text())

    def test_daemon_without_privileges(self) -> None:
        """A daemon with --uid serves a low port by workers of that user; the pidfile is the parent's."""
        if os.getuid() != 0:
            raise SkipTest("only root may change its user")
        before: tuple[str, ...] = ()
        try:
            subprocess.run((sys.executable, "-c", "import echoactor"), user=65534, check=True)
        except (OSError, subprocess.CalledProcessError):
            # This Python is in a directory of root's. Let all users read everything, as if it were not.
            setpriv = shutil.which("setpriv")
            if setpriv is None:
                raise SkipTest(f"another user cannot run {sys.executable}") from None
            read = "+dac_read_search"
            before = (
                setpriv,
                "--securebits=+no_setuid_fixup",
                f"--inh-caps={read}",
                f"--ambient-caps={read}",
            )
        self.directory.chmod(0o777)
        with socket.socket() as probe:
            low = next(port for port in range(1023, 512, -1) if probe.connect_ex(("127.0.0.1", port)))
        process = self.start("--uid=65534", "--gid=65534", arguments=("--port", str(low)), before=before)
        self.wait_for(lambda: self.log().count(": listening on") == 2, "listening")
        self.port = low
        for _ in range(16):
            self.check_echo()
        workers = children_of(process)
        self.assertEqual(len(workers), 2)
        for pid in workers:
            self.assertRegex(Path(f"/proc/{pid}/status").read_text(), r"Uid:\s+65534\s+65534")
        os.kill(workers[0], signal.SIGKILL)
        self.wait_for(lambda: self.log().count(": listening on") == 3, "listening again")
        for _ in range(16):
            self.check_echo()
        self.assertEqual([file.name for file in self.directory.glob("*pid")], ["pid"])
        os.kill(process, signal.SIGTERM)
        # Only root could remove it from root's directory; this one is everybody's.
        self.wait_for(lambda: not (self.directory / "pid").exists(), "removing the pidfile")
        self.wait_for(lambda: not any(map(is_alive, [process, *workers])), "the end")
        self.assertIn("Server Shut Down", self.log())
        self.assertNotIn("Traceback", self.log())
