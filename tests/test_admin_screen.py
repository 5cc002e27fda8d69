"""What ``echoactor-top`` draws, at the sizes that terminals have."""

from __future__ import annotations

from datetime import datetime, timedelta
from io import StringIO
from types import SimpleNamespace
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from echoactor.admin import screen as module
from echoactor.admin.screen import Screen, _age, _delay, _end, _size

SIZES = ((40, 15), (40, 20), (60, 24), (80, 24), (120, 40), (200, 50))


def row(level: int, name: str, state: str = "waiting", *, restarts: int = 0, children: int = 0) -> list[Any]:
    """A row of the tree, as the server sends it."""
    return ["key", level, 1, 1, name, "Adder", 1, state, 7_000, 123_456, restarts, children, True]


def seen(tree: list[list[Any]] | None = None, connections: int = 50) -> dict[str, Any]:
    """What the server sends at first."""
    figures = ("actors", "connections", "waiting", "dead_letters", "messages", "bytes_in", "bytes_out")
    if tree is None:
        tree = [row(1, "Supervisor"), *(row(3, f"127.0.0.1:{50_000 + n}", restarts=n) for n in range(50))]
    rows = [[n, "Customer", f"127.0.0.1:{60_000 + n}", 1.0, 1536, 2, 3, 4] for n in range(connections)]
    return {
        "system": {
            **dict.fromkeys(figures, 1_234_567),
            **{"name": "x", "began": 1.0, "started": 0.0, "time": 86_399.0, "delay": [0.001, 0.0123]},
        },
        "tree": tree,
        "events": [[n + 1, 1.0, "opened", "x" * 500, None] for n in range(50)],
        "actor": None,
        "connections": {"all": connections, "found": connections, "first": 0, "rows": rows[:20]},
    }


class ScreenTestCase(SynchronousTestCase):
    def screen(self, width: int, what: dict[str, Any]) -> Screen:
        """A screen that saw this."""
        self.console = Console(width=width, height=1, file=StringIO(), color_system=None)
        screen = Screen(self.console)
        screen.see(what)
        return screen

    def lines(self, screen: Screen, height: int | None) -> list[str]:
        """What is drawn, line by line."""
        drawn = self.console.render_lines(screen.render(height), pad=False)
        return ["".join(segment.text for segment in line).rstrip() for line in drawn]

    def draw(self, width: int, height: int | None, what: dict[str, Any]) -> list[str]:
        """What is drawn of this, line by line."""
        return self.lines(self.screen(width, what), height)


