"""The core against a second, small model of Erlang's rules, for whatever programs do (hypothesis)."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred

from echoactor import (
    Actor,
    Address,
    ChildSpec,
    CoroutineActor,
    Crash,
    Down,
    Exit,
    Monitor,
    Supervisor,
    SupervisorSpec,
)
from echoactor.actor import ActorContext
from echoactor.errors import NameTaken

from .support import ActorTestCase

PERIOD = 5.0
CRASH = "a crash"  # how the model writes the reason of an actor that an exception left


# The model. Its rules are those of the Erlang Reference Manual, chapter "Processes" (links, monitors, exit
# signals, trapping), and of the manual page supervisor(3) (restart types, strategies, intensity, shutdown).


class Entry(NamedTuple):
    """
    What one process receives.

    ``step`` is set for what comes of a process's end: the manual does not say
    in which order one process's link and monitors tell of it.
    """

    sender: int | None
    body: tuple[Any, ...]
    step: int | None = None


@dataclass
class Child:
    """A child specification, and the process that runs of it now."""

    key: int
    restart: str
    brutal: bool
    traps: bool
    style: int
    name: str | None
    flags: Flags | None  # when it is a supervisor itself
    pid: int | None = None


@dataclass
class Flags:
    """A supervisor: its flags, its children, and when it restarted some."""

    strategy: str
    intensity: int
    children: list[Child]
    restarts: list[float] = field(default_factory=list)


@dataclass
class Process:
    """
    One living process.

    :ivar parent: whose exit signals a supervisor, or a supervised process, obeys though it traps them.
    :ivar tree: the topmost supervisor above it.
    :ivar unread: the mailbox, while the process sleeps; a program in it is an Entry from itself.
    """

    traps: bool
    parent: int | None
    tree: int | None
    flags: Flags | None
    name: str | None = None
    links: set[int] = field(default_factory=set)
    unread: list[Entry] | None = None


class Model:
    """Processes without turns and queues: one operation and all that follows from it happen at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = 0
        self.ended: set[int] = set()  # in this step
        self.numbers = count(1)
        self.alive: dict[int, Process] = {}
        self.received: dict[int, list[Entry]] = {}
        self.born: dict[int, list[int]] = defaultdict(list)  # by key, one pid for each time it was started
        self.names: dict[str, int] = {}
        self.monitors: dict[int, tuple[int, int]] = {}
        self.flushed: set[int] = set()
        self.signals: deque[Callable[[], None]] = deque()  # sent, not handled yet

    def settle(self) -> None:
        while self.signals:
            self.signals.popleft()()

    def spawn(
        self,
        key: int,
        traps: bool = False,
        flags: Flags | None = None,
        parent: int | None = None,
        tree: int | None = None,
    ) -> int:
        pid = next(self.numbers)
        if flags is not None:
            flags, traps, tree = deepcopy(flags), True, tree or pid
        self.alive[pid] = Process(traps, parent, tree, flags)
        self.received[pid] = []
        self.born[key].append(pid)
        for child in flags.children if flags else ():
            self.start(pid, child)
        return pid

    def end(self, pid: int, reason: object) -> None:
        """Name and address go first, then links and monitors hear of it."""
        process = self.alive.pop(pid)
        self.ended.add(pid)
        self.unregister(process.name)
        for peer in process.links:
            self.alive[peer].links.remove(pid)
            self.signals.append(partial(self.exit, pid, peer, reason, of_link=True))
        for ref, (watcher, watched) in list(self.monitors.items()):
            if pid in (watcher, watched):
                del self.monitors[ref]
            if pid == watched:
                self.signals.append(partial(self.down, ref, watcher, watched, reason))

    def deliver(self, pid: int, entry: Entry) -> None:
        if pid in self.alive and self.alive[pid].flags is None:  # a supervisor reads and forgets
            unread = self.alive[pid].unread
            (self.received[pid] if unread is None else unread).append(entry)
        elif pid in self.ended:
            self.received[pid].append(entry)  # in another order of senders, it had read that before

    def down(self, ref: int, watcher: int, watched: int, reason: object) -> None:
        if ref not in self.flushed:
            self.deliver(watcher, Entry(watched, ("down", ref, reason), self.step))

    def exit(self, sender: int | None, pid: int, reason: object, of_link: bool = False) -> None:
        """An exit signal arrives."""
        process = self.alive.get(pid)
        if process is None:
            return
        if reason == "kill" and not of_link:
            self.end(pid, "killed")
        elif not process.traps:
            if reason != "normal" or sender == pid:
                self.end(pid, reason)
        elif process.flags is not None:
            self.supervisor_hears(pid, process.flags, process.parent, sender, reason)
        else:
            self.deliver(pid, Entry(sender, ("exit", reason), self.step if of_link else None))
            if sender is not None and sender == process.parent:
                self.end(pid, reason)

    # What a process does

    def link(self, pid: int, other: int) -> None:
        if other not in self.alive:
            self.signals.append(partial(self.exit, other, pid, "noproc", of_link=True))
        elif other != pid:
            self.alive[pid].links.add(other)
            self.alive[other].links.add(pid)

    def unlink(self, pid: int, other: int) -> None:
        if other in self.alive[pid].links:
            self.alive[pid].links.remove(other)
            self.alive[other].links.remove(pid)

    def monitor(self, pid: int, other: int, ref: int) -> None:
        if other in self.alive:
            self.monitors[ref] = (pid, other)
        else:
            self.signals.append(partial(self.down, ref, pid, other, "noproc"))

    def demonitor(self, pid: int, ref: int, flush: bool) -> None:
        unread = self.alive[pid].unread or []
        if not self.monitors.pop(ref, None) and flush:
            self.flushed.add(ref)  # what is still to come of it does not come any more
            unread[:] = [entry for entry in unread if entry.body[:2] != ("down", ref)]

    def perform(self, pid: int, what: str, *args: Any) -> None:
        """One operation of a program; its words are those of World.perform."""
        process = self.alive[pid]
        match what, *args:
            case "send", int(other), number:
                self.deliver(other, Entry(pid, ("message", number)))
            case "link", int(other):
                self.link(pid, other)
            case "unlink", int(other):
                self.unlink(pid, other)
            case "monitor", int(other), int(ref):
                self.monitor(pid, other, ref)
            case "demonitor", int(ref), bool(flush):
                self.demonitor(pid, ref, flush)
            case "trap", bool(traps):
                process.traps = traps
            case "spawn", int(key), _, bool(link), ref:
                child = self.spawn(key)
                if link:
                    self.link(pid, child)
                if ref is not None:
                    self.monitor(pid, child, ref)
            case "spawn supervisor", int(key), Flags() as flags:
                self.link(pid, self.spawn(key, flags=flags, parent=pid))
            case "exit", int(other), reason:
                self.signals.append(partial(self.exit, pid, other, reason))
            case "leave", reason:
                self.end(pid, reason)
            case _:
                raise AssertionError(what)

    def wake(self, pid: int) -> None:
        """A sleeping process goes on and reads, first to last."""
        unread = self.alive[pid].unread or []
        while unread:
            entry = unread.pop(0)
            if entry.body[0] == "program":
                self.perform(pid, *entry.body[1:])
                self.settle()
            else:
                self.received[pid].append(entry)
        self.alive[pid].unread = None

    # Names

    def register(self, name: str, pid: int) -> str:
        """``register/2``: badarg when the name is in use, or the process is dead or has a name."""
        process = self.alive.get(pid)
        if process is None:
            return "dead"
        if name in self.names or process.name is not None:
            return "taken"
        self.names[name], process.name = pid, name
        return "ok"

    def unregister(self, name: str | None) -> None:
        pid = self.names.pop(name, None) if name is not None else None
        if pid in self.alive:
            self.alive[pid].name = None

    # Supervisors

    def supervisor_hears(
        self, pid: int, flags: Flags, parent: int | None, sender: int | None, reason: object
    ) -> None:
        child = next((one for one in flags.children if one.pid == sender and sender is not None), None)
        if child is not None:
            child.pid = None
            abnormal = reason not in ("normal", "shutdown")
            if child.restart == "permanent" or (child.restart == "transient" and abnormal):
                self.restart(pid, flags, child)
            elif child.restart == "temporary":
                flags.children.remove(child)
        elif sender is None or sender == parent:
            self.terminate(pid, flags, reason)

    def restart(self, pid: int, flags: Flags, child: Child) -> None:
        flags.restarts = [time for time in flags.restarts if time >= self.now - PERIOD] + [self.now]
        if len(flags.restarts) > flags.intensity:
            self.terminate(pid, flags, "shutdown")
            return
        first = {"one_for_all": 0, "rest_for_one": flags.children.index(child)}.get(flags.strategy)
        group = [child] if first is None else flags.children[first:]
        for one in reversed(group):
            self.stop(pid, one)
        flags.children[:] = [one for one in flags.children if one not in group or one.restart != "temporary"]
        for one in group:
            if one.restart != "temporary":
                self.start(pid, one)

    def start(self, pid: int, child: Child) -> None:
        supervisor = self.alive[pid]
        child.pid = self.spawn(child.key, child.traps, child.flags, pid, supervisor.tree)
        self.link(pid, child.pid)
        if child.name is not None:
            self.register(child.name, child.pid)

    def stop(self, pid: int, child: Child) -> None:
        stopped, child.pid = child.pid, None
        if stopped in self.alive:
            self.unlink(pid, stopped)
            self.exit(pid, stopped, "kill" if child.brutal else "shutdown")
            assert stopped not in self.alive

    def terminate(self, pid: int, flags: Flags, reason: object) -> None:
        for child in reversed(flags.children):
            self.stop(pid, child)
        self.end(pid, reason)

    def ask(self, pid: int, request: str, key: int) -> str:
        """``terminate_child/2``, ``restart_child/2`` and ``delete_child/2``."""
        flags = self.alive[pid].flags
        assert flags is not None
        child = next((one for one in flags.children if one.key == key), None)
        if child is None:
            return "not_found"
        if request == "terminate_child":
            self.stop(pid, child)
            if child.restart == "temporary":
                flags.children.remove(child)
        elif child.pid is not None:
            return "running"
        elif request == "restart_child":
            self.start(pid, child)
        else:
            flags.children.remove(child)
        return "ok"


