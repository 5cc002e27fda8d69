"""Worker processes: as many as there are cores to use, supervised as actors are, on ports that they share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, succeed

from .access_log import check_access_log
from .calls import after
from .errors import ActorError, CallFailed, CertificateError, ListenError
from .options import ServerOptions
from .pipe import Done, Drain, Message, Reload, Resume, Serve, Suspend, Tell
from .process import Worker, name_of, share_of
from .sockets import SharedSockets
from .specs import ChildSpec, SupervisorSpec
from .system import ActorSystem
from .tls import Certificates

__all__ = ["Workers"]

INTENSITY = 3
"""Restarts of one worker within :data:`PERIOD`; with more it is given up, and
all with it. What made it end so often will end the others, too."""

PERIOD = 30.0
"""Seconds. A worker starts in one, so this is reached even when it dies some seconds after each start."""

ANSWER_TIME = 10.0
"""Seconds for a worker to answer; it may be busy, but not so long."""

SNAPSHOT_TIME = 2.0
"""Seconds likewise for a snapshot: who asks wants those of the others, and Prometheus waits for 10."""


class Workers(Service):
    """
    Some processes that are one server together; in the parent, it stands where a
    :class:`~echoactor.Server` would.

    The parent opens the ports, as a Server does, and keeps them; each worker
    serves them with a Server of its own and its share of the limits, and is an
    actor here, under a supervisor: when it ends, another process takes its place, on its sockets.

    :param system: the actors of the parent.
    :param options: of the whole server; endpoints are texts.
    :param number: how many workers.
    :param access_log: file in which all of them write a line for each connection that is over, or ``-``
        for the standard output; opened anew by :meth:`reload`.
    :param log_format: of these lines, ``"text"`` or ``"json"``.
    :param is_watched: whether :meth:`snapshots` will be asked for, for which the workers have to sample.
    :raises ValueError: an option is wrong, or does not go with workers; the text names it.
    :raises CertificateError: a certificate cannot be used; the text names the file.

    :ivar ready: a Deferred that fires when all workers listen for the first time.
    :ivar given_up: a Deferred that fires when a worker cannot be kept running;
        its result is a line that says why. The system stops then.
    """

    def __init__(
        self,
        system: ActorSystem,
        options: ServerOptions,
        number: int,
        *,
        access_log: str | None = None,
        log_format: str = "text",
        is_watched: bool = False,
    ) -> None:
        if number > options.max_connections:
            raise ValueError(f"workers: {number} cannot share `max_connections` {options.max_connections}")
        for endpoint in options.endpoints:
            if not isinstance(endpoint, str):
                raise ValueError(f"endpoints: {endpoint!r} is no text, and workers can share no other")
        if options.tls_port is not None:
            Certificates(options)  # what is wrong with them is told before a daemon leaves its terminal
        if access_log is not None:
            check_access_log(access_log)  # likewise
        self.system = system
        self.number = number
        self.options = options
        # A daemon goes to another directory before its workers start.
        self.access_log = access_log if access_log in (None, "-") else os.path.abspath(access_log)
        self._log_format = log_format
        self._is_watched = is_watched
        self.sockets = SharedSockets(system.reactor, options, number, system.timers)
        self.ready: Deferred[None] = Deferred()
        self.given_up: Deferred[str] = Deferred()
        self.is_suspended = False
        self.is_draining = False
        self.is_ready = False
        self._listening: set[int] = set()
        self._is_given_up = False
        self._drained: Deferred[None] | None = None

    @property
    def addresses(self) -> list[Any]:
        """Where they listen (``IAddress``), in the order of ``port``, ``tls_port``, ``endpoints``."""
        return self.sockets.addresses

    @property
    def max_connections(self) -> int:
        """How many connections may be open in this process: none; each worker has its share."""
        return 0

    @property
    def state(self) -> str:
        """As a Server's; and ``"starting"`` while not all workers listen: one is restarted, or hangs."""
        if self.is_draining:
            return "draining"
        if self.is_suspended:
            return "suspended"
        return "listening" if len(self._listening) == self.number else "starting"

    def privilegedStartService(self) -> None:
        """
        Open the ports.

        :raises ListenError: one cannot be opened, and none is; the text names it and the cause.
        """
        super().privilegedStartService()
        self._open()

    def startService(self) -> None:
        """Start the workers, and open the ports before, unless they are open."""
        if not self.running:
            self._open()
            super().startService()
            self.system.servers.append(self)
            for number in range(1, self.number + 1):
                self._start(number)

    def stopService(self) -> Deferred[None]:
        """Drain; see :meth:`drain`."""
        if self.running:
            super().stopService()
            self.system.servers.remove(self)
        return self.drain()

    def suspend(self) -> Deferred[None]:
        """
        Close the ports; connections go on. New clients are refused, so that they go elsewhere.

        :returns: a Deferred that fires when they are closed in all workers.
        """
        self.is_suspended = True
        return ensureDeferred(self._suspend())

    def resume(self) -> Deferred[None]:
        """
        Open the ports again, after :meth:`suspend`.

        :returns: a Deferred that fires when all workers listen.
        :raises ListenError: one cannot be opened, because it is taken meanwhile, needs privileges, or was
            handed in (by systemd).
        """
        if not self.running or self.is_draining:
            self.is_suspended = False
            return succeed(None)
        self.sockets.open()
        self.is_suspended = False
        return ensureDeferred(self._order(Resume(self.sockets.backlogs), ListenError))

    def reload(self) -> Deferred[None]:
        """
        Open the access log anew, and load the certificates again, in all workers, for connections to come.

        :returns: a Deferred that fires when it is done, or fails with
            :exc:`~echoactor.errors.CertificateError`: a file cannot be used, and the worker that
            the text names has kept what it had.
        """
        return ensureDeferred(self._order(Reload(), CertificateError))

    def figures(self) -> Deferred[list[dict[str, Any]]]:
        """
        What the workers have to tell.

        :returns: a Deferred with a dict for each worker that answers, in
            their order: ``worker`` (its number), ``pid``, ``connections`` (open now),
            ``arrivals`` (that ever came to this process), ``actors``, and more as there is more to tell.
        """
        return ensureDeferred(self._figures())

    def snapshots(self) -> Deferred[Mapping[str, Mapping[str, Any]]]:
        """
        All figures of the workers; none, unless they are watched.

        :returns: a Deferred with what :meth:`~echoactor.figures.Figures.snapshot` has made in each
            worker that answers soon, by its number as text.
        """
        return ensureDeferred(self._snapshots())

    def drain(self) -> Deferred[None]:
        """
        Close the ports and let all workers drain, each as a Server does.

        :returns: a Deferred that fires when all have ended. Draining twice waits for the same end.
        """
        if self._drained is None:
            self.is_draining = True
            self._drained = ensureDeferred(self._drain())
        return after(self._drained)

    # For its actors

    def serve(self, number: int) -> Serve:
        """The first order for a worker."""
        options = share_of(self.options, number, self.number)
        return Serve(options, self.sockets.places, self.access_log, self._log_format, self._is_watched)

    def listens_no_more(self, number: int) -> None:
        """A worker ends, or does not answer."""
        self._listening.discard(number)

    def listens(self, number: int) -> None:
        """A worker has started, or answers again."""
        self._listening.add(number)
        if len(self._listening) == self.number and not self.is_ready:
            self.is_ready = True
            self._outside(self.ready.callback, None)

    def give_up(self, why: str) -> None:
        """A worker cannot be kept running: drain and stop."""
        if not (self.is_draining or self._is_given_up):
            self._is_given_up = True
            self._outside(self.given_up.callback, why)
            self.system.stopService()

    def _outside(self, function: Any, argument: Any) -> None:
        """Call it in no actor's turn: what it does might be to ask that very actor, which cannot be."""
        self.system.reactor.callLater(0, function, argument)

    # Starting and ending

    def _open(self) -> None:
        if not self.is_suspended:
            self.sockets.open()

    def _start(self, number: int) -> None:
        """Start a worker under a supervisor of its own, so that each has its own limit of restarts."""
        worker = ChildSpec(
            Worker, self, number, id=f"worker {number}", name=name_of(number), restart="transient"
        )
        spec = SupervisorSpec([worker], intensity=INTENSITY, period=PERIOD)
        child = ChildSpec(spec, id=f"supervisor of worker {number}", restart="temporary")
        often = f"worker {number} has ended more than {INTENSITY} times in {PERIOD:g} seconds"

        def watch(supervisor: Any) -> None:
            supervisor.ended().addCallback(lambda _: self.give_up(often))

        self.system.start_child(child).addCallbacks(watch, lambda why: self.give_up(why.getErrorMessage()))

    async def _drain(self) -> None:
        # First, or who comes after the workers have closed theirs would wait here, and be reset.
        await self.sockets.close()
        ends = []
        for address in filter(None, map(self.system.whereis, self._names())):
            ends.append(address.ended())
            address.send(Drain())
        await DeferredList(ends)

    # Orders

    def _names(self) -> list[str]:
        return [name_of(number) for number in range(1, self.number + 1)]

    async def _suspend(self) -> None:
        await self.sockets.close()
        await self._order(Suspend(), ListenError)

    async def _order(self, order: Message, error: type[ActorError]) -> None:
        for number, done in await self._ask_all(order):
            if done.error is not None:
                raise error(f"worker {number}: {done.error}")

    async def _figures(self) -> list[dict[str, Any]]:
        return [{"worker": number, **(done.figures or {})} for number, done in await self._ask_all(Tell())]

    async def _snapshots(self) -> Mapping[str, Mapping[str, Any]]:
        answers = await self._ask_all(Tell(), SNAPSHOT_TIME)
        return {
            str(number): done.figures["snapshot"]
            for number, done in answers
            if done.figures and "snapshot" in done.figures
        }

    async def _ask_all(self, order: Message, seconds: float | None = None) -> list[tuple[int, Done]]:
        """Their numbers and answers. One that is being restarted has none, and will start as things are."""
        calls = {
            number: self.system.call(name, order, timeout=seconds or ANSWER_TIME)
            for number, name in enumerate(self._names(), 1)
            # One that hangs would have to tell as often as somebody has asked, once it goes on.
            if number in self._listening or not isinstance(order, Tell)
        }
        answers = []
        for number, call in calls.items():
            try:
                answers.append((number, await call))
            except CallFailed:
                pass
        return answers
