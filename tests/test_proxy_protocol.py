"""A proxy says who the client is."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address as IPv4, IPv6Address as IPv6
from typing import Any

from hypothesis import given, strategies as st
from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echoactor import ActorFactory, EchoFactory, EchoProtocol, Server, ServerOptions
from echoactor.events import ConnectionRefused
from echoactor.proxy_protocol import MAX_V2, SIGNATURE, BadHeader, Header, ProxyProtocolFactory, parse_header

from .support import ActorTestCase, ConnectionTestCase, RealTestCase

CLIENT = IPv4Address("TCP", "192.0.2.1", 56324)
SERVER = IPv4Address("TCP", "198.51.100.1", 443)
CLIENT6 = IPv6Address("TCP", "2001:db8::1", 1)
SERVER6 = IPv6Address("TCP", "::", 65535)
PROXY = IPv4Address("TCP", "10.0.0.1", 9)
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"


def v2(command: int, family: int, block: bytes, more: bytes = b"") -> bytes:
    """A header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(block + more)) + block + more


INET = IPv4("192.0.2.1").packed + IPv4("198.51.100.1").packed + struct.pack("!HH", 56324, 443)
INET6 = IPv6("2001:db8::1").packed + IPv6("::").packed + struct.pack("!HH", 1, 65535)
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0")
V2 = v2(0x21, 0x11, INET)
TLVS = b"\x04\0\x03abc" + b"\x20\0\x01x"

