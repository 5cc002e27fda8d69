"""What the benchmarks conclude from what they measure, and what their load generators notice."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

with mock.patch.object(sys, "path", [str(BENCHMARKS), *sys.path]):
    echo: Any = import_module("echo")
    measure: Any = import_module("measure")
    servers: Any = import_module("servers")
    table: Any = import_module("table")
    targets: Any = import_module("targets")

reactor: Any = global_reactor
FEW, MANY = measure.Scenario("messages", 50), measure.Scenario("messages", 5000)


def target(**changes: Any) -> dict[str, Any]:
    """A target: one's rate is to be at least twice two's."""
    words = {"figure": "rate", "scenario": str(FEW), "server": "one", "to": "two"}
    return {**words, "demanded": 2.0, "stored": None, "tolerance": 0.1, **changes}


def results(*rounds: tuple[float, float], figure: str = "rate") -> Any:
    """What one and two did, round by round."""
    found = table.Results()
    for number, (one, two) in enumerate(rounds, 1):
        found.add(FEW, "one", number, {figure: one})
        found.add(FEW, "two", number, {figure: two})
    return found


class RatioTests(SynchronousTestCase):
    def test_of_the_same_round(self) -> None:
        """A ratio is of two runs of one round, and a round that lacks one of them has none."""
        found = results((10, 5), (40, 10))
        found.add(FEW, "one", 3, {"rate": 1})
        self.assertEqual(found.ratios("rate", (FEW, "one"), (FEW, "two")), [2, 4])

    def test_of_two_scenarios(self) -> None:
        """A server can be compared with itself under another scenario."""
        found = results((10, 5))
        found.add(MANY, "one", 1, {"rate": 8})
        ratios = targets.ratios_of(found, target(scenario=str(MANY), to="one", to_scenario=str(FEW)))
        self.assertEqual(ratios, [0.8])


class TargetTests(SynchronousTestCase):
    def verdict(self, found: Any, words: dict[str, Any]) -> str:
        """The line about a target."""
        line: str = targets.show(found, [words]).splitlines()[1]
        return line

    def test_met(self) -> None:
        """The median decides, and the least and the most are shown."""
        self.assertIn("2.00 (1.50 to 3.00) met", self.verdict(results((6, 2), (3, 2), (4, 2)), target()))

    def test_missed(self) -> None:
        """A rate below what is demanded misses it."""
        self.assertIn("1.50 (1.50 to 1.50) MISSED", self.verdict(results((3, 2)), target()))

    def test_less_is_better(self) -> None:
        """Of latencies, what is demanded is the most they may be."""
        found = results((3, 2), figure="p99")
        self.assertIn("met", self.verdict(found, target(figure="p99", demanded=1.6)))
        self.assertIn("MISSED", self.verdict(found, target(figure="p99", demanded=1.4)))

    def test_regressed(self) -> None:
        """Worse than stored by more than the tolerance is a regression; in the other direction it is none."""
        for figure, stored, regressed in (
            ("rate", 1.7, True),
            ("rate", 1.6, False),
            ("rate", 0.1, False),
            ("rate", None, False),
            ("p99", 1.3, True),
            ("p99", 1.4, False),
            ("p99", 9.0, False),
        ):
            words = target(figure=figure, stored=stored)
            found = results((3, 2), figure=figure)
            self.assertEqual(targets.has_regressed(found, words), regressed, words)
            self.assertEqual("REGRESSED" in self.verdict(found, words), regressed, words)

    def test_not_measured(self) -> None:
        """A target whose servers are not here is no regression."""
        words = target(to="three", stored=9.0)
        self.assertIn("not measured", self.verdict(results((3, 2)), words))
        self.assertFalse(targets.has_regressed(results((3, 2)), words))

    def test_the_generator_was_the_limit(self) -> None:
        """A verdict about a rate that the load generator may have limited is marked."""
        found = results((3, 2))
        found.add(FEW, "two", 1, {"rate": 2, "load": 0.97, "others": 0.01})
        self.assertTrue(self.verdict(found, target()).endswith(" *"))

    def test_others_were_busy(self) -> None:
        """A verdict from a time when others used the cores too is marked."""
        found = results((3, 2))
        found.add(FEW, "one", 1, {"rate": 3, "load": 0.6, "others": 0.2})
        self.assertTrue(self.verdict(found, target()).endswith(" ?"))

    def test_store(self) -> None:
        """What was measured is stored; what was not stays as it was."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        file = Path(directory.name) / "ratios.json"
        words = [target(), target(server="three", stored=5.0)]
        self.patch(targets, "FILE", file)
        targets.store(results((3, 2)), words)
        self.assertEqual([one["stored"] for one in targets.load()], [1.5, 5.0])

    def test_file(self) -> None:
        """Each stored ratio is of servers, scenarios and a figure that there are."""
        scenarios = {str(scenario) for scenario in echo.SCENARIOS}
        names = {contender.name for contender in servers.CONTENDERS}
        for words in targets.load():
            self.assertLessEqual({words["scenario"], words.get("to_scenario", words["scenario"])}, scenarios)
            self.assertLessEqual({words["server"], words["to"]}, names)
            self.assertIn(words["figure"], table.COLUMNS)


