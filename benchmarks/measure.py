"""One run: a server under one scenario, and what came of it."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from processes import Broken, Server, busy_seconds, cpu_seconds, memory, pin, settle
from servers import Missing, compile_c

HERE = Path(__file__).parent
CLIENT = Path(sys.executable).with_name("echoactor-load")

SPARE = 100
"""What a process opens beside connections, and more."""
DISTURBED = 0.1
"""Above this share of a core, what others did is in a run's figures."""
ATTEMPTS = 3

Figures = dict[str, float]
"""
What one run gave: ``rate`` (a second), the server's ``cpu`` (seconds a message), ``p50``, ``p99``, ``p99.9``
(seconds), ``server``, ``load`` and ``others`` (what they used of the cores: 1.0 is one), ``memory`` (bytes a
connection).
"""


class Scenario(NamedTuple):
    """
    What is asked of a server.

    :ivar kind: ``messages``: echo in a closed loop; ``connects``: connect, one echo, close, again;
        ``idle``: connections that have had one echo, and wait; ``client``: as ``messages``, by
        ``echoactor-load``.
    :ivar connections: how many at once.
    :ivar size: bytes of a message.
    :ivar tls: whether under TLS.
    :ivar only: the one server that it is for; all, if empty.
    """

    kind: str
    connections: int
    size: int = 64
    tls: bool = False
    only: str = ""

    def __str__(self) -> str:
        if self.kind == "connects":
            return f"connects, {self.connections} at once"
        if self.kind == "idle":
            return f"{self.connections} idle connections"
        if self.kind == "client":
            return f"{CLIENT.name}, {self.connections} connections"
        return f"{'TLS, ' if self.tls else ''}{show_size(self.size)}, {self.connections} connections"


def show_size(size: int) -> str:
    """Bytes for people: 64 B, 16 KiB, 1 MiB."""
    for unit, name in ((2**20, "MiB"), (2**10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


class Load:
    """
    The load generators: the compiled one, the Python one for what that cannot do, and our own load client.

    :param directory: where to compile.
    """

    def __init__(self, directory: Path) -> None:
        try:
            self.compiled: str | None = compile_c(HERE / "load.c", directory)
        except Missing:
            self.compiled = None

    def command(self, scenario: Scenario) -> list[str]:
        """
        The words that start the generator, up to the host.

        :raises Missing: when there is none for that.
        """
        if scenario.kind == "messages" and (scenario.tls or self.compiled is None):
            return [sys.executable, str(HERE / "load.py"), "tls" if scenario.tls else "messages"]
        if self.compiled is None:
            raise Missing("no C compiler for the load generator")
        return [self.compiled, scenario.kind]

    def check(self, scenario: Scenario, descriptors: int) -> None:
        """
        Whether a scenario can be had here.

        :param descriptors: how many files a process may open.
        :raises Missing: when it cannot.
        """
        if scenario.connections > descriptors - SPARE:
            raise Missing(f"no more than {descriptors} files may be open (ulimit -Hn)")
        if scenario.kind == "client":
            if not CLIENT.exists():
                raise Missing("it is not installed: pip install 'echoactor[load]'")
        elif scenario.kind != "idle":
            self.command(scenario)


@contextmanager
def generating(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """A load generator on a core of its own, and the end of it."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command,
        preexec_fn=pin(1),
        start_new_session=True,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: "subprocess.Popen[str]") -> str:
    """The next line that a generator prints."""
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    if not line:
        raise Broken(process.stderr.read().strip() or "the load generator said nothing")
    return line


def under_load(server: Server, scenario: Scenario, load: Load, seconds: float) -> Figures:
    """Drive a server, for some seconds from when all connections have had an answer."""
    words = ["127.0.0.1", str(server.port), str(scenario.connections), str(scenario.size), str(seconds)]
    with generating([*load.command(scenario), *words]) as process:
        line_of(process)
        meter = Meter(server)
        result = dict(word.split("=") for word in line_of(process).split())
        figures = meter.figures(int(result["count"]), float(result["took"]), float(result["cpu"]))
    return {**figures, **{name: float(result[name.replace(".", "")]) for name in ("p50", "p99", "p99.9")}}


def under_our_load(server: Server, scenario: Scenario, load: Load, seconds: float) -> Figures:
    """Drive a server with ``echoactor-load``."""
    words = [f"127.0.0.1:{server.port}", "--json", f"--connections={scenario.connections}"]
    with generating([str(CLIENT), *words, f"--size={scenario.size}", f"--duration={seconds}"]) as process:
        meter = Meter(server)
        result = json.loads(line_of(process))
        took = result["seconds"]
        figures = meter.figures(result["messages"], took, result["client_cpu_share"] * took)
    return {**figures, **{name: result["latency_us"][name] / 1e6 for name in ("p50", "p99", "p99.9")}}


class Meter:
    """What a server, and the rest of the world, use from now on."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.used, self.busy = cpu_seconds(server.pid), busy_seconds()

    def figures(self, count: int, took: float, load: float) -> Figures:
        """
        The figures of a run that ends now.

        :param count: messages, or lives of connections.
        :param took: seconds.
        :param load: seconds of CPU time that the generator used.
        """
        if not count:
            raise Broken("no message came back")
        used, busy = cpu_seconds(self.server.pid) - self.used, busy_seconds() - self.busy
        return {
            "rate": count / took,
            "cpu": used / count,
            "server": used / took,
            "load": load / took,
            "others": max(0.0, busy - used - load) / took,
        }


def idle(server: Server, scenario: Scenario) -> Figures:
    """What a connection costs that has had one echo, and waits."""
    message = bytes(scenario.size)
    settle(server.pid)
    before = memory(server.pid)
    with ExitStack() as stack:
        for _ in range(scenario.connections):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            client.sendall(message)
            if client.recv(scenario.size, socket.MSG_WAITALL) != message:
                raise Broken("wrong bytes, or a connection lost")
        settle(server.pid)
        return {"memory": (memory(server.pid) - before) / scenario.connections}


def measure(server: Server, scenario: Scenario, load: Load, seconds: float) -> Figures:
    """
    One run; again when others disturbed it, which chooses by what they used, and not by what came of it.

    It ends when the server has cleaned up: the next one's server shares its core.

    :raises Broken: when a byte was wrong, a connection lost, or nothing came back.
    """
    runs = []
    while len(runs) < ATTEMPTS:
        try:
            if scenario.kind == "idle":
                return idle(server, scenario)
            drive = under_our_load if scenario.kind == "client" else under_load
            runs.append(drive(server, scenario, load, seconds))
        except OSError as error:
            raise Broken(str(error)) from error
        finally:
            settle(server.pid)
        if runs[-1]["others"] <= DISTURBED:
            break
    return min(runs, key=lambda figures: figures["others"])
