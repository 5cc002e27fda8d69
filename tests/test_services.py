"""A Twisted service as a child."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.application.internet import TimerService
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred

from echoactor import Address, ChildSpec, Supervisor, SupervisorSpec
from echoactor.calls import after
from echoactor.errors import StartFailed

from .support import ActorTestCase, Adder


class Logged(Service):
    """Writes down what happens to it."""

    def __init__(self, log: list[Any], stopped: Any = None, fails: bool = False) -> None:
        self.log, self.stopped, self.fails = log, stopped, fails

    def startService(self) -> None:
        super().startService()
        if self.fails:
            raise ZeroDivisionError
        self.log.append("start")

    def stopService(self) -> Any:
        super().stopService()
        self.log.append("stop")
        return self.stopped


class ServiceTests(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log: list[Any] = []

    def supervise(self, *children: Any, **options: Any) -> Address:
        return self.spawn(Supervisor, SupervisorSpec(children, intensity=5, **options))

    def test_runs_while_its_actor_lives(self) -> None:
        """A service starts with its actor, and stops with it; the supervisor waits for that."""
        stopped: Deferred[None] = Deferred()
        supervisor = self.supervise(Logged(self.log, stopped))
        self.assertEqual(self.log, ["start"])
        stopping = supervisor.stop()
        self.settle()
        self.assertEqual(self.log, ["start", "stop"])
        self.assertNoResult(stopping)
        stopped.callback(None)
        self.settle()
        self.successResultOf(stopping)

    def test_restarted_with_its_siblings(self) -> None:
        """In one_for_all, a service is stopped and started again along with the others."""
        service = Logged(self.log)
        self.supervise(ChildSpec(Adder, name="adder"), service, strategy="one_for_all")
        self.system.send("adder", ZeroDivisionError())
        self.settle()
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual((self.log, service.running), (["start", "stop", "start"], 1))

    def test_cannot_start(self) -> None:
        """A service that cannot start is a child that cannot start."""
        started = self.system.start(Supervisor, SupervisorSpec([Logged(self.log, fails=True)]))
        self.settle()
        self.assertIn("ZeroDivisionError", self.failureResultOf(started, StartFailed).getErrorMessage())
        self.flushLoggedErrors(ZeroDivisionError)

    def test_given_up(self) -> None:
        """A service that does not stop in time is given up: what it is waited for with is cancelled."""
        cancelled: list[object] = []
        stopped: Deferred[None] = Deferred(cancelled.append)
        supervisor = self.supervise(ChildSpec(Logged(self.log, stopped), shutdown=2.0))
        stopping = supervisor.stop()
        self.settle()
        self.pass_time(1.9)
        self.assertNoResult(stopping)
        self.pass_time(0.1)
        self.successResultOf(stopping)
        self.assertEqual((cancelled, self.system.count_actors()), ([stopped], 0))

    def test_stop_that_fails(self) -> None:
        """A service whose stop raises is logged, and gone."""

        class Broken(Logged):
            def stopService(self) -> Any:
                raise ZeroDivisionError

        stopping = self.supervise(Broken(self.log)).stop()
        self.settle()
        self.successResultOf(stopping)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_service_of_twisteds(self) -> None:
        """A TimerService ticks as long as its supervisor lives."""
        timer = TimerService(1.0, self.log.append, "tick")
        timer.clock = self.clock
        supervisor = self.supervise(timer)
        for _ in range(3):
            self.pass_time(1)
        supervisor.stop()
        self.settle()
        self.pass_time(5)
        self.assertEqual((self.log, self.clock.getDelayedCalls()), (["tick"] * 4, []))

    def test_killed(self) -> None:
        """A service whose actor is killed is stopped, and its next start waits until that is over."""
        stopped: Deferred[None] = Deferred()
        supervisor = self.supervise(ChildSpec(Logged(self.log, stopped), id="s"))
        infos = Supervisor.which_children(supervisor)
        self.settle()
        [info] = self.successResultOf(infos)
        assert info.address is not None
        info.address.exit("kill")
        self.settle()
        self.assertEqual(self.log, ["start", "stop"])
        stopped.callback(None)
        self.settle()
        self.assertEqual(self.log, ["start", "stop", "start"])

    def test_killed_and_never_stops(self) -> None:
        """A service whose actor is killed is given up after a while, so that its supervisor can go on."""
        hangs = ChildSpec(Logged(self.log, Deferred()), shutdown="brutal_kill")
        self.supervise(hangs, ChildSpec(Adder, name="adder"), strategy="one_for_all")
        self.system.send("adder", ZeroDivisionError())
        self.settle()
        self.pass_time(4.9)
        self.assertIsNone(self.system.whereis("adder"))
        self.pass_time(0.1)
        self.assertIsNotNone(self.system.whereis("adder"))
        self.assertEqual(self.log, ["start", "stop", "start"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.flushLoggedErrors(ZeroDivisionError, CancelledError)

    def test_stops_on(self) -> None:
        """A service whose stop goes on when it is cancelled is given up all the same, and can start again."""

        cleaned_up: Deferred[None] = Deferred()

        class GoesOn(Logged):
            def stopService(self) -> Any:
                self.log.append("stop")
                return Deferred.fromCoroutine(self.clean_up())

            async def clean_up(self) -> None:
                try:
                    await Deferred()
                finally:
                    await after(cleaned_up)

        for shutdown in ("brutal_kill", 5.0):
            self.log = []
            supervisor = self.supervise(
                ChildSpec(GoesOn(self.log), shutdown=shutdown),
                ChildSpec(Adder, name="adder"),
                strategy="one_for_all",
            )
            self.system.send("adder", ZeroDivisionError())
            self.settle()
            self.pass_time(5)
            self.assertEqual(self.log, ["start", "stop", "start"], shutdown)
            self.assertIsNotNone(self.system.whereis("adder"))
            supervisor.exit("kill")
            self.settle()
            self.pass_time(5)
        cleaned_up.callback(None)
        self.flushLoggedErrors()

    def test_killed_with_the_system(self) -> None:
        """One that is killed with all others, when the system cannot wait, leaves no timer."""
        self.supervise(Logged(self.log, Deferred()))
        stopped = self.system.stopService()
        self.system.abort()
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual((self.log, self.clock.getDelayedCalls()), (["start", "stop"], []))

    def test_equal(self) -> None:
        """Services that are equal, and cannot be hashed, are children as others are."""

        @dataclass
        class Equal(Service):
            log: list[Any]

            def startService(self) -> None:
                self.log.append("start")

        supervisor = self.supervise(*(ChildSpec(Equal(self.log), id=number) for number in range(2)))
        self.assertEqual(self.log, ["start"] * 2)
        stopped = supervisor.stop()
        self.settle()
        self.successResultOf(stopped)

    def test_killed_and_fails_to_stop(self) -> None:
        """When it fails to stop then, that is logged."""

        class Broken(Logged):
            def stopService(self) -> Any:
                raise ZeroDivisionError

        self.supervise(Broken(self.log)).exit("kill")
        self.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
