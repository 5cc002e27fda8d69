"""
What a command and its workers tell each other: one JSON object a line.

The parent orders, and the worker answers each order with one :class:`Done`, in
their order; what its log says comes in between. The pipe is a UNIX socket, as that can carry sockets, too.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network
from typing import Any, get_args

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from .options import ServerOptions

__all__ = [
    "Done",
    "Drain",
    "Message",
    "Ping",
    "Pipe",
    "Reload",
    "Resume",
    "Said",
    "Serve",
    "Suspend",
    "Tell",
    "decode",
    "encode",
]

MAX_LENGTH = 64 * 1024 * 1024
"""Bytes of a line: more than the longest lists of networks that a command line can hold."""


@dataclass(frozen=True, slots=True)
class Serve:
    """
    An order: become a server. It listens nowhere before :class:`Resume`.

    :ivar options: its options; limits are this worker's share.
    :ivar places: the descriptions of where it will listen, each with whether TLS comes first there.
    :ivar access_log: file for a line about each connection; None for none.
    :ivar log_format: of these lines.
    :ivar is_watched: whether somebody wants a snapshot of its figures.
    """

    options: ServerOptions
    places: tuple[tuple[str, bool], ...]
    access_log: str | None = None
    log_format: str = "text"
    is_watched: bool = False


@dataclass(frozen=True, slots=True)
class Resume:
    """
    An order: listen, on the sockets that come along, one for each place.

    :ivar backlogs: how many clients may wait in each one's queue; None where
        the queue is kept when the worker closes its socket.
    """

    backlogs: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Suspend:
    """An order: close the sockets, and serve the open connections on."""


@dataclass(frozen=True, slots=True)
class Reload:
    """An order: open the access log anew, and load the certificates again."""


@dataclass(frozen=True, slots=True)
class Ping:
    """An order: answer."""


@dataclass(frozen=True, slots=True)
class Tell:
    """An order: tell the figures."""


@dataclass(frozen=True, slots=True)
class Drain:
    """An order: drain, then end. It alone has no answer, but the end."""


@dataclass(frozen=True, slots=True)
class Done:
    """
    An answer: the order was carried out.

    :ivar error: why it was not; None if it was.
    :ivar figures: what :class:`Tell` asked for, by names.
    """

    error: str | None = None
    figures: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """
    Something for the log.

    :ivar event: as ``twisted.logger.eventAsJSON`` makes it.
    """

    event: str


Message = Serve | Resume | Suspend | Reload | Ping | Tell | Drain | Done | Said

KINDS: dict[str, Any] = {kind.__name__: kind for kind in get_args(Message)}


def encode(message: Message) -> bytes:
    """
    A message as a line, without its end.

    :raises TypeError: a value in it cannot leave the process.
    """
    return json.dumps([type(message).__name__, _values_of(message)], default=_plain).encode("ascii")


def decode(line: bytes) -> Message:
    """The message of a line, equal to the one that was encoded."""
    name, values = json.loads(line)
    match name:
        case "Serve":
            values["options"] = ServerOptions(**values["options"])
            values["places"] = tuple((description, is_tls) for description, is_tls in values["places"])
        case "Resume":
            values["backlogs"] = tuple(values["backlogs"])
    message: Message = KINDS[name](**values)
    return message


def _values_of(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _plain(value: object) -> Any:
    """What stands in JSON for a value that is not of its own kinds."""
    if isinstance(value, ServerOptions):
        return _values_of(value)
    if isinstance(value, (IPv4Network, IPv6Network)):
        return str(value)
    raise TypeError(f"{value!r} cannot be told to another process")


@implementer(IFileDescriptorReceiver)
class Pipe(LineOnlyReceiver):
    """
    One end of the pipe.

    :param received: called with each message, and the sockets that came with it.
    :param lost: called when the other end is gone.
    """

    delimiter = b"\n"
    MAX_LENGTH = MAX_LENGTH

    def __init__(
        self, received: Callable[[Message, list[socket.socket]], None], lost: Callable[[], None]
    ) -> None:
        self._received = received
        self._lost = lost
        self._descriptors: list[int] = []
        self._closed: Deferred[None] = Deferred()

    def send(self, message: Message, sockets: Iterable[socket.socket] = ()) -> None:
        """
        Send a message; to an end that is gone, nothing happens.

        :param sockets: for a Resume. They have to stay open until it is answered.
        """
        transport: Any = self.transport
        if transport is None or not transport.connected:
            return
        for one in sockets:
            transport.sendFileDescriptor(one.fileno())
        self.sendLine(encode(message))

    def close(self) -> Deferred[None]:
        """
        Close this end, when all has been sent.

        :returns: a Deferred that fires when it is closed.
        """
        transport: Any = self.transport
        transport.loseConnection()
        return self._closed

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """A socket has come, not later than its message; see ``IFileDescriptorReceiver``."""
        self._descriptors.append(descriptor)

    def lineReceived(self, line: bytes) -> None:
        """A message has come; see ``LineOnlyReceiver``."""
        message = decode(line)
        count = len(message.backlogs) if isinstance(message, Resume) else 0
        mine, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        self._received(message, [socket.socket(fileno=descriptor) for descriptor in mine])

    def connectionLost(self, reason: Failure | None = None) -> None:
        """The other end is gone; see ``IProtocol``."""
        self._closed.callback(None)
        self._lost()
