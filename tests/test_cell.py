"""Endings, above all of actors that await; and slices of the turn."""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from echoactor import Actor, CoroutineActor, cell
from echoactor.events import ActorEnded
from echoactor.messages import Crash

from .support import ActorTestCase, Adder, Recorder


class EndedWhileAwaitingTests(ActorTestCase):
    """A coroutine that is ended before it is done."""

    def setUp(self) -> None:
        super().setUp()
        self.log: list[Any] = []
        self.awaited: Deferred[str] = Deferred(lambda _: self.log.append("cancelled"))
        self.system.events.subscribe(ActorEnded, lambda event: self.log.append("told"))

    def awaiting(self, style: str) -> Any:
        """An actor, in either style, that awaits ``self.awaited`` with a finally block."""

        async def work(me: Any) -> None:
            try:
                await self.awaited
                self.log.append("went on")
            finally:
                self.log.append(("finally", self.system.is_alive(me.address)))

        class Awaits(Actor):
            async def receive(self, message: Any) -> None:
                await work(self)

        address = self.spawn(Awaits if style == "class" else work)
        address.send("go")
        self.settle()
        return address

    def test_order(self) -> None:
        """10c: The address dies first, and all hear of it; then what it awaits is cancelled, then closed."""
        for style in ("class", "coroutine"):
            self.log.clear()
            self.awaited = Deferred(lambda _: self.log.append("cancelled"))
            address = self.awaiting(style)
            address.exit("shutdown")
            self.assertEqual(self.log, [])
            self.settle()
            self.assertEqual(self.log, ["told", "cancelled", ("finally", False)])

    def test_late_result(self) -> None:
        """10c: A result or failure that comes after the end is swallowed."""
        for late in ("result", ZeroDivisionError()):
            self.awaited = Deferred()
            address = self.awaiting("coroutine")
            address.exit("kill")
            self.settle()
            # cancel() has fired it with CancelledError; what the source says later goes nowhere.
            self.awaited.callback(late) if isinstance(late, str) else self.awaited.errback(late)
            self.settle()
        self.assertNotIn("went on", self.log)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_fired_but_not_resumed(self) -> None:
        """A failure that has fired before the end, and was not looked at, is swallowed too."""
        address = self.awaiting("coroutine")
        self.awaited.errback(ZeroDivisionError())
        address.exit("kill")
        self.settle()
        del self.awaited
        self.assertNotIn("went on", self.log)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_canceller_that_raises(self) -> None:
        """A canceller that raises anything is logged, and the coroutine is closed all the same."""
        for error in (ZeroDivisionError, asyncio.CancelledError):

            def broken(_: Deferred[str], error: type[BaseException] = error) -> None:
                raise error

            self.awaited = Deferred(broken)
            self.awaiting("coroutine").exit("kill")
            self.settle()
            self.assertEqual(self.log[-1], ("finally", False))
            self.assertEqual(len(self.flushLoggedErrors(error)), 1)

    def test_fires_in_a_canceller(self) -> None:
        """A Deferred that fires while it is cancelled does not resume the dead."""
        self.awaited = Deferred(lambda deferred: deferred.callback("in time, it thinks"))
        self.awaiting("coroutine").exit("kill")
        self.settle()
        self.assertNotIn("went on", self.log)

    def test_failed_before(self) -> None:
        """A Deferred that had failed before it was awaited raises in the actor."""
        self.awaited = fail(ZeroDivisionError())
        self.awaiting("coroutine")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_cancelled_by_somebody(self) -> None:
        """If somebody else cancels what an actor awaits, CancelledError is raised there."""
        self.awaiting("coroutine")
        self.awaited.cancel()
        self.settle()
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)

    def test_receiving(self) -> None:
        """A coroutine that waits for a message, with or without a limit, is closed and leaves no timer."""

        async def waits(me: CoroutineActor, *how: Any) -> None:
            try:
                await me.receive(*how, timeout=5 if how else None)
            finally:
                self.log.append("finally")

        for how in ((), (str,)):
            self.log.clear()
            self.spawn(waits, *how).exit("shutdown")
            self.settle()
            self.assertEqual((self.log, self.clock.getDelayedCalls()), (["told", "finally"], []))


