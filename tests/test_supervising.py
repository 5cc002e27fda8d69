"""What both kinds of supervisors do."""

from __future__ import annotations

from typing import Any

from echoactor import ChildSpec, DynamicSupervisor, Supervisor, SupervisorSpec
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
