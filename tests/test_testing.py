"""The helpers for tests: virtual time, probes, and seeded orders of delivery."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from echoactor import Actor, Address, Call, Down, Exit, Timeout, testing
from echoactor.errors import CalleeExited, CallTimeout, MailboxFull
from echoactor.events import ActorCrashed
from echoactor.mailbox import MailboxBound
from echoactor.testing import ClockSystem, Probe, Simulation, explore, replay

from .support import ActorTestCase, Adder, Recorder, adder

ROOT = Path(__file__).parent.parent
SEEDS = 1000


async def chatty(me: Any, peer: Address | None = None) -> None:
    """Returns whatever it gets, for ever; with a peer, it begins."""
    if peer is not None:
        peer.send(me.address)
    while True:
        (await me.receive()).send(me.address)


class ClockSystemTests(ActorTestCase):
    def test_settle(self) -> None:
        """Settling lets the actors run until nothing is due, and no time passes."""
        probe = Probe(self.system)
        probe.address.send_after(1, "late")
        probe.address.send("now")
        self.system.settle()
        self.assertEqual((probe.messages, self.clock.seconds()), (["now"], 0))

    def test_never_at_rest(self) -> None:
        """Actors that never stop sending to each other fail the test, which says how long they had."""
        self.patch(testing, "TURNS", 5)
        self.system.spawn(chatty, self.system.spawn(chatty))
        for wait in (
            self.system.settle,
            lambda: self.system.advance(1),
            lambda: self.system.result(Deferred()),
        ):
            with self.assertRaisesRegex(AssertionError, "not come to rest after 5 turns"):
                wait()
        self.assertEqual(self.clock.seconds(), 0)

    def test_many_due_at_once(self) -> None:
        """However much is due at one time, it is due in one turn."""
        done: list[int] = []
        for number in range(2000):
            self.clock.callLater(1, done.append, number)
        self.system.advance(1)
        self.assertEqual(done, list(range(2000)))

    def test_step_leaves_what_was_taken_back(self) -> None:
        """A step runs no call that an earlier one has cancelled or put off."""
        done: list[str] = []

        def first() -> None:
            cancelled.cancel()
            put_off.reset(1)

        self.clock.callLater(0, first)
        cancelled = self.clock.callLater(0, done.append, "cancelled")
        put_off = self.clock.callLater(0, done.append, "put off")
        self.assertTrue(self.system.step())
        self.assertFalse(self.system.step())
        self.assertEqual(done, [])
        self.system.advance(1)
        self.assertEqual(done, ["put off"])

    def test_advance(self) -> None:
        """What happens while time passes happens at its own time, in order, to the end of the time."""
        times: list[tuple[str, float]] = []
        clock = self.clock

        async def actor(me: Any) -> None:
            for name, seconds in (("first", 1.0), ("second", 0.5), ("third", 0.5), ("too late", 0.1)):
                await deferLater(clock, seconds)
                times.append((name, clock.seconds()))

        self.system.spawn(actor)
        self.system.spawn(Recorder, []).send_interval(0.7, "in between")
        self.system.advance(2)
        self.assertEqual(times, [("first", 1), ("second", 1.5), ("third", 2)])
        self.assertEqual(clock.seconds(), 2)

    def test_durations(self) -> None:
        """What is no number of seconds is refused."""
        for wrong in (-1, float("nan"), float("inf")):
            with self.assertRaisesRegex(ValueError, "seconds"):
                self.system.advance(wrong)

    def test_result(self) -> None:
        """A result is a Deferred's value, once the actors have settled; it can be asked for again."""
        reply = self.system.spawn(Adder, 7).call("total")
        self.assertEqual((self.system.result(reply), self.system.result(reply)), (7, 7))
        self.assertIsNone(self.system.result(succeed(None)))

    def test_result_fails(self) -> None:
        """The failure of a Deferred is raised, and counts as handled."""
        with self.assertRaises(ZeroDivisionError):
            self.system.result(fail(ZeroDivisionError()))

    def test_no_result_yet(self) -> None:
        """A Deferred that has not fired fails the test, and can still give its result later."""
        reply = self.system.spawn(Recorder, []).call("?", timeout=5)
        with self.assertRaisesRegex(AssertionError, "has not fired"):
            self.system.result(reply)
        self.system.advance(5)
        with self.assertRaises(CallTimeout):
            self.system.result(reply)

    def test_clock_of_ones_own(self) -> None:
        """Two systems may share a clock."""
        other = ClockSystem(self.clock)
        other.spawn(Adder).send(1)
        self.system.settle()
        self.assertFalse(other.step())


