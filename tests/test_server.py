"""A socket server from its start to its end."""

from __future__ import annotations

import errno
from typing import Any

from twisted.application.service import MultiService
from twisted.internet import tcp
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionRefusedError
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock, StringTransport, StringTransportWithDisconnection

from echoactor import (
    ActorFactory,
    ActorProtocol,
    ChildSpec,
    EchoFactory,
    EchoProtocol,
    Server,
    ServerOptions,
    Supervisor,
    SupervisorSpec,
)
from echoactor.errors import ListenError
from echoactor.events import ConnectionClosed, ConnectionRefused, DrainFinished, DrainStarted
from echoactor.server import REPORT, server_spec
from echoactor.testing import ClockSystem

from .support import ActorTestCase, RealTestCase, log_lines, reactor


class MemoryTestCase(ActorTestCase):
    """A server on a network in memory."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.system = ClockSystem(self.reactor)
        self.clock = self.reactor
        self.factory = EchoFactory(self.system)

    def connect(self) -> tuple[EchoProtocol, StringTransport]:
        """A new connection, and its transport."""
        protocol = self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        assert isinstance(protocol, EchoProtocol)
        transport = StringTransportWithDisconnection()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        self.settle()
        return protocol, transport


class DrainTests(MemoryTestCase):
    """Stopping, on a Clock."""

    def setUp(self) -> None:
        super().setUp()
        self.server = Server(self.factory, ServerOptions(port=8080, shutdown_timeout=12))
        self.server.setServiceParent(self.system)
        self.system.startService()
        self.events: list[Any] = []
        for kind in (DrainStarted, DrainFinished, ConnectionClosed, ConnectionRefused):
            self.system.events.subscribe(kind, self.events.append)
        self.lines = log_lines(self, "echoactor.server")

    def stop(self) -> Deferred[None]:
        stopped = self.system.stopService()
        self.settle()
        return stopped

    def test_without_connections(self) -> None:
        """With no connection open, a drain is over at once."""
        self.successResultOf(self.stop())
        self.assertEqual((self.events, self.lines), ([DrainStarted(0), DrainFinished(0)], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_served_on(self) -> None:
        """Open connections are served on; the stop is over when the last one has ended."""
        protocol, transport = self.connect()
        stopped = self.stop()
        protocol.dataReceived(b"hello")
        self.pass_time(11)
        protocol.dataReceived(b" again")
        self.assertEqual(transport.value(), b"hello again")
        self.assertNoResult(stopped)
        protocol.connectionLost()
        self.settle()
        self.successResultOf(stopped)
        started, closed, finished = self.events
        self.assertEqual((started, closed.reason, finished), (DrainStarted(1), "normal", DrainFinished(0)))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_time_is_over(self) -> None:
        """After the shutdown timeout what is left is aborted, and the reason says so."""
        self.connect()
        self.connect()
        stopped = self.stop()
        self.pass_time(11.9)
        self.assertNoResult(stopped)
        self.pass_time(0.2)
        self.successResultOf(stopped)
        self.assertEqual(self.events[-1], DrainFinished(2))
        self.assertIn("shutdown timeout", str(self.events[1].reason))
        self.assertEqual((self.system.count_actors(), self.clock.getDelayedCalls()), (0, []))

    def test_reports(self) -> None:
        """Every few seconds a line says how many are left, and for how long."""
        first, _ = self.connect()
        self.connect()
        self.stop()
        first.connectionLost()
        self.pass_time(REPORT)
        self.pass_time(REPORT)
        self.pass_time(REPORT)
        self.assertEqual(
            self.lines,
            [
                "draining: 2 connections left, served on for up to 12 s",
                "draining: 1 connections left, served on for up to 7 s",
                "draining: 1 connections left, served on for up to 2 s",
            ],
        )

    def test_abort(self) -> None:
        """The system's abort ends a drain at once."""
        self.connect()
        stopped = self.stop()
        self.system.abort()
        self.settle()
        self.successResultOf(stopped)

    def test_before_everything_else(self) -> None:
        """Services and supervised actors stop only after the drain: connections may need them."""
        order: list[str] = []

        class Database(MultiService):
            def stopService(self) -> Any:
                order.append("service")
                return super().stopService()

        Database().setServiceParent(self.system)
        protocol, _ = self.connect()
        stopped = self.stop()
        self.assertEqual(order, [])
        protocol.connectionLost()
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual(order, ["service"])

    def test_a_drain_is_no_exit_signal(self) -> None:
        """A connection hears nothing of a drain."""
        heard: list[Any] = []

        class Curious(ActorProtocol):
            def connectionMade(self) -> None:
                self.trap_exits = True

            def receive(self, message: Any) -> None:
                heard.append(message)

        factory: Any = self.factory
        factory.protocol = Curious
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        self.stop()
        self.assertEqual(heard, [])
        protocol.connectionLost()
        self.settle()

    def test_refused_afterwards(self) -> None:
        """A connection that comes after the drain is refused, and an event says why."""
        self.successResultOf(self.stop())
        peer = IPv4Address("TCP", "127.0.0.1", 1)
        refused = self.factory.buildProtocol(peer)
        assert refused is not None
        self.assertNotIsInstance(refused, EchoProtocol)
        transport = StringTransport()
        refused.makeConnection(transport)
        self.assertTrue(transport.disconnected)
        self.assertEqual(self.events[-1], ConnectionRefused(peer, "the server stops"))

    def test_restart_while_it_drains(self) -> None:
        """One that is started while it drains serves on, old connections and new; the old drain is over."""
        self.connect()
        stopped = self.server.stopService()
        self.settle()
        self.assertEqual(self.server.state, "draining")
        self.server.startService()
        self.successResultOf(stopped)
        self.assertEqual(self.server.state, "listening")
        self.pass_time(60)
        self.connect()
        self.assertEqual(self.server.connections, 2)
        stopped = self.stop()
        self.pass_time(13)
        self.successResultOf(stopped)
        self.assertEqual(self.events[-1], DrainFinished(2))

    def test_restart_when_the_last_has_gone(self) -> None:
        """A server that is started again by who hears of its last client's end serves on; the drain ends."""
        _, transport = self.connect()
        self.server.wait_for_connections().addCallback(lambda _: self.server.startService())
        stopped = self.server.stopService()
        self.settle()
        transport.loseConnection()
        self.settle()
        self.successResultOf(stopped)
        self.connect()
        self.assertEqual((self.server.state, self.server.connections), ("listening", 1))

    def test_cancelled(self) -> None:
        """Cancelling a drain ends it: what is left is aborted, and whoever waits with it is told."""
        self.connect()
        drained, cancelled = self.server.drain(), self.server.drain()
        self.settle()
        cancelled.cancel()
        self.settle()
        self.successResultOf(cancelled)
        self.successResultOf(drained)
        self.assertEqual((self.events[-1], self.server.state), (DrainFinished(1), "closed"))

    def test_twice(self) -> None:
        """Draining twice waits for the same end."""
        protocol, _ = self.connect()
        first, second = self.server.drain(), self.server.drain()
        self.settle()
        self.assertNoResult(second)
        protocol.connectionLost()
        self.settle()
        self.successResultOf(first)
        self.successResultOf(second)

    def test_restart(self) -> None:
        """A server that was stopped can be started again."""
        self.successResultOf(self.server.stopService())
        self.server.startService()
        self.assertEqual(len(self.reactor.tcpServers), 2)
        self.connect()
        self.assertEqual(self.server.connections, 1)


