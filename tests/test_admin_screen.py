"""What ``echoactor-top`` draws."""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from echoactor.admin.screen import Screen, _age, _delay, _size


class WordsTests(SynchronousTestCase):
    def test_figures(self) -> None:
        """Sizes, delays and ages have three digits or so, and a unit."""
        sizes = {0: "0 B", 999: "999 B", 1000: "1 kB", 1536: "1.54 kB", 999_700: "1 MB", 10**16: "10,000 TB"}
        for value, text in sizes.items():
            self.assertEqual(_size(value), text)
        for delay, text in (
            (0, "0.0 µs"),
            (4.2e-6, "4.2 µs"),
            (9.96e-5, "100 µs"),
            (9.997e-4, "1.0 ms"),
            (12, "12 s"),
        ):
            self.assertEqual(_delay(delay), text)
        for age, text in (
            (-1, "0 s"),
            (59.9, "59 s"),
            (61, "1 min 1 s"),
            (7260, "2 h 1 min"),
            (90_000, "1 d 1 h"),
        ):
            self.assertEqual(_age(age), text)

    def test_small_terminals(self) -> None:
        """What is drawn fits, whatever the height."""
        system: dict[str, Any] = {
            **dict.fromkeys(
                ("actors", "connections", "waiting", "dead_letters", "messages", "bytes_in", "bytes_out"), 5
            ),
            **{"name": "x", "began": 1.0, "started": 0.0, "time": 9.0, "delay": [0.001, 0.002]},
        }
        tree = [
            [f"a{n}", 1, n, 50, f"actor {n}", "Adder", n, "waiting", 0, 0, 0, 0, False] for n in range(50)
        ]
        rows = [[n, "Echo", f"peer {n}", 1.0, 0, 0, 0, 0] for n in range(50)]
        events = [[n, 1.0, "opened", "x" * 500, None] for n in range(50)]
        seen = {
            "system": system, "tree": tree, "events": events, "actor": None,
            "connections": {"all": 50, "found": 50, "first": 0, "rows": rows},
        }  # fmt: skip
        for height in (18, 24, 40, 80):
            with open(os.devnull, "w") as nowhere:
                console = Console(width=60, height=height, file=nowhere)
                screen = Screen(console)
                screen.see(seen)
                self.assertLessEqual(len(console.render_lines(screen.render(height))), height)
                with console.capture() as printed:  # as --once does, with as many lines as it takes
                    console.print(screen.render(None))
                self.assertIn("dead letters 5", " ".join(printed.get().split()))
