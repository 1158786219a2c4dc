"""Who receives: ours, BIRD, FRR, GoBGP, with one face.

All sessions are iBGP: what is learned from one neighbour is then passed on to none, by any of
the four, without a filter to be paid for. Nobody installs anything into the kernel. What a
daemon has is its own word, asked for in a way that does not slow it; each says how.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from bench import measure, program, wire, witness
from bench.sender import HOLD_TIME
from lab import namespace, peers

AS = 64512
_POLL = 0.002


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the sender will bring."""

    address: ipaddress.IPv4Address
    """Of the first session; the others follow."""
    sessions: int
    routes: int
    """Of each session."""

    @property
    def total(self) -> int:
        """Prefixes of all sessions."""
        return self.sessions * self.routes

    @property
    def last(self) -> list[int]:
        """Number of the last prefix of each session."""
        return [self.routes * (n + 1) - 1 for n in range(self.sessions)]


class Contender(Protocol):
    """A receiver on a host of its own."""

    refresh: bool
    """Whether the sender must ask when it has taken in everything (ROUTE-REFRESH)."""

    def __init__(self, host: namespace.Host, address: str, load: Load) -> None:
        """Not started yet."""

    @property
    def pid(self) -> int:
        """Of the process whose memory counts."""

    def start(self) -> None:
        """Start it; return when it is ready for the sender."""

    def learned(self, sender: program.Program) -> float:
        """Wait until it has everything; when that was, on the machine's monotonic clock."""

    def count(self) -> int:
        """Prefixes it has from the sender, by its own tool."""


class Ours:
    """The embedded engine. It tells by its event, from within."""

    refresh = False

    def __init__(self, host: namespace.Host, address: str, load: Load) -> None:
        self._host, self._address, self._load = host, address, load
        self._program: program.Program

    @property
    def pid(self) -> int:
        """Of the engine's process."""
        return self._program.process.pid

    def start(self) -> None:
        """All neighbours are passive."""
        self._program = program.Program(
            self._host,
            "speaker",
            *("--as", AS, "--router-id", self._address, "--passive"),
            *("--neighbors", f"{self._load.address},{self._load.sessions}"),
            *("--expect", self._load.total),
        )
        self._program.wait("started")

    def learned(self, sender: program.Program) -> float:  # noqa: ARG002 - it needs no help
        """The event says when."""
        return float(self._program.wait("learned")["time"])

    def count(self) -> int:
        """The event came when it had them all."""
        return self._load.total


class Bird:
    """BIRD. It chooses a route as it takes it in; birdc's socket is asked for the last ones."""

    refresh = False

    def __init__(self, host: namespace.Host, address: str, load: Load) -> None:
        self._daemon, self._load = peers.Bird(host, _speaker(address, load)), load

    @property
    def pid(self) -> int:
        """Of bird."""
        return self._daemon.process.pid

    def start(self) -> None:
        """It listens once birdc answers."""
        self._daemon.start()

    def learned(self, sender: program.Program) -> float:
        """Ask for the last prefix of each session."""
        client = witness.Birdc(self._daemon.host.root / "run/bird.ctl")
        with contextlib.closing(client):
            return _poll(client, self._load, sender)

    def count(self) -> int:
        """All routes but its own."""
        found = re.search(
            r"(\d+) of \d+ routes .* in table master4", self._daemon.ctl("show route count")
        )
        return int(found.group(1)) - 1 if found else 0


class Frr:
    """FRR. It chooses best paths later than it takes them in; bgpd's socket is asked for the last ones."""

    refresh = False

    def __init__(self, host: namespace.Host, address: str, load: Load) -> None:
        self._daemon, self._load = peers.Frr(host, _speaker(address, load)), load

    @property
    def pid(self) -> int:
        """Of bgpd; zebra has none of these routes."""
        return self._daemon.process.pid

    def start(self) -> None:
        """It listens once vtysh shows the configuration."""
        self._daemon.start()

    def learned(self, sender: program.Program) -> float:
        """Ask for the last prefix of each session."""
        client = witness.Vty(self._daemon.host.root / "run/frr/bgpd.vty")
        with contextlib.closing(client):
            return _poll(client, self._load, sender)

    def count(self) -> int:
        """What all neighbours sent."""
        summary = json.loads(self._daemon.ctl("show bgp ipv4 unicast summary json"))
        return sum(peer["pfxRcd"] for peer in summary.get("peers", {}).values())


class GoBgp:
    """GoBGP. Its tool costs a process per question, so the sender asks, by ROUTE-REFRESH.

    Its one loop takes UPDATEs in, chooses, and answers ROUTE-REFRESH, in the order of arrival.
    """

    refresh = True

    def __init__(self, host: namespace.Host, address: str, load: Load) -> None:
        # It answers before it has read its file, and then refuses to originate.
        speaker = dataclasses.replace(_speaker(address, load), originate=())
        self._daemon, self._load = peers.GoBgp(host, speaker), load

    @property
    def pid(self) -> int:
        """Of gobgpd."""
        return self._daemon.process.pid

    def start(self) -> None:
        """It is ready when it knows all its neighbours."""
        self._daemon.start()
        namespace.wait_until(
            lambda: len(self._daemon.ctl("neighbor") or ()) == self._load.sessions,
            "gobgpd to read its configuration",
        )
        self._daemon.announce(wire.OWN)

    def learned(self, sender: program.Program) -> float:
        """The last answer's time."""
        return float(sender.wait("answered")["time"])

    def count(self) -> int:
        """All destinations but its own."""
        return int(self._daemon.ctl("global", "rib", "summary")["num_destination"]) - 1


ALL: dict[str, Callable[[namespace.Host, str, Load], Contender]] = {
    measure.OURS: Ours,
    "BIRD": Bird,
    "FRR": Frr,
    "GoBGP": GoBgp,
}
"""By the name that the table shows."""


def _speaker(address: str, load: Load) -> peers.Speaker:
    return peers.Speaker(
        local_as=AS,
        router_id=address,
        neighbors=tuple(
            peers.Neighbor(
                address=str(load.address + number),
                remote_as=AS,
                passive=True,
                hold_time=HOLD_TIME,
                graceful_restart=False,
            )
            for number in range(load.sessions)
        ),
        originate=(wire.OWN,),
    )


def _poll(client: witness.Birdc | witness.Vty, load: Load, sender: program.Program) -> float:
    """Ask for the last prefix of one session after the other until all are there."""
    deadline = time.monotonic() + program.TIMEOUT
    missing = deque(load.last)
    while missing:
        if client.has(missing[0]):
            missing.popleft()
            continue
        if time.monotonic() > deadline or not sender.process.alive:
            raise namespace.LabError(f"no {wire.prefix(missing[0])}\n{sender.process.tail()}")
        time.sleep(_POLL)
    return time.monotonic()
