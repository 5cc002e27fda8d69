"""
The write path of a connection, and the stops on its reading.

A Twisted transport defers each write to the reactor's next poll. When nothing
is buffered, the socket can take the bytes at once, which halves the work for
each message. The rest of a write that the socket did not take whole goes the
ordinary way; until it is sent, the connection reads nothing, and further
writes wait here, where they can be counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet import tcp
from twisted.internet.interfaces import (
    IAddress,
    ILoggingContext,
    INegotiated,
    IPullProducer,
    IPushProducer,
    ISSLTransport,
    ISystemHandle,
    ITCPTransport,
    ITLSTransport,
    IUNIXTransport,
)
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.reflect import safe_repr
from zope.interface import implementer, providedBy

from .poller import Poller

__all__ = ["ConnectionTransport", "Stop"]

_log = Logger()

PLAIN_TRANSPORTS = (tcp.Server, tcp.Client)
"""The classes that send exactly the bytes they are given through ``socket.send``.
A subclass or a wrapper may do something to the bytes first (TLS does), and a
UNIX socket may have file descriptors to send along."""


try:
    from twisted.protocols import tls
except ImportError:  # without pyOpenSSL
    tls = None  # type: ignore[assignment]  # in a module's place


CHUNK = 64 * 1024
"""Bytes of what waits that are handed to Twisted's transport at a time: as much
as it buffers before it asks for a pause. More would be out of the count."""


class Owner(Protocol):
    """Whose transport it is."""

    @property
    def max_write_buffer(self) -> int:
        """Bytes that may wait for the peer."""

    def peer_is_too_slow(self) -> None:
        """More than that wait."""


class Stop:
    """Why a connection does not read: bits, so that several reasons cost no more than one."""

    PEER_IS_SLOW = 1  # what was written waits for the peer
    ACTOR_AWAITS = 2
    MAILBOX_IS_FULL = 4
    USER = 8  # transport.pauseProducing()
    END_OF_INPUT = 16  # there is nothing more to read, ever
    CLOSED = 32


@implementer(IPushProducer, IPullProducer)
class _Backpressure:
    """
    What is registered with the real transport, to hear when its buffer is full or empty.

    :param producer: the user's own, which hears of it too.
    """

    __slots__ = ("_connection", "_producer")

    def __init__(self, connection: ConnectionTransport, producer: Any = None) -> None:
        self._connection = connection
        self._producer = producer

    def pauseProducing(self) -> None:
        self._connection.filled()
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        if self._producer is None:
            self._connection.drained()
        else:
            # What waits may fill the transport again, and then the producer was told to pause just now.
            if self._connection.write_waiting():
                self._producer.resumeProducing()

    def stopProducing(self) -> None:
        # The connection is gone, which its protocol is about to hear itself; but Twisted would not tell it
        # if this raised.
        if self._producer is not None:
            try:
                self._producer.stopProducing()
            except Exception:
                _log.failure("{producer} could not be stopped", producer=safe_repr(self._producer))


class ConnectionTransport:
    """
    The transport that a connection actor sees.

    It has the methods and attributes of the Twisted transport; ``write`` is
    faster, and reading goes on when no :class:`Stop` is left. Writes keep their order.

    :ivar bytes_out: how much was written, but for what waits here.
    :ivar messages_out: in how many writes.
    :param transport: the Twisted transport, of any kind.
    :param owner: hears when too much waits; without one, there is no bound.
    :param poller: reads for it, if it or what is below its TLS is plain; without one, the reactor does.
    """

    __slots__ = (
        *("_at_once", "_closing", "_collects", "_is_full", "_owner", "_producing", "_send", "_stops"),
        *("_transport", "_users_producer", "_waiting", "bytes_out", "messages_out"),
    )

    def __init__(self, transport: Any, owner: Owner | None = None, poller: Poller | None = None) -> None:
        self._transport = transport
        self._collects = tls is not None and type(transport) is tls.BufferingTLSTransport
        self._owner = owner
        self._stops = 0
        self._users_producer = False
        self._producing = False  # our producer is registered
        self._closing = False
        self._is_full = False  # the real transport has all that it should hold
        self._waiting: bytearray | None = None  # what was written meanwhile
        self.bytes_out = self.messages_out = 0
        self._at_once = type(transport) in PLAIN_TRANSPORTS
        # How to write at once; None while something is ahead in the buffer.
        self._send: Callable[[bytes], int] | None = None
        if self._at_once:
            # An attribute of the class until startTLS; asked for each write, it is cheaper on the instance.
            transport.TLS = transport.TLS
            self._send = transport.socket.send
        else:
            self._register(streaming=True)
        if poller is not None:
            while isinstance(transport, ProtocolWrapper):
                transport = transport.transport  # what is read from is below TLS
            if type(transport) in PLAIN_TRANSPORTS:
                poller.take(transport)

    if TYPE_CHECKING:  # what is forwarded, below

        def __getattr__(self, name: str) -> Any: ...

    @property
    def __providedBy__(self) -> Any:  # what zope.interface asks for
        return providedBy(self._transport)

    def __repr__(self) -> str:
        return f"<ConnectionTransport of {self._transport!r}>"

    def write(self, data: bytes) -> None:
        """Write; see ``ITransport``."""
        send = self._send
        transport = self._transport
        # TLS is asked each time, because startTLS may come at any time, and
        # the socket would send clear text past it.
        if send is not None and not transport.TLS and isinstance(data, bytes):
            size = len(data)
            try:
                sent = send(data)
            except OSError:
                # Full, or broken; a broken one is reported by transport.write, in the ordinary way.
                sent = 0
            self.bytes_out += size
            self.messages_out += 1
            if sent != size:
                transport.write(data[sent:])
                self._send = None
                self.filled()
                self._register(streaming=False)
        elif self._is_full:
            self._wait(data)
        else:
            if not self._closing:  # what comes after our own end mostly goes nowhere
                self.bytes_out += len(data)
                self.messages_out += 1
            self._hand_over(data)
            if send is not None:
                self._no_longer_plain()

    def _hand_over(self, data: bytes) -> None:
        """Let the real transport send it, now or later."""
        if self._collects:
            # Twisted's TLS collects small writes until a timer of no time has run, which
            # costs more than it takes to encrypt one. This is its write without that; text
            # is refused by the sum, where OpenSSL would take it with a warning.
            tls.TLSMemoryBIOProtocol.write(self._transport, b"" + data)
        else:
            self._transport.write(data)

    def _wait(self, data: bytes) -> None:
        """Let a write wait until those before it are sent."""
        if self._waiting is None:
            self._waiting = bytearray()
        self._waiting += data
        if self._owner is not None and len(self._waiting) > self._owner.max_write_buffer:
            self._owner.peer_is_too_slow()

    def write_out(self) -> None:
        """Hand over what waits, however much the real transport holds: it will take nothing more."""
        if self._waiting:
            waiting, self._waiting = bytes(self._waiting), None
            self._hand_over(waiting)

    def _no_longer_plain(self) -> None:
        """Somebody has started TLS on the real transport."""
        self._leave_fast_path()
        self._register(streaming=True)

    def write_waiting(self) -> bool:
        """
        The real transport has room again: write what waits, and read again when all of it is written.

        :returns: whether there is room for more.
        """
        self._is_full = False
        while self._waiting and not self._is_full:
            chunk = bytes(self._waiting[:CHUNK])
            del self._waiting[:CHUNK]
            self.write(chunk)
        if self._is_full:
            return False
        self._waiting = None
        self.go_on_reading(Stop.PEER_IS_SLOW)
        return True

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write several pieces; see ``ITransport``."""
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let ``producer`` hear of the buffer; see ``IConsumer``. From now on all writes are buffered."""
        self._leave_fast_path()
        self._users_producer = True
        self._transport.registerProducer(_Backpressure(self, producer), streaming)

    def unregisterProducer(self) -> None:
        """The user's producer is done; see ``IConsumer``."""
        if self._users_producer:
            self._users_producer = False
            self._transport.unregisterProducer()
            self._register(streaming=True)
            self.write_waiting()

    def startTLS(self, *args: Any) -> Any:
        """Encrypt what is written from now on, and nothing that was written before; see ``ITLSTransport``."""
        self._leave_fast_path()
        try:
            return self._transport.startTLS(*args)
        finally:
            self._register(streaming=True)
            self.go_on_reading(Stop.ACTOR_AWAITS)  # a handshake has to be read, also while the actor awaits

    def loseConnection(self) -> None:
        """Close after what was written is sent; see ``ITransport``."""
        # A transport whose producer is still registered never closes.
        self._closing = True
        self._leave_fast_path()
        self._transport.loseConnection()

    stopProducing = loseConnection

    def loseWriteConnection(self) -> None:
        """Send no more after what was written; see ``IHalfCloseableDescriptor``."""
        self._closing = True
        self._leave_fast_path()
        self._transport.loseWriteConnection()

    def abortConnection(self) -> None:
        """Close at once; see ``ITCPTransport``."""
        self._closing = True
        self._waiting = None
        self.input_ended()
        self._leave_fast_path()
        abort = getattr(self._transport, "abortConnection", None)
        (abort or self._transport.loseConnection)()

    def getPeer(self) -> IAddress | None:
        """Who is at the other end; None for a pipe or a serial port. See ``ITransport``."""
        try:
            peer: IAddress = self._transport.getPeer()
        except NotImplementedError:  # what Twisted's own for these raise
            return None
        return peer

    def pauseProducing(self) -> None:
        """Read no more for now; see ``IPushProducer``."""
        self.stop_reading(Stop.USER)

    def resumeProducing(self) -> None:
        """Read again; see ``IPushProducer``."""
        self.go_on_reading(Stop.USER)

    def stop_reading(self, reason: int) -> None:
        """Stop reading, for one more reason."""
        if not self._stops:
            self._transport.pauseProducing()
        self._stops |= reason

    def go_on_reading(self, reason: int) -> None:
        """Drop one reason, or several; read again if no other is left."""
        if self._stops & reason:
            self._stops &= ~reason
            if not self._stops:
                self._transport.resumeProducing()

    def is_held_back(self) -> bool:
        """Whether it is this side alone that keeps the peer from being heard."""
        return bool(self._stops & (Stop.ACTOR_AWAITS | Stop.MAILBOX_IS_FULL | Stop.USER))

    def input_ended(self) -> None:
        """The peer has sent all. Reading again would bring the same end again."""
        self._stops |= Stop.END_OF_INPUT

    @property
    def is_closed(self) -> bool:
        """Whether the connection is gone."""
        return bool(self._stops & Stop.CLOSED)

    def closed(self) -> None:
        """Note that the connection is gone."""
        self._stops |= Stop.CLOSED
        self._closing = True
        self._producing = False
        self._waiting = None
        self._owner = None
        self._leave_fast_path()

    def _register(self, streaming: bool) -> None:
        """Hear of the buffer, unless the transport is closing: it would wait for our producer for ever."""
        if not (self._closing or self._users_producer):  # the user's own hears of it, and passes it on
            self._transport.registerProducer(_Backpressure(self), streaming)
            self._producing = True

    def in_handshake(self) -> bool:
        """Whether TLS has to read before it can write."""
        if not ISSLTransport.providedBy(self._transport):
            return False
        tls = self.getHandle()  # None once the connection is gone
        return tls is None or tls.get_peer_finished() is None or tls.get_finished() is None

    def filled(self) -> None:
        """The real transport holds enough: let the peer read first."""
        self._is_full = True
        # TLS also pauses what is written before its handshake is over; to stop
        # reading then would be to wait for ever.
        if not self.in_handshake():
            self.stop_reading(Stop.PEER_IS_SLOW)

    def drained(self) -> None:
        """All that was buffered is sent."""
        # A pull producer is also asked when it is registered, before anything is sent.
        if not self._producing:
            return
        # Also where the producer comes back at once: TLS closes its transport by
        # itself when the peer does, and that would wait for the producer for ever.
        self._producing = False
        self._transport.unregisterProducer()
        if self._at_once:
            self._send = self._transport.socket.send
        else:
            self._register(streaming=True)
        self.write_waiting()

    def _leave_fast_path(self) -> None:
        """Hand the real transport over as Twisted has it: no producer of ours, nothing past its buffer."""
        self._at_once = False
        self._send = None
        if self._producing:
            self._producing = False
            self._transport.unregisterProducer()
        self._is_full = False
        self.go_on_reading(Stop.PEER_IS_SLOW)
        self.write_out()


FORWARDED = (
    *(ITCPTransport, ITLSTransport, ISSLTransport, INegotiated, IUNIXTransport),
    *(ISystemHandle, ILoggingContext),
)
"""Interfaces of Twisted's transports."""

ALSO_FORWARDED = (
    "TLS client connected disconnected disconnecting fileno hostname protocol reactor socket".split()
)
"""What is in none of them, and used by protocols all the same."""


def _forwarded(name: str) -> property:
    return property(lambda self: getattr(self._transport, name), doc=f"``{name}`` of the real transport.")


# One by one. A ``__getattr__`` would be less to write, but with one, Python finds every attribute
# of the class in a slower way: half as slow again, for a small message.
for _name in (*ALSO_FORWARDED, *(_name for _interface in FORWARDED for _name in _interface)):
    if not hasattr(ConnectionTransport, _name):
        setattr(ConnectionTransport, _name, _forwarded(_name))
