"""What both kinds of supervisors do."""

from __future__ import annotations

import weakref
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from echoactor import ChildSpec, DynamicSupervisor, Supervisor, SupervisorSpec
from echoactor.errors import CallTimeout
from echoactor.supervising import count_supervised, supervised

from .support import ActorTestCase, Adder


class LookingTests(ActorTestCase):
    def actor_of(self, address: Any) -> Any:
        cell = self.system.find(address)
        assert cell is not None
        return cell.actor

    def test_children(self) -> None:
        """Of either kind one can see the children, or the first of them, and how many they are."""
        spec = SupervisorSpec([ChildSpec(Adder, id=number) for number in range(5)])
        fixed, dynamic = self.spawn(Supervisor, spec), self.spawn(DynamicSupervisor)
        for _ in range(5):
            DynamicSupervisor.start_child(dynamic, ChildSpec(Adder, id="one of them"))
        self.settle()
        for supervisor, ids in ((fixed, list(range(5))), (dynamic, ["one of them"] * 5)):
            actor = self.actor_of(supervisor)
            self.assertEqual([child.id for child in supervised(actor) or ()], ids)
            self.assertEqual([child.id for child in supervised(actor, 2) or ()], ids[:2])
            self.assertEqual(count_supervised(actor), 5)

    def test_no_supervisor(self) -> None:
        """Of an actor that is none there is nothing to see."""
        actor = self.actor_of(self.spawn(Adder))
        self.assertEqual((supervised(actor), count_supervised(actor)), (None, None))

    def test_strange_messages(self) -> None:
        """What is no request is ignored, and a call with it runs into its timeout."""
        for kind in (
            self.spawn(Supervisor, SupervisorSpec([ChildSpec(Adder)])),
            self.spawn(DynamicSupervisor),
        ):
            kind.send("what?")
            pending = kind.call("what?", timeout=1)
            self.settle()
            self.assertNoResult(pending)
            self.pass_time(1)
            self.failureResultOf(pending)
            self.assertTrue(self.system.is_alive(kind))

    def test_untouchable_messages(self) -> None:
        """What raises when its class is asked for, as a dead proxy does, is ignored; so it is at the end."""
        dead = self.dead()
        service = Service()
        children = [ChildSpec(service, id="service"), ChildSpec(DynamicSupervisor, id="dynamic")]
        supervisor = self.spawn(Supervisor, SupervisorSpec(children))
        started = [cell.address for cell in self.system.cells()]
        self.assertEqual(len(started), 3)
        for address in started:
            address.send(dead)
            self.failureResultOf(self.answer(address.call(dead, timeout=1)), CallTimeout)
        for address in started:
            address.send(dead)
        stopped = supervisor.stop()
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual((self.system.count_actors(), service.running), (0, 0))

    def test_untouchable_ids(self) -> None:
        """What the client's id raises is the answer, and not the supervisor's end."""
        fixed = self.spawn(Supervisor, SupervisorSpec([ChildSpec(Adder, id="there")]))
        dynamic = self.spawn(DynamicSupervisor)
        significant = ChildSpec(Adder, id=Untouchable(), restart="transient", significant=True)
        for asked, error in (
            (Supervisor.start_child(fixed, ChildSpec(Adder, id=Untouchable())), ZeroDivisionError),
            (DynamicSupervisor.start_child(dynamic, significant), ZeroDivisionError),
            (DynamicSupervisor.terminate_child(dynamic, self.dead()), ReferenceError),
        ):
            self.failureResultOf(self.answer(asked), error)
        self.assertTrue(self.system.is_alive(fixed) and self.system.is_alive(dynamic))

    def dead(self) -> Any:
        """A proxy of what is gone."""
        return weakref.proxy(Untouchable())

    def answer(self, call: Deferred[Any]) -> Deferred[Any]:
        """A call, when there has been time for it."""
        self.settle()
        self.pass_time(1)
        return call


class Untouchable:
    """Looks the same as an id that is there, and cannot be compared with it, nor be shown."""

    def __hash__(self) -> int:
        return hash("there")

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    def __repr__(self) -> str:
        raise ZeroDivisionError
