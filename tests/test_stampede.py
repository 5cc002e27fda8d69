"""Connections die at random under load, and nobody else notices (real reactor, real sockets)."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from echoactor import ActorFactory, Address, EchoProtocol, Server, ServerOptions

from .support import RealTestCase, reactor

SEED = 48
CLIENTS = 100
KILLS = 1250
BETWEEN_KILLS = 0.004
WINDOW = 4000
"""Bytes a client has on their way: some messages, so that a kill strikes in the middle of much."""


def numbered(client: int) -> Iterator[bytes]:
    """What a client sends: 13 bytes each, no two alike, so that no loss and no swap stays unseen."""
    return (b"%04x-%07x\n" % (client, number) for number in count())


class Client(Protocol):
    """Sends numbered lines, checks that they come back in order, and says when its connection is gone."""

    transport: Any

    def __init__(self, number: int) -> None:
        self.lines = numbered(number)
        self.expected = bytearray()  # sent, not come back yet
        self.checked = 0
        self.wrong: tuple[bytes, bytes] | None = None
        self.is_resting = False
        self.rested: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.send_more()

    def send_more(self) -> None:
        lines = []
        room = WINDOW - len(self.expected)
        while room > 0:
            lines.append(next(self.lines))
            room -= len(lines[-1])
        if lines:
            data = b"".join(lines)
            self.expected += data
            self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        if self.wrong is None and not self.expected.startswith(data):
            self.wrong = (data, bytes(self.expected[: len(data)]))
        del self.expected[: len(data)]
        self.checked += len(data)
        if not self.is_resting:
            self.send_more()
        elif not self.expected:
            self.rest()

    def rest(self) -> Deferred[None]:
        """Send no more; fires when all has come back, or the connection is gone."""
        self.is_resting = True
        if not self.expected and not self.rested.called:
            self.rested.callback(None)
        return self.rested

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.rested.called:
            self.rested.callback(None)
        self.gone.callback(None)


class Counted(EchoProtocol):
    """The echo, as it comes; the test knows which connections there are."""

    def __init__(self, living: dict[Address, None]) -> None:
        self.living = living

    def connectionMade(self) -> None:
        self.living[self.address] = None


class StampedeTests(RealTestCase):
    async def test_killed_at_random(self) -> None:
        """
        48: 100 clients echo while one dies every few ms: no survivor loses or swaps a byte.

        The server accepts to the end, and then no descriptor, no actor and no timer is left.
        """
        random = Random(SEED)
        events: Any = EventLoggingObserver()
        globalLogPublisher.addObserver(events)
        self.addCleanup(globalLogPublisher.removeObserver, events)
        # What the reactor keeps open for itself from its start and its first port on is no leak.
        await deferLater(reactor, 0, lambda: None)
        await reactor.listenTCP(0, Factory(), interface="127.0.0.1").stopListening()
        gc.collect()  # nor is what tests before this one have left to the collector
        before = open_descriptors()

        living: dict[Address, None] = {}
        factory = ActorFactory(self.system)
        factory.protocol = lambda: Counted(living)
        server = Server(factory, ServerOptions(port=0, interface="127.0.0.1"))
        server.setServiceParent(self.system)
        self.system.startService()
        [host] = server.addresses
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", host.port)

        clients: dict[int, Client] = {}
        ended: list[Client] = []
        unborn = 0
        failures: list[Failure] = []
        numbers = count()
        is_over = False

        async def live() -> None:
            """One place in the crowd: a client, and after its end another."""
            nonlocal unborn
            while not is_over:
                number = next(numbers)
                try:
                    client = await connect(number)
                except ConnectError:  # it was killed before the client had noticed that it was connected
                    unborn += 1
                    continue
                clients[number] = client
                if is_over:
                    client.transport.loseConnection()
                await client.gone
                ended.append(clients.pop(number))

        async def connect(number: int) -> Client:
            client: Any = await endpoint.connect(Factory.forProtocol(lambda: Client(number)))
            assert isinstance(client, Client)
            return client

        killed = 0

        def kill(times: int) -> None:  # as often as the time that passed asks for
            nonlocal killed
            for victim in random.sample(list(living), min(times, len(living))):
                del living[victim]
                victim.exit("kill")
                killed += 1

        places = [Deferred.fromCoroutine(live()).addErrback(failures.append) for _ in range(CLIENTS)]
        killing: Any = LoopingCall.withCount(kill)
        killing.start(BETWEEN_KILLS, now=False)
        while killed < KILLS:
            await deferLater(reactor, 0.01, lambda: None)
        killing.stop()
        while len(ended) + unborn < killed:  # the last of the killed have not heard of it
            await deferLater(reactor, 0.01, lambda: None)
        is_over = True
        lost = len(ended) + unborn
        survivors = list(clients.values())
        for client in survivors:
            client.rest()
        for client in survivors:
            await client.rested
        unanswered = [len(client.expected) for client in survivors if client.expected]
        latecomer = await connect(next(numbers))
        await latecomer.rest()
        for client in [*survivors, latecomer]:
            client.transport.loseConnection()
        for place in places:
            await place
        await latecomer.gone
        await self.system.stopService()
        await deferLater(reactor, 0.05, lambda: None)  # the sockets' last turn

        everyone = [*ended, latecomer]
        self.assertEqual(failures, [])
        self.assertEqual([client.wrong for client in everyone if client.wrong], [])
        self.assertEqual(unanswered, [])
        self.assertEqual(lost, killed)  # so that nobody else lost its connection
        self.assertGreaterEqual(min(client.checked for client in [*survivors, latecomer]), WINDOW)
        self.assertEqual((self.system.count_actors(), self.system.count_runnable()), (0, 0))
        self.assertEqual(open_descriptors(), before)
        errors = [event for event in events if event["log_level"] >= LogLevel.error]
        self.assertEqual(errors, [])


def open_descriptors() -> Counter[str]:
    """What each open descriptor of this process is, without numbers that differ from time to time."""
    kinds = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            kinds.append(os.readlink(f"/proc/self/fd/{descriptor}").partition(":")[0])
        except FileNotFoundError:  # the listing's own
            pass
    return Counter(kinds)
