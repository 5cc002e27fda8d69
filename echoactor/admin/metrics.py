"""``/metrics``: a snapshot of the figures, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeHistogramMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from twisted.internet.defer import maybeDeferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

__all__ = ["HISTOGRAMS", "NUMBERS", "Collector", "Metrics", "Snapshots"]

Snapshots = Mapping[str, Mapping[str, Any]]
"""Of each worker by its number, as :meth:`~echoactor.figures.Figures.snapshot` makes them."""

NUMBERS: tuple[tuple[type[Metric], str, str, str, str | None], ...] = (
    (GaugeMetricFamily, "connections", "Open connections", "connections.open", None),
    (
        *(GaugeMetricFamily, "connections_limit", "Connections that may be open at once"),
        *("connections.limit", None),
    ),
    (CounterMetricFamily, "connections_accepted", "Connections that came in", "connections.accepted", None),
    (CounterMetricFamily, "connections_refused", "Connections refused", "connections.refused", "reason"),
    (CounterMetricFamily, "connection_bytes", "Bytes of connections", "bytes", "direction"),
    (
        *(CounterMetricFamily, "connection_messages", "Messages taken from connections, and writes to them"),
        *("messages", "direction"),
    ),
    (GaugeMetricFamily, "actors", "Living actors", "actors.alive", None),
    (CounterMetricFamily, "actors_spawned", "Actors that have begun", "actors.spawned", None),
    (CounterMetricFamily, "actors_crashed", "Actors that have crashed", "actors.crashed", None),
    (CounterMetricFamily, "actors_restarted", "Restarts by supervisors", "actors.restarted", None),
    (CounterMetricFamily, "messages_handled", "Messages that actors have taken", "handled", None),
    (CounterMetricFamily, "dead_letters", "Messages that nobody will read", "dead_letters", None),
    (GaugeMetricFamily, "descriptors", "Open files and sockets", "descriptors.open", None),
    (GaugeMetricFamily, "descriptors_limit", "Files that may be open", "descriptors.limit", None),
)
"""Family, name, meaning, place in the snapshot, and the label where there are several numbers."""

HISTOGRAMS: tuple[tuple[type[Metric], str, str, str], ...] = (
    (GaugeHistogramMetricFamily, "mailbox_length", "Messages that wait in an actor's mailbox", "mailbox"),
    (
        HistogramMetricFamily,
        "delivery_delay_seconds",
        "How long a message waits for its actor's turn",
        "delay",
    ),
    (HistogramMetricFamily, "reactor_lag_seconds", "How late the reactor makes timed calls", "lag"),
)


class Collector:
    """
    Makes metrics of snapshots, for prometheus_client.

    :param snapshots: of all workers.
    """

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    def collect(self) -> Iterator[Metric]:
        """All metrics; each has the label ``worker``."""
        for kind, name, meaning, place, label in NUMBERS:
            labels = ["worker"] if label is None else ["worker", label]
            # Each kind has parameters of its own, which their common base does not tell.
            family: Any = kind(f"echoactor_{name}", meaning, labels=labels)  # type: ignore[call-arg]
            for worker, snapshot in self._snapshots.items():
                value = _at(snapshot, place)
                for key, number in value.items() if label is not None else [(None, value)]:
                    family.add_metric([worker] if key is None else [worker, key], number)
            yield family
        for kind, name, meaning, place in HISTOGRAMS:
            family = kind(f"echoactor_{name}", meaning, labels=["worker"])  # type: ignore[call-arg]  # as above
            for worker, snapshot in self._snapshots.items():
                value = snapshot[place]
                # Always with a point, which Prometheus 3 would add, and queries name the ends.
                ends = [*(str(float(end)) for end in value["bounds"]), "+Inf"]
                family.add_metric(
                    [worker], list(zip(ends, accumulate(value["counts"]), strict=True)), value["sum"]
                )
            yield family


def _at(snapshot: Mapping[str, Any], place: str) -> Any:
    value: Any = snapshot
    for key in place.split("."):
        value = value[key]
    return value


def _encoder_for(accept: bytes) -> tuple[Callable[[Any], bytes], str]:
    """How to write, as a header wants it; the library raises on what it does not understand."""
    try:
        return choose_encoder(accept.decode("latin-1"))
    except Exception:
        return choose_encoder("")


class Metrics(Resource):
    """
    Answers Prometheus, in the reactor's own thread.

    :param read: gives :data:`Snapshots`, or a Deferred of them.
    """

    isLeaf = True

    def __init__(self, read: Callable[[], Any]) -> None:
        super().__init__()
        self._read = read

    def render(self, request: Any) -> Any:
        """Answer."""
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)

        def answer(snapshots: Snapshots) -> None:
            if gone:
                return
            encode, content_type = _encoder_for(request.requestHeaders.getRawHeaders(b"accept", [b""])[0])
            registry = CollectorRegistry()
            registry.register(Collector(snapshots))
            request.setHeader(b"Content-Type", content_type.encode())
            request.write(b"" if request.method == b"HEAD" else encode(registry))
            request.finish()

        def fail(failure: Failure) -> None:
            if not gone:
                request.processingFailed(failure)

        maybeDeferred(self._read).addCallback(answer).addErrback(fail)
        return NOT_DONE_YET
