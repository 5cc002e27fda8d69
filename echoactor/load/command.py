"""The command ``echoactor-load``."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec

from .options import LoadOptions, parse

__all__ = ["main"]

WELL, FAILED, NOT_BEGUN = 0, 1, 2
"""Exit statuses."""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command.

    :param arguments: the words after its name; None for those of this process.
    :returns: the exit status: 0 when all went well, 1 when a byte was wrong, a message unanswered, or a
        connection lost or not made, 2 when it could not begin.
    """
    options = parse(arguments)
    live = sys.stderr.isatty()
    for module, package, wanted in (
        ("hdrh", "hdrhistogram", True),
        ("rich", "rich", live),
        ("matplotlib", "matplotlib", options.plot is not None),
    ):
        if wanted and find_spec(module) is None:
            return _fail(f"the package {package} is missing: pip install 'echoactor[load]'", NOT_BEGUN)
    return _run(options, live)


def _run(options: LoadOptions, live: bool) -> int:
    # Not earlier: they need the packages of the extra.
    from .client import Load, LoadError, new_loop
    from .figures import Figures, Second
    from .report import as_json, as_text, csv_writer, plot

    figures = Figures()
    loop = new_loop()
    with ExitStack() as stack:
        stack.callback(loop.close)
        try:
            write_second = None
            if options.csv is not None:
                write_second = csv_writer(stack.enter_context(open(options.csv, "w", newline="")))
            if options.plot is not None:
                open(options.plot, "ab").close()  # rather now than after the run
        except OSError as error:
            return _fail(f"{error.filename}: {error.strerror}", NOT_BEGUN)

        display = None
        if live:
            from rich.console import Console

            from .display import Display

            display = stack.enter_context(Display(options, Console(stderr=True)))

        def on_second(second: Second) -> None:
            if write_second is not None:
                write_second(second)
            if display is not None:
                display.show_second(second)

        async def run() -> None:
            load = Load(options, figures, display.show_open if display else lambda count: None, on_second)
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, load.interrupt)
            await load.run()

        # What asyncio has to say about a connection is counted as an error of it.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        try:
            loop.run_until_complete(run())
        except LoadError as error:
            stack.close()
            return _fail(str(error), FAILED)
    print(as_json(options, figures) if options.json else as_text(options, figures))
    if options.plot is not None:
        plot(options, figures, options.plot)
    return FAILED if figures.errors else WELL


def _fail(text: str, status: int) -> int:
    print(f"echoactor-load: {text}", file=sys.stderr)
    return status
