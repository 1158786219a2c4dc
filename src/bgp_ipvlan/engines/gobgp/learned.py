"""What gobgpd holds best, as this host uses it: import rules, next hops, and the word to the core.

gobgpd's decision stands; nothing is decided again. Of several paths that it holds equal (its
use-multiple-paths) those are used whose next hop can be reached, which gobgpd does not know.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator

from bgp_ipvlan import model, ports
from bgp_ipvlan.bgp import decision, policy
from bgp_ipvlan.engines.gobgp import api

Paths = tuple[model.Path, ...]
_SLICE = 500
_MOST = 100_000


class Learned:
    """See the module.

    Args:
        config: this speaker: how many equal paths at once.
        events: whom to tell.
    """

    def __init__(self, config: model.SpeakerConfig, events: ports.EngineEvents) -> None:
        self._maximum = config.maximum_paths
        self._events = events
        self._usable: decision.Usable = decision.everything
        self._default = policy.Policy(config.import_rules)
        self._configured: dict[model.Address, tuple[tuple[model.PrefixRule, ...] | None, bool]] = {}
        self._marked: dict[int, tuple[Paths, Paths]] = {}
        """By identity, some paths, and the same with `recursive` as configured."""
        self._policies: dict[model.Address, policy.Policy] = {}
        self.best: dict[model.Family, dict[model.Nlri, Paths]] = {f: {} for f in model.Family}
        """In use."""
        self._odd: dict[model.Family, dict[model.Nlri, Paths]] = {f: {} for f in model.Family}
        """What gobgpd has, where that is not what is in use."""
        self._stale: dict[model.Family, set[model.Nlri]] = {f: set() for f in model.Family}
        """Known only from before, until somebody says that all is there again."""
        self._unseen: dict[model.Family, set[model.Nlri]] = {}
        self._contended: dict[model.Family, set[model.Nlri]] = {f: set() for f in model.Family}
        """Prefixes of ours that neighbours announce as well: gobgpd's best is then our own path."""

    # --- what gobgpd says ------------------------------------------------------------------

    def begin(self) -> None:
        """A whole table follows. What is stale may still come: gobgpd has not heard all again."""
        self._unseen = {
            f: set(self._all(f)) - self._stale[f] - self._contended[f] for f in model.Family
        }

    def rows(self, rows: Collection[api.Row]) -> None:
        """A part of the table, or what has changed in it: each prefix has exactly these paths."""
        groups: dict[tuple[model.Family, int], tuple[Paths, list[model.Nlri]]] = {}
        for family, key, paths in rows:
            groups.setdefault((family, id(paths)), (paths, []))[1].append(key)
        for (family, _), (paths, keys) in groups.items():
            self._set(family, paths, keys)

    def _set(self, family: model.Family, paths: Paths, keys: list[model.Nlri]) -> None:
        contended = self._contended[family]
        if paths:
            contended.difference_update(keys)
            if self._unseen:
                self._unseen[family].difference_update(keys)
        elif contended:
            # Our own path is best, as before.
            keys = [key for key in keys if key not in contended]
        self._stale[family].difference_update(keys)
        self._take(family, paths, keys)

    def change(self, changes: Iterable[api.Change]) -> None:
        """Paths that came and paths that went, each known by its neighbour and identifier."""
        for family, key, came, gone in changes:
            known = {(p.neighbor, p.path_id) for p in (*came, *gone)}
            kept = (p for p in self._known(family, key) if (p.neighbor, p.path_id) not in known)
            self._stale[family].discard(key)
            self._take(family, (*kept, *came), [key])

    def contend(self, family: model.Family, key: model.Nlri, paths: Paths) -> None:
        """What neighbours have to say of a prefix of ours, which gobgpd holds second."""
        contended = self._contended[family]
        if not paths and key not in contended:
            return
        (contended.add if paths else contended.discard)(key)
        self._stale[family].discard(key)
        self._take(family, paths, [key])

    async def end(self) -> None:
        """The table is complete: what was known of this gobgpd and is not in it goes."""
        gone, self._unseen = self._unseen, {}
        await self._drop(gone)

    def all_stale(self) -> None:
        """Note that gobgpd is gone: all there is is from before."""
        self._unseen = {}
        for family in model.Family:
            self._stale[family].update(self._all(family))

    async def flush(self) -> None:
        """What nobody has said again goes."""
        await self._drop(self._stale)

    async def _drop(self, gone: dict[model.Family, set[model.Nlri]]) -> None:
        """In slices."""
        for family, keys in gone.items():
            # What is said again meanwhile leaves the set.
            while keys:
                self._take(family, (), [keys.pop() for _ in range(min(_SLICE, len(keys)))])
                await asyncio.sleep(0)

    @property
    def stale(self) -> int:
        """How many prefixes are known from before only."""
        return sum(map(len, self._stale.values()))

    # --- what follows from it ---------------------------------------------------------------

    def use(self, neighbors: Iterable[model.NeighborConfig]) -> None:
        """Their import rules and `recursive`; what they have said is decided again."""
        configured = {one.address: (one.import_rules, one.recursive) for one in neighbors}
        if configured == self._configured:
            return
        self._configured = configured
        self._policies = {
            address: policy.Policy(rules)
            for address, (rules, _) in configured.items()
            if rules is not None
        }
        self._marked.clear()
        self._again(lambda _: True)

    def next_hops_changed(self, usable: decision.Usable) -> None:
        """Other next hops can be reached: choose again where there is a choice."""
        self._usable = usable
        self._again(lambda paths: len(paths) > 1)

    def _again(self, concerned: Callable[[Paths], bool]) -> None:
        for family in model.Family:
            groups: dict[int, tuple[Paths, list[model.Nlri]]] = {}
            for key in self._all(family):
                paths = self._known(family, key)
                if concerned(paths):
                    groups.setdefault(id(paths), (paths, []))[1].append(key)
            for paths, keys in groups.values():
                self._take(family, paths, keys)

    def refusals(self, family: model.Family) -> Iterator[model.Refusal]:
        """Paths that import rules keep out."""
        for key, paths in self._odd[family].items():
            used = self.best[family].get(key, ())
            for path in paths:
                if path not in used and not self._lets_in(family, path, [key]):
                    yield model.Refusal(family, key, path, policy.REASON)

    # --- inside -----------------------------------------------------------------------------

    def _known(self, family: model.Family, key: model.Nlri) -> Paths:
        """What gobgpd has."""
        found = self._odd[family].get(key)
        return self.best[family].get(key, ()) if found is None else found

    def _all(self, family: model.Family) -> Iterable[model.Nlri]:
        odd = self._odd[family]
        return self.best[family] if not odd else {**self.best[family], **odd}

    def _take(self, family: model.Family, paths: Paths, keys: list[model.Nlri]) -> None:
        """Use these paths of gobgpd's for some prefixes."""
        for allowed, same in self._let_in(family, self._mark(paths), keys):
            used = allowed
            if len(allowed) > 1:
                used = decision.select(allowed, usable=self._usable, maximum=self._maximum)
            odd = self._odd[family]
            if used is not paths and used != paths:
                odd.update(dict.fromkeys(same, paths))
            elif odd:
                for key in same:
                    odd.pop(key, None)
            self._use(family, used, same)

    def _mark(self, paths: Paths) -> Paths:
        """Whether a next hop may be resolved recursively gobgpd does not know."""
        configured = self._configured
        wanted = [configured.get(p.neighbor, (None, False))[1] for p in paths]
        if wanted == [path.recursive for path in paths]:
            return paths
        found = self._marked.get(id(paths))
        if found is None:
            marked = tuple(
                dataclasses.replace(path, recursive=recursive)
                for path, recursive in zip(paths, wanted, strict=True)
            )
            if len(self._marked) > _MOST:
                self._marked.clear()
            found = self._marked[id(paths)] = paths, marked
        return found[1]

    def _use(self, family: model.Family, used: Paths, keys: list[model.Nlri]) -> None:
        best = self.best[family]
        if used:
            changed = [key for key in keys if (old := best.get(key)) is not used and old != used]
            best.update(dict.fromkeys(keys, used))
        else:
            changed = [key for key in keys if best.pop(key, None)]
        if changed:
            self._events.best_paths(model.BestPaths(family, used, changed))

    def _let_in(
        self, family: model.Family, paths: Paths, keys: list[model.Nlri]
    ) -> Iterator[tuple[Paths, list[model.Nlri]]]:
        """What import rules leave of paths; the prefixes parted accordingly."""
        if not paths:
            yield paths, keys
            return
        columns = [self._lets_in(family, path, keys) for path in paths]
        if all(len(accepted) == len(keys) for accepted in columns):
            yield paths, keys
            return
        groups: dict[Paths, list[model.Nlri]] = {}
        for key in keys:
            left = tuple(p for p, accepted in zip(paths, columns, strict=True) if key in accepted)
            groups.setdefault(left, []).append(key)
        yield from groups.items()

    def _lets_in(
        self, family: model.Family, path: model.Path, keys: list[model.Nlri]
    ) -> Collection[model.Nlri]:
        rules = self._policies.get(path.neighbor, self._default)
        accepted, refused = rules.split(family, keys)
        return set(accepted) if refused else keys
