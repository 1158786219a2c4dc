"""100,000 prefixes from one neighbour: first UPDATE byte sent → best path for the last one."""

from __future__ import annotations

from bench import contenders, measure, transfer

ROUTES = 100_000


def once(contender: str) -> measure.Samples:
    """One table from one sender."""
    done = transfer.run(contender, sessions=1, routes=ROUTES, settle=True)
    return {"time": [done.learned - done.first]}


CASE = measure.Case(
    name="intake",
    contenders=tuple(contenders.ALL),
    measures=(
        measure.Measure(
            title="first UPDATE → last best path, 100,000 prefixes", samples="time", unit="s"
        ),
    ),
    once=once,
)
