"""A call always ends, once."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from echoactor import Actor, Address, Call, CoroutineActor
from echoactor.errors import CalleeExited, CallFailed, CallingSelf, CallTimeout
from echoactor.testing import ClockSystem

from .support import ActorTestCase, Adder, Recorder, adder


class CallTests(ActorTestCase):
    def test_fires_from_the_run_queue(self) -> None:
        """The reply fires the Deferred while no actor is current, not inside the callee."""
        current: list[object] = []
        self.spawn(Adder, 7).call("total").addCallback(
            lambda reply: current.append((reply, self.system.current))
        )
        self.settle()
        self.assertEqual(current, [(7, None)])

    def test_leaves_nothing(self) -> None:
        """A call that is over leaves no timer and no watcher behind."""
        counter = self.spawn(Adder)
        self.ask(counter, "total")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        cell = self.system.find(counter)
        assert cell is not None and cell.ties is not None
        self.assertEqual(cell.ties.watchers, {})

    def test_dead_or_unknown(self) -> None:
        """17: Calling a dead address, or one of another system, fails with noproc, not inside the call."""
        dead = self.spawn(Adder)
        dead.exit("kill")
        self.settle()
        for address in (dead, Address(self.system, 10**9)):
            pending = address.call("total")
            self.assertNoResult(pending)
            self.settle()
            error = self.failureResultOf(pending, CalleeExited).value
            self.assertEqual((error.address, error.reason), (address, "noproc"))
        self.assertIsInstance(error, CallFailed)

    def test_of_another_system(self) -> None:
        """A call by way of any system reaches the address that it is for."""
        pending = ClockSystem(self.clock).call(self.spawn(Adder, 7), "total")
        self.settle()
        self.assertEqual(self.successResultOf(pending), 7)

    def test_timeout(self) -> None:
        """18: Without a reply in time the call fails; the callee lives, and its late reply vanishes."""
        address, received = self.recorder()
        pending = address.call("question", timeout=2)
        self.pass_time(1.9)
        self.assertNoResult(pending)
        self.pass_time(0.1)
        error = self.failureResultOf(pending, CallTimeout).value
        self.assertEqual((error.address, error.timeout), (address, 2))
        [call] = received
        call.reply("late")
        call.reply("later")
        self.settle()
        self.assertEqual((self.system.is_alive(address), self.system.dead_letters), (True, 0))

    def test_no_timeout(self) -> None:
        """With a timeout of None a call waits, and sets no timer."""
        address, received = self.recorder()
        pending = address.call("question", timeout=None)
        self.settle()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pass_time(1e6)
        received[0].reply("at last")
        self.settle()
        self.assertEqual(self.successResultOf(pending), "at last")

    def test_wrong_timeout(self) -> None:
        """A timeout that is none is refused at the call."""
        with self.assertRaisesRegex(ValueError, "timeout: -1 "):
            self.spawn(Adder).call("total", timeout=-1)

    def test_callee_dies(self) -> None:
        """19: When the callee ends without a reply, the call fails with its reason."""
        for reason, seen in (("shutdown", "shutdown"), ("kill", "killed")):
            address, _ = self.recorder()
            pending = address.call("question")
            self.settle()
            address.exit(reason)
            self.settle()
            self.assertEqual(self.failureResultOf(pending, CalleeExited).value.reason, seen)

    def test_callee_crashes(self) -> None:
        """A crash of the callee is the call's failure, as a reason made of strings."""
        counter = self.spawn(adder)
        pending = counter.call("total")
        counter.send(ZeroDivisionError("boom"))
        late = counter.call("total")
        self.settle()
        self.assertEqual(self.successResultOf(pending), 0)
        self.assertEqual(self.failureResultOf(late, CalleeExited).value.reason.text, "boom")
        self.flushLoggedErrors(ZeroDivisionError)

    def test_reply_then_death(self) -> None:
        """A reply given before the callee ends counts."""

        class Answers(Actor):
            def receive(self, message: Call) -> None:
                message.reply("last words")
                self.exit()

        self.assertEqual(self.ask(self.spawn(Answers), None), "last words")

    def test_deferred_reply_from_another(self) -> None:
        """Another actor may give the reply, later; even after the first one has forgotten the call."""

        class Forwards(Actor):
            def __init__(self, to: Address) -> None:
                self.to = to

            def receive(self, message: Call) -> None:
                self.to.send(message.reply)

        helper, received = self.recorder()
        pending = self.spawn(Forwards, helper).call("question")
        self.settle()
        received[0]("from the helper")
        self.settle()
        self.assertEqual(self.successResultOf(pending), "from the helper")

    def test_calling_self(self) -> None:
        """17: An actor that calls itself gets an error at once; another's call of it is unharmed."""
        errors: list[Exception] = []

        class Narcissus(Actor):
            async def receive(self, message: Any) -> None:
                try:
                    await self.address.call("hello")
                except CallingSelf as error:
                    errors.append(error)

        address = self.spawn(Narcissus)
        address.send("go")
        self.settle()
        self.assertIn("called itself", str(errors[0]))
        self.assertTrue(self.system.is_alive(address))

    def test_cancel(self) -> None:
        """A cancelled call fails at once, and a reply that was on its way vanishes."""
        for settled in (False, True):
            address, received = self.recorder()
            pending = address.call("question")
            self.settle()
            if settled:
                received[0].reply("too late")
            pending.cancel()
            self.failureResultOf(pending, CancelledError)
            received[0].reply("too late")
            self.settle()
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reply_with_a_deferred(self) -> None:
        """Replying with a Deferred is refused in the replier, who can mend it."""

        class Sloppy(Actor):
            def receive(self, message: Call) -> None:
                message.reply(Deferred())

        pending = self.spawn(Sloppy).call("question")
        self.settle()
        self.assertIn("reply with a value", self.failureResultOf(pending).getErrorMessage())
        self.flushLoggedErrors(TypeError)

    def test_between_actors(self) -> None:
        """A call awaited in an actor gives the reply there, and only makes the caller runnable."""
        got: list[object] = []

        async def asks(me: CoroutineActor, counter: Address) -> None:
            got.append(await counter.call("total"))
            got.append(me.system.current is not None)

        self.spawn(asks, self.spawn(Adder, 3))
        self.assertEqual(got, [3, True])

    def test_caller_dies(self) -> None:
        """A caller that ends while it waits gives its call up; the reply vanishes."""
        callee, received = self.recorder()

        async def asks(me: CoroutineActor) -> None:
            await callee.call("question")

        caller = self.spawn(asks)
        caller.exit("shutdown")
        self.settle()
        received[0].reply("nobody there")
        self.settle()
        self.assertEqual((self.clock.getDelayedCalls(), self.system.dead_letters), ([], 0))

    def test_messages_before_the_reply_are_kept(self) -> None:
        """What the callee sent to the caller before its reply waits in the mailbox, in order."""
        got: list[object] = []

        class Chatty(Actor):
            def receive(self, message: Call) -> None:
                caller: Any = message.request
                caller.send("before")
                message.reply("reply")
                caller.send("after")

        async def asks(me: CoroutineActor, chatty: Address) -> None:
            got.append(await chatty.call(me.address))
            got.append(await me.receive())
            got.append(await me.receive())

        self.spawn(asks, self.spawn(Chatty))
        self.assertEqual(got, ["reply", "before", "after"])

    def test_stale_recorder(self) -> None:
        """A callee that never replies and then stops fails all its callers."""
        address = self.spawn(Recorder, [])
        pending = [address.call(number) for number in range(3)]
        self.settle()
        address.exit("shutdown")
        self.settle()
        for one in pending:
            self.failureResultOf(one, CalleeExited)
