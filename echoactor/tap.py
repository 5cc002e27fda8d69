"""The command line: ``twistd -n echoactor`` and ``twist echoactor``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService
from twisted.python.usage import Options as UsageOptions, UsageError

from .access_log import AccessLog
from .command import ALIASES, Command, dashed, in_words_of_the_command
from .datagram import DatagramEcho
from .echo import EchoFactory
from .errors import CertificateError
from .events import ConnectionRefused
from .log_output import FORMATS, choose
from .logs import log_refusal
from .options import COUNT, Kind, ServerOptions, kind_of
from .protocol import ConnectionSupervisor
from .server import Server
from .specs import ChildSpec
from .system import ActorSystem
from .text import printable
from .workers import Workers

if TYPE_CHECKING:
    from .admin import Observer

__all__ = ["Options", "makeService"]

DEFAULT_PORT = 8080

SHORT = {"port": "p", "endpoint": "e"}


class Options(UsageOptions):
    """
    Options of the command; ``twistd echoactor --help`` prints them.

    Those of :class:`~echoactor.ServerOptions` are added below.

    :ivar server: what they come to, after parsing.
    :ivar udp: port of the echo of datagrams; None for no such echo.
    :ivar workers: how many processes serve; None for this one alone.
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
        self.workers: int | None = None
        self.log_format = "text"

    def take(self, name: str, text: str) -> None:
        """Take an option of the server's."""
        kind = kind_of(name)
        value = _parsed(name, kind, text)
        if kind.is_list:
            value = (*self._given.get(name, ()), *value)
        elif name in self._given:
            more = "; give further ports as --endpoint tcp:PORT" if name == "port" else ""
            raise UsageError(f"{dashed(name)}: given twice{more}")
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
            raise UsageError(in_words_of_the_command(str(error))) from None

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


def _parsed(name: str, kind: Kind, text: str) -> Any:
    """The value of an option."""
    try:
        return kind.check(kind.parse(text))
    except ValueError as error:
        raise UsageError(f"{dashed(name)}: {error}") from None


def _option_method(name: str, kind: Kind, meaning: str) -> Callable[..., None]:
    """What ``usage.Options`` calls for one option; a method with a parameter is an option with a value."""

    def with_value(self: Options, text: str) -> None:
        self.take(name, text)

    def flag(self: Options) -> None:
        self.take(name, "yes")

    method = with_value if kind.placeholder else flag
    method.__doc__ = in_words_of_the_command(meaning)
    return method


for _option in fields(ServerOptions):
    _name = ALIASES.get(_option.name, _option.name)
    _method = _option_method(_option.name, kind_of(_option.name), _option.metadata["help"])
    setattr(Options, f"opt_{_name}", _method)
    if _name in SHORT:
        setattr(Options, f"opt_{SHORT[_name]}", _method)


def _observer(system: ActorSystem, options: Options, server: Server | Workers) -> Observer:
    """
    What ``--admin`` asks for.

    :raises SystemExit: it cannot be had.
    """
    try:
        from .admin import Observer  # not earlier: it brings a web server along, which few want

        return Observer(
            system,
            options["admin"],
            token_file=_absolute(options["admin-token-file"]),
            certificate=_absolute(options["admin-certificate"]),
            client_ca=_absolute(options["admin-client-ca"]),
            hosts=[host for host in (options["admin-host"] or "").split(",") if host],
            others=server.snapshots if isinstance(server, Workers) else None,
        )
    except ImportError as error:
        raise _end(f"--admin: needs the package {error.name} (pip install 'echoactor[admin]')") from None
    except (ValueError, CertificateError) as error:
        raise _end(_in_words_of_admin(str(error))) from None


def _in_words_of_admin(text: str) -> str:
    """A text about an ``Observer``'s parameters, with the command's names."""
    text = re.sub(r"^(\w+)(?=: )|`(\w+)`", lambda name: dashed(f"admin_{name[1] or name[2]}"), text)
    return text.replace("--admin-endpoint", "--admin").replace("--admin-hosts", "--admin-host")


def _absolute(path: str | None) -> str | None:
    """The same file, also when the command has gone to another directory."""
    return path and os.path.abspath(path)


def makeService(options: Options) -> IService:
    """
    Make the service that the command runs.

    :raises SystemExit: an endpoint or a certificate cannot be used.
    """
    from twisted.internet import reactor  # not earlier: --reactor must come first

    system = ActorSystem(reactor, "echoactor")
    system.events.subscribe(ConnectionRefused, log_refusal)
    reloads: list[tuple[Callable[[], object], Callable[[str], str]]] = []
    file = options["access-log"]
    try:
        if options.workers is None:
            server: Server | Workers = Server(EchoFactory(system), options.server)
            if file is not None:
                access_log = AccessLog(system.events, file, options.log_format)
                reloads.append((access_log.reopen, in_words_of_the_command))
        else:
            server = Workers(
                system,
                options.server,
                options.workers,
                access_log=file,
                log_format=options.log_format,
                is_watched=options["admin"] is not None,
            )
    except (ValueError, CertificateError) as error:
        raise _end(in_words_of_the_command(str(error))) from None
    server.setServiceParent(system)
    reloads.append((server.reload, in_words_of_the_command))
    if options["admin"] is not None:
        observer = _observer(system, options, server)
        observer.setServiceParent(system)
        reloads.append((observer.reload, _in_words_of_admin))
    if isinstance(server, Server):  # after the observer, which counts who is spawned
        system.start_child(ChildSpec(ConnectionSupervisor, server.factory, id="connections"))
    command = Command(system, server, reloads)
    if options.udp is not None:
        DatagramEcho(reactor, options.udp, options.server).setServiceParent(command)
    return command
