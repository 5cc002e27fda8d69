"""Supervisors do what OTP's do: the numbers are those of the list of cases."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from echoactor import (
    Actor,
    Address,
    BackOff,
    Call,
    ChildSpec,
    CoroutineActor,
    Down,
    DynamicSupervisor,
    DynamicSupervisorSpec,
    Exit,
    Shutdown,
    Supervisor,
    SupervisorSpec,
)
from echoactor.errors import ChildError, SpecError, StartFailed
from echoactor.events import ActorCrashed, ActorRestarted

from .support import ActorTestCase, Recorder


class Worker(Actor):
    """Writes down its start and its end; exits with whatever it receives."""

    def __init__(self, log: list[Any], name: str) -> None:
        self.trap_exits = True
        self.log, self.name = log, name
        log.append(f"+{name}")

    def receive(self, message: Any) -> None:
        match message:
            case Exit(_, reason):
                self.exit(reason)
            case BaseException():
                raise message
            case _:
                self.exit(message)

    def terminate(self, reason: object) -> None:
        self.log.append(f"-{self.name}")


class Stubborn(Actor):
    """Traps exits, and takes no notice of them."""

    def __init__(self) -> None:
        self.trap_exits = True

    def receive(self, message: Any) -> None: ...


class Fragile(Actor):
    """Starts as long as it is let to."""

    def __init__(self, may_start: list[bool]) -> None:
        if may_start and not may_start.pop(0):
            self.exit("no luck")

    def receive(self, message: Any) -> None:
        self.exit(message)


class SupervisorTestCase(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log: list[Any] = []

    def worker(self, id: str, **options: Any) -> ChildSpec:
        return ChildSpec(Worker, self.log, id, id=id, **options)

    def supervise(self, *children: Any, **options: Any) -> Address:
        options = {"intensity": 10} | options
        return self.spawn(Supervisor, SupervisorSpec(children, **options))

    def result(self, deferred: Deferred[Any]) -> Any:
        self.settle()
        return self.successResultOf(deferred)

    def problem(self, deferred: Deferred[Any]) -> str:
        """What a supervisor answers when it cannot."""
        self.settle()
        return str(self.failureResultOf(deferred, ChildError).value.problem)

    def addresses(self, supervisor: Address) -> dict[Any, Address | None]:
        """The children's addresses by id."""
        return {child.id: child.address for child in self.result(Supervisor.which_children(supervisor))}

    def end(self, address: Address | None, reason: object) -> None:
        """Let an actor end by itself."""
        assert address is not None
        address.send(reason)
        self.settle()

    def watch(self, address: Address) -> list[Any]:
        """A list in which the Down of an actor will be."""
        got: list[Any] = []

        async def watcher(me: CoroutineActor) -> None:
            me.monitor(address)
            got.append((await me.receive(Down)).reason)

        self.spawn(watcher)
        return got


