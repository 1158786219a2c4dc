"""The tables under a fuzzed session: two neighbours that stand still, and the one that does not."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable

from bgp_ipvlan import model
from bgp_ipvlan.bgp import decision, rib, session
from tests.fuzz import oracle

MAXIMUM_PATHS = 4
_STILL = tuple(map(ipaddress.ip_address, ("192.0.2.3", "192.0.2.4")))


class Tables:
    """Takes in what a session tells, and keeps a second account of it.

    Args:
        neighbor: whose session it is.
    """

    def __init__(self, neighbor: model.Address) -> None:
        self.neighbor = neighbor
        self.rib = rib.Rib(maximum_paths=MAXIMUM_PATHS)
        self._told: dict[model.Family, dict[model.Nlri, tuple[model.Path, ...]]] = {
            family: {} for family in model.Family
        }
        self._still = {family: _still(family) for family in model.Family}
        for family, routes in self._still.items():
            for path, prefixes in routes:
                self._tell(self.rib.learn(path.neighbor, family, path, prefixes))

    def learned(self, event: session.Learned) -> None:
        """As the engine does it, but for the import policy."""
        if event.path is not None and event.refused:
            changes = self.rib.refuse(
                self.neighbor,
                event.family,
                event.path,
                event.prefixes,
                event.refused,
                path_id=event.path_id,
            )
        else:
            changes = self.rib.learn(
                self.neighbor, event.family, event.path, event.prefixes, path_id=event.path_id
            )
        self._tell(changes)

    def mark_stale(self, families: Iterable[model.Family]) -> None:
        """It restarts, or begins to say all again."""
        self.rib.mark_stale(self.neighbor, families)

    def flush_stale(self, family: model.Family) -> None:
        """It has said all."""
        self._tell(self.rib.redecide(family, self.rib.flush_stale(self.neighbor, family)))

    def forget(self) -> None:
        """It is gone."""
        for family, prefixes in self.rib.forget(self.neighbor).items():
            self._tell(self.rib.redecide(family, prefixes))

    def _tell(self, changes: list[model.BestPaths]) -> None:
        for change in changes:
            oracle.check_prefixes(change.family, change.prefixes)
            assert len(change.paths) <= MAXIMUM_PATHS
            told = self._told[change.family]
            for prefix in change.prefixes:
                assert told.get(prefix, ()) != change.paths
                told[prefix] = change.paths
                if not change.paths:
                    del told[prefix]

    def check(self) -> None:
        """What was told adds up to Loc-RIB, and that is the choice over all tables."""
        for family in model.Family:
            candidates: dict[model.Nlri, list[model.Path]] = {}
            for known in self.rib._neighbors[family].values():
                for prefix, paths in known.accepted.rows.items():
                    assert len({path.path_id for path in paths}) == len(paths) > 0
                    candidates.setdefault(prefix, []).extend(paths)
            best = {
                prefix: decision.select(reversed(paths), maximum=MAXIMUM_PATHS)
                for prefix, paths in candidates.items()
            }
            assert self.rib.best[family] == best
            assert self._told[family] == best

    def check_gone(self) -> None:
        """Nothing of the neighbour is left, and all of the others."""
        assert self.rib.received(self.neighbor) == self.rib.stale(self.neighbor) == 0
        for family, routes in self._still.items():
            expected = {prefix for _, prefixes in routes for prefix in prefixes}
            assert self.rib.best[family].keys() == expected
            assert not list(self.rib.refusals(family))


def _still(family: model.Family) -> list[tuple[model.Path, list[model.Nlri]]]:
    """Routes of others that the seeds' prefixes meet: equal, better, and worse ones."""
    first = model.Path(
        neighbor=_STILL[0],
        next_hop=_STILL[0],
        as_path=(65002,),
        as_path_length=1,
        ebgp=True,
        router_id=3,
    )
    second = dataclasses.replace(
        first, neighbor=_STILL[1], next_hop=_STILL[1], router_id=4, med=5, local_pref=90
    )
    start = b"\x0a\x02" if family is model.Family.IPV4 else b"\x20\x01"
    wide, narrow = b"\0", bytes((16,)) + start
    return [(first, [wide, narrow]), (second, [narrow, bytes((17,)) + start + b"\0"])]
