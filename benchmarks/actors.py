"""
Actors alone, side by side with the BEAM, with pykka and with asyncio queues, on one core.

usage: python benchmarks/actors.py [--rounds N]

The contenders take turns, and the best of each is shown, with its ratio to the
BEAM's and to pykka's: on a shared machine, absolute figures are noise. The BEAM
runs ``beam.erl`` with one scheduler on the same core, where ``erl`` and
``erlc`` are installed; else the figures recorded below stand in, which another
machine gave, and the table says so. pykka is in the extra ``echoactor[bench]``;
without it its columns are empty.
"""

import argparse
import asyncio
import gc
import os
import shutil
import subprocess
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from processes import memory, pin
from twisted.internet.task import Clock

from echoactor import Actor, ActorSystem, Address, Call, CoroutineActor

try:
    import pykka
except ImportError:
    pykka = None

RECORDED = {
    "ping_pong": 1_870_000,
    "spawn_waiting": 584_000,
    "spawn_ending": 1_640_000,
    "call": 863_000,
    "bytes": 2_675,
}
"""What Erlang/OTP 25, with one scheduler, did in November 2026 on the machine of docs/performance.rst."""

SPAWNED = 100_000
BATCH = 1000


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


class Ends(Actor):
    """Ends at once."""

    def __init__(self) -> None:
        self.exit()


async def ends(me: CoroutineActor) -> None:
    """Ends at once."""


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


def idle_bytes(style: Any) -> float:
    """Bytes an idle actor takes, address and all."""
    clock = Clock()
    system = ActorSystem(clock)
    tracemalloc.start()
    for _ in range(SPAWNED):
        system.spawn(style)
    clock.advance(0)
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / SPAWNED


