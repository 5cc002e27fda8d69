"""/metrics, as Prometheus reads it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import connectionDone
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SkipTest
from twisted.web.resource import Resource

from echoactor.admin.access import Access
from echoactor.admin.metrics import HISTOGRAMS, NUMBERS, Metrics
from echoactor.admin.site import Site
from echoactor.events import ConnectionRefused
from echoactor.figures import Figures

from .support import ActorTestCase, Adder

HOSTILE = 'a"b\\c\nd\x1b[2J{x="y"} 1e9\n# TYPE evil counter'

SNAPSHOT: dict[str, Any] = {
    "connections": {"open": 1, "limit": 2, "accepted": 3, "refused": {"too many": 4, "too late": 5}},
    "bytes": {"in": 6, "out": 7},
    "messages": {"in": 8, "out": 9},
    "actors": {"alive": 10, "spawned": 11, "crashed": 12, "restarted": 13},
    "handled": 14,
    "dead_letters": 15,
    "descriptors": {"open": 16, "limit": 17},
    "mailbox": {"bounds": [0, 1], "counts": [20, 21, 22], "sum": 23.0},
    "delay": {"bounds": [0.5, 1], "counts": [30, 31, 32], "sum": 33.5},
    "lag": {"bounds": [0.25, 5.0], "counts": [40, 41, 42], "sum": 43.5},
}
"""As ``Figures`` makes them; no number is there twice."""


def buckets(name: str, counts: dict[str, float]) -> dict[tuple[Any, ...], float]:
    """Samples of a histogram of worker 3, by their names and labels."""
    return {(f"{name}_bucket", ("le", end), ("worker", "3")): count for end, count in counts.items()}


class MetricsTests(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.figures = Figures(self.system)
        self.addCleanup(self.figures.close)

    def get(self, read: Any, accept: str = "text/plain", method: str = "GET") -> StringTransport:
        """What a scrape gets."""
        root = Resource()
        root.putChild(b"metrics", Metrics(read))
        channel = Site(root, Access(None, []), self.system.timers, self.clock).buildProtocol(None)
        wire = StringTransport()
        channel.makeConnection(wire)
        self.addCleanup(channel.connectionLost, connectionDone)
        self.channel = channel
        request = f"{method} /metrics HTTP/1.0\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n"
        channel.dataReceived(request.encode("latin-1"))
        return wire

    def body(self, wire: Any) -> str:
        data: bytes = wire.value()
        return data.partition(b"\r\n\r\n")[2].decode()

    def own(self) -> Any:
        return {"0": self.figures.snapshot()}

    def test_all_figures(self) -> None:
        """Each figure is there, once for each worker, and Prometheus's own parser reads it."""
        wire = self.get(lambda: {"0": self.figures.snapshot(), "1": self.figures.snapshot()})
        self.assertIn(b"Content-Type: text/plain; version=", wire.value())
        families = {family.name: family for family in parse(self.body(wire))}
        for _, name, *_ in (*NUMBERS, *HISTOGRAMS):
            family = families[f"echoactor_{name}"]
            self.assertEqual({sample.labels["worker"] for sample in family.samples}, {"0", "1"}, name)

    def test_documented(self) -> None:
        """docs/observing.rst explains each figure, and no other."""
        text = (Path(__file__).parent.parent / "docs" / "observing.rst").read_text()
        explained = re.findall(r"(?m)^``([a-z_]+)`` {2,}\S", text[: text.index("\nHealth\n")])
        there = [name + ("_total" if kind is CounterMetricFamily else "") for kind, name, *_ in NUMBERS]
        self.assertEqual(sorted(explained), sorted([*there, *(name for _, name, *_ in HISTOGRAMS)]))

    def test_values(self) -> None:
        """Each number has its own name and labels; a bucket counts those of the ones before it, too."""
        wire = self.get(lambda: {"3": SNAPSHOT})
        found = {
            (sample.name.removeprefix("echoactor_"), *sorted(sample.labels.items())): sample.value
            for family in parse(self.body(wire))
            for sample in family.samples
        }
        worker = ("worker", "3")
        wanted: dict[tuple[Any, ...], float] = {
            ("connections", worker): 1,
            ("connections_limit", worker): 2,
            ("connections_accepted_total", worker): 3,
            ("connections_refused_total", ("reason", "too many"), worker): 4,
            ("connections_refused_total", ("reason", "too late"), worker): 5,
            ("connection_bytes_total", ("direction", "in"), worker): 6,
            ("connection_bytes_total", ("direction", "out"), worker): 7,
            ("connection_messages_total", ("direction", "in"), worker): 8,
            ("connection_messages_total", ("direction", "out"), worker): 9,
            ("actors", worker): 10,
            ("actors_spawned_total", worker): 11,
            ("actors_crashed_total", worker): 12,
            ("actors_restarted_total", worker): 13,
            ("messages_handled_total", worker): 14,
            ("dead_letters_total", worker): 15,
            ("descriptors", worker): 16,
            ("descriptors_limit", worker): 17,
            **buckets("mailbox_length", {"0.0": 20, "1.0": 20 + 21, "+Inf": 20 + 21 + 22}),
            ("mailbox_length_gcount", worker): 20 + 21 + 22,
            ("mailbox_length_gsum", worker): 23,
            **buckets("delivery_delay_seconds", {"0.5": 30, "1.0": 30 + 31, "+Inf": 30 + 31 + 32}),
            ("delivery_delay_seconds_count", worker): 30 + 31 + 32,
            ("delivery_delay_seconds_sum", worker): 33.5,
            **buckets("reactor_lag_seconds", {"0.25": 40, "5.0": 40 + 41, "+Inf": 40 + 41 + 42}),
            ("reactor_lag_seconds_count", worker): 40 + 41 + 42,
            ("reactor_lag_seconds_sum", worker): 43.5,
        }
        self.assertEqual(found, wanted)

    def test_openmetrics(self) -> None:
        """Who asks for OpenMetrics gets it."""
        wire = self.get(self.own, "application/openmetrics-text; version=1.0.0")
        self.assertIn(b"Content-Type: application/openmetrics-text; version=1.0.0", wire.value())
        kinds = {family.name: family.type for family in parse_openmetrics(self.body(wire))}
        self.assertEqual(kinds["echoactor_mailbox_length"], "gaugehistogram")
        self.assertEqual(kinds["echoactor_delivery_delay_seconds"], "histogram")

    def test_strange_wishes(self) -> None:
        """Who asks for what cannot be understood gets what Prometheus always reads."""
        for accept in (
            "application/openmetrics-text; version=1.x",
            "text/plain; version=abc",
            "\xff",
            "a/b",
            "",
            ";;,",
        ):
            wire = self.get(self.own, accept)
            self.assertIn(b"Content-Type: text/plain; version=", wire.value(), accept)

    def test_promtool(self) -> None:
        """Prometheus's own tool has nothing to complain of."""
        promtool = shutil.which("promtool")
        if promtool is None:
            raise SkipTest("promtool is not installed")
        self.system.events.emit(ConnectionRefused(None, HOSTILE))
        text = self.body(self.get(self.own))
        result = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        self.assertEqual((result.stdout, result.stderr, result.returncode), ("", "", 0))

    def test_bounded_labels(self) -> None:
        """However hostile and many the names of actors and reasons of refusals, the labels are as few."""
        self.system.events.emit(ConnectionRefused(None, "a program's own reason"))
        before = self.body(self.get(self.own))
        for number in range(100):
            self.system.spawn(Adder, name=f"{HOSTILE} {number}")
            self.system.events.emit(ConnectionRefused(None, f"{HOSTILE} {number}"))
        self.settle()
        after = self.body(self.get(self.own))
        self.assertEqual(len(after.splitlines()), len(before.splitlines()))
        self.assertNotIn("evil", after)
        values = re.findall(r'(\w+)="', after)
        self.assertEqual(set(values), {"worker", "direction", "reason", "le"})

    def test_head(self) -> None:
        """HEAD is answered without a body."""
        wire = self.get(self.own, method="HEAD")
        self.assertIn(b" 200 OK", wire.value())
        self.assertEqual(self.body(wire), "")

    def test_later(self) -> None:
        """Figures of other processes may take their time; a scraper that has gone is nobody's error."""
        for stays in (True, False):
            snapshots: Deferred[Any] = Deferred()
            wire = self.get(lambda answer=snapshots: answer)
            self.assertEqual(wire.value(), b"")
            if not stays:
                self.channel.connectionLost(connectionDone)
            snapshots.callback(self.own())
            self.assertEqual(b"echoactor_actors" in wire.value(), stays)

    def test_failure(self) -> None:
        """Figures that cannot be had are status 500 and an error in the log."""
        wire = self.get(lambda: fail(OSError("no worker answers")))
        self.assertIn(b" 500 ", wire.value())
        self.assertNotIn(b"no worker", wire.value())
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
