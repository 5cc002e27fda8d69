"""
A pool of workers: jobs wait for a free one, and are not lost when their worker dies.

Run it: ``python examples/worker_pool.py`` (the log of the crashes goes to stderr)

The tree: a supervisor of the pool and of a second supervisor, which restarts the workers. When the
pool itself dies, the workers are restarted with it (rest_for_one) and tell the new one that they are free.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import sqrt
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater, react
from twisted.python.failure import Failure

from echoactor import Actor, ActorSystem, Address, Call, ChildSpec, Crash, Down, SupervisorSpec

WORKERS = 2
ROOM = 5  # jobs that may wait
ATTEMPTS = 2  # how often a job is tried


class PoolIsFull(Exception):
    """Too many jobs wait."""


class JobFailed(Exception):
    """The job's worker died, each time it was tried."""


@dataclass(frozen=True)
class Free:
    """A worker to the pool: it waits for a job."""

    worker: Address


@dataclass(frozen=True)
class Work:
    """The pool to a worker: do this."""

    number: Any


@dataclass(frozen=True)
class Done:
    """A worker to the pool: this is the result."""

    worker: Address
    result: float


@dataclass
class Job:
    """What somebody called the pool for, and waits for."""

    call: Call
    attempts: int = 0


class Worker(Actor):
    """Takes square roots, one at a time."""

    def __init__(self) -> None:
        self.system.send("pool", Free(self.address))

    async def receive(self, message: Any) -> None:
        """Handle one message."""
        match message:
            case Work(number):
                await deferLater(self.system.reactor, 0.05)  # hard work
                self.system.send("pool", Done(self.address, sqrt(number)))


class Pool(Actor):
    """Hands jobs to free workers. It watches the workers, so that no job is lost with one."""

    def __init__(self) -> None:
        self.free: deque[Address] = deque()
        self.waiting: deque[Job] = deque()
        self.working: dict[Address, Job] = {}

    def receive(self, message: Any) -> None:
        """Handle one message; the reply to a call comes with a later one."""
        match message:
            case Call(_, reply) as call:
                if len(self.waiting) < ROOM:
                    self.waiting.append(Job(call))
                else:
                    reply(Failure(PoolIsFull("too many jobs wait")))
            case Free(worker):
                self.monitor(worker)
                self.free.append(worker)
            case Done(worker, result):
                self.working.pop(worker).call.reply(result)
                self.free.append(worker)
            case Down(_, worker, reason):
                self.lost(worker, reason)
        while self.free and self.waiting:
            self.assign(self.free.popleft(), self.waiting.popleft())

    def assign(self, worker: Address, job: Job) -> None:
        """Let a worker do a job."""
        job.attempts += 1
        self.working[worker] = job
        worker.send(Work(job.call.request))

    def lost(self, worker: Address, reason: object) -> None:
        """A worker has died; its job, if it had one, is tried again, or has failed."""
        job = self.working.pop(worker, None)
        if job is None:
            self.free.remove(worker)
        elif job.attempts < ATTEMPTS:
            self.waiting.appendleft(job)
        else:
            cause = reason.type if isinstance(reason, Crash) else reason
            job.call.reply(Failure(JobFailed(f"tried {ATTEMPTS} times, the last time: {cause}")))


def tree() -> SupervisorSpec:
    """The pool and its workers."""
    workers = [ChildSpec(Worker, id=f"worker {n}", name=f"worker {n}") for n in range(1, WORKERS + 1)]
    return SupervisorSpec(
        [ChildSpec(Pool, name="pool"), ChildSpec(SupervisorSpec(workers, intensity=10), id="workers")],
        strategy="rest_for_one",
    )


def kill(system: ActorSystem, name: str) -> None:
    """Kill a worker, whatever it does."""
    worker = system.whereis(name)
    if worker is not None:
        worker.exit("kill")


async def main(reactor: Any) -> None:
    """Give the pool more to do than it can take, one job that cannot be done, and a worker that is killed."""
    system = ActorSystem(reactor)
    await system.start_child(tree())
    jobs = [(number, system.call("pool", number)) for number in (4, 9, -1, 16, 25, 36, 49, 64, 81)]
    reactor.callLater(0.01, kill, system, "worker 1")
    for number, result in jobs:
        try:
            print(f"sqrt({number}) is {await result}")
        except (PoolIsFull, JobFailed) as error:
            print(f"sqrt({number}): {error}")
    await system.stopService()


if __name__ == "__main__":
    react(lambda reactor: ensureDeferred(main(reactor)))
