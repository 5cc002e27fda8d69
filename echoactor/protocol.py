"""A connection is an actor: what the peer sends is messages, and its end is the actor's end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol as PythonProtocol

from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from .actor import Actor
from .address import Address
from .cell import RUNNING, WAITING
from .connection import Connection
from .dynamic_supervisor import DynamicSupervisor
from .events import ConnectionRefused
from .gate import Gate
from .messages import EndOfInput
from .options import ServerOptions
from .poller import poller_for
from .styles import CallbackCell
from .system import ActorSystem
from .transport import ConnectionTransport

__all__ = ["ActorFactory", "ActorProtocol", "ConnectionSupervisor", "Open", "Refused"]


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
    what was written, nothing is read from the peer. (So two of these that both
    write much before they read wait for each other, as two programs with
    blocking sockets do: let one of them read first.)

    ``connectionMade`` is what ``started`` is for other actors: it may be a coroutine function.

    :cvar allow_half_open: whether the connection stays open after
        ``EndOfInput``; ``self.exit()`` then closes it.
    :ivar transport: the Twisted transport. Its ``write`` may be used from
        this actor's own steps; other actors send a message.
    """

    allow_half_open = False
    _is_actor_class = False  # its factory makes it, and no spawn
    _actor_cell: CallbackCell
    _bytes_in = 0  # from the peer, handled or not
    _came_from: IAddress | None = None  # where it counts as one of its address's
    __connection: Connection

    # What Twisted calls, and a subclass leaves alone.

    def makeConnection(self, transport: Any) -> None:
        """Become an actor; see ``IProtocol``."""
        if not isinstance(self.factory, ActorFactory):
            made_by = f"made by an ActorFactory, not by {self.factory!r}"
            raise TypeError(f"{type(self).__qualname__} must be {made_by}")
        self.connected = 1
        self.__connection = Connection(self.factory, self, transport)
        self.transport: Any = self.__connection.transport
        if hasattr(transport, "setTcpNoDelay"):
            # Else a second small answer waits until the peer acknowledges the first: 40 ms, mostly.
            try:
                transport.setTcpNoDelay(True)
            except OSError:  # some systems refuse that to a connection that was reset; it will hear of it
                pass
        self.__connection.begin()

    def dataReceived(self, data: bytes) -> None:
        """The peer sent ``data``; see ``IProtocol``."""
        self._bytes_in += len(data)
        # take_in and handle_now, written out in one: this runs for every read.
        cell = self._actor_cell
        system = cell.system
        if cell.life is not WAITING or system.current is not None or not system.delivers_at_once:
            self.__connection.queue(self.receive, data, len(data))
            return
        system.current = cell
        cell.life = RUNNING
        cell.handled += 1
        try:
            result = self.receive(data)
            if result is not None:
                cell.take_result(result)
        except BaseException as error:
            cell.raised(error)
        else:
            if cell.arrived is None and cell.life is RUNNING:
                cell.life = WAITING
            else:
                cell.end_step()
        finally:
            system.current = None

    def handshakeCompleted(self) -> None:
        """TLS is ready; see ``IHandshakeListener``."""
        self.__connection.ready()

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
        self.poller = poller_for(system.reactor)
        self._open: dict[Open, None] = {}
        self._has_server = False
        self.options = ServerOptions()
        self.gate = Gate(self.options)

    def use(self, options: ServerOptions) -> None:
        """
        Take the options of a server, before the first connection comes.

        :raises ValueError: another server has it, whose limits would hold no more, nor its drain wait.
        """
        if self._has_server:
            raise ValueError("factory: has a server already; each server needs one of its own")
        self._has_server = True
        self.options = options
        self.gate = Gate(options)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Make the protocol of one connection: one that refuses it, if it may not come in."""
        protocol = self.protocol()
        if not isinstance(protocol, ActorProtocol):
            raise TypeError(f"{self.protocol!r} makes {protocol!r}, which is no ActorProtocol")
        why = "the server stops" if self.system.is_closed else self.gate.admit(addr)
        if why is not None:
            self.refused(addr, why)
            return Refused()
        protocol.factory = self
        if self.options.max_connections_per_address is not None:
            protocol._came_from = addr  # the transport may say something else by the end
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
            if self.poller is not None:
                self.poller.close()

    def abort(self, why: str = "aborted") -> None:
        """Close all its connections at once."""
        for connection in list(self._open):
            connection.abort(why)
