"""A connection is an actor: what the peer sends is messages, and its end is the actor's end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol as PythonProtocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from .actor import Actor
from .address import Address
from .dynamic_supervisor import Adopt, DynamicSupervisor
from .events import ConnectionClosed, ConnectionOpened, ConnectionRefused
from .gate import Gate
from .messages import EndOfInput, Shutdown, is_error
from .options import ServerOptions
from .specs import ChildSpec
from .styles import CallbackCell
from .system import ActorSystem
from .timers import Timer
from .transport import ConnectionTransport, Stop

__all__ = ["ActorFactory", "ActorProtocol", "ConnectionSupervisor"]

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
    actor: _Connection

    @property
    def kind(self) -> str:
        return self.actor.kind

    def await_begins(self) -> None:
        self.actor.transport.stop_reading(Stop.ACTOR_AWAITS)

    def await_ends(self) -> None:
        self.actor.transport.go_on_reading(Stop.ACTOR_AWAITS)

    def release(self, reason: object) -> None:
        try:
            super().release(reason)
        finally:
            self.actor.close(reason)


class _Connection(Actor):
    """
    The actor behind an :class:`ActorProtocol`: it stands between the reactor,
    which calls the protocol at any time, and the user's ``receive``, which
    wants one message at a time.
    """

    __slots__ = ("_deadline", "_factory", "_looks", "_protocol", "_unread", "_why", "transport")
    _actor_cell: _ConnectionCell

    def __init__(self, factory: ActorFactory, protocol: ActorProtocol, transport: Any) -> None:
        self._factory = factory
        self._protocol = protocol
        self.transport = ConnectionTransport(transport, self)
        self._unread = 0  # bytes in the mailbox
        self._looks = 0  # since the client sent something
        self._deadline: Timer | None = None
        self._why: str | None = None  # it was aborted from this side
        protocol._actor_cell = factory.system.adopt(self, _ConnectionCell)
        if factory.supervisor is not None:
            self.link(factory.supervisor)
            factory.supervisor.send(Adopt(self.address, CONNECTION))
        factory.opened(self)
        if self.transport.in_handshake():
            self._limit(factory.options.handshake_timeout, "handshake timeout")
        else:
            self.is_ready()

    @property
    def kind(self) -> str:
        """The name of its protocol's class."""
        return type(self._protocol).__qualname__

    # From the reactor

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
        return self._protocol.connectionMade()

    def is_ready(self) -> None:
        """No handshake is to be waited for any more."""
        idle_timeout = self._factory.options.idle_timeout
        if not self.system.is_alive(self.address):
            return  # it closes, and has another deadline
        if idle_timeout is None:
            self._set_deadline(None)
        else:
            self._set_deadline(self.system.timers.schedule(idle_timeout / LOOKS, self._look))

    def _look(self) -> None:
        """Look whether the client has sent something since the last look."""
        protocol = self._protocol
        if protocol._heard or self.transport.is_held_back():
            protocol._heard = False
            self._looks = 0
        else:
            self._looks += 1
        if self._looks < LOOKS:
            self.is_ready()
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
        events = self.system.events
        if ConnectionClosed in events:
            events.emit(ConnectionClosed(self.address, self.transport.getPeer(), exit_reason))
        self.take_in(self.exit, exit_reason)
        self._factory.gate.leave(self.transport.getPeer())
        self._factory.ended(self)

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


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class ActorProtocol(Actor, Protocol):
    """
    A connection that is an actor; a subclass writes ``receive``.

    1. ``connectionMade()`` is its first step.
    2. ``receive(message)`` gets ``bytes`` as the peer sends them. Other
       messages are from other actors, who have ``self.address``; bytes and
       ``EndOfInput`` from them would pass for the peer's, and are dead letters.
    3. ``receive(EndOfInput())`` says that the peer will send nothing more.
       After it, what was written is sent and the connection closed.
    4. The actor's end closes the connection: after ``normal`` and
       ``shutdown``, what was written is sent first; after a crash or a kill, not.
    5. The connection's end is the actor's end, after all bytes that came were
       handled: ``normal`` after a clean close, else ``Shutdown(detail)``.

    While ``receive`` awaits, or too many bytes wait, or the peer does not read
    what was written, nothing is read from the peer.

    ``connectionMade`` is what ``started`` is for other actors: it may be a coroutine function.

    :cvar allow_half_open: whether the connection stays open after
        ``EndOfInput``; ``self.exit()`` then closes it.
    :ivar transport: the Twisted transport. Its ``write`` may be used from
        this actor's own steps; other actors send a message.
    """

    allow_half_open = False
    _is_actor_class = False  # its factory makes it, and no spawn
    _actor_cell: CallbackCell
    _heard = False  # the peer has sent something since this was last looked at
    __connection: _Connection

    def receive(self, message: Any) -> Any:
        """Handle one message; see :meth:`Actor.receive <echoactor.Actor.receive>`."""
        raise NotImplementedError(f"{type(self).__qualname__} needs a method receive(self, message)")

    # What Twisted calls, and a subclass leaves alone.

    def makeConnection(self, transport: Any) -> None:
        """Become an actor; see ``IProtocol``."""
        if not isinstance(self.factory, ActorFactory):
            made_by = f"made by an ActorFactory, not by {self.factory!r}"
            raise TypeError(f"{type(self).__qualname__} must be {made_by}")
        self.connected = 1
        self.__connection = _Connection(self.factory, self, transport)
        self.transport: Any = self.__connection.transport
        if hasattr(transport, "setTcpNoDelay"):
            # Else a second small answer waits until the peer acknowledges the first: 40 ms, mostly.
            transport.setTcpNoDelay(True)
        self.__connection.take_in(self.__connection.made, None)

    def dataReceived(self, data: bytes) -> None:
        """The peer sent ``data``; see ``IProtocol``."""
        self._heard = True
        # take_in, written out: this runs for every read.
        if not self._actor_cell.handle_now(self.receive, data):
            self.__connection.queue(self.receive, data, len(data))

    def handshakeCompleted(self) -> None:
        """TLS is ready; see ``IHandshakeListener``."""
        self.__connection.is_ready()

    def readConnectionLost(self) -> None:
        """The peer will send no more; see ``IHalfCloseableProtocol``."""
        self.transport.input_ended()
        self.__connection.take_in(self.__connection.end_of_input, EndOfInput())

    def writeConnectionLost(self) -> None:
        """Our own half-close is done; see ``IHalfCloseableProtocol``."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone; see ``IProtocol``."""
        self.connected = 0
        self.__connection.closed(reason)


