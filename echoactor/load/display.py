"""What the terminal shows while the load runs."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .figures import Second
from .options import LoadOptions
from .report import duration_text, rate_text

__all__ = ["Display"]


class Display:
    """
    A progress bar, and under it the figures of the last second.

    A context manager: the picture goes when the load has ended. It is drawn
    once a second, by the loop that also sends: more often, or from a thread of
    its own, it would show in the latencies.

    :param options: of the load.
    :param console: where to draw.
    """

    def __init__(self, options: LoadOptions, console: Console) -> None:
        self._options = options
        self._errors = 0
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Display:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def show_open(self, count: int) -> None:
        """Show how many connections are open; each hundredth time, as drawing takes longer than opening."""
        all = self._options.connections
        if count % max(1, all // 100) == 0:
            self._draw("opening", count, all, f"{count} of {all} connections")

    def show_second(self, second: Second) -> None:
        """Show the figures of a second."""
        self._errors += second.errors
        duration = self._options.duration
        self._draw(
            self._options.target,
            min(second.end, duration),
            duration,
            f"{second.end:.0f} of {duration:g} s",
            f"{rate_text(second.messages / second.length, self._options.size)}   "
            f"p50 {duration_text(second.p50)}   p99 {duration_text(second.p99)}   "
            f"max {duration_text(second.max)}",
        )

    def _draw(self, what: str, done: float, all: float, how_far: str, figures: str = "") -> None:
        bar = Table.grid(padding=(0, 1))
        bar.add_row(what, ProgressBar(total=all, completed=done, width=30), how_far)
        picture = Table.grid()
        picture.add_row(bar)
        picture.add_row(figures)
        if self._errors:
            picture.add_row(Text(f"{self._errors} errors", style="bold red"))
        self._live.update(picture, refresh=True)
