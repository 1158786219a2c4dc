"""The cases, one file each."""

from bench.cases import adopt, gobgp, idle, intake, join, latency, memory, parse, routes, sessions

ALL = {
    case.name: case
    for case in (
        parse.CASE,
        intake.CASE,
        sessions.CASE,
        memory.CASE,
        latency.CASE,
        routes.IPV4,
        routes.IPV6,
        routes.MILLION,
        join.CASE,
        adopt.CASE,
        gobgp.CASE,
        idle.CASE,
    )
}
"""In the order in which they run."""
CONTENDERS = tuple(dict.fromkeys(name for case in ALL.values() for name in case.contenders))
"""All who take part in any."""
