"""Listening: where a server's connections come from, taken in as the gate has room for them."""

from __future__ import annotations

import errno
import select
import socket
import stat
import struct
import sys
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import AlreadyListened, CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from .calls import after
from .errors import ListenError
from .gate import Gate
from .timers import Timer, Timers

__all__ = ["Listener", "cause_of", "let_come"]

_log = Logger()

BACK_OFF = 0.1
"""Seconds that a port which could not accept is left alone. The kernel would
report it again at once, and accept fail again, some thousand times a second."""


SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
"""Of Linux; the module ``socket`` does not have them."""

NO_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
"""A program of the kernel's packet filter (BPF): load the flags of the TCP header; if one is SYN,
nothing of the packet is taken, else all of it."""


class Listener:
    """
    Listens on one endpoint.

    The port accepts as many connections as the gate has room for, and no
    more: beyond that, clients wait in the kernel's queue.

    :param endpoint: where to listen.
    :param factory: makes the connections' protocols, and asks the gate.
    :param description: names the endpoint in log lines and errors.
    :param gate: says how many may come in.
    :param timers: for the pause after a failed accept.
    """

    def __init__(
        self,
        endpoint: IStreamServerEndpoint,
        factory: IProtocolFactory,
        description: str,
        gate: Gate,
        timers: Timers,
    ) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self._description = description
        self._gate = gate
        self._timers = timers
        self._wanted = False  # open, or about to be
        self._is_opening = False
        self._closing: Deferred[None] | None = None  # while the port closes
        self._back_off: Timer | None = None
        self._read: Callable[[], Any] | None = None  # the port's own doRead
        self.port: Any = None  # an IListeningPort, while it is open
        gate.watch(self._pause_or_resume)

    def open(self) -> None:
        """
        Open the port, unless it is open. One that still closes is opened again when it has closed.

        :raises ListenError: it cannot be opened; the text names the endpoint and the cause. What shows
            later only is logged.
        """
        if self._wanted:
            return
        self._wanted = True
        if self._closing is None and not self._is_opening:  # else it goes on when that is over
            failure = self._listen()
            if failure is not None:
                raise ListenError(f"cannot listen on {self._description}: {cause_of(failure)}")

    def close(self) -> Deferred[Any]:
        """
        Close the port, once those who wait in its queue are taken in, up to the limit.

        :returns: a Deferred that fires when it is closed.
        """
        self._wanted = False
        if self._back_off is not None:
            self._back_off.cancel()
            self._back_off = None
        port, self.port = self.port, None
        if port is not None:
            self._stop(port)
        return succeed(None) if self._closing is None else after(self._closing)

    def _listen(self) -> Failure | None:
        """Ask the endpoint for its port; returns what is wrong, if that shows at once."""
        failures: list[Failure] = []
        opening = self._endpoint.listen(self._factory)
        opening.addErrback(self._try_without_stale_file)
        opening.addCallbacks(self._opened, failures.append)
        if failures:
            self._wanted = False
            return failures[0]
        self._is_opening = True
        # An endpoint that takes its time has nobody to raise to any more.
        opening.addCallback(lambda _: self._has_tried(failures))
        return None

    def _has_tried(self, failures: list[Failure]) -> None:
        self._is_opening = False
        for failure in failures:
            self._wanted = False
            self._log_not_opened(failure)

    def _stop(self, port: Any) -> None:
        """Close it. Its address is taken until it has closed."""
        closed = self._closing = Deferred()
        closing: Deferred[Any] = maybeDeferred(port.stopListening).addErrback(self._log_not_closed)
        closing.addCallback(lambda _: self._has_closed(closed))

    def _has_closed(self, closed: Deferred[None]) -> None:
        self._closing = None
        closed.callback(None)
        if self._wanted and self.port is None and self._closing is None and not self._is_opening:
            failure = self._listen()
            if failure is not None:
                self._log_not_opened(failure)

    def _opened(self, port: Any) -> None:
        if not self._wanted:  # closed meanwhile
            self._stop(port)
            return
        self.port = port
        if _can_be_gated(port):
            # Set on this one port, because an endpoint makes its port itself.
            self._read, lost = port.doRead, port.connectionLost
            port.doRead = self._accept
            port.connectionLost = lambda reason: self._lost(port, lost, reason)
            self._pause_or_resume()
        where = str(port.getHost())
        _log.info("listening on {address} ({endpoint})", address=where, endpoint=self._description)

    def _accept(self) -> None:
        """Accept as many as may come in; it stands in for the port's ``doRead``."""
        # Unless nobody is there any more: another process that has the same socket was first.
        if self._gate.room and not self._accept_some() and _somebody_waits(self.port.socket):
            self._back_off = self._timers.schedule(BACK_OFF, self._go_on)
            self._pause_or_resume()

    def _accept_some(self) -> bool:
        """Accept some of those who wait in the queue; False if none could be."""
        before = self._gate.arrivals
        self.port.numberAccepts = min(self.port.numberAccepts, self._gate.room)
        assert self._read is not None
        self._read()
        return self._gate.arrivals > before

    def _go_on(self) -> None:
        self._back_off = None
        self._pause_or_resume()

    def _pause_or_resume(self) -> None:
        """Accept while the gate has room."""
        if self._read is not None and self.port is not None:
            if self._gate.room and self._back_off is None:
                self.port.resumeProducing()
            else:
                self.port.pauseProducing()

    def _lost(self, port: Any, lost: Callable[[Failure], None], reason: Failure) -> None:
        """
        The port is about to be closed; it stands in for the port's ``connectionLost``.

        Closing resets those who wait in its queue, and they have been told
        that they are connected.
        """
        self.port = port
        # A socket that was handed in (no backlog) keeps its queue, for the next to whom it is handed.
        if port.backlog:
            _let_nobody_come(port.socket)
            for _ in range(port.backlog):
                if not (self._gate.room and self._accept_some()):
                    break
            port.socket.close()  # now, as Twisted writes a log line first
        self.port = self._read = None
        try:
            lost(reason)
        except OSError as error:
            _log.warn("{endpoint}: {cause}", endpoint=self._description, cause=error.strerror)
            tcp.Port.connectionLost(port, reason)

    def _try_without_stale_file(self, failure: Failure) -> Deferred[IListeningPort] | Failure:
        """The socket file of a server that died is in the way of the next, until it is removed."""
        error = failure.value
        if not (isinstance(error, CannotListenError) and isinstance(error.port, bytes)):
            return failure
        path = Path(error.port.decode(errors="surrogateescape"))
        number = getattr(error.socketError, "errno", None)  # it may be a text of Twisted's
        if number != errno.EADDRINUSE or not _is_stale(path):
            return failure
        path.unlink(missing_ok=True)
        return self._endpoint.listen(self._factory)

    def _log_not_opened(self, failure: Failure) -> None:
        why = cause_of(failure)
        _log.error("cannot listen on {endpoint}: {cause}", endpoint=self._description, cause=why)

    def _log_not_closed(self, failure: Failure) -> None:
        _log.failure("{endpoint} could not be closed", failure, endpoint=self._description)


