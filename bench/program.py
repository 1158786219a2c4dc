"""The bench's own programs on the lab's hosts, and what they tell."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import bgp_ipvlan
from lab import namespace

TIMEOUT = 300.0
"""Seconds for whatever is waited for."""
PATH = f"{Path(__file__).parents[1]}:{Path(bgp_ipvlan.__file__).parents[1]}"
"""The children's PYTHONPATH. Whatever bgp_ipvlan this process uses is what is measured, so that
another checkout can be, with PYTHONPATH=its/src."""


class Program:
    """A program, running.

    Args:
        host: where.
        module: of the package `bench`.
        words: its command line.
    """

    def __init__(self, host: namespace.Host, module: str, *words: object) -> None:
        self._name = f"{module} on {host.name}"
        self.process = host.start(
            *(sys.executable, "-m", f"bench.{module}", *map(str, words)),
            log=f"{module}.log",
            env={"PYTHONPATH": PATH},
        )

    def told(self, event: str) -> list[dict[str, Any]]:
        """What it has told so far of an event.

        Raises:
            namespace.LabError: it has ended.
        """
        alive = self.process.alive
        lines = self.process.output().splitlines()
        found = [
            json.loads(line)
            for line in lines
            if line.startswith(f'{{"event": "{event}"') and line.endswith("}")
        ]
        if not found and not alive:
            raise namespace.LabError(f"{self._name} has ended")
        return found

    def wait(self, event: str, *, count: int = 1) -> dict[str, Any]:
        """Wait until it has told of an event `count` times; the last of these.

        Raises:
            namespace.LabError: it did not, with the last it said.
        """

        def often() -> bool:
            return not self.process.alive or len(self.told(event)) >= count

        what = f"{self._name} to tell of {event!r}"
        try:
            namespace.wait_until(often, what, timeout=TIMEOUT)
            return self.told(event)[count - 1]
        except (namespace.LabError, IndexError) as error:
            raise namespace.LabError(f"{what}: {error}\n{self.process.tail()}") from None