class StartTests(MemoryTestCase):
    def test_ports(self) -> None:
        """Ports are opened in privilegedStartService, once, or else in startService."""
        options = ServerOptions(port=8080, endpoints=["tcp:8081:interface=127.0.0.1"])
        server = Server(self.factory, options)
        server.privilegedStartService()
        server.startService()
        self.assertEqual([port for port, *_ in self.reactor.tcpServers], [8080, 8081])
        Server(EchoFactory(self.system), ServerOptions(port=1)).startService()
        self.assertEqual(len(self.reactor.tcpServers), 3)

    def test_all_or_nothing(self) -> None:
        """When one port cannot be opened, the others are closed again, and one line says which."""
        listen, ports = self.reactor.listenTCP, []

        def refuse(port: int, *args: Any, **more: Any) -> Any:
            if port == 2:
                raise CannotListenError("", 2, OSError(errno.EADDRINUSE, "Address already in use"))
            ports.append(listen(port, *args, **more))
            return ports[-1]

        self.patch(self.reactor, "listenTCP", refuse)
        server = Server(self.factory, ServerOptions(port=1, endpoints=["tcp:2", "tcp:3"]))
        with self.assertRaisesRegex(ListenError, "^cannot listen on tcp:2: Address already in use$"):
            server.startService()
        self.assertEqual((len(ports), server.addresses, server.running), (1, [], False))

    def test_wrong_endpoint(self) -> None:
        """A description of no endpoint is refused at once, and the text names the option."""
        with self.assertRaisesRegex(ValueError, "^endpoints: 'tcp' cannot be used: its arguments do not fit"):
            Server(self.factory, ServerOptions(endpoints=["tcp"]))

    def test_factory_of_its_own(self) -> None:
        """A second server on one factory, which would take the first one's limits from it, is refused."""
        with self.assertRaises(ValueError):  # which leaves the factory free
            Server(self.factory, ServerOptions(endpoints=["tcp"]))
        first = Server(self.factory, ServerOptions(port=1, max_connections=1))
        with self.assertRaisesRegex(ValueError, "^factory: has a server already; each server needs one of"):
            Server(self.factory, ServerOptions(port=2))
        self.connect()
        self.assertEqual((first.connections, first.max_connections), (1, 1))


