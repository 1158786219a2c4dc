"""One host whose engine is any of ours, and three BIRDs on the same wire: what the contract runs on.

`LEFT` and `RIGHT` are in other ASes, `INSIDE` is in ours. The right one's session is on IPv6. BIRD's
own tool is the witness of what we say; what the engine has told and what it answers are compared
with what BIRD was made to say.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from lab import namespace, newgobgp, peers, process
from tests.interop.site import OurSpeaker

US, LEFT, RIGHT, INSIDE = (f"192.0.2.{number}" for number in range(1, 5))
US6, LEFT6, RIGHT6, INSIDE6 = (f"2001:db8::{number}" for number in range(1, 5))
AS, LEFT_AS, RIGHT_AS = 64512, 64513, 64514
OURS, OURS6, LATER = "10.1.1.0/24", "2001:db8:1::/64", "10.1.2.0/24"
OF_LEFT, OF_LEFT6, OF_RIGHT, OF_INSIDE = (
    "10.2.0.0/16",
    "2001:db8:2::/64",
    "10.3.0.0/16",
    "10.4.0.0/16",
)
SHARED = "10.9.0.0/16"
MARK = f"{AS}:179:17900"
"""On all that is ours (D3): by it we know it again."""
_WATCH_MARK = "blackhole 198.51.100.1"
API = "127.0.0.1:50051"
TO_LEFT = {"address": LEFT, "remote_as": LEFT_AS}
TO_RIGHT = {"address": RIGHT6, "remote_as": RIGHT_AS}
TO_INSIDE = {"address": INSIDE, "remote_as": AS}
NEIGHBORS = (TO_LEFT, TO_RIGHT, TO_INSIDE)
ALL_ADDRESSES = (US, US6, "127.0.0.1", "::1")
MANY = tuple(f"10.{64 + n // 256}.{n % 256}.0/24" for n in range(20_000))
"""A burst. (10.64.0.0/16 to 10.142.0.0/16.)"""


@dataclasses.dataclass(frozen=True, slots=True)
class Engine:
    """Which of our engines, and whose gobgpd."""

    name: str
    command: str = ""
    """gobgpd, where there is one."""
    tool: str = ""
    """Its gobgp."""
    spawned: bool = False
    """We start it ourselves."""

    @property
    def gobgp(self) -> bool:
        """Whether a gobgpd speaks for us."""
        return bool(self.command)

    @property
    def burst(self) -> tuple[str, ...]:
        """As many prefixes of our own as are a burst: gobgpd is told one by one."""
        return MANY[:1000] if self.gobgp else MANY


EMBEDDED = Engine("embedded")
ATTACHED_3 = Engine("gobgp-attached-3", "gobgpd", "gobgp")
SPAWNED_3 = Engine("gobgp-spawned-3", "gobgpd", "gobgp", spawned=True)
ATTACHED_4 = Engine("gobgp-attached-4", str(newgobgp.daemon()), str(newgobgp.tool()))


class Gobgpd:
    """A gobgpd on our host that was there before us: started by the administrator.

    Args:
        host: ours.
        engine: which.
        more: the end of its configuration: what else the administrator has it do.
    """

    def __init__(self, host: namespace.Host, engine: Engine, more: str = "") -> None:
        self.host = host
        self._engine = engine
        self.document = host.directory / "gobgpd.toml"
        self.document.write_text(document() + more)
        self.process: process.Process

    def start(self, *, restarting: bool = False) -> None:
        """Start it, and wait until it answers."""
        self.process = self.host.start(
            *(self._engine.command, "-f", self.document, "--api-hosts", API, "--pprof-disable"),
            *(["-r"] if restarting else []),
            log="gobgpd.log",
        )
        namespace.wait_until(lambda: self.ctl("global")["asn"] == AS, "gobgpd to answer")

    def ctl(self, *words: str) -> Any:
        """One gobgp command; its JSON."""
        return json.loads(self.host.run(self._engine.tool, "-j", *words).stdout or "null")

    def run(self, *words: str) -> str:
        """One gobgp command that prints no JSON."""
        return self.host.run(self._engine.tool, *words).stdout

    def paths(self, prefix: str) -> list[dict[str, Any]]:
        """What it has for a prefix in its global table."""
        table = self.ctl("global", "rib", "-a", "ipv6" if ":" in prefix else "ipv4") or {}
        found: list[dict[str, Any]] = table.get(prefix, [])
        return found


def document() -> str:
    """Of a gobgpd that knows who it is, and nobody else; what it learns it passes on to nobody."""
    return f"""
