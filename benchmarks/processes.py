"""Servers as processes: start them on a core, see what they use, and leave none behind."""

import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


class Broken(Exception):
    """A server or a load generator did not do its part; the text says what it said."""


def pin(core: int | None) -> Callable[[], None]:
    """
    A function that binds the calling process to a core.

    :param core: 0 is the first that this process may use; modulo their number. None: no binding.
    """
    allowed = sorted(os.sched_getaffinity(0))
    those = set(allowed) if core is None else {allowed[core % len(allowed)]}
    return lambda: os.sched_setaffinity(0, those)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def allow_many_descriptors() -> int:
    """Raise the limit of open files as far as possible, for this process and its children; what it is now."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def tree(pid: int) -> list[int]:
    """A process and its descendants, by number."""
    found = [pid]
    for one in found:
        try:
            for thread in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
        except OSError:  # it ended meanwhile
            pass
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and its descendants have used."""
    ticks = 0
    for one in tree(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float:
    """CPU time that the cores of servers and load generator were not idle for, whoever used it."""
    used = {f"cpu{core}" for core in sorted(os.sched_getaffinity(0))[:2]}
    rows = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    # user, nice, system, idle, iowait, irq, softirq, steal
    ticks = sum(int(row[field]) for row in rows if row[0] in used for field in (1, 2, 3, 6, 7, 8))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Bytes that a process and its descendants take: resident, with what several share divided among them."""
    total = 0
    for one in tree(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return total


def settle(pid: int, patience: float = 5.0) -> None:
    """
    Wait until a process uses no CPU time: it has cleaned up after its clients.

    :param patience: seconds after which it is left alone all the same.
    """
    end = time.monotonic() + patience
    before = -1.0
    while time.monotonic() < end and (now := cpu_seconds(pid)) != before:
        before = now
        time.sleep(0.05)


class Server:
    """
    A server process, as a context: at its end it is killed, with its descendants.

    It is in a session of its own, so that Ctrl-C reaches the benchmark first.

    :param command: its words; ``{port}`` in them becomes a free port.
    :param core: where it runs, as for :func:`pin`.
    :ivar port: where it is to listen.
    :ivar process: it.
    """

    def __init__(self, command: list[str], core: int | None = 0) -> None:
        self.port = free_port()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        self.process = subprocess.Popen(
            [word.format(port=self.port) for word in command],
            preexec_fn=pin(core),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        self.pid = self.process.pid

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self._output.close()

    def wait_until_listening(self, patience: float = 30.0) -> None:
        """
        Wait until it takes connections.

        :raises Broken: when it ended instead, or took too many seconds.
        """
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if self.process.poll() is not None:
                self._output.seek(0)
                said = self._output.read().decode(errors="replace").split("\n")
                last = next((line.strip() for line in reversed(said) if line.strip()), "nothing")
                raise Broken(f"it ended with status {self.process.returncode}, and said: {last}")
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise Broken(f"it does not listen after {patience:g} seconds")
