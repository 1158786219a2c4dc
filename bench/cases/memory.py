"""1,000,000 prefixes from one neighbour: what they cost in resident memory, and in time."""

from __future__ import annotations

from bench import contenders, measure, transfer

ROUTES = 1_000_000


def once(contender: str) -> measure.Samples:
    """One table from one sender."""
    done = transfer.run(contender, sessions=1, routes=ROUTES, settle=True)
    return {"memory": [done.memory / 1e6], "time": [done.learned - done.first]}


CASE = measure.Case(
    name="memory",
    contenders=tuple(contenders.ALL),
    measures=(
        measure.Measure(
            title="resident memory grown, 1,000,000 prefixes",
            samples="memory",
            unit="MB",
            goal=220.0,
        ),
        measure.Measure(
            title="first UPDATE → last best path, 1,000,000 prefixes", samples="time", unit="s"
        ),
    ),
    once=once,
)
