"""What the terminal shows while the load runs."""

from __future__ import annotations

import io
import re

from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from echoactor.load.display import Display
from echoactor.load.figures import Second
from echoactor.load.options import LoadOptions


def second(end: float, errors: int = 0) -> Second:
    return Second(end=end, length=0.5, messages=1000, errors=errors, p50=230, p99=4567, max=1_234_567)


class DisplayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = io.StringIO()
        console = Console(file=self.file, force_terminal=True, width=100, legacy_windows=False)
        self.options = LoadOptions(host="::1", port=8080, connections=1000, size=500, duration=4)
        self.display = Display(self.options, console)

    def shown(self) -> str:
        """What was drawn since the last time, without colours and movements."""
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.file.getvalue())
        self.file.truncate(0)
        self.file.seek(0)
        return text

    def test_opening(self) -> None:
        """While connections open, it says how many; not for each one."""
        with self.display:
            for count in range(1, 501):
                self.display.show_open(count)
            shown = self.shown()
        self.assertIn("500 of 1000 connections", shown)
        self.assertEqual(len(re.findall("of 1000 connections", shown)), 50)

    def test_seconds(self) -> None:
        """Each second shows how far it is, and the figures of that second."""
        with self.display:
            self.display.show_second(second(1.0))
            first = self.shown()
            self.display.show_second(second(2.0))
            third = self.shown()
        for text in ("[::1]:8080", "1 of 4 s", "2,000 messages/s", "1.00 MB/s"):
            self.assertIn(text, first)
        for text in ("p50 230 us", "p99 4.57 ms", "max 1.23 s"):
            self.assertIn(text, first)
        self.assertIn("2 of 4 s", third)
        self.assertGreater(third.count("━"), 0)

    def test_errors(self) -> None:
        """Errors are added up, and shown when there are some."""
        with self.display:
            self.display.show_second(second(1.0))
            self.assertNotIn("errors", self.shown())
            self.display.show_second(second(2.0, errors=3))
            self.display.show_second(second(3.0, errors=4))
            self.assertIn("7 errors", self.shown())

    def test_a_word_in_brackets(self) -> None:
        """A target is shown as it is, even where rich would take it for a style."""
        self.display = Display(
            LoadOptions(host="::bad", port=1), Console(file=self.file, force_terminal=True)
        )
        with self.display:
            self.display.show_second(second(1.0))
            self.assertIn("[::bad]:1", self.shown())

    def test_gone(self) -> None:
        """The picture is wiped off at the end, so that the report stands alone."""
        with self.display:
            self.display.show_second(second(1.0))
            self.shown()
        self.assertIn("\x1b[2K", self.file.getvalue())
