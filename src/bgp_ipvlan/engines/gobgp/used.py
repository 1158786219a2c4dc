"""Which of gobgpd's paths this host uses, and the word to the core.

gobgpd's decision stands; nothing is decided again. Import rules keep some paths out, and of
several that gobgpd holds equal (its use-multiple-paths) those are used whose next hop can be
reached, which gobgpd does not know.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator

from bgp_ipvlan import model, ports, turns
from bgp_ipvlan.bgp import decision, policy

Paths = tuple[model.Path, ...]
_SLICE = 500
_MOST = 100_000


class Used:
    """See the module.

    Args:
        config: this speaker: import rules, and how many equal paths at once.
        events: whom to tell.
    """

    def __init__(self, config: model.SpeakerConfig, events: ports.EngineEvents) -> None:
        self._maximum = config.maximum_paths
        self._events = events
        self._usable: decision.Usable = decision.everything
        self._default = policy.Policy(config.import_rules)
        self._configured: dict[model.Address, tuple[tuple[model.PrefixRule, ...] | None, bool]] = {}
        self._policies: dict[model.Address, policy.Policy] = {}
        self._muted: frozenset[model.Address] = frozenset()
        self._marked: dict[int, tuple[Paths, Paths]] = {}
        """By identity, some paths, and the same with `recursive` as configured."""
        self.best: dict[model.Family, dict[model.Nlri, Paths]] = {f: {} for f in model.Family}
        """In use."""
        self._odd: dict[model.Family, dict[model.Nlri, Paths]] = {f: {} for f in model.Family}
        """What gobgpd has, where that is not what is in use."""
        self._several: dict[model.Family, set[model.Nlri]] = {f: set() for f in model.Family}
        """Where gobgpd has more than one path."""
        self._again: asyncio.Task[None] | None = None

    def known(self, family: model.Family, key: model.Nlri) -> Paths:
        """What gobgpd has."""
        found = self._odd[family].get(key)
        return self.best[family].get(key, ()) if found is None else found

    def keys(self, family: model.Family) -> list[model.Nlri]:
        """All prefixes to which gobgpd has a path."""
        best = self.best[family]
        return [*best, *(key for key in self._odd[family] if key not in best)]

    def take(self, family: model.Family, paths: Paths, keys: list[model.Nlri]) -> None:
        """gobgpd has these paths to some prefixes, and no others."""  # noqa: D403 - a program
        paths = self._mark(paths)
        several = self._several[family]
        if len(paths) > 1:
            several.update(keys)
        elif several:
            several.difference_update(keys)
        for allowed, same in self._let_in(family, paths, keys):
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

    def _use(self, family: model.Family, used: Paths, keys: list[model.Nlri]) -> None:
        best = self.best[family]
        if used:
            changed = [key for key in keys if (old := best.get(key)) is not used and old != used]
            best.update(dict.fromkeys(keys, used))
        else:
            changed = [key for key in keys if best.pop(key, None)]
        if changed:
            self._events.best_paths(model.BestPaths(family, used, changed))

    # --- what else it depends on ---------------------------------------------------------------

    def configure(self, neighbors: Iterable[model.NeighborConfig]) -> None:
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
        self._decide_again({family: self.keys(family) for family in model.Family})

    def mute(self, neighbors: Iterable[model.Address]) -> None:
        """Use nothing of these: their sessions are ended for good, whatever gobgpd still keeps."""
        self._muted = frozenset(neighbors)
        self._decide_again({family: self.keys(family) for family in model.Family})

    def next_hops_changed(self, usable: decision.Usable) -> None:
        """Other next hops can be reached: choose again where there is a choice."""
        self._usable = usable
        self._decide_again({family: list(keys) for family, keys in self._several.items()})

    def _decide_again(self, keys: dict[model.Family, list[model.Nlri]]) -> None:
        if self._again is not None:
            # It would go on with what is no longer so for some, and not with all.
            self._again.cancel()
            keys = {f: list(dict.fromkeys((*keys[f], *self.keys(f)))) for f in model.Family}
        if sum(map(len, keys.values())) <= _SLICE:
            self._again = None
            for family, some in keys.items():
                self._take_again(family, some)
            return
        self._again = asyncio.create_task(self._work(keys), name="gobgp-again")

    async def _work(self, keys: dict[model.Family, list[model.Nlri]]) -> None:
        for family, some in keys.items():
            async for part in turns.slices(some, _SLICE):
                self._take_again(family, part)
        self._again = None

    def _take_again(self, family: model.Family, keys: list[model.Nlri]) -> None:
        groups: dict[int, tuple[Paths, list[model.Nlri]]] = {}
        for key in keys:
            # It may have gone meanwhile.
            if paths := self.known(family, key):
                groups.setdefault(id(paths), (paths, []))[1].append(key)
        for paths, same in groups.values():
            self.take(family, paths, same)

    def close(self) -> None:
        """Decide nothing more."""
        if self._again is not None:
            self._again.cancel()

    # --- import rules and marks --------------------------------------------------------------

    def refusals(self, family: model.Family) -> Iterator[model.Refusal]:
        """Paths that import rules keep out."""
        for key, paths in self._odd[family].items():
            used = self.best[family].get(key, ())
            for path in paths:
                if path.neighbor in self._muted or path in used:
                    continue
                if self._lets_in(family, path, [key]) is not None:
                    yield model.Refusal(family, key, path, policy.REASON)

    def _let_in(
        self, family: model.Family, paths: Paths, keys: list[model.Nlri]
    ) -> Iterable[tuple[Paths, list[model.Nlri]]]:
        """What import rules leave of paths; the prefixes parted accordingly."""
        columns = [self._lets_in(family, path, keys) for path in paths]
        if all(column is None for column in columns):
            return [(paths, keys)]
        groups: dict[Paths, list[model.Nlri]] = {}
        for key in keys:
            allowed = (column is None or key in column for column in columns)
            groups.setdefault(tuple(itertools.compress(paths, allowed)), []).append(key)
        return groups.items()

    def _lets_in(
        self, family: model.Family, path: model.Path, keys: list[model.Nlri]
    ) -> Collection[model.Nlri] | None:
        """Those prefixes that may come in; None where all may."""
        if path.neighbor in self._muted:
            return frozenset()
        rules = self._policies.get(path.neighbor, self._default)
        accepted, refused = rules.split(family, keys)
        return frozenset(accepted) if refused else None

    def _mark(self, paths: Paths) -> Paths:
        """Whether a next hop may be resolved recursively gobgpd does not know."""
        wanted = [self._configured.get(path.neighbor, (None, False))[1] for path in paths]
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
            # The original is kept, so that its identity stays its own.
            found = self._marked[id(paths)] = paths, marked
        return found[1]
