"""What actors in both styles can do, seen from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import deferLater

from echoactor import Actor, Call, CoroutineActor, Timeout
from echoactor.errors import CalleeExited, NotAnActor

from .support import ActorTestCase, Adder, Recorder, adder


class StyleTests(ActorTestCase):
    """What both styles do alike."""

    def test_counter(self) -> None:
        """An actor keeps state between messages, and answers with it."""
        for style in (Adder, adder):
            counter = self.spawn(style, 10)
            counter.send(5)
            counter.send(6)
            self.assertEqual(self.ask(counter, "total"), 21)

    def test_spawn_returns_at_once(self) -> None:
        """Spawn runs nothing of the actor; its constructor runs in its first turn."""
        ran: list[str] = []

        class Slow(Actor):
            def __init__(self) -> None:
                ran.append("class")

        async def slow(me: CoroutineActor) -> None:
            ran.append("coroutine")

        for style in (Slow, slow):
            self.system.spawn(style)
        self.assertEqual(ran, [])
        self.settle()
        self.assertEqual(ran, ["class", "coroutine"])

    def test_send_runs_nothing(self) -> None:
        """Send never runs the receiver inside the sender."""
        address, received = self.recorder()
        address.send(1)
        self.assertEqual(received, [])
        self.settle()
        self.assertEqual(received, [1])

    def test_sends_before_the_constructor(self) -> None:
        """Messages sent before the actor's first turn wait for it."""
        for style in (Adder, adder):
            counter = self.system.spawn(style)
            counter.send(3)
            self.assertEqual(self.ask(counter, "total"), 3)

    def test_not_an_actor(self) -> None:
        """Spawn refuses what is no actor, and says what one is."""

        def plain(me: object) -> None: ...

        for wrong in (plain, object, Actor.receive, 3, None, "Adder", Adder()):
            with self.assertRaisesRegex(NotAnActor, "Actor class or a coroutine function"):
                self.system.spawn(wrong)  # type: ignore[arg-type]  # that is the test

    def test_fails_before_its_first_message(self) -> None:
        """A constructor or a first step that raises, or wrong arguments, crash that actor alone, once."""

        class Broken(Actor):
            def __init__(self) -> None:
                raise ZeroDivisionError

            def terminate(self, reason: object) -> None:
                raise AssertionError("an actor that was never made cannot clean up")

        async def broken(me: CoroutineActor) -> None:
            raise ZeroDivisionError

        for style in (Broken, broken):
            address = self.spawn(style)
            self.assertFalse(self.system.is_alive(address))
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        for wrongly_called in (Broken, broken, Adder):
            self.assertFalse(self.system.is_alive(self.spawn(wrongly_called, 1, 2, 3)))
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_crash_ends_one_actor(self) -> None:
        """An exception ends its actor, is logged once with the address, and touches nobody else."""
        for style in (Adder, adder):
            one, other = self.spawn(style), self.spawn(style)
            one.send(ZeroDivisionError("boom"))
            other.send(1)
            self.assertEqual(self.ask(other, "total"), 1)
            self.assertFalse(self.system.is_alive(one))
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_it_has(self) -> None:
        """An actor knows its address and its system, in the constructor already, and spawns children."""
        known: list[Any] = []

        class Knows(Actor):
            def __init__(self) -> None:
                known.append((self.address, self.system))
                self.spawn(Recorder, []).send("hello")

        async def knows(me: CoroutineActor) -> None:
            known.append((me.address, me.system))
            me.spawn(Recorder, []).send("hello")
            await me.receive()

        for style in (Knows, knows):
            before = self.system.count_actors()
            address = self.spawn(style)
            self.assertEqual(known.pop(), (address, self.system))
            self.assertEqual(self.system.count_actors(), before + 2)

    def test_exit(self) -> None:
        """An actor ends by exit, as a normal end by default, with nothing logged."""

        class Leaves(Actor):
            def receive(self, message: Any) -> None:
                self.exit()

        async def leaves(me: CoroutineActor) -> None:
            await me.receive()
            me.exit("shutdown")

        for style in (Leaves, leaves):
            address = self.spawn(style)
            address.send("go")
            self.settle()
            self.assertFalse(self.system.is_alive(address))

    def test_exit_is_not_caught_by_accident(self) -> None:
        """``except Exception`` does not keep an actor alive that exits."""

        async def careful(me: CoroutineActor) -> None:
            while True:
                try:
                    await me.receive()
                    me.exit()
                except Exception:
                    pass

        address = self.spawn(careful)
        address.send("go")
        self.settle()
        self.assertFalse(self.system.is_alive(address))


