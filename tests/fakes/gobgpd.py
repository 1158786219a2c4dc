"""A gobgpd without a process: tables, a decision, neighbours, events.

It behaves as gobgpd 3 and 4 do as far as the engine can see it (`engines.gobgp.watch` says what they
send). Time is the loop's, so a test with a virtual loop decides what happens before what.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import ipaddress
from collections.abc import Callable, Collection, Iterable

from bgp_ipvlan import errors, model
from bgp_ipvlan.engines.gobgp import api as api_

Key = tuple[model.Family, model.Nlri]
NOBODY = ipaddress.IPv4Address(0)
AS = 64512


@dataclasses.dataclass(slots=True)
class Held:
    """A path in gobgpd's table."""

    path: model.Path
    age: int
    stale: bool = False

    @property
    def is_local(self) -> bool:
        """A client of the API put it there."""
        return self.path.neighbor == NOBODY

    @property
    def source(self) -> tuple[model.Address, int]:
        """Whose it is; nobody has two of one."""
        return self.path.neighbor, self.path.path_id

    def merit(self) -> tuple[int, ...]:
        """The least is best; the same is equal (multipath)."""
        one = self.path
        by_path = one.as_path_length, one.origin, one.med or 0
        return (-one.local_pref, not self.is_local, *by_path, not one.ebgp)


@dataclasses.dataclass(slots=True)
class Peer:
    """A neighbour that gobgpd has."""

    config: model.NeighborConfig
    state: model.SessionState = model.SessionState.IDLE
    since: float = 0.0
    end_of_rib: bool = False
    shut: bool = False


@dataclasses.dataclass(slots=True)
class Remote:
    """The router at the other end."""

    address: model.Address
    says: dict[tuple[Key, int], model.Path] = dataclasses.field(default_factory=dict)
    is_up: bool = True
    is_graceful: bool = True
    """RFC 4724: it promises End-of-RIB, and gobgpd keeps its paths while it is away."""
    delay: float = 0.5
    """Seconds until its session comes, then until half of its table, then until the rest."""


@dataclasses.dataclass(eq=False, slots=True)
class Watcher:
    """Somebody who listens."""

    queue: collections.deque[tuple[float, api_.Peer | api_.Rows | None]]
    news: asyncio.Event


def local(announcement: model.Announcement) -> model.Path:
    """What gobgpd makes of an announcement."""
    one = announcement
    return model.Path(
        neighbor=NOBODY,
        next_hop=one.fixed_next_hop or one.next_hop,
        communities=one.communities,
        large_communities=one.large_communities,
        med=one.med,
        local_pref=100 if one.local_pref is None else one.local_pref,
        as_path_length=one.prepend,
        as_path=(AS,) * one.prepend,
    )


