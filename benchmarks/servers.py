"""Which servers are compared, how each is started, and what it needs to be here."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

PEERS = Path(__file__).with_name("peers")
LISTEN = ("--port={port}", "--interface=127.0.0.1")
TWISTD = (str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=")


class Missing(Exception):
    """Why something cannot be run here."""


class Contender(NamedTuple):
    """
    A server to compare.

    :ivar name: as in the tables.
    :ivar prepare: makes its command; given a directory, where it may compile. Raises :class:`Missing`.
    :ivar tls: whether it speaks TLS; it is compared with those that do.
    :ivar core: which it runs on, as for :func:`processes.pin`.
    """

    name: str
    prepare: Callable[[Path], list[str]]
    tls: bool = False
    core: int | None = 0


def program(name: str) -> str:
    """Where a program is."""
    found = shutil.which(name)
    if found is None:
        raise Missing(f"no {name} here")
    return found


def build(command: list[str]) -> None:
    """Run a compiler, which says itself what is wrong."""
    if subprocess.run(command, check=False).returncode:
        raise Missing(f"{Path(command[0]).name} cannot compile it")


def compile_c(source: Path, directory: Path) -> str:
    """Compile a program, and say where it is."""
    target = str(directory / source.stem)
    build([program("cc"), "-O2", "-o", target, str(source)])
    return target


def certificate(directory: Path) -> Path:
    """A file with a key and a certificate that nobody has signed, made once."""
    file = directory / "certificate.pem"
    if not file.exists():
        if find_spec("OpenSSL") is None:
            raise Missing("no pyOpenSSL here: pip install 'echoactor[tls]'")
        from twisted.internet.ssl import KeyPair

        made = KeyPair.generate(size=2048).selfSignedCert(1, CN="localhost")
        file.write_bytes(made.dumpPEM())
    return file


def need_our_reactor() -> None:
    """Raise :class:`Missing` when there is no reactor on uvloop."""
    listed = subprocess.run([*TWISTD, "--help-reactors"], capture_output=True, text=True, check=True).stdout
    if not any(line.split()[:1] == ["uvloop"] for line in listed.splitlines()):
        raise Missing("twistd --help-reactors does not list uvloop")


# The peers


def wire_echo(directory: Path) -> list[str]:
    return [sys.executable, str(PEERS / "wire_echo.py"), "tcp:{port}:interface=127.0.0.1:backlog=1024"]


def wire_echo_on_uvloop(directory: Path) -> list[str]:
    need_our_reactor()
    return [*wire_echo(directory), "uvloop"]


def wire_echo_tls(directory: Path) -> list[str]:
    pem = certificate(directory)
    endpoint = f"ssl:{{port}}:interface=127.0.0.1:backlog=1024:privateKey={pem}:certKey={pem}"
    return [sys.executable, str(PEERS / "wire_echo.py"), endpoint]


def asyncio_streams(directory: Path) -> list[str]:
    return [sys.executable, str(PEERS / "asyncio_streams.py"), "{port}"]


def asyncio_protocol(directory: Path) -> list[str]:
    return [sys.executable, str(PEERS / "bare_protocol.py"), "asyncio", "{port}"]


def uvloop_protocol(directory: Path) -> list[str]:
    if find_spec("uvloop") is None:
        raise Missing("no uvloop here: pip install uvloop")
    return [sys.executable, str(PEERS / "bare_protocol.py"), "uvloop", "{port}"]


def elixir(directory: Path) -> list[str]:
    return [program("elixir"), "--erl", "+S 1:1", str(PEERS / "echo.exs"), "{port}"]


def go(directory: Path) -> list[str]:
    target = str(directory / "go")
    build([program("go"), "build", "-o", target, str(PEERS / "echo.go")])
    return ["env", "GOMAXPROCS=1", target, "{port}"]


def python_epoll(directory: Path) -> list[str]:
    return [sys.executable, str(PEERS / "epoll.py"), "{port}"]


def c_epoll(directory: Path) -> list[str]:
    return [compile_c(PEERS / "epoll.c", directory), "{port}"]


# Ours


def echoactor(directory: Path) -> list[str]:
    return [*TWISTD, "echoactor", *LISTEN]


def on_uvloop(directory: Path) -> list[str]:
    need_our_reactor()
    return [*TWISTD, "--reactor=uvloop", "echoactor", *LISTEN]


def two_workers(directory: Path) -> list[str]:
    shown = subprocess.run(
        [*TWISTD, "echoactor", "--help"], capture_output=True, text=True, check=True
    ).stdout
    if "--workers" not in shown:
        raise Missing("this echoactor has no --workers")
    return [*echoactor(directory), "--workers=2"]


def with_tls(prepare: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
    """The same server, on a TLS port."""

    def prepare_tls(directory: Path) -> list[str]:
        pem = certificate(directory)
        words = [word.replace("--port=", "--tls-port=") for word in prepare(directory)]
        return [*words, f"--certificate={pem}"]

    return prepare_tls


CONTENDERS = [
    Contender("wire.Echo", wire_echo),
    Contender("echoactor", echoactor),
    Contender("echoactor, uvloop", on_uvloop),
    Contender("wire.Echo, uvloop", wire_echo_on_uvloop),
    Contender("asyncio streams", asyncio_streams),
    Contender("asyncio protocol", asyncio_protocol),
    Contender("uvloop protocol", uvloop_protocol),
    Contender("Python epoll", python_epoll),
    Contender("Elixir", elixir),
    Contender("Go", go),
    Contender("C epoll", c_epoll),
    Contender("echoactor, 2 workers", two_workers, core=None),
    Contender("wire.Echo", wire_echo_tls, tls=True),
    Contender("echoactor", with_tls(echoactor), tls=True),
    Contender("echoactor, uvloop", with_tls(on_uvloop), tls=True),
]
"""In the order in which they take their turns. The first of a table is what its ratios are to."""
