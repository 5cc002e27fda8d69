"""The plots of the documentation: rates over sizes, and over connections."""

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from statistics import median

from measure import Scenario, show_size
from table import Results

SIZES = [Scenario("messages", 50, 4**power) for power in range(11)]
CONNECTIONS = [
    Scenario("messages", count) for count in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
]
"""What is measured for them, beside what the tables show."""


def draw(results: Results, directory: Path) -> list[Path]:
    """Draw them into a directory; which files they are."""
    sizes, connections = directory / "echo-sizes.png", directory / "echo-connections.png"
    _draw(
        results,
        SIZES,
        lambda one: (one.size, show_size(one.size)),
        "size of a message, at 50 connections",
        sizes,
    )
    _draw(
        results,
        CONNECTIONS,
        lambda one: (one.connections, str(one.connections)),
        "connections, at 64 B",
        connections,
    )
    return [sizes, connections]


def _draw(
    results: Results,
    wanted: list[Scenario],
    place: Callable[[Scenario], tuple[int, str]],
    label: str,
    file: Path,
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    scenarios = [scenario for scenario in wanted if scenario in results.scenarios()]
    servers = results.servers(scenarios[0])
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5))
    shades = pyplot.get_cmap("tab20")
    colours = cycle([*map(shades, range(0, 20, 2)), *map(shades, range(1, 20, 2))])  # the dark ones first
    for server, colour in zip(servers, colours, strict=False):
        ours = server.startswith("echoactor")
        width, marker = (2.2, "o") if ours else (1.1, ".")
        style = {"linewidth": width, "marker": marker, "color": colour, "label": server}
        those = [one for one in scenarios if results.figures(one, server, "rate")]
        places = [place(one)[0] for one in those]
        left.plot(places, [median(results.figures(one, server, "rate")) for one in those], **style)
        ratios = [results.ratios("rate", (one, server), (one, servers[0])) for one in those]
        points = [(where, median(some)) for where, some in zip(places, ratios, strict=True) if some]
        right.plot(*zip(*points, strict=True), **style)
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel=label)
        axes.set_xticks(*zip(*map(place, scenarios), strict=True), rotation=45, ha="right")
        axes.minorticks_off()
        axes.grid(True, alpha=0.3)
    left.set(ylabel="messages a second")
    right.set(ylabel=f"the same, divided by {servers[0]}'s")
    ticks = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]
    low, high = right.get_ylim()
    right.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    right.set_ylim(low, high)
    right.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    figure.savefig(file)
