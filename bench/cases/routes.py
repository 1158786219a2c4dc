"""A table from one neighbour into the FIB through the whole daemon, and out when the session is lost."""

from __future__ import annotations

import functools

from bench import installers, installing, measure

ROUTES = 100_000
MANY = 1_000_000
GOALS = {"BIRD": 2.5, "FRR": 3.0, installers.RAW: 0.85}
"""How often as long as ours theirs must take; the raw way may be a little quicker."""


def once(contender: str, *, version: int) -> measure.Samples:
    """One table, and the loss of it."""
    done = installing.run(installers.ALL[contender], version=version, routes=ROUTES)
    return {"time": [done.last - done.first], "gone": [1000 * (done.gone - done.closed)]}


def once_many(contender: str) -> measure.Samples:
    """One large table."""
    done = installing.run(installers.ALL[contender], version=4, routes=MANY)
    return {"time": [done.last - done.first], "memory": [done.memory / 1e6]}


def _case(name: str, version: int, length: str, goals: dict[str, float]) -> measure.Case:
    return measure.Case(
        name=name,
        contenders=tuple(installers.ALL),
        measures=(
            measure.Measure(
                title=f"first UPDATE → last route in the FIB, 100,000 {length}",
                samples="time",
                unit="s",
                ratios=goals,
            ),
            measure.Measure(
                title=f"session lost → gone from the FIB, 100,000 {length}",
                samples="gone",
                unit="ms",
                goal=100,
            ),
        ),
        once=functools.partial(once, version=version),
    )


IPV4 = _case("routes", 4, "/32", GOALS)
IPV6 = _case("routes6", 6, "/128", {installers.RAW: GOALS[installers.RAW]})
MILLION = measure.Case(
    name="million",
    contenders=tuple(installers.ALL),
    measures=(
        measure.Measure(
            title="first UPDATE → last route in the FIB, 1,000,000 /32",
            samples="time",
            unit="s",
            goal=4,
        ),
        measure.Measure(
            title="resident memory then, 1,000,000 /32", samples="memory", unit="MB", goal=300
        ),
    ),
    once=once_many,
)
