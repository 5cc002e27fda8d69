"""Opening, gating and closing ports."""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import sys
from typing import Any
from unittest import skipUnless

from twisted.internet import tcp
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater

from echoactor import EchoFactory, ServerOptions
from echoactor.errors import ListenError
from echoactor.listening import BACK_OFF, Listener

from .support import ActorTestCase, RealTestCase, log_lines, reactor


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
        self.lines = log_lines(self, "echoactor.listening")

    def listener(self, result: Deferred[Any]) -> Listener:
        endpoint: Any = Endpoint(result)
        self.endpoint = endpoint
        factory = EchoFactory(self.system)
        return Listener(endpoint, factory, "tcp:8080", factory.gate, self.system.timers)

    def test_open(self) -> None:
        """The port is opened once, and the log says where."""
        port = Port()
        listener = self.listener(succeed(port))
        listener.open()
        listener.open()
        self.assertEqual((self.endpoint.listened, listener.port), (1, port))
        [line] = self.lines
        self.assertIn("listening on IPv4Address(type='TCP', host='127.0.0.1', port=8080)", line)

    def test_close(self) -> None:
        """Closing closes the port; closing what never opened, or twice, does nothing."""
        port = Port()
        listener = self.listener(succeed(port))
        self.successResultOf(listener.close())
        listener.open()
        self.successResultOf(listener.close())
        self.assertTrue(port.closed)
        self.successResultOf(listener.close())

    def test_cannot_listen(self) -> None:
        """A port that cannot be opened raises one clear line, with the endpoint and the system's words."""
        cause = OSError(errno.EADDRINUSE, "Address already in use")
        for error in (CannotListenError("", 8080, cause), cause):
            with self.assertRaisesRegex(ListenError, "^cannot listen on tcp:8080: Address already in use$"):
                self.listener(fail(error)).open()

    def test_late_failure(self) -> None:
        """An endpoint that fails later is logged; a port that comes after the stop is closed at once."""
        pending: Deferred[Any] = Deferred()
        self.listener(pending).open()
        pending.errback(OSError("too bad"))
        self.assertEqual(self.lines, ["cannot listen on tcp:8080: too bad"])
        pending, port = Deferred(), Port()
        listener = self.listener(pending)
        listener.open()
        listener.close()
        pending.callback(port)
        self.assertEqual((port.closed, listener.port, len(self.lines)), (True, None, 1))

    def test_again(self) -> None:
        """After a failure, opening tries again."""
        listener = self.listener(fail(OSError("in use")))
        with self.assertRaises(ListenError):
            listener.open()
        self.endpoint.result = succeed(Port())
        listener.open()
        self.assertIsNotNone(listener.port)


class FailingSocket:
    """A listening socket whose accept fails; that somebody waits is said by another that can be read."""

    def __init__(self, number: int, readable: socket.socket) -> None:
        self.error = OSError(number, os.strerror(number))
        self.readable = readable
        self.accepts = 0

    def accept(self) -> Any:
        self.accepts += 1
        raise self.error

    def fileno(self) -> int:
        return self.readable.fileno()


