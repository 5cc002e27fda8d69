"""What ``echoactor-top`` draws: the page's figures, tree and connections, as lines of a terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .text import shown
from .tree import Row

__all__ = ["Screen"]

T = TypeVar("T")

MOMENTS = 40
"""Looks that a chart shows."""

EVENTS = 5
"""Happenings that are shown, where there is room."""

NAME = 20
"""Cells that names have at least, an IPv4 peer with its port; columns of figures make room for them."""

USUAL = 40
"""Cells that names have where they can, so that figures stay at their place when other names come."""

CHART = 16 + 2 + 17 + 2
"""Cells before a chart: the longest label, the longest value, and what is between."""

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
LEGEND = {"waiting": "waits", "running": "works", "awaiting": "awaits", "not running": "does not run"}
"""What the signs mean: of each, one of the states that have it."""


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
        self._start = datetime.now()  # when the server's clock was at 0
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
            self._start = datetime.now() - timedelta(seconds=system["time"])
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
        above: list[RenderableType] = [*self._head(), self._charts(), Text()]
        events = [Text(), *(self._event(event) for event in reversed(self._events))] if self._events else []
        below: list[RenderableType] = [] if height is None else [self._foot()]
        free = wanted = len(tree) + found["found"]  # lines for the rows of both
        if height is not None:
            lines = self._console.render_lines(Group(*above, *below))
            free = height - len(lines) - 1 - (2 if found["rows"] else 0)  # the headers, and a line between
        if height is None or height > 25 or free - len(events) >= wanted:
            below = [*events, *below]
            free -= len(events) if height is not None else 0
        rows = min(len(tree), max(1, free * 2 // 3, free - found["found"]))
        above.append(self._tree(tree, rows))
        if found["rows"] and free > rows:
            above += [Text(), self._connections(found, free - rows)]
        return Group(*above, *below)

    def _keep(self, name: str, value: float | None) -> None:
        if value is not None:
            self._past.setdefault(name, deque(maxlen=MOMENTS)).append(value)

    def _head(self) -> list[Text]:
        system = self._seen["system"]
        state = (f"● {self._trouble}; trying again", "bold red") if self._trouble else ("● live", "bold cyan")
        line = Text.assemble((shown(system["name"]), "bold"), "  ", state)
        if self._note and not self._trouble:
            line.append(f" ({self._note})", "yellow")
        if system.get("has_others"):
            line.append(" (connections are in its workers)", "dim")
        figures = (
            ("actors", f"{system['actors']:,}"),
            ("connections", f"{system['connections']:,}"),
            ("waiting", f"{system['waiting']:,}"),
            ("dead letters", f"{system['dead_letters']:,}"),
            ("up", _age(system["time"] - system["started"])),
        )
        parts = (Text.assemble((f"{name} ", "dim"), (value, "bold")) for name, value in figures)
        return [line, *self._flow(parts)]

    def _foot(self) -> Text:
        """What helps, as far as it fits into one line."""
        parts = [Text("q ends", "dim")]
        for state, words in LEGEND.items():
            parts.append(Text.assemble(DOTS.get(state, BUSY), (f" {words}", "dim")))
        return self._flow(parts)[0]

    def _flow(self, parts: Iterable[Text]) -> list[Text]:
        """Lines of parts, none of them broken."""
        lines = [Text()]
        for part in parts:
            if lines[-1] and lines[-1].cell_len + 3 + part.cell_len > self._console.width:
                lines.append(Text())
            lines[-1].append("   " if lines[-1] else "").append_text(part)
        return lines

    def _charts(self) -> Table:
        system = self._seen["system"]
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column(justify="right", style="bold", min_width=17, no_wrap=True)
        table.add_column(style="cyan")
        messages = both = delay = "-"
        if self.has_rates:
            messages = f"{system['messages']:,}"
            both = f"{_size(system['bytes_in'])} · {_size(system['bytes_out'])}"
        if system["delay"]:
            delay = " · ".join(map(_delay, system["delay"]))
        table.add_row("messages/s", messages, self._bars("messages"))
        table.add_row("bytes/s in · out", both, self._bars("bytes"))
        table.add_row("delay · slowest", delay, self._bars("delay"))
        return table

    def _bars(self, name: str) -> str:
        past = list(self._past.get(name, ()))
        past = past[max(0, len(past) - max(0, self._console.width - CHART)) :]
        top = max(past, default=0) or 1
        return "".join(BARS[round(value / top * (len(BARS) - 1))] for value in past)

    def _tree(self, tree: list[list[Any]], most: int) -> Table:
        table, room = self._table("actor", ("mailbox", 9), ("restarts", 8), ("handled", 13))
        all_rows = [Row(*row[: len(Row._fields)]) for row in tree]  # a newer server may send more of each
        rows = _cut(all_rows, most, len(tree))
        for row in rows:
            indent = " " * min(2 * (row.level - 1), room // 2)  # so that the deepest have names, too
            dot, style = DOTS.get(row.state, BUSY)
            who = Text.assemble(indent, (f"{dot} ", style))
            is_actor = row.state != "more"
            who.append(_end(shown(row.name), room - who.cell_len), "bold" if is_actor else "dim")
            if row.kind != row.name and who.cell_len + 2 + cell_len(shown(row.kind)) <= room:
                who.append(f"  {shown(row.kind)}", "dim")
            figures = [
                f"{figure:,}" if is_actor else "" for figure in (row.waiting, row.restarts, row.handled)
            ]
            styles = ("yellow" if row.waiting else "dim", "bold red" if row.restarts else "dim", "")
            _add(table, who, *(Text(figure, how) for figure, how in zip(figures, styles, strict=True)))
        # A row that says "more" stands for so many children.
        left = all_rows[len(rows) :]
        _add_more(table, sum(row.children if row.state == "more" else 1 for row in left))
        return table

    def _connections(self, found: dict[str, Any], most: int) -> Table:
        figures = (("rate", 9), ("in", 8), ("out", 8), ("age", 11))
        table, room = self._table("peer, busiest first", *figures, ("actor", 24))
        now = self._seen["system"]["time"]
        rows = _cut(found["rows"], most, found["found"])
        for number, kind, peer, born, came, went, rate, _ in rows:
            cells = (
                *(_end(shown(peer), room), f"{_size(rate)}/s" if rate else "-", _size(came), _size(went)),
                *(_age(now - born), _end(f"{shown(kind)} {number}", 24)),
            )
            _add(table, *map(Text, cells))
        _add_more(table, found["found"] - len(rows))
        return table

    def _event(self, event: Sequence[Any]) -> Text:
        _, time, kind, text, _ = event
        when = self._start + timedelta(seconds=time)
        style = {"crashed": "red", "refused": "red", "restarted": "cyan"}.get(kind, "dim")
        line = Text(overflow="ellipsis", no_wrap=True)
        line.append(f"{when:%H:%M:%S} ", "dim").append(f"{shown(kind):<10} ", style)
        return line.append(shown(text, 200))

    def _table(self, first: str, *columns: tuple[str, int]) -> tuple[Table, int]:
        """
        A table with as many columns as there is room for; the last are left out first.

        :param first: the column of names, which take what the others leave.
        :param columns: their names, and their cells.
        :returns: also how many cells a name may have.
        """
        room = self._console.width
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
        table.add_column(first, no_wrap=True)
        for name, width in columns:
            if room - width - 1 < NAME:
                break
            room -= width + 1
            table.add_column(name, width=width, justify="right", no_wrap=True)
        table.columns[0].min_width, table.columns[0].max_width = min(room, USUAL), room
        return table, room


def _add(table: Table, *cells: Text) -> None:
    """Add a row; cells of columns that were left out are left out, too."""
    table.add_row(*cells[: len(table.columns)])


def _add_more(table: Table, count: int) -> None:
    if count:
        table.add_row(Text(f"… {count:,} more", "dim"))


def _cut(rows: list[T], most: int, all: int) -> list[T]:
    """Those that are shown; the last line is for how many more there are."""
    return rows[:most] if all <= most else rows[: max(0, most - 1)]


def _end(text: str, room: int) -> str:
    """What fits of it. The end stays, where a port or a number tells it from its like."""
    if cell_len(text) <= room:
        return text
    while text and cell_len(text) >= room:
        text = text[1:]
    return f"…{text}"


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
