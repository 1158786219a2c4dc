"""What neighbours, other clients of gobgpd and we say in a random life, and what is configured."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Awaitable
from typing import Any

from hypothesis import stateful
from hypothesis import strategies as st

from bgp_ipvlan import model
from bgp_ipvlan.bgp import policy
from tests.fakes import gobgpd
from tests.unit.core.machine import virtual
from tests.unit.gobgp import scene as s

PREFIXES = [
    s.key(text)
    for text in (
        *("10.9.0.0/24", "10.9.1.0/24", "10.9.2.0/24", "10.1.1.0/24", "10.1.2.0/24"),
        *("10.8.0.0/16", "2001:db8:9::/48", "2001:db8:a::/48"),
    )
]
OWN = [*PREFIXES[1:5], PREFIXES[6]]
RULES = (None, (), (policy.parse("10.9.0.0/16 le 32"),), (policy.parse("10.0.0.0/8 le 32"),))

some = st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=6, unique=True)
own = st.lists(st.sampled_from(OWN), min_size=1, max_size=4, unique=True)
neighbors = st.sampled_from(s.ALL)
hops = st.sampled_from(s.ALL)


class Said(stateful.RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = virtual.Loop()
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(contextlib.closing(self.loop))
        self.stack.enter_context(s.small())
        self.w: s.Scene
        self.foreign: dict[gobgpd.Key, model.Path] = {}
        """What another client put into gobgpd."""
        self.kept: set[gobgpd.Key] = set()
        """Known, and coming back: must not be told gone."""
        self.until = 0.0
        """The loop's time up to which that is so."""
        self.old_since: float | None = None
        self.lost: list[gobgpd.Key] = []
        self.failed = False

    def run(self, what: Awaitable[object] | None = None) -> None:
        """Do something, and let happen what needs no time."""

        async def both() -> None:
            if what is not None:
                await what
            await self.loop.idle()

        self.failed = True
        self.loop.run_until_complete(both())
        assert self.lost == [], "gone although it came back"
        assert self.w.gobgpd.repeated == []
        self.failed = False

    def _gone(self, key: gobgpd.Key) -> None:
        if key in self.kept and self.loop.time() < self.until:
            self.lost.append(key)

    @stateful.initialize(
        version=st.sampled_from("34"),
        multipath=st.booleans(),
        file=st.booleans(),
        maximum=st.sampled_from([1, 16]),
        early=st.booleans(),
        graceful=st.lists(st.booleans(), min_size=4, max_size=4),
        delays=st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=4, max_size=4),
    )
    def begin(
        self,
        version: str,
        multipath: bool,
        file: bool,
        maximum: int,
        early: bool,
        graceful: list[bool],
        delays: list[float],
    ) -> None:
        """A host, beside a gobgpd that is there already, or not yet."""

        async def main() -> None:
            self.w = s.Scene(
                self.loop, version=version, multipath=multipath, file=file, maximum_paths=maximum
            )
            for remote, is_graceful, delay in zip(
                self.w.gobgpd.remotes.values(), graceful, delays, strict=True
            ):
                remote.is_graceful, remote.delay = is_graceful, delay
            self.w.events.on_gone = self._gone
            if early:
                self.w.gobgpd.start()
            await self.w.start_engine()

        self.run(main())

    # --- what is said ----------------------------------------------------------------------------

    @stateful.rule(
        neighbor=neighbors,
        what=some,
        hop=hops,
        local_pref=st.sampled_from([100, 100, 100, 200]),
        path_id=st.sampled_from([0, 0, 1]),
    )
    def say(
        self,
        neighbor: model.Address,
        what: list[gobgpd.Key],
        hop: model.Address,
        local_pref: int,
        path_id: int,
    ) -> None:
        """A neighbour announces."""
        self.kept.difference_update(what)
        one = s.path(neighbor, next_hop=hop, local_pref=local_pref, path_id=path_id)

        async def main() -> None:
            for key in what:
                self.w.gobgpd.say(neighbor, key, path_id, one)

        self.run(main())

    @stateful.rule(neighbor=neighbors, what=some)
    def unsay(self, neighbor: model.Address, what: list[gobgpd.Key]) -> None:
        """A neighbour withdraws."""
        self.kept.difference_update(what)

        async def main() -> None:
            for key in what:
                for path_id in (0, 1):
                    self.w.gobgpd.say(neighbor, key, path_id, None)

        self.run(main())

    @stateful.rule(what=own, med=st.sampled_from([None, 5]))
    def announce(self, what: list[gobgpd.Key], med: int | None) -> None:
        """We announce, or change attributes."""
        self.kept.difference_update(what)

        async def main() -> None:
            self.w.announce(*what, med=med)

        self.run(main())

    @stateful.rule(what=own)
    def withdraw(self, what: list[gobgpd.Key]) -> None:
        """We withdraw."""
        self.kept.difference_update(what)

        async def main() -> None:
            self.w.withdraw(*what)

        self.run(main())

    @stateful.rule(what=own, there=st.booleans())
    def client(self, what: list[gobgpd.Key], there: bool) -> None:
        """Another client of gobgpd announces on our prefixes, or withdraws what it did.

        Between our look and our word it would lose: gobgpd has no other way.
        """
        if not self.w.gobgpd.is_up or self.w.gobgpd.busy:
            return
        self.kept.difference_update(what)

        async def main() -> None:
            for key in what:
                if there:
                    self.foreign[key] = s.NOT_OURS
                    self.w.client(key, s.NOT_OURS)
                elif self.foreign.pop(key, None):
                    self.w.client(key, None)

        self.run(main())

    # --- what is configured ------------------------------------------------------------------------

    @stateful.rule(
        which=st.sets(st.sampled_from(s.OURS), min_size=1),
        rules=st.sampled_from(RULES),
        recursive=st.booleans(),
        hold=st.sampled_from([9, 9, 30]),
    )
    def configure(
        self, which: set[model.NeighborConfig], rules: Any, recursive: bool, hold: int
    ) -> None:
        """Other neighbours, import rules, `recursive`."""
        del recursive
        self.kept.clear()
        self.w.neighbors = tuple(
            dataclasses.replace(one, import_rules=rules, hold_time=hold)
            for one in sorted(which, key=lambda one: int(one.address))
        )

        async def main() -> None:
            self.w.engine.configure(self.w.neighbors, ())

        self.run(main())

    @stateful.rule(unusable=st.sets(st.sampled_from(s.ALL), max_size=2))
    def surroundings(self, unusable: set[model.Address]) -> None:
        """Other next hops can be reached."""
        self.w.usable = lambda path: path.next_hop not in unusable

        async def main() -> None:
            self.w.engine.surroundings_changed((), self.w.usable)

        self.run(main())

    @stateful.rule(on=st.booleans())
    def drain(self, on: bool) -> None:
        """GRACEFUL_SHUTDOWN, or no longer."""
        self.kept.difference_update(OWN)

        async def main() -> None:
            self.w.drain(on=on)

        self.run(main())

    @stateful.rule()
    def shutdown(self) -> None:
        """All sessions of ours end."""
        self.kept.clear()

        async def main() -> None:
            self.w.silent = True
            task = self.loop.create_task(self.w.engine.shutdown())
            await self.loop.let_pass(12)
            await task

        self.run(main())

    @stateful.rule()
    def resume(self) -> None:
        """And come again."""
        self.kept.clear()

        async def main() -> None:
            self.w.resume()

        self.run(main())
