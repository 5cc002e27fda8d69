"""The command ``echoactor-load``."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .options import LoadOptions, parse

if TYPE_CHECKING:
    from .figures import Figures, Second

__all__ = ["main"]

WELL, FAILED, UNABLE = 0, 1, 2
"""Exit statuses: 1 is about the server, 2 about this command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command.

    :param arguments: the words after its name; None for those of this process.
    :returns: the exit status: 0 when all went well; 1 when a byte was wrong, a message unanswered, or a
        connection lost or not made; 2 when the command cannot do what it was asked for.
    """
    options = parse(arguments)
    live = sys.stderr.isatty()
    for module, package, wanted in (
        ("hdrh", "hdrhistogram", True),
        ("rich", "rich", live),
        ("matplotlib", "matplotlib", options.plot is not None),
    ):
        if wanted and find_spec(module) is None:
            return _fail(f"the package {package} is missing: pip install 'echoactor[load]'")
    return _run(options, live)


def _run(options: LoadOptions, live: bool) -> int:
    # These need the packages of the extra.
    from .opening import LoadError, NotConnected
    from .report import as_json, as_text, plot

    try:
        figures = _measure(options, live)
        if options.plot is not None:
            plot(options, figures, options.plot)
        print(as_json(options, figures) if options.json else as_text(options, figures), flush=True)
    except NotConnected as error:
        return _fail(str(error), FAILED)
    except LoadError as error:
        return _fail(str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # Python flushes stdout once more when it ends, and would complain in its own words.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"the report cannot be written: {where}{error.strerror}")
    return FAILED if figures.errors else WELL


def _measure(options: LoadOptions, live: bool) -> Figures:
    """Put the load on, and show and write what it comes to, second by second."""
    from .client import Load, new_loop
    from .figures import Figures
    from .report import csv_writer

    figures = Figures()
    on_open: list[Callable[[int], None]] = []
    on_second: list[Callable[[Second], None]] = []
    with ExitStack() as stack:
        if options.csv is not None:
            on_second.append(csv_writer(stack.enter_context(open(options.csv, "w", newline=""))))
        if options.plot is not None:
            open(options.plot, "ab").close()  # complain now, and not after the run
        if live:
            from rich.console import Console

            from .display import Display

            display = stack.enter_context(Display(options, Console(stderr=True)))
            on_open.append(display.show_open)
            on_second.append(display.show_second)

        async def run() -> None:
            load = Load(options, figures, on_open, on_second)
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, load.interrupt)
            await load.run()

        # What asyncio has to say about a connection is counted as an error of it.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        loop = new_loop()
        stack.callback(loop.close)
        loop.run_until_complete(run())
    return figures


def _fail(text: str, status: int = UNABLE) -> int:
    print(f"echoactor-load: {text}", file=sys.stderr)
    return status
