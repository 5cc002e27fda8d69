"""The actor behind a connection: between the reactor, which calls at any time, and ``receive``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport
from twisted.python.failure import Failure

from .actor import Actor
from .cell import DOOMED
from .dynamic_supervisor import Adopt
from .events import ConnectionClosed, ConnectionOpened, ConnectionReady
from .messages import EndOfInput, Shutdown, is_error
from .specs import ChildSpec
from .styles import CallbackCell
from .text import reasons_of_openssl
from .timers import Timer
from .transport import ConnectionTransport, Stop

if TYPE_CHECKING:
    from .protocol import ActorFactory, ActorProtocol

__all__ = ["Connection"]

CONNECTION = ChildSpec(Actor, id="connection", restart="temporary")
"""What a supervisor knows of a connection. It is never started by its spec: its peer did that."""


MAILBOX_LIMIT = 64 * 1024
"""Bytes from the peer that may wait in the mailbox; with more, reading stops.
One read of Twisted's is as large, so reading stops after one or two."""

LOOKS = 4
"""How often in an idle timeout a connection is looked at. Looking now and then
costs a message nothing but a flag, where to arm a timer anew would cost it
more than all the rest; so a connection is closed up to a quarter late."""


class _FromPeer:
    """
    What the reactor handed over, when it has to wait in the mailbox.

    A class of the runtime's own, because bare bytes in the mailbox could come
    from any actor, and must not pass as what the peer sent.
    """

    __slots__ = ("argument", "handle", "size")

    def __init__(self, handle: Callable[[Any], Any], argument: object, size: int) -> None:
        self.handle = handle
        self.argument = argument
        self.size = size


class _ConnectionCell(CallbackCell):
    """The cell of an actor that holds more than a mailbox: a transport."""

    __slots__ = ()
    actor: Connection

    @property
    def kind(self) -> str:
        return self.actor.kind

    def await_begins(self) -> None:
        # In a handshake, reading goes on: its time limit is for the peer, not for what the actor awaits.
        if not self.actor.transport.in_handshake():
            self.actor.transport.stop_reading(Stop.ACTOR_AWAITS)

    def await_ends(self) -> None:
        self.actor.transport.go_on_reading(Stop.ACTOR_AWAITS)

    def release(self, reason: object) -> None:
        try:
            super().release(reason)
        finally:
            self.actor.close(reason)


