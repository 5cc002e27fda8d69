"""
What the ratios must reach, and what they were when somebody last stored them.

``ratios.json`` has an object for each: ``figure`` of ``server`` in ``scenario``, divided by that of the
server ``to`` (in ``to_scenario``, where that is another one); ``demanded``, the least it must be (of what is
better when it is less: the most); ``stored``, what it was; ``tolerance``, the part of ``stored`` by which a
run may be worse before it is a regression. Never a time: in an hour those are another machine's.
"""

import json
from pathlib import Path
from statistics import median
from typing import Any

from table import Results, mark

FILE = Path(__file__).with_name("ratios.json")
LESS_IS_BETTER = {"cpu", "p50", "p99", "p99.9", "memory"}

Target = dict[str, Any]


def load() -> list[Target]:
    """All targets."""
    targets: list[Target] = json.loads(FILE.read_text())
    return targets


def store(results: Results, targets: list[Target]) -> None:
    """Write what was measured into the file, where it was."""
    for target in targets:
        if ratios := ratios_of(results, target):
            target["stored"] = round(median(ratios), 3)
    FILE.write_text("[\n" + ",\n".join(f"    {json.dumps(target)}" for target in targets) + "\n]\n")


def ratios_of(results: Results, target: Target) -> list[float]:
    """The ratio a target is about, of each round; none, where it was not measured."""
    scenarios = {str(scenario): scenario for scenario in results.scenarios()}
    of, to = target["scenario"], target.get("to_scenario", target["scenario"])
    if of not in scenarios or to not in scenarios:
        return []
    return results.ratios(target["figure"], (scenarios[of], target["server"]), (scenarios[to], target["to"]))


def is_worse(target: Target, ratio: float, than: float) -> bool:
    """Whether a target's ratio is on the wrong side of another."""
    return ratio > than if target["figure"] in LESS_IS_BETTER else ratio < than


def has_regressed(results: Results, target: Target) -> bool:
    """Whether what was measured is worse than what is stored, by more than the tolerance."""
    ratios, stored = ratios_of(results, target), target["stored"]
    if not ratios or stored is None:
        return False
    less = target["figure"] in LESS_IS_BETTER
    limit = stored * (1 + target["tolerance"] if less else 1 - target["tolerance"])
    return is_worse(target, median(ratios), limit)


def show(results: Results, targets: list[Target]) -> str:
    """The table of targets: demanded, stored, measured (least and most of the rounds), verdict."""
    lines = [f"{'what must be reached':36} {'':20} {'to':17} {'demanded':>8} {'stored':>6} {'measured':>8}"]
    for target in targets:
        figure, demanded, stored = target["figure"], target["demanded"], target["stored"]
        to = target["to_scenario"].rpartition(", ")[2] if "to_scenario" in target else target["to"]
        sign = "<=" if figure in LESS_IS_BETTER else ">="
        line = f"{figure + ', ' + target['scenario']:36} {target['server']:20} {to:17}"
        line += f" {'' if demanded is None else f'{sign} {demanded:.2f}':>8}"
        line += f" {'-' if stored is None else f'{stored:.2f}':>6}"
        lines.append(f"{line} {_verdict(results, target)}".rstrip())
    return "\n".join(lines)


def _verdict(results: Results, target: Target) -> str:
    ratios = ratios_of(results, target)
    if not ratios:
        return f"{'-':>8} not measured"
    words = [f"{median(ratios):8.2f} ({min(ratios):.2f} to {max(ratios):.2f})"]
    if target["demanded"] is not None:
        words.append("MISSED" if is_worse(target, median(ratios), target["demanded"]) else "met")
    if has_regressed(results, target):
        words.append("REGRESSED")
    scenario = next(one for one in results.scenarios() if str(one) == target["scenario"])
    words += sorted({mark(results, scenario, target[one]) for one in ("server", "to")} - {""})
    return " ".join(words)
