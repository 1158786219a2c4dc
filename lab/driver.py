"""`bgp-ipvlan run` on a lab host, as installed in .venv, at its default places."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lab import namespace, process

PROGRAM = Path(sys.executable).parent / "bgp-ipvlan"


class Driver:
    """The daemon on one host.

    Args:
        host: where.
        options: of `bgp-ipvlan run`.
    """

    def __init__(self, host: namespace.Host, *options: str) -> None:
        self.host = host
        self.options = options
        self.process: process.Process

    def start(self, *, timeout: float = 60.0) -> None:
        """Start it and wait until it has read the kernel and its state.

        Raises:
            namespace.LabError: it does not come up; with the end of its log.
        """
        self.launch()
        try:
            namespace.wait_until(self._ready, f"bgp-ipvlan on {self.host.name}", timeout=timeout)
        except namespace.LabError as error:
            raise namespace.LabError(f"{error}\n{self.process.tail()}") from None

    def launch(self) -> None:
        """Start it without waiting for anything."""
        self.process = self.host.start(PROGRAM, "run", *self.options, log="bgp-ipvlan.log")
        self._before = len(self.process.output().splitlines())

    def lines(self) -> list[str]:
        """What it has logged since it was last started."""
        return self.process.output().splitlines()[self._before :]

    def cli(self, *argv: str, check: bool = True) -> str:
        """One `bgp-ipvlan …` command; its output."""
        return self.host.run(PROGRAM, *argv, check=check).stdout

    def json(self, *argv: str) -> Any:
        """One `bgp-ipvlan … --json` command; what it prints."""
        return json.loads(self.cli(*argv, "--json"))

    def stop(self) -> int:
        """SIGTERM, as for a restart: routes and links stay."""
        return self.process.stop()

    def kill(self) -> None:
        """SIGKILL, as in a crash."""
        self.process.kill()

    def _ready(self) -> bool:
        if not self.process.alive:
            raise namespace.LabError(f"it has ended with status {self.process.status}")
        return any(" ready " in line for line in self.lines())