# The real thing, doing the same


@dataclass(frozen=True)
class Program:
    """To a worker: do this, in one step."""

    operations: tuple[tuple[Any, ...], ...]


class Sleep:
    """To a worker: read nothing for now."""


class Wake:
    """To a worker that sleeps in a selective receive."""


class World:
    """What the workers share with the test: who is who, and what each has received."""

    def __init__(self) -> None:
        self.born: dict[int, list[Address]] = defaultdict(list)
        self.addresses: dict[int, Address] = {}
        self.received: dict[Address, list[Any]] = defaultdict(list)
        self.monitors: dict[Monitor, int] = {}
        self.sleeping: dict[Address, Deferred[None]] = {}

    def begin(self, me: ActorContext, key: int, traps: bool) -> None:
        if me.address not in self.born[key]:  # a supervisor started it
            self.born[key].append(me.address)
        me.trap_exits = traps

    def handle(self, me: ActorContext, parent: Address | None, message: object) -> None:
        if isinstance(message, Program):
            for operation in message.operations:
                self.perform(me, *operation)
            return
        self.received[me.address].append(message)
        if isinstance(message, Down):
            dead = message.address
            assert not me.system.is_alive(dead) and dead not in me.system.names().values(), message
        if isinstance(message, Exit) and message.sender is not None and message.sender == parent:
            me.exit(message.reason)

    def perform(self, me: ActorContext, what: str, *args: Any) -> None:
        match what, *args:
            case "send", int(pid), number:
                self.addresses[pid].send((me.address, number))
            case "link", int(pid):
                me.link(self.addresses[pid])
            case "unlink", int(pid):
                me.unlink(self.addresses[pid])
            case "monitor", int(pid), int(ref):
                self.monitors[me.monitor(self.addresses[pid])] = ref
            case "demonitor", int(ref), bool(flush):
                monitor = next(monitor for monitor, number in self.monitors.items() if number == ref)
                me.demonitor(monitor, flush=flush)
            case "trap", bool(traps):
                me.trap_exits = traps
            case "spawn", int(key), int(style), bool(link), ref:
                child = me.spawn(STYLES[style], self, key, False, None, link=link)
                self.born[key].append(child)  # it may be dead before its first step
                if ref is not None:
                    self.monitors[me.monitor(child)] = ref
            case "spawn supervisor", int(key), Flags() as flags:
                me.spawn(KeptSupervisor, self, key, flags, link=True)
            case "exit", int(pid), reason:
                self.addresses[pid].exit(reason)
            case "leave", str(reason):
                if reason == CRASH:
                    raise ZeroDivisionError
                me.exit(reason)


