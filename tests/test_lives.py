"""Random lives of actors: whatever they do to each other, nobody is stuck, and nobody is left over."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from echoactor import Actor, Address, Call, CoroutineActor, Down, Exit, MailboxBound
from echoactor.cell import AWAITING, LOOKING, WAITING, Cell
from echoactor.errors import SystemStopped
from echoactor.testing import ClockSystem

SEEDS = 600
ACTORS = 60
REASONS = ("normal", "shutdown", "kill", "boom")


def wanted_by(cell: Cell) -> Any:
    """What the receive of a coroutine actor that waits for news is looking for."""
    receiving: Any = cell.coroutine.cr_await  # type: ignore[union-attr]  # it is a coroutine, and awaits
    return receiving.gi_yieldfrom.gi_frame.f_locals["wanted"] or (lambda message: True)


class Life:
    """
    A system, its actors, and what happens to them by chance.

    :param seed: of the chance.
    """

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.system = ClockSystem()
        self.addresses: list[Address] = []
        self.unfinished: list[Deferred[Any]] = []
        for _ in range(8):
            self.spawn(self.system)

    def spawn(self, parent: Any) -> None:
        options: dict[str, Any] = {}
        if self.chance.random() < 0.3:
            limit, drop = self.chance.randrange(1, 4), self.chance.choice(["newest", "oldest"])
            options["mailbox"] = MailboxBound(limit, drop)
        if parent is not self.system:
            options |= {option: self.chance.random() < 0.3 for option in ("link", "monitor")}
        kind = self.chance.choice([Plain, Starts, Cleans, CleansSlowly, looks, looks])
        self.addresses.append(parent.spawn(kind, self, **options))

    def later(self) -> Deferred[Any]:
        """A Deferred that fires some time, or never."""
        deferred: Deferred[Any] = Deferred()
        self.unfinished.append(deferred)
        return deferred

    def act(self, me: Any, monitors: list[Any]) -> None:
        """One thing that an actor does."""
        other = self.chance.choice(self.addresses)
        match self.chance.randrange(16):
            case 0:
                me.link(other)
            case 1:
                me.unlink(other)
            case 2 | 3:
                monitors.append(me.monitor(other))
            case 4 | 5 if monitors:
                me.demonitor(monitors.pop(), flush=self.chance.random() < 0.7)
            case 6:
                other.exit(self.chance.choice(REASONS))
            case 7:
                other.stop().addErrback(lambda _: None)
            case 8 | 9:
                other.send(self.chance.choice([1, "2"]))
            case 10:
                me.address.send(self.chance.choice([1, "2"]))
            case 11:
                other.call("?", self.chance.choice([None, 0, 1])).addErrback(lambda _: None)
            case 12:
                me.trap_exits = self.chance.random() < 0.5
            case 13:
                me.exit(self.chance.choice(REASONS))
            case 14 if len(self.addresses) < ACTORS:
                self.spawn(me)
            case 15:
                raise ZeroDivisionError

    def happen(self) -> None:
        """One thing that comes from outside."""
        other = self.chance.choice(self.addresses)
        match self.chance.randrange(5):
            case 0 | 1:
                other.send(self.chance.choice([1, "2"]))
            case 2:
                other.exit(self.chance.choice(REASONS))
            case 3 if self.unfinished:
                deferred = self.unfinished.pop(self.chance.randrange(len(self.unfinished)))
                if not deferred.called:  # by a cancel
                    deferred.callback(None)
            case 4:
                other.stop().addErrback(lambda _: None)

    def problems(self) -> list[str]:
        """What is wrong with the actors that are there, with nothing left to do."""
        return [
            f"{cell.address} {cell.kind}: {why}" for cell in self.system.cells() for why in self.why(cell)
        ]

    def why(self, cell: Cell) -> list[str]:
        wrong = []
        match cell.life:
            case life if life is WAITING:
                if cell.count_unread():
                    wrong.append("waits, and messages wait for it")
            case life if life is LOOKING:
                wanted = wanted_by(cell)
                if cell.arrived or any(wanted(message) for message in cell.backlog or ()):
                    wrong.append("looks for what is there")
            case life if life is AWAITING:
                if cell.awaited is None or cell.awaited.called:
                    wrong.append("awaits what is done")
            case life:
                wrong.append(f"is {life}, and has no turn")
        if cell.ties is not None:
            for link in cell.ties.links:
                other = self.system.find(link)
                if other is None or other.ties is None or cell.address not in other.ties.links:
                    wrong.append(f"is linked to {link}, which does not know it")
            for number, watched in cell.ties.watching.items():
                other = self.system.find(watched)
                if other is None or other.ties is None or number not in other.ties.watchers:
                    wrong.append(f"watches {watched}, which does not know it")
        return wrong


class Plain(Actor):
    """Does what chance wants, now or while it awaits."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.monitors: list[Any] = []

    def act(self) -> None:
        self.life.act(self, self.monitors)

    def receive(self, message: Any) -> Any:
        if isinstance(message, Call):
            message.reply("!")
        for _ in range(self.life.chance.randrange(4)):
            self.act()
        return self.awaits() if self.life.chance.random() < 0.2 else None

    async def awaits(self) -> None:
        try:
            await self.life.later()
            self.act()
        finally:
            if self.life.chance.random() < 0.3:
                self.act()


class Starts(Plain):
    """Takes its time to start."""

    async def started(self) -> None:
        self.act()
        await self.life.later()


class Cleans(Plain):
    """Does one thing more at its end."""

    def terminate(self, reason: object) -> None:
        self.act()


class CleansSlowly(Plain):
    """Takes its time to end."""

    async def terminate(self, reason: object) -> None:
        self.act()
        await self.life.later()
        self.act()


async def looks(me: CoroutineActor, life: Life) -> None:
    """Receives what comes, or looks for something, or awaits."""
    monitors: list[Any] = []
    while True:
        timeout = life.chance.choice([None, 0, 1])
        match life.chance.randrange(4):
            case 0:
                message = await me.receive()
            case 1:
                message = await me.receive(int, timeout=timeout)
            case 2:
                message = await me.receive(Exit, Down, lambda message: message == "2", timeout=timeout)
            case _:
                message = await life.later()
        if isinstance(message, Call):
            message.reply("!")
        for _ in range(life.chance.randrange(3)):
            life.act(me, monitors)


class LifeTests(SynchronousTestCase):
    def test_nobody_is_stuck(self) -> None:
        """In 600 random lives nobody waits for what is there, ties have two ends, and all stop in the end."""
        for seed in range(SEEDS):
            life = Life(seed)
            for _ in range(20):
                for _ in range(life.chance.randrange(1, 6)):
                    life.happen()
                life.system.advance(life.chance.choice([0, 0, 0.5, 1]))
                self.assertEqual(life.problems(), [], f"seed {seed}")
            stopped = life.system.stopService()
            life.system.advance(100)
            self.assertTrue(stopped.called, f"seed {seed}")
            self.assertEqual((life.system.count_actors(), life.system.clock.getDelayedCalls()), (0, []))
            self.flushLoggedErrors(ZeroDivisionError, SystemStopped)  # the latter from last words that spawn