class OrderTests(SupervisorTestCase):
    def test_start_and_stop(self) -> None:
        """26: Children start first to last, and stop last to first, each after the one before is gone."""
        supervisor = self.supervise(*map(self.worker, "abc"))
        self.assertEqual(self.log, ["+a", "+b", "+c"])
        reasons = self.watch(supervisor)
        supervisor.exit("shutdown")
        self.settle()
        self.assertEqual(self.log[3:], ["-c", "-b", "-a"])
        self.assertEqual((reasons, self.system.count_actors()), (["shutdown"], 0))

    def test_start_waits(self) -> None:
        """A child starts when the one before it has, what it awaits in started() included."""
        ready: Deferred[None] = Deferred()

        class Slow(Worker):
            async def started(self) -> None:
                await ready

        supervisor = self.supervise(ChildSpec(Slow, self.log, "slow"), self.worker("next"))
        self.assertEqual(self.log, ["+slow"])
        ready.callback(None)
        self.settle()
        self.assertEqual(self.log, ["+slow", "+next"])
        self.assertEqual(len(self.addresses(supervisor)), 2)

    def test_start_fails(self) -> None:
        """When a child cannot start, those before it are stopped, and the supervisor does not start."""
        started = self.system.start(
            Supervisor, SupervisorSpec([self.worker("a"), ChildSpec(Fragile, [False], id="b")])
        )
        self.settle()
        error = self.failureResultOf(started, StartFailed).value
        self.assertEqual(error.reason, Shutdown(("failed_to_start_child", "b", "no luck")))
        self.assertEqual((self.log, self.system.count_actors()), (["+a", "-a"], 0))

    def test_child_that_ignores(self) -> None:
        """A child that exits normally before it has started is kept, and does not run: OTP's ignore."""

        class Ignores(Actor):
            def __init__(self) -> None:
                self.exit("normal")

        supervisor = self.supervise(Ignores, self.worker("b"))
        self.assertEqual([address is None for address in self.addresses(supervisor).values()], [True, False])
        supervisor = self.supervise(ChildSpec(Ignores, restart="temporary"))
        self.assertEqual(self.addresses(supervisor), {})

    def test_supervisor_is_killed(self) -> None:
        """The children of a supervisor that is killed end with it."""
        supervisor = self.supervise(ChildSpec(Recorder, []))
        supervisor.exit("kill")
        self.settle()
        self.assertEqual(self.system.count_actors(), 0)

    def test_parent_dies(self) -> None:
        """A supervisor stops its children when its parent ends, and ignores the ends of strangers."""
        spec = SupervisorSpec([self.worker("a")])
        supervisors: list[Address] = []

        async def parent(me: CoroutineActor) -> None:
            supervisors.append(await me.start(Supervisor, spec, link=True))
            me.exit(await me.receive())

        async def stranger(me: CoroutineActor) -> None:
            me.link(supervisors[0])
            me.exit("boring")

        address = self.spawn(parent)
        self.spawn(stranger)
        self.assertTrue(self.system.is_alive(supervisors[0]))
        address.send("shutdown")
        self.settle()
        self.assertEqual((self.log, self.system.count_actors()), (["+a", "-a"], 0))

    def test_stop(self) -> None:
        """Stopping a supervisor stops its children first, and is done when all are gone."""
        supervisor = self.supervise(*map(self.worker, "ab"))
        self.result(supervisor.stop())
        self.assertEqual((self.log[2:], self.system.count_actors()), (["-b", "-a"], 0))

    def test_stop_while_the_supervisor_starts(self) -> None:
        """A supervisor that is stopped before it has started stops what it has started so far."""

        class Slow(Actor):
            async def started(self) -> None:
                await Deferred()

        for how in ("itself", "by the system"):
            self.log.clear()
            spec = SupervisorSpec([self.worker("a"), ChildSpec(Slow, shutdown=1.0), self.worker("never")])
            if how == "itself":
                stopped: Deferred[None] = self.supervise(spec).stop()
            else:
                self.system.start_child(ChildSpec(spec, id="tree")).addErrback(lambda _: None)
                self.settle()
                stopped = self.system.stopService()
            self.settle()
            self.pass_time(1)
            self.successResultOf(stopped)
            self.assertEqual((self.log, self.system.count_actors()), (["+a", "-a"], 0))

    def test_stop_while_a_child_stops(self) -> None:
        """A supervisor that is stopped while it waits for a stubborn child kills that in its time."""
        supervisor = self.supervise(ChildSpec(Stubborn, id="s", shutdown=2.0))
        Supervisor.terminate_child(supervisor, "s").addErrback(lambda _: None)
        self.settle()
        self.pass_time(1)
        stopped = supervisor.stop()
        self.settle()
        self.pass_time(2)
        self.successResultOf(stopped)
        self.assertEqual(self.system.count_actors(), 0)

    def test_stop_while_a_child_starts(self) -> None:
        """A supervisor that is stopped while a child starts leaves nobody behind, in either kind."""
        cancelled: list[object] = []

        class Slow(Actor):
            async def started(self) -> None:
                await Deferred(cancelled.append)

        for kind, spec in ((Supervisor, SupervisorSpec()), (DynamicSupervisor, DynamicSupervisorSpec())):
            supervisor = self.spawn(kind, spec)
            starting = Supervisor.start_child(supervisor, Slow)
            self.settle()
            self.assertEqual(self.system.count_actors(), 2)
            self.result(supervisor.stop())
            self.assertEqual(self.system.count_actors(), 0)
            self.failureResultOf(starting)
        self.assertEqual(len(cancelled), 2)


