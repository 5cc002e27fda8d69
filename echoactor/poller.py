"""
Reading many sockets in one call of the reactor's.

A Twisted reactor spends more on a readable socket than its protocol does on a
small message: it finds the transport, sets up a log context and a place for
errors, and asks the transport to read. A poller is one readable descriptor in
the place of many: the kernel's epoll, which can be watched as its sockets can.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer, providedBy

__all__ = ["Poller", "poller_for"]

_log = Logger()

READ_SIZE = 64 * 1024
"""Bytes of one read, as Twisted's own transports have it."""

BATCH = 256
"""Sockets that are read in one turn of the reactor: enough that the turn's own
cost is shared by many, and two milliseconds for timers to wait, at most."""


class PolledReactor:
    """
    The reactor of a transport that is polled: what wants to read is the poller's.

    A transport asks its reactor whenever it begins or ends to read, whoever
    wants it to (TLS above it, a producer, its own close), so that nobody else
    has to know of the poller.

    :ivar addWriter: the reactor's own, as all else is.
    :ivar removeWriter: the reactor's own.
    """

    def __init__(self, poller: Poller, reactor: Any) -> None:
        self._poller = poller
        self._reactor = reactor
        self.addWriter, self.removeWriter = reactor.addWriter, reactor.removeWriter

    def addReader(self, reader: Any) -> None:
        """See ``IReactorFDSet``."""
        if isinstance(reader, tcp.Connection):
            self._poller.add(reader)
        else:  # something else that a protocol has made, for its transport's reactor
            self._reactor.addReader(reader)

    def removeReader(self, reader: Any) -> None:
        """See ``IReactorFDSet``."""
        if isinstance(reader, tcp.Connection):
            self._poller.remove(reader.fileno())
        else:
            self._reactor.removeReader(reader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    @property
    def __providedBy__(self) -> Any:  # what zope.interface asks for
        return providedBy(self._reactor)


@implementer(IReadDescriptor)
class Poller:
    """
    Reads plain TCP sockets, and hands what they bring to their protocols.

    The peer's end it leaves to the transport itself: it gives the reading back to
    the reactor, which then finds the same.

    :param reactor: an ``IReactorFDSet``.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._polled_reactor = PolledReactor(self, reactor)
        self._epoll: select.epoll | None = None  # from the first connection to the last
        self._polled: dict[int, tuple[Any, Callable[[int], bytes]]] = {}
        self._is_reading = False
        self._must_close = False  # once it has read

    def take(self, transport: Any) -> None:
        """
        Read for ``transport`` in the reactor's place, from now on and whenever it wants to be read for.

        :param transport: a plain TCP transport of Twisted's; if it is closed or closing, nothing happens.
        """
        if transport.connected and not transport.disconnecting:
            transport.stopReading()
            transport.reactor = self._polled_reactor
            transport.startReading()

    def add(self, transport: Any) -> None:
        """Read for ``transport`` from now on."""
        fd = transport.fileno()
        if fd in self._polled:
            return
        try:
            if self._epoll is None:
                self._epoll = select.epoll()
            self._epoll.register(fd, select.EPOLLIN)
        except OSError:
            # The connection itself has taken the last descriptor, or the last place in an epoll.
            self._give_back(transport)
            return
        if not self._polled:
            self._reactor.addReader(self)
        self._polled[fd] = transport, transport.socket.recv

    def remove(self, fd: int) -> None:
        """Read for the transport of ``fd`` no more, until it is added again."""
        if self._polled.pop(fd, None) is None or self._epoll is None:
            return
        if not self._polled:
            self._reactor.removeReader(self)
        try:
            self._epoll.unregister(fd)
        except OSError:
            pass  # closed meanwhile

    def _give_back(self, transport: Any) -> None:
        """Let the reactor itself read, from now on."""
        self.remove(transport.fileno())
        transport.reactor = self._reactor
        transport.startReading()

    def close(self) -> None:
        """Nobody is read for, and nobody will be for a while: hold no descriptor."""
        # Within a batch it would end the connections that come after: the reactor takes
        # a descriptor that changes while it is read for one that is lost.
        self._must_close = self._is_reading
        if self._epoll is not None and not self._polled and not self._is_reading:
            self._epoll.close()
            self._epoll = None

    # What the reactor calls

    def fileno(self) -> int:
        """See ``IFileDescriptor``."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "poller"

    def doRead(self) -> None:
        """Read once from each socket that has something; see ``IReadDescriptor``."""
        assert self._epoll is not None
        polled = self._polled
        self._is_reading = True
        for fd, event in self._epoll.poll(0, BATCH):
            entry = polled.get(fd)
            if entry is None:
                continue  # what was read before it in this turn has ended it
            transport, receive = entry
            try:
                data = receive(READ_SIZE)
            except BlockingIOError:
                if event != select.EPOLLIN:
                    self._give_back(transport)  # something that is not for us, and would come again
                continue
            except OSError:
                self._end(transport, Failure(CONNECTION_LOST))
                continue
            if not data:
                self._give_back(transport)
                continue
            try:
                transport.protocol.dataReceived(data)
            except BaseException as error:
                _log.failure("unhandled error in {protocol}", protocol=transport.logPrefix())
                self._end(transport, Failure(error))
        self._is_reading = False
        if self._must_close:
            self.close()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor lets go of all it has; see ``IFileDescriptor``."""
        for transport, _ in list(self._polled.values()):
            self._end(transport, reason)

    def _end(self, transport: Any, reason: Failure) -> None:
        """End a connection, which first of all stops to read, and so leaves."""
        try:
            transport.connectionLost(reason)
        except BaseException:
            # The reactor would take it for the poller's own end, and so for everybody's.
            _log.failure("unhandled error in {protocol}", protocol=transport.logPrefix())


def poller_for(reactor: Any) -> Poller | None:
    """A poller, where the platform and the reactor have what it needs."""
    if hasattr(select, "epoll") and IReactorFDSet.providedBy(reactor):
        return Poller(reactor)
    return None
