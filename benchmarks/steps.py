"""
What each step of a message costs in our own server: the server without it, beside the whole one.

usage: python benchmarks/steps.py [--rounds N] [--seconds S]

The servers take turns, as in echo.py, whose limit for Python is one of them: 64 bytes, 50 connections, the
server's CPU time.
"""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from echo import positive
from measure import Load, Scenario, measure
from processes import Broken, Server
from servers import PEERS, python_epoll

WITHOUT = [sys.executable, str(PEERS / "without.py")]
WAYS = {
    "the whole server": [*WITHOUT, "nothing", "{port}"],
    "without match in receive": [*WITHOUT, "match", "{port}"],
    "without transport.write": [*WITHOUT, "write", "{port}"],
    "without the actor's turn": [*WITHOUT, "turn", "{port}"],
    "without these three": [*WITHOUT, "all", "{port}"],
    "Python's epoll alone": python_epoll(PEERS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=positive(int), default=15)
    parser.add_argument("--seconds", type=positive(float), default=0.5)
    options = parser.parse_args()
    used: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        load = Load(Path(directory))
        running = {way: stack.enter_context(Server(command)) for way, command in WAYS.items()}
        for server in running.values():
            server.wait_until_listening()
        for _ in range(options.rounds):
            for way, server in running.items():
                used[way].append(measure(server, Scenario("messages", 50), load, options.seconds)["cpu"])
    print(f"{options.rounds} rounds of {options.seconds:g} s: medians, and of the ratios in each round")
    print(f"{'':26} {'cpu us':>6} {'ratio':>6} {'less us':>8}")
    whole = used["the whole server"]
    for way, those in used.items():
        ratio = median(one / all_of_it for one, all_of_it in zip(those, whole, strict=True))
        print(f"{way:26} {median(those) * 1e6:6.2f} {ratio:6.3f} {(1 - ratio) * median(whole) * 1e6:8.2f}")


if __name__ == "__main__":
    try:
        main()
    except Broken as error:
        sys.exit(str(error))