class RestartTests(SupervisorTestCase):
    def test_restart_types(self) -> None:
        """27: Permanent children are always restarted, transient ones after errors, temporary ones never."""
        for reason in ("normal", "shutdown", Shutdown("why"), "error", ZeroDivisionError()):
            is_error = reason == "error" or isinstance(reason, Exception)
            supervisor = self.supervise(
                *(
                    self.worker(restart, restart=restart)
                    for restart in ("permanent", "transient", "temporary")
                )
            )
            before = self.addresses(supervisor)
            for address in before.values():
                self.end(address, reason)
            after = self.addresses(supervisor)
            self.assertNotIn(after["permanent"], (None, before["permanent"]))
            self.assertEqual(after["transient"] is not None, is_error, reason)
            self.assertEqual(list(after), ["permanent", "transient"])
            self.flushLoggedErrors(ZeroDivisionError)
            supervisor.exit("shutdown")
            self.settle()

    def restarted(self, strategy: str, **options: Any) -> list[bool]:
        """Which of four children have a new address after the second one's crash."""
        children = [self.worker(name, **options) for name in "abcd"]
        supervisor = self.supervise(*children, strategy=strategy)
        before = self.addresses(supervisor)
        self.log.clear()
        self.end(before["b"], "error")
        after = self.addresses(supervisor)
        self.assertNotIn(None, after.values())
        return [before[name] != after[name] for name in "abcd"]

    def test_one_for_one(self) -> None:
        """28: one_for_one restarts the child alone."""
        self.assertEqual(self.restarted("one_for_one"), [False, True, False, False])
        self.assertEqual(self.log, ["-b", "+b"])

    def test_one_for_all(self) -> None:
        """29: one_for_all stops the others last to first, and starts all first to last."""
        self.assertEqual(self.restarted("one_for_all"), [True] * 4)
        self.assertEqual(self.log, ["-b", "-d", "-c", "-a", "+a", "+b", "+c", "+d"])

    def test_rest_for_one(self) -> None:
        """30: rest_for_one does so with the child and those started after it."""
        self.assertEqual(self.restarted("rest_for_one"), [False, True, True, True])
        self.assertEqual(self.log, ["-b", "-d", "-c", "+b", "+c", "+d"])

    def test_temporary_bystander(self) -> None:
        """31: A temporary child is stopped along with the others in one_for_all, and not started again."""
        supervisor = self.supervise(
            self.worker("a"), self.worker("temporary", restart="temporary"), strategy="one_for_all"
        )
        self.end(self.addresses(supervisor)["a"], "error")
        self.assertEqual(self.log, ["+a", "+temporary", "-a", "-temporary", "+a"])
        self.assertEqual(list(self.addresses(supervisor)), ["a"])

    def test_intensity(self) -> None:
        """32: With more restarts than intensity in a period, the children stop, and the exit is shutdown."""
        supervisor = self.supervise(self.worker("a"), self.worker("b"), intensity=2, period=5)
        reasons = self.watch(supervisor)
        for _ in range(2):
            self.end(self.addresses(supervisor)["b"], "error")
        self.assertEqual(reasons, [])
        self.end(self.addresses(supervisor)["b"], "error")
        self.assertEqual(
            (reasons, self.log[-2:], self.system.count_actors()), (["shutdown"], ["-b", "-a"], 0)
        )

    def test_default_intensity(self) -> None:
        """One restart in five seconds is allowed if nothing else is said."""
        supervisor = self.spawn(Supervisor, SupervisorSpec([self.worker("a")]))
        self.end(self.addresses(supervisor)["a"], "error")
        self.pass_time(5.1)
        self.end(self.addresses(supervisor)["a"], "error")
        self.assertTrue(self.system.is_alive(supervisor))
        self.pass_time(4.9)
        self.end(self.addresses(supervisor)["a"], "error")
        self.assertFalse(self.system.is_alive(supervisor))

    def test_wide_spacing(self) -> None:
        """33: Deaths that are spaced wider than the period never add up."""
        supervisor = self.supervise(self.worker("a"), intensity=1, period=5)
        for _ in range(20):
            self.end(self.addresses(supervisor)["a"], "error")
            self.pass_time(5.1)
        self.assertTrue(self.system.is_alive(supervisor))

    def test_restart_that_fails(self) -> None:
        """34: A restart that fails counts, and is tried again until it succeeds or there were too many."""
        may_start = [True, False, False]  # and then always
        supervisor = self.supervise(ChildSpec(Fragile, may_start, id="a"), intensity=3)
        self.end(self.addresses(supervisor)["a"], "error")
        self.assertIsNotNone(self.addresses(supervisor)["a"])
        may_start[:] = [False] * 9
        self.pass_time(5.1)
        reasons = self.watch(supervisor)
        self.end(self.addresses(supervisor)["a"], "error")
        self.assertEqual((reasons, len(may_start)), (["shutdown"], 9 - 3))

    def test_sibling_fails_to_restart(self) -> None:
        """35: When a sibling fails to restart in one_for_all, all are stopped and started again."""
        may_start = [True, False]
        supervisor = self.supervise(
            self.worker("a"), ChildSpec(Fragile, may_start, id="b"), self.worker("c"), strategy="one_for_all"
        )
        self.log.clear()
        self.end(self.addresses(supervisor)["a"], "error")
        self.assertEqual(self.log, ["-a", "-c", "+a", "-a", "+a", "+c"])
        self.assertNotIn(None, self.addresses(supervisor).values())

    def test_escalation(self) -> None:
        """A supervisor that gives up is restarted by its own, with its children, and gives up in the end."""
        inner = SupervisorSpec([self.worker("a")], intensity=0)
        outer = self.supervise(ChildSpec(inner, id="inner"), intensity=1)
        before = self.addresses(outer)["inner"]
        assert before is not None
        self.end(self.addresses(before)["a"], "error")
        after = self.addresses(outer)["inner"]
        assert after is not None and after != before
        reasons = self.watch(outer)
        self.end(self.addresses(after)["a"], "error")
        self.assertEqual((reasons, self.system.count_actors()), (["shutdown"], 0))

    def test_reports(self) -> None:
        """22: A crash is reported once, by the actor, a shutdown is not, and a restart is an event."""
        crashes: list[Any] = []
        restarts: list[ActorRestarted] = []
        self.system.events.subscribe(ActorCrashed, crashes.append)
        self.system.events.subscribe(ActorRestarted, restarts.append)
        supervisor = self.supervise(self.worker("a"))
        self.end(self.addresses(supervisor)["a"], ZeroDivisionError())
        self.end(self.addresses(supervisor)["a"], "shutdown")
        self.assertEqual((len(crashes), len(self.flushLoggedErrors(ZeroDivisionError))), (1, 1))
        self.assertEqual(
            [(event.supervisor, event.id) for event in restarts], [(supervisor, "a"), (supervisor, "a")]
        )
        self.assertEqual(restarts[-1].address, self.addresses(supervisor)["a"])
        self.assertEqual(restarts[-1].reason, "shutdown")

    def test_names_of_children(self) -> None:
        """A child has its name again after a restart; one whose name is taken does not start."""
        supervisor = self.supervise(self.worker("a", name="worker"))
        before = self.system.whereis("worker")
        self.end(before, "error")
        after = self.system.whereis("worker")
        self.assertNotIn(after, (None, before))
        failed = Supervisor.start_child(supervisor, self.worker("b", name="worker"))
        self.settle()
        self.assertIn(str(after), self.failureResultOf(failed).getErrorMessage())

    def test_simultaneous_crashes(self) -> None:
        """Siblings that crash in the same turn are all back, whatever the strategy."""
        for strategy in ("one_for_one", "one_for_all", "rest_for_one"):
            supervisor = self.supervise(*map(self.worker, "abc"), strategy=strategy)
            before = self.addresses(supervisor)
            for address in before.values():
                assert address is not None
                address.send("error")
            self.settle()
            after = self.addresses(supervisor)
            self.assertNotIn(None, after.values())
            self.assertFalse(set(before.values()) & set(after.values()))
            supervisor.exit("shutdown")
            self.settle()
            self.assertEqual(self.system.count_actors(), 0)