class RoomTests(ScreenTestCase):
    def test_fits(self) -> None:
        """No line is wider than the terminal, and there are no more than fit, whatever the names."""
        tree = [row(level, "名" * 80) for level in range(1, 60)]
        for what in (seen(), seen(tree), seen([row(1, "Supervisor")], 1), seen([row(1, "Supervisor")], 0)):
            for width, height in SIZES:
                screen = self.screen(width, what)
                for trouble in ("", "x" * 80):
                    screen.lose(trouble)
                    lines = self.lines(screen, height)
                    self.assertLessEqual(len(lines), height)
                    self.assertLessEqual(max(map(cell_len, lines)), width)

    def test_vital(self) -> None:
        """At each size the figures of the system are whole, and ports, mailboxes, restarts and rates."""
        for width, height in SIZES:
            lines = self.draw(width, height, seen())
            text = "\n".join(lines)
            for figure in ("actors", "connections", "waiting", "dead letters"):
                self.assertIn(f"{figure} 1,234,567", text)
            self.assertIn("up 23 h 59 min", text)
            for chart in (
                r"messages/s +1,234,567",
                r"bytes/s in · out  1.23 MB · 1.23 MB",
                r"delay · slowest +1.0 ms · 12 ms",
            ):
                self.assertRegex(text, rf"(?m)^{chart} .*█$")
            if height > 15:
                self.assertRegex(text, r"(?m)^○ Supervisor +(Adder +)?7,000 +0\b")
                self.assertRegex(text, r"(?m)^    ○ .*0\.1:50001 .*7,000 +1\b")
                self.assertRegex(text, r"(?m)^127\.0\.0\.1:60001 +3 B/s\b")

    def test_narrowest(self) -> None:
        """Where there is hardly room for figures they are whole, and their names are not."""
        text = "\n".join(self.draw(30, 24, seen()))
        for figure in ("1,234,567", "1.23 MB · 1.23 MB", "1.0 ms · 12 ms"):
            self.assertRegex(text, rf" {figure}\n")

    def test_columns(self) -> None:
        """Where there is no room for all columns, the last are left out, and no figure is cut."""
        for width, columns in (
            (40, "peer, busiest first rate in"),
            (60, "peer, busiest first rate in out age"),
            (80, "peer, busiest first rate in out age"),
            (100, "peer, busiest first rate in out age actor"),
        ):
            lines = [" ".join(line.split()) for line in self.draw(width, 40, seen())]
            self.assertIn(columns, lines)
            self.assertIn("actor mailbox restarts handled"[: 22 if width == 40 else None], lines)
            whole = "127.0.0.1:60002 3 B/s 1.54 kB 2 B 23 h 59 min Customer 2"
            found = next(line for line in lines if line.startswith("127.0.0.1:60002"))
            self.assertEqual(found, whole[: len(found)])

    def test_more(self) -> None:
        """What does not fit is counted, in the tree and of the connections."""
        tree = [*(row(1, f"actor {n}") for n in range(30)), row(2, "970 more", "more", children=970)]
        for width, height in SIZES[1:]:
            lines = self.draw(width, height, seen(tree, 500))
            actors = sum("○ actor" in line for line in lines)
            peers = sum(line.startswith("127.0.0.1:") for line in lines)
            more = [line for line in lines if line.startswith("… ")]
            left = [f"… {1000 - actors} more"] * (actors < 30) + [f"… {500 - peers} more"]
            self.assertEqual(more, left)

    def test_all(self) -> None:
        """Where all fits, nothing is said of more; and there is no more than the server sent."""
        self.assertNotIn("more", "".join(self.draw(80, 100, seen(connections=20))))
        self.assertEqual(self.draw(80, 100, seen())[-8], "… 30 more")

    def test_no_limit(self) -> None:
        """Without a height all is drawn that was sent, and nothing about keys."""
        lines = self.draw(60, None, seen())
        text = "\n".join(lines)
        self.assertIn("127.0.0.1:50049", text)
        self.assertIn("127.0.0.1:60019", text)
        self.assertEqual([line for line in lines if line.startswith("… ")], ["… 30 more"])
        self.assertNotIn("q ends", text)

    def test_foot(self) -> None:
        """The last line tells how to leave, and what the signs mean, as far as there is room."""
        whole = "q ends   ○ waits   ● works   ◐ awaits   ◌ does not run"
        for width, height in SIZES:
            last = self.draw(width, height, seen())[-1]
            self.assertEqual(last, whole if width > 40 else "q ends   ○ waits   ● works   ◐ awaits")

    def test_chart(self) -> None:
        """A chart that has no room for all shows the last moments."""
        screen = self.screen(50, seen())
        for rate in range(20):
            what = seen()
            what["system"]["messages"] = rate
            screen.see(what)
        self.assertRegex("\n".join(self.lines(screen, 24)), r"(?m)^messages/s +19  .{12}█$")

    def test_deep(self) -> None:
        """The deepest have names, too, and of those that are too long the end."""
        tree = [row(level, f"[2001:db8::1]:{50_000 + level}") for level in range(1, 9)]
        lines = self.draw(40, 30, seen(tree, 0))
        for level in range(1, 9):
            self.assertRegex("\n".join(lines), rf"○ .*:5000{level} +7,000")


class LostTests(ScreenTestCase):
    def test_lost(self) -> None:
        """When the server is gone the first line says so, and all the last figures stay."""
        for width, height in SIZES[3:]:
            screen = self.screen(width, seen())
            before = self.lines(screen, height)
            screen.lose("http://127.0.0.1:9090: Connection refused")
            after = self.lines(screen, height)
            self.assertEqual(after[0], "x  ● http://127.0.0.1:9090: Connection refused; trying again")
            self.assertEqual(after[1:], before[1:])
            screen.see(seen())
            self.assertEqual(self.lines(screen, height)[0], "x  ● live")

    def test_long(self) -> None:
        """Trouble that is longer than a line is told to its end."""
        screen = self.screen(40, seen())
        screen.lose("http://127.0.0.1:9090: Connection refused")
        lines = self.lines(screen, 20)
        self.assertEqual(" ".join(lines[:2]), "x  ● http://127.0.0.1:9090: Connection refused; trying again")
        self.assertRegex(lines[2], r"^actors ")

    def test_times(self) -> None:
        """What happened keeps its time, however long the server is gone."""
        screen = self.screen(80, seen())
        before = self.lines(screen, 40)
        clock = datetime.now() + timedelta(hours=1)
        self.patch(module, "datetime", SimpleNamespace(now=lambda: clock))
        self.assertEqual(self.lines(screen, 40), before)


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

    def test_end(self) -> None:
        """Of a name that does not fit the end is left, in as many cells as there are."""
        for name, room, text in (
            ("127.0.0.1:59788", 15, "127.0.0.1:59788"),
            ("127.0.0.1:59788", 9, "….1:59788"),
            ("127.0.0.1:59788", 7, "…:59788"),
            ("名名名 12", 7, "…名 12"),
            ("x", 0, "…"),
        ):
            self.assertEqual(_end(name, room), text)
