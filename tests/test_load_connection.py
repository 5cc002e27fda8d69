"""One connection of the load client, on a transport that keeps what is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import given, strategies
from twisted.trial.unittest import SynchronousTestCase

from echoactor.load import connection
from echoactor.load.connection import CHUNK, PERIOD, Connection
from echoactor.load.figures import Figures
from echoactor.load.options import LoadOptions


class Transport:
    """Keeps what is written, and whether it was ended."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.aborted = self.closed = False

    def write(self, data: memoryview) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = bytes(self.written)
        self.written.clear()
        return taken


class ConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 100.0
        self.patch(connection, "perf_counter", lambda: self.now)
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)
        self.restart()

    def restart(self) -> None:
        self.figures = Figures()
        self.lost: list[Connection] = []

    def make(self, number: int = 0, **options: Any) -> tuple[Connection, Transport]:
        async def make() -> Connection:
            chosen = LoadOptions(host="h", port=1, **options)
            return Connection(number, chosen, self.figures, self.lost.append)

        made = self.loop.run_until_complete(make())
        transport: Any = Transport()
        made.connection_made(transport)
        return made, transport

    def answer(self, to: Connection, data: bytes) -> None:
        """Let bytes come back, as a loop does."""
        while data:
            buffer = to.get_buffer(-1)
            piece = data[: len(buffer)]
            buffer[: len(piece)] = piece
            to.buffer_updated(len(piece))
            data = data[len(piece) :]

    def latencies(self) -> dict[int, int]:
        """In milliseconds."""
        return {round(latency / 1e3): count for latency, count in self.figures.latencies.items()}

    @contextmanager
    def one_error(self, kind: str, *texts: str) -> Iterator[None]:
        """One error is counted, told, ends the connection, and is reported once."""
        yield
        self.assertEqual(list(self.figures.errors), [kind])
        [detail] = self.figures.details
        for text in texts:
            self.assertIn(text, detail)
        self.assertEqual(len(self.lost), 1)

    # A closed loop

    def test_one_at_a_time(self) -> None:
        """The next message is sent when one is answered, and latency counts from the sending."""
        client, transport = self.make(size=10)
        client.start()
        first = transport.take()
        self.assertEqual(len(first), 10)
        self.now += 0.005
        self.answer(client, first)
        second = transport.take()
        self.assertEqual(len(second), 10)
        self.now += 0.007
        self.answer(client, second)
        self.assertEqual(self.latencies(), {5: 1, 7: 1})
        self.assertEqual(client.last_answer, self.now)
        self.assertEqual(self.figures.errors, {})

    def test_in_parts(self) -> None:
        """A message counts when its last byte has come, however many reads that took."""
        client, transport = self.make(size=10)
        client.start()
        data = transport.take()
        for place in range(9):
            self.answer(client, data[place : place + 1])
            self.assertEqual((self.latencies(), transport.take()), ({}, b""))
        self.now += 0.003
        self.answer(client, data[9:])
        self.assertEqual((self.latencies(), len(transport.take())), ({3: 1}, 10))

    def test_pipelining(self) -> None:
        """So many are unanswered at once, and each answer lets as many follow."""
        client, transport = self.make(size=10, pipeline=4)
        client.start()
        data = transport.take()
        self.assertEqual(len(data), 40)
        self.answer(client, data[:25])
        self.assertEqual((sum(self.latencies().values()), len(transport.take())), (2, 20))
        self.answer(client, data[25:])
        self.assertEqual((sum(self.latencies().values()), len(transport.take())), (4, 20))
        self.assertEqual(len(client.unanswered), 4)

    def test_large(self) -> None:
        """A message larger than the stream repeats and goes, and comes back, in pieces."""
        client, transport = self.make(size=2 * PERIOD + 3 * CHUNK + 5)
        client.start()
        data = transport.take()
        self.assertEqual(len(data), 2 * PERIOD + 3 * CHUNK + 5)
        self.answer(client, data)
        self.assertEqual((sum(self.latencies().values()), self.figures.errors), (1, {}))

    def test_stop(self) -> None:
        """After the stop, answers are counted, and nothing is sent."""
        client, transport = self.make(size=10, pipeline=2)
        client.start()
        data = transport.take()
        self.assertEqual(client.stop(), 0)
        self.answer(client, data)
        self.assertEqual((transport.take(), len(client.unanswered)), (b"", 0))
        self.assertEqual(sum(self.latencies().values()), 2)

    # A schedule

    def test_schedule(self) -> None:
        """A message is sent when it is due, and latency counts from then."""
        client, transport = self.make(size=10)
        client.schedule(first=100.0, gap=0.010)
        client.send_due(1)
        self.now = 100.004
        self.answer(client, transport.take())
        self.assertEqual(transport.take(), b"")
        self.now = 100.011  # a millisecond late
        client.send_due(2)
        self.now = 100.013
        self.answer(client, transport.take())
        self.assertEqual(self.latencies(), {4: 1, 3: 1})

    def test_coordinated_omission(self) -> None:
        """What is due while the server stalls waits, is sent then, and its waiting counts."""
        client, transport = self.make(size=10)
        client.schedule(first=100.0, gap=0.100)
        for due in (1, 2, 3, 4):
            client.send_due(due)
            self.now += 0.1
        data = transport.take()
        self.assertEqual(len(data), 10)
        for _ in range(4):  # the server wakes up at 100.4, and is quick from then on
            self.answer(client, data)
            data = transport.take()
        self.assertEqual(self.latencies(), {400: 1, 300: 1, 200: 1, 100: 1})

    def test_without_schedule(self) -> None:
        """The same stall counts once in a closed loop."""
        client, transport = self.make(size=10)
        client.start()
        self.now += 0.4
        for _ in range(4):
            self.answer(client, transport.take())
        self.assertEqual(self.latencies(), {400: 1, 0: 3})

    def test_unsent(self) -> None:
        """The stop tells how many were due and are not sent; they are sent no more."""
        client, transport = self.make(size=10, pipeline=2)
        client.schedule(first=100.0, gap=0.1)
        client.send_due(1)
        client.send_due(5)
        data = transport.take()
        self.assertEqual((len(data), client.stop()), (20, 3))
        self.answer(client, data)
        self.assertEqual(transport.take(), b"")

    # Checking

    def test_streams_differ(self) -> None:
        """No two connections, and no two places of one within a period, send the same 16 bytes."""
        seen = set()
        for number in range(200):
            client, transport = self.make(number, size=16 * 20)
            client.start()
            data = transport.take()
            seen |= {data[place : place + 16] for place in range(0, len(data), 16)}
        self.assertEqual(len(seen), 200 * 20)

    @given(
        strategies.integers(1, 100),
        strategies.integers(1, 5),
        strategies.data(),
    )
    def test_any_wrong_byte(self, size: int, pipeline: int, data: strategies.DataObject) -> None:
        """Whatever byte is wrong, after however many right ones: it is found, and told where."""
        self.restart()
        client, transport = self.make(size=size, pipeline=pipeline)
        client.start()
        good = data.draw(strategies.integers(0, 5))
        for _ in range(good):
            self.answer(client, transport.take())
        sent = bytearray(transport.take())
        place = data.draw(strategies.integers(0, len(sent) - 1))
        before = data.draw(strategies.integers(0, place))
        was = sent[place]
        sent[place] ^= data.draw(strategies.integers(1, 255))
        position = good * pipeline * size + place
        came = sent[place]
        with self.one_error(
            "wrong byte", f"byte {position} of", f"was 0x{was:02x}, and came back as 0x{came:02x}"
        ):
            self.answer(client, bytes(sent[:before]))
            self.answer(client, bytes(sent[before:]))
        self.assertTrue(transport.aborted)

    def spoilt(self, spoil: Callable[[bytes], bytes]) -> None:
        """An answer that is changed so is a wrong byte."""
        self.restart()
        client, transport = self.make(size=1000)
        client.start()
        with self.one_error("wrong byte"):
            self.answer(client, spoilt := spoil(transport.take()))
        self.assertLessEqual(len(spoilt), 1001)

    def test_shifted(self) -> None:
        """A byte left out, one twice, two changed about, zeros, and another connection's bytes are wrong."""
        other, others = self.make(1, size=1000)
        other.start()
        self.spoilt(lambda data: data[:500] + data[501:])
        self.spoilt(lambda data: data[:500] + data[499:])
        self.spoilt(lambda data: data[:500] + data[501:502] + data[500:501] + data[502:])
        self.spoilt(lambda data: bytes(len(data)))
        self.spoilt(lambda data: others.take())

    def test_buffers_changed_about(self) -> None:
        """Blocks of a message in another order are wrong, whatever power of two their size."""
        for size in (1 << power for power in range(0, 19)):
            self.restart()
            client, transport = self.make(size=2 * size)
            client.start()
            data = transport.take()
            with self.one_error("wrong byte"):
                self.answer(client, data[size:] + data[:size])

    def test_more_than_sent(self) -> None:
        """Bytes that nobody sent are wrong, even if they are those that would follow."""
        client, transport = self.make(size=10)
        with self.one_error("wrong byte"):
            self.answer(client, b"220 welcome\r\n")
        self.restart()
        client, transport = self.make(size=10, pipeline=2)
        client.start()
        following = transport.take()
        client, transport = self.make(size=10)
        client.start()
        with self.one_error("wrong byte", "more came back than was sent"):
            self.answer(client, following[:11])

    # Ending

    def test_lost(self) -> None:
        """A connection that ends by itself is an error, with what was outstanding."""
        client, transport = self.make(7, size=10, pipeline=3)
        client.start()
        data = transport.take()
        self.answer(client, data[:14])
        with self.one_error(
            "connection lost",
            "connection 7: the server closed it with 3 unanswered, "
            "the first with 4 of its 10 bytes, after 1 answers",
        ):
            client.connection_lost(None)
        self.assertTrue(client.close().done())

    def test_reset(self) -> None:
        """The reason is told where there is one."""
        client, _ = self.make()
        with self.one_error("connection lost", "connection 0: Connection reset by peer"):
            client.connection_lost(ConnectionResetError("Connection reset by peer"))

    def test_given_up(self) -> None:
        """What is not answered counts as so many errors."""
        client, _ = self.make(size=10, pipeline=3)
        client.start()
        with self.one_error("unanswered", "waited 5 s with 3 unanswered, after 0 answers"):
            client.give_up(5.0)
        self.assertEqual(self.figures.errors["unanswered"], 3)

    def test_closed(self) -> None:
        """A connection that is closed by us is no error."""
        client, transport = self.make()
        done = client.close()
        self.assertEqual((transport.closed, done.done()), (True, False))
        client.connection_lost(None)
        self.assertEqual((done.done(), self.figures.errors, self.lost), (True, {}, []))

    def test_nothing_after_the_end(self) -> None:
        """An ended connection sends nothing, whatever its schedule says, and counts it as not sent."""
        client, transport = self.make(size=10)
        client.schedule(first=100.0, gap=0.1)
        client.connection_lost(None)
        client.send_due(1)
        self.assertEqual((transport.take(), client.stop()), (b"", 1))