GOOD: list[tuple[bytes, Any, Any]] = [
    (V1, CLIENT, SERVER),
    (b"PROXY TCP6 2001:db8::1 :: 1 65535\r\n", CLIENT6, SERVER6),
    (b"PROXY UNKNOWN\r\n", None, None),
    (b"PROXY UNKNOWN " + b"f" * 64 + b" 1 2\r\n", None, None),
    (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", None, None),  # 107 bytes
    (V2, CLIENT, SERVER),
    (v2(0x21, 0x11, INET, TLVS), CLIENT, SERVER),
    (v2(0x21, 0x21, INET6), CLIENT6, SERVER6),
    (v2(0x21, 0x31, UNIX), UNIXAddress(b"/run/client"), UNIXAddress(b"/run/server")),
    (v2(0x20, 0x00, b""), None, None),
    (v2(0x20, 0x11, INET), None, None),
    (v2(0x20, 0x00, b"", TLVS), None, None),
    (v2(0x21, 0x00, b"anything"), None, None),
    (v2(0x21, 0x12, INET), None, None),  # datagrams
    (v2(0x21, 0x41, INET), None, None),  # a family of tomorrow
    (v2(0x21, 0x11, INET, bytes(MAX_V2 - 28)), CLIENT, SERVER),
]

BAD: list[tuple[bytes, str]] = [
    (b"GET / HTTP/1.1\r\n", "no PROXY header"),
    (b"\x16\x03\x01", "no PROXY header"),
    (b"PROXY", ""),
    (b"proxy TCP4 ", "no PROXY header"),
    (b"PROXY  TCP4 192.0.2.1 198.51.100.1 1 2\r\n", "a malformed line"),
    (b"PROXY TCP4 192.0.2.1  198.51.100.1 1 2\r\n", "a malformed line"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2 \r\n", "a malformed line"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n", "a malformed line"),
    (b"PROXY TCP5 192.0.2.1 198.51.100.1 1 2\r\n", "a malformed line"),
    (b"PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n", "a malformed line"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n", "a malformed line"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n", "a malformed line"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 2\r\n", "a malformed address"),
    (b"PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n", "a malformed address"),
    (b"PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n", "a malformed address"),
    (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", "a malformed address"),
    (b"PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n", "a malformed address"),
    (b"PROXY TCP6 ::1%lo ::1 1 2\r\n", "a malformed line"),
    (b"PROXY UNKNOWN\n", "a line without an end"),
    (b"PROXY UNKNOWNS\r\n", "a malformed line"),
    (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "a line without an end"),  # 108 bytes
    (b"PROXY " + b"x" * 101, "a line without an end"),
    (v2(0x11, 0x11, INET), "an unknown version or command"),
    (v2(0x22, 0x11, INET), "an unknown version or command"),
    (v2(0x21, 0x11, INET[:-1]), "addresses cut short"),
    (v2(0x21, 0x21, INET), "addresses cut short"),
    (v2(0x21, 0x31, UNIX[:-1]), "addresses cut short"),
    (SIGNATURE + b"\x21\x11\xff\xff", "a header of 65551 bytes, more than 4112"),
    (SIGNATURE[:-1] + b"x", "no PROXY header"),
]


class ParserTests(SynchronousTestCase):
    def test_good(self) -> None:
        """Each form of a header is read to the last of its bytes; what follows is the client's."""
        for data, source, destination in GOOD:
            for rest in (b"", b"rest", V1):
                self.assertEqual(parse_header(data + rest), Header(len(data), source, destination), data)

    def test_pieces(self) -> None:
        """However little of a header has come, more is awaited."""
        for data, _, _ in GOOD:
            for size in range(min(len(data), 300)):
                self.assertIsNone(parse_header(data[:size]), data[:size])

    def test_bad(self) -> None:
        """What is no header is refused, with the reason in words that are short and printable."""
        for data, words in BAD:
            if not words:
                self.assertIsNone(parse_header(data))
                continue
            with self.assertRaises(BadHeader) as caught:
                parse_header(data)
            text = str(caught.exception)
            self.assertTrue(text.startswith(words), (data, text))
            self.assertTrue(text.isprintable() and len(text) < 250, text)

    def test_early(self) -> None:
        """The first byte that cannot belong to a header is one too many."""
        for data in (b"G", b"PRX", b"\r\n\r\n\0\r\nX", b"\0", b"PROXY\t"):
            with self.assertRaises(BadHeader):
                parse_header(data)

    @given(
        st.binary(max_size=300),
        st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"!\x11"]),
    )
    def test_garbage(self, data: bytes, prefix: bytes) -> None:
        """Whatever comes, it is a header, the beginning of one, or refused."""
        try:
            header = parse_header(prefix + data)
        except BadHeader:
            return
        if header is not None:
            self.assertLessEqual(header.size, len(prefix + data))

    @given(
        st.ip_addresses(v=4) | st.ip_addresses(v=6),
        st.ip_addresses(v=4),
        st.integers(0, 65535),
        st.integers(0, 65535),
    )
    def test_round_trip(self, source: Any, destination: Any, one: int, two: int) -> None:
        """Both versions give the addresses and ports that were put in."""
        if source.version == 6:
            destination = IPv6(f"::{destination}")
        kind = IPv4Address if source.version == 4 else IPv6Address
        expected = kind("TCP", str(source), one), kind("TCP", str(destination), two)
        line = f"PROXY TCP{source.version} {source} {destination} {one} {two}\r\n".encode()
        block = source.packed + destination.packed + struct.pack("!HH", one, two)
        for data in (line, v2(0x21, 0x11 if source.version == 4 else 0x21, block)):
            self.assertEqual(parse_header(data), Header(len(data), *expected))


class Wire(StringTransport):
    """A transport whose protocol can be replaced, as a real one's."""

    protocol: Any
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class WaitingTests(ActorTestCase):
    """Connections that wait for their header, on a Clock."""

    def setUp(self) -> None:
        super().setUp()
        self.use(trusted_proxies=["10.0.0.0/8"], handshake_timeout=5, max_connections=2)
        self.refusals: list[Any] = []
        self.system.events.subscribe(ConnectionRefused, self.refusals.append)

    def use(self, **options: Any) -> None:
        self.factory = EchoFactory(self.system)
        self.factory.use(ServerOptions(**options))
        self.proxy = ProxyProtocolFactory(self.factory, self.factory)

    def connect(self, peer: Any = PROXY) -> Wire:
        wire = Wire(peerAddress=peer)
        wire.protocol = self.proxy.buildProtocol(peer)
        wire.protocol.makeConnection(wire)
        return wire

    def test_byte_by_byte(self) -> None:
        """A header in single bytes, and the client's bytes with its last one, come to the client's actor."""
        for header in (V1, V2):
            wire = self.connect()
            for at in range(len(header) - 1):
                wire.protocol.dataReceived(header[at : at + 1])
            self.assertNotIsInstance(wire.protocol, EchoProtocol)
            wire.protocol.dataReceived(header[-1:] + b"hello")
            self.assertIsInstance(wire.protocol, EchoProtocol)
            wire.protocol.dataReceived(b" again")
            self.assertEqual(wire.value(), b"hello again")
            self.assertEqual(wire.protocol.transport.getPeer(), CLIENT)
            self.assertEqual(wire.protocol.transport.getHost(), SERVER)

    def test_own_connection(self) -> None:
        """A proxy's own connection, or one of a client that it does not tell, has the proxy for its peer."""
        for header in (v2(0x20, 0, b""), b"PROXY UNKNOWN\r\n"):
            wire = self.connect()
            wire.protocol.dataReceived(header)
            self.assertEqual(wire.protocol.transport.getPeer(), PROXY)

    def test_counted_once(self) -> None:
        """A connection counts from its first moment to its last, and once."""
        wire = self.connect()
        self.assertEqual(self.factory.gate.count, 1)
        wire.protocol.dataReceived(V1)
        self.assertEqual(self.factory.gate.count, 1)
        wire.protocol.connectionLost(Failure(ConnectionDone()))
        self.settle()
        self.assertEqual(self.factory.gate.count, 0)
        waiting = self.connect()
        waiting.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.factory.gate.count, self.refusals), (0, []))

    def test_limit(self) -> None:
        """Those who wait for their header count in the limit."""
        self.connect()
        self.connect()
        third = self.connect()
        self.assertTrue(third.aborted)
        self.assertEqual(self.refusals, [ConnectionRefused(PROXY, "too many connections")])

    def test_untrusted(self) -> None:
        """Who is no trusted proxy is refused at once; whoever may open a UNIX socket is one."""
        for peer in (CLIENT, IPv6Address("TCP", "::ffff:192.0.2.1", 1)):
            self.assertTrue(self.connect(peer).aborted)
            self.assertEqual(self.refusals.pop(), ConnectionRefused(peer, "it is no trusted proxy"))
        trusted: list[Any] = [IPv6Address("TCP", "::ffff:10.0.0.1", 1), UNIXAddress(b"")]
        for peer in trusted:
            wire = self.connect(peer)
            wire.protocol.dataReceived(V1)
            self.assertEqual(wire.protocol.transport.getPeer(), CLIENT)

    def test_refused(self) -> None:
        """A wrong header is refused, and nothing after it is heard."""
        wire = self.connect()
        wire.protocol.dataReceived(b"GET / HTTP/1.1\r\n")
        wire.protocol.dataReceived(V1)
        wire.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(wire.aborted)
        [refusal] = self.refusals
        self.assertEqual((refusal.peer, self.factory.gate.count), (PROXY, 0))
        self.assertIn("bad header: no PROXY header: b'GET", refusal.reason)

    def test_too_late(self) -> None:
        """A header has to be whole in time, however steadily it comes."""
        wire = self.connect()
        for at in range(4):
            wire.protocol.dataReceived(V1[at : at + 1])
            self.pass_time(1)
        self.assertFalse(wire.aborted)
        self.pass_time(1)
        self.assertTrue(wire.aborted)
        self.assertEqual(self.refusals, [ConnectionRefused(PROXY, "handshake timeout")])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_in_time(self) -> None:
        """After a header its time limit is gone."""
        wire = self.connect()
        wire.protocol.dataReceived(V1)
        self.pass_time(100)
        self.assertFalse(wire.aborted)

    def test_end_of_input(self) -> None:
        """A connection that ends before its header is refused."""
        wire = self.connect()
        wire.protocol.dataReceived(V1[:-1])
        wire.protocol.readConnectionLost()
        self.assertTrue(wire.aborted)
        self.assertEqual(self.factory.gate.count, 0)
        self.assertEqual(
            self.refusals, [ConnectionRefused(PROXY, "bad header: none before the end of input")]
        )

    def test_limits_apply_to_the_client(self) -> None:
        """Lists and limits for one address go by the client, not by the proxy."""
        self.use(
            trusted_proxies=["10.0.0.0/8"],
            deny=["192.0.2.0/24", "10.0.0.1"],
            max_connections_per_address=1,
        )
        wire = self.connect()
        wire.protocol.dataReceived(V1)
        self.assertTrue(wire.aborted)
        self.assertEqual(self.refusals, [ConnectionRefused(CLIENT, "its address is denied")])
        accepted = [self.connect(), self.connect()]
        for port, one in enumerate(accepted):
            one.protocol.dataReceived(f"PROXY TCP4 203.0.113.1 10.0.0.2 {port} 1\r\n".encode())
        self.assertEqual([one.aborted for one in accepted], [False, True])
        self.assertEqual(self.factory.gate.count, 1)

    def test_header_while_it_drains(self) -> None:
        """The last client, whose header comes during a drain, is served on."""
        factory = EchoFactory(self.system)
        options = ServerOptions(port=8080, trusted_proxies=["10.0.0.0/8"], shutdown_timeout=10)
        server = Server(factory, options)
        self.proxy = ProxyProtocolFactory(factory, factory)
        wire = self.connect()
        drained = server.drain()
        wire.protocol.dataReceived(V1 + b"hello")
        self.settle()
        self.assertNoResult(drained)
        self.assertEqual((wire.value(), server.connections), (b"hello", 1))
        wire.protocol.connectionLost(Failure(ConnectionDone()))
        self.settle()
        self.successResultOf(drained)

    def test_aborted_with_the_factory(self) -> None:
        """A drain that is over, or the system's abort, also ends those who wait for their header."""
        wire = self.connect()
        self.factory.abort("shutdown timeout")
        self.assertTrue(wire.aborted)
        self.assertEqual(self.factory.gate.count, 0)
        stopped = self.system.stopService()
        self.settle()
        self.successResultOf(stopped)