[global.config]
as = {AS}
router-id = "{US}"
[global.use-multiple-paths.config]
enabled = true
[global.apply-policy.config]
export-policy-list = ["own"]
default-export-policy = "reject-route"
[[policy-definitions]]
name = "own"
[[policy-definitions.statements]]
name = "own"
[policy-definitions.statements.conditions.bgp-conditions]
route-type = "local"
[policy-definitions.statements.actions]
route-disposition = "accept-route"
"""


class Scene:
    """See the module.

    Args:
        lab: makes the hosts.
        engine: who speaks for us.
        foreign: what an attached gobgpd has besides us, at the end of its file.
        speaker: more of our `model.SpeakerConfig`.
        neighbors: ours at the start.
    """

    def __init__(
        self,
        lab: namespace.Lab,
        engine: Engine,
        *,
        foreign: str = "",
        speaker: Mapping[str, Any] | None = None,
        neighbors: Sequence[Mapping[str, Any]] = NEIGHBORS,
    ) -> None:
        self.engine = engine
        names = ("us", "left", "right", "inside")
        hosts = [lab.host(name) for name in names]
        lab.segment(
            *(
                namespace.Port(host, "eth1", (f"192.0.2.{n}/24", f"2001:db8::{n}/64"))
                for n, host in enumerate(hosts, 1)
            )
        )
        self.host = hosts[0]
        self.left = _bird(hosts[1], LEFT_AS, US, LEFT, OF_LEFT, OF_LEFT6)
        self.right = _bird(hosts[2], RIGHT_AS, US6, RIGHT, OF_RIGHT)
        self.inside = _bird(hosts[3], AS, US, INSIDE, OF_INSIDE)
        self.birds = (self.left, self.right, self.inside)
        self._more: set[str] = set()
        self.gobgpd = Gobgpd(self.host, engine, foreign)
        flags = ["--brief", "--speaker", json.dumps(speaker or {})]
        if engine.gobgp:
            flags += ["--engine", "gobgp"]
            if engine.spawned:
                flags += ["--command", engine.command]
            else:
                flags += ["--api", API]
        self.ours = OurSpeaker(self.host, AS, *map(json.dumps, neighbors), more=flags)

    def up(self, *announce: Mapping[str, Any] | str) -> None:
        """Start all of them; all know all."""
        if self.engine.gobgp and not self.engine.spawned:
            self.gobgpd.start()
        self.start(*announce)
        # They connect at once, while our first try may have been refused, and rests.
        for bird in self.birds:
            bird.start()
        self.ready()

    def start(self, *announce: Mapping[str, Any] | str, restarted: bool = False) -> None:
        """Begin a life of ours; by default one that announces a prefix of either family."""
        said = [json.dumps(ours(one) if isinstance(one, str) else one) for one in announce]
        said = said or [json.dumps(ours(OURS)), json.dumps(ours(OURS6))]
        self.ours.start(*said, restarted=restarted)
        process_ = self.ours.process
        namespace.wait_until(
            lambda: self.ours.events("started") or not process_.alive, "our speaker to start"
        )
        assert process_.alive, process_.tail(40)

    def ready(self) -> None:
        """As after `up`: all sessions stand, all tables are whole, nothing more is announced."""
        self.order("configure", neighbors=NEIGHBORS)
        self.withdraw(*self._more)
        for bird in self.birds:
            bird.originate(*bird.speaker.originate)
            bird.ctl("enable all")
        for bird, address in self.each():
            self.wait(lambda b=bird, a=address: b.established(a), "a session")  # type: ignore[misc]
        self.wait(lambda: self.prefixes() == THEIRS, "our table to be whole")
        for bird, _ in self.each():
            for prefix in (OURS, OURS6):
                peers.wait_learned(bird, prefix)
            for prefix in sorted(self._more)[:3]:
                peers.wait_forgotten(bird, prefix)
        self._more.clear()

    def each(self) -> list[tuple[peers.Bird, str]]:
        """Each neighbour, and the address under which it knows us."""
        return [(bird, bird.speaker.neighbors[0].address) for bird in self.birds]

    def order(self, do: str, **values: Any) -> Any:
        """See `tests.interop.speaker.Orders`."""
        return self.ours.order(do, **values)

    def announce(self, *routes: Mapping[str, Any] | str) -> None:
        """Announce; a prefix alone is one of ours without more."""
        said = [ours(one) if isinstance(one, str) else dict(one) for one in routes]
        self._more.update(one["prefix"] for one in said)
        self._more -= {OURS, OURS6}
        self.order("announce", routes=said)

    def withdraw(self, *prefixes: str) -> None:
        """Take back."""
        self.order("withdraw", prefixes=prefixes)

    def neighbor(self, address: str) -> dict[str, Any]:
        """A neighbour as the engine has it now: `model.NeighborStatus`; empty if it has none."""
        return next((one for one in self.order("neighbors") if one["address"] == address), {})

    def prefixes(self) -> set[str]:
        """All that it has a path for, if what it told and what it answers is the same."""
        table = self.order("table")
        return set(table["now"]) if table["told"] == table["now"] else set()

    def next_hops(self, prefix: str) -> list[str]:
        """Of the paths now in use for a prefix, best first; fails not: "differs" is none of them."""
        table = self.order("table")
        told, now = (table[which].get(prefix, []) for which in ("told", "now"))
        return told if told == now else ["differs"]

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait; fails with our speaker's log."""
        self.ours.wait(condition, what)


