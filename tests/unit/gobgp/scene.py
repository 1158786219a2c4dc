"""A GoBGP engine, a gobgpd and its neighbours, and what must hold when they are at rest."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any
from unittest import mock

import pytest

from bgp_ipvlan import model, ownership, turns
from bgp_ipvlan.bgp import decision, policy
from bgp_ipvlan.engines.gobgp import api as api_
from bgp_ipvlan.engines.gobgp import engine as engine_
from bgp_ipvlan.engines.gobgp import feed, learned, originated, used
from tests.fakes import gobgp, gobgpd
from tests.unit.core.machine import virtual

Key = gobgpd.Key
Paths = tuple[model.Path, ...]
LEFT, RIGHT, INSIDE, ADMIN = map(
    ipaddress.ip_address, ("192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.9")
)
ALL = (LEFT, RIGHT, INSIDE, ADMIN)
NUMBERS = {LEFT: 65002, RIGHT: 65003, INSIDE: gobgpd.AS, ADMIN: 65009}
CONFIGS = {a: model.NeighborConfig(address=a, remote_as=number) for a, number in NUMBERS.items()}
OURS = (CONFIGS[LEFT], CONFIGS[RIGHT], CONFIGS[INSIDE])
MARKS = ownership.Identity(gobgpd.AS, int(ipaddress.ip_address("192.0.2.1"))).marks(stretched=False)
DEADLINE = 20
NOT_OURS = model.Path(neighbor=gobgpd.NOBODY, next_hop=LEFT, communities=(1,))
"""What another client of gobgpd announces."""


def key(text: str) -> Key:
    """A prefix as tables have it."""
    prefix = ipaddress.ip_network(text)
    return model.Family.of(prefix), model.nlri(prefix)


def announcement(prefix: Key, **more: Any) -> model.Announcement:
    """Of a prefix of ours."""
    hop = "192.0.2.1" if prefix[0] is model.Family.IPV4 else "2001:db8::1"
    return model.Announcement(
        prefix=model.prefix(*prefix),
        next_hop=ipaddress.ip_address(hop),
        large_communities=MARKS,
        **more,
    )


def path(neighbor: model.Address, **more: Any) -> model.Path:
    """Of a neighbour."""
    return model.Path(
        neighbor=neighbor,
        next_hop=more.pop("next_hop", neighbor),
        ebgp=NUMBERS[neighbor] != gobgpd.AS,
        router_id=int(neighbor),
        **more,
    )


class Events:
    """What the engine told."""

    def __init__(self) -> None:
        self.told: dict[Key, Paths] = {}
        """Replayed."""
        self.log: list[tuple[Key, Paths]] = []
        self.sessions: list[tuple[model.Address, model.SessionState]] = []
        self.synced_times = 0
        self.on_gone: Callable[[Key], None] = lambda _: None
        self.on_synced: Callable[[], None] = lambda: None

    def best_paths(self, change: model.BestPaths) -> None:
        """See `EngineEvents`."""
        for nlri in change.prefixes:
            one = change.family, nlri
            assert self.told.get(one, ()) != change.paths, "nothing new"
            self.log.append((one, change.paths))
            self.told[one] = change.paths
            if not change.paths:
                del self.told[one]
                self.on_gone(one)

    def gone(self, of: Collection[Key]) -> list[Key]:
        """Which of some were told gone."""
        return [one for one, paths in self.log if not paths and one in of]

    def neighbor_changed(self, status: model.NeighborStatus, detail: str) -> None:
        """See `EngineEvents`."""
        del detail
        self.sessions.append((status.address, status.state))

    def synced(self) -> None:
        """See `EngineEvents`."""
        self.synced_times += 1
        self.on_synced()


class Scene:
    """See the module.

    Args:
        loop: of which all is part.
        version: of gobgpd's API.
        multipath: gobgpd's use-multiple-paths.
        file: whether gobgpd has a neighbour of its administrator's.
    """

    def __init__(
        self,
        loop: virtual.Loop,
        *,
        version: str = "3",
        multipath: bool = False,
        file: bool = False,
        **config: Any,
    ) -> None:
        self.loop = loop
        own = [CONFIGS[ADMIN]] if file else []
        self.gobgpd = gobgpd.FakeGobgpd(version=version, multipath=multipath, file=own)
        self.gobgpd.remotes = {a: gobgpd.Remote(a) for a in ALL}
        self.room = asyncio.Event()
        self.room.set()
        self.wanted: dict[Key, model.Announcement] = {}
        self.neighbors: tuple[model.NeighborConfig, ...] = OURS
        self.usable: decision.Usable = decision.everything
        self.more = config
        self.silent = self.graceful = False
        self.begin()

    def begin(self) -> None:
        """A daemon's life begins: it remembers nothing of an earlier one."""
        config = model.SpeakerConfig(
            local_as=gobgpd.AS,
            router_id=ipaddress.IPv4Address("192.0.2.1"),
            neighbors=self.neighbors,
            sync_deadline=DEADLINE,
            **self.more,
        )
        self.config, self.events = config, Events()
        with mock.patch.object(api_, "Api", return_value=gobgp.FakeApi(self.gobgpd)):
            self.engine = engine_.GobgpEngine(config, self.events, api="x", room=self.room)
        self.engine.announce(self.wanted.values())

    async def start(self, *, restarted: bool = False) -> None:
        """Start gobgpd, and the engine beside it; all comes to rest."""
        if not self.gobgpd.is_up:
            self.gobgpd.start()
        await self.start_engine(restarted=restarted)
        await self.loop.let_pass(8)

    async def start_engine(self, *, restarted: bool = False) -> None:
        """Start the engine alone, and let it try."""
        starting = asyncio.create_task(
            self.engine.start(restarted=restarted, forwarding_preserved=False)
        )
        await self.loop.let_pass(11 if not self.gobgpd.is_up else 1)
        await starting

    async def stop(self) -> None:
        """End, without a word."""
        await self.engine.stop(withdraw=False)

    def announce(self, *prefixes: Key, **more: Any) -> None:
        """Ours come, or change."""
        some = {one: announcement(one, **more) for one in prefixes}
        self.wanted |= some
        self.engine.announce(some.values())

    def withdraw(self, *prefixes: Key) -> None:
        """Ours go."""
        for one in prefixes:
            self.wanted.pop(one, None)
        self.engine.withdraw(model.prefix(*one) for one in prefixes)

    def say(self, neighbor: model.Address, *prefixes: Key, **more: Any) -> None:
        """A neighbour announces."""
        for one in prefixes:
            self.gobgpd.say(neighbor, one, 0, path(neighbor, **more))

    def unsay(self, neighbor: model.Address, *prefixes: Key) -> None:
        """A neighbour withdraws."""
        for one in prefixes:
            self.gobgpd.say(neighbor, one, 0, None)

    def client(self, prefix: Key, what: model.Path | None) -> None:
        """Another client of gobgpd adds a path, or deletes it."""
        self.gobgpd.put(prefix, (gobgpd.NOBODY, 0), what)

    def drain(self, *, on: bool) -> None:
        """GRACEFUL_SHUTDOWN, or no longer."""
        self.graceful = on
        self.engine.graceful_shutdown(on=on)

    def resume(self) -> None:
        """No shutdown of either kind any more."""
        self.silent = self.graceful = False
        self.engine.resume()

    def best(self) -> dict[Key, Paths]:
        """What the engine says is used."""
        return {
            (family, nlri): self.engine.best(family, nlri)
            for family in model.Family
            for nlri in self.engine.prefixes(family)
        }

    def called(self, *names: str) -> list[tuple[str, object]]:
        """What gobgpd was asked."""
        return [one for one in self.gobgpd.calls if one[0] in names]

    # --- what must hold at rest ----------------------------------------------------------------

    def accepts(self, one: Key, found: model.Path) -> bool:
        """By import rules, as a person reads them."""
        configured = {c.address: c.import_rules for c in self.neighbors}
        if self.silent and found.neighbor in configured:
            return False
        rules = configured.get(found.neighbor)
        rules = self.config.import_rules if rules is None else rules
        return rules is None or bool(policy.Policy(rules).split(one[0], [one[1]])[0])

    def expected(self) -> dict[Key, Paths]:
        """What follows from gobgpd's table."""
        found = {}
        for one in self.gobgpd.table:
            chosen = self.gobgpd.chosen(one)
            if chosen[0].is_local:
                ours = one in self.wanted and ownership.marked(chosen[0].path)
                # Whose paths gobgpd does not choose from: we do.
                chosen = self.gobgpd.ranked(one) if ours else []
            paths = [h.path for h in chosen if not h.is_local and self.accepts(one, h.path)]
            if len(paths) > 1:
                most = self.config.maximum_paths
                paths = list(decision.select(paths, usable=self.usable, maximum=most))
            if paths:
                found[one] = tuple(paths)
        return found

    def check(self) -> None:
        """All that must hold at rest."""
        assert self.expected() == self.best()
        assert self.best() == self.events.told, "as told"
        assert self.engine._learned.stale == 0
        assert self.gobgpd.repeated == []
        self.check_ours()

    def check_ours(self) -> None:
        """What we want is there, as we want it; what is not ours is as it was."""
        there = {k: p for k in self.gobgpd.table if (p := self.gobgpd.local(k)) is not None}
        ours = {k: p for k, p in there.items() if ownership.marked(p)}
        foreign = there.keys() - ours.keys()
        marked = {k: self._asked(one) for k, one in self.wanted.items() if k not in foreign}
        assert ours == ({} if self.silent else marked)
        if not self.silent:
            withheld = {model.prefix(*k) for k in foreign if k in self.wanted}
            assert set(self.engine.withheld()) == withheld

    def _asked(self, one: model.Announcement) -> model.Path:
        found = gobgpd.local(one)
        if not self.graceful:
            return found
        more = (*found.communities, model.GRACEFUL_SHUTDOWN)
        return dataclasses.replace(found, communities=more, local_pref=0)


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Let what is cut in slices be cut with a few prefixes already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "_TURN", -1)
        patch.setattr(learned, "_SLICE", 2)
        patch.setattr(used, "_SLICE", 2)
        patch.setattr(originated, "_AT_ONCE", 2)
        patch.setattr(feed, "_MANY", 4)
        yield


def plays(**options: Any) -> Callable[[Callable[[Scene], Awaitable[None]]], Callable[[], None]]:
    """Give a test a scene, and a loop whose time passes only when it says so."""

    def decorate(test: Callable[[Scene], Awaitable[None]]) -> Callable[[], None]:
        def play() -> None:
            with contextlib.closing(virtual.Loop()) as loop:
                loop.run_until_complete(_play(loop, test, options))

        play.__name__, play.__doc__ = test.__name__, test.__doc__
        return play

    return decorate


async def _play(
    loop: virtual.Loop, test: Callable[[Scene], Awaitable[None]], options: dict[str, Any]
) -> None:
    scene = Scene(loop, **options)
    try:
        await test(scene)
    finally:
        await scene.stop()
