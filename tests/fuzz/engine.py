"""The process that fuzzes: libFuzzer over the instrumented core. Started by `__main__`.

    python -m tests.fuzz.engine TARGET NAME [libFuzzer's arguments]

NAME is a command that does the same once more; libFuzzer runs it when it merges.
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped]  # has no types

from bgp_ipvlan import model  # noqa: F401 - before, so that only the core is instrumented

with atheris.instrument_imports(include=["bgp_ipvlan"]):
    from bgp_ipvlan.bgp import rib, session  # noqa: F401 - all of it, by what they import

from tests.fuzz import campaign, messages, sessions

TARGETS = {"messages": messages.run, "sessions": sessions.run, "broken": campaign.broken}


def main() -> None:
    """Fuzz until libFuzzer ends the process."""
    atheris.Setup(sys.argv[2:], TARGETS[sys.argv[1]])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