def cause_of(failure: Failure) -> str:
    """The operating system's own words, where there are some."""
    error = getattr(failure.value, "socketError", failure.value)
    if isinstance(error, AlreadyListened):
        return "a socket that was handed in can be listened on only once"
    return getattr(error, "strerror", None) or str(error)


def _can_be_gated(port: object) -> bool:
    """Whether it accepts by Twisted's ``doRead``, as TCP and UNIX ports do on all its reactors but IOCP."""
    return isinstance(port, tcp.Port)


def let_come(listening: socket.socket) -> None:
    """Undo what :func:`_let_nobody_come` did to a socket that another process has kept open."""
    if sys.platform == "linux":
        with suppress(OSError):  # mostly there is nothing to undo
            listening.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def _let_nobody_come(listening: socket.socket) -> None:
    """
    Have the kernel drop what begins a connection; who is in the queue stays.

    Else somebody may come between the last accept and the close, and is reset. One that is dropped
    tries again in a second, and finds the port closed, or the next server on it. (Who has begun
    before, and has not yet answered the kernel's answer, is reset by the close, as ever.) It is done to
    the socket, whoever has it: with another process it has to be undone. Only Linux can.
    """
    if sys.platform != "linux" or listening.family == socket.AF_UNIX:
        return
    program = array("B", b"".join(struct.pack("HBBI", *step) for step in NO_SYN))
    where, _ = program.buffer_info()
    with suppress(OSError):  # some containers do not let one; then it is as elsewhere
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(NO_SYN), where))


def _somebody_waits(listening: socket.socket) -> bool:
    """Whether there is anybody in its queue."""
    poll = select.poll()
    poll.register(listening, select.POLLIN)
    return bool(poll.poll(0))


def _is_stale(path: Path) -> bool:
    """Whether it is a socket that nobody listens on."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(path))
    except OSError as error:
        return error.errno == errno.ECONNREFUSED
    except ValueError:  # an abstract name is no path
        return False
    return False