class CallbackWorker(Actor):
    """Performs programs and keeps everything else it receives; sleeps in a Deferred."""

    def __init__(self, world: World, key: int, traps: bool, supervisor: int | None) -> None:
        self.world = world
        self.parent = None if supervisor is None else world.born[supervisor][-1]
        world.begin(self, key, traps)

    def receive(self, message: object) -> Awaitable[None] | None:
        if isinstance(message, Sleep):
            self.world.sleeping[self.address] = Deferred()
            return self.world.sleeping[self.address]
        self.world.handle(self, self.parent, message)
        return None


async def coroutine_worker(
    me: CoroutineActor, world: World, key: int, traps: bool, supervisor: int | None
) -> None:
    """The same as a coroutine; sleeps in a selective receive."""
    world.begin(me, key, traps)
    parent = None if supervisor is None else world.born[supervisor][-1]
    while True:
        message = await me.receive()
        if isinstance(message, Sleep):
            await me.receive(Wake)
        else:
            world.handle(me, parent, message)


STYLES: list[Any] = [CallbackWorker, coroutine_worker]


class KeptSupervisor(Supervisor):
    """A supervisor that the test can find."""

    def __init__(self, world: World, key: int, flags: Flags) -> None:
        world.born[key].append(self.address)
        specs = []
        for child in flags.children:
            start: Any = KeptSupervisor if child.flags else STYLES[child.style]
            args: Any = (child.flags,) if child.flags else (child.traps, key)
            options: Any = {"shutdown": "brutal_kill"} if child.brutal else {}
            options |= {"id": child.key, "name": child.name, "restart": child.restart}
            specs.append(ChildSpec(start, world, child.key, *args, **options))
        strategy: Any = flags.strategy
        super().__init__(SupervisorSpec(specs, strategy=strategy, intensity=flags.intensity, period=PERIOD))


