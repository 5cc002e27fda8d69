"""How long actors wait for their turn."""

from __future__ import annotations

from typing import Any

from echoactor import Actor
from echoactor.delays import SAMPLED, Delays

from .support import ActorTestCase, Adder, Recorder


class DelaysTests(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.samples: list[tuple[float, int]] = []
        self.delays = Delays(self.system, lambda seconds, weight: self.samples.append((seconds, weight)))
        self.delays.start()
        self.addCleanup(self.delays.stop)

    def mean(self) -> float:
        return sum(seconds * weight for seconds, weight in self.samples) / sum(
            weight for _, weight in self.samples
        )

    def test_one_in_256(self) -> None:
        """Of many, one in 256 is looked at, whether turns are long or short."""
        for messages in (1, 100, 5000):
            receivers = [self.spawn(Adder) for _ in range(messages)]
            del self.samples[:]
            total = 0
            while total < 20_000:
                for receiver in receivers:
                    receiver.send(1)
                self.settle()
                total += messages
            self.assertLessEqual(abs(sum(weight for _, weight in self.samples) - total), SAMPLED, messages)
            self.assertLessEqual(len(self.samples), total // SAMPLED + 1)

    def test_bursts(self) -> None:
        """Whether a burst comes from an actor or from outside, what is told is how long they wait."""
        true: list[float] = []
        clock = self.clock

        class Slow(Actor):
            def receive(self, came: float) -> None:
                true.append(clock.seconds() - came)
                clock.rightNow += 0.001

        slow = [self.spawn(Slow) for _ in range(300)]

        class Fans(Actor):
            def receive(self, message: Any) -> None:
                for one in slow:
                    one.send(clock.seconds())

        fans = self.spawn(Fans)
        for from_an_actor in (True, False):
            del self.samples[:], true[:]
            for _ in range(100):
                if from_an_actor:
                    fans.send("now")
                else:
                    for one in slow:
                        one.send(clock.seconds())
                self.settle()
                self.pass_time(1)
            mean = sum(true) / len(true)
            self.assertLess(abs(self.mean() - mean), 0.05 * mean)
            slowest = max(seconds for seconds, _ in self.samples)
            self.assertLess(abs(slowest - max(true)), 0.05 * slowest)

    def test_alone(self) -> None:
        """One that waits for its turn alone waits all of that time, whichever of several is told of."""
        receiver = self.spawn(Adder)
        del self.samples[:]
        for _ in range(20 * SAMPLED):
            receiver.send(1)
            self.clock.rightNow += 0.01
            self.settle()
        self.assertGreaterEqual(len(self.samples), 19)
        self.assertEqual({round(seconds, 6) for seconds, _ in self.samples}, {0.01})

    def test_what_waits_ahead(self) -> None:
        """A probe waits behind what is there when it comes."""
        clock = self.clock

        class Slow(Actor):
            def receive(self, message: Any) -> None:
                clock.rightNow += 0.02

        self.spawn(Slow).send(1)
        self.delays.probe()
        self.settle()
        self.assertEqual([(round(seconds, 6), weight) for seconds, weight in self.samples], [(0.02, 1)])

    def test_stopped(self) -> None:
        """Once stopped it tells nothing, and it may be started again."""
        self.delays.stop()
        receivers = [self.spawn(Recorder, []) for _ in range(2 * SAMPLED)]
        for _ in range(2):
            for receiver in receivers:
                receiver.send(1)
            self.settle()
            self.assertEqual((self.samples, self.system.samplers), ([], ()))
        self.delays.start()
        for receiver in receivers:
            receiver.send(1)
        self.settle()
        self.assertEqual(sum(weight for _, weight in self.samples), 2 * SAMPLED)
