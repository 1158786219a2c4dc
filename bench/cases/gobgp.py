"""A table from one neighbour by way of a gobgpd into the FIB, beside what gobgpd alone takes for it."""

from __future__ import annotations

from collections.abc import Callable

from bench import gobgp, installers, installing, measure, transfer
from lab import namespace

ROUTES = 100_000
INTAKE = "GoBGP"
"""Installs nothing."""
STREAM = "each change"
SESSION = "a session"
_WAYS: dict[str, Callable[[namespace.Host], installers.Installer]] = {
    measure.OURS: gobgp.Table,
    STREAM: gobgp.Stream,
    SESSION: gobgp.Session,
}


def once(contender: str) -> measure.Samples:
    """One table."""
    if contender == INTAKE:
        alone = transfer.run(contender, sessions=1, routes=ROUTES, settle=True)
        return {"time": [alone.learned - alone.first]}
    done = installing.run(_WAYS[contender], version=4, routes=ROUTES)
    return {"time": [done.last - done.first], "gone": [done.gone - done.closed]}


CASE = measure.Case(
    name="gobgp",
    contenders=(*_WAYS, INTAKE),
    measures=(
        measure.Measure(
            title="--engine gobgp: first UPDATE → last route in the FIB, 100,000 /32",
            samples="time",
            unit="s",
            ratios={INTAKE: 0.25, STREAM: 5},
        ),
        measure.Measure(
            title="--engine gobgp: session lost → gone from the FIB, 100,000 /32",
            samples="gone",
            unit="s",
        ),
    ),
    once=once,
)
