"""
Echo servers side by side: echoactor, and every peer that can be run here.

usage: python benchmarks/echo.py [--rounds N] [--seconds S] [--only NAME ...] [--full DIRECTORY]
                                 [--check] [--store]

The servers take turns, A B C A B C ..., on one core, with the load generator on another, and what counts is
ratios of neighbouring runs: on a shared machine, absolute figures are noise. The last table says what is
demanded, and whether it is met. It takes four minutes; with --full, more.
"""

import argparse
import math
import platform
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import plots
import table
import targets
from measure import Load, Scenario, measure
from processes import Broken, Server, allow_many_descriptors, cores
from servers import CONTENDERS, Contender, Missing

SCENARIOS = [
    Scenario("idle", 5000),  # first: its servers are fresh, so that memory is not what others left
    Scenario("client", 50, only="C epoll"),  # which leaves the client to be the slower one
    Scenario("messages", 50),
    Scenario("messages", 5000),
    Scenario("messages", 50, 65_536),
    Scenario("connects", 50),
    Scenario("messages", 50, tls=True),
]


def prepare(names: list[str], directory: Path) -> list[tuple[Contender, list[str]]]:
    """Each contender that can be run, with its command; says which cannot, and why."""
    ready = []
    for contender in CONTENDERS:
        if names and contender.name not in names:
            continue
        try:
            ready.append((contender, contender.prepare(directory)))
        except Missing as error:
            print(f"without {contender.name}{' under TLS' if contender.tls else ''}: {error}")
    return ready


def play_round(
    number: int,
    ready: list[tuple[Contender, list[str]]],
    scenarios: list[Scenario],
    load: Load,
    seconds: float,
    results: table.Results,
) -> None:
    """
    One round: each scenario, one server after the other.

    They all run meanwhile, fresh ones in each round; those whose turn it is not have nothing to do.
    """
    for tls in (False, True):
        those = [scenario for scenario in scenarios if scenario.tls == tls]
        if not those:
            continue
        with ExitStack() as stack:
            servers = {
                contender.name: stack.enter_context(Server(command, contender.core))
                for contender, command in ready
                if contender.tls == tls
            }
            for name, server in list(servers.items()):
                try:
                    server.wait_until_listening()
                except Broken as error:
                    results.broken.append(f"round {number}, {name}: {error}")
                    del servers[name]
            for scenario in those:
                print(f"round {number}: {scenario}", file=sys.stderr)
                for name, server in servers.items():
                    if scenario.only not in ("", name):
                        continue
                    try:
                        results.add(scenario, name, number, measure(server, scenario, load, seconds))
                    except Broken as error:
                        results.broken.append(f"round {number}, {scenario}, {name}: {error}")


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """What argparse makes a number of, which is above 0."""

    def parse_number(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise ValueError
        return value

    parse_number.__name__ = f"{kind.__name__} above 0"  # argparse says: invalid ... value
    return parse_number


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=positive(int), default=3, help="default 3")
    parser.add_argument("--seconds", type=positive(float), default=0.8, help="of one run; default 0.8")
    names = list(dict.fromkeys(contender.name for contender in CONTENDERS))
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help=f"of {', '.join(names)}")
    for option, text in (
        ("--check", "exit with status 1 when a ratio is worse than the stored one"),
        ("--store", f"store the ratios in {targets.FILE.name}"),
    ):
        parser.add_argument(option, action="store_true", help=text)
    parser.add_argument(
        "--full", metavar="DIRECTORY", type=Path, help="measure for the plots, and draw them there"
    )
    options = parser.parse_args()
    if options.full and not options.full.is_dir():
        parser.error(f"--full: {options.full} is no directory")
    if options.full and find_spec("matplotlib") is None:
        parser.error("--full: no matplotlib here: pip install 'echoactor[bench]'")
    return options


def main() -> int:
    options = parse()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, end)
    sys.stdout.reconfigure(line_buffering=True)  # in step with what goes to the terminal
    descriptors = allow_many_descriptors()
    demanded = targets.load()
    results = table.Results()
    with tempfile.TemporaryDirectory() as directory:
        load = Load(Path(directory))
        ready = prepare(options.only or [], Path(directory))
        asked = [*SCENARIOS, *(plots.SIZES + plots.CONNECTIONS if options.full else [])]
        scenarios = []
        for scenario in dict.fromkeys(asked):
            try:
                load.check(scenario, descriptors)
                scenarios.append(scenario)
            except Missing as error:
                print(f"without {scenario}: {error}")
        generator = "C" if load.compiled else "Python, which is slow: rates are lower bounds"
        python, twisted = platform.python_version(), version("twisted")
        alone = "; load and server share one: rates mean little" if cores() == 1 else ""
        print(f"load generator: {generator}; under TLS: Python")
        print(f"Python {python}, Twisted {twisted}, {platform.machine()}, {cores()} cores{alone}")
        print(f"{options.rounds} rounds, {options.seconds:g} s a run\n")
        for number in range(1, options.rounds + 1):
            play_round(number, ready, scenarios, load, options.seconds, results)
    if not results.scenarios():
        sys.exit("\n".join(["nothing could be measured", *results.broken]))
    print(table.show(results, SCENARIOS))
    print(table.NOTES)
    print(targets.show(results, demanded))
    for line in results.broken:
        print(f"FAILED: {line}")
    if options.full:
        print(*(f"drawn: {file}" for file in plots.draw(results, options.full)), sep="\n")
    if options.store:
        targets.store(results, demanded)
    regressed = options.check and any(targets.has_regressed(results, target) for target in demanded)
    return 1 if regressed or results.broken else 0


def end(signum: int, frame: FrameType | None) -> None:
    """End by way of every context, each of which ends its process."""
    sys.exit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
