"""Sockets that a parent opens for its workers."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from echoactor import ServerOptions, sockets
from echoactor.errors import ListenError
from echoactor.sockets import HandedIn, SharedSockets

from .support import RealTestCase, log_lines, reactor


class SharedSocketsTests(RealTestCase):
    def shared(self, number: int = 3, **options: Any) -> SharedSockets:
        """Sockets that are closed after the test."""
        options = {"interface": "127.0.0.1", **options}
        shared = SharedSockets(reactor, ServerOptions(**options), number, self.system.timers)
        self.addCleanup(shared.close)
        return shared

    def test_one_port(self) -> None:
        """Each worker has a socket of its own, all of one port, and all with the backlog."""
        shared = self.shared(port=0, backlog=7)
        shared.open()
        all_sockets = [shared.of(number)[0] for number in (1, 2, 3)]
        self.assertEqual(len({one.fileno() for one in all_sockets}), 3)
        [address] = shared.addresses
        self.assertEqual({one.getsockname() for one in all_sockets}, {("127.0.0.1", address.port)})
        self.assertTrue(all(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for one in all_sockets))
        self.assertEqual(shared.backlogs, (7,))
        self.assertEqual(shared.places, (("tcp:0", False),))

    def test_all_kinds(self) -> None:
        """Ports come in their order; all share UNIX sockets, and any where the kernel spreads nobody."""
        path = self.directory / "echo"
        endpoints = ["tcp:0:interface=127.0.0.1:backlog=9", f"unix:{path}", "tcp6:0:interface=\\:\\:1"]
        shared = self.shared(2, port=0, endpoints=endpoints)
        shared.open()
        self.assertEqual([place for place, _ in shared.places], ["tcp:0", *endpoints])
        self.assertEqual(shared.backlogs, (1024, 9, 1024, 1024))
        first, second = shared.of(1), shared.of(2)
        self.assertEqual([one is another for one, another in zip(first, second, strict=True)].index(True), 2)
        self.assertEqual([one.getsockname() for one in first], [one.getsockname() for one in second])
        self.patch(sockets, "SPREADS", False)
        shared = self.shared(2, port=0)
        shared.open()
        self.assertIs(shared.of(1)[0], shared.of(2)[0])

    async def test_open_and_close(self) -> None:
        """Opened twice they are open; closed, nobody listens; opened again, somebody does."""
        shared = self.shared(port=0)
        for _ in range(2):
            shared.open()
            opened = shared.of(1)
            shared.open()
            self.assertEqual(shared.of(1), opened)
            [address] = shared.addresses
            with socket.create_connection(("127.0.0.1", address.port)):
                pass
            await shared.close()
            self.assertEqual(shared.addresses, [])
            self.assertEqual(shared.of(1), [])
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", address.port))

    async def test_parent_accepts_nobody(self) -> None:
        """Who connects waits for a worker."""
        lines = log_lines(self)
        shared = self.shared(1, port=0)
        shared.open()
        with socket.create_connection(("127.0.0.1", shared.addresses[0].port)) as client:
            client.setblocking(False)
            await deferLater(reactor, 0.1, lambda: None)
            with self.assertRaises(BlockingIOError):
                client.recv(1)
        self.assertEqual(len(lines), 1, lines)

    def test_taken(self) -> None:
        """Where somebody listens already nothing is opened, also if that one would share; unless told to."""
        shared = self.shared(port=0)
        shared.open()
        port = shared.addresses[0].port
        another = self.shared(port=port)
        with self.assertRaises(ListenError) as caught:
            another.open()
        self.assertEqual(str(caught.exception), f"cannot listen on tcp:{port}: Address already in use")
        self.assertEqual(another.addresses, [])
        self.shared(port=port, reuse_port=True).open()

    def test_no_more_descriptors(self) -> None:
        """When not all sockets of a port can be opened, none stays open."""
        shared = self.shared(port=0)

        def fail(*_: object) -> None:
            raise OSError(24, os.strerror(24))

        self.patch(sockets, "_another", fail)
        with self.assertRaises(ListenError) as caught:
            shared.open()
        self.assertEqual(str(caught.exception), "cannot listen on tcp:0: Too many open files")


class HandedInTests(RealTestCase):
    async def listen(self, listener: socket.socket, backlog: int | None) -> Any:
        """Adopt a socket; connections end at once."""
        endpoint = HandedIn(reactor)
        endpoint.take(listener, backlog)
        factory = Factory.forProtocol(Hangup)
        return await endpoint.listen(factory)

    async def ends(self, family: int, address: Any) -> bool:
        """Whether a client is accepted (and then hung up on)."""

        def talk() -> bool:
            with socket.socket(family) as client:
                client.settimeout(10)
                client.connect(address)
                return client.recv(1) == b""

        return bool(await self.in_thread(talk))

    async def test_tcp(self) -> None:
        """A TCP socket is listened on, on a duplicate; the port knows its backlog."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = await self.listen(listener, 5)
            self.assertEqual(port.backlog, 5)
            self.assertTrue(await self.ends(socket.AF_INET, listener.getsockname()))
            stopped: Deferred[None] = port.stopListening()
            await stopped
            self.assertTrue(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))

    async def test_unix(self) -> None:
        """A UNIX socket's file stays as it is, and where it is."""
        path = str(self.directory / "echo")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            os.chmod(path, 0o600)
            port = await self.listen(listener, None)
            self.assertIsNone(port.backlog)
            self.assertTrue(await self.ends(socket.AF_UNIX, path))
            await port.stopListening()
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)


class Hangup(Protocol):
    """Ends each connection at once."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()
