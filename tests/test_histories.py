"""Random histories of supervisors, under random orders of delivery: whatever happens, nobody is left over."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from echoactor import (
    Actor,
    Address,
    BackOff,
    ChildSpec,
    DynamicSupervisor,
    DynamicSupervisorSpec,
    Exit,
    Shutdown,
    Supervisor,
    SupervisorSpec,
)
from echoactor.cell import AWAITING
from echoactor.errors import ActorError
from echoactor.supervising import supervised
from echoactor.testing import Simulation, replay

SEEDS = 2000
IDS = range(4)


class Plain(Actor):
    """Ends as it is told."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance

    def sleep(self, *seconds: float) -> Deferred[None]:
        reactor: Any = self.system.reactor
        return deferLater(reactor, self.chance.choice(seconds), lambda: None)

    def receive(self, message: Any) -> None:
        match message:
            case ("exit", reason):
                self.exit(reason)
            case Exit(_, reason):
                self.exit(reason)


class SlowStart(Plain):
    """Takes its time to start, for ever in the worst case."""

    async def started(self) -> None:
        await self.sleep(*[0, 1] * 6, 1e9)


class UnsureStart(Plain):
    """Cannot always start."""

    async def started(self) -> None:
        await self.sleep(0, 1)
        if self.chance.random() < 0.3:
            self.exit(self.chance.choice(["normal", "bad", Shutdown("x")]))


class SlowEnd(Plain):
    """Traps exits, and takes its time to clean up."""

    def __init__(self, chance: Random) -> None:
        super().__init__(chance)
        self.trap_exits = True

    async def terminate(self, reason: object) -> None:
        await self.sleep(0, 1, 3)


class Stubborn(Plain):
    """Traps exits, and takes no notice."""

    def __init__(self, chance: Random) -> None:
        super().__init__(chance)
        self.trap_exits = True

    def receive(self, message: Any) -> None: ...


class History:
    """One supervisor, and what a seed lets happen to it."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.chance = chance = simulation.random
        self.is_dynamic = chance.random() < 0.3
        back_off = chance.choice([None, BackOff(0.5)])
        kind: Any
        if self.is_dynamic:
            kind, spec = DynamicSupervisor, DynamicSupervisorSpec(intensity=1000, back_off=back_off)
        else:
            children = [self.child(id) for id in range(chance.randrange(1, 5))]
            strategy: Any = chance.choice(["one_for_one", "one_for_all", "rest_for_one"])
            intensity = chance.choice([3, 1000, 1000])
            kind = Supervisor
            spec = SupervisorSpec(children, strategy=strategy, intensity=intensity, back_off=back_off)  # type: ignore[assignment]
        self.supervisor = simulation.spawn(kind, spec)
        self.requests: list[Deferred[Any]] = []

    def child(self, id: int) -> ChildSpec:
        kind = self.chance.choice([Plain, Plain, SlowStart, UnsureStart, SlowEnd, Stubborn])
        restart: Any = self.chance.choice(["permanent", "transient", "temporary"])
        shutdown: Any = self.chance.choice([0, 1, 2, "brutal_kill"])
        return ChildSpec(kind, self.chance, id=id, restart=restart, shutdown=shutdown)

    def workers(self) -> list[Address]:
        return [cell.address for cell in self.simulation.cells() if cell.address != self.supervisor]

    def step(self) -> None:
        """Something happens."""
        chance = self.chance
        workers = self.workers()
        what = chance.choice(
            "exit exit normal kill boom stop terminate terminate restart delete start start time end".split()
        )
        match what:
            case "time":
                self.simulation.advance(chance.choice([0, 0.5, 1, 3]))
            case "start":
                id = chance.choice([*IDS, 10 + len(self.requests)])
                self.requests.append(Supervisor.start_child(self.supervisor, self.child(id)))
            case "restart" if not self.is_dynamic:
                self.requests.append(Supervisor.restart_child(self.supervisor, chance.choice(IDS)))
            case "delete" if not self.is_dynamic:
                self.requests.append(Supervisor.delete_child(self.supervisor, chance.choice(IDS)))
            case "terminate" if not self.is_dynamic:
                self.requests.append(Supervisor.terminate_child(self.supervisor, chance.choice(IDS)))
            case "end" if chance.random() < 0.3:
                if chance.random() < 0.5:
                    self.supervisor.exit("shutdown")
                else:
                    self.requests.append(self.supervisor.stop(chance.choice(["normal", "shutdown"])))
            case _ if workers:
                one = chance.choice(workers)
                match what:
                    case "exit" | "normal":
                        one.send(("exit", "error" if what == "exit" else "normal"))
                    case "kill" | "boom":
                        one.exit(what)
                    case "stop":
                        self.requests.append(one.stop())
                    case "terminate":
                        self.requests.append(DynamicSupervisor.terminate_child(self.supervisor, one))


def anything_happens(simulation: Simulation) -> None:
    """After any history: the living children are those the supervisor knows, and a stop ends them all."""
    history = History(simulation)
    for _ in range(simulation.random.randrange(5, 30)):
        history.step()
        for _ in range(simulation.random.choice([0, 1, 9])):
            simulation.step()
    for request in history.requests:
        request.addErrback(lambda failure: failure.trap(ActorError) and None)
    simulation.advance(60)
    living = set(history.workers())
    cell = simulation.find(history.supervisor)
    if cell is None:
        assert not living, "orphans"
    else:
        infos = supervised(cell.actor)
        assert infos is not None
        known = {info.address for info in infos if info.address}
        assert living <= known, "orphans"
        # While a child takes for ever to start, the supervisor hears of no end, as in OTP.
        assert living == known or cell.life is AWAITING
        assert not any(info.address and info.is_restarting for info in infos)
        if history.is_dynamic:
            assert all(info.address or info.is_restarting for info in infos), "a child that nobody can end"
    stopped = simulation.stopService()
    simulation.advance(60)
    assert stopped.called, "the stop does not come to its end"
    assert simulation.count_actors() == 0
    assert all(request.called for request in history.requests)


class HistoryTests(SynchronousTestCase):
    def test_nobody_is_left_over(self) -> None:
        """Whatever happens to a supervisor and its children, it knows the living, and can be stopped."""
        for seed in range(SEEDS):
            replay(anything_happens, seed)
        self.flushLoggedErrors()