def _in_words(error: Any) -> str:
    """What ended a connection; OpenSSL says it in lists of tuples."""
    if type(error).__module__ == "OpenSSL.SSL" and error.args and isinstance(error.args[0], list):
        return "TLS: " + ", ".join(entry[-1] for entry in error.args[0])
    return str(error)


class Refused(Protocol):
    """A connection that may not come in. (None instead of a protocol is beyond TLS and other wrappers.)"""

    def makeConnection(self, transport: Any) -> None:
        """Abort the connection; see ``IProtocol``."""
        ConnectionTransport(transport).abortConnection()


class ConnectionSupervisor(DynamicSupervisor):
    """
    Supervises the connections of a factory: they are its temporary children.

    Where it stands, its server stands beside it: see :func:`~echoactor.server.server_spec`.
    """

    def __init__(self, factory: ActorFactory) -> None:
        super().__init__()
        factory.supervisor = self.address


CONNECTION = ChildSpec(Actor, id="connection", restart="temporary")
"""What a supervisor knows of a connection. It is never started by its spec: its peer did that."""


class Open(PythonProtocol):
    """A connection that is open."""

    def abort(self, why: str) -> None:
        """Close it at once."""


class ActorFactory(ServerFactory):
    """
    Makes an actor of each connection.

    It is an ordinary ``ServerFactory``: give it to a :class:`~echoactor.Server` or to ``endpoint.listen``.

    :param system: where the connections live. Its ``stopService`` closes them.
    :cvar protocol: the class of the connections.
    :ivar options: limits and deadlines of the connections.
    :ivar gate: counts them, and says who may come in.
    :ivar supervisor: whose children the connections are; None for nobody's.
    """

    noisy = False
    protocol: Callable[[], ActorProtocol]

    def __init__(self, system: ActorSystem) -> None:
        self.system = system
        self.supervisor: Address | None = None
        self._open: dict[Open, None] = {}
        self.use(ServerOptions())

    def use(self, options: ServerOptions) -> None:
        """Take other options, before the first connection comes."""
        self.options = options
        self.gate = Gate(options)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Make the protocol of one connection: one that refuses it, if it may not come in."""
        protocol = self.protocol()
        why = "the server stops" if self.system.is_stopping else self.gate.admit(addr)
        if why is not None:
            self.refused(addr, why)
            return Refused()
        protocol.factory = self
        return protocol

    def refused(self, peer: IAddress | None, reason: str) -> None:
        """Tell that a connection was refused."""
        events = self.system.events
        if ConnectionRefused in events:
            events.emit(ConnectionRefused(peer, reason))

    def enter(self, connection: Open) -> str | None:
        """
        Let a connection in whose client is not known yet; it counts until :meth:`leave`.

        :returns: why it is refused, else None.
        """
        why = self.gate.admit(None)
        if why is None:
            self.opened(connection)
        return why

    def leave(self, connection: Open) -> None:
        """Such a connection is gone, or its client is known and counts from now on."""
        self.gate.leave(None)
        self.ended(connection)

    def opened(self, connection: Open) -> None:
        """A connection is open; the system has not stopped before it ended."""
        if not self._open:
            self.system.hold(self)
        self._open[connection] = None

    def ended(self, connection: Open) -> None:
        """A connection is gone."""
        self._open.pop(connection, None)
        if not self._open:
            self.system.let_go(self)

    def abort(self, why: str = "aborted") -> None:
        """Close all its connections at once."""
        for connection in list(self._open):
            connection.abort(why)
