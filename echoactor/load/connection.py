"""One connection of the load client: sends messages, checks every byte that comes back, notes latencies."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import deque
from collections.abc import Callable
from itertools import repeat
from time import perf_counter
from typing import Any

from .figures import Figures
from .options import LoadOptions

__all__ = ["Connection"]

PERIOD = 1_048_573
"""
Bytes after which a connection's stream repeats: a prime, so that no shift by
any number of blocks of some buffer, up to a MiB of them, goes unnoticed.
"""

CHUNK = 256 * 1024
"""Bytes read or written in one go: what asyncio itself reads at most."""

STREAM = random.Random(862).randbytes(PERIOD)
STREAM += STREAM[:CHUNK]  # so that a chunk that begins anywhere is in one piece
"""
What is sent, endlessly repeated. Each connection begins somewhere else in it, so
that bytes of one that come back on another are wrong there.
"""

APART = 647_269
"""Bytes between the beginnings of one connection and the next, far from any simple part of the period."""

_stream = memoryview(STREAM)
_received = memoryview(bytearray(CHUNK))  # one for all: what was read is checked before anything else is read


class Connection(asyncio.BufferedProtocol):
    """
    One connection, from when it is open.

    :param number: which of the connections, from 0 on.
    :param options: size and number of messages.
    :param figures: where latencies and errors go.
    :param on_lost: called when the connection has ended, and nobody asked it to.
    :ivar unanswered: for each message that is under way, when its latency began.
    :ivar last_answer: when a message was last answered.

    Times are those of :func:`time.perf_counter`.
    """

    def __init__(
        self, number: int, options: LoadOptions, figures: Figures, on_lost: Callable[[Connection], None]
    ) -> None:
        self.number = number
        self.unanswered: deque[float] = deque()
        self.last_answer = 0.0
        self._size = options.size
        self._pipeline = options.pipeline
        self._figures = figures
        self._latencies = figures.latencies  # of this second
        self._on_lost = on_lost
        self._transport: Any = None
        self._closed = asyncio.get_running_loop().create_future()
        self._closing = False
        self._first = self._gap = 0.0  # of the schedule, if there is one
        self._due = 0  # messages to send until now
        self._sent = 0
        self._answered = 0
        self._part = 0  # bytes of the next answer that have come
        self._read_at = self._write_at = number * APART % PERIOD  # in the stream

    # Sending

    def start(self) -> None:
        """Send as much as the server answers: in a closed loop."""
        self._due = sys.maxsize
        self._send(perf_counter())

    def schedule(self, first: float, gap: float) -> None:
        """
        Say when messages are due. :meth:`send_due` sends them.

        :param first: when the first one is.
        :param gap: seconds from one to the next.
        """
        self._first, self._gap = first, gap

    def send_due(self, due: int) -> None:
        """
        Send what is due, now or when what is before it has been answered.

        :param due: how many messages of the schedule are due by now, in all.
        """
        self._due = due
        self._send(0.0)

    def stop(self) -> int:
        """Send nothing more. Returns how many messages were due and are not sent."""
        unsent = 0 if self._due == sys.maxsize else self._due - self._sent
        self._due = self._sent
        return unsent

    def _send(self, now: float) -> None:
        count = min(self._due - self._sent, self._pipeline - len(self.unanswered))
        if count <= 0 or self._closing:
            return
        if self._gap:
            # From when a message was due. From when it was sent would leave out what others
            # than this one wait for while the server does nothing: coordinated omission.
            first, gap = self._first, self._gap
            self.unanswered.extend([first + n * gap for n in range(self._sent, self._sent + count)])
        else:
            self.unanswered.extend(repeat(now, count))
        self._sent += count
        left = count * self._size
        while left:
            piece = min(left, CHUNK)
            self._transport.write(_stream[self._write_at : self._write_at + piece])
            self._write_at = (self._write_at + piece) % PERIOD
            left -= piece

    # Receiving

    def get_buffer(self, sizehint: int) -> memoryview:
        return _received

    def buffer_updated(self, nbytes: int) -> None:
        # The one comparison with an offset that copies nothing and is a memcmp.
        if not STREAM.startswith(_received[:nbytes], self._read_at):
            self._wrong_byte(nbytes)
            return
        self._read_at = (self._read_at + nbytes) % PERIOD
        answers, self._part = divmod(self._part + nbytes, self._size)
        unanswered = self.unanswered
        if answers + (self._part > 0) > len(unanswered):
            self._fail("wrong byte", "more came back than was sent")
            return
        if answers:
            self.last_answer = now = perf_counter()
            for _ in range(answers):
                self._latencies[int((now - unanswered.popleft()) * 1e6)] += 1
            self._answered += answers
            self._send(now)

    def _wrong_byte(self, nbytes: int) -> None:
        wanted = _stream[self._read_at : self._read_at + nbytes]
        place = next(n for n in range(nbytes) if _received[n] != wanted[n])
        position = self._answered * self._size + self._part + place
        sent, came = wanted[place], _received[place]
        self._fail(
            "wrong byte", f"byte {position} of its stream was 0x{sent:02x}, and came back as 0x{came:02x}"
        )

    # Ending

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closing:
            how = "the server closed it" if exc is None else str(exc)
            self._fail("connection lost", f"{how}{self._whereabouts()}")
        if not self._closed.done():
            self._closed.set_result(None)

    def give_up(self, seconds: float) -> None:
        """Count what is unanswered as failed, after so many seconds of waiting for it."""
        self._fail("unanswered", f"waited {seconds:g} s{self._whereabouts()}", len(self.unanswered))

    def close(self) -> asyncio.Future[None]:
        """Close the connection. The Future is done when it is."""
        self._closing = True
        self._transport.close()
        return self._closed

    def abort(self) -> None:
        """Close the connection at once, if there is one."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def _whereabouts(self) -> str:
        """What is outstanding, for the text of an error."""
        if not self.unanswered:
            return ""
        part = f", the first with {self._part} of its {self._size} bytes" if self._part else ""
        return f" with {len(self.unanswered)} unanswered{part}, after {self._answered} answers"

    def _fail(self, kind: str, detail: str, count: int = 1) -> None:
        self._figures.fail(kind, f"connection {self.number}: {detail}", count)
        self.abort()
        self._on_lost(self)