class Server(Protocol):
    """Echoes what comes first, and does worse from then on."""

    transport: Any
    factory: Any

    def dataReceived(self, data: bytes) -> None:
        if self.factory.answered:
            self.answer_badly(data)
        else:
            self.transport.write(data)
        self.factory.answered = True

    def answer_badly(self, data: bytes) -> None:
        raise NotImplementedError  # each server in its own way


class Spoils(Server):
    """Changes a byte."""

    def answer_badly(self, data: bytes) -> None:
        self.transport.write(data[:-1] + b"?")


class HangsUp(Server):
    """Closes the connection."""

    def answer_badly(self, data: bytes) -> None:
        self.transport.loseConnection()


class IsSlow(Server):
    """Takes a tenth of a second."""

    late: Any = None

    def answer_badly(self, data: bytes) -> None:
        self.late = reactor.callLater(0.1, self.transport.write, data)

    def connectionLost(self, reason: Any = None) -> None:
        if self.late is not None and self.late.active():
            self.late.cancel()


class LoadTests(TestCase):
    """The generators, against servers that do not do well."""

    def setUp(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.load = measure.Load(Path(self.directory.name))

    async def drive(self, protocol: type[Server], *commands: list[str]) -> list[tuple[int, str]]:
        """The exit status of each generator after a third of a second, and what it said."""
        said = []
        for command in commands:
            factory: Any = Factory.forProtocol(protocol)
            factory.answered = False
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            words = [*command, "127.0.0.1", str(port.getHost().port), "1", "64", "0.35"]
            done = await deferToThread(
                subprocess.run, words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
            )
            said.append((done.returncode, done.stderr + done.stdout))
        return said

    def commands(self) -> list[list[str]]:
        """Each generator that can be had here."""
        if self.load.compiled is None:
            raise SkipTest("no C compiler")
        python = [sys.executable, str(BENCHMARKS / "load.py")]
        return [[self.load.compiled, "messages"], [*python, "messages"]]

    async def test_wrong_byte(self) -> None:
        """A wrong byte ends a generator with status 1."""
        for status, said in await self.drive(Spoils, *self.commands()):
            self.assertEqual((status, "wrong byte" in said), (1, True), said)

    async def test_lost_connection(self) -> None:
        """A lost connection ends a generator with status 1."""
        for status, said in await self.drive(HangsUp, *self.commands()):
            self.assertEqual((status, "connection lost" in said), (1, True), said)

    async def test_latency(self) -> None:
        """Each percentile of answers that take a tenth of a second is about that."""
        for status, said in await self.drive(IsSlow, *self.commands()):
            self.assertEqual(status, 0, said)
            figures = dict(word.split("=") for word in said.splitlines()[-1].split())
            for name in ("p50", "p99", "p999"):
                self.assertGreaterEqual(float(figures[name]), 0.1 * 0.99, said)
                self.assertLess(float(figures[name]), 20.0, said)
