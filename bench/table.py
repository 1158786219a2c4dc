"""How results and progress look to a person."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from bench import measure

_CAPTION = "n× behind a figure: how often as long, or as much, as ours in the same run"


def table(results: Sequence[measure.Result], contenders: Sequence[str], *, rounds: int) -> Table:
    """All rows."""
    shown = Table(title=f"{rounds} interleaved rounds", caption=_CAPTION)
    for name in ("case", "measure", "goal"):
        shown.add_column(name, no_wrap=name != "measure")
    for name in contenders:
        shown.add_column(name, justify="right", no_wrap=True)
    for result in results:
        for number, one in enumerate(result.case.measures):
            shown.add_row(
                "" if number else result.case.name,
                one.title,
                goal(one),
                *(cell(result, one, contender, rounds) for contender in contenders),
            )
        shown.add_section()
    return shown


def goal(one: measure.Measure) -> str:
    """What ours has to reach."""
    limits = [] if one.goal is None else [f"< {one.goal:g} {one.unit}"]
    return ", ".join(limits + [f"{name} {ratio:g}×" for name, ratio in one.ratios.items()])


def cell(result: measure.Result, one: measure.Measure, contender: str, rounds: int) -> str:
    """A figure with its unit and the ratio to ours, and how many rounds if fewer than wanted."""
    if contender in result.failures:
        return "failed"
    value = result.value(one, contender)
    if value is None:
        return ""
    shown = figure(value, one.unit)
    if contender == measure.OURS:
        return f"[bold red]{shown}[/]" if result.missed(one) else f"[bold]{shown}[/]"
    ratio = result.ratio(one, contender)
    few = result.rounds[contender]
    return " ".join(
        (
            shown,
            *([f"{_number(ratio, 2)}×"] if ratio is not None else ()),
            *([f"({few} of {rounds})"] if few < rounds else ()),
        )
    )


def figure(value: float, unit: str) -> str:
    """A figure with its unit."""
    return f"{_number(value)} {unit}".rstrip()


def _number(value: float, digits: int = 3) -> str:
    """So many digits, or all of those before the point."""
    if not value:
        return "0"
    return f"{value:.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:#.{digits}g}"