class FakeGobgpd:
    """See the module; what a test does to it, and what it does by itself.

    Args:
        version: of its API, "3" or "4".
        multipath: use-multiple-paths.
        file: neighbours of its configuration file, an administrator's.
    """

    def __init__(
        self,
        *,
        version: str = "3",
        multipath: bool = False,
        file: Iterable[model.NeighborConfig] = (),
    ) -> None:
        self.version, self.multipath, self.file = version, multipath, tuple(file)
        self.is_up = False
        self.is_large = False
        """The table does not go into one message."""
        self.local_as = AS
        self.generation = 0
        """Connections of before have ended."""
        self.latency = self.lag = self.pace = 0.0
        """Seconds that a call takes each way, that an event is under way, and between two slices."""
        self.slice = 3
        """Rows that come at once."""
        self.reading = 0.2
        """Seconds after its start in which its file's neighbours are not there yet."""
        self.table: dict[Key, list[Held]] = {}
        self.peers: dict[model.Address, Peer] = {}
        self.ranges: dict[model.Prefix, str] = {}
        self.remotes: dict[model.Address, Remote] = {}
        self.watchers: list[Watcher] = []
        self.calls: list[tuple[str, object]] = []
        """What changed something or was asked for, in order."""
        self.repeated: list[Key] = []
        """What was announced although it was there just so."""
        self.busy = 0
        """Calls under way."""
        self.tables_sent = 0
        self.on_call: Callable[[str], None] = lambda _: None
        self._failures: dict[str, list[errors.EngineError]] = {}
        self._tuples: dict[tuple[model.Path, ...], tuple[model.Path, ...]] = {}
        self._age = 0
        self._life = 0

    # --- faults --------------------------------------------------------------------------------

    def fail(self, call: str, reason: str, *, done: bool = False) -> None:
        """Have the next call of a name fail; also `slice`: in the midst of a table.

        Args:
            call: a method of the API.
            reason: `gobgp-unreachable` or `gobgp-refused`.
            done: what was asked is done all the same: only the answer is lost.
        """
        name = f"{call}, done" if done else call
        self._failures.setdefault(name, []).append(errors.EngineError(reason, f"injected: {call}"))

    def check_consumed(self) -> None:
        """Every fault has struck."""
        assert {name: some for name, some in self._failures.items() if some} == {}

    def forget_faults(self) -> None:
        """None that is left will strike."""
        self._failures.clear()

    def strike(self, name: str) -> None:
        """Fail if it is this call's turn."""
        if waiting := self._failures.get(name):
            raise waiting.pop(0)

    # --- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """It comes: with its AS number at once, with its neighbours in a moment."""
        self.is_up = True
        self._life += 1
        life = self._life

        def read() -> None:
            if life == self._life and self.is_up:
                for one in self.file:
                    if one.address not in self.peers:
                        self.add_peer(one)

        asyncio.get_running_loop().call_later(self.reading, read)

    def die(self) -> None:
        """Killed: nothing of it is left but its file."""
        self.is_up = False
        self._life += 1
        self.table, self.peers, self.ranges = {}, {}, {}
        self.cut()

    def cut(self) -> None:
        """All connections to its API end."""
        self.generation += 1
        for one in self.watchers:
            one.queue.clear()
            one.queue.append((0.0, None))
            one.news.set()

    # --- the table ------------------------------------------------------------------------------

    def ranked(self, key: Key) -> list[Held]:
        """All paths to a prefix, best first."""
        return sorted(self.table.get(key, ()), key=lambda held: (*held.merit(), held.age))

    def chosen(self, key: Key) -> list[Held]:
        """The best, and with multipath those that are as good."""
        ranked = self.ranked(key)
        if not self.multipath:
            return ranked[:1]
        return [held for held in ranked if held.merit() == ranked[0].merit()]

    def put(self, key: Key, source: tuple[model.Address, int], path: model.Path | None) -> None:
        """A path comes, replaces that of the same source, or goes."""
        before = [dataclasses.replace(held) for held in self.chosen(key)]
        left = [held for held in self.table.get(key, ()) if held.source != source]
        if path is not None:
            self._age += 1
            left.append(Held(path, self._age))
        self.table[key] = left
        if not left:
            del self.table[key]
        self._tell(self._change(key, before, self.chosen(key)))

    def local(self, key: Key) -> model.Path | None:
        """What a client of the API put there."""
        return next((held.path for held in self.table.get(key, ()) if held.is_local), None)

    def row(self, held: Collection[Held]) -> tuple[model.Path, ...]:
        """Paths as a row has them."""
        paths = tuple(one.path for one in held if not one.is_local)
        return self._tuples.setdefault(paths, paths)

    def _change(self, key: Key, before: list[Held], after: list[Held]) -> api_.Rows:
        old = {held.source: held.path for held in before}
        new = {held.source: held.path for held in after}
        if self.multipath and self.version == "4":
            came = [held for held in after if old.get(held.source) != held.path]
            gone = [held for held in before if held.source not in new]
            changes: list[api_.Change] = [(*key, self.row([held]), ()) for held in came]
            changes += [(*key, (), self.row([held])) for held in gone]
            return api_.Rows(api_.Kind.DELTA, changes=changes)
        if list(old.items()) == list(new.items()):
            return api_.Rows(api_.Kind.SET)
        return api_.Rows(api_.Kind.SET, [(*key, self.row(after))])

    def _tell(self, event: api_.Peer | api_.Rows) -> None:
        when = asyncio.get_running_loop().time() + self.lag
        for one in self.watchers:
            one.queue.append((when, event))
            one.news.set()

    def snapshot(self) -> list[api_.Row]:
        """The table of best paths."""
        return [(*key, self.row(self.chosen(key))) for key in self.table]

    # --- neighbours -------------------------------------------------------------------------------

    def add_peer(self, config: model.NeighborConfig) -> None:
        """It will connect."""
        self.peers[config.address] = Peer(config)
        self._expect(config.address)

    def remove_peer(self, address: model.Address) -> None:
        """With all that it said."""
        self.down(address, keep=False)
        del self.peers[address]

    def shut(self, address: model.Address) -> None:
        """By an administrator, us or another."""
        self.peers[address].shut = True
        self.down(address, keep=False)

    def enable(self, address: model.Address) -> None:
        """And again."""
        if self.peers[address].shut:
            self.peers[address].shut = False
            self._expect(address)

    def down(self, address: model.Address, *, keep: bool) -> None:
        """A session ends; it is tried again."""
        peer = self.peers[address]
        if peer.state is model.SessionState.ESTABLISHED:
            peer.state, peer.end_of_rib = model.SessionState.IDLE, False
            self._tell(api_.Peer(api_.PeerKind.STATE, address, peer.state))
        if keep and self.remotes[address].is_graceful:
            for held in self._of(address):
                held[1].stale = True
        else:
            for key, held_ in self._of(address):
                self.put(key, held_.source, None)
        if not peer.shut:
            self._expect(address)

    def say(self, address: model.Address, key: Key, path_id: int, path: model.Path | None) -> None:
        """A neighbour announces or withdraws."""
        remote = self.remotes[address]
        if path is None:
            remote.says.pop((key, path_id), None)
        else:
            remote.says[key, path_id] = path
        peer = self.peers.get(address)
        if peer is not None and peer.state is model.SessionState.ESTABLISHED:
            self.put(key, (address, path_id), path)

    def _of(self, address: model.Address) -> list[tuple[Key, Held]]:
        found = [(key, held) for key, some in self.table.items() for held in some]
        return [(key, held) for key, held in found if held.path.neighbor == address]

    def expect(self, address: model.Address) -> None:
        """The router at the other end is up again."""
        if address in self.peers:
            self._expect(address)

    def _expect(self, address: model.Address) -> None:
        remote, peer, loop = (
            self.remotes.get(address),
            self.peers[address],
            asyncio.get_running_loop(),
        )
        if remote is None:
            return

        def is_still(state: model.SessionState) -> bool:
            there = self.peers.get(address) is peer and not peer.shut and remote.is_up
            return there and peer.state is state

        def come() -> None:
            if is_still(model.SessionState.IDLE):
                peer.state, peer.since = model.SessionState.ESTABLISHED, loop.time()
                self._tell(api_.Peer(api_.PeerKind.STATE, address, peer.state))
                loop.call_later(remote.delay, tell, peer.since)

        def tell(since: float, *, rest: bool = False) -> None:
            if not is_still(model.SessionState.ESTABLISHED) or peer.since != since:
                return
            said = list(remote.says.items())
            half = len(said) // 2
            for (key, path_id), path in said[half:] if rest else said[:half]:
                self.put(key, (address, path_id), path)
            if not rest:
                loop.call_later(remote.delay, lambda: tell(since, rest=True))
                return
            self._forget_stale(remote)
            peer.end_of_rib = remote.is_graceful

        loop.call_later(remote.delay, come)

    def _forget_stale(self, remote: Remote) -> None:
        for key, held in self._of(remote.address):
            if held.stale:
                self.put(key, held.source, None)

    def status(self, peer: Peer) -> model.NeighborStatus:
        """As `gobgp neighbor` has it."""
        up = peer.state is model.SessionState.ESTABLISHED
        remote = self.remotes.get(peer.config.address)
        return model.NeighborStatus(
            address=peer.config.address,
            remote_as=peer.config.remote_as,
            state=peer.state,
            since=peer.since,
            local_as=peer.config.local_as or self.local_as,
            received=len(self._of(peer.config.address)),
            end_of_rib=up and peer.end_of_rib,
            graceful_restart=up and remote is not None and remote.is_graceful,
            families=tuple(model.Family) if up else (),
            idle_reason="shutdown" if peer.shut else "",
            description=peer.config.description,
        )
