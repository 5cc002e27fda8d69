"""Listening: where a server's connections come from, taken in as the gate has room for them."""

from __future__ import annotations

import errno
import re
import select
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet import tcp
from twisted.internet.defer import Deferred, execute, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import AlreadyListened, CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .errors import ListenError
from .gate import Gate
from .options import ServerOptions
from .timers import Timer, Timers

__all__ = ["Listener", "Place", "PortEndpoint", "cause_of", "endpoint_of", "places_of"]

_log = Logger()

BACK_OFF = 0.1
"""Seconds that a port which could not accept is left alone. The kernel would
report it again at once, and accept fail again, some thousand times a second."""


@implementer(IStreamServerEndpoint)
class PortEndpoint:
    """
    A TCP port. Twisted's endpoints cannot share theirs with other processes.

    :param reactor: an ``IReactorTCP``.
    :param port: its number.
    :param options: those about listening.
    """

    def __init__(self, reactor: Any, port: int, options: ServerOptions) -> None:
        self._reactor = reactor
        self._port = port
        self._options = options

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; see ``IStreamServerEndpoint``."""
        where, backlog = self._options.interface, self._options.backlog
        port: Any = self._port
        if self._options.reuse_port:
            port = tcp.makeBinding(where, port, reuseAddress=True, reusePort=True)
        return execute(self._reactor.listenTCP, port, protocolFactory, backlog=backlog, interface=where)


BEFORE_BACKLOG = {"tcp": 2, "tcp6": 1, "unix": 2}
"""Arguments by place before the backlog, which is 50 in Twisted: what connects to a
queue that is full tries again a second later."""


class Place(NamedTuple):
    """
    Where a server listens.

    :ivar description: names it in log lines and errors.
    :ivar endpoint: opens it.
    :ivar is_tls: whether the server puts TLS before the connections that come there.
    """

    description: str
    endpoint: IStreamServerEndpoint
    is_tls: bool = False


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
        gate.watch(self._look)

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
        waiting: Deferred[Any] = Deferred()
        if self._closing is None:
            waiting.callback(None)
        else:
            self._closing.addCallback(waiting.callback)
        return waiting

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
            self._look()
        where = str(port.getHost())
        _log.info("listening on {address} ({endpoint})", address=where, endpoint=self._description)

    def _accept(self) -> None:
        """Accept as many as may come in; it stands in for the port's ``doRead``."""
        # Unless nobody is there any more: another process that has the same socket was first.
        if self._gate.room and not self._accept_some() and _somebody_waits(self.port.socket):
            self._back_off = self._timers.schedule(BACK_OFF, self._go_on)
            self._look()

    def _accept_some(self) -> bool:
        """Accept some of those who wait in the queue; False if none could be."""
        before = self._gate.arrivals
        self.port.numberAccepts = min(self.port.numberAccepts, self._gate.room)
        assert self._read is not None
        self._read()
        return self._gate.arrivals > before

    def _go_on(self) -> None:
        self._back_off = None
        self._look()

    def _look(self) -> None:
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
        for _ in range(port.backlog or 0):
            if not (self._gate.room and self._accept_some()):
                break
        if port.backlog:
            port.socket.close()  # now, as Twisted writes a log line first, and meanwhile more could come
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


def places_of(reactor: Any, options: ServerOptions) -> Iterator[Place]:
    """
    Where a server listens, in the order of ``port``, ``tls_port``, ``endpoints``.

    :raises ValueError: the description of an endpoint is wrong; the text names it.
    """
    if options.port is not None:
        yield Place(f"tcp:{options.port}", PortEndpoint(reactor, options.port, options))
    if options.tls_port is not None:
        yield Place(f"tls:{options.tls_port}", PortEndpoint(reactor, options.tls_port, options), is_tls=True)
    for endpoint in options.endpoints:
        if isinstance(endpoint, str):
            try:
                yield Place(endpoint, endpoint_of(reactor, endpoint, options.backlog))
            except ValueError as error:
                raise ValueError(f"endpoints: {error}") from None
        else:
            yield Place(repr(endpoint), endpoint)


def endpoint_of(
    reactor: Any, description: str, backlog: int = ServerOptions().backlog
) -> IStreamServerEndpoint:
    """
    The endpoint that a text of Twisted's describes, such as ``tcp:8080``.

    :param backlog: connections that its queue holds, unless the text says how many.
    :raises ValueError: it describes none; the text says why.
    """
    full = description
    if description.startswith("unix:") and ":lockfile=" not in description:
        # Twisted's lock file names a process. In a container the next server has
        # the same number as the one that died, and would wait for itself.
        full += ":lockfile=0"
    kind, *arguments = re.split(r"(?<!\\):", description)
    by_place = sum("=" not in one for one in arguments)
    if by_place <= BEFORE_BACKLOG.get(kind, -1) and not any(one.startswith("backlog=") for one in arguments):
        full += f":backlog={backlog}"
    try:
        if kind == "stdio":  # Twisted knows it
            raise ValueError("the endpoint type 'stdio' is no place where clients could come")
        endpoint: IStreamServerEndpoint = serverFromString(reactor, full)
    except Exception as error:  # each parser raises what it likes
        why = f"{description!r} cannot be used: {_why_not(error)}"
        raise ValueError(f"{why}; an endpoint is written like tcp:8080 or unix:/run/echo") from None
    return endpoint


def cause_of(failure: Failure) -> str:
    """The operating system's own words, where there are some."""
    error = getattr(failure.value, "socketError", failure.value)
    if isinstance(error, AlreadyListened):
        return "a socket that was handed in can be listened on only once"
    return getattr(error, "strerror", None) or str(error)


def _why_not(error: Exception) -> str:
    """What is wrong with an endpoint string, without the parser's internals."""
    match error:
        case ImportError():
            return f"the package {error.name} is not installed (pip install 'echoactor[tls]')"
        case OSError():
            return f"{error.filename}: {error.strerror}"
        case ValueError() if "endpoint type" in str(error):
            return str(error)
        case LookupError():
            return "no such socket was handed in"
        case _:
            return "its arguments do not fit its type"


def _can_be_gated(port: object) -> bool:
    """Whether it accepts by Twisted's ``doRead``, as TCP and UNIX ports do on all its reactors but IOCP."""
    return isinstance(port, tcp.Port)


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
    return False