class BackOffTests(SupervisorTestCase):
    def test_restarts_wait(self) -> None:
        """With a back-off, each restart in a row waits longer, up to the longest."""
        back_off = BackOff(1.0, 2.0, 3.0)
        supervisor = self.supervise(self.worker("a"), back_off=back_off)
        for delay in (1.0, 2.0, 3.0, 3.0):
            self.end(self.addresses(supervisor)["a"], "error")
            [child] = self.result(Supervisor.which_children(supervisor))
            self.assertEqual((child.address, child.is_restarting), (None, True))
            self.pass_time(delay - 0.01)
            self.assertIsNone(self.addresses(supervisor)["a"])
            self.pass_time(0.02)
            self.assertIsNotNone(self.addresses(supervisor)["a"])
        self.pass_time(3.1)  # it has lived for long enough to begin anew
        self.end(self.addresses(supervisor)["a"], "error")
        self.pass_time(1.01)
        self.assertIsNotNone(self.addresses(supervisor)["a"])

    def test_failing_start_waits_too(self) -> None:
        """A restart that fails waits before it is tried again."""
        supervisor = self.supervise(
            ChildSpec(Fragile, [True, False], id="a"), back_off=BackOff(1.0, 2.0, 9.0)
        )
        self.end(self.addresses(supervisor)["a"], "error")
        self.pass_time(1.01)
        self.assertIsNone(self.addresses(supervisor)["a"])
        self.pass_time(2.01)
        self.assertIsNotNone(self.addresses(supervisor)["a"])

    def test_siblings_wait_stopped(self) -> None:
        """In one_for_all the siblings are stopped at once, and wait along; a second death changes nothing."""
        supervisor = self.supervise(
            self.worker("a"), self.worker("b"), strategy="one_for_all", back_off=BackOff(1.0)
        )
        self.end(self.addresses(supervisor)["b"], "error")
        self.assertEqual(self.addresses(supervisor), {"a": None, "b": None})
        self.pass_time(1.01)
        self.assertNotIn(None, self.addresses(supervisor).values())
        self.assertEqual(self.log, ["+a", "+b", "-b", "-a", "+a", "+b"])

    def test_whole_group_waits(self) -> None:
        """All that will be restarted say so, and nobody can be started twice."""
        supervisor = self.supervise(
            self.worker("a"), self.worker("b"), strategy="one_for_all", back_off=BackOff(1.0)
        )
        self.end(self.addresses(supervisor)["a"], "error")
        infos = self.result(Supervisor.which_children(supervisor))
        self.assertEqual([info.is_restarting for info in infos], [True, True])
        self.assertEqual(self.problem(Supervisor.restart_child(supervisor, "b")), "restarting")
        self.assertEqual(
            self.problem(Supervisor.start_child(supervisor, self.worker("b"))), "already_present"
        )
        self.result(Supervisor.terminate_child(supervisor, "a"))  # the other one is restarted all the same
        self.pass_time(1.01)
        after = self.addresses(supervisor)
        self.assertEqual((after["a"], self.system.count_actors()), (None, 2))
        self.assertIsNotNone(after["b"])

    def test_stopped_ahead_of_its_retry(self) -> None:
        """A child that cannot start again, and is stopped before it is tried once more, stays so."""
        for strategy in ("one_for_all", "rest_for_one"):
            self.log = []
            self.check_stopped(strategy)

    def check_stopped(self, strategy: str) -> None:
        asked: list[Deferred[None]] = []

        class Asks(Worker):
            def __init__(self, log: list[Any], id: str) -> None:
                super().__init__(log, id)
                if log.count("+f") == 2:
                    asked.append(Supervisor.terminate_child(supervisor, "f"))
                    self.exit("no luck")

        failing = ChildSpec(Asks, self.log, "f", id="f")
        supervisor = self.supervise(self.worker("a"), failing, self.worker("c"), strategy=strategy)
        self.end(self.addresses(supervisor)["a"], "error")
        self.result(asked[0])
        stopped = [id for id, address in self.addresses(supervisor).items() if address is None]
        self.assertEqual((stopped, self.log.count("+a")), (["f"], 2), strategy)

    def test_never_collapses(self) -> None:
        """A child that lived once, and cannot start since, waits longer each time."""
        may_start = [True]
        supervisor = self.supervise(
            ChildSpec(Fragile, may_start, id="a"), intensity=99, back_off=BackOff(0.1, 2.0, 5.0)
        )
        self.pass_time(100)
        may_start[:] = [False] * 99
        self.end(self.addresses(supervisor)["a"], "error")
        self.pass_time(60)
        self.assertGreater(len(may_start), 99 - 20)

    def test_told_otherwise_meanwhile(self) -> None:
        """A child that waits for its restart can be terminated; then it stays so, and no timer is left."""
        supervisor = self.supervise(self.worker("a"), back_off=BackOff(1.0))
        self.end(self.addresses(supervisor)["a"], "error")
        self.assertEqual(self.problem(Supervisor.restart_child(supervisor, "a")), "restarting")
        self.assertEqual(self.problem(Supervisor.delete_child(supervisor, "a")), "restarting")
        self.result(Supervisor.terminate_child(supervisor, "a"))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pass_time(2)
        self.assertEqual(self.addresses(supervisor), {"a": None})

    def test_stop_meanwhile(self) -> None:
        """A supervisor that waits for a restart stops at once."""
        supervisor = self.supervise(self.worker("a"), back_off=BackOff(1.0))
        self.end(self.addresses(supervisor)["a"], "error")
        supervisor.exit("shutdown")
        self.settle()
        self.assertEqual((self.system.count_actors(), self.clock.getDelayedCalls()), (0, []))


