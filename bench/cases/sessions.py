"""500 neighbours at once: first connect → established, and best paths for all they send."""

from __future__ import annotations

from bench import contenders, measure, transfer

SESSIONS, ROUTES = 500, 100


def once(contender: str) -> measure.Samples:
    """All sessions of one sender."""
    done = transfer.run(contender, sessions=SESSIONS, routes=ROUTES, settle=False)
    return {"time": [done.learned - done.connecting]}


CASE = measure.Case(
    name="sessions",
    contenders=tuple(contenders.ALL),
    measures=(
        measure.Measure(
            title="first connect → last best path, 500 × 100 prefixes",
            samples="time",
            unit="s",
            goal=5.0,
        ),
    ),
    once=once,
)
