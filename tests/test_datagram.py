"""The echo of datagrams, and whom it does not answer."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from echoactor import ServerOptions
from echoactor.datagram import IP_PKTINFO, MAX_SIZE, REPORT, DatagramEcho, Rates, _Judge, _receiver
from echoactor.errors import ListenError

from .support import RealTestCase, log_lines, reactor

OWN = 7777


class RatesTests(SynchronousTestCase):
    def allowed(self, rates: Rates, source: str, times: int, now: float) -> int:
        return sum(rates.take(ip_address(source), now) for _ in range(times))

    def test_burst_and_rate(self) -> None:
        """A source has a burst, then so many a second; another one is not concerned."""
        rates = Rates(rate=10, total=1000)
        self.assertEqual(self.allowed(rates, "192.0.2.1", 50, 0), 10)
        self.assertEqual(self.allowed(rates, "192.0.2.2", 5, 0), 5)
        self.assertEqual(self.allowed(rates, "192.0.2.1", 50, 0.5), 5)
        self.assertEqual(self.allowed(rates, "192.0.2.1", 50, 100), 10)

    def test_network_of_a_client(self) -> None:
        """All addresses of an IPv6 client's network are one source."""
        rates = Rates(rate=10, total=1000)
        got = sum(self.allowed(rates, f"2001:db8::{number:x}", 1, 0) for number in range(50))
        self.assertEqual((got, self.allowed(rates, "2001:db8:0:1::1", 50, 0)), (10, 10))

    def test_total(self) -> None:
        """All sources together have a rate, however many they are."""
        rates = Rates(rate=10, total=100)
        got = sum(self.allowed(rates, f"192.0.2.{number}", 10, 0) for number in range(100))
        self.assertEqual(got, 100)

    def test_bounded(self) -> None:
        """No more sources are remembered than may be; the oldest are forgotten."""
        rates = Rates(rate=1, total=10**9, sources=100)
        for number in range(10_000):
            rates.take(ip_address(number), 0)
        self.assertEqual(len(rates._buckets), 100)
        self.assertEqual(self.allowed(rates, str(ip_address(9_999)), 1, 0), 0)


class JudgeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def judge(self, **options: Any) -> _Judge:
        return _Judge(self.clock, ServerOptions(**options))

    def test_never(self) -> None:
        """Services, echo servers, nobody's addresses, and what was sent to many, get no answer."""
        judge = self.judge()
        for host, port, to_many in (
            *(("192.0.2.1", port, False) for port in (0, 7, 19, 53, 123, 1023, OWN)),
            *((host, 5000, False) for host in ("224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::")),
            *((host, 5000, False) for host in ("::ffff:224.0.0.1", "::ffff:255.255.255.255")),
            ("192.0.2.1", 5000, True),
        ):
            self.assertFalse(judge.answers(host, port, OWN, to_many), (host, port))
        for host in ("192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "fe80::1%lo"):
            self.assertTrue(judge.answers(host, 1024, OWN, False), host)

    def test_lists(self) -> None:
        """Denied networks get no answer, and with a list of the allowed, no others do."""
        judge = self.judge(allow=["192.0.2.0/24"], deny=["192.0.2.1"])
        answers = [judge.answers(f"192.0.{net}", 5000, OWN, False) for net in ("2.1", "2.2", "3.1")]
        self.assertEqual(answers, [False, True, False])

    def test_report(self) -> None:
        """One line in some seconds says how many were left unanswered, and why."""
        lines = log_lines(self, "echoactor.datagram")
        judge = self.judge()
        for _ in range(1000):
            judge.answers("192.0.2.1", 7, OWN, False)
        judge.answers("192.0.2.1", 5000, OWN, True)
        self.assertEqual(lines, [])
        self.clock.advance(REPORT)
        self.assertEqual(
            lines, ["datagrams left unanswered: 1000 from the port of a service, 1 sent to many"]
        )
        self.clock.advance(REPORT * 10)
        judge.answers("192.0.2.1", 7, OWN, False)
        judge.stop()
        self.assertEqual(len(lines), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ReceiverTests(SynchronousTestCase):
    def test_multicast(self) -> None:
        """What the kernel says of a datagram tells whether it was sent to many, on both kinds of socket."""
        unspecified = bytes(4)
        for receiver, local, to_many in (
            ("192.0.2.9", "192.0.2.9", False),
            ("224.0.0.1", "192.0.2.9", True),
            ("192.0.2.255", "192.0.2.9", True),
        ):
            packed = unspecified + ip_address(local).packed + ip_address(receiver).packed
            self.assertEqual(_receiver([(socket.IPPROTO_IP, IP_PKTINFO, packed)])[0], to_many)
        for receiver, to_many in (("ff02::1", True), ("2001:db8::1", False)):
            packed = ip_address(receiver).packed + unspecified
            ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packed)]
            self.assertEqual(_receiver(ancillary), (to_many, ancillary))
        self.assertEqual(_receiver([]), (False, []))


