"""What ``echoactor-top`` draws: the page's figures, tree and connections, as lines of a terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .text import shown

__all__ = ["Screen"]

MOMENTS = 40
"""Looks that a chart shows."""

EVENTS = 5
"""Happenings that are shown, where there is room."""

AROUND = 9
"""Lines that are no rows of the tree or of connections, and no happenings."""

BARS = " ▁▂▃▄▅▆▇█"

DOTS = {
    "waiting": ("○", "cyan"),
    "looking": ("○", "cyan"),
    "awaiting": ("◐", "yellow"),
    "doomed": ("◌", "red"),
    "restarting": ("◌", "red"),
    "not running": ("◌", "red"),
    "more": ("…", "dim"),
}
BUSY = ("●", "cyan")


class Screen:
    """
    Keeps what was seen, and draws it.

    :param console: where; it says how much fits.
    :ivar is_new: whether nothing was seen yet.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: dict[str, Any] = {}
        self._events: deque[Sequence[Any]] = deque(maxlen=EVENTS)
        self._past: dict[str, deque[float]] = {}
        self._trouble = ""
        self._note = ""
        self.is_new = True

    @property
    def has_rates(self) -> bool:
        """Whether two looks were taken, so that there is something a second."""
        return self._seen.get("system", {}).get("messages") is not None

    def see(self, seen: dict[str, Any]) -> None:
        """Take in a part of the stream."""
        system = seen.get("system")
        if system is not None:
            before = self._seen.get("system", {}).get("began")
            if before is not None and before != system["began"]:
                self._note = "started again"
                self._events.clear()
            self._keep("messages", system["messages"])
            if system["messages"] is not None:
                self._keep("bytes", system["bytes_in"] + system["bytes_out"])
            self._keep("delay", system["delay"] and system["delay"][1])
        last = self._events[-1][0] if self._events else 0
        self._events.extend(event for event in seen.get("events", ()) if event[0] > last)
        self._seen |= seen
        self._trouble = ""
        self.is_new = False

    def lose(self, trouble: str) -> None:
        """The server has gone."""
        self._trouble = trouble

    def render(self, height: int | None) -> RenderableType:
        """
        All of it.

        :param height: lines there are; None for as many as it takes.
        """
        if "system" not in self._seen:
            return Text("nothing was seen yet")
        tree, found = self._seen["tree"], self._seen["connections"]
        events = list(self._events) if height is None or height > 25 else []
        if height is None:
            rows, connections = len(tree), len(found["rows"])
        else:
            free = height - AROUND - len(events) - bool(events)
            rows = min(len(tree), max(free * 2 // 3, free - len(found["rows"])))
            connections = max(0, free - rows)
        head = self._head(is_one_line=height is not None)
        parts: list[RenderableType] = [head, Text(), self._charts(), Text(), self._tree(tree, rows)]
        if found["rows"] and connections:
            parts += [Text(), self._connections(found, connections)]
        if events:
            parts += [Text(), *(self._event(event) for event in reversed(events))]
        return Group(*parts)

    def _keep(self, name: str, value: float | None) -> None:
        if value is not None:
            self._past.setdefault(name, deque(maxlen=MOMENTS)).append(value)

    def _head(self, is_one_line: bool) -> Text:
        system = self._seen["system"]
        state = (f"● {self._trouble}; trying again", "bold red") if self._trouble else ("● live", "bold cyan")
        line = Text.assemble((shown(system["name"]), "bold"), "  ", state)
        if is_one_line:
            line.overflow, line.no_wrap = "ellipsis", True
        if self._note and not self._trouble:
            line.append(f" ({self._note})", "yellow")
        if system.get("has_others"):
            line.append(" (connections are in its workers)", "dim")
        for name, value in (
            ("actors", f"{system['actors']:,}"),
            ("connections", f"{system['connections']:,}"),
            ("waiting", f"{system['waiting']:,}"),
            ("dead letters", f"{system['dead_letters']:,}"),
            ("up", _age(system["time"] - system["started"])),
        ):
            line.append("   ").append(f"{name} ", "dim").append(value, "bold")
        return line

    def _charts(self) -> Table:
        system = self._seen["system"]
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column(justify="right", style="bold", min_width=20)
        table.add_column(style="cyan", no_wrap=True)
        messages = both = delay = "-"
        if self.has_rates:
            messages = f"{system['messages']:,}"
            both = f"{_size(system['bytes_in'])} · {_size(system['bytes_out'])}"
        if system["delay"]:
            delay = " · ".join(map(_delay, system["delay"]))
        table.add_row("messages/s", messages, self._bars("messages"))
        table.add_row("bytes/s in · out", both, self._bars("bytes"))
        table.add_row("delay median · slowest", delay, self._bars("delay"))
        return table

    def _bars(self, name: str) -> str:
        past = self._past.get(name, ())
        top = max(past, default=0) or 1
        return "".join(BARS[round(value / top * (len(BARS) - 1))] for value in past)

    def _tree(self, tree: list[list[Any]], most: int) -> Table:
        table = self._table(("actor", None), ("mailbox", 9), ("handled", 13), ("restarts", 9))
        for row in tree[:most]:
            _, level, _, _, name, kind, _, state, unread, handled, restarts, children, is_open = row
            dot, style = DOTS.get(state, BUSY)
            who = Text("  " * (level - 1), overflow="ellipsis", no_wrap=True).append(f"{dot} ", style)
            who.append(shown(name), "bold" if state != "more" else "dim")
            if kind != name:
                who.append(f"  {shown(kind)}", "dim")
            if children and not is_open and state != "more":
                who.append(f"  {children:,} below", "dim")
            figures = (f"{unread:,}", f"{handled:,}", f"{restarts:,}") if state != "more" else ("", "", "")
            styles = ("yellow" if unread else "dim", "", "bold red" if restarts else "dim")
            table.add_row(who, *(Text(figure, how) for figure, how in zip(figures, styles, strict=True)))
        return table

    def _connections(self, found: dict[str, Any], most: int) -> Table:
        figures = (("in", 10), ("out", 10), ("rate", 11), ("age", 12))
        table = self._table(("peer, busiest first", None), ("actor", 24), *figures)
        now = self._seen["system"]["time"]
        for number, kind, peer, born, came, went, rate, _ in found["rows"][:most]:
            cells = (
                *(shown(peer), shown(f"{kind} {number}", 24), _size(came), _size(went)),
                *(f"{_size(rate)}/s" if rate else "-", _age(now - born)),
            )
            table.add_row(*(Text(cell, overflow="ellipsis", no_wrap=True) for cell in cells))
        return table

    def _event(self, event: Sequence[Any]) -> Text:
        _, time, kind, text, _ = event
        when = datetime.now() - timedelta(seconds=self._seen["system"]["time"] - time)
        style = {"crashed": "red", "refused": "red", "restarted": "cyan"}.get(kind, "dim")
        line = Text(overflow="ellipsis", no_wrap=True)
        line.append(f"{when:%H:%M:%S} ", "dim").append(f"{shown(kind):<10} ", style)
        return line.append(shown(text, 200))

    def _table(self, *columns: tuple[str, int | None]) -> Table:
        """A table of the whole width; the first column takes what the others leave."""
        table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="dim")
        for name, width in columns:
            table.add_column(
                name, width=width, ratio=1 if width is None else None, no_wrap=True, overflow="ellipsis",
                justify="left" if width is None or name == "actor" else "right",
            )  # fmt: skip
        return table


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.0f} TB"


def _delay(seconds: float) -> str:
    for unit, one in (("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        value = seconds / one
        if value < 999.5 or unit == "s":
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def _age(seconds: float) -> str:
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
