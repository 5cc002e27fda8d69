"""The run queue and the service."""

from __future__ import annotations

import gc
import random
from collections import deque
from typing import Any

from hypothesis import given, settings, strategies as st
from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from echoactor import Actor, ActorSystem, Address, Exit, SystemStopped
from echoactor.cell import Cell
from echoactor.runtime import TURN, Runnable
from echoactor.system import SHUTDOWN_TIME

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
        other.exit(mine, "kill")
        self.settle()
        self.assertTrue(self.system.is_alive(mine))

    @settings(max_examples=50, deadline=None)
    @given(st.randoms(use_true_random=False), st.integers(1, 5), st.integers(1, 5))
    def test_order_between_pairs(self, chooser: random.Random, senders: int, receivers: int) -> None:
        """Whichever runnable actor goes next, messages from one sender to one receiver stay in order."""

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


class ServiceTests(ActorTestCase):
    def test_is_a_service(self) -> None:
        """An ActorSystem is an IService, whose name is the one given."""
        verifyObject(IService, self.system)
        self.assertEqual(self.system.name, "test")
        parent = MultiService()
        for _ in range(2):  # without a name, two of them may have the same parent
            ActorSystem(self.clock).setServiceParent(parent)

    def test_start(self) -> None:
        """Starting starts the services under it, once; starting a started system does nothing."""
        started: list[str] = []

        class Child(Service):
            def privilegedStartService(self) -> None:
                started.append("privileged")

            def startService(self) -> None:
                started.append("started")

        Child().setServiceParent(self.system)
        self.system.privilegedStartService()
        self.system.startService()
        self.system.startService()
        self.assertEqual(started, ["privileged", "started"])

    def test_stop_ends_actors(self) -> None:
        """Stopping ends all actors with shutdown, and fires when they are gone."""
        got: list[Any] = []
        for style in (Adder, adder):
            self.spawn(style)
        watcher = self.spawn(Recorder, got, True)
        stopped = self.system.stopService()
        self.assertNoResult(stopped)
        self.settle()
        self.assertEqual(got, [Exit(None, "shutdown")])
        self.assertNoResult(stopped)
        watcher.exit("kill")
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual((self.system.count_actors(), self.clock.getDelayedCalls()), (0, []))

    def test_stop_kills_the_slow(self) -> None:
        """An actor that traps exits and does not end is killed after the shutdown time."""
        self.spawn(Recorder, [], True)
        stopped = self.system.stopService()
        self.pass_time(SHUTDOWN_TIME - 0.1)
        self.assertNoResult(stopped)
        self.pass_time(0.1)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_services_stop_first(self) -> None:
        """The services under a system have stopped before its actors end."""
        gate: Deferred[None] = Deferred()

        class Slow(Service):
            def stopService(self) -> Deferred[None]:
                return gate

        Slow().setServiceParent(self.system)
        self.system.startService()
        address = self.spawn(Adder)
        stopped = self.system.stopService()
        self.settle()
        self.assertTrue(self.system.is_alive(address))
        gate.callback(None)
        self.settle()
        self.successResultOf(stopped)

    def test_service_that_fails_to_stop(self) -> None:
        """A service that fails to stop is logged, and the actors end all the same."""

        class Broken(Service):
            def stopService(self) -> None:
                raise ZeroDivisionError

        Broken().setServiceParent(self.system)
        stopped = self.system.stopService()
        self.settle()
        self.successResultOf(stopped)
        gc.collect()  # Twisted logs it when the service's Deferred is freed
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop_twice(self) -> None:
        """Stopping twice waits for the same end; stopping after it is done at once."""
        self.spawn(Adder)
        both = [self.system.stopService(), self.system.stopService()]
        self.settle()
        for stopped in (*both, self.system.stopService()):
            self.successResultOf(stopped)

    def test_stopped_stays_stopped(self) -> None:
        """A system that stops or has stopped starts and spawns nothing, and says so."""
        self.spawn(Recorder, [], True)
        stopped = self.system.stopService()
        for _ in range(2):
            for start in (
                self.system.startService,
                self.system.privilegedStartService,
                lambda: self.system.spawn(Adder),
            ):
                with self.assertRaisesRegex(SystemStopped, "stop"):
                    start()
            self.pass_time(SHUTDOWN_TIME)
        self.successResultOf(stopped)

    def test_waiting_calls(self) -> None:
        """Calls that wait when the system stops fail with the callee's end."""
        pending = self.spawn(Recorder, []).call("?", timeout=None)
        stopped = self.system.stopService()
        self.settle()
        self.assertEqual(self.failureResultOf(pending).value.reason, "shutdown")
        self.successResultOf(stopped)

    def test_terminate_may_send(self) -> None:
        """Actors that end while the system stops may send to those that still live."""
        got: list[Any] = []
        keeper = self.spawn(Recorder, got, True)

        class Last(Actor):
            def __init__(self) -> None:
                self.trap_exits = True

            def receive(self, message: Any) -> None:
                self.exit("shutdown")

            def terminate(self, reason: object) -> None:
                keeper.send(("last words", reason))

        self.spawn(Last)
        self.system.stopService()
        self.settle()
        self.assertIn(("last words", "shutdown"), got)
        self.pass_time(SHUTDOWN_TIME)

    def test_abort(self) -> None:
        """Abort kills all actors at once, also those that trap exits."""
        self.spawn(Recorder, [], True)
        stopped = self.system.stopService()
        self.settle()
        self.system.abort()
        self.settle()
        self.successResultOf(stopped)

    def test_100_000_actors(self) -> None:
        """100,000 actors can be spawned and stopped; nothing is left, no recursion, no time passes."""
        for number in range(100_000):
            self.system.spawn(Adder if number % 2 else adder)
        self.clock.advance(0)
        self.assertEqual(self.system.count_actors(), 100_000)
        stopped = self.system.stopService()
        self.clock.advance(0)
        self.successResultOf(stopped)
        gc.collect()
        left = [
            thing
            for thing in gc.get_objects()
            if (isinstance(thing, Cell) and thing.system is self.system)
            or (isinstance(thing, Address) and thing._system is self.system)
        ]
        self.assertEqual(left, [])
