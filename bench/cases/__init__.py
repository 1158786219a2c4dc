"""The cases, one file each."""

from bench.cases import intake, latency, memory, parse, sessions

ALL = {
    case.name: case for case in (parse.CASE, intake.CASE, sessions.CASE, memory.CASE, latency.CASE)
}
"""In the order in which they run."""
