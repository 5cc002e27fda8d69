"""The web server: what every answer says, and how many clients, how slow, and how much of them it takes."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.resource import IResource, Resource

from ..gate import Gate
from ..options import ServerOptions
from ..timers import Timer, Timers
from .access import Access

RESPONSES = {**http.RESPONSES, 421: b"Misdirected Request"}

__all__ = ["Data", "Request", "Root", "Site", "Text"]

CONNECTIONS = 100
"""Open at once: some browsers, some scrapers, and as many as somebody leaves open.
One more takes the place of the one that is open longest and is no stream."""

STREAMS = 20
"""Answers without an end at once: pages that are open."""

LIFETIME = 60.0
"""Seconds that a connection may be open, whatever it does, if it is no stream. A
limit for silence alone would let one stay that sends a byte now and then."""

SILENCE = 15.0
"""Seconds that a client may say nothing before its request is complete."""

STALL = 30.0
"""Seconds that a stream may wait for a client that does not read."""

HEADERS = {
    b"Server": b"echoactor",
    b"Cache-Control": b"no-store",
    b"Content-Security-Policy": b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    b"Cross-Origin-Opener-Policy": b"same-origin",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"Permissions-Policy": b"camera=(), geolocation=(), microphone=()",
    b"Referrer-Policy": b"no-referrer",
    b"X-Content-Type-Options": b"nosniff",
}
"""Of every answer. Nothing that a peer's or an actor's name smuggles into the page can run or leave."""


class Data(Resource):
    """
    An answer that is always the same. (Twisted's own warns of itself when it is imported.)

    :param data: its body.
    :param kind: its media type.
    :param status: HTTP's.
    """

    isLeaf = True

    def __init__(self, data: bytes, kind: str, status: int = 200) -> None:
        super().__init__()
        self._data = data
        self._kind = kind.encode()
        self._status = status

    def render(self, request: Any) -> bytes:
        """Answer."""
        request.setResponseCode(self._status, RESPONSES.get(self._status))
        request.setHeader(b"Content-Type", self._kind)
        if request.method == b"HEAD":  # Twisted would log a line that a body was given
            request.setHeader(b"Content-Length", b"%d" % len(self._data))
            return b""
        return self._data


class Text(Data):
    """A status and a line."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{text}\n".encode(), "text/plain; charset=utf-8", status)


class Root(Resource):
    """The tree of what is answered. (Of what is not there, Twisted's own has a page, and a warning.)"""

    def getChild(self, path: bytes, request: Any) -> Resource:
        """There is no such thing."""
        return Text(404, "not found")


class Request(server.Request):
    """A request: it has no body."""

    channel: Any
    _has_body = False

    def gotLength(self, length: int | None) -> None:
        """Refuse a body, which Twisted would put into a file, as long as it is."""
        super().gotLength(0)
        if length != 0:
            self._has_body = True
            self.channel.transport.write(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n")
            self.channel.loseConnection()

    def handleContentChunk(self, data: bytes) -> None:
        """Drop what came of a body before the connection was closed."""

    def process(self) -> None:
        """Answer, unless it is answered already."""
        if self._has_body:
            return
        _, scheme, rest = self.path.partition(b"://")
        if scheme and not self.path.startswith(b"/"):  # a proxy asks by the whole URL
            self.path = b"/" + rest.partition(b"/")[2]
        elif self.path == b"*":  # Twisted would answer that itself, whoever asks
            self.path = b"/*"
        super().process()

    def hold(self) -> bool:
        """
        Let this answer go on for as long as the client reads it.

        Whoever writes it registers a push producer with the request, and writes nothing while that is paused.

        :returns: False when too many do; then the status is 503, and a line is the answer.
        """
        streams = self.channel.site.streams
        if len(streams) >= STREAMS:
            self.setResponseCode(503)
            self.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
            self.setHeader(b"Retry-After", b"5")
            return False
        streams.add(self.channel)
        self.channel.keep()
        return True


class _Channel(http.HTTPChannel):
    """A connection; it is counted, and has its deadline."""

    site: Site
    transport: Any
    _deadline: Timer | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.channels[self] = None
        self._limit(LIFETIME)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._limit(None)
        self.site.left(self)
        super().connectionLost(reason)

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """One request each: a scrape that came late on an old connection would meet its deadline."""
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False

    def keep(self) -> None:
        """It is a stream from now on."""
        self._limit(None)

    def pauseProducing(self) -> None:
        """The client does not read."""
        if self in self.site.streams:
            self._limit(STALL)
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """It reads again."""
        if self in self.site.streams:
            self._limit(None)
        super().resumeProducing()

    def abort(self) -> None:
        """Close it at once."""
        self.transport.abortConnection()

    def timeoutConnection(self) -> None:
        """Nothing was heard for too long. (Twisted would log a line for each.)"""
        self.abort()

    def _limit(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.site.timers.schedule(seconds, self.abort)


class Site(server.Site):
    """
    Serves a tree of resources to those who may look.

    :param root: the tree.
    :param access: says who may.
    :param timers: for deadlines.
    :param reactor: an ``IReactorTime``.
    :ivar gate: counts the connections.
    :ivar channels: the open connections, in the order in which they came.
    :ivar streams: those of them whose answers go on.
    """

    displayTracebacks = False
    protocol = _Channel  # type: ignore[assignment]  # and no HTTP/2
    noisy = False

    def __init__(self, root: IResource, access: Access, timers: Timers, reactor: Any) -> None:
        super().__init__(root, requestFactory=Request, timeout=SILENCE, reactor=reactor)
        self.gate = Gate(ServerOptions(max_connections=CONNECTIONS))
        self.timers = timers
        self.channels: dict[_Channel, None] = {}
        self.streams: set[_Channel] = set()
        self._access = access

    def startFactory(self) -> None:
        """Begin; there is no log file, and no clock for its lines."""

    def stopFactory(self) -> None:
        """End."""

    def log(self, request: Any) -> None:
        """Write no line: who scrapes every few seconds would fill the log."""

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Let a connection in. The last place is made free at once, so that a probe always finds one."""
        self.gate.admit(addr)
        if not self.gate.room:
            next(channel for channel in self.channels if channel not in self.streams).abort()
        return super().buildProtocol(addr)

    def left(self, channel: _Channel) -> None:
        """A connection is gone."""
        self.channels.pop(channel, None)
        self.streams.discard(channel)
        self.gate.leave(None)

    def close(self) -> None:
        """Close all connections at once."""
        for channel in list(self.channels):
            channel.abort()

    def close_streams(self) -> None:
        """Close those whose answers go on."""
        for channel in list(self.streams):
            channel.abort()

    def getResourceFor(self, request: Any) -> Any:
        """Find what answers a request."""
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        refusal = self._access.refusal(request)
        if refusal is None:
            return super().getResourceFor(request)
        status, text = refusal
        if status == 401:
            request.setHeader(b"WWW-Authenticate", b'Basic realm="echoactor", charset="UTF-8"')
        return Text(status, text)