class AcceptTests(ActorTestCase):
    """A port whose accept fails, on a Clock."""

    def setUp(self) -> None:
        super().setUp()
        self.readable, self.other = socket.socketpair()
        self.addCleanup(self.readable.close)
        self.addCleanup(self.other.close)

    def test_backs_off(self) -> None:
        """After each error of accept, the port is left alone for 100 ms, and tries once more then."""
        for number in (
            *(errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENFILE, errno.ENOBUFS, errno.EPERM),
            *(errno.ENOMEM, errno.ECONNABORTED),
        ):
            self.check_backs_off(FailingSocket(number, self.readable))

    def test_another_was_first(self) -> None:
        """Another process that listens on the same socket may be first; that is no reason to wait."""
        wire = FailingSocket(errno.EWOULDBLOCK, self.readable)
        port, listener, reading = self.listen_on(wire)
        for turn in range(1, 4):
            port.doRead()
            self.assertEqual((reading[-1], wire.accepts), (True, turn))
        listener.close()

    def check_backs_off(self, wire: FailingSocket) -> None:
        self.other.send(b"somebody waits")
        port, listener, reading = self.listen_on(wire)
        for turn in range(1, 4):
            self.assertTrue(reading[-1])
            port.doRead()
            self.assertEqual((reading[-1], wire.accepts), (False, turn), wire.error)
            self.pass_time(BACK_OFF * 0.9)
            self.assertFalse(reading[-1])
            self.pass_time(BACK_OFF * 0.2)
        port.doRead()
        listener.close()
        self.settle()
        self.assertEqual(self.clock.getDelayedCalls(), [], "a timer is left")
        self.flushLoggedErrors(OSError)

    def listen_on(self, wire: Any) -> tuple[Any, Listener, list[bool]]:
        """A port with this socket, its listener, and whether it is read, at each change."""
        reading: list[bool] = []
        factory = EchoFactory(self.system)
        port = tcp.Port(0, factory, reactor=self.clock)
        self.patch(port, "startReading", lambda: reading.append(True))
        self.patch(port, "stopReading", lambda: reading.append(False))
        self.patch(port, "stopListening", lambda: None)
        self.patch(port, "getHost", lambda: "here")
        port.connected = True
        port.numberAccepts = 1
        port.socket = wire
        endpoint: Any = Endpoint(succeed(port))
        listener = Listener(endpoint, factory, "tcp:0", factory.gate, self.system.timers)
        listener.open()
        return port, listener, reading


class UNIXTests(RealTestCase):
    def path(self) -> str:
        return str(self.directory / "socket")

    def test_stale_file(self) -> None:
        """The file of a server that died is no hindrance for the next; a live server is."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path())
        self.start(ServerOptions(endpoints=[f"unix:{self.path()}:mode=600"]))
        self.assertEqual(stat.S_IMODE(os.stat(self.path()).st_mode), 0o600)
        with self.assertRaisesRegex(ListenError, "cannot listen on unix:.*: Address already in use"):
            self.start(ServerOptions(endpoints=[f"unix:{self.path()}"]))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path())

    def test_lock_file(self) -> None:
        """Who asks for Twisted's lock file has it, and hears in one line that another has it."""
        endpoint = f"unix:{self.path()}:lockfile=1"
        self.start(ServerOptions(endpoints=[endpoint]))
        with self.assertRaisesRegex(ListenError, "^cannot listen on unix:.*: Cannot acquire lock$"):
            self.start(ServerOptions(endpoints=[endpoint]))

    def test_no_socket(self) -> None:
        """A file that is no socket stays where it is, and cannot be listened on."""
        with open(self.path(), "w") as file:
            file.write("precious")
        with self.assertRaisesRegex(ListenError, "Address already in use"):
            self.start(ServerOptions(endpoints=[f"unix:{self.path()}"]))
        with open(self.path()) as file:
            self.assertEqual(file.read(), "precious")

    async def test_file_is_gone(self) -> None:
        """A socket's file that somebody has removed does not keep the server from closing."""
        server = self.start(ServerOptions(endpoints=[f"unix:{self.path()}"]))
        lines = log_lines(self)
        os.unlink(self.path())
        await self.system.stopService()
        self.assertEqual((server.addresses, len([line for line in lines if "No such file" in line])), ([], 1))


