"""100,000 prefixes of one neighbour through our session and tables, without any socket.

A process of its own for each round (`python -m bench.cases.parse` prints the seconds), so that
each begins with empty tables and nothing else runs in it.
"""

from __future__ import annotations

import ipaddress
import subprocess
import sys
import time
from collections.abc import Collection

from bench import contenders, measure, program, transfer, wire
from bench.sender import HOLD_TIME
from bgp_ipvlan import model
from bgp_ipvlan.bgp import capability, rib, session
from lab import namespace

ROUTES = 100_000
_CHUNK = 1 << 16
"""Octets at a time, as the engine reads them."""


def once(contender: str) -> measure.Samples:  # noqa: ARG001 - only ours is a library
    """Run the process."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.cases.parse"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": program.PATH},
        timeout=program.TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise namespace.LabError(f"bench.cases.parse failed: {done.stderr.strip()[-2000:]}")
    return {"time": [float(done.stdout)]}


def main() -> None:
    """Print the seconds."""
    table = wire.table(0, ROUTES, transfer.SENDER)
    chunks = [table[at : at + _CHUNK] for at in range(0, len(table), _CHUNK)]
    learning = Learning()
    start = time.perf_counter()
    for chunk in chunks:
        learning.receive(chunk)
    seconds = time.perf_counter() - start
    if len(learning.prefixes()) != ROUTES:
        sys.exit(f"{len(learning.prefixes())} best paths of {ROUTES}")
    print(seconds)


class Learning:
    """A session that is up, and the tables behind it.

    Args:
        graceful_restart: what the neighbour's OPEN says.
    """

    def __init__(self, *, graceful_restart: bool = False) -> None:
        local = model.SpeakerConfig(
            local_as=contenders.AS, router_id=ipaddress.IPv4Address(transfer.RECEIVER)
        )
        neighbor = model.NeighborConfig(address=transfer.SENDER, remote_as=contenders.AS)
        self._rib = rib.Rib()
        self._session = session.Session(
            local,
            neighbor,
            restart=capability.GracefulRestart(restarted=False, time=30, families={}),
            now=0.0,
        )
        self.ended: set[model.Family] = set()
        """Families whose End-of-RIB has come."""
        opening = wire.opening(
            contenders.AS, transfer.SENDER, HOLD_TIME, graceful_restart=graceful_restart
        )
        self.receive(opening + wire.message(wire.KEEPALIVE))

    @property
    def kept(self) -> set[model.Family]:
        """Families in which the neighbour promises End-of-RIB, and to keep what it has."""
        restart = self._session.agreed.restart
        return {family for family, kept in restart.families.items() if kept} if restart else set()

    def receive(self, data: bytes) -> None:
        """Octets in, best paths out."""
        for event in self._session.receive(data, 0.0):
            if isinstance(event, session.Learned):
                self._rib.learn(transfer.SENDER, event.family, event.path, event.prefixes)
            elif isinstance(event, session.EndOfRib):
                self.ended.add(event.family)

    def prefixes(self, family: model.Family = model.Family.IPV4) -> Collection[model.Nlri]:
        """Those with a best path."""
        return self._rib.best[family].keys()


CASE = measure.Case(
    name="parse",
    contenders=(measure.OURS,),
    measures=(
        measure.Measure(
            title="octets → best paths in process, 100,000 prefixes",
            samples="time",
            unit="s",
            goal=0.15,
        ),
    ),
    once=once,
)

if __name__ == "__main__":
    main()
