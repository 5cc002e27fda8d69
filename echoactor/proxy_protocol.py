"""
The PROXY protocol, versions 1 and 2: a proxy in front says who the client is.

Source: HAProxy's specification, ``doc/proxy-protocol.txt``, of 2020.
"""

from __future__ import annotations

import re
import socket
import struct
from ipaddress import IPv4Address as IPv4, IPv6Address as IPv6, ip_address
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from .networks import Networks, host_of
from .protocol import ActorFactory, Refused
from .timers import Timer

__all__ = ["BadHeader", "Header", "ProxyProtocolFactory", "parse_header"]

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

MAX_V1 = 107
"""Bytes of the longest line, with its end; the specification's number."""

MAX_V2 = 16 + 4096
"""Bytes of the longest header that is taken. It may be 64 KiB by its length field;
addresses need 232, and what proxies add (a server name, certificate fields)
some hundred more. A bound keeps strangers from filling the memory."""

LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?"
    rb"|(TCP[46]) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (0|[1-9]\d*) (0|[1-9]\d*))\r\n"
)

SHOWN = 40
"""Bytes of a wrong header that are shown."""


class BadHeader(Exception):
    """What came is no PROXY header; the text says why, escaped and short."""


class Header(NamedTuple):
    """
    What a header says.

    :ivar size: its bytes; what comes after them is the client's.
    :ivar source: the client; None if the connection is the proxy's own, or it does not tell.
    :ivar destination: where the client connected to; None likewise.
    """

    size: int
    source: IAddress | None = None
    destination: IAddress | None = None


def parse_header(data: bytes) -> Header | None:
    """
    Read a header.

    :param data: all bytes that have come so far.
    :returns: None if more bytes are needed.
    :raises BadHeader: ``data`` is not the beginning of a header.
    """
    if data.startswith(SIGNATURE):
        return _parse_v2(data)
    if SIGNATURE.startswith(data):
        return None
    return _parse_v1(data)


def _parse_v1(data: bytes) -> Header | None:
    prefix = b"PROXY "
    if data[: len(prefix)] != prefix[: len(data)]:
        raise _bad("no PROXY header", data)
    end = data.find(b"\r\n", 0, MAX_V1) + 2
    if end == 1:  # not found
        if len(data) >= MAX_V1 or b"\n" in data:
            raise _bad("a line without an end", data)
        return None
    line = LINE.fullmatch(data[:end])
    if line is None:
        raise _bad("a malformed line", data[:end])
    if line[1] is None:
        return Header(end)
    hosts = [_host(text.decode(), line[1] == b"TCP4") for text in line.group(2, 3)]
    ports = [int(text) for text in line.group(4, 5)]
    if None in hosts or max(ports) > 65535:
        raise _bad("a malformed address", data[:end])
    source, destination = (_address(host, port) for host, port in zip(hosts, ports, strict=True))
    return Header(end, source, destination)


def _parse_v2(data: bytes) -> Header | None:
    if len(data) < 16:
        return None
    version_and_command, family_and_kind, length = struct.unpack_from("!BBH", data, 12)
    size = 16 + length
    if version_and_command not in (0x20, 0x21):
        raise _bad("an unknown version or command", data[12:16])
    if size > MAX_V2:
        raise _bad(f"a header of {size} bytes, more than {MAX_V2}", data[12:16])
    if len(data) < size:
        return None
    family, kind = divmod(family_and_kind, 16)
    # What this receiver does not know it has to skip, and go by the connection itself.
    if version_and_command == 0x20 or kind != 1 or family not in (1, 2, 3):
        return Header(size)
    needed = {1: 12, 2: 36, 3: 216}[family]
    if length < needed:
        raise _bad("addresses cut short", data[12:16])
    block = data[16 : 16 + needed]
    if family == 3:
        return Header(size, *(UNIXAddress(path.rstrip(b"\0") or None) for path in (block[:108], block[108:])))
    width = 4 if family == 1 else 16
    kind_of_host = socket.AF_INET if family == 1 else socket.AF_INET6
    hosts = [ip_address(socket.inet_ntop(kind_of_host, block[at : at + width])) for at in (0, width)]
    ports = struct.unpack("!HH", block[2 * width :])
    source, destination = (_address(host, port) for host, port in zip(hosts, ports, strict=True))
    return Header(size, source, destination)


