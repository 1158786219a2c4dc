"""Random lives of a GoBGP engine: what happens to gobgpd, to neighbours and to us, in any order."""

from __future__ import annotations

from hypothesis import stateful
from hypothesis import strategies as st

from bgp_ipvlan import model
from tests.fakes import gobgpd
from tests.unit.gobgp import said as said_
from tests.unit.gobgp import scene as s

CALLS = ("connect", "watch", "slice", "lookup", "counts", "change", "neighbors", "add_neighbor")
REFUSABLE = ("watch", "lookup", "counts", "change", "add", "neighbors")
neighbors = st.sampled_from(s.ALL)
seconds = st.sampled_from([0.0, 0.05, 0.3, 1.0, 3.0, 8.0, 30.0])


class Machine(said_.Said):
    """See the module."""

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
        said, peers = self.w.gobgpd.remotes, self.w.gobgpd.peers
        unchanged = {
            one.address
            for one in self.w.neighbors
            if one.address in peers and peers[one.address].config.hold_time == one.hold_time
        }
        return all(
            one.neighbor in coming
            and (one.neighbor == s.ADMIN or one.neighbor in unchanged)
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
