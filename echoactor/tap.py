"""The command line: ``twistd -n echoactor`` and ``twist echoactor``."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, MultiService
from twisted.logger import Logger
from twisted.python.usage import Options as UsageOptions, UsageError

from .access_log import AccessLog
from .datagram import DatagramEcho
from .echo import EchoFactory
from .errors import CertificateError, ListenError
from .log_output import FORMATS, choose, printable
from .logs import log_connections
from .notify import Notifier
from .options import Kind, ServerOptions, kind_of
from .protocol import ConnectionSupervisor
from .server import Server
from .specs import ChildSpec
from .system import ActorSystem

if TYPE_CHECKING:
    from .admin import Observer

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
    :ivar log_format: how the log is written.
    """

    optParameters = [
        (
            *("log-format", None, None),
            "text or json: one JSON object a line. Default: text, or what twist was told",
        ),
        (
            *("access-log", None, None),
            "file for a line about each connection that is over; - for the standard output. "
            "SIGHUP opens it anew",
        ),
        (
            *("admin", None, None),
            "where metrics, health and the observer page are served over HTTP: a port of this machine alone, "
            "such as 9090, or an endpoint such as unix:/run/echo-admin or tcp:9090, which needs "
            "--admin-token-file or --admin-client-ca. Off by default",
        ),
        (
            *("admin-token-file", None, None),
            "file with the token that admin requests must have, as bearer token or password",
        ),
        (
            *("admin-certificate", None, None),
            "PEM file with key, certificate and chain, for admin over HTTPS",
        ),
        (
            *("admin-client-ca", None, None),
            "PEM file with the authorities that must have signed the certificates of admin's clients (mTLS)",
        ),
        (
            *("admin-host", None, None),
            "names by which admin is reached, beside localhost and addresses, with commas between them",
        ),
    ]
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
        self.log_format = "text"

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

    def opt_udp(self, text: str) -> None:
        try:
            self.udp = kind_of("port").check(kind_of("port").parse(text))
        except ValueError as error:
            raise UsageError(f"--udp: {error}") from None

    opt_udp.__doc__ = (
        "UDP port for the echo of datagrams; 0 takes any free one. Off by default: a datagram's source "
        "can be forged, and an echo server that answers everybody can be set on others, or on another "
        "echo server for ever. This one answers no port below 1024 or like its own, nobody's address, "
        "nothing that was sent to many, and each source at most 100 times a second"
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
        for name, value in self.items():
            if name.startswith("admin-") and value is not None and self["admin"] is None:
                raise UsageError(f"--{name}: {value!r} is of no use without --admin")
        if self["log-format"] not in (None, *FORMATS):
            raise UsageError(f"--log-format: {self['log-format']!r} is neither text nor json")
        if self["access-log"] == "-" and not self._is_in_foreground():
            raise UsageError("--access-log: a daemon has no standard output; name a file, or use twistd -n")
        if not {"port", "tls_port", "endpoints"} & self._given.keys():
            self._given["port"] = DEFAULT_PORT
        try:
            self.server = ServerOptions(**self._given)
            self.log_format = choose(self["log-format"], self.parent)
        except ValueError as error:
            raise UsageError(_in_words_of_the_command(str(error))) from None

    def _is_in_foreground(self) -> bool:
        parent: dict[str, Any] = self.parent or {}  # twistd's options, or twist's, or none
        return bool(parent.get("nodaemon", True))

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
    return SystemExit(f"echoactor: {printable(text)}")


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


def _access_log(system: ActorSystem, options: Options) -> AccessLog:
    """:raises SystemExit: its file cannot be opened."""
    try:
        return AccessLog(system.events, options["access-log"], options.log_format)
    except OSError as error:
        raise _end(f"--access-log: {options['access-log']!r}: {error.strerror}") from None


def _observer(system: ActorSystem, options: Options) -> Observer:
    """
    What ``--admin`` asks for.

    :raises SystemExit: it cannot be had.
    """
    try:
        from .admin import Observer  # not earlier: it brings a web server along, which few want

        return Observer(
            system,
            options["admin"],
            token_file=options["admin-token-file"],
            certificate=options["admin-certificate"],
            client_ca=options["admin-client-ca"],
            hosts=[host for host in (options["admin-host"] or "").split(",") if host],
        )
    except ImportError as error:
        raise _end(f"--admin: needs the package {error.name} (pip install 'echoactor[admin]')") from None
    except (ValueError, CertificateError) as error:
        text = re.sub(
            r"^(\w+)(?=: )|`(\w+)`", lambda name: _dashed(f"admin_{name[1] or name[2]}"), str(error)
        )
        raise _end(text.replace("--admin-endpoint", "--admin")) from None


class _Command(MultiService):
    """What only a command may do: end the process with one line when it cannot start, and handle signals."""

    def __init__(self, server: Server, reloads: Sequence[Callable[[], object]]) -> None:
        super().__init__()
        self._reloads = reloads
        self._server = server
        self._system = server.factory.system
        self._notifier = Notifier()
        self._system.setServiceParent(self)

    def privilegedStartService(self) -> None:
        with _told_in_one_line():
            super().privilegedStartService()

    def startService(self) -> None:
        connections = ChildSpec(ConnectionSupervisor, self._server.factory, id="connections")
        self._system.start_child(connections)
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

        for number, action in ((signal.SIGINT, stop), (signal.SIGTERM, stop), (signal.SIGHUP, self._reload)):
            signal.signal(number, lambda *_, action=action: reactor.callFromThread(action))
        self._notifier.ready()

    def _reload(self) -> None:
        """Read the files again: certificates, the token; whatever is wrong with one, the service goes on."""
        self._notifier.reloading()
        for reload in self._reloads:
            try:
                reload()
            except (CertificateError, ValueError, OSError) as error:
                _log.error("nothing was reloaded: {error}", error=str(error))
                break
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
    log_connections(system.events)
    try:
        server = Server(EchoFactory(system), options.server)
    except (ValueError, CertificateError) as error:
        raise _end(_in_words_of_the_command(str(error))) from None
    server.setServiceParent(system)
    reloads: list[Callable[[], object]] = [server.reload]
    if options["access-log"] is not None:
        reloads.insert(0, _access_log(system, options).reopen)
    if options["admin"] is not None:
        observer = _observer(system, options)
        observer.setServiceParent(system)
        reloads.append(observer.reload)
    command = _Command(server, reloads)
    if options.udp is not None:
        DatagramEcho(reactor, options.udp, options.server).setServiceParent(command)
    return command
