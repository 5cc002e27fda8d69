"""
Actors alone, side by side with pykka and with asyncio queues, on one core.

usage: python benchmarks/actors.py [--rounds N]

The contenders take turns, and the best of each is shown, with its ratio to
pykka's: on a shared machine, absolute figures are noise. pykka is in the extra
``echoactor[bench]``; without it its row is left out.
"""

import argparse
import asyncio
import gc
import os
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from echoactor import Actor, ActorSystem, Address, Call, CoroutineActor

try:
    import pykka
except ImportError:
    pykka = None


class Player(Actor):
    """Learns its peer, then returns the ball until it has seen it often enough."""

    def __init__(self, rounds: int) -> None:
        self.left = rounds
        self.peer: Any = None

    def receive(self, message: Any) -> None:
        if self.peer is None:
            self.peer = message
        elif self.left:
            self.left -= 1
            self.peer.send(message)


async def player(me: CoroutineActor, rounds: int) -> None:
    """The same as a coroutine."""
    peer: Address = await me.receive()
    for _ in range(rounds):
        message = await me.receive()
        peer.send(message)


class Idle(Actor):
    """Waits."""

    def receive(self, message: Any) -> None: ...


async def idle(me: CoroutineActor) -> None:
    """Waits."""
    await me.receive()


class Answers(Actor):
    """Replies to calls."""

    def receive(self, message: Any) -> None:
        match message:
            case Call(request, reply):
                reply(request)


def ping_pong(style: Any, rounds: int) -> float:
    """Round trips a second between two actors of ours."""
    clock = Clock()
    system = ActorSystem(clock)
    one, two = system.spawn(style, rounds), system.spawn(style, rounds)
    one.send(two)
    two.send(one)
    clock.advance(0)
    one.send("ball")
    start = time.perf_counter()
    clock.advance(0)
    return rounds / (time.perf_counter() - start)


def calls(rounds: int) -> float:
    """Calls a second, one after the other."""
    clock = Clock()
    system = ActorSystem(clock)
    callee = system.spawn(Answers)
    done: list[float] = []

    async def asks(me: CoroutineActor) -> None:
        start = time.perf_counter()
        for number in range(rounds):
            await callee.call(number)
        done.append(rounds / (time.perf_counter() - start))

    system.spawn(asks)
    clock.advance(0)
    return done[0]


def pykka_ask(rounds: int) -> float:
    """Round trips a second of pykka's ask, between two threads."""

    class Answerer(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> Any:
            return message

    actor = Answerer.start()
    start = time.perf_counter()
    for number in range(rounds):
        actor.ask(number)
    took = time.perf_counter() - start
    actor.stop()
    return rounds / took


def asyncio_queues(rounds: int) -> float:
    """Round trips a second between two tasks with a queue each."""

    async def play(mine: asyncio.Queue, other: asyncio.Queue) -> None:
        for _ in range(rounds):
            await other.put(await mine.get())

    async def match() -> float:
        one, two = asyncio.Queue(), asyncio.Queue()
        await one.put("ball")
        start = time.perf_counter()
        await asyncio.gather(play(one, two), play(two, one))
        return rounds / (time.perf_counter() - start)

    return asyncio.run(match())


def idle_bytes(style: Any, count: int = 100_000) -> float:
    """Bytes an idle actor takes, address and all."""
    clock = Clock()
    system = ActorSystem(clock)
    gc.collect()
    tracemalloc.start()
    for _ in range(count):
        system.spawn(style)
    clock.advance(0)
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / count


def spawn_and_stop(style: Any, count: int = 100_000) -> tuple[float, float]:
    """Seconds to spawn so many actors, and to stop the system."""
    clock = Clock()
    system = ActorSystem(clock)
    start = time.perf_counter()
    for _ in range(count):
        system.spawn(style)
    clock.advance(0)
    spawned = time.perf_counter()
    assert system.count_actors() == count
    stopped = system.stopService()
    clock.advance(0)
    assert stopped.called
    return spawned - start, time.perf_counter() - spawned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    contenders: dict[str, Callable[[], float]] = {
        "pykka, ask": lambda: pykka_ask(20_000),
        "asyncio queues": lambda: asyncio_queues(30_000),
        "echoactor, callback": lambda: ping_pong(Player, 300_000),
        "echoactor, coroutine": lambda: ping_pong(player, 200_000),
        "echoactor, call": lambda: calls(50_000),
    }
    if pykka is None:
        del contenders["pykka, ask"]
    best = dict.fromkeys(contenders, 0.0)
    for _ in range(options.rounds):
        for name, contender in contenders.items():
            best[name] = max(best[name], contender())
    baseline = best.get("pykka, ask")
    print(f"{'round trips':24} {'a second':>12} {'ratio to pykka':>15}")
    for name, rate in best.items():
        print(f"{name:24} {rate:12,.0f} {rate / baseline if baseline else float('nan'):15.1f}")
    for style in (Idle, idle):
        print(f"bytes for an idle actor, {style.__name__:4} {idle_bytes(style):10,.0f}")
    for style in (Idle, idle):
        spawned, stopped = min(spawn_and_stop(style) for _ in range(options.rounds))
        print(f"100,000 actors, {style.__name__:4}: spawned in {spawned:.2f} s, stopped in {stopped:.2f} s")


if __name__ == "__main__":
    main()