# What is tried

REASONS = st.sampled_from(["normal", "shutdown", "kill", "boom"])
WHICH = st.integers(0, 15)
WORDS = "send link link unlink monitor monitor demonitor trap spawn exit".split()
OPERATIONS = st.tuples(st.sampled_from(WORDS), WHICH, REASONS, st.booleans(), st.booleans())
LAST = st.sampled_from(["nothing", "leave", "exit", "exit", "exit", "exit", "exit self", "link dead", CRASH])
CHILDREN = st.tuples(
    st.sampled_from(["permanent", "transient", "temporary"]), st.booleans(), st.booleans(), st.booleans()
)
STRATEGIES = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])
SUPERVISORS = st.tuples(STRATEGIES, st.integers(0, 3), st.lists(CHILDREN, min_size=1, max_size=3))


class Machine(RuleBasedStateMachine):
    """
    Does the same to the model and to the core, and compares.

    Where Erlang leaves the outcome open, nothing is tried: one step ends at
    most one process directly, and no chain of links connects two members of
    supervision trees (which of two ends a supervisor hears of first is open).
    """

    def __init__(self, case: ActorTestCase) -> None:
        super().__init__()
        case.setUp()
        self.case = case
        self.model = Model()
        self.world = World()
        self.keys = count()
        self.tied = deque[int](maxlen=6)  # whose links and monitors were made or cut last
        self.dead_before: set[int] = set()

    # Choosing

    def pick(self, which: int, *, among: Callable[[int, Process], object] = lambda *_: True) -> int | None:
        """One of the living that ``among`` accepts."""
        known = self.world.addresses  # what this very step spawned is not
        fitting = [pid for pid, process in self.model.alive.items() if pid in known and among(pid, process)]
        return fitting[which % len(fitting)] if fitting else None

    def pick_tied(self, which: int) -> int | None:
        """One of the living, and rather one whose end somebody hears of, or should no longer hear of."""
        tied = [pid for pid in self.tied if pid in self.model.alive and pid in self.world.addresses]
        return tied[which % len(tied)] if tied and which % 4 else self.pick(which)

    def dead(self, which: int) -> int | None:
        """One of those that ended last."""
        ended = [pid for pid in self.world.addresses if pid not in self.model.alive][-4:]
        return ended[which % len(ended)] if ended else None

    def may_link(self, one: int, two: int) -> bool:
        members, todo = set[int](), [one, two]
        alive = self.model.alive
        while todo:
            pid = todo.pop()
            if pid not in members:
                members.add(pid)
                tree = alive[pid].tree
                todo += [peer for peer in alive[pid].links if tree is None or alive[peer].tree != tree]
        return sum(alive[pid].tree is not None for pid in members) <= 1

    def survives(self, pid: int, sender: int | None, reason: str) -> bool:
        """Whether an exit signal is nothing but a message to it, or nothing at all."""
        process = self.model.alive[pid]
        if process.flags is not None or (sender is not None and sender == process.parent):
            return False
        return reason != "kill" if process.traps else reason == "normal" and sender != pid

    def choose(
        self, actor: int, what: str, which: int, reason: str, one: bool, two: bool
    ) -> tuple[Any, ...] | None:
        """An operation that ends nobody; None if there is none like that."""
        model = self.model
        free = self.pick(which, among=lambda _, process: process.tree is None)
        if which % 3 and free is not None:
            other: int | None = free  # rather one outside of the trees, where more is allowed
        else:
            other = self.pick(which)
        other = self.dead(which) if one and two and what in ("send", "monitor", "exit") else other
        if other is None:
            return None
        match what:
            case "send":
                return what, other, next(self.keys)
            case "link" if self.may_link(actor, other):
                return what, other
            case "unlink":
                linked = [pid for pid in model.alive[actor].links if pid in self.world.addresses]
                other = linked[which % len(linked)] if linked and one else other
                if model.alive[actor].tree is None or model.alive[other].tree is None:
                    return what, other
            case "monitor":
                return what, other, next(self.keys)
            case "demonitor":
                mine = [ref for ref, (watcher, _) in model.monitors.items() if watcher == actor]
                heard = [] if mine and one else model.received[actor] + (model.alive[actor].unread or [])
                mine += [entry.body[1] for entry in heard if entry.body[0] == "down"]
                return (what, mine[which % len(mine)], two) if mine else None
            case "trap":
                return what, one
            case "spawn":
                return what, next(self.keys), which % 2, one, next(self.keys) if which % 3 else None
            case "exit" if other not in model.alive or self.survives(other, actor, reason):
                return what, other, reason
        return None

    # Doing

    def settle(self) -> None:
        """Let everything follow, on both sides, and learn the new addresses."""
        self.model.settle()
        self.model.step += 1
        self.model.ended.clear()
        self.case.settle()
        self.case.flushLoggedErrors()
        born = {key: pids for key, pids in self.model.born.items() if pids}
        assert {key: len(pids) for key, pids in born.items()} == {
            key: len(addresses) for key, addresses in self.world.born.items()
        }, "how often each was started"
        for key, pids in born.items():
            self.world.addresses.update(zip(pids, self.world.born[key], strict=True))

    def awake(self, pid: int, process: Process) -> bool:
        return process.flags is None and process.unread is None

    def make_flags(self, drawn: Any, nested: bool = True) -> Flags:
        strategy, intensity, children = drawn
        made = []
        for number, (restart, brutal, traps, special) in enumerate(children):
            key = next(self.keys)
            inner = nested and special and number == 1
            flags = self.make_flags((strategy, intensity, children[:2]), nested=False) if inner else None
            # Of a killed supervisor's children, the old may not be dead when the new want their names.
            name = f"child {key}" if special and nested and not inner else None
            made.append(Child(key, restart, brutal, traps, key % 2, name, flags))
        return Flags(strategy, intensity, made)

    @initialize()
    def begin(self) -> None:
        for style in (0, 1, 0, 1):
            self.spawn(style=style, traps=False)

    @rule(style=st.integers(0, 1), traps=st.booleans())
    def spawn(self, style: int, traps: bool) -> None:
        key = next(self.keys)
        self.model.spawn(key, traps)
        self.world.born[key].append(self.case.system.spawn(STYLES[style], self.world, key, traps, None))
        self.settle()

    @rule(supervisor=SUPERVISORS, which=WHICH, linked=st.booleans())
    def supervise(self, supervisor: Any, which: int, linked: bool) -> None:
        if sum(process.flags is not None for process in self.model.alive.values()) >= 3:
            return
        key, flags = next(self.keys), self.make_flags(supervisor)
        parent = self.pick(which, among=self.awake) if linked else None
        if parent is None:
            self.model.spawn(key, flags=flags)
            self.case.system.spawn(KeptSupervisor, self.world, key, flags)
        elif self.may_link(parent, parent) and all(
            self.model.alive[pid].tree is None for pid in self.component(parent)
        ):
            self.run_program(parent, ("spawn supervisor", key, flags))
        self.settle()

    def component(self, pid: int) -> set[int]:
        members, todo = set[int](), [pid]
        while todo:
            one = todo.pop()
            if one not in members:
                members.add(one)
                todo += self.model.alive[one].links
        return members

    def run_program(self, pid: int, *operations: tuple[Any, ...]) -> None:
        for operation in operations:
            self.model.perform(pid, *operation)
        self.world.addresses[pid].send(Program(operations))

    @precondition(lambda self: self.model.alive)
    @rule(
        which=WHICH,
        operations=st.lists(OPERATIONS, max_size=4),
        last=LAST,
        whom=WHICH,
        reason=REASONS,
        then=WHICH,
    )
    def act(self, which: int, operations: Any, last: str, whom: int, reason: str, then: int) -> None:
        """One actor does several things in one step; the last may end it or another."""
        pid = self.pick(which, among=self.awake)
        if pid is None:
            return
        model, done = self.model, []
        mailbox: list[Entry] = []
        model.alive[pid].unread = mailbox  # what comes during its step waits

        def do(*operation: Any) -> None:
            model.perform(pid, *operation)
            done.append(operation)

        for drawn in operations:
            operation = self.choose(pid, *drawn)
            if operation is not None:
                match operation:
                    case "link" | "unlink" | "monitor", int(tied), *_:
                        self.tied.append(tied)
                    case "demonitor", int(ref), _:
                        self.tied.extend(model.monitors.get(ref, ())[1:])
                do(*operation)
                model.settle()
        other, dead = self.pick_tied(whom), self.dead(whom)
        match last:
            case "leave":
                do("leave", reason)
            case "a crash":
                do("leave", CRASH)
            case "exit self":
                do("exit", pid, reason)
            case "link dead" if dead is not None:
                do("link", dead)
            case "exit" if other is not None and not (
                model.alive[pid].name and model.alive[pid].parent == other
            ):
                is_apart = pid not in self.component(other)
                if model.alive[other].flags is not None and reason != "kill":
                    is_apart = False  # a supervisor reads it later, and then ends
                do("exit", other, reason)
                model.settle()
                if is_apart and pid in model.alive and other not in model.alive:
                    # From one sender to one receiver, order counts: this comes after its death.
                    too_late = [("exit", other, "late"), ("link", other), ("monitor", other, next(self.keys))]
                    do(*too_late[then % 3])
        model.settle()
        if pid in model.alive:
            model.wake(pid)
        else:
            model.received[pid] += mailbox  # it may have read that after its step
        self.world.addresses[pid].send(Program(tuple(done)))
        self.settle()

    @precondition(lambda self: any(process.tree for process in self.model.alive.values()))
    @rule(which=WHICH, reason=st.sampled_from(["normal", "shutdown", "kill", "boom", CRASH]))
    def end_child(self, which: int, reason: str) -> None:
        """A supervised actor ends by itself."""
        pid = self.pick(which, among=lambda pid, process: process.tree and self.awake(pid, process))
        if pid is not None:
            self.run_program(pid, ("leave", reason))
            self.settle()

    @precondition(lambda self: self.model.alive)
    @rule(which=WHICH, reason=REASONS)
    def exit(self, which: int, reason: str) -> None:
        """An exit signal from outside of any actor."""
        pid = self.pick_tied(which)
        assert pid is not None
        self.model.exit(None, pid, reason)
        self.world.addresses[pid].exit(reason)
        self.settle()

    @precondition(lambda self: self.model.alive)
    @rule(which=WHICH)
    def send(self, which: int) -> None:
        """A message from outside, perhaps to a sleeper or to nobody."""
        pid = self.dead(which) if which == 15 else self.pick(which)
        if pid is not None:
            number = next(self.keys)
            self.model.deliver(pid, Entry(None, ("message", number)))
            self.world.addresses[pid].send((None, number))
            self.settle()

    @precondition(lambda self: self.model.alive)
    @rule(which=WHICH)
    def fall_asleep(self, which: int) -> None:
        """An actor awaits something; a supervised one that traps would not hear its supervisor."""
        pid = self.pick(which, among=lambda pid, one: self.awake(pid, one) and not (one.tree and one.traps))
        if pid is not None:
            self.model.alive[pid].unread = []
            self.world.addresses[pid].send(Sleep())
            self.settle()

    @precondition(lambda self: any(process.unread is not None for process in self.model.alive.values()))
    @rule(which=WHICH, operation=OPERATIONS)
    def queue(self, which: int, operation: Any) -> None:
        """A sleeper will find a program in its mailbox, between messages."""
        pid = self.pick(which, among=lambda _, process: process.unread is not None)
        assert pid is not None
        chosen = self.choose(pid, *operation)
        if chosen is not None and chosen[0] in ("send", "unlink", "monitor", "demonitor", "trap"):
            self.model.deliver(pid, Entry(pid, ("program", *chosen)))
            self.world.addresses[pid].send(Program((chosen,)))
            self.settle()

    @precondition(lambda self: any(process.unread is not None for process in self.model.alive.values()))
    @rule(which=WHICH)
    def wake(self, which: int) -> None:
        pid = self.pick(which, among=lambda _, process: process.unread is not None)
        assert pid is not None
        self.model.wake(pid)
        address = self.world.addresses[pid]
        sleeping = self.world.sleeping.pop(address, None)
        if sleeping is None:
            address.send(Wake())
        else:
            sleeping.callback(None)
        self.settle()

    @rule(number=st.integers(0, 3), which=WHICH)
    def register(self, number: int, which: int) -> None:
        name, pid = f"name {number}", self.dead(which) if which == 15 else self.pick(which)
        if pid is not None:
            outcome = "ok"
            try:
                self.case.system.register(name, self.world.addresses[pid])
            except NameTaken:
                outcome = "taken"
            except ValueError:
                outcome = "dead"
            assert outcome == self.model.register(name, pid)

    @rule(number=st.integers(0, 3))
    def unregister(self, number: int) -> None:
        self.model.unregister(f"name {number}")
        self.case.system.unregister(f"name {number}")

    @rule(seconds=st.sampled_from([1.0, 2.0, 5.0, 6.0]))
    def pass_time(self, seconds: float) -> None:
        self.model.now += seconds
        self.case.pass_time(seconds)

    @precondition(lambda self: any(process.flags for process in self.model.alive.values()))
    @rule(
        which=WHICH,
        child=WHICH,
        request=st.sampled_from(["terminate_child", "restart_child", "delete_child"]),
    )
    def ask(self, which: int, child: int, request: str) -> None:
        """A client changes a supervisor's children."""
        pid = self.pick(which, among=lambda _, process: process.flags)
        assert pid is not None
        flags = self.model.alive[pid].flags
        assert flags is not None
        key = flags.children[child % len(flags.children)].key if flags.children and child < 15 else -1
        asked: Deferred[Any] = getattr(Supervisor, request)(self.world.addresses[pid], key)
        outcomes: list[str] = []
        asked.addCallbacks(
            lambda _: outcomes.append("ok"), lambda failure: outcomes.append(failure.value.problem)
        )
        expected = self.model.ask(pid, request, key)
        self.settle()
        assert outcomes == [expected]

    # Comparing

    @invariant()
    def compare(self) -> None:
        self.the_same_live()
        self.the_same_names()
        self.the_same_children()
        self.the_same_messages()

    def the_same_live(self) -> None:
        system, addresses = self.case.system, self.world.addresses
        living = {pid for pid, address in addresses.items() if system.is_alive(address)}
        assert living == set(self.model.alive)
        assert system.count_actors() == len(living)

    def the_same_names(self) -> None:
        names = {name: self.world.addresses[pid] for name, pid in self.model.names.items()}
        assert self.case.system.names() == names

    def the_same_children(self) -> None:
        addresses = self.world.addresses
        for pid, process in self.model.alive.items():
            if process.flags is not None:
                expected = [
                    (
                        child.key,
                        None if child.pid is None else addresses[child.pid],
                        False,
                        child.flags is not None,
                    )
                    for child in process.flags.children
                ]
                asked = Supervisor.which_children(addresses[pid])
                self.case.settle()
                children = self.case.successResultOf(asked)
                assert expected == [
                    (one.id, one.address, one.is_restarting, one.is_supervisor) for one in children
                ]

    def the_same_messages(self) -> None:
        """Per sender, in order; an actor that has just ended may have read only the first of them."""
        pids = {address: pid for pid, address in self.world.addresses.items()}
        for pid, entries in self.model.received.items():
            address = self.world.addresses[pid]
            if pid in self.dead_before:
                continue
            got = by_sender(self.read(message, pids) for message in list(self.world.received[address]))
            expected = by_sender(entries)
            if pid in self.model.alive:
                assert got.keys() == expected.keys()
            else:
                self.dead_before.add(pid)
            for sender, bodies in got.items():
                check_order(bodies, expected.get(sender, []), complete=pid in self.model.alive)

    def read(self, message: Any, pids: dict[Address, int]) -> Entry:
        def name(reason: object) -> object:
            return (
                CRASH if isinstance(reason, Crash) and reason.type == "builtins.ZeroDivisionError" else reason
            )

        match message:
            case Exit(sender, reason):
                return Entry(None if sender is None else pids[sender], ("exit", name(reason)))
            case Down(monitor, address, reason):
                return Entry(pids[address], ("down", self.world.monitors[monitor], name(reason)))
            case (sender, number):
                return Entry(None if sender is None else pids[sender], ("message", number))
        raise AssertionError(message)


