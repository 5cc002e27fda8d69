"""Opening and closing ports."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock, StringTransport, StringTransportWithDisconnection
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from echoactor import ChildSpec, EchoFactory, EchoProtocol, Listener, Supervisor, SupervisorSpec
from echoactor.errors import ListenError
from echoactor.server import server_spec
from echoactor.testing import ClockSystem

from .support import ActorTestCase


class Port:
    """A listening port that remembers being closed."""

    closed = False

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 8080)

    def stopListening(self) -> None:
        self.closed = True


class Endpoint:
    """An endpoint whose listen returns what it is given."""

    def __init__(self, result: Deferred[Any]) -> None:
        self.result = result
        self.listened = 0

    def listen(self, factory: object) -> Deferred[Any]:
        self.listened += 1
        return self.result


class ListenerTests(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.lines: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("log_namespace") == "echoactor.server":
                self.lines.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def listener(self, result: Deferred[Any]) -> Listener:
        self.endpoint = Endpoint(result)
        return Listener(self.endpoint, EchoFactory(self.system), "tcp:8080")  # type: ignore[arg-type]  # a stub

    def test_privileged(self) -> None:
        """The port is opened in privilegedStartService, once, and the log says where."""
        port = Port()
        listener = self.listener(succeed(port))
        listener.privilegedStartService()
        listener.startService()
        self.assertEqual((self.endpoint.listened, listener.port), (1, port))
        self.assertEqual(len(self.lines), 1)
        self.assertIn("listening on IPv4Address(type='TCP', host='127.0.0.1', port=8080)", self.lines[0])

    def test_unprivileged(self) -> None:
        """Where privilegedStartService is never called, startService opens the port."""
        listener = self.listener(succeed(Port()))
        listener.startService()
        self.assertEqual(self.endpoint.listened, 1)

    def test_stop(self) -> None:
        """Stopping closes the port; stopping what never started, or twice, does nothing."""
        port = Port()
        listener = self.listener(succeed(port))
        listener.stopService()
        listener.startService()
        listener.stopService()
        self.assertTrue(port.closed)
        self.assertIsNone(listener.stopService())

    def test_cannot_listen(self) -> None:
        """A port that cannot be opened raises one clear line, with the endpoint and the system's words."""
        cause = OSError(errno.EADDRINUSE, "Address already in use")
        for error in (CannotListenError("", 8080, cause), cause):
            with self.assertRaisesRegex(ListenError, "^cannot listen on tcp:8080: Address already in use$"):
                self.listener(fail(error)).privilegedStartService()

    def test_late_failure(self) -> None:
        """An endpoint that fails later is logged; a port that comes after the stop is closed at once."""
        pending: Deferred[Any] = Deferred()
        self.listener(pending).startService()
        pending.errback(OSError("too bad"))
        self.assertEqual(self.lines, ["cannot listen on tcp:8080: too bad"])
        pending, port = Deferred(), Port()
        listener = self.listener(pending)
        listener.startService()
        listener.stopService()
        pending.callback(port)
        self.assertEqual((port.closed, listener.port, len(self.lines)), (True, None, 1))

    def test_once(self) -> None:
        """A port that is open is not opened again, however often the service is started."""
        listener = self.listener(succeed(Port()))
        for start in (listener.startService, listener.privilegedStartService, listener.startService):
            start()
        self.assertEqual(self.endpoint.listened, 1)

    def test_again(self) -> None:
        """After a failure, starting the system again tries again."""
        listener = self.listener(fail(OSError("in use")))
        listener.setServiceParent(self.system)
        with self.assertRaises(ListenError):
            self.system.startService()
        self.endpoint.result = succeed(Port())
        self.system.startService()
        self.assertIsNotNone(listener.port)


class ServerSpecTests(ActorTestCase):
    """A server as a supervisor's child, on a network in memory."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.system = ClockSystem(self.reactor)
        self.clock = self.reactor
        self.factory = EchoFactory(self.system)
        endpoint = TCP4ServerEndpoint(self.reactor, 8080)
        spec = server_spec(endpoint, self.factory, "tcp:8080")
        self.supervisor = self.spawn(Supervisor, SupervisorSpec([ChildSpec(spec, id="server")], intensity=5))

    def connect(self) -> tuple[EchoProtocol, StringTransport]:
        """A new connection, and its transport."""
        protocol = self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        assert isinstance(protocol, EchoProtocol)
        transport = StringTransportWithDisconnection()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        self.settle()
        return protocol, transport

    def labels(self) -> list[str]:
        """The children of the server's supervisor, and how many connections it has."""
        [top] = self.system.tree().children
        [server] = top.children
        connections, listener = server.children
        return [connections.label, listener.label, str(len(connections.children))]

    def test_tree(self) -> None:
        """Connections are children beside their listener, and gone when they end."""
        first, transport = self.connect()
        self.connect()
        expected = ["connections: ConnectionSupervisor", "listener: ServiceActor"]
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
        _, transport = self.connect()
        assert self.factory.supervisor is not None
        self.factory.supervisor.exit("kill")
        self.settle()
        self.assertTrue(transport.disconnecting or not transport.connected)
        self.assertEqual(len(self.reactor.tcpServers), 2)
        self.connect()
        self.assertEqual(self.labels()[2], "1")

    def test_stop(self) -> None:
        """Stopping closes the listener, then the connections."""
        protocol, _ = self.connect()
        stopped = self.system.stopService()
        self.settle()
        protocol.connectionLost()
        self.settle()
        self.successResultOf(stopped)

    def test_connection_without_a_supervisor(self) -> None:
        """A connection that comes when its supervisor is dead already does not stay."""
        assert self.factory.supervisor is not None
        self.factory.supervisor.exit("kill")
        protocol, _ = self.connect()
        self.assertFalse(self.system.is_alive(protocol.address))

    def test_port_in_use(self) -> None:
        """A port that cannot be opened is a child that cannot start, with the system's own words."""
        failing = Endpoint(fail(CannotListenError("", 80, OSError(errno.EACCES, "Permission denied"))))
        started = self.system.start(
            Supervisor,
            server_spec(failing, self.factory, "tcp:80"),  # type: ignore[arg-type]  # a stub
        )
        self.settle()
        self.assertIn("cannot listen on tcp:80", self.failureResultOf(started).getErrorMessage())
        self.flushLoggedErrors(ListenError)