def _host(text: str, is_v4: bool) -> IPv4 | IPv6 | None:
    try:
        return IPv4(text) if is_v4 else IPv6(text)
    except ValueError:
        return None


def _address(host: IPv4 | IPv6 | None, port: int) -> IAddress:
    kind = IPv4Address if isinstance(host, IPv4) else IPv6Address
    return kind("TCP", str(host), port)


def _bad(what: str, data: bytes) -> BadHeader:
    return BadHeader(f"{what}: {data[:SHOWN]!r}")


class ProxyProtocolFactory(Factory):
    """
    Lets each connection begin with a header, and hands it over after that.

    Only ``trusted_proxies`` may connect, and whoever may open a UNIX socket.

    :param inner: makes the protocols of the clients.
    :param connections: counts them; its options say who is trusted, and how long a header may take.
    """

    noisy = False

    def __init__(self, inner: IProtocolFactory, connections: ActorFactory) -> None:
        self.inner = inner
        self.connections = connections
        self._trusted = Networks(connections.options.trusted_proxies)

    def doStart(self) -> None:
        """A port was opened; see ``IProtocolFactory``."""
        self.inner.doStart()

    def doStop(self) -> None:
        """A port was closed; see ``IProtocolFactory``."""
        self.inner.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Make the protocol that waits for the header."""
        host = host_of(addr)
        waiting = _Waiting(self.inner, self.connections)
        why: str | None = "it is no trusted proxy"
        if host is None or self._trusted.covers(host):
            why = self.connections.enter(waiting)
        if why is not None:
            self.connections.refused(addr, why)
            return Refused()
        return waiting


@implementer(IHalfCloseableProtocol)
class _Waiting(Protocol):
    """A connection that waits for its header."""

    transport: Any

    def __init__(self, inner: IProtocolFactory, connections: ActorFactory) -> None:
        self._inner = inner
        self._connections = connections
        self._data = b""
        self._deadline: Timer | None = None
        self._is_over = False

    def connectionMade(self) -> None:
        """The time for the header begins."""
        timers, time = self._connections.system.timers, self._connections.options.handshake_timeout
        self._deadline = timers.schedule(time, lambda: self.abort("handshake timeout"))

    def abort(self, why: str) -> None:
        """Close it at once."""
        if not self._is_over:
            self._leave()
            self._connections.refused(self.transport.getPeer(), why)
            Refused().makeConnection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Some of the header has come, perhaps with what is after it."""
        if self._is_over:
            return
        self._data += data
        try:
            header = parse_header(self._data)
        except BadHeader as error:
            self.abort(f"bad header: {error}")
            return
        if header is not None:
            self._hand_over(header)

    def readConnectionLost(self) -> None:
        """The header will not come any more."""
        self.abort("bad header: none before the end of input")

    def writeConnectionLost(self) -> None:
        """Nothing is written here."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, without a header."""
        if not self._is_over:
            self._leave()

    def _leave(self) -> None:
        self._is_over = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._connections.leave(self)

    def _hand_over(self, header: Header) -> None:
        """Let the client's protocol take this one's place, as if it had been there from the start."""
        transport = self.transport
        # Set on the one transport: everything above, TLS too, asks it and gets the
        # real client, and its class remains the one that bytes are written to at once.
        if header.source is not None:
            transport.getPeer = lambda: header.source
            transport.getHost = lambda: header.destination
        inner: Any
        with self._connections.gate.exchange():  # else a drain would be over, if this one was the last
            self._leave()
            inner = self._inner.buildProtocol(transport.getPeer())
        holder = "wrappedProtocol" if hasattr(transport, "wrappedProtocol") else "protocol"
        setattr(transport, holder, inner)
        inner.makeConnection(transport)
        rest = self._data[header.size :]
        if rest:
            inner.dataReceived(rest)