class ProbeTests(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.probe = Probe(self.system)

    def get(self, *messages: object) -> None:
        """Let the probe receive messages."""
        for message in messages:
            self.probe.address.send(message)

    def test_expect(self) -> None:
        """A class, a predicate or a value takes the first message that fits; the others stay, in order."""
        self.get("a", 1, "b", None, 2)
        self.assertEqual(self.probe.expect(int), 1)
        self.assertEqual(self.probe.expect(lambda message: message == "b"), "b")
        self.assertIsNone(self.probe.expect(None))
        self.assertEqual(self.probe.messages, ["a", 2])
        self.assertEqual(self.clock.seconds(), 0)

    def test_expect_waits(self) -> None:
        """Time passes until the message comes, and no longer."""
        self.probe.address.send_after(3, "later")
        self.assertEqual(self.probe.expect("later", timeout=3), "later")
        self.assertEqual(self.clock.seconds(), 3)

    def test_expect_in_vain(self) -> None:
        """When no message fits in time, the test fails and lists what came instead."""
        self.probe.address.send_after(3, "later")
        with self.assertRaisesRegex(AssertionError, "in 2 s fits 'later'; nothing came"):
            self.probe.expect("later", timeout=2)
        self.assertEqual(self.clock.seconds(), 2)
        self.get(1)
        with self.assertRaisesRegex(AssertionError, r"in order:\n    1\n    'later'"):
            self.probe.expect(2)

    def test_expect_nothing(self) -> None:
        """Nothing may come within the time, and nothing may have been left."""
        self.probe.address.send_after(3, "later")
        self.probe.expect_nothing(2)
        for _ in range(2):
            with self.assertRaisesRegex(
                AssertionError, "expected nothing; what came, in order:\n    'later'"
            ):
                self.probe.expect_nothing(2)
            self.assertEqual(self.clock.seconds(), 3)

    def test_monitor(self) -> None:
        """A probe monitors: the end of an actor is a message, that of a dead one too."""
        address = self.spawn(Adder)
        watch = self.probe.monitor(address)
        address.exit("enough")
        self.probe.expect(Down(watch, address, "enough"))
        self.probe.monitor(address)
        self.assertEqual(self.probe.expect(Down).reason, "noproc")

    def test_link(self) -> None:
        """A probe links, and traps the exits of those it is linked to."""
        address = self.spawn(Adder)
        self.probe.link(address)
        address.exit("enough")
        self.probe.expect(Exit(address, "enough"))
        self.probe.link(address)
        self.probe.expect(Exit(address, "noproc"))

    def test_end_of_the_probe(self) -> None:
        """A probe can be ended, which those linked to it hear of."""
        other = Probe(self.system)
        other.link(self.probe.address)
        self.system.result(self.probe.address.stop("shutdown"))
        other.expect(Exit(self.probe.address, "shutdown"))

    def test_answers(self) -> None:
        """A probe stands in for a callee: the test replies."""
        reply = self.probe.address.call("?")
        self.probe.expect(Call).reply("!")
        self.assertEqual(self.system.result(reply), "!")

    def test_system_stops(self) -> None:
        """A probe keeps no system from stopping."""
        self.system.result(self.system.stopService())
        self.assertEqual(self.probe.messages, [Exit(None, "shutdown")])


async def says(me: Any, receiver: Address, *messages: object) -> None:
    """Sends messages, all in one step."""
    for message in messages:
        receiver.send(message)


class SimulationTests(SynchronousTestCase):
    def outcomes(self, test: Callable[[Simulation], Any], seeds: int = SEEDS) -> set[Any]:
        """All that a test returns, under many seeds."""
        found = set()
        explore(lambda simulation: found.add(test(simulation)), seeds)
        return found

    def test_every_interleaving(self) -> None:
        """Of two senders with three messages each, all 20 interleavings are seen, and no others."""

        def test(simulation: Simulation) -> str:
            probe = Probe(simulation)
            for messages in ("abc", "xyz"):
                simulation.spawn(says, probe.address, *messages)
            simulation.settle()
            return "".join(probe.messages)

        found = self.outcomes(test)
        self.assertEqual(len(found), 20)
        for one in found:
            self.assertEqual(
                ("".join(filter("abc".count, one)), "".join(filter("xyz".count, one))), ("abc", "xyz")
            )

    def test_every_interleaving_of_receivers(self) -> None:
        """The same with receivers of either style that pass on what they get, in turns of many messages."""

        async def passes(me: Any, receiver: Address) -> None:
            while True:
                receiver.send(await me.receive())

        class Passes(Actor):
            def __init__(self, receiver: Address) -> None:
                self.receiver = receiver

            def receive(self, message: Any) -> None:
                self.receiver.send(message)

        def test(simulation: Simulation) -> str:
            probe = Probe(simulation)
            for messages, style in (("abc", passes), ("xyz", Passes)):
                simulation.spawn(says, simulation.spawn(style, probe.address), *messages)
            simulation.settle()
            return "".join(probe.messages)

        self.assertEqual(len(self.outcomes(test)), 20)

    def test_between_two_messages(self) -> None:
        """What handling one message leads to may, and need not, arrive ahead of the next message."""

        class Asks(Actor):
            def __init__(self, helper: Address, got: list[str]) -> None:
                self.helper = helper
                self.got = got

            def receive(self, message: str) -> None:
                self.got.append(message)
                if message == "a":
                    self.helper.send(self.address)

        async def helps(me: Any) -> None:
            (await me.receive()).send("x")

        def test(simulation: Simulation) -> str:
            got: list[str] = []
            simulation.spawn(says, simulation.spawn(Asks, simulation.spawn(helps), got), "a", "b")
            simulation.settle()
            return "".join(got)

        self.assertEqual(self.outcomes(test), {"abx", "axb"})

    def test_not_only_order_of_arrival(self) -> None:
        """A message may be overtaken by what somebody sends on hearing of it from its sender."""

        async def boss(me: Any, probe: Address) -> None:
            await me.receive()
            probe.send("done")

        async def worker(me: Any, probe: Address, told: Address) -> None:
            probe.send("result")
            told.send("finished")

        def test(simulation: Simulation) -> tuple[str, ...]:
            probe = Probe(simulation)
            simulation.spawn(worker, probe.address, simulation.spawn(boss, probe.address))
            simulation.settle()
            return tuple(probe.messages)

        self.assertEqual(self.outcomes(test), {("result", "done"), ("done", "result")})

    def test_signals_in_order(self) -> None:
        """Exit and Down arrive after what the actor had sent before; so does noproc, from a dead one."""

        async def talker(me: Any, *listeners: Address) -> None:
            for listener in listeners:
                listener.send("last words")

        async def late(me: Any, got: list[Any]) -> None:
            me.trap_exits = True
            address = me.spawn(talker, me.address)
            while me.system.is_alive(address):
                me.address.send("again")
                await me.receive(lambda message: message == "again")
            me.monitor(address)
            me.link(address)
            while True:
                got.append(await me.receive())

        def test(simulation: Simulation) -> None:
            got: list[Any] = []
            simulation.spawn(late, got)
            linked, watching = Probe(simulation), Probe(simulation)
            address = simulation.spawn(talker, linked.address, watching.address)
            linked.link(address)
            watching.monitor(address)
            simulation.settle()
            for messages, kinds in (
                (linked.messages, [str, Exit]),
                (watching.messages, [str, Down]),
                (got, [str, Down, Exit]),
            ):
                self.assertEqual([type(message) for message in messages], kinds)

        explore(test, 100)

    def test_replies_in_order(self) -> None:
        """A reply arrives after what the callee had sent to the caller before, late ones included."""

        async def callee(me: Any, caller: Address) -> None:
            match await me.receive():
                case Call(_, reply):
                    caller.send("before")
                    reply("reply")
                    caller.send("after")

        async def caller(me: Any, got: list[Any]) -> None:
            got.append(await me.spawn(callee, me.address).call("?"))
            while not isinstance(got[-1], Timeout):
                got.append(await me.receive(timeout=0))

        def test(simulation: Simulation) -> tuple[Any, ...]:
            got: list[Any] = []
            simulation.spawn(caller, got)
            simulation.settle()
            return tuple(got)

        found = self.outcomes(test)
        self.assertEqual(found, {("reply", "before", Timeout()), ("reply", "before", "after", Timeout())})

    def test_forwarded_call(self) -> None:
        """Whoever replies to a call that was forwarded replies to its caller."""

        async def forwards(me: Any, callee: Address) -> None:
            while True:
                callee.send(await me.receive())

        async def calls(me: Any, callee: Address) -> None:
            await callee.call("total")

        def test(simulation: Simulation) -> None:
            callee = simulation.spawn(adder)
            caller = simulation.spawn(calls, simulation.spawn(forwards, callee))
            simulation.settle()
            self.assertEqual(simulation.trace[-1][:2], (callee, caller))

        explore(test, 20)

    def test_calls_end(self) -> None:
        """A call in a simulation ends: with a reply, the callee's end, a timeout, or when it is given up."""

        class Deaf(Actor):
            def receive(self, message: Any) -> None:
                if message == "end":
                    self.exit()

        def test(simulation: Simulation) -> None:
            deaf = simulation.spawn(Deaf)
            results: list[Any] = []

            async def caller(me: Any) -> None:
                for callee, timeout in (
                    (simulation.spawn(Adder, 3), 5.0),
                    (deaf, 2.0),
                    (deaf, None),
                    (deaf, 5.0),
                ):
                    try:
                        results.append(await callee.call("total", timeout))
                    except CallTimeout:
                        results.append(simulation.clock.seconds())
                        deaf.send("end")
                    except CalleeExited as error:
                        results.append(error.reason)

            simulation.spawn(caller)
            given_up = deaf.call("?")
            given_up.cancel()
            given_up.addErrback(lambda _: None)
            simulation.advance(2)
            self.assertEqual(results, [3, 2, "normal", "noproc"])

        explore(test, 100)

    def test_bound(self) -> None:
        """A call that a full mailbox drops fails in a simulation too, and nobody sent that reply."""

        async def busy(me: Any) -> None:
            await Deferred()

        def test(simulation: Simulation) -> None:
            full = simulation.spawn(busy, mailbox=MailboxBound(1))
            full.send("fills it")
            with self.assertRaises(MailboxFull):
                simulation.result(full.call("?"))
            self.assertIsNone(simulation.trace[-1][0])

        explore(test, 50)

    def test_time(self) -> None:
        """Time passes when no actor is runnable and nothing is under way, and not before."""

        async def impatient(me: Any, peers: list[Address]) -> None:
            for peer in peers:
                peer.send(me.address)
            for _ in peers:
                assert not isinstance(await me.receive(timeout=0.001), Timeout)

        def test(simulation: Simulation) -> None:
            probe = Probe(simulation)
            probe.monitor(simulation.spawn(impatient, [simulation.spawn(chatty) for _ in range(5)]))
            self.assertEqual(probe.expect(Down).reason, "normal")
            self.assertEqual(simulation.clock.seconds(), 0)

        explore(test, 100)

    def test_exits(self) -> None:
        """Kills, links and restarts work in a simulation, whatever the order."""

        class Keeper(Actor):
            """Restarts its child whenever that ends."""

            def __init__(self, probe: Address) -> None:
                self.trap_exits = True
                self.probe = probe
                self.restart()

            def restart(self) -> None:
                self.probe.send(self.spawn(adder, link=True))

            def receive(self, message: Any) -> None:
                if isinstance(message, Exit):
                    self.restart()

        def test(simulation: Simulation) -> None:
            probe = Probe(simulation)
            keeper = simulation.spawn(Keeper, probe.address)
            for reason in ("kill", "enough", "kill"):
                child = probe.expect(Address)
                child.send(1)
                child.exit(reason)
            last = probe.expect(Address)
            probe.monitor(last)
            keeper.exit("kill")
            self.assertEqual(probe.expect(Down).reason, "killed")
            self.assertEqual(simulation.count_actors(), 1)

        explore(test, 100)

    def test_crash(self) -> None:
        """A crash in a simulation is logged, is an event, and fails no test by itself."""

        def test(simulation: Simulation) -> None:
            crashes: list[ActorCrashed] = []
            simulation.events.subscribe(ActorCrashed, crashes.append)
            simulation.spawn(Adder).send(ZeroDivisionError())
            simulation.settle()
            self.assertEqual(len(crashes), 1)

        explore(test, 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_coroutine(self) -> None:
        """A test that would pass without being run, as nobody awaits it, is refused."""

        async def test(simulation: Simulation) -> None:
            self.fail("it ran")

        for one in (test, lambda simulation: fail(ZeroDivisionError())):
            with self.assertRaisesRegex(TypeError, "which nobody awaits; write a plain function"):
                explore(one, 1)
        self.flushLoggedErrors()

    def test_stop(self) -> None:
        """A simulated system stops, with all that traps exits, and leaves no timer."""

        def test(simulation: Simulation) -> None:
            Probe(simulation)
            simulation.spawn(Recorder, [], True)
            stopped = simulation.stopService()
            simulation.advance(5)
            simulation.result(stopped)
            self.assertEqual(simulation.clock.getDelayedCalls(), [])

        explore(test, 20)


def market(simulation: Simulation) -> None:
    """Traffic of every kind, iterated over in the order of a set of addresses."""
    probe = Probe(simulation)

    async def trader(me: Any) -> None:
        me.trap_exits = True
        peers: set[Address] = set()
        for _ in range(5):
            match await me.receive(timeout=simulation.random.random()):
                case set() as others:
                    peers |= others
                case Call(_, reply):
                    reply(len(peers))
            for peer in peers - {me.address}:
                peer.call("?", timeout=0.1).addErrback(lambda _: None)
        probe.address.send(me.address)

    traders = {simulation.spawn(trader) for _ in range(20)}
    for address in traders:
        probe.link(address)
        address.send(traders)
    simulation.advance(10)


def trace_of(seed: int) -> str:
    """Everything that arrives in the market under a seed."""
    traces: list[str] = []

    def test(simulation: Simulation) -> None:
        market(simulation)
        traces.append(repr(simulation.trace))

    replay(test, seed)
    return traces[0]


class ReplayTests(SynchronousTestCase):
    def test_same_seed(self) -> None:
        """A seed leads through the same order every time, and another seed through another."""
        self.assertEqual(trace_of(1), trace_of(1))
        self.assertNotEqual(trace_of(1), trace_of(2))
        for kind in ("Exit", "Call", "reply"):
            self.assertIn(kind, trace_of(1))

    def test_same_seed_elsewhere(self) -> None:
        """The order is the same in a process with other hashes."""
        for hashes in ("1", "2"):
            trace = subprocess.check_output(
                [sys.executable, "-c", "from tests.test_testing import trace_of; print(trace_of(1), end='')"],
                cwd=ROOT,
                env={**os.environ, "PYTHONHASHSEED": hashes},
                text=True,
            )
            self.assertEqual(trace, trace_of(1))

    def test_failure(self) -> None:
        """The first seed that fails is named, with how to replay it, the cause, and what arrived last."""
        tried: list[Simulation] = []

        def picky(simulation: Simulation) -> None:
            tried.append(simulation)
            simulation.spawn(Adder).send("hello")
            simulation.settle()
            if len(tried) == 4:
                raise ZeroDivisionError("too many")

        with self.assertRaises(AssertionError) as caught:
            explore(picky)
        text = str(caught.exception)
        self.assertIn("seed 3 fails: ZeroDivisionError: too many\n", text)
        self.assertIn("picky, 3)", text)
        self.assertIn("nobody -> <simulation.0.1>: 'hello'", text)
        self.assertIsInstance(caught.exception.__cause__, ZeroDivisionError)
        self.assertEqual(len(tried), 4)

    def test_nothing_is_left(self) -> None:
        """Whatever comes of the test, its actors are ended, and their finally blocks have run."""
        ended: list[int] = []

        async def waits(me: Any) -> None:
            try:
                await me.receive(timeout=10)
            finally:
                ended.append(1)

        def fails(simulation: Simulation) -> None:
            simulation.spawn(waits)
            simulation.settle()
            self.fail("on purpose")

        with self.assertRaisesRegex(AssertionError, "on purpose"):
            explore(fails)
        self.assertEqual(ended, [1])

    def test_never_at_rest(self) -> None:
        """Actors in a simulation that never stop sending fail it too, under a seed."""
        self.patch(testing, "TURNS", 2)

        def test(simulation: Simulation) -> None:
            simulation.spawn(chatty, simulation.spawn(chatty))
            simulation.settle()

        with self.assertRaisesRegex(AssertionError, "seed 0 fails: .* not come to rest"):
            explore(test)


class DocumentTests(SynchronousTestCase):
    def test_code_blocks(self) -> None:
        """The tests in docs/testing.rst pass."""
        text = (ROOT / "docs" / "testing.rst").read_text()
        blocks = re.findall(r"code-block:: python\n\n((?:    .*\n|\n)+)", text)
        namespace: dict[str, Any] = {"__name__": "the_document"}
        for block in blocks:
            exec(textwrap.dedent(block), namespace)
        result, loader = unittest.TestResult(), unittest.TestLoader()
        for thing in namespace.values():
            if (
                isinstance(thing, type)
                and issubclass(thing, unittest.TestCase)
                and thing.__module__ == "the_document"
            ):
                loader.loadTestsFromTestCase(thing).run(result)
        self.assertEqual(result.errors + result.failures, [])
        self.assertGreaterEqual(result.testsRun, 4)
