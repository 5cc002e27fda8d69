"""Supervisors whose children come and go; the numbers are those of the list of cases."""

from __future__ import annotations

from typing import Any

from echoactor import (
    Address,
    BackOff,
    ChildSpec,
    DynamicSupervisor,
    DynamicSupervisorSpec,
    Supervisor,
    SupervisorSpec,
)
from echoactor.errors import SpecError, StartFailed

from .support import Recorder, count_lines
from .test_supervisor import Fragile, Stubborn, SupervisorTestCase, Worker


class DynamicTests(SupervisorTestCase):
    def dynamic(self, **options: Any) -> Address:
        return self.spawn(DynamicSupervisor, DynamicSupervisorSpec(**options))

    def test_children_come_and_go(self) -> None:
        """Children are started on demand, restarted by themselves, and gone when they end for good."""
        supervisor = self.dynamic(intensity=5)
        start = DynamicSupervisor.start_child
        a, b, c = (
            self.result(start(supervisor, self.worker("x", restart=restart)))
            for restart in ("permanent", "transient", "temporary")
        )
        for address in (a, b, c):
            self.end(address, "normal")
        infos = self.result(DynamicSupervisor.which_children(supervisor))
        self.assertEqual([info.restarts for info in infos], [1])
        self.assertNotEqual(infos[0].address, a)
        self.result(DynamicSupervisor.terminate_child(supervisor, infos[0].address))
        self.assertEqual(self.problem(DynamicSupervisor.terminate_child(supervisor, a)), "not_found")
        counts = self.result(DynamicSupervisor.count_children(supervisor))
        self.assertEqual((counts.specs, counts.active), (0, 0))

    def test_after_the_supervisors_restart(self) -> None:
        """40: After a supervisor's restart its static children are back, those added since are not."""
        top = self.supervise(
            ChildSpec(SupervisorSpec([self.worker("static")]), id="static"),
            ChildSpec(DynamicSupervisor, id="dynamic"),
        )
        for id in ("static", "dynamic"):
            address = self.addresses(top)[id]
            assert address is not None
            self.result(Supervisor.start_child(address, self.worker("added")))
            address.exit("kill")
            self.settle()
            after = self.addresses(top)[id]
            assert after is not None and after != address
            self.assertEqual(list(self.addresses(after)), ["static"] if id == "static" else [])

    def test_many_children(self) -> None:
        """41: Ending ten times the children takes about ten times the steps: nothing is quadratic."""
        counts = []
        for number in (1_000, 10_000):
            supervisor = self.dynamic()
            for _ in range(number):
                DynamicSupervisor.start_child(supervisor, ChildSpec(Recorder, []))
            self.settle_all()
            self.assertEqual(self.system.count_actors(), number + 1)
            supervisor.exit("shutdown")
            steps = count_lines(self.settle_all)
            self.assertEqual(self.system.count_actors(), 0)
            counts.append(steps)
        self.assertLess(counts[1], 15 * counts[0])

    def settle_all(self) -> None:
        """Settle, in however many turns."""
        while self.system.step():
            pass

    def test_max_children(self) -> None:
        """42: With max_children running, no other is started, until one has ended."""
        supervisor = self.dynamic(max_children=2)
        first = self.result(DynamicSupervisor.start_child(supervisor, self.worker("a")))
        self.result(DynamicSupervisor.start_child(supervisor, self.worker("b")))
        refused = DynamicSupervisor.start_child(supervisor, self.worker("c"))
        self.assertEqual(self.problem(refused), "max_children")
        self.result(DynamicSupervisor.terminate_child(supervisor, first))
        self.result(DynamicSupervisor.start_child(supervisor, self.worker("c")))

    def test_start_that_fails(self) -> None:
        """43: A child whose start fails is reported to who asked for it; the supervisor lives, without it."""
        supervisor = self.dynamic()
        failed = DynamicSupervisor.start_child(supervisor, ChildSpec(Fragile, [False]))
        self.settle()
        self.assertEqual(self.failureResultOf(failed, StartFailed).value.reason, "no luck")
        self.assertEqual(self.addresses(supervisor), {})
        self.assertTrue(self.system.is_alive(supervisor))

    def test_stops_all_at_once(self) -> None:
        """Its children stop side by side: ten of them take no longer than the slowest."""
        supervisor = self.dynamic()
        for seconds in (1.0, 3.0, 2.0):
            self.result(DynamicSupervisor.start_child(supervisor, ChildSpec(Stubborn, shutdown=seconds)))
        supervisor.exit("shutdown")
        self.settle()
        self.pass_time(2.9)
        self.assertEqual(self.system.count_actors(), 2)
        self.pass_time(0.1)
        self.assertEqual(self.system.count_actors(), 0)

    def test_intensity(self) -> None:
        """Too many restarts end it, and its children with it."""
        supervisor = self.dynamic(intensity=0)
        a, _ = (self.result(DynamicSupervisor.start_child(supervisor, self.worker(name))) for name in "ab")
        reasons = self.watch(supervisor)
        self.end(a, "error")
        self.assertEqual((reasons, self.system.count_actors()), (["shutdown"], 0))

    def test_significant_child(self) -> None:
        """A significant child is refused: there is no auto-shutdown."""
        supervisor = self.dynamic()
        failed = DynamicSupervisor.start_child(
            supervisor, self.worker("a", restart="temporary", significant=True)
        )
        self.settle()
        self.failureResultOf(failed, SpecError)

    def test_restart_waits(self) -> None:
        """With a back-off, a child that waits for its restart counts, and can be seen."""
        supervisor = self.dynamic(back_off=BackOff(1.0), max_children=1)
        a = self.result(DynamicSupervisor.start_child(supervisor, self.worker("a")))
        self.end(a, "error")
        [info] = self.result(DynamicSupervisor.which_children(supervisor))
        self.assertTrue(info.is_restarting)
        self.assertEqual(
            self.problem(DynamicSupervisor.start_child(supervisor, self.worker("b"))), "max_children"
        )
        self.pass_time(1.01)
        [info] = self.result(DynamicSupervisor.which_children(supervisor))
        self.assertIsNotNone(info.address)

    def test_restart_ignored(self) -> None:
        """A child that ends normally before it has started again is gone, and makes room for another."""

        class Once(Worker):
            def __init__(self, log: list[Any]) -> None:
                super().__init__(log, "once")
                if len(log) > 1:
                    self.exit("normal")

        supervisor = self.dynamic(back_off=BackOff(1.0), max_children=1)
        self.end(self.result(DynamicSupervisor.start_child(supervisor, ChildSpec(Once, self.log))), "error")
        self.pass_time(1.01)
        self.assertEqual(self.log, ["+once", "-once", "+once"])
        self.assertEqual(self.result(DynamicSupervisor.which_children(supervisor)), ())
        self.result(DynamicSupervisor.start_child(supervisor, self.worker("another")))

    def test_stop_one_that_waits(self) -> None:
        """A child that waits for its restart is stopped by the address that it had."""
        supervisor = self.dynamic(back_off=BackOff(1.0))
        a = self.result(DynamicSupervisor.start_child(supervisor, self.worker("a")))
        self.end(a, "error")
        self.result(DynamicSupervisor.terminate_child(supervisor, a))
        self.pass_time(2)
        self.assertEqual(self.log, ["+a", "-a"])
        self.assertEqual(self.problem(DynamicSupervisor.terminate_child(supervisor, a)), "not_found")
