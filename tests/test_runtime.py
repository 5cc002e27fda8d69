"""Spawning, starting, stopping, and bounded mailboxes."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from echoactor import Actor, Address, CoroutineActor, Crash, Down, MailboxBound, Shutdown
from echoactor.errors import (
    CalleeExited,
    CallingSelf,
    CallTimeout,
    MailboxFull,
    NameTaken,
    NoCurrentActor,
    NotAnActor,
    StartFailed,
    SystemStopped,
)
from echoactor.events import ActorSpawned, DeadLetter

from .support import ActorTestCase, Adder, Recorder, adder, count_lines


class SpawnTests(ActorTestCase):
    def test_linked(self) -> None:
        """spawn(link=True) links to the current actor before the child's first step, in both styles."""

        async def crashes(me: CoroutineActor) -> None:
            raise ZeroDivisionError

        async def parent(me: CoroutineActor) -> None:
            me.spawn(crashes, link=True)
            await me.receive()

        class Parent(Actor):
            def __init__(self) -> None:
                self.system.spawn(crashes, link=True)

        for style in (parent, Parent):
            address = self.spawn(style)
            self.assertFalse(self.system.is_alive(address))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_monitored(self) -> None:
        """13: spawn(monitor=True) brings a Down with the child's reason, however soon it ends."""
        got: list[Down] = []

        async def child(me: CoroutineActor) -> None:
            me.exit("shutdown")

        async def parent(me: CoroutineActor) -> None:
            address = me.spawn(child, monitor=True)
            got.append(await me.receive(Down))
            self.assertEqual(got[0].address, address)

        self.spawn(parent)
        self.assertEqual([down.reason for down in got], ["shutdown"])

    def test_no_current_actor(self) -> None:
        """Outside of any actor there is nothing to link or monitor from; nothing is spawned then."""
        for options in ({"link": True}, {"monitor": True}):
            with self.assertRaisesRegex(NoCurrentActor, f"{next(iter(options))}=True needs a current actor"):
                self.system.spawn(Adder, **options)  # type: ignore[arg-type]  # mypy sees a dict of bools
        self.assertEqual(self.system.count_actors(), 0)

    def test_named(self) -> None:
        """spawn(name=) registers the child; a name that is taken spawns nothing."""
        address = self.system.spawn(Adder, name="total")
        self.assertEqual(self.system.whereis("total"), address)
        with self.assertRaises(NameTaken):
            self.system.spawn(Adder, name="total")
        self.assertEqual(self.system.count_actors(), 1)

    def test_bounded(self) -> None:
        """A bounded mailbox drops what is too much, as dead letters with an event; signals get in."""
        letters: list[DeadLetter] = []
        self.system.events.subscribe(DeadLetter, letters.append)
        for drop, kept in (("newest", [0, 1, 2]), ("oldest", [7, 8, 9])):
            got: list[Any] = []
            address = self.system.spawn(Recorder, got, True, mailbox=MailboxBound(3, drop))
            for number in range(10):
                address.send(number)
            self.settle()
            self.assertEqual(got, kept)
            address.exit("signal")
            self.settle()
            self.assertEqual(got[-1].reason, "signal")
        self.assertEqual((self.system.dead_letters, len(letters), letters[0].message), (14, 14, 3))

    def test_bounded_while_it_handles(self) -> None:
        """What waits while an actor works through its mailbox counts, to the message."""
        got: list[int] = []

        class Floods(Actor):
            def receive(self, message: int) -> None:
                got.append(message)
                if message == 0:
                    for number in range(10, 20):
                        self.address.send(number)

        address = self.system.spawn(Floods, mailbox=MailboxBound(5))
        for number in range(5):
            address.send(number)
        self.settle()
        self.assertEqual(got, [0, 1, 2, 3, 4, 10])

    def test_bounded_while_it_looks(self) -> None:
        """A coroutine actor that looks for something else is full, and can be told by name only what fits."""
        got: list[object] = []

        async def looks(me: CoroutineActor) -> None:
            got.append(await me.receive(str))

        address = self.system.spawn(looks, mailbox=MailboxBound(2, "oldest"))
        self.settle()
        for message in (1, 2, 3, "found"):
            address.send(message)
            self.settle()
        self.assertEqual((got, self.system.dead_letters), (["found"], 2))

    def test_bounded_with_news(self) -> None:
        """What a selective receive looks for is found, also when something is dropped as it comes."""
        got: list[object] = []

        async def looks(me: CoroutineActor) -> None:
            got.append(await me.receive(str))

        address = self.system.spawn(looks, mailbox=MailboxBound(3, "oldest"))
        for messages in ((1, 2), ("found", 3)):
            for message in messages:
                address.send(message)
            self.settle()
        self.assertEqual(got, ["found"])

    def test_call_of_the_full(self) -> None:
        """A call whose request is dropped fails at once."""

        async def busy(me: CoroutineActor) -> None:
            await Deferred()

        address = self.system.spawn(busy, mailbox=MailboxBound(1))
        self.settle()
        address.send("full")
        pending = address.call("anybody?")
        self.settle()
        self.assertIn("is full", self.failureResultOf(pending, MailboxFull).getErrorMessage())

    def test_forwarded_to_the_dead(self) -> None:
        """A call that is forwarded to a dead actor is lost as any message: the caller's time passes."""
        dead = self.spawn(Adder)
        dead.exit("kill")
        self.settle()

        class Forwards(Actor):
            def receive(self, message: Any) -> None:
                dead.send(message)

        pending = self.spawn(Forwards).call("total", timeout=1)
        self.settle()
        self.assertNoResult(pending)
        self.pass_time(1)
        self.failureResultOf(pending, CallTimeout)

    def test_selective_receive_is_linear(self) -> None:
        """Looking for a message among many that come one by one does not look at the old ones again."""
        steps = []
        for number in (200, 2_000):
            address = self.system.spawn(looks_for, str, mailbox=MailboxBound(number // 2, "oldest"))
            unbounded = self.system.spawn(looks_for, str)
            self.settle()

            def flood(number: int = number, to: tuple[Address, ...] = (address, unbounded)) -> None:
                for message in range(number):
                    for one in to:
                        one.send(message)
                    self.settle()

            steps.append(count_lines(flood))
        self.assertLess(steps[1], 15 * steps[0])

    def test_listener_that_exits(self) -> None:
        """SystemExit out of a listener does not keep a new actor from its first step."""

        def listener(event: ActorSpawned) -> None:
            raise SystemExit

        self.system.events.subscribe(ActorSpawned, listener)
        with self.assertRaises(SystemExit):
            self.system.spawn(Adder)
        self.settle()
        stopped = self.system.stopService()
        self.settle()
        self.successResultOf(stopped)

    def test_wrong_mailbox(self) -> None:
        """A bound that is none is refused where it is given."""
        with self.assertRaisesRegex(TypeError, "mailbox: 10 is neither a MailboxBound nor None"):
            self.system.spawn(Adder, mailbox=10)  # type: ignore[arg-type]  # the point
        self.assertEqual(self.system.count_actors(), 0)


async def looks_for(me: CoroutineActor, kind: type) -> None:
    """Waits for a message of one class."""
    await me.receive(kind)


class StartTests(ActorTestCase):
    def started(self, *arguments: Any, **options: Any) -> Deferred[Address]:
        started = self.system.start(*arguments, **options)
        self.settle()
        return started

    def test_started(self) -> None:
        """start() waits for the constructor and for started(); the mailbox waits, too."""
        ready: Deferred[None] = Deferred()
        got: list[Any] = []

        class Slow(Recorder):
            async def started(self) -> None:
                self.received.append("starting")
                await ready

        started = self.started(Slow, got, name="slow")
        self.system.send("slow", "message")
        self.settle()
        self.assertNoResult(started)
        self.assertEqual(got, ["starting"])
        ready.callback(None)
        self.settle()
        self.assertEqual(self.successResultOf(started), self.system.whereis("slow"))
        self.assertEqual(got, ["starting", "message"])

    def test_ended_meanwhile(self) -> None:
        """One that an exit signal reaches in its first step has not started, in either style."""
        dead = self.spawn(Recorder, [])
        dead.exit("kill")
        self.settle()

        class Links(Actor):
            def __init__(self) -> None:
                self.link(dead)

        async def links(me: CoroutineActor) -> None:
            me.link(dead)
            await me.receive()

        async def ends(me: CoroutineActor) -> None:
            me.link(dead)

        for function in (Links, links, ends):
            failure = self.failureResultOf(self.started(function), StartFailed)
            self.assertEqual(failure.value.reason, "noproc")

    def test_plain(self) -> None:
        """A started() that is a plain function works as well; a coroutine's start is its first step."""
        got: list[Any] = []

        class Plain(Recorder):
            def started(self) -> None:
                self.received.append("started")

        for style, args in ((Plain, (got,)), (adder, ())):
            self.assertTrue(self.system.is_alive(self.successResultOf(self.started(style, *args))))
        self.assertEqual(got, ["started"])

    def test_short_lived(self) -> None:
        """A coroutine that returns in its first step has started, too."""

        async def short(me: CoroutineActor) -> None: ...

        self.assertFalse(self.system.is_alive(self.successResultOf(self.started(short))))

    def test_failures(self) -> None:
        """21: Refused, raised, in the constructor or in started(): StartFailed has the reason."""

        class Fails(Actor):
            def __init__(self, how: str) -> None:
                self.how = how
                if how == "refuses":
                    self.exit("no")
                if how == "raises":
                    raise ZeroDivisionError

            async def started(self) -> None:
                if self.how == "refuses late":
                    self.exit("no")
                raise ZeroDivisionError

            def terminate(self, reason: object) -> None:
                terminated.append(reason)

        terminated: list[object] = []
        for how in ("refuses", "raises", "refuses late", "raises late"):
            error = self.failureResultOf(self.started(Fails, how), StartFailed).value
            self.assertEqual(error.reason == "no", "refuses" in how)
            self.assertEqual(isinstance(error.reason, Crash), "raises" in how)
            self.assertFalse(self.system.is_alive(error.address))
        self.assertEqual(terminated, [])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_timeout(self) -> None:
        """21: One that takes too long is killed, and the reason is timeout."""

        class Slow(Actor):
            async def started(self) -> None:
                await Deferred()

        started = self.started(Slow, timeout=2)
        self.pass_time(1.9)
        self.assertNoResult(started)
        self.pass_time(0.1)
        error = self.failureResultOf(started, StartFailed).value
        self.assertEqual((error.reason, self.system.count_actors()), ("timeout", 0))

    def test_name_taken(self) -> None:
        """21: A name that is taken fails the start, and says who has it."""
        owner = self.successResultOf(self.started(Adder, name="total"))
        error = self.failureResultOf(self.started(Adder, name="total"), NameTaken).value
        self.assertEqual((error.name, error.address), ("total", owner))

    def test_wrong_use(self) -> None:
        """What cannot be spawned fails the start, as does a system that has stopped."""
        self.failureResultOf(self.started("nonsense"), NotAnActor)
        for options in ({"timeout": -1}, {"name": ""}):
            with self.assertRaisesRegex(ValueError, next(iter(options))):
                self.system.start(Adder, **options)
        self.assertEqual(self.system.count_actors(), 0)
        self.system.stopService()
        self.failureResultOf(self.started(Adder), SystemStopped)


class EndedTests(ActorTestCase):
    def test_ended(self) -> None:
        """ended() fires with the exit reason, and with noproc for the dead; from the run queue."""
        address = self.spawn(Adder)
        ended = address.ended()
        self.settle()
        self.assertNoResult(ended)
        address.exit("boom")
        self.settle()
        self.assertEqual(self.successResultOf(ended), "boom")
        again = address.ended()
        self.assertNoResult(again)
        self.settle()
        self.assertEqual(self.successResultOf(again), "noproc")

    def test_cancel(self) -> None:
        """A wait that is cancelled leaves nothing behind."""
        address = self.spawn(Adder)
        ended = address.ended()
        ended.cancel()
        self.failureResultOf(ended)
        cell = self.system.find(address)
        assert cell is not None and cell.ties is not None
        self.assertEqual(cell.ties.watchers, {})


class StopTests(ActorTestCase):
    def test_stop(self) -> None:
        """23: stop() fires after the actor's death; terminate has run, also if exits are trapped."""
        reasons: list[object] = []

        class Cleans(Recorder):
            def terminate(self, reason: object) -> None:
                reasons.append(reason)

        for traps in (True, False):
            address = self.spawn(Cleans, [], traps)
            stopped = address.stop("shutdown")
            self.assertTrue(self.system.is_alive(address))
            self.settle()
            self.assertIsNone(self.successResultOf(stopped))
            self.assertFalse(self.system.is_alive(address))
        self.assertEqual(reasons, ["shutdown", "shutdown"])

    def test_dead(self) -> None:
        """23: Stopping a dead one fails with noproc."""
        address = self.spawn(Adder)
        address.exit("kill")
        self.settle()
        stopped = address.stop()
        self.settle()
        self.assertEqual(self.failureResultOf(stopped, CalleeExited).value.reason, "noproc")

    def test_equal_reason(self) -> None:
        """Reasons that are equal are the same, whoever asked first."""
        address = self.spawn(Adder)
        both = [address.stop(Shutdown("enough")) for _ in range(2)]
        self.settle()
        for stopped in both:
            self.assertIsNone(self.successResultOf(stopped))

    def test_two_reasons(self) -> None:
        """Of two stops the first one counts; the other fails with its reason."""
        address = self.spawn(Adder)
        first, second = address.stop("shutdown"), address.stop("normal")
        self.settle()
        self.successResultOf(first)
        self.assertEqual(self.failureResultOf(second, CalleeExited).value.reason, "shutdown")

    def test_coroutine(self) -> None:
        """A coroutine actor is stopped as well, and its finally blocks run."""
        log: list[str] = []

        async def works(me: CoroutineActor) -> None:
            try:
                await me.receive()
            finally:
                log.append("finally")

        stopped = self.spawn(works).stop()
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual(log, ["finally"])

    def test_oneself(self) -> None:
        """An actor that stops itself gets an error: it would wait for its own end."""
        errors: list[Any] = []

        class Narcissus(Actor):
            def receive(self, message: Any) -> None:
                self.address.stop().addErrback(errors.append)

        address = self.spawn(Narcissus)
        address.send("go")
        self.settle()
        errors[0].trap(CallingSelf)
        self.assertTrue(self.system.is_alive(address))

    def test_a_signal_comes_first(self) -> None:
        """A signal to one that is told to stop ends it: no terminate is called, and none could hold it."""
        called: list[object] = []

        class Slow(Actor):
            async def terminate(self, reason: object) -> None:
                called.append(reason)
                await Deferred()

        for signal, reason in (("kill", "killed"), ("shutdown", "shutdown")):
            address = self.spawn(Slow)
            end = address.ended()
            address.stop().addErrback(lambda _: None)
            address.exit(signal)
            self.settle()
            self.assertEqual(self.successResultOf(end), reason)
        self.assertEqual(called, [])

    def test_a_signal_ends_terminate(self) -> None:
        """One that comes before terminate awaits, or before the exit in the same step, ends it there."""

        class Slow(Actor):
            def receive(self, message: str) -> None:
                if message == "before":
                    self.address.exit("kill")
                self.exit(message)

            async def terminate(self, reason: object) -> None:
                if reason != "before":
                    self.address.exit("kill")
                await Deferred()

        for message in ("before", "then"):
            address = self.spawn(Slow)
            end = address.ended()
            address.send(message)
            self.settle()
            self.assertEqual(self.successResultOf(end), "killed")

    def test_timeout(self) -> None:
        """One whose terminate takes too long fails the stop, and goes on ending."""

        class Slow(Actor):
            async def terminate(self, reason: object) -> None:
                await done

        done: Deferred[None] = Deferred()
        address = self.spawn(Slow)
        stopped = address.stop(timeout=2)
        self.pass_time(2)
        self.failureResultOf(stopped, CallTimeout)
        self.assertTrue(self.system.is_alive(address))
        done.callback(None)
        self.settle()
        self.assertFalse(self.system.is_alive(address))


class FloodTests(ActorTestCase):
    def test_call_from_a_flooded_actor(self) -> None:
        """24: A call from an actor with 500,000 unread messages takes no more steps than from one without."""
        steps: list[int] = []

        async def asks(me: CoroutineActor, callee: Address) -> None:
            await me.receive(str)
            for _ in range(10):
                await callee.call("total")

        for unread in (0, 500_000):
            caller = self.system.spawn(asks, self.spawn(Adder))
            caller.send("go")
            for number in range(unread):
                caller.send(number)
            steps.append(count_lines(self.settle))
            self.assertFalse(self.system.is_alive(caller))
        self.assertLess(steps[1], 2 * steps[0])