class Connection(Actor):
    """
    The actor behind an :class:`ActorProtocol`: it stands between the reactor,
    which calls the protocol at any time, and the user's ``receive``, which
    wants one message at a time.
    """

    __slots__ = ("_deadline", "_factory", "_looks", "_protocol", "_seen", "_unread", "_why", "transport")
    _actor_cell: _ConnectionCell

    def __init__(self, factory: ActorFactory, protocol: ActorProtocol, transport: Any) -> None:
        self._factory = factory
        self._protocol = protocol
        self.transport = ConnectionTransport(transport, self, factory.poller)
        self._unread = 0  # bytes in the mailbox
        self._looks = 0  # since the client sent something
        self._seen = 0  # bytes from the client, at the last look
        self._deadline: Timer | None = None
        self._why: str | None = None  # it was aborted from this side
        protocol._actor_cell = factory.system.adopt(self, _ConnectionCell)
        if factory.supervisor is not None:
            self._actor_cell.parent = factory.supervisor
            self.link(factory.supervisor)
            factory.supervisor.send(Adopt(self.address, CONNECTION))
        factory.opened(self)
        if self.transport.in_handshake():
            self._limit(factory.options.handshake_timeout, "handshake timeout")
        else:
            self._watch_idleness()

    @property
    def messages_in(self) -> int:
        """What its actor has taken so far, reads mostly, without its first step."""
        return max(0, self._actor_cell.handled - 1)

    @property
    def kind(self) -> str:
        """The name of its protocol's class."""
        return type(self._protocol).__qualname__

    @property
    def bytes_in(self) -> int:
        """How much the client has sent."""
        return self._protocol._bytes_in

    @property
    def bytes_out(self) -> int:
        """How much was written to it."""
        return self.transport.bytes_out

    @property
    def messages_out(self) -> int:
        """In how many writes."""
        return self.transport.messages_out

    # From the reactor

    def begin(self) -> None:
        """Have its first step, ahead of what was sent to it already."""
        cell = self._actor_cell
        if cell.arrived is not None or cell.life is DOOMED:
            cell.arrived = [_FromPeer(self.made, None, 0), *(cell.arrived or ())]
            cell.begin()
        else:
            cell.begin()
            self.take_in(self.made, None)

    def take_in(self, handle: Callable[[Any], Any], argument: object) -> None:
        """Handle at once if nothing is ahead, else queue."""
        if not self._actor_cell.handle_now(handle, argument):
            self.queue(handle, argument, 0)

    def queue(self, handle: Callable[[Any], Any], argument: object, size: int) -> None:
        """Let it wait in the mailbox; too many bytes there stop the reading."""
        if not self.system.is_alive(self.address):
            return  # it has ended and closes; what still comes in is nobody's
        self.address.send(_FromPeer(handle, argument, size))
        self._unread += size
        if self._unread > MAILBOX_LIMIT:
            self.transport.stop_reading(Stop.MAILBOX_IS_FULL)

    def made(self, _: object) -> Any:
        """Its first step."""
        events = self.system.events
        if ConnectionOpened in events:
            events.emit(ConnectionOpened(self.address, self.transport.getPeer()))
        if not self.transport.in_handshake():
            self._tell_ready()
        result = self._protocol.connectionMade()
        if hasattr(result, "__await__"):
            return self._started_after(result)
        self._actor_cell.has_started()
        return None

    async def _started_after(self, starting: Awaitable[Any]) -> None:
        await starting
        self._actor_cell.has_started()

    def ready(self) -> None:
        """The handshake is over: its deadline ends, and those who listen hear of it."""
        self._watch_idleness()
        self._tell_ready()
        if self._actor_cell.coroutine is not None:
            self._actor_cell.await_begins()

    def _tell_ready(self) -> None:
        events = self.system.events
        if ConnectionReady in events:
            peer = self.transport.getPeer()
            events.emit(ConnectionReady(self.address, peer, _tls_version(self.transport)))

    def _watch_idleness(self) -> None:
        """Come back for the next look at whether the client sends something."""
        idle_timeout = self._factory.options.idle_timeout
        if not self.system.is_alive(self.address):
            return  # it closes, and has another deadline
        if idle_timeout is None:
            self._set_deadline(None)
        else:
            self._set_deadline(self.system.timers.schedule(idle_timeout / LOOKS, self._look))

    def _look(self) -> None:
        """Look whether the client has sent something since the last look."""
        bytes_in = self.bytes_in
        if bytes_in != self._seen or self.transport.is_held_back():
            self._seen = bytes_in
            self._looks = 0
        else:
            self._looks += 1
        if self._looks < LOOKS:
            self._watch_idleness()
        else:
            self._why = "idle timeout"
            self.take_in(self.exit, Shutdown(self._why))

    def end_of_input(self, message: EndOfInput) -> Any:
        """The peer has sent all: tell the protocol, then flush and close unless it wants to go on."""
        result = self._protocol.receive(message)
        if self._protocol.allow_half_open:
            return result
        if hasattr(result, "__await__"):
            return self._exit_after(result)
        self.exit("normal")

    async def _exit_after(self, result: Any) -> None:
        await result
        self.exit("normal")

    def closed(self, reason: Failure) -> None:
        """The transport is gone, now."""
        self.transport.closed()
        self._set_deadline(None)
        exit_reason: object = "normal"
        if self._why is not None:
            exit_reason = Shutdown(self._why)
        elif not reason.check(ConnectionDone):
            exit_reason = Shutdown(_in_words(reason.value))
        # One after the other, whatever happens: a listener, or a terminate, may let SystemExit out.
        try:
            self._tell_closed(exit_reason)
        finally:
            try:
                self.take_in(self.exit, exit_reason)
            finally:
                self._factory.gate.leave(self._protocol._came_from)
                self._factory.ended(self)

    def _tell_closed(self, reason: object) -> None:
        events = self.system.events
        if ConnectionClosed in events:
            events.emit(
                ConnectionClosed(
                    self.address,
                    self.transport.getPeer(),
                    reason,
                    tls=_tls_version(self.transport),
                    bytes_in=self.bytes_in,
                    bytes_out=self.bytes_out,
                    messages_in=self.messages_in,
                    messages_out=self.messages_out,
                    duration=self.system.reactor.seconds() - (self._actor_cell.born or 0.0),
                )
            )

    # From the runtime

    def receive(self, message: object) -> Any:
        if type(message) is _FromPeer:
            self._unread -= message.size
            if self._unread <= MAILBOX_LIMIT:
                self.transport.go_on_reading(Stop.MAILBOX_IS_FULL)
            return message.handle(message.argument)
        if isinstance(message, (bytes, EndOfInput)):  # forged: the peer's come as _FromPeer
            self.system.dead_letter(self.address, message)
            return None
        return self._protocol.receive(message)

    def terminate(self, reason: object) -> Any:
        return self._protocol.terminate(reason)

    def close(self, reason: object) -> None:
        """The actor has ended, for whatever reason: close the transport, if it is not the reason."""
        if self.transport.is_closed:
            return
        if is_error(reason):
            self.transport.abortConnection()
            return
        # A peer that never reads must not keep the socket for ever.
        self._limit(self._factory.options.close_timeout, "close timeout")
        # TLS closes when it has read the peer's consent; what else comes is dropped.
        self.transport.go_on_reading(Stop.ACTOR_AWAITS | Stop.MAILBOX_IS_FULL | Stop.USER)
        self.transport.loseConnection()

    def abort(self, why: str) -> None:
        """Close at once; ``why`` is the detail of its exit reason."""
        self._why = self._why or why
        self.transport.abortConnection()

    # From the transport

    @property
    def max_write_buffer(self) -> int:
        return self._factory.options.max_write_buffer

    def peer_is_too_slow(self) -> None:
        self.abort("slow consumer")

    # Deadlines: a handshake, then idleness, then the close; one at a time

    def _limit(self, seconds: float, why: str) -> None:
        self._set_deadline(self.system.timers.schedule(seconds, lambda: self.abort(why)))

    def _set_deadline(self, deadline: Timer | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = deadline


def _tls_version(transport: ConnectionTransport) -> str | None:
    """Such as ``TLSv1.3``; None without TLS, or before its handshake is done."""
    if not ISSLTransport.providedBy(transport) or transport.in_handshake():
        return None
    version: str = transport.getHandle().get_protocol_version_name()
    return version


def _in_words(error: Any) -> str:
    """What ended a connection."""
    reasons = reasons_of_openssl(error)
    return f"TLS: {reasons}" if reasons else str(error)
