"""Turns: how much of its mailbox an actor handles before the next one goes on."""

from __future__ import annotations

from typing import Any

from echoactor import CoroutineActor
from echoactor.styles import SLICE

from .support import ActorTestCase, Recorder


class SliceTests(ActorTestCase):
    def test_flooded_actor_shares_the_turn(self) -> None:
        """An actor with a long mailbox lets the others go on after a slice of it."""
        order: list[Any] = []

        async def counts(me: CoroutineActor) -> None:
            while True:
                order.append(await me.receive())

        for style, args in ((Recorder, (order,)), (counts, ())):
            order.clear()
            flooded, other = self.spawn(style, *args), self.spawn(Recorder, order)
            for number in range(SLICE * 3):
                flooded.send(number)
            other.send("other")
            self.settle()
            self.assertEqual(order.index("other"), SLICE)
            order.remove("other")
            self.assertEqual(order, list(range(SLICE * 3)))