class HandoverTests(ConnectionTestCase):
    """Real sockets."""

    def connect_by_proxy(self) -> socket.socket:
        factory = ActorFactory(self.system)
        factory.protocol = EchoProtocol
        factory.use(ServerOptions(trusted_proxies=["127.0.0.0/8"]))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, peer = listener.accept()
        self.addCleanup(client.close)
        self.addCleanup(accepted.close)
        client.settimeout(5)
        waiting: Any = ProxyProtocolFactory(factory, factory).buildProtocol(IPv4Address("TCP", *peer))
        port: Any = None  # it came through none
        clock: Any = self.reactor
        self.wire = tcp.Server(accepted, waiting, peer, port, 1, clock)
        self.wire.repstr = "<a connection under test>"
        waiting.makeConnection(self.wire)
        self.wire.startReading()
        return client

    def test_written_at_once(self) -> None:
        """After the header, bytes are written at once, as on a connection without a proxy."""
        client = self.connect_by_proxy()
        client.sendall(V2 + b"hello")
        self.poll(1)
        self.assertEqual(self.reactor.writers, set())
        self.assertEqual(client.recv(5, socket.MSG_WAITALL), b"hello")
        self.assertIs(type(self.wire), tcp.Server)
        self.assertEqual(self.wire.protocol.transport.getPeer(), CLIENT)

    def test_half_close(self) -> None:
        """Header, bytes and end of input in one packet: the bytes come back, then the end."""
        client = self.connect_by_proxy()
        client.sendall(V1 + b"hello")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read_all(client), b"hello")

    def test_end_before_the_header(self) -> None:
        """A peer that ends its input without a header is closed."""
        client = self.connect_by_proxy()
        client.shutdown(socket.SHUT_WR)
        self.poll()
        self.clock.advance(0)
        with self.assertRaises(ConnectionResetError):
            client.recv(1)


class InFrontTests(RealTestCase):
    async def test_every_kind_of_port(self) -> None:
        """On TCP and UNIX ports, the header comes first; bytes that came with it are not lost."""
        path = str(self.directory / "socket")
        server = self.start(
            ServerOptions(
                port=0, interface="127.0.0.1", endpoints=[f"unix:{path}"], trusted_proxies=["127.0.0.1"]
            )
        )
        for kind, address in (
            (socket.AF_INET, ("127.0.0.1", server.addresses[0].port)),
            (socket.AF_UNIX, path),
        ):
            client = socket.socket(kind)
            self.addCleanup(client.close)
            client.connect(address)
            client.sendall(V1 + b"hello")
            client.shutdown(socket.SHUT_WR)
            got: bytes = await self.in_thread(client.recv, 5, socket.MSG_WAITALL)
            self.assertEqual(got, b"hello")
