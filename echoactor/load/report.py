"""What a load came to, for people and programs: text, JSON, CSV, a picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from typing import Any, TextIO

from .figures import Figures, Second
from .options import LoadOptions

__all__ = ["as_json", "as_text", "csv_writer", "duration_text", "plot", "rate_text", "warnings"]

PERCENTILES = (50, 90, 99, 99.9)

BUSY = 0.9
"""The share of a core above which the client is the bottleneck: answers then wait for it to read them."""


MISSED = 0.01
"""The share of messages not sent from which on a schedule was not kept: a few are always due at the end."""


def duration_text(microseconds: float | None) -> str:
    """A duration, in the unit that fits."""
    if microseconds is None:
        return "-"
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.2f} {unit}"
    return f"{microseconds:.0f} us"


def rate_text(messages: float, size: int) -> str:
    """Messages and megabytes a second, one way."""
    return f"{messages:,.0f} messages/s   {messages * size / 1e6:,.2f} MB/s"


def warnings(options: LoadOptions, figures: Figures) -> list[str]:
    """Why the figures may not be about the server."""
    found = []
    if figures.cpu_share > BUSY:
        found.append(
            f"this client took {figures.cpu_share:.0%} of a core, and is the bottleneck: the server may be "
            "faster than this. Run several clients, on other cores, or ask for a lower --rate"
        )
    if figures.unsent > MISSED * figures.messages:
        found.append(
            f"{figures.unsent:,} messages that were due were not sent, and are in no figure: "
            f"{options.rate:,g} messages/s are more than the server can answer, or need more --connections "
            "or --pipeline"
        )
    return found


def percentiles(figures: Figures) -> dict[str, int | None]:
    """Latencies in microseconds, by name; None where nothing was answered, and 0 would look the best."""
    histogram = figures.histogram
    named = {f"p{percent:g}": histogram.get_value_at_percentile(percent) for percent in PERCENTILES}
    named["max"] = histogram.get_max_value()
    return named if figures.messages else dict.fromkeys(named)


def title(options: LoadOptions) -> str:
    """What load was put on which server."""
    how = "as fast as answered" if options.rate is None else f"{options.rate:,g} messages/s"
    return (
        f"{options.target}{' (TLS)' if options.tls else ''}: {options.connections} connections, "
        f"{options.size} bytes, {options.pipeline} at once, {how}"
    )


def as_text(options: LoadOptions, figures: Figures) -> str:
    """The report for people."""
    origin = "from the sending" if options.rate is None else "from when each was due"
    lines = [
        title(options),
        "",
        f"throughput  {rate_text(figures.messages / figures.elapsed, options.size)}",
        f"            {figures.messages:,} messages in {figures.elapsed:.2f} s",
        f"latency     {origin}",
        *[f"    {name:8}{duration_text(value):>10}" for name, value in percentiles(figures).items()],
        f"client      {figures.cpu_share:.0%} of a core",
        "errors      " + (", ".join(f"{n} {kind}" for kind, n in figures.errors.items()) or "none"),
        *[f"    {detail}" for detail in figures.details],
        *[f"warning: {text}" for text in warnings(options, figures)],
    ]
    return "\n".join(lines)


def as_json(options: LoadOptions, figures: Figures) -> str:
    """The report for programs: one object, in one line."""
    rate = figures.messages / figures.elapsed
    report = {
        "target": options.target,
        "tls": options.tls,
        "connections": options.connections,
        "size": options.size,
        "pipeline": options.pipeline,
        "rate": options.rate,
        "seconds": round(figures.elapsed, 6),
        "messages": figures.messages,
        "messages_per_second": round(rate, 3),
        "megabytes_per_second": round(rate * options.size / 1e6, 6),
        "latency_from": "sent" if options.rate is None else "due",
        "latency_us": percentiles(figures),
        "unsent": figures.unsent,
        "errors": dict(figures.errors),
        "error_details": figures.details,
        "client_cpu_share": round(figures.cpu_share, 4),
        "warnings": warnings(options, figures),
    }
    return json.dumps(report)


def csv_writer(file: TextIO) -> Callable[[Second], None]:
    """
    Write the heads of the columns.

    :returns: what writes one second's figures, and does not wait to.
    """
    writer = csv.writer(file, lineterminator="\n")
    columns = "end length messages errors p50 p99 max".split()
    units = {"end": "end_s", "length": "length_s", "p50": "p50_us", "p99": "p99_us", "max": "max_us"}
    writer.writerow([units.get(column, column) for column in columns])

    def write(second: Second) -> None:
        values = {name: round(value, 6) for name, value in vars(second).items()}
        if not second.messages:
            values |= dict.fromkeys(("p50", "p99", "max"), "")
        writer.writerow([values[column] for column in columns])
        file.flush()

    return write


def plot(options: LoadOptions, figures: Figures, file: str) -> None:
    """
    Draw throughput and latency over time, and latency by percentile.

    :param file: its ending says which format.
    """
    import matplotlib

    matplotlib.use("Agg")  # needs no screen
    from matplotlib import pyplot

    picture, (over_time, by_percentile) = pyplot.subplots(1, 2, figsize=(11, 4))
    seconds = [second.end for second in figures.seconds]
    rates = [second.messages / second.length for second in figures.seconds]
    over_time.plot(seconds, rates, color="tab:blue", marker=".")
    over_time.set(xlabel="seconds", ylabel="messages/s, blue", ylim=(0, 1.1 * max(rates) + 1))
    latencies: Any = over_time.twinx()
    latencies.plot(seconds, [second.p99 / 1e3 for second in figures.seconds], color="tab:orange", marker=".")
    latencies.set(ylabel="p99 of each second (ms), orange", ylim=(0, None))

    steps = [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 99.995, 99.999]
    # The slowest of n messages says nothing about what one in more than n has to wait.
    steps = [step for step in steps if (1 - step / 100) * figures.messages >= 1] or [50]
    values = [figures.histogram.get_value_at_percentile(step) / 1e3 for step in steps]
    by_percentile.plot([1 / (1 - step / 100) for step in steps], values, marker=".")
    by_percentile.set(xscale="log", xlabel="percentile", ylabel="latency (ms)", ylim=(0, None))
    marks = [step for step in steps if step in (0, *PERCENTILES, 99.99, 99.999)]
    by_percentile.set_xticks([1 / (1 - step / 100) for step in marks], [f"{step:g}" for step in marks])
    by_percentile.minorticks_off()
    picture.suptitle(title(options), fontsize=10)
    picture.tight_layout()
    picture.savefig(file)
    pyplot.close(picture)
