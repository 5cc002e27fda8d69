"""The run queue, and whose turn it is."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from hypothesis import given, settings, strategies as st
from twisted.internet.task import Clock

from echoactor import Actor, ActorSystem, Address
from echoactor.turns import TURN, Runnable

from .support import ActorTestCase, Adder, Recorder, adder


class PingPong(Actor):
    """Returns every message to its peer, for ever."""

    def __init__(self, steps: list[int]) -> None:
        self.steps = steps

    def receive(self, peer: Address) -> None:
        self.steps.append(1)
        peer.send(self.address)


class RunQueueTests(ActorTestCase):
    def test_idle(self) -> None:
        """With nothing to do, nothing is scheduled."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        for style in (Adder, adder):
            self.spawn(style).send(1)
            self.settle()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_reactor_call_a_turn(self) -> None:
        """However many actors are runnable, one turn is scheduled."""
        for _ in range(10):
            self.system.spawn(Adder).send(1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_budget(self) -> None:
        """Actors that never stop sending to each other leave the turn to the reactor."""
        steps: list[int] = []
        one, two = self.system.spawn(PingPong, steps), self.system.spawn(PingPong, steps)
        one.send(two)
        for turns in range(1, 4):
            self.system.step()
            self.assertLessEqual(len(steps), turns * TURN)
            self.assertGreater(len(steps), (turns - 1) * TURN)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_not_reentered(self) -> None:
        """An actor that sends to itself, or is sent to by what it calls, finishes its step first."""
        depth: list[int] = []

        class Recursive(Actor):
            inside = 0

            def receive(self, message: int) -> None:
                self.inside += 1
                if message:
                    self.address.send(message - 1)
                depth.append(self.inside)
                self.inside -= 1

        self.spawn(Recursive).send(500)
        self.settle()
        self.assertEqual((max(depth), len(depth)), (1, 501))

    def test_chosen_order(self) -> None:
        """A run queue of one's own chooses which runnable actor goes next."""

        class LastFirst(deque[Runnable]):
            def popleft(self) -> Runnable:
                return self.pop()

        order: list[str] = []
        system = ActorSystem(self.clock, run_queue=LastFirst())
        for name in "abc":
            system.spawn(Recorder, order).send(name)
        self.settle()
        self.assertEqual(order, ["c", "b", "a"])
        self.assertFalse(system.delivers_at_once)

    def test_samplers(self) -> None:
        """Samplers see how many were handled, how many wait, and since when; nobody's work is different."""
        looks: list[tuple[int, int, float | None]] = []

        class Looks:
            def look(self, handled: int, waiting: int, since: float | None) -> None:
                looks.append((handled, waiting, since))

        received: list[int] = []
        addresses = [self.spawn(Recorder, received) for _ in range(2000)]
        self.system.samplers = (Looks(), Looks())
        for number, address in enumerate(addresses):
            address.send(number)
        came = self.clock.seconds()
        self.clock.rightNow += 1
        self.settle()
        self.assertEqual(received, list(range(2000)))
        self.assertEqual(looks[::2], looks[1::2])
        del looks[::2]
        self.assertEqual(looks[:4], [(0, 2000, came), (1, 1999, None), (2, 1997, None), (4, 1993, None)])
        self.assertEqual(sum(handled for handled, _, _ in looks), 2000)
        self.assertEqual([since is None for _, _, since in looks].count(False), 2, "two turns")

    def test_dead_letters(self) -> None:
        """Sending to a dead address does nothing but count; also while stopping, and after."""
        address = self.spawn(Adder)
        address.exit("kill")
        self.settle()
        address.send("one")
        self.system.stopService()
        address.send("two")
        self.settle()
        address.send("three")
        self.assertEqual(self.system.dead_letters, 3)

    def test_forged_address(self) -> None:
        """An address of another system never finds an actor of this one."""
        mine = self.spawn(Adder)
        other = ActorSystem(self.clock, "test")
        self.assertFalse(other.is_alive(mine))
        other.send_exit(mine, "kill")
        self.settle()
        self.assertTrue(self.system.is_alive(mine))

    @settings(max_examples=50)
    @given(st.randoms(use_true_random=False), st.integers(1, 5), st.integers(1, 5))
    def test_order_between_pairs(self, chooser: random.Random, senders: int, receivers: int) -> None:
        """11: Whichever runnable actor goes next, messages from one sender to one receiver stay in order."""

        class Shuffled(list[Runnable]):
            def popleft(self) -> Runnable:
                return self.pop(chooser.randrange(len(self)))

        clock = Clock()
        system = ActorSystem(clock, run_queue=Shuffled())
        boxes: list[list[Any]] = [[] for _ in range(receivers)]

        async def collects(me: Any, box: list[Any]) -> None:
            while True:
                box.append(await me.receive())

        styles: list[Any] = [Recorder, collects]
        addresses = [system.spawn(chooser.choice(styles), box) for box in boxes]

        class Sender(Actor):
            def __init__(self, name: int) -> None:
                self.name = name
                self.count = 0

            def receive(self, message: Any) -> None:
                self.count += 1
                for address in addresses:
                    address.send((self.name, self.count))
                if self.count < 5:
                    self.address.send("again")

        for name in range(senders):
            system.spawn(Sender, name).send("start")
        clock.advance(0)
        for box in boxes:
            for name in range(senders):
                self.assertEqual([count for who, count in box if who == name], [1, 2, 3, 4, 5])
