"""The figures of route programming as a picture: `make bench ARGS='--plot FILE'`.

Drawn from what stands in the JSON, so that an old run can be drawn again:
`python -m bench.plot bench.json bench.png`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import measure, table

_BARS = ("routes", "routes6", "million")
_CURVES = "join"
_COLOURS = {
    measure.OURS: "#0b6e4f",
    "BIRD": "#c8a13a",
    "FRR": "#a65d4b",
    "GoBGP": "#7a8aa0",
    "raw": "#9aa7a3",
}
_COLUMNS = 3
_SIZE = (4.2, 2.2)
"""Inches of one panel with bars."""
_WIDE = 1.4
"""So much higher is the one with curves, which is as wide as three."""

Row = Mapping[str, Any]
"""One measure of a case, as `measure.Result.plain` has it."""


def draw(whole: Mapping[str, Any], file: Path) -> None:
    """Draw a run.

    Args:
        whole: what the bench writes as JSON.
        file: PNG.
    """
    mpl.use("agg")
    cases = {result["case"]: result["measures"] for result in whole["results"]}
    bars = [row for name in _BARS for row in cases.get(name, ()) if row["contenders"]]
    curves = [row for row in cases.get(_CURVES, ()) if row["percentile"] == 50]
    lines = -(-len(bars) // _COLUMNS)
    heights = [1.0] * lines + [_WIDE] * bool(curves) or [1.0]
    size = (_COLUMNS * _SIZE[0], sum(heights) * _SIZE[1] + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.add_gridspec(len(heights), _COLUMNS, height_ratios=heights)
    for number, row in enumerate(bars):
        _bars(figure.add_subplot(grid[divmod(number, _COLUMNS)]), row)
    if curves:
        _curves(figure.add_subplot(grid[lines, :]), curves)
    described = whole["machine"]
    names = ("cores", "kernel", "Python", "BIRD", "FRR")
    text = " · ".join(f"{name} {described[name]}" for name in names)
    legend = "bar: median · dot: one round · dashed: our goal"
    figure.supxlabel(f"{legend}\n{whole['rounds']} rounds · {text}", fontsize=8)
    figure.savefig(file, dpi=110)


def _bars(axes: Axes, row: Row) -> None:
    """A bar for each contender's figure, and a dot for each sample."""
    names = list(row["contenders"])
    for at, name in enumerate(names):
        one = row["contenders"][name]
        axes.barh(at, one["value"], color=_COLOURS[name], height=0.65)
        samples = one["samples"]
        axes.plot(samples, [at] * len(samples), "o", color="black", alpha=0.35, markersize=3)
        axes.annotate(
            table.figure(one["value"], row["unit"]),
            (max([one["value"], *samples]), at),
            va="center",
            fontsize=8,
            xytext=(5, 0),
            textcoords="offset points",
        )
    for limit in limits(row):
        axes.axvline(limit, color="black", linestyle="--", linewidth=0.8)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.25)
    _dress(axes, row["title"])


def limits(row: Row) -> list[float]:
    """What ours must stay below: the goal, or the hardest of what the others' figures make of it."""
    values = {name: one["value"] for name, one in row["contenders"].items()}
    limits = [values[name] / ratio for name, ratio in row["ratios"].items() if name in values]
    return [min(limits)] if limits else [] if row["goal"] is None else [row["goal"]]


def _curves(axes: Axes, rows: Sequence[Row]) -> None:
    """Which share of the samples took at most so long."""
    for row, style in zip(rows, ("-", ":"), strict=True):
        for name, one in row["contenders"].items():
            ordered = sorted(one["samples"])
            shares = [100 * (number + 1) / len(ordered) for number in range(len(ordered))]
            label = name if style == "-" else f"{name}, bursts"
            axes.plot(ordered, shares, style, color=_COLOURS[name], label=label, linewidth=1.6)
    # What was there before Join answered is left of nought, and a burst's tail is long.
    axes.set_xscale("symlog", linthresh=1)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(fontsize=8, loc="upper left")
    _dress(axes, "one container: Join's answer → other host's FIB in so many ms, % of samples")


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=8.5, loc="left", wrap=True)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("json", type=Path)
    parser.add_argument("png", type=Path)
    arguments = parser.parse_args()
    draw(json.loads(arguments.json.read_text()), arguments.png)


if __name__ == "__main__":
    main()
