"""Text of unknown origin, made safe to show."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from echoactor import Crash, Shutdown
from echoactor.admin.text import LONGEST, reason_in_words, shown


class Bad:
    def __repr__(self) -> str:
        raise ValueError


class TextTests(SynchronousTestCase):
    def test_ordinary(self) -> None:
        """What is harmless stays as it is, markup too: the page shows it as text."""
        for text in ("", "till", "<b>bold</b>", "Zoë ist da", "日本語"):
            self.assertEqual(shown(text), text)

    def test_control(self) -> None:
        """What could move a cursor, ring, turn the direction or break a line is escaped."""
        self.assertEqual(shown("\x1b[2J\r\n\x07\u202e\u2028\ud800"), r"\x1b[2J\r\n\x07\u202e\u2028\ud800")

    def test_long(self) -> None:
        """Only so much is shown, and its end says that there is more."""
        self.assertEqual(shown("x" * 10_000), "x" * (LONGEST - 1) + "…")
        self.assertEqual(shown("x" * LONGEST), "x" * LONGEST)
        self.assertEqual(shown("abcdef", 4), "abc…")

    def test_objects(self) -> None:
        """An object is shown as Python shows it, if it can be."""
        self.assertEqual(shown(("a", 1)), "('a', 1)")
        self.assertIn("Bad", shown(Bad()))

    def test_reasons(self) -> None:
        """Of a crash the exception is shown, of other reasons themselves."""
        self.assertEqual(reason_in_words(Crash("builtins.ValueError", "no\n", "…")), "ValueError: no\\n")
        self.assertEqual(reason_in_words(Crash("shop.SoldOut", "", "…")), "shop.SoldOut: ")
        self.assertEqual(reason_in_words("kill"), "kill")
        self.assertEqual(reason_in_words(Shutdown("idle")), "Shutdown(detail='idle')")