class ShutdownTests(SupervisorTestCase):
    def test_shutdown_times(self) -> None:
        """36: A child is killed when its time is over, at once with brutal_kill, else never."""
        cases: list[tuple[Any, float]] = [(2.0, 2.0), (0, 0), ("brutal_kill", 0)]
        for shutdown, seconds in cases:
            supervisor = self.supervise(ChildSpec(Stubborn, shutdown=shutdown))
            supervisor.exit("shutdown")
            self.settle()
            if seconds:
                self.pass_time(seconds - 0.1)
                self.assertEqual(self.system.count_actors(), 2)
            self.pass_time(0.1)
            self.assertEqual(self.system.count_actors(), 0)
        supervisor = self.supervise(ChildSpec(Stubborn, shutdown=None))
        [child] = self.addresses(supervisor).values()
        assert child is not None
        supervisor.exit("shutdown")
        self.settle()
        self.pass_time(1e6)
        self.assertEqual(self.system.count_actors(), 2)
        child.exit("kill")
        self.settle()
        self.assertEqual(self.system.count_actors(), 0)

    def test_default_shutdown(self) -> None:
        """A worker has five seconds, a supervisor any time."""
        supervisor = self.supervise(SupervisorSpec([Stubborn]))
        supervisor.exit("shutdown")
        self.settle()
        self.pass_time(4.9)
        self.assertEqual(self.system.count_actors(), 3)
        self.pass_time(0.1)
        self.assertEqual(self.system.count_actors(), 0)

    def test_child_that_unlinked_itself(self) -> None:
        """37: A child that unlinked itself is stopped as any other, and cannot hang the supervisor."""

        class Unlinks(Actor):
            def receive(self, message: Address) -> None:
                self.unlink(message)

        for dead_already in (False, True):
            supervisor = self.supervise(Unlinks)
            [child] = self.addresses(supervisor).values()
            assert child is not None
            child.send(supervisor)
            self.settle()
            if dead_already:
                child.exit("kill")
                self.settle()
            self.result(supervisor.stop())
            self.assertEqual(self.system.count_actors(), 0)

    def test_auto_shutdown_any(self) -> None:
        """39: With any_significant, the first significant child that ends by itself ends the supervisor."""
        supervisor = self.supervise(
            self.worker("plain", restart="temporary"),
            self.worker("a", restart="transient", significant=True),
            self.worker("b", restart="temporary", significant=True),
            auto_shutdown="any_significant",
        )
        reasons = self.watch(supervisor)
        self.end(self.addresses(supervisor)["plain"], "error")
        self.end(self.addresses(supervisor)["a"], "error")  # is restarted
        self.assertEqual(reasons, [])
        self.end(self.addresses(supervisor)["a"], "normal")
        self.assertEqual((reasons, self.system.count_actors()), (["shutdown"], 0))

    def test_auto_shutdown_and_ignore(self) -> None:
        """39: A significant child that is restarted, and does not want to run any more, ends nobody."""

        class Once(Fragile):
            def __init__(self, may_start: list[bool]) -> None:
                if not may_start.pop():
                    self.exit("normal")

        child = ChildSpec(Once, [False, True], id="a", restart="transient", significant=True)
        supervisor = self.supervise(child, auto_shutdown="any_significant")
        self.end(self.addresses(supervisor)["a"], "error")
        self.assertEqual(self.addresses(supervisor), {"a": None})

    def test_auto_shutdown_while_one_restarts(self) -> None:
        """39: One that waits for its restart counts as running."""
        supervisor = self.supervise(
            self.worker("a", restart="transient", significant=True),
            self.worker("b", restart="transient", significant=True),
            auto_shutdown="all_significant",
            back_off=BackOff(1.0),
        )
        self.end(self.addresses(supervisor)["a"], "error")
        self.end(self.addresses(supervisor)["b"], "normal")
        self.assertTrue(self.system.is_alive(supervisor))
        self.pass_time(1.01)
        self.end(self.addresses(supervisor)["a"], "normal")
        self.assertFalse(self.system.is_alive(supervisor))

    def test_auto_shutdown_all(self) -> None:
        """39: With all_significant, the last one does; one that its supervisor was told to stop does not."""
        supervisor = self.supervise(
            self.worker("plain"),
            self.worker("a", restart="temporary", significant=True),
            self.worker("b", restart="transient", significant=True),
            self.worker("c", restart="transient", significant=True),
            auto_shutdown="all_significant",
        )
        reasons = self.watch(supervisor)
        self.end(self.addresses(supervisor)["a"], "error")
        self.end(self.addresses(supervisor)["b"], "normal")
        self.assertEqual(reasons, [])
        self.result(Supervisor.terminate_child(supervisor, "c"))
        self.assertEqual(reasons, [])
        self.result(Supervisor.restart_child(supervisor, "c"))
        self.end(self.addresses(supervisor)["c"], "normal")
        self.assertEqual((reasons, self.system.count_actors()), (["shutdown"], 0))