class ServerSpecTests(MemoryTestCase):
    """A server as a supervisor's child."""

    def setUp(self) -> None:
        super().setUp()
        self.server = Server(self.factory, ServerOptions(port=8080))
        spec = server_spec(self.server)
        self.supervisor = self.spawn(Supervisor, SupervisorSpec([ChildSpec(spec, id="server")], intensity=5))

    def labels(self) -> list[str]:
        """The children of the server's supervisor, and how many connections it has."""
        [top] = self.system.tree().children
        [server] = top.children
        connections, listener = server.children
        return [connections.label, listener.label, str(len(connections.children))]

    def test_tree(self) -> None:
        """Connections are children beside their server, and gone when they end."""
        first, transport = self.connect()
        self.connect()
        expected = ["connections: ConnectionSupervisor", "server: ServiceActor"]
        self.assertEqual(self.labels(), [*expected, "2"])
        first.dataReceived(b"hello")
        self.settle()
        self.assertEqual(transport.value(), b"hello")
        first.connectionLost()
        self.settle()
        self.assertEqual(self.labels(), [*expected, "1"])

    def test_crash_of_a_connection(self) -> None:
        """A connection that is killed goes alone: nobody is restarted."""
        first, _ = self.connect()
        second, transport = self.connect()
        first.address.exit("kill")
        self.settle()
        second.dataReceived(b"hello")
        self.settle()
        self.assertEqual((transport.value(), self.labels()[2]), (b"hello", "1"))
        self.assertTrue(self.factory.supervisor is not None and self.system.is_alive(self.factory.supervisor))

    def test_restart(self) -> None:
        """When the connections' supervisor dies, they go, and the port is closed and opened again."""
        protocol, transport = self.connect()
        assert self.factory.supervisor is not None
        self.factory.supervisor.exit("kill")
        self.settle()
        self.assertTrue(transport.disconnecting or not transport.connected)
        protocol.connectionLost()
        self.settle()
        self.assertEqual(len(self.reactor.tcpServers), 2)
        self.connect()
        self.assertEqual(self.labels()[2], "1")

    def test_stop(self) -> None:
        """Stopping closes the port; connections are served on; the supervisors end after them."""
        protocol, transport = self.connect()
        stopped = self.system.stopService()
        self.settle()
        self.assertEqual(self.labels()[2], "1")
        protocol.dataReceived(b"hello")
        self.assertEqual(transport.value(), b"hello")
        protocol.connectionLost()
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual(self.system.count_actors(), 0)

    def test_no_restart_while_the_system_drains(self) -> None:
        """A server that its supervisor restarts while the system drains does not listen again."""
        other = Server(EchoFactory(self.system), ServerOptions(port=8081))
        self.system.start_child(ChildSpec(server_spec(other), id="other"))
        self.connect()
        self.settle()
        protocol = other.factory.buildProtocol(None)
        assert protocol is not None
        protocol.makeConnection(StringTransport())
        self.system.stopService()
        self.settle()
        ports = len(self.reactor.tcpServers)
        assert self.factory.supervisor is not None
        self.factory.supervisor.exit("kill")
        self.settle()
        self.assertEqual((len(self.reactor.tcpServers), self.server.state), (ports, "closed"))
        protocol.connectionLost()
        self.settle()

    def test_out_of_time(self) -> None:
        """One whose supervisor has no time for its drain leaves no connection, and can be restarted."""
        self.factory = EchoFactory(self.system)
        server = Server(self.factory, ServerOptions(port=8081))
        child = ChildSpec(server, id="again", shutdown=1)
        self.system.start_child(child)
        self.settle()
        self.connect()
        ended = Supervisor.terminate_child(self.system.supervisor, "again")
        self.pass_time(1.1)
        self.successResultOf(ended)
        self.assertEqual((server.connections, server.state), (0, "closed"))
        Supervisor.restart_child(self.system.supervisor, "again")
        self.pass_time(60)
        self.connect()
        self.assertEqual((server.connections, server.state), (1, "listening"))

    def test_connection_without_a_supervisor(self) -> None:
        """A connection that comes when its supervisor is dead already does not stay."""
        assert self.factory.supervisor is not None
        self.factory.supervisor.exit("kill")
        protocol, _ = self.connect()
        self.assertFalse(self.system.is_alive(protocol.address))

    def test_port_in_use(self) -> None:
        """A port that cannot be opened is a child that cannot start, with the system's own words."""

        def refuse(*_: Any, **__: Any) -> None:
            raise CannotListenError("", 80, OSError(errno.EACCES, "Permission denied"))

        self.patch(self.reactor, "listenTCP", refuse)
        server = Server(EchoFactory(self.system), ServerOptions(port=80))
        started = self.system.start(Supervisor, server_spec(server))
        self.settle()
        self.assertIn(
            "cannot listen on tcp:80: Permission denied", self.failureResultOf(started).getErrorMessage()
        )
        self.flushLoggedErrors(ListenError)