class CallbackTests(ActorTestCase):
    """Class style."""

    def test_needs_receive(self) -> None:
        """An Actor without receive crashes at its first message, and says why."""

        class Deaf(Actor):
            pass

        self.spawn(Deaf).send(1)
        self.settle()
        [failure] = self.flushLoggedErrors(NotImplementedError)
        self.assertIn("Deaf needs a method receive", failure.getErrorMessage())

    def test_async_receive_holds_the_mailbox(self) -> None:
        """While an async receive awaits, later messages wait; then they come in order."""
        log: list[Any] = []
        gates: list[Deferred[str]] = [Deferred(), Deferred()]

        class Waits(Actor):
            async def receive(self, message: int) -> None:
                log.append(message)
                log.append(await gates[message])

        address = self.spawn(Waits)
        address.send(0)
        address.send(1)
        self.settle()
        self.assertEqual(log, [0])
        gates[0].callback("first")
        self.assertEqual(log, [0])  # firing runs nothing
        self.settle()
        self.assertEqual(log, [0, "first", 1])
        gates[1].callback("second")
        self.settle()
        self.assertEqual(log, [0, "first", 1, "second"])

    def test_returned_deferred_is_awaited(self) -> None:
        """A receive that returns a Deferred is done when that has fired; other results are ignored."""
        gate: Deferred[None] = Deferred()
        received: list[int] = []

        class Returns(Actor):
            def receive(self, message: int) -> Any:
                received.append(message)
                return gate if message == 2 else "ignored"

        address = self.spawn(Returns)
        for number in (1, 2, 3):
            address.send(number)
        self.settle()
        self.assertEqual(received, [1, 2])
        gate.callback(None)
        self.settle()
        self.assertEqual(received, [1, 2, 3])

    def test_async_receive_that_fails(self) -> None:
        """What an async receive raises, at once or later, or what its Deferred fails with, is a crash."""

        class Fails(Actor):
            async def receive(self, message: Deferred[None]) -> None:
                await message
                raise ZeroDivisionError

        pending: Deferred[None] = Deferred()
        for deferred in (succeed(None), pending):
            address = self.spawn(Fails)
            address.send(deferred)
            self.settle()
            if deferred is pending:
                self.assertTrue(self.system.is_alive(address))
                pending.errback(ZeroDivisionError())
                self.settle()
            self.assertFalse(self.system.is_alive(address))
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_terminate(self) -> None:
        """Terminate is the last step of an actor that ends by itself; still alive, it can send."""
        log, reasons = self.recorder()

        class Cleans(Adder):
            def terminate(self, reason: object) -> None:
                log.send((reason, self.system.is_alive(self.address)))

            def receive(self, message: Any) -> None:
                if message == "exit":
                    self.exit("shutdown")
                super().receive(message)

        self.spawn(Cleans).send("exit")
        self.settle()
        self.spawn(Cleans).send(ZeroDivisionError())
        self.settle()
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(reasons[0], ("shutdown", True))
        self.assertEqual(reasons[1][0].type, "builtins.ZeroDivisionError")

    def test_terminate_not_after_signals(self) -> None:
        """By OTP's rule, terminate is not called when an untrapped signal or kill ends the actor."""
        calls: list[object] = []

        class Cleans(Adder):
            def terminate(self, reason: object) -> None:
                calls.append(reason)

        for reason in ("shutdown", "kill", "anything"):
            address = self.spawn(Cleans)
            address.exit(reason)
            self.settle()
            self.assertFalse(self.system.is_alive(address))
        self.assertEqual(calls, [])

    def test_terminate_that_fails(self) -> None:
        """A terminate that raises changes the exit reason, and is logged; the actor is dead all the same."""

        class Clumsy(Actor):
            def receive(self, message: Any) -> None:
                self.exit()

            def terminate(self, reason: object) -> None:
                raise ZeroDivisionError

        address = self.spawn(Clumsy)
        pending = address.call("go")
        self.settle()
        self.assertIn("ZeroDivisionError", self.failureResultOf(pending).getErrorMessage())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_terminate_that_awaits(self) -> None:
        """An async terminate is awaited before the actor is dead; messages are not handled any more."""
        for end in ("exit", ZeroDivisionError(), "stop"):
            log: list[object] = []
            released: Deferred[None] = Deferred()

            class Late(Adder):
                def __init__(self, log: list[object], released: Deferred[None]) -> None:
                    self.log, self.released = log, released

                def receive(self, message: Any) -> None:
                    self.log.append(message)
                    if message == "exit":
                        self.exit("normal")
                    super().receive(message)

                async def terminate(self, reason: object) -> None:
                    await self.released
                    self.log.append("cleaned")

            address = self.spawn(Late, log, released)
            stopped = address.stop() if end == "stop" else None
            if end != "stop":
                address.send(end)
            address.send("more")
            self.settle()
            self.assertTrue(self.system.is_alive(address))
            address.stop().addErrback(lambda _: None)  # does not hurry it
            self.settle()
            self.assertTrue(self.system.is_alive(address))
            released.callback(None)
            self.settle()
            self.assertFalse(self.system.is_alive(address))
            self.assertEqual(log, ["cleaned"] if end == "stop" else [end, "cleaned"])
            if stopped is not None:
                self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_terminate_that_awaits_too_long(self) -> None:
        """An actor that awaits in terminate can be killed, and what it awaits is cancelled."""
        cancelled: list[object] = []

        class Late(Actor):
            async def terminate(self, reason: object) -> None:
                await Deferred(cancelled.append)

        address = self.spawn(Late)
        stopped = address.stop("done")
        self.settle()
        address.exit("kill")
        self.settle()
        self.assertEqual(self.failureResultOf(stopped, CalleeExited).value.reason, "killed")
        self.assertEqual(len(cancelled), 1)

    def test_terminate_while_receive_awaits(self) -> None:
        """Stopping an actor whose receive awaits closes that first; a late result of it wakes nobody."""
        log: list[object] = []
        never: Deferred[None] = Deferred()
        released: Deferred[None] = Deferred()

        class Busy(Actor):
            async def receive(self, message: Any) -> None:
                try:
                    await never
                finally:
                    log.append("closed")

            async def terminate(self, reason: object) -> None:
                log.append("terminate")
                await released

        address = self.spawn(Busy)
        address.send("work")
        self.settle()
        address.stop()
        self.settle()
        never.errback(ZeroDivisionError())
        self.settle()
        self.assertEqual((log, self.system.is_alive(address)), (["closed", "terminate"], True))
        released.callback(None)
        self.settle()
        self.assertFalse(self.system.is_alive(address))

    def test_no_me_receive(self) -> None:
        """An async receive that awaits what only a coroutine actor may await gets a TypeError there."""
        caught: list[str] = []

        class Confused(Actor):
            async def receive(self, message: CoroutineActor) -> None:
                for wrong in (message.receive(), _NotADeferred()):
                    try:
                        await wrong
                    except TypeError as error:
                        caught.append(str(error))

        async def other(me: CoroutineActor) -> None:
            confused.send(me)
            await me.receive()

        confused = self.spawn(Confused)
        self.spawn(other)
        self.assertEqual(len(caught), 2)
        self.assertIn("coroutine actors", caught[0])
        self.assertTrue(self.system.is_alive(confused))

    def test_any_awaitable(self) -> None:
        """What receive returns may be any awaitable, also one whose steps are no generator."""
        done: Deferred[str] = Deferred()

        class Steps:
            def __await__(self) -> Iterator[Any]:
                return iter((done,))

        class Returns(Recorder):
            def receive(self, message: Any) -> Any:
                super().receive(message)
                return Steps()

        log: list[Any] = []
        address = self.spawn(Returns, log)
        for number in (1, 2):
            address.send(number)
        self.settle()
        self.assertEqual(log, [1])
        done.callback("")
        self.settle()
        self.assertEqual(log, [1, 2])
        address.exit("kill")
        self.settle()

    def test_killed_in_any_awaitable(self) -> None:
        """Such a one is given up as others are."""
        cancelled: list[Any] = []
        done: Deferred[None] = Deferred(cancelled.append)

        class Steps:
            def __await__(self) -> Iterator[Any]:
                return iter((done,))

        class Returns(Recorder):
            def receive(self, message: Any) -> Any:
                return Steps()

        address = self.spawn(Returns, [])
        address.send(1)
        self.settle()
        address.exit("kill")
        self.settle()
        self.assertEqual(cancelled, [done])
        self.assertEqual(self.system.count_actors(), 0)


