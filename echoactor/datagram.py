"""
The echo of datagrams (RFC 862), which answers nobody who did not ask.

The source of a datagram is easily forged, and an answer to another echo server
comes back, for ever (CVE-1999-0103, CVE-2024-2169). So some are never answered,
and none more often than a client needs.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter, OrderedDict
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from twisted.application.service import Service
from twisted.internet import udp
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from .errors import ListenError
from .listening import cause_of
from .networks import Host, Networks, host_of_text
from .options import ServerOptions

__all__ = ["DatagramEcho", "Rates"]

_log = Logger()

MAX_SIZE = 65_535
"""Bytes that a datagram may have; Twisted would cut them at 8,192."""

FIRST_PORT = 1024
"""Below it are services, some of which answer whatever they get."""

RATE = 100.0
"""Datagrams a second that one source gets answers to, after a burst of as many:
a hundred times what a check of the network sends, and too little to make use of."""

TOTAL_RATE = 10_000.0
"""The same for all sources together: a forger has as many sources as he likes."""

SOURCES = 10_000
"""Sources whose rate is remembered, in 3 MB; those longest unheard of are
forgotten first. Who overflows it with forged ones is held by the total rate."""

REPORT = 10.0
"""Seconds from one log line about unanswered datagrams to the next."""

BROADCAST = IPv4Address("255.255.255.255")

ANCILLARY = socket.CMSG_SPACE(12) + socket.CMSG_SPACE(20)
"""Bytes that the kernel needs to say where a datagram was sent to."""

IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)  # Python names it since 3.12; 8 on Linux


class Rates:
    """
    Token buckets for sources.

    :param rate: datagrams a second for one source; a burst has as many.
    :param total: for all of them together.
    :param sources: how many are remembered.
    """

    def __init__(self, rate: float = RATE, total: float = TOTAL_RATE, sources: int = SOURCES) -> None:
        self._rate = rate
        self._sources = sources
        self._total_rate = total
        self._total = (total, 0.0)
        self._buckets: OrderedDict[object, tuple[float, float]] = OrderedDict()

    def take(self, source: Host, now: float) -> bool:
        """
        Take a token.

        :param now: in seconds.
        :returns: False when none is left.
        """
        # One who has an IPv6 address mostly has all of a /64.
        key: object = source if isinstance(source, IPv4Address) else int(source) >> 64
        bucket = _filled(self._buckets.pop(key, (self._rate, now)), self._rate, now)
        total = _filled(self._total, self._total_rate, now)
        is_allowed = bucket >= 1 and total >= 1
        self._buckets[key] = (bucket - is_allowed, now)
        self._total = (total - is_allowed, now)
        if len(self._buckets) > self._sources:
            self._buckets.popitem(last=False)
        return is_allowed


def _filled(bucket: tuple[float, float], rate: float, now: float) -> float:
    tokens, then = bucket
    return min(rate, tokens + (now - then) * rate)


class _Judge:
    """Says which datagrams are answered, and now and then how many were not."""

    def __init__(self, reactor: Any, options: ServerOptions) -> None:
        self._reactor = reactor
        self._allow = Networks(options.allow)
        self._deny = Networks(options.deny)
        self._rates = Rates()
        self._unanswered: Counter[str] = Counter()
        self._report: Any = None

    def answers(self, host: str, port: int, own_port: int, is_to_many: bool) -> bool:
        """Whether a datagram from there is answered."""
        why = self._why_not(host_of_text(host), port, own_port, is_to_many)
        if why is not None:
            self.leave_unanswered(why)
        return why is None

    def _why_not(self, source: Host, port: int, own_port: int, is_to_many: bool) -> str | None:
        if port < FIRST_PORT:
            return "from the port of a service"
        if port == own_port:
            return "from the port of an echo server"
        if source.is_multicast or source.is_unspecified or source == BROADCAST:
            return "from nobody's address"
        if is_to_many:
            return "sent to many"
        if self._deny.covers(source) or (self._allow and not self._allow.covers(source)):
            return "from a denied address"
        if not self._rates.take(source, self._reactor.seconds()):
            return "too many"
        return None

    def leave_unanswered(self, why: str) -> None:
        """Count one."""
        self._unanswered[why] += 1
        if self._report is None:
            self._report = self._reactor.callLater(REPORT, self._tell)

    def _tell(self) -> None:
        self._report = None
        counts = ", ".join(f"{count} {why}" for why, count in sorted(self._unanswered.items()))
        self._unanswered.clear()
        _log.info("datagrams left unanswered: {counts}", counts=counts)

    def stop(self) -> None:
        """Tell the rest."""
        if self._report is not None:
            self._report.cancel()
            self._tell()


class _Port(udp.Port):
    """A port that knows which of this host's addresses a datagram was sent to, and answers from that one."""

    judge: _Judge

    def startListening(self) -> None:
        super().startListening()
        if self.addressFamily == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self.socket.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)

    def doRead(self) -> None:
        """Answer what waits, so much in a turn of the reactor."""
        read = 0
        while read < self.maxThroughput:
            try:
                data, ancillary, _, sender = self.socket.recvmsg(MAX_SIZE, ANCILLARY)
            except OSError:
                return  # nothing is left, or an earlier answer found nobody
            read += len(data) + 100  # empty ones are work, too
            is_to_many, origin = _receiver(ancillary)
            if self.judge.answers(sender[0], sender[1], self._realPortNumber or 0, is_to_many):
                try:
                    self.socket.sendmsg([data], origin, 0, sender)
                except OSError as error:
                    self.judge.leave_unanswered(f"could not be sent ({error.strerror})")


