"""Adj-RIB-In of each neighbour, Loc-RIB, and the decision between them (RFC 4271 section 9.1).

Pure. Tables are plain dictionaries from NLRI to a path record that a whole UPDATE shares.
Almost every prefix is known from one neighbour only; for such a batch nothing is compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from bgp_ipvlan import model

Table = dict[model.Nlri, model.Path]


class AdjRibIn:
    """What one neighbour told us, per family."""

    def __init__(self) -> None:
        self.tables: dict[model.Family, Table] = {family: {} for family in model.Family}
        self.stale: dict[model.Family, set[model.Nlri]] = {family: set() for family in model.Family}
        """Kept from before its restart, and not heard of again yet (RFC 4724 section 4.2)."""

    def __len__(self) -> int:
        return sum(map(len, self.tables.values()))


class Rib:
    """All tables.

    `best` maps a prefix to its paths, best first; today exactly one.
    """

    def __init__(self) -> None:
        self.neighbors: dict[model.Address, AdjRibIn] = defaultdict(AdjRibIn)
        self.best: dict[model.Family, dict[model.Nlri, tuple[model.Path, ...]]] = {
            family: {} for family in model.Family
        }

    def learn(
        self,
        neighbor: model.Address,
        family: model.Family,
        path: model.Path | None,
        prefixes: list[model.Nlri],
    ) -> list[model.BestPaths]:
        """A neighbour announces prefixes with one path, or (None) withdraws them.

        Returns:
            The changes of best paths.
        """
        rib = self.neighbors[neighbor]
        table, stale = rib.tables[family], rib.stale[family]
        if stale:
            stale.difference_update(prefixes)
        if path is None:
            prefixes = [prefix for prefix in prefixes if table.pop(prefix, None) is not None]
        else:
            table.update(dict.fromkeys(prefixes, path))
        return self._decide(neighbor, family, path, prefixes)

    def _decide(
        self,
        neighbor: model.Address,
        family: model.Family,
        path: model.Path | None,
        prefixes: list[model.Nlri],
    ) -> list[model.BestPaths]:
        if path is not None and self.best[family].keys().isdisjoint(prefixes):
            # Nobody has any of them. A prefix in some table is always in Loc-RIB too.
            return self._alone(family, path, prefixes)
        others = [
            rib.tables[family]
            for address, rib in self.neighbors.items()
            if address != neighbor and rib.tables[family]
        ]
        others = [other for other in others if not other.keys().isdisjoint(prefixes)]
        if not others:
            return self._alone(family, path, prefixes)
        changes = []
        for winner, keys in _winners(path, others, prefixes):
            changes += self._alone(family, winner, keys)
        return changes

    def _alone(
        self, family: model.Family, path: model.Path | None, prefixes: list[model.Nlri]
    ) -> list[model.BestPaths]:
        """Put the winner of some prefixes into Loc-RIB."""
        best = self.best[family]
        if path is None:
            prefixes = [prefix for prefix in prefixes if best.pop(prefix, None) is not None]
            return [model.BestPaths(family, (), prefixes)] if prefixes else []
        paths = (path,)
        # What is announced again unchanged, as after a restart, is no change.
        prefixes = [prefix for prefix in prefixes if best.get(prefix) != paths]
        best.update(dict.fromkeys(prefixes, paths))
        return [model.BestPaths(family, paths, prefixes)] if prefixes else []

    def mark_stale(self, neighbor: model.Address, families: Iterable[model.Family]) -> None:
        """Keep a restarting neighbour's routes in use, marked."""
        rib = self.neighbors[neighbor]
        for family in families:
            rib.stale[family] = set(rib.tables[family])

    def flush_stale(self, neighbor: model.Address, family: model.Family) -> list[model.BestPaths]:
        """Drop what it has not announced again."""
        rib = self.neighbors[neighbor]
        keys, rib.stale[family] = list(rib.stale[family]), set()
        return self.learn(neighbor, family, None, keys) if keys else []

    def forget(
        self, neighbor: model.Address, *, keep: Iterable[model.Family] = ()
    ) -> list[model.BestPaths]:
        """Drop all a neighbour told us, but for some families."""
        rib = self.neighbors[neighbor]
        changes = []
        for family in set(model.Family) - set(keep):
            changes += self.learn(neighbor, family, None, list(rib.tables[family]))
        return changes


def _winners(
    path: model.Path | None, others: list[Table], prefixes: list[model.Nlri]
) -> Iterator[tuple[model.Path | None, list[model.Nlri]]]:
    """Group prefixes by their best path.

    Whole UPDATEs share a record, so few sets of candidates occur, and each is compared
    once. They are told apart by the records' identity: hashing one costs more than all else.
    """
    rows = zip(*(map(other.get, prefixes) for other in others), strict=True)
    known: dict[tuple[int, ...], list[model.Nlri]] = {}
    groups: dict[int, tuple[model.Path | None, list[model.Nlri]]] = {}
    for prefix, row in zip(prefixes, rows, strict=True):
        identity = tuple(map(id, row))
        keys = known.get(identity)
        if keys is None:
            candidates = [candidate for candidate in (*row, path) if candidate is not None]
            winner = choose(candidates) if candidates else None
            keys = known[identity] = groups.setdefault(id(winner), (winner, []))[1]
        keys.append(prefix)
    yield from groups.values()


def choose(paths: list[model.Path]) -> model.Path:
    """The best of some paths, whatever their order (RFC 4271 section 9.1.2.2).

    MED is compared among paths of one neighbouring AS only. So that the result does not
    depend on the order, each AS first sends its own winner ("deterministic MED").
    """
    by_as: dict[int | None, list[model.Path]] = defaultdict(list)
    for path in paths:
        by_as[path.as_path[0] if path.as_path else None].append(path)
    winners = [
        min(group, key=lambda path: (*_rank(path), path.med or 0, *_ties(path)))
        for group in by_as.values()
    ]
    return min(winners, key=lambda path: (*_rank(path), *_ties(path)))


def _rank(path: model.Path) -> tuple[int, ...]:
    """Sections 9.1.1 and 9.1.2.2 a and b: preference, AS_PATH, ORIGIN."""
    return (-path.local_pref, path.as_path_length, path.origin)


def _ties(path: model.Path) -> tuple[object, ...]:
    """Sections 9.1.2.2 d to g, with RFC 4456 section 9 in between.

    External first, then the lowest identifier (a reflected route's is its originator's), the
    shortest CLUSTER_LIST, the lowest address. All next hops are on-link, so e, the interior
    cost, is equal.
    """
    identifier = path.router_id if path.originator_id is None else path.originator_id
    address = path.neighbor
    return (not path.ebgp, identifier, len(path.cluster_list), address.version, int(address))
