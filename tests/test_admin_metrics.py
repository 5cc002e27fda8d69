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

from echoactor import ChildSpec
from echoactor.admin.access import Access
from echoactor.admin.metrics import HISTOGRAMS, NUMBERS, Metrics
from echoactor.admin.site import Site
from echoactor.events import ConnectionRefused
from echoactor.figures import Figures

from .support import ActorTestCase, Adder

HOSTILE = 'a"b\\c\nd\x1b[2J{x="y"} 1e9\n# TYPE evil counter'


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
        """What is counted is what is told."""
        self.system.start_child(ChildSpec(Adder, name="adder"))
        self.settle()
        self.system.send("adder", ValueError("boom"))
        self.settle()
        self.flushLoggedErrors(ValueError)
        self.system.events.emit(ConnectionRefused(None, "its address is denied"))
        self.system.send("nobody", 1)
        samples = {
            (sample.name.removeprefix("echoactor_"), sample.labels.get("reason")): sample.value
            for family in parse(self.body(self.get(self.own)))
            for sample in family.samples
        }
        self.assertEqual(samples["actors", None], 2)
        self.assertEqual(samples["actors_spawned_total", None], 3)
        self.assertEqual(samples["actors_crashed_total", None], 1)
        self.assertEqual(samples["actors_restarted_total", None], 1)
        self.assertEqual(samples["dead_letters_total", None], 1)
        self.assertEqual(samples["connections_refused_total", "its address is denied"], 1)

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
