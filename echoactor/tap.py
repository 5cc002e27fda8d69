"""The command line: ``twistd -n echoactor`` and ``twist echoactor``."""

from __future__ import annotations

import atexit
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from importlib.metadata import version
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.usage import Options as UsageOptions, UsageError

from .datagram import DatagramEcho
from .echo import EchoFactory
from .errors import CertificateError, ListenError
from .events import log_connections
from .notify import Notifier
from .options import COUNT, Kind, ServerOptions, kind_of
from .protocol import ConnectionSupervisor
from .server import Server
from .specs import ChildSpec
from .system import ActorSystem
from .workers import Workers

__all__ = ["Options", "makeService"]

_log = Logger()

DEFAULT_PORT = 8080

ALIASES = {"endpoints": "endpoint"}
"""A command takes such an option once for each value."""

SHORT = {"port": "p", "endpoint": "e"}


class Options(UsageOptions):
    """
    Options of the command; ``twistd echoactor --help`` prints them.

    Those of :class:`~echoactor.ServerOptions` are added below.

    :ivar server: what they come to, after parsing.
    :ivar udp: port of the echo of datagrams; None for no such echo.
    :ivar workers: how many processes serve; None for this one alone.
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
        self.udp: int | None = None
        self.workers: int | None = None

    def take(self, name: str, text: str) -> None:
        """Take an option of the server's."""
        kind = kind_of(name)
        value = _parsed(name, kind, text)
        if kind.is_list:
            value = (*self._given.get(name, ()), *value)
        elif name in self._given:
            more = "; give further ports as --endpoint tcp:PORT" if name == "port" else ""
            raise UsageError(f"{_dashed(name)}: given twice{more}")
        self._given[name] = value

    def opt_udp(self, text: str) -> None:
        self.udp = _parsed("udp", kind_of("port"), text)

    opt_udp.__doc__ = (
        "UDP port for the echo of datagrams; 0 takes any free one. Off by default: a datagram's source "
        "can be forged, and an echo server that answers everybody can be set on others, or on another "
        "echo server for ever. This one answers no port below 1024 or like its own, nobody's address, "
        "nothing that was sent to many, and each source at most 100 times a second"
    )

    def opt_workers(self, text: str) -> None:
        self.workers = _parsed("workers", COUNT, text)

    opt_workers.__doc__ = (
        "processes that serve together, to use as many cores; this one then only watches over them, and "
        "limits are divided by their number. Default: this process alone, which uses one core"
    )

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
            raise _end(f"{error}; twistd echoactor --help lists the options") from None


def _end(text: str) -> SystemExit:
    """What ends the command with one line, whatever was in its arguments."""
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return SystemExit(f"echoactor: {line}")


def _parsed(name: str, kind: Kind, text: str) -> Any:
    """The value of an option."""
    try:
        return kind.check(kind.parse(text))
    except ValueError as error:
        raise UsageError(f"{_dashed(name)}: {error}") from None


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

    def __init__(self, system: ActorSystem, server: Server | Workers, children: Sequence[ChildSpec]) -> None:
        super().__init__()
        self._system = system
        self._server = server
        self._children = children
        self._notifier = Notifier()
        self._system.setServiceParent(self)

    def privilegedStartService(self) -> None:
        with _told_in_one_line():
            super().privilegedStartService()

    def startService(self) -> None:
        for child in self._children:
            self._system.start_child(child)
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
                self._notifier.stopping()
                reactor.stop()

        def reload() -> None:
            ensureDeferred(self._reload())

        for number, action in ((signal.SIGINT, stop), (signal.SIGTERM, stop), (signal.SIGHUP, reload)):
            signal.signal(number, lambda *_, action=action: reactor.callFromThread(action))
        ready: Deferred[None] = succeed(None)
        if isinstance(self._server, Workers):
            ready = self._server.ready
            self._server.given_up.addCallback(self._fail)
        ready.addCallback(lambda _: self._notifier.ready())

    def _fail(self, why: str) -> None:
        """End the process with status 1, while the reactor runs: the reactor knows of 0 and signals alone."""
        _log.critical("{line}", line=f"echoactor: {_in_words_of_the_command(why)}")
        atexit.register(os._exit, 1)
        self._notifier.stopping()
        reactor: Any = self._system.reactor
        reactor.stop()

    async def _reload(self) -> None:
        """Load the certificates again; whatever is wrong with them, the service goes on."""
        self._notifier.reloading()
        try:
            await maybeDeferred(self._server.reload)
        except CertificateError as error:
            _log.error("nothing was reloaded: {error}", error=str(error))
        else:
            _log.info("reloaded")
        self._notifier.ready()


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

    :raises SystemExit: an endpoint or a certificate cannot be used.
    """
    from twisted.internet import reactor  # not earlier: --reactor must come first

    system = ActorSystem(reactor, "echoactor")
    log_connections(system.events, system.reactor.seconds)
    factory = EchoFactory(system)
    children = [ChildSpec(ConnectionSupervisor, factory, id="connections")]
    try:
        if options.workers is None:
            server: Server | Workers = Server(factory, options.server)
        else:
            server, children = Workers(system, options.server, options.workers), []
    except (ValueError, CertificateError) as error:
        raise _end(_in_words_of_the_command(str(error))) from None
    server.setServiceParent(system)
    command = _Command(system, server, children)
    if options.udp is not None:
        DatagramEcho(reactor, options.udp, options.server).setServiceParent(command)
    return command
