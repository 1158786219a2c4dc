"""Who fills a FIB: our whole daemon, BIRD, FRR with zebra, and packed netlink without any BGP.

Each on a host of its own, with one neighbour, which never restarts gracefully.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable
from typing import Protocol

from bench import contenders, measure, program, transfer
from bench.sender import HOLD_TIME
from lab import agent, namespace, peers, process

RAW = "raw"
"""What is no speaker at all."""
INTERFACE = "eth1"
NEXT_HOP = {4: transfer.SENDER, 6: ipaddress.IPv6Address("fd00:2::2")}
"""The sender's addresses."""
ADDRESSES = {
    "receiver": (f"{transfer.RECEIVER}/16", "fd00:2::1/64"),
    "sender": (f"{transfer.SENDER}/16", f"{NEXT_HOP[6]}/64"),
}


class Installer(Protocol):
    """Fills the FIB of its host with what a feeder has for it."""

    def __init__(self, host: namespace.Host) -> None:
        """Not started yet."""

    def start(self) -> None:
        """Start it; return when it listens."""

    def feed(self, sender: namespace.Host, version: int, routes: int) -> program.Program:
        """Start who has the routes (see `bench.sender --held`); return when both are ready."""

    @property
    def processes(self) -> tuple[process.Process, ...]:
        """Those whose memory counts, and that must live."""


class Speaker:
    """What is common to those that speak BGP."""

    def feed(self, sender: namespace.Host, version: int, routes: int) -> program.Program:
        """Start the sender, wait until both say that the session is up."""
        load = contenders.Load(address=transfer.SENDER, sessions=1, routes=routes)
        feeder = transfer.start_sender(sender, load, held=True, next_hops=[NEXT_HOP[version]])
        feeder.wait("ready")
        namespace.wait_until(self.established, "the session")
        return feeder

    def established(self) -> bool:
        """Whether the session is up, by its own word."""
        raise NotImplementedError


def ours(host: namespace.Host, *flags: str, without: str = "") -> agent.Agent:
    """Our daemon, the whole of it, as a user would run it; of the checkout that is measured.

    Args:
        host: where.
        flags: of `bgp-ipvlan run`.
        without: what it shall not have: `links`, `bursts`; see `bench.withoutlinks`, ….
    """
    return agent.Agent(
        host,
        *("--host-interface", INTERFACE, "--as", str(contenders.AS), *flags),
        wrapper=(
            *("env", f"PYTHONPATH={program.PATH}"),
            *((sys.executable, "-m", f"bench.without{without}") if without else ()),
        ),
    )


class Ours(Speaker):
    """`bgp-ipvlan run`."""

    def __init__(self, host: namespace.Host) -> None:
        neighbor = f"{transfer.SENDER},passive,hold={HOLD_TIME},no-graceful-restart"
        self._agent = ours(host, "--neighbor", neighbor)

    def start(self) -> None:
        """It says so when it is ready."""
        self._agent.start()

    def established(self) -> bool:
        """By its control socket."""
        return bool(self._agent.ask("status")["neighbors"]["established"])

    @property
    def processes(self) -> tuple[process.Process, ...]:
        """It is one."""
        return (self._agent.process,)


class Bird(Speaker):
    """BIRD with `protocol kernel`."""

    def __init__(self, host: namespace.Host) -> None:
        self._daemon = peers.Bird(host, _speaker())

    def start(self) -> None:
        """It listens once birdc answers."""
        self._daemon.start()

    def established(self) -> bool:
        """By birdc."""
        return self._daemon.established(str(transfer.SENDER))

    @property
    def processes(self) -> tuple[process.Process, ...]:
        """It is one."""
        return (self._daemon.process,)


class Frr(Speaker):
    """FRR: bgpd and zebra."""

    def __init__(self, host: namespace.Host) -> None:
        self._daemon = peers.Frr(host, _speaker())

    def start(self) -> None:
        """It listens once vtysh shows the configuration."""
        self._daemon.start()

    def established(self) -> bool:
        """By vtysh."""
        return self._daemon.established(str(transfer.SENDER))

    @property
    def processes(self) -> tuple[process.Process, ...]:
        """Both have the routes."""
        assert self._daemon.zebra is not None
        return (self._daemon.process, self._daemon.zebra)


class Raw:
    """`bench.raw`. It has its routes from nobody, so it is its own feeder."""

    def __init__(self, host: namespace.Host) -> None:
        self._host = host
        self._program: program.Program

    def start(self) -> None:
        """Nothing to do before it knows its routes."""

    def feed(self, sender: namespace.Host, version: int, routes: int) -> program.Program:  # noqa: ARG002
        """Start it."""
        words = (routes, NEXT_HOP[version], INTERFACE)
        self._program = program.Program(self._host, "raw", *words)
        self._program.wait("ready")
        return self._program

    @property
    def processes(self) -> tuple[process.Process, ...]:
        """It is one."""
        return (self._program.process,)


ALL: dict[str, Callable[[namespace.Host], Installer]] = {
    measure.OURS: Ours,
    "BIRD": Bird,
    "FRR": Frr,
    RAW: Raw,
}
"""By the name that the table shows."""


def _speaker() -> peers.Speaker:
    neighbor = peers.Neighbor(
        address=str(transfer.SENDER),
        remote_as=contenders.AS,
        passive=True,
        hold_time=HOLD_TIME,
        graceful_restart=False,
    )
    return peers.Speaker(
        local_as=contenders.AS,
        router_id=transfer.RECEIVER,
        neighbors=(neighbor,),
        ipv6=True,
        install=True,
    )
