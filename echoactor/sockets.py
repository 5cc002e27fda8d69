"""Sockets that a parent opens while it may, and that its workers serve."""

from __future__ import annotations

import socket
import sys
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, execute, gatherResults
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from zope.interface import implementer

from .endpoints import places_of
from .gate import Gate
from .listening import Listener, let_come
from .options import ServerOptions
from .timers import Timers

__all__ = ["HandedIn", "SharedSockets"]

SPREADS = sys.platform == "linux"
"""Whether the kernel spreads clients over all sockets that share a port
(SO_REUSEPORT). The BSDs and macOS have the option, and give all clients to one socket."""


class SharedSockets:
    """
    The sockets of some workers. The parent keeps them open and never accepts:
    while a worker is being restarted, its clients wait.

    Each worker has a TCP port's socket of its own, where the kernel spreads
    clients over such sockets. Elsewhere, and for UNIX sockets and those that
    were handed in by systemd, all have the same.

    :param reactor: an ``IReactorTCP``, and ``IReactorUNIX`` and ``IReactorSocket`` where these are wanted.
    :param options: where to listen.
    :param number: how many workers there are.
    :param timers: of the system.
    :raises ValueError: the description of an endpoint is wrong; the text names it.
    """

    def __init__(self, reactor: Any, options: ServerOptions, number: int, timers: Timers) -> None:
        self._opener = _Opener(reactor, options, number)
        gate = Gate(options)
        gate.max_connections = 0  # the parent lets nobody in
        self._places = list(places_of(self._opener, options))
        self._listeners = [
            Listener(place.endpoint, self._opener.factory, place.description, gate, timers)
            for place in self._places
        ]

    @property
    def places(self) -> tuple[tuple[str, bool], ...]:
        """The description of each place, and whether TLS comes first there."""
        return tuple((place.description, place.is_tls) for place in self._places)

    @property
    def addresses(self) -> list[Any]:
        """Where they listen (``IAddress``)."""
        return [listener.port.getHost() for listener in self._listeners if listener.port is not None]

    @property
    def backlogs(self) -> tuple[int | None, ...]:
        """For each place, how many may wait; None for a socket that was handed in, which keeps its queue."""
        return tuple(listener.port.backlog for listener in self._listeners)

    def of(self, number: int) -> list[socket.socket]:
        """
        The sockets of one worker, in the order of the places; none while they are closed.

        :param number: which worker, from 1.
        """
        opened = self._opener.opened
        return [opened[listener.port][number - 1] for listener in self._listeners if listener.port in opened]

    def open(self) -> None:
        """
        Open them, unless they are open.

        :raises ListenError: one cannot be opened, and none is; the text names it and the cause.
        """
        try:
            for listener in self._listeners:
                listener.open()
        except BaseException:
            self.close()
            raise

    def close(self) -> Deferred[Any]:
        """
        Close the parent's part in them; what a worker has of them stays open.

        :returns: a Deferred that fires when they are closed.
        """
        self._opener.close()
        return gatherResults([listener.close() for listener in self._listeners])


class _Opener:
    """
    Stands in for the reactor before endpoints, and opens each TCP port once for each worker.

    :ivar factory: what endpoints have to hand on; one that puts its own in its place would do
        something with connections (TLS) that the workers cannot know of.
    :ivar opened: for each port, the socket of each worker.
    """

    def __init__(self, reactor: Any, options: ServerOptions, number: int) -> None:
        self._reactor = reactor
        self._may_be_shared = options.reuse_port
        self._number = number
        self.factory = Factory()
        self.factory.noisy = False
        self.opened: dict[Any, list[socket.socket]] = {}

    def listenTCP(self, port: Any, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """See ``IReactorTCP``."""
        self._check(factory)
        if not SPREADS or self._number == 1:
            return self._share(self._reactor.listenTCP(port, factory, backlog=backlog, interface=interface))
        if isinstance(port, int):
            if port and not self._may_be_shared:
                _refuse_taken(interface, port)
            port = tcp.makeBinding(interface, port, reuseAddress=True, reusePort=True)
        first = self._reactor.listenTCP(port, factory, backlog=backlog, interface=interface)
        first.pauseProducing()
        sockets = self.opened[first] = [first.socket]
        try:
            while len(sockets) < self._number:
                sockets.append(_another(first.socket, backlog))
        except OSError:
            first.stopListening()
            raise
        return first

    def listenUNIX(self, *args: Any, **more: Any) -> Any:
        """See ``IReactorUNIX``."""
        self._check(args[1])
        return self._share(self._reactor.listenUNIX(*args, **more))

    def adoptStreamPort(self, descriptor: int, family: int, factory: Any) -> Any:
        """See ``IReactorSocket``."""
        self._check(factory)
        return self._share(self._reactor.adoptStreamPort(descriptor, family, factory))

    def listenSSL(self, *_: Any, **__: Any) -> Any:
        """See ``IReactorSSL``."""
        self._check(None)

    def close(self) -> None:
        """Close those sockets that no port of Twisted's has."""
        for first, *others in self.opened.values():
            for one in others:
                if one is not first:
                    one.close()
        self.opened.clear()

    def _share(self, port: Any) -> Any:
        port.pauseProducing()
        self.opened[port] = [port.socket] * self._number
        return port

    def _check(self, factory: Any) -> None:
        if factory is not self.factory:
            raise ValueError("workers cannot share such an endpoint; for TLS there is `tls_port`")


def _another(first: socket.socket, backlog: int) -> socket.socket:
    """A socket that shares the port of the first."""
    another = socket.socket(first.family)
    try:
        another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        another.bind(first.getsockname())
        another.listen(backlog)
    except OSError:
        another.close()
        raise
    return another


def _refuse_taken(interface: str, port: int) -> None:
    """
    Fail when somebody listens there already. Those who share a port do not notice
    another server of the same user, started by mistake, that shares it, too.
    """
    with socket.socket(socket.AF_INET6 if ":" in interface else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((interface, port))
        except OSError as error:
            raise CannotListenError(interface, port, error) from None


@implementer(IStreamServerEndpoint)
class HandedIn:
    """
    In a worker: a place whose socket the parent opens.

    :param reactor: an ``IReactorSocket``.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._socket: socket.socket | None = None
        self._backlog: int | None = None

    def take(self, listening: socket.socket, backlog: int | None) -> None:
        """
        Take a socket, to listen next on a duplicate of it.

        :param backlog: how many may wait in its queue; None if the queue is kept when the socket is closed.
        """
        self._socket, self._backlog = listening, backlog

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; see ``IStreamServerEndpoint``."""
        return execute(self._adopt, protocolFactory)

    def _adopt(self, factory: IProtocolFactory) -> Any:
        listening, self._socket = self._socket, None
        assert listening is not None
        listening.setblocking(False)
        let_come(listening)  # a worker that ended in order has kept new ones out, and the socket is the same
        if listening.family == socket.AF_UNIX:
            port: Any = _UNIXPort._fromListeningDescriptor(self._reactor, listening.fileno(), factory)
            port.startListening()
        else:
            port = self._reactor.adoptStreamPort(listening.fileno(), listening.family, factory)
        port.backlog = self._backlog  # for Listener, which takes in those who wait before it closes
        return port


class _UNIXPort(unix.Port):
    """
    A UNIX socket whose file belongs to the parent. Twisted's own would open it
    to everybody (mode 666) when it starts, and remove it when it ends.
    """

    startListening = tcp.Port.startListening
    connectionLost = tcp.Port.connectionLost
