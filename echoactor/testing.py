"""For tests of actors: a system whose time the test makes pass, probes, and seeded orders of delivery."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from functools import partial
from inspect import iscoroutine
from math import inf
from random import Random
from traceback import format_exception_only
from typing import Any, ClassVar, TypeVar

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.python.reflect import safe_repr

from .actor import Actor
from .address import Address
from .calls import Reply
from .messages import Call, Down, Exit
from .styles import CallbackCell
from .system import ActorSystem
from .timers import check_seconds
from .turns import Runnable, RunQueue

__all__ = ["ClockSystem", "Probe", "Simulation", "explore", "replay"]

TURNS = 1000
"""Turns of the reactor until actors count as never coming to rest: a million
messages, more than a test should need, and a few seconds until it fails."""

SHOWN = 20
"""Deliveries that a failure under a seed shows: those before it, on one screen."""

Result = TypeVar("Result")


class ClockSystem(ActorSystem):
    """
    A system on a ``task.Clock``: no real time passes, and nothing happens unless the test says so.

    :param clock: a Clock of one's own, such as a ``MemoryReactorClock``; else it gets a new one.
    :param name: what addresses print.
    :param run_queue: as for :class:`~echoactor.ActorSystem`.
    :ivar clock: its reactor.
    """

    def __init__(
        self, clock: Clock | None = None, name: str = "test", *, run_queue: RunQueue | None = None
    ) -> None:
        self.clock = Clock() if clock is None else clock
        super().__init__(self.clock, name, run_queue=run_queue)

    def step(self) -> bool:
        """
        One turn of the reactor: run what is due by now, but not what becomes due by that.

        ``Clock.advance`` runs that as well, and so never returns from two
        actors that always have something to send to each other.

        :returns: whether anything was due.
        """
        now = self.clock.seconds()
        due = sorted((call for call in self.clock.calls if call.getTime() <= now), key=DelayedCall.getTime)
        for call in due:
            if call.active() and call.getTime() <= now:  # no earlier one has cancelled it or put it off
                self.clock.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)
        return bool(due)

    def settle(self) -> None:
        """
        Let the actors run until nothing is due; no time passes.

        :raises AssertionError: something is still due after 1,000 turns.
        """
        for _ in range(TURNS):
            if not self.step():
                return
        raise AssertionError(f"the actors have not come to rest after {TURNS:,} turns")

    def advance(self, seconds: float) -> None:
        """
        Let time pass. Timers fire in order, and after each the actors settle.

        So what a timer leads to happens at its own time, another timer included.

        :param seconds: how long, from now.
        :raises AssertionError: see :meth:`settle`.
        :raises ValueError: ``seconds`` is no number of seconds.
        """
        for _ in self._moments(seconds):
            pass

    def result(self, deferred: Deferred[Result]) -> Result:
        """
        Settle, then return what a Deferred has fired with.

        :raises Exception: what it has failed with; that counts as handled then.
        :raises AssertionError: it has not fired, or see :meth:`settle`.
        """
        self.settle()
        results: list[Any] = []

        def keep(result: Any) -> Any:
            results.append(result)
            return result

        deferred.addBoth(keep)
        if not results:
            raise AssertionError(f"{deferred!r} has not fired, and nothing is due before time passes")
        if isinstance(results[0], Failure):
            deferred.addErrback(lambda _: None)
            results[0].raiseException()
        return results[0]  # type: ignore[no-any-return]  # it is the Deferred's

    def _moments(self, seconds: float) -> Iterator[None]:
        """Let time pass, with a stop whenever something was due and the actors have settled."""
        check_seconds("seconds", seconds)
        moment = self.clock.seconds()
        end = moment + seconds
        while moment <= end:
            self.clock.rightNow = moment
            self.settle()
            yield
            moment = min((call.getTime() for call in self.clock.calls), default=inf)
        self.clock.rightNow = end


class Probe(Actor):
    """
    An actor that keeps what it receives, for a test to look at.

    The test links and monitors with it as any actor does
    (``probe.monitor(address)``). It traps exits, so that the end of a linked
    actor is a message; ``probe.address.stop(reason)`` is its own end.

    :param system: where it lives.
    :ivar messages: what it has received and no :meth:`expect` has taken, in order.
    """

    def __init__(self, system: ClockSystem) -> None:
        self.messages: list[Any] = []
        self._moments = system._moments
        system.adopt(self, CallbackCell).begin()
        self.trap_exits = True

    def receive(self, message: Any) -> None:
        self.messages.append(message)
        match message:
            case Exit(None, "shutdown") if self.system.is_closed:  # it is not to hold up the end
                self.exit("shutdown")

    def expect(self, wanted: object, timeout: float = 1.0) -> Any:
        """
        Take the first message that fits; those that do not fit stay, in order.

        :param wanted: a class, a predicate, or a value that the message equals.
        :param timeout: how many seconds may pass on the Clock until it comes; none do if it is there.
        :returns: the message.
        :raises AssertionError: none came in time; the text lists those that did.
        """
        for _ in self._moments(timeout):
            for place, message in enumerate(self.messages):
                if _fits(message, wanted):
                    return self.messages.pop(place)
        raise AssertionError(f"no message in {timeout} s fits {safe_repr(wanted)}; {self._inventory()}")

    def expect_nothing(self, seconds: float) -> None:
        """
        Let time pass in which no message comes, and none was left before.

        :param seconds: how long, on the Clock.
        :raises AssertionError: there was one; the text lists all.
        """
        for _ in self._moments(seconds):
            if self.messages:
                raise AssertionError(f"expected nothing; {self._inventory()}")

    def _inventory(self) -> str:
        if not self.messages:
            return "nothing came"
        return "\n    ".join(["what came, in order:", *map(safe_repr, self.messages)])


def _fits(message: object, wanted: object) -> bool:
    if isinstance(wanted, type):
        return isinstance(message, wanted)
    return bool(wanted(message) if callable(wanted) else message == wanted)


class _SimulatedAddress(Address):
    """An address whose hash is the same in every process, so that a set of them has the same order."""

    __slots__ = ()

    def __hash__(self) -> int:
        return self.number


class _Channel(deque[Callable[[], object]]):
    """What is under way from one sender to one receiver, in order: functions that let it arrive."""

    def __init__(self, system: Simulation) -> None:
        super().__init__()
        self._system = system

    def run(self) -> int:
        self._system.current = None  # an arrival is nobody's step
        arrive = self.popleft()
        if self:
            self._system.enqueue(self)
        arrive()
        return 1


class _Lots(list[Runnable]):
    """The run queue that draws lots. Replies leave it: they travel as messages do."""

    def __init__(self, system: Simulation) -> None:
        super().__init__()
        self._system = system

    def append(self, runnable: Runnable) -> None:
        if not (isinstance(runnable, Reply) and self._system.forward(runnable)):
            super().append(runnable)

    def popleft(self) -> Runnable:
        return self.pop(self._system.random.randrange(len(self)))


class Simulation(ClockSystem):
    """
    A system in which a seed decides who runs and which message arrives next.

    A message is under way until it is drawn; those from one sender to one
    receiver arrive in the order sent, and replies, trapped exits and Downs are
    among them. An exit that is not trapped acts at once, ahead of all that is
    under way, and time passes only when nothing is, as everywhere. What is
    sent from outside any actor (by the test, by a timer) has one sender, nobody.

    :param seed: the same seed leads through the same order, in any process.
    :ivar random: what it draws from; the test may draw choices of its own.
    :ivar trace: what has arrived, in order: sender (or None), receiver, and the message or Reply.
    """

    address_class: ClassVar[type[Address]] = _SimulatedAddress

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.trace: list[tuple[Address | None, Address | None, object]] = []
        self._channels: dict[object, _Channel] = defaultdict(partial(_Channel, self))
        self._callers: dict[Reply, Address | None] = {}
        super().__init__(name="simulation", run_queue=_Lots(self))
        self.start_number = 0  # the process's count would print each run's addresses differently

    def deliver(self, address: Address, message: object, *, signal: bool = False) -> None:
        """Let a message arrive, some time after what its sender has sent there before."""
        match message:
            # "noproc" comes from the dead actor, after its last messages, whoever found out.
            case Exit(sender) | Down(_, sender) if signal:
                pass
            case _:
                sender = self._sender()
        if isinstance(message, Call) and isinstance(message.reply, Reply):
            self._callers.setdefault(message.reply, sender)  # who forwards a call is not its caller
        self._send(sender, address, message, partial(super().deliver, address, message, signal=signal))

    def forward(self, reply: Reply) -> bool:
        """
        Let a reply arrive, some time after what its sender has sent to the caller before.

        :returns: False when no caller is known: the callee was dead when it was called.
        """
        if reply not in self._callers:
            return False
        self._send(self._sender(), self._callers.pop(reply), reply, reply.run)
        return True

    def _sender(self) -> Address | None:
        return None if self.current is None else self.current.address

    def _send(
        self, sender: Address | None, receiver: Address | None, what: object, hand_over: Callable[[], object]
    ) -> None:
        def arrive() -> None:
            self.trace.append((sender, receiver, what))
            hand_over()

        channel = self._channels[sender, receiver]
        channel.append(arrive)
        if len(channel) == 1:
            self.enqueue(channel)


def explore(test: Callable[[Simulation], object], seeds: int = 1000) -> None:
    """
    Run a test under many orders of delivery.

    :param test: spawns its actors in the Simulation that it is given, and
        asserts what holds in every order.
    :param seeds: how many seeds, counted from 0, each in a new Simulation.
    :raises AssertionError: see :func:`replay`; for the first seed that fails.
    """
    for seed in range(seeds):
        replay(test, seed)


def replay(test: Callable[[Simulation], object], seed: int) -> None:
    """
    Run a test under the order of delivery of one seed. Afterwards, the actors left are killed.

    :raises AssertionError: from whatever exception the test raises; the text
        names the seed and how to replay it, and lists what arrived last.
    :raises TypeError: the test returns something to be awaited, which nobody does.
    """
    simulation = Simulation(seed)
    try:
        result: Any = test(simulation)
    except Exception as error:
        name = getattr(test, "__qualname__", repr(test))
        what_failed = "".join(format_exception_only(error)).strip()
        last = [
            f"    {sender or 'nobody'} -> {receiver or 'nobody'}: {safe_repr(what)}"
            for sender, receiver, what in simulation.trace[-SHOWN:]
        ]
        raise AssertionError(
            f"seed {seed} fails: {what_failed}\n"
            f"replay({name}, {seed}) does it again; what arrived last:\n" + "\n".join(last)
        ) from error
    else:
        if hasattr(result, "__await__"):  # it would pass without being run
            if iscoroutine(result):
                result.close()
            raise TypeError(f"{test!r} returns {result!r}, which nobody awaits; write a plain function")
    finally:  # else Python would close suspended coroutines when it frees them, at any time
        simulation.abort()
        simulation.settle()
