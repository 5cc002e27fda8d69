"""What was measured, as ratios, for people."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from measure import DISTURBED, Figures, Scenario


class Column(NamedTuple):
    """
    A figure in the tables.

    :ivar head: what is above it.
    :ivar width: of it, in characters.
    :ivar shown: how it is formatted.
    :ivar scale: what it is multiplied with before.
    :ivar ratio: whether its ratio to the first row's is shown too.
    """

    head: str
    width: int
    shown: str = ",.0f"
    scale: float = 1
    ratio: bool = False


COLUMNS = {
    "rate": Column("a second", 9, ratio=True),
    "cpu": Column("cpu us", 7, ".2f", 1e6, ratio=True),
    "p50": Column("p50 us", 8, scale=1e6),
    "p99": Column("p99 us", 8, scale=1e6, ratio=True),
    "p99.9": Column("p99.9 us", 9, scale=1e6),
    "server": Column("server", 7, ".0%"),
    "load": Column("load", 5, ".0%"),
    "others": Column("others", 7, ".0%"),
    "memory": Column("bytes each", 10, ratio=True),
}

NOTES = """
Medians of the rounds; each ratio is the median of the ratios to the first row in the same round. cpu is the
server's, for a message (or a connection's life); server, load, others: what they used of the two cores, in
parts of one. Of cpu, latencies and memory, less is better.
* The load generator had no time left, and the server may be faster than it looks: compare cpu.
? Others used the cores too, each time of three: compare cpu, or wait for a quiet hour.
"""


BUSY = 0.95
"""Above this share of a core, the generator may be what limits the rate."""


class Results:
    """
    All runs, by scenario and server; of each, one in a round.

    :ivar broken: lines about runs that failed.
    """

    def __init__(self) -> None:
        self._runs: dict[tuple[Scenario, str], dict[int, Figures]] = {}
        self.broken: list[str] = []

    def add(self, scenario: Scenario, server: str, number: int, figures: Figures) -> None:
        """Keep what a run of a round gave."""
        self._runs.setdefault((scenario, server), {})[number] = figures

    def scenarios(self) -> list[Scenario]:
        """What was asked, in the order in which it was."""
        return list(dict.fromkeys(scenario for scenario, _ in self._runs))

    def servers(self, scenario: Scenario) -> list[str]:
        """Who was asked that, in their order."""
        return [server for one, server in self._runs if one == scenario]

    def figures(self, scenario: Scenario, server: str, name: str) -> list[float]:
        """A figure, of each run."""
        return [run[name] for run in self._runs.get((scenario, server), {}).values() if name in run]

    def ratios(self, name: str, of: tuple[Scenario, str], to: tuple[Scenario, str]) -> list[float]:
        """A figure's ratios, each of two runs of the same round: neighbours have the same weather."""
        ours, theirs = self._runs.get(of, {}), self._runs.get(to, {})
        return [
            ours[number][name] / theirs[number][name]
            for number in sorted(ours.keys() & theirs.keys())
            if theirs[number].get(name) and name in ours[number]
        ]


def show(results: Results, scenarios: Sequence[Scenario]) -> str:
    """A table for each scenario that was measured; medians, and ratios to the first row."""
    measured = results.scenarios()
    return "\n\n".join("\n".join(_table(results, one)) for one in scenarios if one in measured)


def _table(results: Results, scenario: Scenario) -> list[str]:
    servers = results.servers(scenario)
    names = [name for name in COLUMNS if any(results.figures(scenario, one, name) for one in servers)]
    head = f"{scenario!s:30}"
    for name in names:
        column = COLUMNS[name]
        head += f" {column.head:>{column.width}}" + (f" {'ratio':>5}" if column.ratio else "")
    lines = [head]
    for server in servers:
        line = f"  {server:28}"
        for name in names:
            column = COLUMNS[name]
            value = median(results.figures(scenario, server, name)) * column.scale
            line += f" {value:>{column.width}{column.shown}}"
            if column.ratio:
                ratios = results.ratios(name, (scenario, server), (scenario, servers[0]))
                line += f" {median(ratios):5.2f}" if ratios else f" {'-':>5}"
        lines.append(f"{line} {mark(results, scenario, server)}".rstrip())
    return lines


def mark(results: Results, scenario: Scenario, server: str) -> str:
    """A sign for a rate that may not be the server's: one of the :data:`NOTES`, or nothing."""
    load, others = (results.figures(scenario, server, name) for name in ("load", "others"))
    marks = "*" if load and median(load) > BUSY else ""
    return f"{marks}?" if others and median(others) > DISTURBED else marks