def by_sender(entries: Any) -> dict[int | None, list[Entry]]:
    senders: dict[int | None, list[Entry]] = {}
    for entry in entries:
        senders.setdefault(entry.sender, []).append(entry)
    return senders


def check_order(got: list[Entry], expected: list[Entry], complete: bool) -> None:
    """What came of one end may come in any order, all else comes in order."""
    unread = list(expected)
    for entry in got:
        open_order = [one for one in unread if one.step is not None and one.step == unread[0].step]
        found = next((one for one in open_order or unread[:1] if one.body == entry.body), None)
        assert found is not None, f"{entry.body} instead of {[one.body for one in unread]}"
        unread.remove(found)
    assert not unread or not complete, f"{[one.body for one in unread]} did not come"


class ModelTests(ActorTestCase):
    def test_erlangs_rules(self) -> None:
        """47: Spawn, link, monitor, exit, trap, names and supervisors do as Erlang's manual says."""
        # The same examples on each run, so that a red build says something about the change that made it
        # red, and can be repeated anywhere.
        how = settings(max_examples=500, stateful_step_count=40, derandomize=True, database=None)
        machine: Any = lambda: Machine(self)  # noqa: E731  # a factory, where hypothesis says it wants a class
        run_state_machine_as_test(machine, settings=how)