class StubbornTests(ActorTestCase):
    """Coroutines that do not want to end."""

    def setUp(self) -> None:
        super().setUp()
        self.complaints: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if "awaits in a finally" in (event["log_format"] or ""):
                self.complaints.append(event["address"])

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def test_awaits_in_finally(self) -> None:
        """Awaiting in a finally block of an ended actor is logged once and changes nothing; the rest runs."""
        log: list[str] = []

        async def tidy(me: CoroutineActor) -> None:
            try:
                await me.receive()
            finally:
                try:
                    await Deferred()
                finally:
                    log.append("cleaned")

        address = self.spawn(tidy)
        address.exit("shutdown")
        self.settle()
        self.assertEqual((log, self.complaints), (["cleaned"], [str(address)]))

    def test_catches_everything(self) -> None:
        """An actor that catches everything can be ended: its address dies, and it is left where it is."""
        steps: list[int] = []
        enough: list[bool] = []

        async def immortal(me: CoroutineActor) -> None:
            while not enough:
                try:
                    steps.append(1)
                    await me.receive()
                except BaseException:
                    pass

        address = self.spawn(immortal)
        address.exit("kill")
        self.settle()
        self.assertFalse(self.system.is_alive(address))
        self.assertEqual((self.complaints, len(cell._unclosable)), ([str(address)], 1))
        # Else Python complains on stderr when it frees the coroutine, in some other test.
        self.addCleanup(lambda: cell._unclosable.pop().close())
        self.addCleanup(enough.append, True)
        tried = len(steps)
        address.send("anybody?")
        self.settle()
        self.assertEqual((len(steps), self.system.dead_letters), (tried, 1))

    def test_fails_while_closing(self) -> None:
        """What a finally block raises after the end is logged, and ends nobody else."""

        async def clumsy(me: CoroutineActor) -> None:
            try:
                await me.receive()
            finally:
                raise error

        other = self.spawn(Adder)
        for error in (ZeroDivisionError, NotImplementedError):
            self.spawn(clumsy).exit("shutdown")
            self.settle()
            self.assertEqual(len(self.flushLoggedErrors(error)), 1)
            self.assertEqual(self.complaints, [])
        self.assertTrue(self.system.is_alive(other))

    def test_catches_its_own_exit(self) -> None:
        """As with Erlang's exit/1, an actor that catches its own exit on purpose lives on."""

        class Reconsiders(Recorder):
            def receive(self, message: Any) -> None:
                try:
                    self.exit("boom")
                except BaseException as exit:
                    super().receive(getattr(exit, "reason", None))

        received: list[Any] = []
        address = self.spawn(Reconsiders, received)
        address.send("go")
        self.settle()
        self.assertEqual((received, self.system.is_alive(address)), (["boom"], True))


class Untouchable(Exception):
    """Cannot be asked for its class."""

    @property  # type: ignore[misc]  # it is an attribute of object's
    def __class__(self) -> type:
        raise Untouchable


class PropagationTests(ActorTestCase):
    def test_untouchable(self) -> None:
        """An exception that raises when it is asked for its class ends its actor as others do."""

        class Raises(Recorder):
            def receive(self, message: Any) -> None:
                raise Untouchable

        address = self.spawn(Raises, [])
        ended = address.ended()
        address.send(1)
        self.settle()
        self.assertEqual(type(self.successResultOf(ended)), Crash)
        self.assertEqual(self.system.count_actors(), 0)
        self.flushLoggedErrors()

    def test_system_exit(self) -> None:
        """SystemExit and KeyboardInterrupt end the actor and pass on; the others go on in the next turn."""

        class Quits(Actor):
            def receive(self, message: type[BaseException]) -> None:
                raise message

        async def quits(me: CoroutineActor) -> None:
            raise await me.receive()

        for style in (Quits, quits):
            for error in (SystemExit, KeyboardInterrupt):
                quitting = self.spawn(style)
                other, received = self.recorder()
                quitting.send(error)
                other.send("still there")
                with self.assertRaises(error):
                    self.settle()
                self.assertIsNone(self.system.current)
                self.settle()
                self.assertEqual(received, ["still there"])
                self.assertFalse(self.system.is_alive(quitting))
                self.flushLoggedErrors(error)

    def test_system_exit_at_the_very_end(self) -> None:
        """SystemExit passes on from a finally block, a terminate and a listener, too; the actor is gone."""

        async def last(me: CoroutineActor) -> None:
            try:
                await me.receive()
            finally:
                raise SystemExit

        class Last(Actor):
            def terminate(self, reason: object) -> None:
                raise SystemExit

        def listener(event: ActorEnded) -> None:
            raise SystemExit

        for style, end in ((last, "exit"), (Last, "stop"), (Adder, "listen")):
            address = self.spawn(style)
            if end == "stop":
                address.stop().addErrback(lambda _: None)
            else:
                address.exit("shutdown")
            unsubscribe = self.system.events.subscribe(ActorEnded, listener) if end == "listen" else None
            with self.assertRaises(SystemExit):
                self.settle()
            if unsubscribe is not None:
                unsubscribe()
            self.settle()
            self.assertEqual(self.system.count_actors(), 0)
            self.flushLoggedErrors(SystemExit)

    def test_system_exit_and_terminate(self) -> None:
        """SystemExit passes on at once, also from an actor whose terminate fails, or would await."""

        class Quits(Actor):
            def receive(self, message: Any) -> None:
                raise SystemExit

        class Fails(Quits):
            def terminate(self, reason: object) -> None:
                raise ZeroDivisionError

        class Awaits(Quits):
            async def terminate(self, reason: object) -> None:
                await Deferred()

        for style in (Fails, Awaits):
            self.spawn(style).send("quit")
            with self.assertRaises(SystemExit):
                self.settle()
            self.assertEqual(self.system.count_actors(), 0)
        self.flushLoggedErrors(SystemExit, ZeroDivisionError)

    def test_exit_in_a_finally_block(self) -> None:
        """An actor that says exit in a finally block while it is ended just ends."""

        async def polite(me: CoroutineActor) -> None:
            try:
                await me.receive()
            finally:
                me.exit("bye")

        address = self.spawn(polite)
        address.exit("boom")
        self.settle()
        self.assertFalse(self.system.is_alive(address))
        self.assertEqual(self.flushLoggedErrors(), [])
