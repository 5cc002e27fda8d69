"""A worker process as an actor of its parent."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import LogEvent, Logger, eventFromJSON, globalLogPublisher
from twisted.python.failure import Failure

from .access_log import standard_output
from .actor import Actor
from .errors import ActorError
from .messages import Call, Exit
from .options import ServerOptions
from .pipe import Done, Drain, Ping, Pipe, Resume, Said
from .system import ActorSystem

if TYPE_CHECKING:
    from .workers import Workers

__all__ = ["PIPE", "Worker", "name_of", "reactor_module", "share_of"]

_log = Logger()

START_TIME = 20.0
"""Seconds for a worker to start: Python does in one. Until then, those who wait
in its socket's queue wait on, so this is bounded."""

AFTER_DRAIN = 10.0
"""Seconds that a worker has to end after its ``shutdown_timeout``; its actors have 5. Then it is killed."""

CHECK = 5.0
"""Seconds from one look whether a worker answers to the next. The kernel goes on
giving clients to one that does not, so somebody has to know."""

PIPE = 3
"""The worker's descriptor of the pipe; those before it are the standard ones."""

PROGRAM = """
import sys
sys.path[:] = sys.argv.pop().split(':')
import signal
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, signal.SIG_IGN)
from echoactor.worker import main
main()
"""
"""What Python runs in a worker. It is no ``-m``, which would look for modules
where the server was started first, and anybody may have put one there.

A terminal, and systemd, send these signals to the whole group. They are for the parent, who
orders what is to be done; they may come before the imports are over, which takes half a second."""


def name_of(number: int) -> str:
    """The name that a worker's actor is registered under."""
    return f"worker-{number}"


