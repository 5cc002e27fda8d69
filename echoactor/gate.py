"""Who may come in: the limits and lists of a socket server, and how many connections it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress

from .networks import Host, Networks, host_of
from .options import ServerOptions

__all__ = ["Gate"]


class Gate:
    """
    Counts the connections of a server, over all its ports.

    :ivar count: connections that are open.
    :ivar arrivals: connections that ever came, also those that were refused.
    :ivar is_open: whether anybody may come in at all.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.count = 0
        self.arrivals = 0
        self.is_open = True
        self._max_connections = options.max_connections
        self._per_address = options.max_connections_per_address
        self._allow = Networks(options.allow)
        self._deny = Networks(options.deny)
        self._asks_for_host = bool(self._per_address or self._allow or self._deny)
        self._by_host: dict[Host, int] = {}
        self._was_full = False
        self._watchers: list[Callable[[], None]] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []

    @property
    def max_connections(self) -> int:
        """How many may be open at once. It can be changed at any time; that closes nobody."""
        return self._max_connections

    @max_connections.setter
    def max_connections(self, limit: int) -> None:
        self._max_connections = limit
        self._tell_if_full_changed()

    @property
    def room(self) -> int:
        """How many more may come in."""
        return max(0, self._max_connections - self.count)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call ``watcher`` whenever the limit is reached, and when there is room again."""
        self._watchers.append(watcher)

    def admit(self, peer: IAddress | None) -> str | None:
        """
        Let a connection in, if it may; it is counted until :meth:`leave`.

        :param peer: the client; None if it is not known yet.
        :returns: why it is refused, else None.
        """
        self.arrivals += 1
        if not self.is_open:
            return "the server stops"
        if self.count >= self._max_connections:
            return "too many connections"
        if self._asks_for_host:
            host = host_of(peer)
            if host is not None:
                why = self._why_not(host)
                if why is not None:
                    return why
                if self._per_address is not None:
                    self._by_host[host] = self._by_host.get(host, 0) + 1
        self.count += 1
        self._tell_if_full_changed()
        return None

    def leave(self, peer: IAddress | None) -> None:
        """A connection that was let in is gone; ``peer`` as it was let in."""
        self.count -= 1
        host = host_of(peer) if self._per_address is not None else None
        if host is not None:
            left = self._by_host.pop(host) - 1
            if left:
                self._by_host[host] = left
        self._tell_if_full_changed()
        if self._waiting:
            self._tell_waiting()

    @contextmanager
    def exchange(self) -> Iterator[None]:
        """Who leaves in here comes in again as another; nobody hears that it was away."""
        waiting, self._waiting = self._waiting, []
        try:
            yield
        finally:
            self._waiting += waiting
            self._tell_waiting()

    def wait_for(self, count: int) -> Deferred[None]:
        """Fires when no more than ``count`` connections are open, at once if that is so."""

        def forget(cancelled: Deferred[None]) -> None:
            self._waiting = [one for one in self._waiting if one[1] is not cancelled]

        reached: Deferred[None] = Deferred(forget)
        self._waiting.append((count, reached))
        self._tell_waiting()
        return reached

    def _why_not(self, host: Host) -> str | None:
        if self._deny.covers(host):
            return "its address is denied"
        if self._allow and not self._allow.covers(host):
            return "its address is not allowed"
        if self._per_address is not None and self._by_host.get(host, 0) >= self._per_address:
            return "too many connections of its address"
        return None

    def _tell_if_full_changed(self) -> None:
        is_full = self.count >= self._max_connections
        if is_full != self._was_full:
            self._was_full = is_full
            for watcher in self._watchers:
                watcher()

    def _tell_waiting(self) -> None:
        reached = [one for one in self._waiting if self.count <= one[0]]
        self._waiting = [one for one in self._waiting if self.count > one[0]]
        for _, deferred in reached:
            if not deferred.called:  # else who heard of it first has cancelled this one
                deferred.callback(None)