class EchoTests(RealTestCase):
    """Real datagrams on loopback."""

    def open_echo(self, interface: str = "127.0.0.1", **options: Any) -> int:
        """Start; returns the port."""
        echo = DatagramEcho(reactor, 0, ServerOptions(interface=interface, **options))
        echo.privilegedStartService()
        echo.startService()
        self.addCleanup(echo.stopService)
        assert echo.port is not None
        port: int = echo.port.getHost().port
        return port

    def client(self, family: int = socket.AF_INET) -> socket.socket:
        client = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            client.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
        return client

    async def answers(self, client: socket.socket, at_least: int) -> list[tuple[bytes, Any]]:
        """What has come, after waiting for so many and a little longer."""
        got = []
        for turn in range(300):
            try:
                got.append(client.recvfrom(MAX_SIZE))
            except BlockingIOError:
                if len(got) >= at_least and turn > 10:
                    break
                await deferLater(reactor, 0.01, lambda: None)
        return got

    async def test_echo(self) -> None:
        """Datagrams of every size come back whole, each from the address that it was sent to."""
        for interface, family, hosts in (
            ("127.0.0.1", socket.AF_INET, ["127.0.0.1"]),
            ("", socket.AF_INET, ["127.0.0.1", "127.0.0.2"]),
            ("::", socket.AF_INET6, ["::1", "::ffff:127.0.0.3"]),
        ):
            port = self.open_echo(interface)
            for host in hosts:
                client = self.client(family)
                for data in (b"hello", b"", bytes(65_507 if family == socket.AF_INET else 60_000)):
                    client.sendto(data, (host, port))
                    [(answer, sender)] = await self.answers(client, 1)
                    self.assertEqual((answer, sender[:2]), (data, (host, port)))

    async def test_low_port(self) -> None:
        """A datagram from a service's port is not answered."""
        client = self.client()
        try:
            client.bind(("127.0.0.1", 1023))
        except PermissionError:
            self.skipTest("only root may send from a low port")
        client.sendto(b"chargen", ("127.0.0.1", self.open_echo()))
        self.assertEqual(await self.answers(client, 0), [])

    async def test_to_many(self) -> None:
        """A datagram that was sent to a broadcast or multicast address is not answered."""
        for interface in ("", "::"):
            port = self.open_echo(interface)
            client = self.client()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            client.sendto(b"smurf", ("127.255.255.255", port))
            self.assertEqual(await self.answers(client, 0), [])
            client.sendto(b"hello", ("127.0.0.1", port))
            self.assertEqual([data for data, _ in await self.answers(client, 1)], [b"hello"])

    async def test_flood(self) -> None:
        """A source that floods gets its burst, and then no more than its rate."""
        port = self.open_echo()
        client = self.client()
        for _ in range(1000):
            client.sendto(b"x", ("127.0.0.1", port))
        self.assertIn(len(await self.answers(client, 100)), range(100, 200))

    async def test_two_servers(self) -> None:
        """
        Two servers that a forged datagram sets on each other go on only as fast as one source may.

        Above port 1023, another host's echo server cannot be told from a client, so the rate is what is left.
        """
        first, second = self.open_echo(), self.open_echo()
        forger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(forger.close)
        sent = 0
        ports = [echo for echo in reactor.getReaders() if getattr(echo, "judge", None) is not None]
        for port in ports:
            answers = port.judge.answers

            def count(*args: Any, answers: Any = answers) -> bool:
                nonlocal sent
                answered: bool = answers(*args)
                sent += answered
                return answered

            self.patch(port.judge, "answers", count)
        [port] = [port for port in ports if port.getHost().port == first]
        port.socket.sendto(b"ping", ("127.0.0.1", second))
        await deferLater(reactor, 0.3, lambda: None)
        self.assertIn(sent, range(2, 2 * (100 + 100)))

    def test_cannot_listen(self) -> None:
        """A port that is taken raises one line that names it."""
        taken = self.client()
        taken.bind(("127.0.0.1", 0))
        number = taken.getsockname()[1]
        echo = DatagramEcho(reactor, number, ServerOptions(interface="127.0.0.1"))
        with self.assertRaisesRegex(ListenError, f"^cannot listen on udp:{number}: Address already in use$"):
            echo.privilegedStartService()
