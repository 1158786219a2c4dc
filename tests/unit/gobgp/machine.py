"""Random lives of a GoBGP engine: what neighbours, clients, gobgpd and we do, in any order."""

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
CALLS = ("connect", "watch", "slice", "lookup", "counts", "change", "neighbors", "add_neighbor")
REFUSABLE = ("watch", "lookup", "counts", "change", "add", "neighbors")

some = st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=6, unique=True)
own = st.lists(st.sampled_from(OWN), min_size=1, max_size=4, unique=True)
neighbors = st.sampled_from(s.ALL)
seconds = st.sampled_from([0.0, 0.05, 0.3, 1.0, 3.0, 8.0, 30.0])
hops = st.sampled_from(s.ALL)


class Machine(stateful.RuleBasedStateMachine):
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

    # --- what happens ----------------------------------------------------------------------------

    @stateful.rule(how_long=seconds)
    def wait(self, how_long: float) -> None:
        """Time passes."""
        self.run(self.loop.let_pass(how_long))

    @stateful.rule(
        latency=st.sampled_from([0.0, 0.0, 0.02, 0.2]),
        lag=st.sampled_from([0.0, 0.0, 0.1, 0.6]),
        pace=st.sampled_from([0.0, 0.0, 0.1]),
        size=st.integers(1, 3),
    )
    def load(self, latency: float, lag: float, pace: float, size: int) -> None:
        """The daemon is faster or slower."""
        daemon = self.w.gobgpd
        daemon.latency, daemon.lag, daemon.pace, daemon.slice = latency, lag, pace, size

    @stateful.rule(is_set=st.booleans())
    def room(self, is_set: bool) -> None:
        """The kernel takes no more for a while, or takes it again."""
        self.kept.clear()
        (self.w.room.set if is_set else self.w.room.clear)()
        self.run()

    @stateful.rule(is_large=st.booleans())
    def grow(self, is_large: bool) -> None:
        """The table does not go into one message any more, or does again."""
        self.w.gobgpd.is_large = is_large

    @stateful.rule(neighbor=neighbors, keep=st.booleans())
    def session_ends(self, neighbor: model.Address, keep: bool) -> None:
        """A neighbour is gone for a moment."""
        self.kept.clear()

        async def main() -> None:
            if neighbor in self.w.gobgpd.peers:
                self.w.gobgpd.down(neighbor, keep=keep)

        self.run(main())

    @stateful.rule(neighbor=neighbors)
    def neighbor_dies(self, neighbor: model.Address) -> None:
        """Or longer."""
        self.kept.clear()
        self.w.gobgpd.remotes[neighbor].is_up = False

        async def main() -> None:
            if neighbor in self.w.gobgpd.peers:
                self.w.gobgpd.down(neighbor, keep=False)

        self.run(main())

    @stateful.rule(neighbor=neighbors)
    def neighbor_comes(self, neighbor: model.Address) -> None:
        """And back."""
        self.run(self._comes(neighbor))

    async def _comes(self, neighbor: model.Address) -> None:
        remote = self.w.gobgpd.remotes[neighbor]
        if not remote.is_up:
            remote.is_up = True
            self.w.gobgpd.expect(neighbor)

    @stateful.rule(call=st.sampled_from(CALLS), done=st.booleans())
    def lose_a_call(self, call: str, done: bool) -> None:
        """One call does not get through, or its answer does not."""
        self.w.gobgpd.fail(call, "gobgp-unreachable", done=done and call != "slice")

    @stateful.rule(call=st.sampled_from(REFUSABLE))
    def refuse(self, call: str) -> None:
        """One call is refused."""
        self.w.gobgpd.fail(call, "gobgp-refused")

    @stateful.rule()
    def cut(self) -> None:
        """The connection is lost, and gobgpd goes on."""

        async def main() -> None:
            self._keep(0.0)
            self.w.gobgpd.cut()

        self.run(main())

    @stateful.rule(pause=st.sampled_from([0.0, 0.5, 4.0, 15.0, 50.0]))
    def crash(self, pause: float) -> None:
        """Killed, and started again."""

        async def main() -> None:
            if self.w.gobgpd.is_up:
                self._keep(pause)
                self.foreign.clear()
                self.w.gobgpd.die()
            await self.loop.let_pass(pause)
            self.w.gobgpd.start()

        self.run(main())

    def _keep(self, pause: float) -> None:
        """What is known and will come back must stay, as long as we may wait for it."""
        now, daemon = self.loop.time(), self.w.gobgpd
        if self.old_since is None:
            self.old_since = now
        self.until = min(now + s.DEADLINE, self.old_since + 2 * s.DEADLINE) - 1
        if pause < s.DEADLINE:
            self.until = min(now + pause + s.DEADLINE, self.old_since + 2 * s.DEADLINE) - 1
        coming = {
            a
            for a, r in daemon.remotes.items()
            if r.is_up
            and a in daemon.peers
            and not daemon.peers[a].shut
            and daemon.peers[a].state is model.SessionState.ESTABLISHED
        }
        if self.w.room.is_set() and not self.w.silent:
            self.kept = {
                key
                for key, paths in self.w.best().items()
                if self.w.events.told.get(key) == paths == self.w.expected().get(key)
                and key not in self.w.wanted
                and daemon.local(key) is None
                and self._all_come(key, coming)
            }

    def _all_come(self, key: gobgpd.Key, coming: set[model.Address]) -> bool:
        """All of its paths are taken, and their neighbours go on to say them."""
        held = [one.path for one in self.w.gobgpd.table.get(key, ())]
        said = self.w.gobgpd.remotes
        return all(
            one.neighbor in coming
            and (one.neighbor == s.ADMIN or one.neighbor in {c.address for c in self.w.neighbors})
            and said[one.neighbor].says.get((key, one.path_id)) == one
            and self.w.accepts(key, one)
            for one in held
        )

    @stateful.rule()
    def we_restart(self) -> None:
        """The daemon ends, and begins again with all that it wants to announce.

        A left-over that is not gobgpd's best it would not find: the table does not show it.
        """
        if any(self._is_hidden(key) for key in self.w.gobgpd.table):
            return

        async def main() -> None:
            await self.w.stop()
            self.kept.clear()
            self.w.silent = self.w.graceful = False
            self.w.begin()
            self.w.events.on_gone = self._gone
            self.w.engine.surroundings_changed((), self.w.usable)
            await self.w.start_engine(restarted=True)

        self.run(main())

    def _is_hidden(self, key: gobgpd.Key) -> bool:
        daemon = self.w.gobgpd
        return daemon.local(key) is not None and not daemon.chosen(key)[0].is_local

    # --- what must hold ----------------------------------------------------------------------------

    @stateful.rule()
    def rest(self) -> None:
        """With time, and gobgpd there, everything is as it must be."""
        self.run(self._rest())

    async def _rest(self) -> None:
        daemon = self.w.gobgpd
        daemon.forget_faults()
        daemon.latency = daemon.lag = daemon.pace = 0.0
        self.w.room.set()
        if not daemon.is_up:
            daemon.start()
        await self.loop.let_pass(70)
        self.w.check()
        self.old_since = None
        self.kept.clear()
        assert self.foreign == {
            key: found
            for key in daemon.table
            if (found := daemon.local(key)) is not None and not self._is_ours(found)
        }
        self._check_neighbors()
        assert self.w.events.synced_times == 1
        daemon.calls.clear()
        await self.loop.let_pass(15)
        assert self.w.called("change", "add", "delete", "add_neighbor", "delete_neighbor") == []

    @staticmethod
    def _is_ours(path: model.Path) -> bool:
        return path.large_communities == s.MARKS

    def _check_neighbors(self) -> None:
        daemon = self.w.gobgpd
        for one in daemon.file:
            assert daemon.peers[one.address].config == one, "an administrator's"
        touched = {a for name, a in self.w.called("delete_neighbor", "disable_neighbor")}
        assert s.ADMIN not in touched
        wanted = {one.address for one in self.w.neighbors}
        assert daemon.peers.keys() == wanted | {one.address for one in daemon.file}
        assert not any(daemon.peers[a].shut is not self.w.silent for a in wanted)

    def teardown(self) -> None:
        """At rest, once more."""
        with self.stack:
            if hasattr(self, "w"):
                try:
                    if not self.failed:
                        self.run(self._rest())
                finally:
                    self.loop.run_until_complete(self.w.stop())
