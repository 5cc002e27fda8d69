"""What the load client reports."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from echoactor.load.figures import Figures
from echoactor.load.options import LoadOptions
from echoactor.load.report import as_json, as_text, csv_writer, duration_text, plot, warnings

from .support import ActorTestCase

PNG, PDF = b"\x89PNG\r\n\x1a\n", b"%PDF-"


def made_options(**more: Any) -> LoadOptions:
    return LoadOptions(host="127.0.0.1", port=8080, connections=2, size=1000, duration=2.0, **more)


def made_figures(messages: int = 1000) -> Figures:
    """Two seconds with latencies from 1 to 1000 us, a quarter of a core."""
    figures = Figures()
    figures.begin(10.0)
    for second in (11.0, 12.0):
        for latency in range(1, messages + 1):
            figures.latencies[latency] += 1
        figures.end_second(second)
    figures.sent(12.0)
    figures.cpu_share = 0.25
    return figures


class ReportTests(ActorTestCase):
    def test_text(self) -> None:
        """The report for people has load, throughput, latencies, the client's share and the errors."""
        self.assertEqual(
            as_text(made_options(), made_figures()).splitlines(),
            [
                "127.0.0.1:8080: 2 connections, 1000 bytes, 1 at once, as fast as answered",
                "",
                "throughput  1,000 messages/s   1.00 MB/s",
                "            2,000 messages in 2.00 s",
                "latency     from the sending",
                "    p50         500 us",
                "    p90         900 us",
                "    p99         990 us",
                "    p99.9       999 us",
                "    max        1.00 ms",
                "client      25% of a core",
                "errors      none",
            ],
        )

    def test_text_of_a_schedule(self) -> None:
        """At a rate, the text names it, and from when latency counts."""
        text = as_text(made_options(rate=2500.0, tls=True), made_figures())
        self.assertIn("127.0.0.1:8080 (TLS): 2 connections", text)
        self.assertIn("1 at once, 2,500 messages/s", text)
        self.assertIn("from when each was due", text)

    def test_text_of_errors(self) -> None:
        """Errors are counted by kind, then told."""
        figures = made_figures()
        figures.fail("wrong byte", "connection 0: here")
        figures.fail("unanswered", "connection 1: there", 3)
        self.assertIn(
            "errors      1 wrong byte, 3 unanswered\n    connection 0: here\n    connection 1: there",
            as_text(made_options(), figures),
        )

    def test_bottleneck(self) -> None:
        """Above nine tenths of a core, it warns that the client is the bottleneck."""
        figures = made_figures()
        figures.cpu_share = 0.9
        self.assertEqual(warnings(made_options(), figures), [])
        figures.cpu_share = 0.97
        [warning] = warnings(made_options(), figures)
        self.assertIn("this client took 97% of a core, and is the bottleneck", warning)
        self.assertIn(f"\nwarning: {warning}", as_text(made_options(), figures))
        self.assertEqual(json.loads(as_json(made_options(), figures))["warnings"], [warning])

    def test_schedule_not_kept(self) -> None:
        """It warns when more than a hundredth of a schedule was not sent."""
        figures = made_figures()
        figures.unsent = 20
        self.assertEqual(warnings(made_options(rate=1e4), figures), [])
        figures.unsent = 2000
        [warning] = warnings(made_options(rate=1e4), figures)
        self.assertIn("2,000 messages that were due were not sent", warning)
        self.assertIn("10,000 messages/s are more than the server can answer", warning)

    def test_nothing_answered(self) -> None:
        """A report about nothing at all can be made."""
        figures = Figures()
        figures.begin(10.0)
        figures.end_second(11.0)
        figures.sent(11.0)
        figures.unsent = 5
        self.assertIn("0 messages in 1.00 s", as_text(made_options(rate=5.0), figures))
        self.assertIsNone(json.loads(as_json(made_options(rate=5.0), figures))["latency_us"]["p99"])
        plot(made_options(rate=5.0), figures, str(self.temporary_directory() / "f.png"))

    def test_no_latency(self) -> None:
        """Where nothing was answered there is no latency, which 0 would make the best of all."""
        figures = made_figures(0)
        self.assertIn("p99              -", as_text(made_options(), figures))
        self.assertEqual(set(json.loads(as_json(made_options(), figures))["latency_us"].values()), {None})
        file = io.StringIO()
        csv_writer(file)(figures.seconds[0])
        [row] = csv.DictReader(file.getvalue().splitlines())
        self.assertEqual([row[name] for name in ("p50_us", "p99_us", "max_us")], [""] * 3)

    def test_json(self) -> None:
        """The report for programs is one object, in one line, with all of it."""
        figures = made_figures()
        figures.fail("connection lost", "connection 1: closed")
        text = as_json(made_options(), figures)
        self.assertEqual(len(text.splitlines()), 1)
        self.assertEqual(
            json.loads(text),
            {
                "target": "127.0.0.1:8080",
                "tls": False,
                "connections": 2,
                "size": 1000,
                "pipeline": 1,
                "rate": None,
                "seconds": 2.0,
                "messages": 2000,
                "messages_per_second": 1000.0,
                "megabytes_per_second": 1.0,
                "latency_from": "sent",
                "latency_us": {"p50": 500, "p90": 900, "p99": 990, "p99.9": 999, "max": 1000},
                "unsent": 0,
                "errors": {"connection lost": 1},
                "error_details": ["connection 1: closed"],
                "client_cpu_share": 0.25,
                "warnings": [],
            },
        )
        self.assertEqual(json.loads(as_json(made_options(rate=5.0), figures))["latency_from"], "due")

    def test_csv(self) -> None:
        """Each second is a row, and is there at once."""
        path = self.temporary_directory() / "f.csv"
        with path.open("w") as file:
            write = csv_writer(file)
            for lines, second in enumerate(made_figures().seconds, 2):
                write(second)
                self.assertEqual(len(path.read_text().splitlines()), lines)
        self.assertEqual(
            list(csv.reader(path.read_text().splitlines())),
            [
                "end_s length_s messages errors p50_us p99_us max_us".split(),
                "1.0 1.0 1000 0 500 990 1000".split(),
                "2.0 1.0 1000 0 500 990 1000".split(),
            ],
        )

    def test_plot(self) -> None:
        """The picture is of the format that its file's ending says."""
        for name, begin in (("f.png", PNG), ("f.pdf", PDF)):
            file = self.temporary_directory() / name
            plot(made_options(), made_figures(), str(file))
            self.assertEqual(file.read_bytes()[: len(begin)], begin)
            self.assertGreater(file.stat().st_size, 5000)

    def test_durations(self) -> None:
        """A duration has the unit that fits."""
        for microseconds, text in ((0, "0 us"), (999, "999 us"), (1000, "1.00 ms"), (1_500_000, "1.50 s")):
            self.assertEqual(duration_text(microseconds), text)