class SuspendTests(RealTestCase):
    """As ranch does it, with real sockets."""

    async def test_suspend_and_resume(self) -> None:
        """Suspended, new clients are refused and the old are served; resumed, new ones come in again."""
        server = self.start(ServerOptions(port=0, interface="127.0.0.1"))
        endpoint = self.client_of(server)
        old = await self.connect(endpoint)
        await server.suspend()
        self.assertEqual(server.addresses, [])
        with self.assertRaises(ConnectionRefusedError):
            await self.connect(endpoint)
        old.transport.write(b"old")
        await old.read(3)
        server.resume()
        new = await self.connect(self.client_of(server))
        new.transport.write(b"new")
        await new.read(3)
        self.assertEqual(server.connections, 2)
        one_left, none_left = server.wait_for_connections(1), server.wait_for_connections()
        old.transport.loseConnection()
        await one_left
        self.assertEqual(server.connections, 1)
        new.transport.loseConnection()
        await none_left

    async def test_resume_at_once(self) -> None:
        """Resumed before its port has closed, it opens it again when it has."""
        server = self.start(ServerOptions(port=0, interface="127.0.0.1"))
        number = server.addresses[0].port
        await server.suspend()
        fixed = self.start(ServerOptions(port=number, interface="127.0.0.1"))
        [address] = fixed.addresses
        suspended = fixed.suspend()
        for _ in range(2):  # once or more often
            fixed.resume()
            fixed.suspend()
        fixed.resume()
        await suspended
        await deferLater(reactor, 0, lambda: None)
        self.assertEqual((fixed.addresses, fixed.state), ([address], "listening"))
        client = await self.connect(self.client_of(fixed))
        client.transport.write(b"hello")
        self.assertEqual(await client.read(5), b"hello")
        client.transport.loseConnection()
        fixed.suspend()
        fixed.resume()
        await fixed.suspend()
        self.assertEqual([one for one in reactor.getReaders() if isinstance(one, tcp.Port)], [])

    async def test_resume_a_taken_port(self) -> None:
        """A port that somebody else has taken meanwhile cannot be resumed, and the error says so."""
        server = self.start(ServerOptions(port=0, interface="127.0.0.1"))
        number = server.addresses[0].port
        await server.suspend()
        server.resume()
        await server.suspend()
        fixed = Server(EchoFactory(self.system), ServerOptions(port=number, interface="127.0.0.1"))
        fixed.startService()
        await fixed.suspend()
        taken = reactor.listenTCP(number, ActorFactory(self.system), interface="127.0.0.1")
        with self.assertRaisesRegex(ListenError, "Address already in use"):
            fixed.resume()
        await taken.stopListening()
        fixed.resume()
        self.assertEqual(fixed.addresses[0].port, number)
        await fixed.stopService()

    async def test_suspended_drain(self) -> None:
        """A suspended server drains, too, and is not resumed afterwards."""
        server = self.start(ServerOptions(port=0, interface="127.0.0.1"))
        client = await self.connect(self.client_of(server))
        await server.suspend()
        drained = server.drain()
        client.transport.loseConnection()
        await drained
        server.resume()
        await deferLater(reactor, 0, lambda: None)
        self.assertEqual(server.addresses, [])
        await server.suspend()
        await server.stopService()
        server.startService()
        self.assertEqual(server.addresses, [], "it was started, but is still suspended")
        server.resume()
        self.assertEqual(len(server.addresses), 1)
