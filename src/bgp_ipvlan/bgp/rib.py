"""Adj-RIB-In of all neighbours, Loc-RIB, and the decision between them (RFC 4271 section 9.1).

Pure. Almost every prefix is known by one path only; for a batch of such nothing is compared.
How `best` is kept right: a prefix in any table is in `best`, and whoever has a path to it is
among its holders: those noted as contending for it, else the one whose path is the best.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator

from bgp_ipvlan import model
from bgp_ipvlan.bgp import decision
from bgp_ipvlan.bgp.adj_rib_in import AdjRibIn, Refused, alike

Paths = tuple[model.Path, ...]
Holders = tuple[model.Address, ...]


class Rib:
    """All tables.

    Args:
        maximum_paths: how many equal paths a prefix may have in Loc-RIB.
    """

    def __init__(self, *, maximum_paths: int = 16) -> None:
        self.best: dict[model.Family, dict[model.Nlri, Paths]] = {f: {} for f in model.Family}
        """Loc-RIB: best first, then those equal to it."""
        self.usable: decision.Usable = decision.everything
        """Which paths have a next hop that can be used. Whoever replaces it, or what it says, has the `contested`
        prefixes decided anew; where there is one path only, it changes nothing."""
        self._maximum_paths = maximum_paths
        self._neighbors: dict[model.Family, dict[model.Address, AdjRibIn]] = {
            family: {} for family in model.Family
        }
        self._contested: dict[model.Family, dict[model.Nlri, Holders]] = {
            family: {} for family in model.Family
        }
        """Prefixes that had more than one path when last decided, and the neighbours with any."""

    # --- what neighbours say --------------------------------------------------------

    def learn(
        self,
        neighbor: model.Address,
        family: model.Family,
        path: model.Path | None,
        prefixes: list[model.Nlri],
        *,
        path_id: int | None = None,
    ) -> list[model.BestPaths]:
        """A neighbour announces prefixes with one path, or (None) withdraws them.

        Args:
            neighbor: which.
            family: of the prefixes.
            path: replaces the prefixes' path of that identifier, refused or not.
            prefixes: canonical NLRI.
            path_id: the path's (RFC 7911); None on a session without ADD-PATH.

        Returns:
            The changes of best paths.
        """
        if path is None:
            known = self._neighbors[family].get(neighbor)
            return self._decide(family, known.withdraw(prefixes, path_id)) if known else []
        fresh: dict[model.Nlri, tuple[model.Path]] = dict.fromkeys(prefixes, (path,))
        for prefix in self._table(neighbor, family).accept(fresh, path_id):
            del fresh[prefix]
        best = self.best[family]
        if fresh and best.keys().isdisjoint(fresh):
            # Nobody has any of them.
            best.update(fresh)
            return [model.BestPaths(family, (path,), list(fresh))]
        return self._decide(family, fresh, neighbor)

    def refuse(
        self,
        neighbor: model.Address,
        family: model.Family,
        path: model.Path,
        prefixes: list[model.Nlri],
        reason: str,
        *,
        path_id: int | None = None,
    ) -> list[model.BestPaths]:
        """A neighbour announces prefixes with a path that must not be used.

        It replaces their path of that identifier like any other (an implicit withdraw), and is
        kept to be shown.

        Args:
            neighbor: which.
            family: of the prefixes.
            path: the path.
            prefixes: canonical NLRI.
            reason: a reason code.
            path_id: the path's (RFC 7911); None on a session without ADD-PATH.

        Returns:
            The changes of best paths.
        """
        refused = Refused(path, reason)
        table = self._table(neighbor, family)
        return self._decide(family, dict.fromkeys(table.refuse(prefixes, refused, path_id)))

    def mark_stale(self, neighbor: model.Address, families: Iterable[model.Family]) -> None:
        """Keep a restarting neighbour's routes in use, marked.

        A prefix loses its mark, and all its old paths, when it is announced again.
        """
        for family in families:
            known = self._neighbors[family].get(neighbor)
            if known:
                known.mark_stale()

    def flush_stale(
        self, neighbor: model.Address, family: model.Family, *, limit: int | None = None
    ) -> list[model.Nlri]:
        """Drop what a neighbour has not announced again, at most `limit` prefixes of it.

        Returns:
            The prefixes for `redecide`; until then `best` has them as they were.
        """
        known = self._neighbors[family].get(neighbor)
        if known is None:
            return []
        lost = known.flush_stale(limit)
        if not known:
            del self._neighbors[family][neighbor]
        return lost

    def is_stale(self, neighbor: model.Address, family: model.Family) -> bool:
        """Whether a neighbour has prefixes that it has not announced again."""
        known = self._neighbors[family].get(neighbor)
        return known is not None and bool(known.stale)

    def forget(
        self, neighbor: model.Address, *, keep: Iterable[model.Family] = ()
    ) -> dict[model.Family, list[model.Nlri]]:
        """Drop all a neighbour told us, but for some families.

        Returns:
            The prefixes for `redecide`; until then `best` has them as they were.
        """
        lost: dict[model.Family, list[model.Nlri]] = {}
        for family in set(model.Family).difference(keep):
            known = self._neighbors[family].pop(neighbor, None)
            if known is not None and known.accepted.rows:
                lost[family] = list(known.accepted.rows)
        return lost

    def _table(self, neighbor: model.Address, family: model.Family) -> AdjRibIn:
        tables = self._neighbors[family]
        found = tables.get(neighbor)
        if found is None:
            found = tables[neighbor] = AdjRibIn()
        return found

    # --- what is known --------------------------------------------------------------

    def refusals(self, family: model.Family) -> Iterator[model.Refusal]:
        """Every path that was refused, with its reason."""
        for known in self._neighbors[family].values():
            for prefix, entries in known.refused.rows.items():
                for one in entries:
                    yield model.Refusal(family, prefix, one.path, one.reason)

    def contested(self, family: model.Family) -> list[model.Nlri]:
        """The prefixes that have more than one path, equal or not."""
        return list(self._contested[family])

    def received(self, neighbor: model.Address) -> int:
        """How many paths a neighbour has in all families, refused ones too."""
        return sum(len(known) for known in self._of(neighbor))

    def refused(self, neighbor: model.Address) -> int:
        """How many of them are refused."""
        return sum(len(known.refused) for known in self._of(neighbor))

    def stale(self, neighbor: model.Address) -> int:
        """How many of its prefixes are known only from before its restart."""
        return sum(len(known.stale) for known in self._of(neighbor))

    def count(self, neighbor: model.Address, family: model.Family) -> int:
        """How many paths a neighbour has in one family, refused ones too."""
        known = self._neighbors[family].get(neighbor)
        return len(known) if known is not None else 0

    def _of(self, neighbor: model.Address) -> Iterator[AdjRibIn]:
        for tables in self._neighbors.values():
            known = tables.get(neighbor)
            if known is not None:
                yield known

    # --- the decision ---------------------------------------------------------------

    def redecide(
        self, family: model.Family, prefixes: Iterable[model.Nlri]
    ) -> list[model.BestPaths]:
        """Decide prefixes by what the tables hold now.

        Args:
            family: of the prefixes.
            prefixes: any; as many at a time as the caller has time for (1 µs each).

        Returns:
            The changes of best paths.
        """
        return self._decide(family, dict.fromkeys(prefixes))

    def _decide(
        self,
        family: model.Family,
        prefixes: Collection[model.Nlri],
        newcomer: model.Address | None = None,
    ) -> list[model.BestPaths]:
        """Decide prefixes, each named once.

        Args:
            family: of the prefixes.
            prefixes: which.
            newcomer: a neighbour that may not be among their holders yet.
        """
        changes: dict[tuple[int, ...], model.BestPaths] = {}
        best, contested = self.best[family], self._contested[family]
        before = alike(prefixes, map(best.get, prefixes), map(contested.get, prefixes))
        for (old, noted), alike_before in before:
            holders = dict.fromkeys(noted or (path.neighbor for path in old or ()))
            if newcomer is not None:
                holders[newcomer] = None
            for holding, paths, same in self._candidates(family, holders, alike_before):
                self._note(contested, same, noted, holding if len(paths) > 1 else None)
                new = self._select(paths)
                if new == (old or ()):
                    continue  # announced again unchanged, as after a restart
                change = changes.setdefault(tuple(map(id, new)), model.BestPaths(family, new, []))
                change.prefixes.extend(same)
        for change in changes.values():
            if change.paths:
                best.update(dict.fromkeys(change.prefixes, change.paths))
            else:
                for prefix in change.prefixes:
                    del best[prefix]
        return list(changes.values())

    def _candidates(
        self, family: model.Family, holders: Iterable[model.Address], prefixes: list[model.Nlri]
    ) -> Iterator[tuple[Holders, Paths, list[model.Nlri]]]:
        """Group prefixes by the paths there are to them now, and who holds these."""
        tables = [
            (address, self._neighbors[family][address].accepted.rows)
            for address in holders
            if address in self._neighbors[family]
        ]
        for row, same in alike(prefixes, *(map(rows.get, prefixes) for _, rows in tables)):
            holding = tuple(address for (address, _), held in zip(tables, row, strict=True) if held)
            held = [paths for paths in row if paths]
            # That of a single holder is handed on as it is, for all to share.
            yield holding, held[0] if len(held) == 1 else tuple(itertools.chain(*held)), same

    def _select(self, paths: Paths) -> Paths:
        if len(paths) < 2:
            return paths
        return decision.select(paths, usable=self.usable, maximum=self._maximum_paths)

    @staticmethod
    def _note(
        contested: dict[model.Nlri, Holders],
        prefixes: list[model.Nlri],
        old: Holders | None,
        new: Holders | None,
    ) -> None:
        """Write down who contends for prefixes."""
        if new is not None:
            if new != old:
                contested.update(dict.fromkeys(prefixes, new))
        elif old is not None:
            for prefix in prefixes:
                del contested[prefix]