def _receiver(ancillary: list[tuple[int, int, bytes]]) -> tuple[bool, list[tuple[int, int, bytes]]]:
    """Whether a datagram was sent to many, and what makes the answer come from where it was sent to."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            _, local, receiver = struct.unpack("=I4s4s", data)
            # They differ for a broadcast or multicast, which is no address to answer from.
            return local != receiver, [(level, kind, struct.pack("=I4s4s", 0, local, bytes(4)))]
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            return IPv6Address(data[:16]).is_multicast, [(level, kind, data)]
    return False, []


class DatagramEcho(Service):
    """
    Sends datagrams back while it runs. Its port is open when
    ``privilegedStartService`` or ``startService`` returns.

    :param reactor: an ``IReactorFDSet`` and ``IReactorTime``.
    :param port: its number; 0 takes any free one.
    :param options: ``interface``, ``allow`` and ``deny`` of these apply.
    """

    def __init__(self, reactor: Any, port: int, options: ServerOptions) -> None:
        self._reactor = reactor
        self._number = port
        self._options = options
        self.port: _Port | None = None

    def privilegedStartService(self) -> None:
        """
        Open the port.

        :raises ListenError: it cannot be opened; the text says why.
        """
        super().privilegedStartService()
        self._open()

    def startService(self) -> None:
        """Open the port, unless it is open; see :meth:`privilegedStartService`."""
        super().startService()
        self._open()

    def stopService(self) -> Deferred[Any]:
        """
        Close the port.

        :returns: a Deferred that fires when it is closed.
        """
        super().stopService()
        port, self.port = self.port, None
        if port is None:
            return succeed(None)
        port.judge.stop()
        return maybeDeferred(port.stopListening)

    def _open(self) -> None:
        if self.port is not None:
            return
        port = _Port(self._number, _Nobody(), self._options.interface, MAX_SIZE, self._reactor)
        port.judge = _Judge(self._reactor, self._options)
        try:
            port.startListening()
        except (CannotListenError, OSError) as error:
            raise ListenError(f"cannot listen on udp:{self._number}: {cause_of(Failure(error))}") from None
        self.port = port
        _log.info("listening on {address} (udp:{number})", address=str(port.getHost()), number=self._number)


class _Nobody(DatagramProtocol):
    """Stands where a port wants a protocol; the port answers itself."""

    noisy = False
