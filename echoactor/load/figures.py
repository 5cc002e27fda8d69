"""What a load comes to: counts, latencies, errors, and the client's own part in them."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

__all__ = ["Figures", "Second"]

HIGHEST = 3_600_000_000
"""The longest latency told apart, an hour in microseconds; longer ones count as this."""

DIGITS = 3
"""Significant digits of latencies: what the histogram says is right to a thousandth."""

MOST_DETAILS = 5
"""Errors told one by one: a thousand connections that are lost together have the same story."""


def new_histogram() -> HdrHistogram:
    """A histogram of latencies in microseconds."""
    return HdrHistogram(1, HIGHEST, DIGITS)


@dataclass(frozen=True)
class Second:
    """
    The figures of one second.

    :ivar end: when it ended, in seconds since the start.
    :ivar length: how long it took, in seconds; the last is shorter.
    :ivar messages: how many were answered.
    :ivar errors: how many there were, of all kinds.
    :ivar p50: latency in microseconds that half of the messages kept below; so ``p99``.
    :ivar max: the longest latency, in microseconds.
    """

    end: float
    length: float
    messages: int
    errors: int
    p50: int
    p99: int
    max: int


class Figures:
    """
    Collects them while the load runs.

    Connections count into ``latencies``, as nothing is cheaper. Once a second
    they go into the histogram, of which one entry costs a microsecond, and
    nothing is sent meanwhile. So this takes no longer than the latencies lie
    apart: it does not show in them.

    :ivar latencies: how many of each, in microseconds, in this second.
    :ivar histogram: all of them.
    :ivar errors: how many of each kind.
    :ivar details: the first few errors, told exactly.
    :ivar seconds: the figures second by second.
    :ivar unsent: messages that were due, and not sent until the end.
    :ivar elapsed: seconds from the start to the last answer, or to the end of sending if that was later.
    :ivar cpu_share: CPU time of this process from the start to the end of sending, as a share of one core.
    """

    def __init__(self) -> None:
        self.latencies: dict[int, int] = defaultdict(int)
        self.histogram = new_histogram()
        self.errors: Counter[str] = Counter()
        self.details: list[str] = []
        self.seconds: list[Second] = []
        self.unsent = 0
        self.elapsed = 0.0
        self.cpu_share = 0.0
        self._start = self._second_start = self._cpu_start = 0.0
        self._errors_before = 0

    @property
    def messages(self) -> int:
        """How many were answered."""
        return int(self.histogram.get_total_count())

    def begin(self, now: float) -> None:
        """The first message is about to be sent."""
        self._start = self._second_start = now
        self._cpu_start = time.process_time()

    def sent(self, now: float) -> None:
        """The last message was sent."""
        self.elapsed = now - self._start
        self.cpu_share = (time.process_time() - self._cpu_start) / self.elapsed

    def end(self, last_answer: float) -> None:
        """The last answer has come."""
        self.elapsed = max(self.elapsed, last_answer - self._start)

    def fail(self, kind: str, detail: str, count: int = 1) -> None:
        """
        Count an error.

        :param kind: such as "wrong byte".
        :param detail: what happened exactly.
        :param count: to how many messages or connections.
        """
        self.errors[kind] += count
        if len(self.details) < MOST_DETAILS:
            self.details.append(detail)

    def end_second(self, now: float) -> Second:
        """Close the books of one second."""
        histogram = new_histogram()
        for latency, count in self.latencies.items():
            histogram.record_value(min(latency, HIGHEST), count)
        self.latencies.clear()  # and not a new one: the connections hold on to it
        self.histogram.add(histogram)
        errors = self.errors.total()
        second = Second(
            now - self._start,
            now - self._second_start,
            histogram.get_total_count(),
            errors - self._errors_before,
            histogram.get_value_at_percentile(50),
            histogram.get_value_at_percentile(99),
            histogram.get_max_value(),
        )
        self._second_start, self._errors_before = now, errors
        self.seconds.append(second)
        return second