def spawns(style: Any, living: int) -> float:
    """
    Actors a second, until each waits, or has ended.

    A thousand are spawned, then they run, and so on: the BEAM too interrupts
    who spawns, so that the first have ended long before the last are made.
    """
    clock = Clock()
    system = ActorSystem(clock)
    start = time.perf_counter()
    for _ in range(SPAWNED // BATCH):
        for _ in range(BATCH):
            system.spawn(style)
        clock.advance(0)
    took = time.perf_counter() - start
    assert system.count_actors() == living
    system.stopService()
    clock.advance(0)
    return SPAWNED / took


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """
    What a program that keeps many actors would set.

    Python's cyclic garbage collector goes through all that lives again and
    again while actors are made: with its own thresholds, much of the time of
    spawning many is spent there.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


# The peers


def beam() -> dict[str, float] | None:
    """One round of all measurements on the BEAM; None where it is not installed."""
    if shutil.which("erl") is None or shutil.which("erlc") is None:
        return None
    source = Path(__file__).with_name("beam.erl")
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["erlc", "-o", directory, str(source)], check=True)
        run = ["erl", "+S", "1", "+P", "2000000", "-noshell", "-run", "beam", "main"]
        out = subprocess.run(run, cwd=directory, stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    return {name: float(figure) for name, figure in map(str.split, out.stdout.splitlines())}


def pykka_ping_pong(rounds: int = 10_000) -> float:
    """Round trips a second between two of pykka's actors, which are threads."""
    done: Any = pykka.ThreadingFuture()

    class PykkaPlayer(pykka.ThreadingActor):
        def __init__(self) -> None:
            super().__init__()
            self.left = rounds
            self.peer: Any = None

        def on_receive(self, message: Any) -> None:
            if self.peer is None:
                self.peer = message
            elif self.left:
                self.left -= 1
                self.peer.tell(message)
            else:
                done.set(True)

    one, two = PykkaPlayer.start(), PykkaPlayer.start()
    one.tell(two)
    two.tell(one)
    start = time.perf_counter()
    one.tell("ball")
    done.get()
    took = time.perf_counter() - start
    pykka.ActorRegistry.stop_all()
    return rounds / took


def pykka_ask(rounds: int = 10_000) -> float:
    """Calls a second, of one of pykka's actors from the main thread."""

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


def pykka_spawns(count: int = 1000, *, ending: bool = False) -> float:
    """Actors a second, started, and stopped again if they are to end."""
    start = time.perf_counter()
    actors = [pykka.ThreadingActor.start() for _ in range(count)]
    if not ending:
        took = time.perf_counter() - start
    for actor in actors:
        actor.stop()
    if ending:
        took = time.perf_counter() - start
    return count / took


def pykka_bytes(count: int = 1000) -> float:
    """Resident bytes an idle actor takes, its thread's touched stack and all."""
    before = memory(os.getpid())
    actors = [pykka.ThreadingActor.start() for _ in range(count)]
    size = memory(os.getpid()) - before
    for actor in actors:
        actor.stop()
    return size / count


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


PYKKA: dict[str, Callable[[], float]] = {
    "ping_pong": pykka_ping_pong,
    "call": pykka_ask,
    "spawn_waiting": pykka_spawns,
    "spawn_ending": lambda: pykka_spawns(ending=True),
    "bytes": pykka_bytes,
}


# The table


class Row(NamedTuple):
    """
    One measurement of ours.

    :ivar peer: what it is compared with.
    :ivar demanded: which ratio to the BEAM it should reach (of bytes: stay below); None for no demand.
    """

    text: str
    peer: str
    demanded: float | None
    measure: Callable[[], float]
    collector: Callable[[], Any] = nullcontext


ROWS = [
    Row("ping-pong, callback", "ping_pong", 1.0, lambda: ping_pong(Player, 300_000)),
    Row("ping-pong, coroutine", "ping_pong", 0.7, lambda: ping_pong(player, 200_000)),
    Row("ping-pong, asyncio queues", "ping_pong", None, lambda: asyncio_queues(30_000)),
    Row("call, coroutine to callback", "call", 0.3, lambda: calls(50_000)),
    Row("spawn, waiting, callback", "spawn_waiting", 1.0, lambda: spawns(Idle, SPAWNED)),
    Row("  collecting seldom", "spawn_waiting", 1.0, lambda: spawns(Idle, SPAWNED), collecting_seldom),
    Row("spawn, waiting, coroutine", "spawn_waiting", 0.3, lambda: spawns(idle, SPAWNED)),
    Row("  collecting seldom", "spawn_waiting", 0.3, lambda: spawns(idle, SPAWNED), collecting_seldom),
    Row("spawn, ending, callback", "spawn_ending", 1.0, lambda: spawns(Ends, 0)),
    Row("spawn, ending, coroutine", "spawn_ending", 0.3, lambda: spawns(ends, 0)),
    Row("bytes, idle callback", "bytes", 0.25, lambda: idle_bytes(Idle)),
    Row("bytes, idle coroutine", "bytes", 0.6, lambda: idle_bytes(idle)),
]


def better(peer: str, one: float | None, two: float) -> float:
    """The better of two figures; the only one, if it is the first."""
    if one is None:
        return two
    return min(one, two) if peer == "bytes" else max(one, two)


def measure(rounds: int) -> tuple[list[float], dict[str, float], dict[str, float]]:
    """The best of ours, row by row, of the BEAM and of pykka; the latter two are empty if not installed."""
    ours: list[float | None] = [None] * len(ROWS)
    beams: dict[str, float] = {}
    pykkas: dict[str, float] = {}
    for number in range(rounds):
        for name, figure in (beam() or {}).items():
            beams[name] = better(name, beams.get(name), figure)
        if pykka is not None:
            for name, contender in PYKKA.items():
                pykkas[name] = better(name, pykkas.get(name), contender())
        for index, row in enumerate(ROWS):
            if row.peer == "bytes" and number:
                continue  # tracing is slow, and gives the same each time
            gc.collect()
            with row.collector():
                ours[index] = better(row.peer, ours[index], row.measure())
    return [figure for figure in ours if figure is not None], beams, pykkas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    pin(0)()
    ours, beams, pykkas = measure(options.rounds)
    if beams:
        print(f"BEAM: Erlang/OTP {beams.pop('otp'):.0f}, one scheduler, in the same run")
    else:
        print("BEAM: not installed; figures recorded on another machine, OTP 25, so the ratios are rough")
        beams = dict(RECORDED)
    head = f"{'a second, or bytes':28} {'ours':>10} {'BEAM':>10} {'ratio':>6} {'demanded':>16}"
    print(head + (f" {'pykka':>8} {'ratio':>7}" if pykkas else ""))
    for row, figure in zip(ROWS, ours, strict=True):
        peer = beams[row.peer]
        ratio = figure / peer
        line = f"{row.text:28} {figure:10,.0f} {peer:10,.0f} {ratio:6.2f} {verdict(row, ratio):>16}"
        if pykkas:
            peer = pykkas[row.peer]
            line += f" {peer:8,.0f} {figure / peer:7.{3 if row.peer == 'bytes' else 1}f}"
        print(line)


def verdict(row: Row, ratio: float) -> str:
    """Whether a ratio is what it should be."""
    if row.demanded is None:
        return ""
    at_most = row.peer == "bytes"
    met = ratio <= row.demanded if at_most else ratio >= row.demanded
    return f"{'<=' if at_most else '>='} {row.demanded:.2f} {'met' if met else 'MISSED'}"


if __name__ == "__main__":
    main()
