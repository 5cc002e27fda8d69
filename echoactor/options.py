"""The options of a socket server: what each means, its default, and why that number."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from typing import Any

from twisted.internet.interfaces import IStreamServerEndpoint

from .networks import Network, Networks
from .timers import is_seconds

__all__ = ["Kind", "ServerOptions", "kind_of"]


@dataclass(frozen=True)
class Kind:
    """
    What values an option takes.

    :ivar placeholder: stands for the value in the command's help.
    :ivar parse: makes the value of a word of the command line.
    :ivar check: returns the value as it is kept.
    :ivar is_list: whether the command takes the option again and again, and each value may hold several.

    ``parse`` and ``check`` raise ValueError, with a text that says what would be right.
    """

    placeholder: str
    parse: Callable[[str], Any]
    check: Callable[[Any], Any]
    is_list: bool = False


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError(f"{text!r} is not a number")
    return int(text)


def _decimal(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _check_port(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 65535:
        raise ValueError(f"{value!r} is not a number from 0 to 65535")
    return value


def _check_count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r} is not a whole number from 1 on")
    return value


def _check_seconds(value: Any) -> float:
    if not is_seconds(value, positive=True):
        raise ValueError(f"{value!r} is not a number of seconds above 0")
    return float(value)


def _check_path(value: Any) -> str:
    try:
        path = os.fsdecode(value)
    except TypeError:
        path = ""
    if not path:
        raise ValueError(f"{value!r} is not the path of a file")
    return path


def _check_interface(value: Any) -> str:
    try:
        if value != "":
            ip_address(value)
    except ValueError:
        raise ValueError(f"{value!r} is no address of this host's, such as 127.0.0.1 or ::") from None
    return str(value)


def _check_endpoints(value: Any) -> tuple[str | IStreamServerEndpoint, ...]:
    if isinstance(value, (str, bytes)):
        raise ValueError(f"{value!r} is a text where a list of endpoints is wanted, such as [{value!r}]")
    endpoints = tuple(value)
    for endpoint in endpoints:
        if not (isinstance(endpoint, str) or IStreamServerEndpoint.providedBy(endpoint)):
            raise ValueError(f"{endpoint!r} is neither an endpoint nor its description, such as tcp:8080")
    return endpoints


def _check_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither True nor False")
    return value


def _optional(kind: Kind) -> Kind:
    """A kind that can also be None."""
    return Kind(
        kind.placeholder,
        lambda text: None if text == "none" else kind.parse(text),
        lambda value: None if value is None else kind.check(value),
    )


PORT = _optional(Kind("PORT", _number, _check_port))
COUNT = Kind("NUMBER", _number, _check_count)
SECONDS = Kind("SECONDS", _decimal, _check_seconds)
BYTES = Kind("BYTES", _number, _check_count)
# A command may go to another directory before it reads the file again.
FILE = _optional(Kind("FILE", lambda text: text and os.path.abspath(text), _check_path))
INTERFACE = Kind("ADDRESS", str, _check_interface)
ENDPOINTS = Kind("ENDPOINT", lambda text: (text,), _check_endpoints, is_list=True)
NETWORKS = Kind("NETWORKS", lambda text: Networks(text.split(",")), Networks, is_list=True)
FLAG = Kind("", bool, _check_flag)


def _option(kind: Kind, default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"kind": kind, "help": meaning})


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """
    The options of a socket server. Durations are in seconds, sizes in bytes.

    On the command line each has the same name, with dashes.

    :raises ValueError: a value is wrong; the text names option and value, and says what would be right.
    """

    # Where to listen

    port: int | None = _option(
        PORT, None, "TCP port to listen on; 0 takes any free one, and the log says which"
    )
    tls_port: int | None = _option(
        PORT, None, "TCP port for TLS; needs `certificate` or `certificate_directory`"
    )
    endpoints: Sequence[str | IStreamServerEndpoint] = _option(
        ENDPOINTS,
        (),
        "server endpoint of Twisted's to listen on, such as unix:/run/echo:mode=660; may be repeated",
    )
    interface: str = _option(
        INTERFACE,
        "",
        "address for `port` and `tls_port`; :: takes IPv6 and IPv4 clients. Default: all of IPv4",
    )
    reuse_port: bool = _option(
        FLAG,
        False,
        "let several processes listen on `port` and `tls_port` (SO_REUSEPORT). "
        "Off by default: a second server started by mistake should fail",
    )
    backlog: int = _option(
        COUNT,
        1024,
        "connections that the kernel queues before they are accepted. Default 1024: "
        "Twisted's 50 makes clients that arrive together wait a second for their retry",
    )

    # Who may come in

    max_connections: int = _option(
        COUNT,
        10_000,
        "open connections of the whole server; at the limit it stops accepting, and clients wait in the "
        "kernel's queue. Default 10000: more than most servers see, and some 80 MB when all are idle",
    )
    max_connections_per_address: int | None = _option(
        _optional(COUNT),
        None,
        "open connections of one client; further ones are closed. "
        "Default none: a thousand clients may stand behind one address",
    )
    allow: Sequence[str | Network] = _option(
        NETWORKS,
        Networks(),
        "networks whose clients may connect, such as 192.0.2.0/24,2001:db8::/32. Default: all",
    )
    deny: Sequence[str | Network] = _option(
        NETWORKS, Networks(), "networks whose clients may not connect, whatever `allow` says"
    )
    trusted_proxies: Sequence[str | Network] = _option(
        NETWORKS,
        Networks(),
        "networks of proxies that send the PROXY protocol; each connection then has to come from one "
        "and to begin with its header. Default: off, as a client could pretend anything",
    )

    # How long, and how much

    idle_timeout: float | None = _option(
        _optional(SECONDS),
        600.0,
        "seconds until a connection whose client sends nothing is closed; none for never. Default 600: load "
        "balancers keep idle connections for 60 to 600 seconds, and should not hand out closed ones",
    )
    handshake_timeout: float = _option(
        SECONDS,
        10.0,
        "seconds for a client's TLS handshake, and for a proxy's header. "
        "Default 10: some round trips, even on bad lines",
    )
    close_timeout: float = _option(
        SECONDS,
        30.0,
        "seconds for an ending connection to send what was written; then it is aborted. Default 30: "
        "what a slow line needs for the rest of a buffer",
    )
    shutdown_timeout: float = _option(
        SECONDS,
        15.0,
        "seconds for which connections are served on when the server stops; then they are aborted. "
        "Default 15: below the 30 seconds that Kubernetes gives",
    )
    max_write_buffer: int = _option(
        BYTES,
        8 * 1024 * 1024,
        "bytes that may wait for a client that does not read while other actors send to it; with more, "
        "it is aborted. Default 8 MiB: seconds of a fast stream",
    )

    # TLS

    certificate: str | None = _option(
        FILE,
        None,
        "PEM file with certificate and chain, for clients that name no host or an unknown one",
    )
    private_key: str | None = _option(
        FILE, None, "PEM file with its key. Default: it is in the certificate's file"
    )
    certificate_directory: str | None = _option(
        FILE,
        None,
        "directory of further certificates: each .pem file has key, certificate and chain, and the host "
        "that a client names (SNI) chooses among them",
    )
    client_ca: str | None = _option(
        FILE,
        None,
        "PEM file with the authorities that clients' certificates must be signed by (mutual TLS). "
        "Default: clients need none",
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            try:
                value = kind_of(option.name).check(getattr(self, option.name))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{option.name}: {error}") from None
            object.__setattr__(self, option.name, value)
        self._check_tls()

    def _check_tls(self) -> None:
        has_certificate = self.certificate is not None or self.certificate_directory is not None
        if self.tls_port is not None and not has_certificate:
            raise ValueError("tls_port: needs `certificate` or `certificate_directory`")
        if self.private_key is not None and self.certificate is None:
            raise ValueError(f"private_key: {self.private_key!r} needs `certificate`, whose key it is")
        for name in ("certificate", "certificate_directory", "client_ca"):
            if getattr(self, name) is not None and self.tls_port is None:
                raise ValueError(f"{name}: {getattr(self, name)!r} is of no use without `tls_port`")


ServerOptions.__doc__ = f"{ServerOptions.__doc__}\n" + "".join(
    f"    :param {option.name}: {option.metadata['help']}.\n" for option in fields(ServerOptions)
)


def kind_of(name: str) -> Kind:
    """What values the option ``name`` of :class:`ServerOptions` takes."""
    kind: Kind = ServerOptions.__dataclass_fields__[name].metadata["kind"]
    return kind
