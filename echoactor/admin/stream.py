"""What those who watch are sent: server-sent events, no faster than they read."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from .view import View
from .watch import Watch

__all__ = ["Stream", "Streams"]

BYTES_PER_SECOND = 20_000
"""What a stream is sent at most: after much that was new at once, looks are left out."""


LIFETIME = 600.0
"""Seconds that a stream lasts; then its page begins another. What reads no more is not
told from what reads: hours of a quiet system fit into the kernel's buffers, and
few may be open."""

AGAIN = b"event: again\ndata: {}\n\n"


@implementer(IPushProducer)
class Stream:
    """
    What one watcher is sent: of what it sees, the parts that have changed.

    :param request: holds the connection, and is written to.
    """

    def __init__(self, watch: Watch, view: View, request: Any) -> None:
        self._watch = watch
        self._view = view
        self._request = request
        self._sent: dict[str, str] = {}  # what the watcher has
        self._serial = view.since
        self._is_paused = False
        self._rests_until = 0.0
        self._ends = watch.system.reactor.seconds() + LIFETIME

    def look(self) -> None:
        """Send what is new. One that does not read now, or was sent much, will see it later."""
        now = self._watch.system.reactor.seconds()
        if now >= self._ends:
            self._watch.leave(self)
            self._request.unregisterProducer()
            self._request.write(AGAIN)
            self._request.finish()
        elif not self._is_paused and now >= self._rests_until:
            event = self._news()
            self._rests_until = now + len(event) / BYTES_PER_SECOND
            self._request.write(event)

    def _news(self) -> bytes:
        seen = self._watch.see(self._view)
        happenings = self._watch.recorder.since(self._serial)
        if happenings:
            self._serial = happenings[-1].serial
            seen["events"] = [[one.serial, one.time, one.kind, one.text, one.actor] for one in happenings]
        texts = {name: _as_json(value) for name, value in seen.items()}
        news = [f'"{name}":{text}' for name, text in texts.items() if self._sent.get(name) != text]
        self._sent |= texts
        return f"data:{{{','.join(news)}}}\n\n".encode()

    # From the request

    def pauseProducing(self) -> None:
        """The watcher does not read."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """It reads again."""
        self._is_paused = False

    def stopProducing(self) -> None:
        """It is gone, which the request tells, too."""


class Streams(Resource):
    """
    Streams what there is to see; the query says what of it, see :class:`~echoactor.admin.view.View`.

    :param watch: looks at the system.
    """

    isLeaf = True

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def render_GET(self, request: Any) -> int | bytes:
        """Begin a stream."""
        if not request.hold():
            return b"as many watch as can; one has to leave first\n"
        request.setHeader(b"Content-Type", b"text/event-stream; charset=utf-8")
        stream = Stream(self._watch, View.of(request.args), request)
        request.notifyFinish().addBoth(lambda _: self._watch.leave(stream))
        request.registerProducer(stream, True)
        self._watch.watch(stream)
        return NOT_DONE_YET

    def render_HEAD(self, request: Any) -> bytes:
        """What a stream would say of itself."""
        request.setHeader(b"Content-Type", b"text/event-stream; charset=utf-8")
        return b""


def _as_json(value: Any) -> str:
    # Escaped to ASCII, because half a surrogate in a name cannot be encoded.
    return json.dumps(value, separators=(",", ":"))
