"""Looks at a system, while somebody watches."""

from __future__ import annotations

from itertools import count
from typing import Any

from echoactor import EchoFactory
from echoactor.admin import watch
from echoactor.admin.sample import Sample
from echoactor.admin.view import View
from echoactor.admin.watch import PERIOD, SHARE, Watch
from echoactor.delays import SAMPLED
from echoactor.events import ConnectionOpened
from echoactor.figures import Figures

from .support import ActorTestCase, Adder, Stuck
from .test_admin_tree import connect


class Eyes:
    """Watches, and counts its looks."""

    def __init__(self) -> None:
        self.looks = 0

    def look(self) -> None:
        self.looks += 1


class SampleTests(ActorTestCase):
    def test_waiting(self) -> None:
        """Messages in all mailboxes are counted, whatever their actor does."""
        busy = [self.spawn(Adder), self.spawn(Adder), self.spawn(Stuck)]
        self.spawn(Adder)
        for address in busy:
            for number in range(5):
                address.send(number)
        self.assertEqual(Sample(self.system, None).waiting, 15)
        self.settle()
        self.assertEqual(Sample(self.system, None).waiting, 4)  # it has one in hand
        busy[2].send("one more")
        self.assertEqual(Sample(self.system, None).waiting, 5)


class WatchTests(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(watch, "thread_time", lambda: 0.0)  # a collection of garbage in a look makes it a slow one
        self.watch = Watch(Figures(self.system))
        self.eyes = Eyes()

    def figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = self.watch.see(View())["system"]
        return figures

    def next_look(self) -> None:
        looks = self.eyes.looks
        while self.eyes.looks == looks:
            self.pass_time(0.1)

    def test_nobody(self) -> None:
        """With nobody who watches nothing is scheduled; soon after the last one has left, it is so again."""
        events = dict(self.system.events)
        self.assertEqual(self.clock.calls, [])
        others = Eyes()
        self.watch.watch(self.eyes)
        self.watch.watch(others)
        self.assertIn(ConnectionOpened, self.system.events)
        self.watch.leave(others)
        self.pass_time(3)
        self.assertEqual((self.eyes.looks > 1, others.looks), (True, 1))
        self.watch.leave(self.eyes)
        self.watch.leave(self.eyes)
        self.pass_time(PERIOD)
        self.assertEqual((self.clock.calls, dict(self.system.events)), ([], events))

    def test_stop(self) -> None:
        """When it is stopped nothing is left at once, and it can be started again, as if it were new."""
        for _ in range(2):
            self.watch.watch(self.eyes)
            self.assertEqual((self.figures()["messages"], self.figures()["delay"]), (None, None))
            self.pass_time(PERIOD / 2)  # in which delays are taken, for the next look
            self.watch.stop()
            self.watch.stop()
            self.assertEqual(self.clock.calls, [])
        self.assertEqual(self.eyes.looks, 2)

    def test_pace(self) -> None:
        """Those who watch look once a second, all at the same sample."""
        self.watch.watch(self.eyes)
        others = Eyes()
        self.watch.watch(others)
        for _ in range(100):
            self.pass_time(0.1)
        self.assertIn(self.eyes.looks, (10, 11))
        self.assertEqual(others.looks, self.eyes.looks)

    def test_a_slow_look(self) -> None:
        """Looking that takes long is done less often: it has its share of the reactor's time and no more."""
        time = 0.0

        def thread_time() -> float:
            return time

        class Slow(Eyes):
            def look(self) -> None:
                nonlocal time
                super().look()
                time += 0.1

        self.patch(watch, "thread_time", thread_time)
        slow = Slow()
        self.watch.watch(slow)
        for _ in range(1000):
            self.pass_time(0.1)
        self.assertEqual(slow.looks, round(100 * SHARE / 0.1) + 1)  # the first is at once

    def test_rates(self) -> None:
        """Messages are counted by the second, also those of actors that have ended since."""
        addresses = [self.spawn(Adder), self.spawn(Adder)]
        self.watch.watch(self.eyes)
        self.assertIsNone(self.figures()["messages"])
        for address in addresses:
            for number in range(50):
                address.send(number)
        self.settle()
        addresses[0].exit("shutdown")
        self.next_look()
        self.assertEqual(self.figures()["messages"], round(100 / self.figures()["period"]))
        self.assertAlmostEqual(self.figures()["period"], PERIOD, delta=0.11)
        self.assertEqual((self.figures()["actors"], self.figures()["waiting"]), (1, 0))

    def test_draining(self) -> None:
        """The figures tell that the system drains."""
        self.watch.watch(self.eyes)
        self.assertFalse(self.figures()["draining"])
        self.system.startService()
        self.system.stopService()
        self.next_look()
        self.assertTrue(self.figures()["draining"])

    def test_delay(self) -> None:
        """The delay is that of actors which wait for their turn: the median, and the slowest."""
        adders = [self.spawn(Adder) for _ in range(SAMPLED)]
        self.watch.watch(self.eyes)
        self.assertIsNone(self.figures()["delay"])
        self.settle()
        for adder in adders:
            adder.send(1)
        self.clock.rightNow += 0.05
        self.settle()
        self.next_look()
        self.assertEqual(self.figures()["delay"], [0.05, 0.05])
        self.next_look()
        self.assertEqual(self.figures()["delay"], [0.0, 0.0])

    def test_bytes_of_the_gone(self) -> None:
        """Bytes of connections that have closed since the last look are counted, too, and only once."""
        connection = connect(EchoFactory(self.system), 4000)
        self.settle()
        self.watch.watch(self.eyes)
        connection.dataReceived(b"x" * 500)
        connection.connectionLost()
        self.next_look()
        figures = self.figures()
        seen = figures["bytes_in"] * figures["period"], figures["bytes_out"] * figures["period"]
        self.assertEqual([round(size, -1) for size in seen], [500, 500])
        self.next_look()
        self.assertEqual((self.figures()["bytes_in"], self.figures()["bytes_out"]), (0, 0))

    def test_who_comes_again_and_again(self) -> None:
        """A watcher looks when it comes; if looking has had its share of the time, with the others."""
        readings = count()
        # Each look takes the share of a second.
        self.patch(watch, "thread_time", lambda: next(readings) * SHARE)
        self.watch.watch(self.eyes)
        others = [Eyes() for _ in range(3)]
        for other in others:
            self.watch.watch(other)
        self.assertEqual([other.looks for other in others], [1, 0, 0])
        self.next_look()
        self.assertEqual([other.looks for other in others], [2, 1, 1])
