"""The command line: ``twistd -n echoactor`` and ``twist echoactor``."""

from __future__ import annotations

import signal
from collections.abc import Sequence
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


def _port(text: str) -> int:
    """
    Read a port number.

    :raises ValueError: it is none; the text says what one is.
    """
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise ValueError(f"{text!r} is not a port number from 0 to 65535 (0 takes any free port)")
    return int(text)


class Options(UsageOptions):
    """Options of the command; ``twistd echoactor --help`` prints them."""

    synopsis = "Usage: twistd [options] echoactor [-p PORT] [-e ENDPOINT]..."
    longdesc = (
        "An echo server (RFC 862): each connection is an actor that sends back the bytes it receives. "
        "SIGTERM or SIGINT stops it, a second one at once."
    )
    optParameters = [
        ["port", "p", None, f"TCP port to listen on [default: {DEFAULT_PORT}, if no --endpoint]", _port],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["endpoints"] = []

    def opt_endpoint(self, description: str) -> None:
        """Listen on this Twisted server endpoint, such as tcp6:8080 or unix:/run/echo; may be repeated"""
        self["endpoints"].append(description)

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
            raise SystemExit(f"echoactor: {error}  (see echoactor --help)") from None


class _Command(MultiService):
    """
    What only a command may do: end the process with a line when it cannot
    start, and handle signals.

    :param daemonizes: twistd forks, and its first process waits for an
        ordinary exception or success: SystemExit would leave it waiting, and the pidfile behind.
    """

    def __init__(self, system: ActorSystem, daemonizes: bool) -> None:
        super().__init__()
        self._system = system
        self._daemonizes = daemonizes
        system.setServiceParent(self)

    def privilegedStartService(self) -> None:
        try:
            super().privilegedStartService()
        except ListenError as error:
            self._fail(error)

    def startService(self) -> None:
        try:
            super().startService()
        except ListenError as error:
            self._fail(error)
        reactor: Any = self._system.reactor
        # After the reactor has installed its own, which end the process with the signal's status.
        reactor.callWhenRunning(self._handle_signals)

    def _fail(self, error: ListenError) -> None:
        if self._daemonizes:
            raise error
        raise SystemExit(f"echoactor: {error}")

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
            line = f"echoactor: --endpoint {description!r} is not a server endpoint: {error}"
            raise SystemExit(line) from None
        Listener(endpoint, factory, description).setServiceParent(system)
    twistd_options: Any = options.parent or {}  # those of twist have no such option
    return _Command(system, daemonizes=not twistd_options.get("nodaemon", True))
