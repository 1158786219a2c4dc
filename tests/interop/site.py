"""Our speaker on one lab host, a foreign one on another, a wire between. What the tests share."""

from __future__ import annotations

import dataclasses
import json
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import namespace, peers, process

US, THEM = "192.0.2.1", "192.0.2.2"
US6, THEM6 = "2001:db8::1", "2001:db8::2"
OURS, OURS6, LATER = "10.1.1.0/24", "2001:db8:1::/64", "10.1.2.0/24"
THEIRS, THEIRS6 = "10.2.0.0/16", "2001:db8:2::/64"
ROOT = Path(__file__).parents[2]
ALL = (peers.Bird, peers.Frr, peers.GoBgp, peers.OpenBgpd, peers.ExaBgp)
"""Whom we talk to."""


class OurSpeaker:
    """`tests.interop.speaker` on a host. Its output is for waiting, the foreign tool is the witness.

    Args:
        host: where it runs.
        local_as: its AS number.
        neighbors: as `tests.interop.speaker --neighbor` takes them.
        more: further flags of it, such as which engine; by default the embedded one.
    """

    def __init__(
        self, host: namespace.Host, local_as: int, *neighbors: str, more: Sequence[str] = ()
    ) -> None:
        self.host = host
        self._orders = host.directory / "orders"
        self.flags = ["--as", str(local_as), "--router-id", US, "--orders", str(self._orders)]
        self.flags += [word for neighbor in neighbors for word in ("--neighbor", neighbor)]
        self.flags += more
        self._life = 0
        self.process: process.Process

    def start(self, *announce: str, restarted: bool = False, restart_time: int = 30) -> None:
        """Start it; each life has a log of its own."""
        self._life += 1
        words = [word for one in announce for word in ("--announce", one)]
        self.process = self.host.start(
            *(sys.executable, "-m", "tests.interop.speaker", *self.flags, *words),
            *("--restart-time", str(restart_time), *(["--restarted"] if restarted else [])),
            log=f"speaker-{self._life}.log",
            env={"PYTHONPATH": f"{ROOT}:{ROOT}/src"},
        )

    def order(self, do: str, **values: Any) -> Any:
        """Have it do something while it runs; see `tests.interop.speaker.Orders`."""
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rw") as file:
            connection.connect(str(self._orders))
            file.write(json.dumps({"do": do, **values}) + "\n")
            file.flush()
            return json.loads(file.readline())

    def neighbor(self) -> dict[str, Any]:
        """The first neighbour as it is now: `model.NeighborStatus`."""
        found: dict[str, Any] = self.order("neighbors")[0]
        return found

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What this life has told so far."""
        lines = [line for line in self.process.output().splitlines() if line.startswith('{"event')]
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [event for event in found if event["event"] == kind]

    def routes(self) -> dict[str, dict[str, Any]]:
        """The routes it has now."""
        now = {event["prefix"]: event for event in self.events("route")}
        return {prefix: event for prefix, event in now.items() if event["next_hop"]}

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something it tells; fails with its log."""
        try:
            namespace.wait_until(condition, what)
        except namespace.LabError as error:
            raise namespace.LabError(f"{error}\n{self.process.tail(40)}") from None

    def wait_route(self, prefix: str) -> dict[str, Any]:
        """Wait until it has learned a prefix."""
        self.wait(lambda: prefix in self.routes(), f"our speaker to learn {prefix}")
        return self.routes()[prefix]

    def wait_synced(self) -> None:
        """Wait until it has everything."""
        self.wait(lambda: self.events("synced"), "our speaker to be synced")

    def sessions(self) -> list[str]:
        """States it went through, with the reason."""
        return [f"{event['state']} {event['detail']}" for event in self.events("neighbor")]

    def leave(self) -> int:
        """End it for good: withdraw and Cease."""
        self.process.signal(signal.SIGINT)
        return self.process.wait()


class Site:
    """The two hosts.

    Args:
        lab: makes them.
        kind: whose speaker is on the other one.
        ases: our AS number and theirs.
        six: the session is on IPv6 (both families are on it either way).
        us: more fields of our `model.NeighborConfig`, as JSON.
        them: more fields of their `peers.Neighbor`.
        originate: what they announce besides `THEIRS` and `THEIRS6`.
        extra: the end of their configuration.
    """

    def __init__(
        self,
        lab: namespace.Lab,
        kind: type[peers.Peer],
        ases: tuple[int, int],
        *,
        six: bool = False,
        us: Mapping[str, Any] | None = None,
        them: Mapping[str, Any] | None = None,
        originate: Sequence[str | peers.Originated] = (),
        extra: str = "",
    ) -> None:
        self._lab = lab
        self.host, far = lab.host("us"), lab.host("them")
        lab.wire(
            namespace.Port(self.host, "eth1", (f"{US}/24", f"{US6}/64")),
            namespace.Port(far, "eth1", (f"{THEM}/24", f"{THEM6}/64")),
        )
        self.ases = ases
        self.us, self.them = (US6, THEM6) if six else (US, THEM)
        config = {"address": self.them, "remote_as": ases[1], **(us or {})}
        self.ours = OurSpeaker(self.host, ases[0], json.dumps(config))
        neighbor = {"address": self.us, "remote_as": ases[0], **(them or {})}
        speaker = peers.Speaker(
            local_as=ases[1],
            router_id=THEM,
            neighbors=(peers.Neighbor(**neighbor),),
            originate=(THEIRS, THEIRS6, *originate),
            ipv6=True,
            extra=extra,
        )
        make: Callable[[namespace.Host, peers.Speaker], peers.Peer] = kind
        self.peer = make(far, speaker)

    def up(self, *announce: str, restarting: bool = False) -> None:
        """Start both; wait for the session and the first tables."""
        self.ours.start(*(announce or (f"{OURS},{US}", f"{OURS6},{US6}")))
        self.peer.start(restarting=restarting)
        peers.wait_established(self.peer, self.us)
        self.ours.wait_synced()

    def behind(self, *originate: str) -> peers.Bird:
        """One more AS, behind the neighbour, that has these prefixes; call it before `up`."""
        number = len(self.peer.speaker.neighbors)
        address, there = f"198.51.100.{4 * number + 1}", f"198.51.100.{4 * number + 2}"
        host = self._lab.host(f"behind{number}")
        self._lab.wire(
            namespace.Port(self.peer.host, f"eth{number + 1}", (f"{address}/30",)),
            namespace.Port(host, "eth1", (f"{there}/30",)),
        )
        speaker, ases = self.peer.speaker, (self.ases[1], 65000 + number)
        self.peer.speaker = dataclasses.replace(
            speaker,
            neighbors=(*speaker.neighbors, peers.Neighbor(address=there, remote_as=ases[1])),
        )
        return peers.Bird(
            host,
            peers.Speaker(
                local_as=ases[1],
                router_id=there,
                neighbors=(peers.Neighbor(address=address, remote_as=ases[0]),),
                originate=originate,
            ),
        )