class RequestTests(SupervisorTestCase):
    def test_start_child(self) -> None:
        """38: start_child: added at the end; running already, there already, not startable."""
        supervisor = self.supervise(self.worker("a"))
        address = self.result(Supervisor.start_child(supervisor, self.worker("b")))
        self.assertEqual(self.addresses(supervisor)["b"], address)
        failed = Supervisor.start_child(supervisor, self.worker("b"))
        self.settle()
        error = self.failureResultOf(failed, ChildError).value
        self.assertEqual((error.problem, error.address), ("already_started", address))
        self.result(Supervisor.terminate_child(supervisor, "b"))
        self.assertEqual(
            self.problem(Supervisor.start_child(supervisor, self.worker("b"))), "already_present"
        )
        failed = Supervisor.start_child(supervisor, ChildSpec(Fragile, [False], id="c"))
        self.settle()
        self.assertEqual(self.failureResultOf(failed, StartFailed).value.reason, "no luck")
        self.assertEqual(list(self.addresses(supervisor)), ["a", "b"])
        supervisor.exit("shutdown")
        self.settle()
        self.assertEqual(self.log[-1], "-a")

    def test_terminate_child(self) -> None:
        """38: terminate_child: running, stopped already, unknown; a temporary one's spec goes, too."""
        supervisor = self.supervise(self.worker("a"), self.worker("b", restart="temporary"))
        for _ in range(2):
            self.assertIsNone(self.result(Supervisor.terminate_child(supervisor, "a")))
        self.result(Supervisor.terminate_child(supervisor, "b"))
        self.assertEqual(self.problem(Supervisor.terminate_child(supervisor, "b")), "not_found")
        self.assertEqual(self.addresses(supervisor), {"a": None})

    def test_restart_child(self) -> None:
        """38: restart_child: stopped, running, unknown, not startable."""
        may_start = [True, False]
        supervisor = self.supervise(ChildSpec(Fragile, may_start, id="a"))
        self.assertEqual(self.problem(Supervisor.restart_child(supervisor, "a")), "running")
        self.assertEqual(self.problem(Supervisor.restart_child(supervisor, "z")), "not_found")
        self.result(Supervisor.terminate_child(supervisor, "a"))
        failed = Supervisor.restart_child(supervisor, "a")
        self.settle()
        self.failureResultOf(failed, StartFailed)
        address = self.result(Supervisor.restart_child(supervisor, "a"))
        self.assertEqual(self.addresses(supervisor), {"a": address})

    def test_delete_child(self) -> None:
        """38: delete_child: stopped, running, unknown."""
        supervisor = self.supervise(self.worker("a"))
        self.assertEqual(self.problem(Supervisor.delete_child(supervisor, "a")), "running")
        self.result(Supervisor.terminate_child(supervisor, "a"))
        self.assertIsNone(self.result(Supervisor.delete_child(supervisor, "a")))
        self.assertEqual(self.problem(Supervisor.delete_child(supervisor, "a")), "not_found")

    def test_count_children(self) -> None:
        """Counting tells specs, those that run, supervisors and workers."""
        supervisor = self.supervise(
            self.worker("a"), self.worker("b"), SupervisorSpec(), ChildSpec(DynamicSupervisor)
        )
        self.result(Supervisor.terminate_child(supervisor, "b"))
        counts = self.result(Supervisor.count_children(supervisor))
        self.assertEqual((counts.specs, counts.active, counts.supervisors, counts.workers), (4, 3, 2, 2))

    def test_wrong_child(self) -> None:
        """A child that does not fit is refused: its spec at the call, its significance by the supervisor."""
        supervisor = self.supervise()
        with self.assertRaisesRegex(SpecError, "start: 5 is not"):
            Supervisor.start_child(supervisor, 5)
        failed = Supervisor.start_child(supervisor, self.worker("a", restart="temporary", significant=True))
        self.settle()
        self.assertIn("auto_shutdown='never'", self.failureResultOf(failed, SpecError).getErrorMessage())
        self.assertTrue(self.system.is_alive(supervisor))

    def test_wrong_spec(self) -> None:
        """A supervisor that is given anything but its spec does not start, and says what it takes."""
        for kind, name in ((Supervisor, "SupervisorSpec"), (DynamicSupervisor, "DynamicSupervisorSpec")):
            started = self.system.start(kind, [])
            self.settle()
            text = self.failureResultOf(started, StartFailed).getErrorMessage()
            self.assertIn(f"{kind.__name__} takes a {name}, not []", text)
        self.flushLoggedErrors(TypeError)

    def test_wrong_ids(self) -> None:
        """An id that no child can have is one that is not found."""
        supervisor = self.supervise(self.worker("a"))
        wrong: Any = ["a"]
        for request in (Supervisor.terminate_child, Supervisor.restart_child, Supervisor.delete_child):
            for id in (wrong, (wrong,)):
                self.assertEqual(self.problem(request(supervisor, id)), "not_found")
        dynamic = self.spawn(DynamicSupervisor)
        self.assertEqual(self.problem(DynamicSupervisor.terminate_child(dynamic, wrong)), "not_found")
        refused = Supervisor.restart_child(dynamic, "a")
        self.settle()
        self.assertIn(
            "has no children that stop and start again", self.failureResultOf(refused).getErrorMessage()
        )
        self.assertTrue(self.system.is_alive(supervisor) and self.system.is_alive(dynamic))

    def test_other_messages(self) -> None:
        """A supervisor ignores what it does not know."""
        supervisor = self.supervise(self.worker("a"))
        supervisor.send("hello")
        unanswered = supervisor.call("hello", timeout=1)
        self.pass_time(1)
        self.failureResultOf(unanswered)
        self.assertTrue(self.system.is_alive(supervisor))


class CoroutineChildTests(SupervisorTestCase):
    def test_coroutine_child(self) -> None:
        """A coroutine function is a child like any other: a job that returns has ended normally."""
        done: list[int] = []

        async def job(me: CoroutineActor) -> None:
            match await me.receive():
                case Call(_, reply):
                    reply("done")
                    done.append(1)

        supervisor = self.supervise(ChildSpec(job, restart="transient"))
        [address] = self.addresses(supervisor).values()
        assert address is not None
        self.assertEqual(self.ask(address, "work"), "done")
        self.assertEqual(list(self.addresses(supervisor).values()), [None])