class _NotADeferred:
    def __await__(self) -> Any:
        yield "something foreign"


class ReceiveTests(ActorTestCase):
    """``await me.receive()``: selective, and with a time limit."""

    def receiver(
        self, *wanted: Any, timeout: float | None = None, rest: bool = True
    ) -> tuple[Any, list[Any]]:
        """An actor that receives once as asked, then everything; and the list of what it got."""
        got: list[Any] = []

        async def receives(me: CoroutineActor) -> None:
            got.append(await me.receive(*wanted, timeout=timeout))
            while rest:
                got.append(await me.receive())

        return self.spawn(receives), got

    def send_all(self, address: Any, *messages: object) -> None:
        for message in messages:
            address.send(message)
        self.settle()

    def test_in_order(self) -> None:
        """Plain receive gives messages in the order of arrival."""
        address, got = self.receiver()
        self.send_all(address, *range(250))
        self.assertEqual(got, list(range(250)))

    def test_by_class(self) -> None:
        """Receiving a class takes its first message, and leaves the others in order."""
        address, got = self.receiver(str)
        self.send_all(address, 1, 2, "a", 3, "b")
        self.assertEqual(got, ["a", 1, 2, 3, "b"])

    def test_by_classes(self) -> None:
        """Receiving several classes takes the first message of any."""
        address, got = self.receiver(str, bytes)
        self.send_all(address, 1, b"x", "a")
        self.assertEqual(got, [b"x", 1, "a"])

    def test_by_predicate(self) -> None:
        """Receiving by a predicate, alone or beside a class, takes the first message it accepts."""
        for wanted in ((lambda n: n > 2,), (str, lambda n: n > 2)):
            address, got = self.receiver(*wanted)
            self.send_all(address, 1, 2, 3, 4)
            self.assertEqual(got, [3, 1, 2, 4])

    def test_waits_for_a_match(self) -> None:
        """Messages that do not match do not end the wait, and are looked at once each."""
        looked_at: list[int] = []

        def wanted(number: int) -> bool:
            looked_at.append(number)
            return number == 3

        address, got = self.receiver(wanted)
        for number in (1, 2, 3):
            self.send_all(address, number)
        self.assertEqual((got, looked_at), ([3, 1, 2], [1, 2, 3]))

    def test_idle_while_nothing_matches(self) -> None:
        """An actor whose mailbox has only what it does not want costs no turns."""
        address, _ = self.receiver(str)
        self.send_all(address, 1, 2, 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_wrong_pattern(self) -> None:
        """What is neither class nor predicate is refused, in the actor, by name."""
        for wrong in (3, "str", None):
            self.receiver(wrong)
            [failure] = self.flushLoggedErrors(TypeError)
            self.assertIn(f"classes and predicates, not {wrong!r}", failure.getErrorMessage())

    def test_timeout(self) -> None:
        """With nothing in time, receive returns Timeout(); before that, it waits."""
        _, got = self.receiver(timeout=2)
        self.pass_time(1.9)
        self.assertEqual(got, [])
        self.pass_time(0.1)
        self.assertEqual(got, [Timeout()])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_message_in_time(self) -> None:
        """A message in time ends the wait, and the limit with it."""
        address, got = self.receiver(timeout=2)
        self.send_all(address, "hello")
        self.assertEqual((got, self.clock.getDelayedCalls()), (["hello"], []))
        self.pass_time(5)
        self.assertEqual(got, ["hello"])

    def test_others_do_not_extend_the_wait(self) -> None:
        """Messages that do not match neither end nor prolong the limit."""
        address, got = self.receiver(str, timeout=2)
        for number in (1, 2, 3):
            self.pass_time(0.5)
            self.send_all(address, number)
        self.pass_time(0.5)
        self.assertEqual(got, [Timeout(), 1, 2, 3])

    def test_zero_looks_and_does_not_wait(self) -> None:
        """A limit of 0 takes what is there, else times out at once."""
        got: list[Any] = []

        async def polls(me: CoroutineActor) -> None:
            await me.receive(lambda message: message == "go")
            for _ in range(3):
                got.append(await me.receive(int, timeout=0))
            got.append(await me.receive(timeout=0))
            got.append(await me.receive(timeout=0))

        address = self.spawn(polls)
        self.send_all(address, 1, "x", 2, "go")
        self.assertEqual(got, [1, 2, Timeout(), "x", Timeout()])

    def test_wrong_timeout(self) -> None:
        """A time limit that is none is refused, in the actor."""
        wrongs: list[Any] = [-1, float("nan"), "1"]
        for wrong in wrongs:
            self.receiver(timeout=wrong)
            [failure] = self.flushLoggedErrors(ValueError)
            self.assertIn("timeout", failure.getErrorMessage())

    def test_predicate_that_sends(self) -> None:
        """What a predicate itself sends to its actor is looked at, too."""
        got: list[Any] = []

        async def sends(me: CoroutineActor) -> None:
            def fits(message: Any) -> bool:
                if message == "noise" and not got:
                    got.append("sent")
                    me.address.send("wanted")
                return bool(message == "wanted")

            me.address.send("noise")
            await me.receive(lambda message: False, timeout=1)
            got.append(await me.receive(fits, timeout=1))

        self.spawn(sends)
        self.pass_time(1)
        self.pass_time(1)
        self.assertEqual(got, ["sent", "wanted"])

    def test_predicate_that_raises(self) -> None:
        """What a guard or a message's comparison raises is raised at the receive; no message is lost."""

        class Hostile:
            def __eq__(self, other: object) -> bool:
                raise ArithmeticError("hostile")

            __hash__ = None  # type: ignore[assignment]  # as Python does it

        got: list[Any] = []
        hostile = Hostile()

        async def guarded(me: CoroutineActor) -> None:
            try:
                await me.receive(lambda message: message == "wanted")
            except ArithmeticError as error:
                got.append(str(error))
            got.append(await me.receive() is hostile)
            got.append(await me.receive())

        self.send_all(self.spawn(guarded), hostile, "wanted")
        self.assertEqual(got, ["hostile", True, "wanted"])

    def test_awaits_deferreds(self) -> None:
        """A coroutine actor awaits a Deferred, its value or its exception, while messages wait."""
        got: list[Any] = []

        async def sleeper(me: CoroutineActor) -> None:
            got.append(await deferLater(self.clock, 1, lambda: "slept"))
            try:
                await deferLater(self.clock, 1, lambda: 1 / 0)
            except ZeroDivisionError:
                got.append("caught")
            got.append(await me.receive())

        address = self.spawn(sleeper)
        self.send_all(address, "message")
        self.assertEqual(got, [])
        self.pass_time(1)
        self.assertEqual(got, ["slept"])
        self.pass_time(1)
        self.assertEqual(got, ["slept", "caught", "message"])

    def test_awaits_nothing_else(self) -> None:
        """Awaiting something foreign raises a TypeError that says what can be awaited."""
        caught: list[str] = []

        async def confused(me: CoroutineActor) -> None:
            try:
                await _NotADeferred()
            except TypeError as error:
                caught.append(str(error))
            await me.receive()

        address = self.spawn(confused)
        self.assertIn("can await Deferreds and me.receive()", caught[0])
        self.assertTrue(self.system.is_alive(address))

    def test_in_a_deferreds_coroutine(self) -> None:
        """Receiving inside ensureDeferred, which cannot work, raises there what is wrong."""
        errors: list[str] = []

        async def helper(me: CoroutineActor, wanted: Any) -> None:
            try:
                await me.receive(*wanted)
            except RuntimeError as error:
                errors.append(str(error))

        async def delegates(me: CoroutineActor) -> None:
            for wanted in ((), (int,)):
                await ensureDeferred(helper(me, wanted))

        self.spawn(delegates)
        self.assertEqual(len(errors), 2)
        self.assertIn("in the actor's own coroutine only", errors[0])

    def test_many_selective_receives_share_the_turn(self) -> None:
        """An actor that always finds a match lets others have their turns in between."""
        order: list[str] = []

        async def greedy(me: CoroutineActor) -> None:
            for _ in range(1000):
                await me.receive(int)
            order.append("greedy")

        address = self.system.spawn(greedy)
        for number in range(1000):
            address.send(number)
        self.system.spawn(Recorder, order).send("other")
        self.settle()
        self.assertEqual(order, ["other", "greedy"])

    def test_call_in_a_match(self) -> None:
        """A request arrives as Call(request, reply)."""
        address, got = self.receiver(Call)
        address.call("question")
        self.settle()
        self.assertEqual(got[0].request, "question")
        self.assertIn("reply to a call", repr(got[0].reply))