class GateTests(RealTestCase):
    """Real sockets at real limits."""

    def clients(self, server: Any, number: int) -> list[socket.socket]:
        """So many clients in the kernel's queues, spread over the server's ports."""
        clients = []
        for place in range(number):
            client = socket.socket()
            self.addCleanup(client.close)
            client.connect(("127.0.0.1", server.addresses[place % len(server.addresses)].port))
            client.settimeout(10)
            clients.append(client)
        return clients

    async def settle(self, condition: Any) -> None:
        """Let the reactor turn until a condition holds, and a little longer."""
        for _ in range(500):
            if condition():
                break
            await deferLater(reactor, 0.01, lambda: None)
        for _ in range(5):
            await deferLater(reactor, 0, lambda: None)

    async def test_exact(self) -> None:
        """Two ports accept no more than the limit; the others wait, and are served when there is room."""
        endpoints = ["tcp:0:interface=127.0.0.1:backlog=200"] * 2
        server = self.start(ServerOptions(endpoints=endpoints, max_connections=30))
        most = 0
        admit = server.factory.gate.admit

        def watch(peer: Any) -> Any:
            nonlocal most
            why = admit(peer)
            self.assertIsNone(why)
            most = max(most, server.connections)
            return why

        self.patch(server.factory.gate, "admit", watch)
        clients = self.clients(server, 100)
        for client in clients:
            client.sendall(b"?")
        await self.settle(lambda: server.connections == 30)
        self.assertEqual((server.connections, most), (30, 30))
        waiting = set(clients)
        for _ in range(1000):
            for client in list(waiting):
                client.setblocking(False)
                try:
                    self.assertEqual(client.recv(10), b"?")
                except BlockingIOError:
                    continue
                waiting.discard(client)
                client.close()
            if not waiting:
                break
            await deferLater(reactor, 0.01, lambda: None)
        self.assertEqual((len(waiting), most), (0, 30))

    async def test_changed_while_running(self) -> None:
        """Lowering the limit closes nobody; raising it lets the waiting in."""
        server = self.start(ServerOptions(port=0, interface="127.0.0.1", max_connections=10))
        clients = self.clients(server, 15)
        await self.settle(lambda: server.connections == 10)
        server.max_connections = 5
        await self.settle(lambda: True)
        self.assertEqual(server.connections, 10)
        server.max_connections = 12
        await self.settle(lambda: server.connections == 12)
        self.assertEqual(server.connections, 12)
        server.max_connections = 20
        await self.settle(lambda: server.connections == 15)
        self.assertEqual(server.connections, 15)
        with self.assertRaisesRegex(ValueError, "max_connections: 0 is not"):
            server.max_connections = 0
        for client in clients:
            client.close()
        await server.wait_for_connections(0)

    async def test_queue_before_the_close(self) -> None:
        """Who waits in the queue when the server drains is taken in and served."""
        server = self.start(ServerOptions(port=0, interface="127.0.0.1"))
        clients = self.clients(server, 50)
        for client in clients:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
        self.assertEqual(server.connections, 0)
        await server.drain()
        for client in clients:
            self.assertEqual((client.recv(5, socket.MSG_WAITALL), client.recv(1)), (b"hello", b""))

    @skipUnless(sys.platform == "linux", "elsewhere it cannot be kept out")
    async def test_latecomer(self) -> None:
        """Who comes between the last accept and the close is not reset, and finds the port closed."""
        for interface, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
            with socket.socket(family) as latecomer:
                latecomer.setblocking(False)
                await self.come_late(latecomer, interface)
                poll = select.poll()
                poll.register(latecomer, select.POLLOUT)
                self.assertTrue(await self.in_thread(poll.poll, 10_000))  # it tries again after a second
                error = latecomer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                self.assertEqual(error, errno.ECONNREFUSED)

    async def come_late(self, latecomer: socket.socket, interface: str) -> None:
        """Connect it when a server that closes has taken in those who wait, and those are served."""
        server = self.start(ServerOptions(port=0, interface=interface))
        [listener] = server._listeners
        accept_some = listener._accept_some
        address = (interface, server.addresses[0].port)

        def accept_and_come() -> bool:
            is_there = accept_some()
            if not is_there:
                latecomer.connect_ex(address)
            return is_there

        self.patch(listener, "_accept_some", accept_and_come)
        clients = [socket.create_connection(address, timeout=10) for _ in range(3)]
        for client in clients:
            client.sendall(b"hello")
        drained = server.drain()
        for client in clients:
            self.assertEqual(await self.in_thread(client.recv, 5, socket.MSG_WAITALL), b"hello")
            client.close()
        await drained

    async def test_queue_up_to_the_limit(self) -> None:
        """At a drain, too, no more come in than the limit allows."""
        server = self.start(ServerOptions(port=0, interface="127.0.0.1", max_connections=3))
        clients = self.clients(server, 10)
        drained = server.drain()
        await self.settle(lambda: server.connections == 3)
        self.assertEqual(server.connections, 3)
        for client in clients:
            client.close()
        await drained
