"""
What it costs to be observed: the same server without ``--admin``, with it, and with a page open.

usage: python benchmarks/observed.py [--rounds N] [--seconds S] [--idle N]

The three take turns, as in echo.py. The page is its stream of events, read by a thread of this process: a
browser would want a core of its own. 64 bytes, 50 connections. Then many connections that wait, and what it
takes to be asked about them.
"""

import argparse
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from echo import positive
from measure import SPARE, Figures, Load, Scenario, under_load
from processes import Broken, Server, allow_many_descriptors, cpu_seconds, free_port, settle
from servers import echoactor

SCENARIO = Scenario("messages", 50)
WAYS = ("off", "on", "page open")
SCRAPES = 20


@contextmanager
def page(port: int) -> Iterator[list[bytes]]:
    """The page's stream, being read; what it has brought."""
    events: list[bytes] = []
    stream = urllib.request.urlopen(f"http://127.0.0.1:{port}/events", timeout=30)
    events.append(stream.readline())

    def read() -> None:
        try:
            events.extend(stream)
        except (OSError, AttributeError, ValueError):
            pass  # closed

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield events
    finally:
        stream.close()
        reader.join(5)


def run(way: str, load: Load, directory: Path, seconds: float) -> Figures:
    """One run."""
    port = free_port()
    command = echoactor(directory)
    if way != "off":
        command = [*command, f"--admin={port}"]
    with Server(command) as server:
        server.wait_until_listening()
        if way != "page open":
            return under_load(server, SCENARIO, load, seconds)
        with page(port):
            return under_load(server, SCENARIO, load, seconds)


def with_many(connections: int, directory: Path, seconds: float) -> str:
    """What it takes to be asked about many connections, in words."""
    port = free_port()
    command = [*echoactor(directory), f"--admin={port}", f"--max-connections={connections + SPARE}"]
    with Server(command) as server, ExitStack() as stack:
        server.wait_until_listening()
        for _ in range(connections):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            client.sendall(b"x")
            client.recv(1)
        settle(server.pid)
        used = cpu_seconds(server.pid)
        for _ in range(SCRAPES):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
                text = answer.read()
        used = cpu_seconds(server.pid) - used
        with page(port) as events:
            begun = time.monotonic()
            time.sleep(seconds)
            streamed = sum(map(len, events)) / (time.monotonic() - begun)
    if f'echoactor_connections{{worker="0"}} {connections}.0' not in text.decode():
        raise Broken(f"not all of {connections} connections are in the metrics")
    return (
        f"{connections:,} idle connections: /metrics takes {used / SCRAPES * 1e3:.1f} ms of the server's CPU "
        f"time ({len(text):,} bytes); a page's stream brings {streamed:,.0f} bytes a second"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=positive(int), default=9)
    parser.add_argument("--seconds", type=positive(float), default=2.0)
    parser.add_argument("--idle", type=positive(int), default=10_000, help="that wait; default 10,000")
    options = parser.parse_args()
    runs: dict[str, list[Figures]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as directory:
        load = Load(Path(directory))
        for _ in range(options.rounds):
            for way in WAYS:
                runs[way].append(run(way, load, Path(directory), options.seconds))
        many = min(options.idle, allow_many_descriptors() - 2 * SPARE)
        asked = with_many(many, Path(directory), options.seconds)
    print(
        f"{options.rounds} rounds of {options.seconds:g} s: medians, and of the ratios to off in each round"
    )
    print(f"{'admin':>10} {'a second':>10} {'ratio':>6} {'cpu us':>8} {'ratio':>6}")
    for way in WAYS:
        rate, cpu = (
            median(one[name] / off[name] for one, off in zip(runs[way], runs["off"], strict=True))
            for name in ("rate", "cpu")
        )
        a_second, used = (median(one[name] for one in runs[way]) for name in ("rate", "cpu"))
        print(f"{way:>10} {a_second:10,.0f} {rate:6.3f} {used * 1e6:8.2f} {cpu:6.3f}")
    print(asked)


if __name__ == "__main__":
    try:
        main()
    except Broken as error:
        sys.exit(str(error))
