"""Our speaker on one lab host, a foreign one on another, a wire between. What the tests share."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import namespace, peers, process

US, THEM = "192.0.2.1", "192.0.2.2"
US6, THEM6 = "2001:db8::1", "2001:db8::2"
OURS, OURS6, LATER = "10.1.1.0/24", "2001:db8:1::/64", "10.1.2.0/24"
THEIRS, THEIRS6 = "10.2.0.0/16", "2001:db8:2::/64"
ROOT = Path(__file__).parents[2]


class OurSpeaker:
    """`tests.interop.speaker` on a host. Its output is for waiting, the foreign tool is the witness."""

    def __init__(self, host: namespace.Host, local_as: int, *neighbors: str) -> None:
        self.host = host
        self.flags = ["--as", str(local_as), "--router-id", US]
        self.flags += [word for neighbor in neighbors for word in ("--neighbor", neighbor)]
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
    """The two hosts."""

    def __init__(self, lab: namespace.Lab, kind: type[peers.Peer], ases: tuple[int, int]) -> None:
        self.host, far = lab.host("us"), lab.host("them")
        lab.wire(
            namespace.Port(self.host, "eth1", (f"{US}/24", f"{US6}/64")),
            namespace.Port(far, "eth1", (f"{THEM}/24", f"{THEM6}/64")),
        )
        self.ases = ases
        self.ours = OurSpeaker(self.host, ases[0], f"{THEM},{ases[1]}")
        self.peer = self._peer(kind, far)

    def _peer(self, kind: type[peers.Peer], host: namespace.Host) -> peers.Peer:
        speaker = peers.Speaker(
            local_as=self.ases[1],
            router_id=THEM,
            neighbors=(peers.Neighbor(address=US, remote_as=self.ases[0]),),
            originate=(THEIRS, THEIRS6),
            ipv6=True,
        )
        make: Callable[[namespace.Host, peers.Speaker], peers.Peer] = kind
        return make(host, speaker)

    def up(self, *announce: str) -> None:
        """Start both; wait for the session and the first tables."""
        self.ours.start(*(announce or (f"{OURS},{US}", f"{OURS6},{US6}")))
        self.peer.start()
        peers.wait_established(self.peer, US)
        self.ours.wait_synced()