class Watch:
    """What changes in the kernel's routes on a host, by `ip monitor`."""

    def __init__(self, host: namespace.Host) -> None:
        self._host = host
        self._process = host.start("ip", "monitor", "route", log="monitor.log")
        self._marked()

    def lines(self) -> list[str]:
        """All of it until now: it is told in order, so with a mark of ours all before has been."""
        self._marked()
        return self._process.output().splitlines()

    def _marked(self) -> None:
        before = self._process.output().count(_WATCH_MARK)

        def seen() -> bool:
            for verb in ("add", "del"):
                self._host.run("ip", "route", verb, *_WATCH_MARK.split(), "proto", "static")
            return self._process.output().count(_WATCH_MARK) > before

        namespace.wait_until(seen, "the monitor to tell")


THEIRS = {OF_LEFT, OF_LEFT6, OF_RIGHT, OF_INSIDE}
"""What our table has in a scene that is ready."""


def ours(prefix: str, **more: Any) -> dict[str, Any]:
    """An announcement of a prefix: `tests.interop.speaker.announcement`."""
    six = ":" in prefix
    return {
        "prefix": prefix,
        "next_hop": US6 if six else US,
        "on_link": [f"{US6}/64", "fe80::17/64"] if six else [f"{US}/24"],
        "large_communities": [MARK],
        **more,
    }


def cannot(scene: Scene, why: str) -> None:
    """This is not for an engine whose sessions are a gobgpd's, by its nature."""
    if scene.engine.gobgp:
        pytest.skip(f"not with gobgpd: {why}")


def sessions(bird: peers.Bird) -> int:
    """How often BIRD has logged that its session came up."""
    return bird.process.output().count("BGP session established")


def _bird(host: namespace.Host, local_as: int, us: str, address: str, *prefixes: str) -> peers.Bird:
    speaker = peers.Speaker(
        local_as=local_as,
        router_id=address,
        neighbors=(peers.Neighbor(address=us, remote_as=AS),),
        originate=prefixes,
        ipv6=True,
    )
    return peers.Bird(host, speaker)
