"""The command line: ``twistd -n echoactor`` and ``twist echoactor``."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from importlib.metadata import version
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.python.usage import Options as UsageOptions, UsageError

from .echo import EchoFactory
from .errors import ListenError
from .events import log_connections
from .options import Kind, ServerOptions, kind_of
from .server import Server
from .system import ActorSystem

__all__ = ["Options", "makeService"]

DEFAULT_PORT = 8080

ALIASES = {"endpoints": "endpoint"}
"""A command takes such an option once for each value."""

SHORT = {"port": "p", "endpoint": "e"}


class Options(UsageOptions):
    """
    Options of the command; ``twistd echoactor --help`` prints them.

    Those of :class:`~echoactor.ServerOptions` are added below.

    :ivar server: what they come to, after parsing.
    """

    synopsis = "[-p PORT] [-e ENDPOINT]... [option]..."
    longdesc = (
        "An echo server (RFC 862): each connection is an actor that sends back the bytes it receives. "
        "Unless told where to listen, it takes TCP port 8080. SIGTERM or SIGINT stops it: it serves open "
        "connections on for a while; a second one stops it at once."
    )

    def __init__(self) -> None:
        super().__init__()
        self._given: dict[str, Any] = {}
        self.server = ServerOptions()

    def take(self, name: str, text: str) -> None:
        """Take an option of the server's."""
        kind = kind_of(name)
        try:
            value = kind.check(kind.parse(text))
        except ValueError as error:
            raise UsageError(f"{_dashed(name)}: {error}") from None
        if kind.is_list:
            value = (*self._given.get(name, ()), *value)
        elif name in self._given:
            more = "; give further ports as --endpoint tcp:PORT" if name == "port" else ""
            raise UsageError(f"{_dashed(name)}: given twice{more}")
        self._given[name] = value

    def opt_version(self) -> None:
        """Print the version and exit"""
        print(f"echoactor {version('echoactor')}")
        raise SystemExit(0)

    def parseArgs(self, *args: str) -> None:
        """Take no arguments."""
        if args:
            raise UsageError(f"unexpected argument {args[0]!r}; a port is given as --port {args[0]}")

    def postOptions(self) -> None:
        """Put together what was given."""
        if not {"port", "tls_port", "endpoints"} & self._given.keys():
            self._given["port"] = DEFAULT_PORT
        try:
            self.server = ServerOptions(**self._given)
        except ValueError as error:
            raise UsageError(_in_words_of_the_command(str(error))) from None

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


def _dashed(name: str) -> str:
    """An option as the command has it."""
    return "--" + ALIASES.get(name, name).replace("_", "-")


def _in_words_of_the_command(text: str) -> str:
    """A text about :class:`ServerOptions`, with the command's names."""
    text = re.sub(r"^\w+(?=: )", lambda name: _dashed(name[0]), text)
    return re.sub(r"`(\w+)`", lambda name: _dashed(name[1]), text)


def _option_method(name: str, kind: Kind, meaning: str) -> Callable[..., None]:
    """What ``usage.Options`` calls for one option; a method with a parameter is an option with a value."""

    def with_value(self: Options, text: str) -> None:
        self.take(name, text)

    def flag(self: Options) -> None:
        self.take(name, "yes")

    method = with_value if kind.placeholder else flag
    method.__doc__ = _in_words_of_the_command(meaning)
    return method


for _option in fields(ServerOptions):
    _name = ALIASES.get(_option.name, _option.name)
    _method = _option_method(_option.name, kind_of(_option.name), _option.metadata["help"])
    setattr(Options, f"opt_{_name}", _method)
    if _name in SHORT:
        setattr(Options, f"opt_{SHORT[_name]}", _method)


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


def makeService(options: Options) -> IService:
    """
    Make the service that the command runs.

    :raises SystemExit: an endpoint string does not parse.
    """
    from twisted.internet import reactor  # not earlier: --reactor must come first

    system = ActorSystem(reactor, "echoactor")
    log_connections(system.events)
    try:
        server = Server(EchoFactory(system), options.server)
    except ValueError as error:
        raise SystemExit(f"echoactor: {_in_words_of_the_command(str(error))}") from None
    server.setServiceParent(system)
    return _Command(system)
