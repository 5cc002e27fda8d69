"""A worker: the process that serves a share of the connections; see :mod:`echoactor.workers`."""

from __future__ import annotations

import os
import socket
import sys
from copy import copy
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory
from twisted.logger import ILogObserver, LogEvent, Logger, eventAsJSON, globalLogBeginner
from twisted.python.reflect import namedAny, safe_str
from zope.interface import implementer

from .access_log import AccessLog
from .actor import Actor
from .echo import EchoFactory
from .endpoints import Place
from .errors import CertificateError, ListenError
from .events import ConnectionRefused
from .figures import Figures
from .log_output import Rationed, in_a_second
from .logs import log_refusal
from .pipe import Done, Drain, Message, Ping, Pipe, Reload, Resume, Said, Serve, Suspend, Tell
from .process import PIPE
from .protocol import ConnectionSupervisor
from .server import Server
from .sockets import HandedIn
from .specs import ChildSpec
from .system import ActorSystem

__all__ = ["main"]

_log = Logger()


def main() -> None:
    """Run a worker, as ``sys.argv`` says: its number, and the module of its reactor."""
    name, module = sys.argv[1:]
    namedAny(module).install()
    from twisted.internet import reactor as installed  # not earlier: the line above chooses it

    reactor: Any = installed
    system = ActorSystem(reactor, f"worker-{name}")
    system.events.subscribe(ConnectionRefused, log_refusal)
    orders = system.spawn(Orders)

    def received(order: Message, sockets: list[socket.socket]) -> None:
        orders.send((order, sockets))

    pipe = Pipe(received, lambda: orders.send((Drain(), [])))  # whose parent is gone must not stay
    orders.send(pipe)
    factory = Factory.forProtocol(lambda: pipe)
    factory.noisy = False
    os.set_blocking(PIPE, False)
    reactor.adoptStreamConnection(PIPE, socket.AF_UNIX, factory)
    os.close(PIPE)
    log = PipeLog(pipe)
    # A storm here must not keep the parent from its work.
    globalLogBeginner.beginLoggingTo([Rationed(log, in_a_second)], redirectStandardIO=False)
    # The last words have to be out before the process ends.
    reactor.addSystemEventTrigger(
        "before", "shutdown", lambda: system.stopService().addCallback(lambda _: log.stop())
    )
    reactor.run(installSignalHandlers=False)


class Orders(Actor):
    """Carries out what the parent orders, one order after the other."""

    _pipe: Pipe
    _server: Server

    def __init__(self) -> None:
        self._ends = False
        self._access_log: AccessLog | None = None
        self._watched: Figures | None = None

    async def receive(self, message: Any) -> None:
        """Carry out an order, and answer it."""
        match message:
            case Pipe():
                self._pipe = message
            case Drain(), _:
                self._end()
            case order, sockets:
                try:
                    done = await self._carry_out(order, sockets)
                except (CertificateError, ListenError, ValueError) as error:
                    done = Done(str(error))
                for one in sockets:  # what is listened on is a duplicate
                    one.close()
                self._pipe.send(done)

    def terminate(self, reason: object) -> None:
        """End the process, too: nobody could order it any more."""
        self._end()

    async def _carry_out(self, order: Message, sockets: list[socket.socket]) -> Done:
        match order:
            case Serve(options, places, access_log, log_format, is_watched):
                if access_log is not None:
                    self._access_log = AccessLog(self.system.events, access_log, log_format)
                if is_watched:
                    self._watched = Figures(self.system)
                    self._watched.start()
                self._handed_in = [HandedIn(self.system.reactor) for _ in places]
                factory = EchoFactory(self.system)
                self._server = Server(
                    factory,
                    options,
                    [
                        Place(description, endpoint, is_tls)
                        for (description, is_tls), endpoint in zip(places, self._handed_in, strict=True)
                    ],
                )
                await self._server.suspend()  # until it has sockets
                await self.system.start_child(ChildSpec(ConnectionSupervisor, factory, id="connections"))
                self._server.setServiceParent(self.system)
                # A process that serves nobody any more must not stay in the place of one that does.
                self.system.supervisor.ended().addCallback(lambda _: self._end())
                self.system.startService()
            case Resume(backlogs):
                for endpoint, listening, backlog in zip(self._handed_in, sockets, backlogs, strict=True):
                    endpoint.take(listening, backlog)
                self._server.resume()
            case Suspend():
                await self._server.suspend()
            case Reload():
                try:
                    if self._access_log is not None:
                        self._access_log.reopen()
                finally:  # each, whatever is wrong with the other
                    self._server.reload()
                _log.info("reloaded")
            case Ping():
                pass
            case Tell():
                return Done(figures=self._figures())
        return Done()

    def _figures(self) -> dict[str, Any]:
        snapshot = {} if self._watched is None else {"snapshot": self._watched.snapshot()}
        return {
            **snapshot,
            "pid": os.getpid(),
            "connections": self._server.connections,
            "arrivals": self._server.factory.gate.arrivals,
            "actors": self.system.info().actors,
        }

    def _end(self) -> None:
        """Let the reactor stop, which drains."""
        if not self._ends:
            self._ends = True
            reactor: Any = self.system.reactor
            reactor.stop()


@implementer(ILogObserver, IPushProducer)
class PipeLog:
    """
    Sends what is logged to the parent. While that does not read, lines are counted and left
    out: they would fill the memory.

    :param pipe: it is connected.
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._is_paused = False
        self._left_out = 0
        transport: Any = pipe.transport
        transport.registerProducer(self, True)

    def __call__(self, event: LogEvent) -> None:
        """See ``ILogObserver``."""
        if self._is_paused:
            self._left_out += 1
            return
        failure = event.get("log_failure")
        if failure is not None:
            # JSON has no exceptions. In place of this one, its text makes the same traceback.
            told = copy(failure)
            told.value = safe_str(failure.value)
            event = {**event, "log_failure": told}
        self._pipe.send(Said(eventAsJSON(event)))

    def stop(self) -> Deferred[None]:
        """
        Close the pipe.

        :returns: a Deferred that fires when all has been sent.
        """
        transport: Any = self._pipe.transport
        transport.unregisterProducer()
        return self._pipe.close()

    def pauseProducing(self) -> None:
        """See ``IPushProducer``."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """See ``IPushProducer``."""
        self._is_paused = False
        count, self._left_out = self._left_out, 0
        if count:
            Logger(observer=self).warn("{count} lines were left out, as the log is slow", count=count)

    def stopProducing(self) -> None:
        """See ``IPushProducer``."""
        self._is_paused = True
