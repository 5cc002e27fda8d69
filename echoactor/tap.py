"""The command line: ``twistd -n echoactor`` and ``twist echoactor``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.endpoints import serverFromString
from twisted.python.usage import Options as UsageOptions, UsageError

from .echo import EchoFactory
from .errors import ListenError
from .events import log_connections
from .server import Listener
from .system import ActorSystem

__all__ = ["Options", "makeService"]

DEFAULT_PORT = 8080

BACKLOG = 1024
"""Connections the kernel queues before they are accepted. Twisted's default of
50 makes clients that arrive together wait a second for their retry."""


class Options(UsageOptions):
    """Options of the command; ``twistd echoactor --help`` prints them."""

    synopsis = "[-p PORT] [-e ENDPOINT]..."
    longdesc = (
        "An echo server (RFC 862): each connection is an actor that sends back the bytes it receives. "
        "SIGTERM or SIGINT stops it, a second one at once."
    )

    def __init__(self) -> None:
        super().__init__()
        self["port"] = None
        self["endpoints"] = []

    def opt_port(self, text: str) -> None:
        """TCP port to listen on, 0 for any free one  [default: 8080, unless an --endpoint is given]"""
        if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
            raise UsageError(f"--port: {text!r} is not a number from 0 to 65535")
        if self["port"] is not None:
            raise UsageError("--port: given twice; give further ports as --endpoint tcp:PORT")
        self["port"] = int(text)

    def opt_endpoint(self, description: str) -> None:
        """Twisted server endpoint to listen on, such as tcp6:8080 or unix:/run/echo; may be repeated"""
        self["endpoints"].append(description)

    opt_p = opt_port
    opt_e = opt_endpoint

    def opt_version(self) -> None:
        """Print the version and exit"""
        print(f"echoactor {version('echoactor')}")
        raise SystemExit(0)

    def parseArgs(self, *args: str) -> None:
        """Take no arguments."""
        if args:
            raise UsageError(f"unexpected argument {args[0]!r}; a port is given as --port {args[0]}")

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse the command line.

        :raises SystemExit: an option is wrong. Its text is one line, where
            twistd would print the whole help of its own first.
        """
        try:
            super().parseOptions(options)
        except UsageError as error:
            raise SystemExit(f"echoactor: {error}; twistd echoactor --help lists the options") from None


class _Command(MultiService):
    """What only a command may do: end the process with one line when it cannot start, and handle signals."""

    def __init__(self, system: ActorSystem) -> None:
        super().__init__()
        self._system = system
        system.setServiceParent(self)

    def privilegedStartService(self) -> None:
        with _told_in_one_line():
            super().privilegedStartService()

    def startService(self) -> None:
        with _told_in_one_line():
            super().startService()
        reactor: Any = self._system.reactor
        # After the reactor has installed its own, which end the process with the signal's status.
        reactor.callWhenRunning(self._handle_signals)

    def _handle_signals(self) -> None:
        reactor: Any = self._system.reactor
        stopping = False

        def stop() -> None:
            nonlocal stopping
            if stopping:
                self._system.abort()
            else:
                stopping = True
                reactor.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: reactor.callFromThread(stop))


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """
    Let a ListenError end the process with its text alone.

    It stays an ordinary exception on its way out, and is not SystemExit: for
    an exception, twistd removes its pidfile and tells the process that waits
    while it daemonizes.
    """
    try:
        yield
    except ListenError:
        traceback_hook = sys.excepthook

        def hook(kind: Any, error: BaseException, traceback: Any) -> None:
            if isinstance(error, ListenError):
                print(f"echoactor: {error}", file=sys.stderr)
            else:
                traceback_hook(kind, error, traceback)

        sys.excepthook = hook
        raise


def _why_not(error: Exception) -> str:
    """What is wrong with an endpoint string, without the parser's internals."""
    match error:
        case ImportError():
            return f"the package {error.name} is not installed (pip install 'twisted[tls]')"
        case OSError():
            return f"{error.filename}: {error.strerror}"
        case ValueError() if "endpoint type" in str(error):
            return str(error)
        case _:
            return "its arguments do not fit its type"


def makeService(options: Options) -> IService:
    """
    Make the service that the command runs.

    :raises SystemExit: an endpoint string does not parse.
    """
    from twisted.internet import reactor  # not earlier: --reactor must come first

    system = ActorSystem(reactor, "echoactor")
    log_connections(system.events)
    factory = EchoFactory(system)
    descriptions = list(options["endpoints"])
    if options["port"] is not None or not descriptions:
        port = DEFAULT_PORT if options["port"] is None else options["port"]
        descriptions.insert(0, f"tcp:{port}:backlog={BACKLOG}")
    for description in descriptions:
        try:
            endpoint = serverFromString(reactor, description)
        except Exception as error:  # each endpoint parser raises what it likes
            line = f"echoactor: --endpoint: {description!r} cannot be used: {_why_not(error)}"
            raise SystemExit(f"{line}; an endpoint is written like tcp:8080 or unix:/run/echo") from None
        Listener(endpoint, factory, description).setServiceParent(system)
    return _Command(system)
