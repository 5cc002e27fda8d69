"""What comes from outside, as text that is safe to show: bounded, and without control characters."""

from __future__ import annotations

from twisted.python.reflect import safe_repr

from ..messages import Crash
from ..text import printable

__all__ = ["kind_in_words", "reason_in_words", "shown"]

LONGEST = 80
"""Letters of a name that are shown. A name may be as long as its author wants,
and a page shows a hundred of them each second."""


def shown(text: object, longest: int = LONGEST) -> str:
    """
    Text of unknown origin, or an object as Python shows it, for a page or a terminal.

    What is not printable is escaped, as Python does it: an escape sequence
    could repaint a terminal, and a mark that turns the direction of writing a page.
    """
    line = text if isinstance(text, str) else safe_repr(text)
    if len(line) > longest:
        line = line[: longest - 1] + "…"
    return printable(line)


def kind_in_words(kind: str) -> str:
    """The name of a class or function, without that of the function that it was made in."""
    return shown(kind.rpartition("<locals>.")[2])


def reason_in_words(reason: object, longest: int = LONGEST) -> str:
    """An exit reason: of a crash, the exception."""
    if type(reason) is Crash:
        return shown(f"{reason.type.removeprefix('builtins.')}: {reason.text}", longest)
    return shown(reason, longest)