def share_of(options: ServerOptions, number: int, of: int) -> ServerOptions:
    """
    The options of one worker: those of all, with its share of the limits.

    :param number: which worker, from 1.
    :param of: how many there are.
    """
    share, rest = divmod(options.max_connections, of)
    per_address = options.max_connections_per_address
    return replace(
        options,
        max_connections=share + (number <= rest),
        max_connections_per_address=None if per_address is None else max(1, per_address // of),
    )


@dataclass(frozen=True, slots=True)
class _Ended:
    """The process has ended, and everything that it said has been read."""

    how: str


@dataclass(frozen=True, slots=True)
class _Late:
    """The time to ``start``, or to ``end``, is over."""

    what: str


@dataclass(frozen=True, slots=True)
class _Check:
    """It is time to see whether it answers."""


class Worker(Actor):
    """
    A process, as an actor: its mailbox takes orders for the process, and it ends when that does.

    One that does not answer does not count as listening. It is left alive: it may have been stopped to be
    looked into, and it has connections.

    :param workers: whose it is.
    :param number: which one, from 1.
    """

    def __init__(self, workers: Workers, number: int) -> None:
        self.trap_exits = True
        self._workers = workers
        self._number = number
        self._asked: deque[tuple[Callable[[Any], None], list[socket.socket]]] = deque()
        self._late = self.address.send_after(START_TIME, _Late("start"))
        self._oldest: object = None  # of what it was asked for, at the last look
        self._is_mute = False

    def started(self) -> None:
        """Start the process, unless all are about to end."""
        workers = self._workers
        if workers.is_draining:
            self.exit("normal")
        me = self.address
        try:
            output = standard_output() if workers.access_log == "-" else "r"
            self._process = _Process(self.system, self._number, me.send, output)
        except (OSError, ActorError) as error:
            self._fail(f"workers cannot be started: {error}")
        me.ended().addCallback(lambda _: self._process.abort())
        orders: list[Any] = [workers.serve(self._number)]
        if not workers.is_suspended:
            orders.append(Resume(workers.sockets.backlogs))
        self._left = len(orders)
        for order in orders:
            self._order(order, self._is_told)

    def receive(self, message: Any) -> None:
        """Hand on orders and answers."""
        match message:
            case Call(order, reply):
                self._order(order, reply)
            case Drain():
                self._process.pipe.send(message)
                self.address.send_after(self._workers.options.shutdown_timeout + AFTER_DRAIN, _Late("end"))
            case Done():
                reply, sockets = self._asked.popleft()
                for one in sockets:
                    one.close()
                reply(message)
            case Said(event):
                globalLogPublisher(_as_said_by(self._number, eventFromJSON(event)))
            case _Ended(how):
                self.exit("normal" if self._workers.is_draining else f"worker {self._number} {how}")
            case _Check():
                self._check()
            case _Late(what):
                self.exit(f"worker {self._number} did not {what} in time")
            case Exit(_, reason):
                self.exit(reason)

    def terminate(self, reason: object) -> None:
        """Forget what is not answered any more."""
        self._workers.listens_no_more(self._number)
        for _, sockets in self._asked:
            for one in sockets:
                one.close()

    def _order(self, order: Any, reply: Callable[[Any], None]) -> None:
        sockets: list[socket.socket] = []
        if isinstance(order, Resume):
            # Duplicates, as the sockets may be closed before these are under way.
            sockets = [one.dup() for one in self._workers.sockets.of(self._number)]
            if not sockets:  # they are closed already: nothing is to be done any more
                reply(Done())
                return
        self._asked.append((reply, sockets))
        self._process.pipe.send(order, sockets)

    def _is_told(self, done: Done) -> None:
        """The answer to an order of the start."""
        if done.error is not None:
            self._fail(done.error)
        self._left -= 1
        if not self._left:
            self._late.cancel()
            self._workers.listens(self._number)
            self.address.send_interval(CHECK, _Check())

    def _check(self) -> None:
        """See whether it answers; what it has not answered since the last look, it does not."""
        if self._workers.is_draining:
            return
        asked = self._asked[0] if self._asked else None
        if asked is None:
            self._order(Ping(), lambda _: None)
            asked = self._asked[0]
        is_mute = asked is self._oldest
        self._oldest = asked
        if is_mute and not self._is_mute:
            self._workers.listens_no_more(self._number)
            _log.warn(
                "worker {worker} has not answered for {seconds:g} s", worker=self._number, seconds=CHECK
            )
        elif self._is_mute and not is_mute:
            self._workers.listens(self._number)
            _log.info("worker {worker} answers again", worker=self._number)
        self._is_mute = is_mute

    def _fail(self, why: str) -> NoReturn:
        """It cannot start."""
        if not self._workers.is_ready:  # what is wrong at the very start will be wrong again
            self._workers.give_up(why)
            self.exit("normal")
        self.exit(why)


def _as_said_by(number: int, event: LogEvent) -> LogEvent:
    """A worker's event as one of the parent's, with the field ``worker``."""
    return {
        **event,
        "log_format": f"worker {number}: {event.get('log_format') or ''}",
        "log_time": time.time(),  # the pipe may be slow, and a log is in the order of time
        "worker": number,
    }


class _Process(ProcessProtocol):
    """
    A worker's process, and the parent's end of its pipe.

    The system has not stopped before it has ended.

    :param system: whose reactor runs it.
    :param number: of the worker.
    :param tell: called with each message of the process, and at last with :class:`_Ended`.
    :param output: a descriptor for its standard output, or ``"r"``: what it writes there is logged.
    :raises OSError: it cannot be started.
    """

    def __init__(
        self, system: ActorSystem, number: int, tell: Callable[[object], None], output: int | str
    ) -> None:
        self._system = system
        self._number = number
        self._tell = tell
        self._open = 2  # the process, and the pipe: what was said last may be read after the end
        self._how = ""
        reactor: Any = system.reactor
        self.pipe = Pipe(lambda message, _: tell(message), self._part_ended)
        here, there = socket.socketpair()
        with here, there, open(os.devnull) as nothing:
            here.setblocking(False)
            descriptors = {0: nothing.fileno(), 1: output, 2: "r", PIPE: there.fileno()}
            arguments = [str(number), reactor_module(reactor), ":".join(sys.path)]
            command = [sys.executable, "-c", PROGRAM, *arguments]
            reactor.spawnProcess(self, sys.executable, command, env=None, childFDs=descriptors)
            factory = Factory.forProtocol(lambda: self.pipe)
            factory.noisy = False
            reactor.adoptStreamConnection(here.fileno(), socket.AF_UNIX, factory)
        system.hold(self)

    def abort(self) -> None:
        """End it at once."""
        try:
            transport: Any = self.transport
            transport.signalProcess("KILL")
        except ProcessExitedAlready:
            pass

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """What it writes past its log, such as the last words of an interpreter; see ``IProcessProtocol``."""
        for line in data.decode(errors="backslashreplace").splitlines():
            _log.warn("worker {worker} wrote: {line}", worker=self._number, line=line)

    def processEnded(self, reason: Failure) -> None:
        """The process is gone; see ``IProcessProtocol``."""
        error = reason.value
        if isinstance(error, ProcessTerminated) and error.signal is not None:
            self._how = f"was ended by signal {error.signal}"
        else:
            self._how = f"ended with status {getattr(error, 'exitCode', None)}"
        self._part_ended()

    def _part_ended(self) -> None:
        self._open -= 1
        if not self._open:
            self._system.let_go(self)
            self._tell(_Ended(self._how))


def reactor_module(reactor: Any) -> str:
    """The module whose ``install`` makes a reactor of the same kind."""
    for kind in type(reactor).__mro__:
        if hasattr(sys.modules[kind.__module__], "install"):
            return kind.__module__
    raise ActorError(f"{reactor!r} comes from no module with an install(), which workers need")
