"""A socket server: its ports, its connections, and how it stops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, gatherResults
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from .calls import after
from .descriptors import make_room_for
from .endpoints import Place, places_of
from .events import DrainFinished, DrainStarted
from .listening import Listener
from .options import ServerOptions
from .protocol import ActorFactory, ConnectionSupervisor
from .proxy_protocol import ProxyProtocolFactory
from .specs import ChildSpec, SupervisorSpec
from .tls import Certificates

__all__ = ["Server", "server_spec"]

_log = Logger()

REPORT = 5.0
"""Seconds from one log line to the next while a server drains."""

AFTER_DRAIN = 5.0
"""Seconds that a supervisor gives a server beyond its ``shutdown_timeout``: when
that is over, its connections are aborted, which takes a turn of the reactor."""


class Server(Service):
    """
    A socket server: a factory, the ports it serves, and their limits.

    It is a service; put it under its factory's system::

        Server(EchoFactory(system), ServerOptions(port=8080)).setServiceParent(system)

    Its ports are open when ``privilegedStartService`` (before ``twistd --uid``
    drops privileges) or ``startService`` returns. When the system stops, its
    servers drain first.

    :param factory: makes the connections; each server has a factory of its own.
    :param options: where to listen, limits, deadlines, certificates.
    :param places: where to listen, if somebody else has opened what the options say.
    :raises ValueError: the description of an endpoint is wrong, and the text names it; or another
        server has the factory.
    :raises CertificateError: a certificate cannot be used; the text names the file.
    """

    def __init__(
        self, factory: ActorFactory, options: ServerOptions, places: Iterable[Place] | None = None
    ) -> None:
        self._certificates = None if options.tls_port is None else Certificates(options)
        places = list(places_of(factory.system.reactor, options) if places is None else places)
        factory.use(options)  # after all that may raise: who corrects it can use the factory again
        self.options = options
        self.factory = factory
        self._system = factory.system
        self._gate = factory.gate
        self._is_suspended = False
        self._drained: Deferred[None] | None = None  # once it drains
        self._aborted = 0  # connections, by the last drain
        self._listeners = [self._listener(place) for place in places]

    @property
    def max_connections(self) -> int:
        """
        How many connections may be open at once. It can be changed at any time:
        lowering it closes nobody, raising it lets those who wait come in.
        """
        return self._gate.max_connections

    @max_connections.setter
    def max_connections(self, limit: int) -> None:
        ServerOptions(max_connections=limit)  # which refuses what is no limit
        make_room_for(limit)
        self._gate.max_connections = limit

    @property
    def connections(self) -> int:
        """How many connections are open, those in a handshake included."""
        return self._gate.count

    @property
    def addresses(self) -> list[Any]:
        """Where it listens (``IAddress``), in the order of ``port``, ``tls_port``, ``endpoints``."""
        return [listener.port.getHost() for listener in self._listeners if listener.port is not None]

    @property
    def state(self) -> str:
        """``"listening"``, ``"suspended"``, ``"draining"``, or ``"closed"``, also if a port is lost."""
        if self._drained is not None:
            return "closed" if self._drained.called else "draining"
        if self._is_suspended:
            return "suspended"
        return "listening" if len(self.addresses) == len(self._listeners) else "closed"

    def privilegedStartService(self) -> None:
        """
        Open the ports.

        :raises ListenError: one cannot be opened, and none is; the text names it and the cause.
        """
        Service.privilegedStartService(self)
        self._open()

    def startService(self) -> None:
        """Open the ports, unless they are open; see :meth:`privilegedStartService`."""
        if not self.running:
            self._open()
            Service.startService(self)
            self._system.servers.append(self)

    def stopService(self) -> Deferred[None]:
        """Drain; see :meth:`drain`."""
        if self.running:
            Service.stopService(self)
            self._system.servers.remove(self)
        return self.drain()

    def suspend(self) -> Deferred[None]:
        """
        Close the ports; connections go on. New clients are refused, so that they go elsewhere.

        :returns: a Deferred that fires when they are closed.
        """
        self._is_suspended = True
        return self._close()

    def resume(self) -> None:
        """
        Open the ports again, after :meth:`suspend`. Port 0 takes any free one again.

        :raises ListenError: one cannot be opened, because it is taken meanwhile, needs privileges, or was
            handed in (by systemd).
        """
        self._is_suspended = False
        if self.running and self._drained is None:
            self._open()

    def wait_for_connections(self, count: int = 0) -> Deferred[None]:
        """Fires when no more than ``count`` connections are open; at once, if that is so."""
        return self._gate.wait_for(count)

    def reload(self) -> None:
        """
        Load the certificates again, for connections to come.

        :raises CertificateError: one cannot be used; then all stay as they are.
        """
        if self._certificates is not None:
            self._certificates.reload()

    def drain(self) -> Deferred[None]:
        """
        Stop listening, and serve the open connections on until they end or
        ``shutdown_timeout`` is over; then abort them. Those who wait in the kernel's
        queue are taken in first, up to the limit.

        :returns: a Deferred that fires when no connection is left, or the server is started again. Draining
            twice waits for the same end. Cancelling it aborts the connections.
        """
        if self._drained is None:
            self._drained = ensureDeferred(self._drain())
        return after(self._drained, lambda _: self._abort())

    async def _drain(self) -> None:
        self._aborted = 0
        events = self._system.events
        try:
            await self._close()
            if DrainStarted in events:
                events.emit(DrainStarted(self.connections))
            if self.connections:
                await self._serve_on()
        except CancelledError:  # it is open again
            return
        self._gate.is_open = False
        if DrainFinished in events:
            events.emit(DrainFinished(self._aborted))

    async def _serve_on(self) -> None:
        """Wait until the connections have ended, and abort them when they have had their time."""
        deadline = self._system.timers.schedule(self.options.shutdown_timeout, self._abort)
        report = LoopingCall(self._report, deadline.time)
        report.clock = self._system.reactor
        report.start(REPORT)
        try:
            await self.wait_for_connections(0)
        finally:
            report.stop()
            deadline.cancel()

    def _abort(self) -> None:
        self._aborted = self.connections
        self.factory.abort("shutdown timeout")

    def _report(self, end: float) -> None:
        _log.info(
            "draining: {count} connections left, served on for up to {seconds:.0f} s",
            count=self.connections,
            seconds=max(0.0, end - self._system.reactor.seconds()),
        )

    def _open(self) -> None:
        if self._drained is not None:
            # One that goes on would abort the connections of a server that is open again, and let nobody in.
            self._drained.cancel()
            self._drained = None
        self._gate.is_open = True
        if self._is_suspended or self._system.is_stopping:  # restarted by its supervisor, while all stops
            return
        make_room_for(self.max_connections)
        try:
            for listener in self._listeners:
                listener.open()
        except BaseException:
            self._close()
            raise

    def _close(self) -> Deferred[None]:
        return after(gatherResults([listener.close() for listener in self._listeners]))

    def _listener(self, place: Place) -> Listener:
        factory: IProtocolFactory = self.factory
        if place.is_tls:
            assert self._certificates is not None
            factory = self._certificates.factory(factory, self._system.reactor)
        if self.options.trusted_proxies:
            factory = ProxyProtocolFactory(factory, self.factory)
        return Listener(place.endpoint, factory, place.description, self._gate, self._system.timers)


def server_spec(server: Server) -> SupervisorSpec:
    """
    A socket server as a child of a supervisor.

    Its connections are the children of one supervisor, and the server stands
    beside it: it closes its ports when they all had to go, and opens them again.

    :param server: not started, and under no other service.
    """
    time = server.options.shutdown_timeout + AFTER_DRAIN
    return SupervisorSpec(
        [
            ChildSpec(ConnectionSupervisor, server.factory, id="connections"),
            ChildSpec(server, id="server", shutdown=time),
        ],
        strategy="rest_for_one",
    )
