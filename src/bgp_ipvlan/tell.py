"""What an operator reads of routes in the log: one line a prefix, or one for many."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from bgp_ipvlan import model

log = logging.getLogger("bgp_ipvlan")

_LINES = 5
"""Up to so many prefixes of one batch get a line of their own."""
_MOMENT = 0.2
"""Seconds in which larger batches become one line."""
_QUIET = frozenset(("own-echo", "shared-prefix", "max-routes"))
"""Refusals that nobody need look into, or that are told of once for all."""


class Routes:
    """Routes that come and go.

    A few are told of one by one and at once; many, such as a neighbour's table that comes in a
    hundred batches, in one line when the moment is over: a line per batch costs as much as the
    batch itself.
    """

    def __init__(self) -> None:
        self._many: dict[tuple[model.Family, str, str], tuple[model.Nlri, int]] = {}
        """Family, word and next hops → the first prefix, and how many."""
        self._left = 0
        """Lines of their own that may still be written in this moment."""
        self._over_at: asyncio.TimerHandle | None = None

    def withdrawn(self, batches: Iterable[model.RouteBatch]) -> None:
        """Routes that go.

        Args:
            batches: what is being written.
        """
        for batch in batches:
            self._tell(batch, "withdrawn", "")

    def learned(
        self,
        batches: Iterable[model.RouteBatch],
        next_hops: Iterable[model.NextHop],
        names: Mapping[int, str],
    ) -> None:
        """Routes that come or change.

        Args:
            batches: what is being written.
            next_hops: where they lead.
            names: interfaces by index.
        """
        hops = "".join(
            f" next_hop={hop.gateway} interface={names.get(hop.ifindex, hop.ifindex)}"
            for hop in next_hops
        )
        for batch in batches:
            if batch.value is not None:
                self._tell(batch, "learned", hops)

    def _tell(self, batch: model.RouteBatch, word: str, hops: str) -> None:
        family, keys = batch.table[0], batch.prefixes
        if self._over_at is None:
            self._over_at = asyncio.get_running_loop().call_later(_MOMENT, self._over)
            self._left = _LINES * _LINES
        if len(keys) <= min(_LINES, self._left):
            self._left -= len(keys)
            for line in _lines(family, keys):
                log.info("route %s %s%s", word, line, hops)
            return
        first, count = self._many.get((family, word, hops), (keys[0], 0))
        self._many[family, word, hops] = first, count + len(keys)

    def _over(self) -> None:
        self._over_at = None
        many, self._many = self._many, {}
        for (family, word, hops), (first, count) in many.items():
            prefix = model.prefix(family, first)
            log.info("route %s count=%d first_prefix=%s%s", word, count, prefix, hops)


def failed(failures: Iterable[model.RouteFailure]) -> None:
    """Routes that the kernel refused."""
    alike: dict[tuple[model.Family, str, str], list[model.Nlri]] = defaultdict(list)
    for one in failures:
        alike[one.table[0], one.reason, one.detail].append(one.prefix)
    for (family, reason, detail), keys in alike.items():
        for line in _lines(family, keys):
            log.warning("route refused by kernel %s reason=%s error=%s", line, reason, detail)


def repaired(table: model.Table, keys: list[model.Nlri]) -> None:
    """Routes that somebody changed or deleted, and that are put back."""
    for line in _lines(table[0], keys):
        log.warning("route repaired %s reason=changed-by-others", line)


def contested(table: model.Table, keys: list[model.Nlri]) -> None:
    """Routes that somebody changes again and again."""
    for line in _lines(table[0], keys):
        log.warning(
            "route contested %s reason=contested: something changes it again and again; it is put "
            "back less and less often",
            line,
        )


def refused(change: model.BestPaths, news: Mapping[model.Nlri, str]) -> None:
    """Learned prefixes that get no route.

    Args:
        change: the batch they came in.
        news: prefix → reason, those only that were not refused for it before.
    """
    by_reason: dict[str, list[model.Nlri]] = defaultdict(list)
    for key, reason in news.items():
        by_reason[reason].append(key)
    path = change.paths[0] if change.paths else None
    for reason, keys in by_reason.items():
        level = logging.DEBUG if reason in _QUIET else logging.WARNING
        for line in _lines(change.family, keys):
            log.log(
                level,
                "route refused %s next_hop=%s neighbor=%s reason=%s",
                line,
                path and path.next_hop,
                path and path.neighbor,
                reason,
            )


def _lines(family: model.Family, keys: list[model.Nlri]) -> Iterator[str]:
    if len(keys) <= _LINES:
        for key in keys:
            yield f"prefix={model.prefix(family, key)}"
    else:
        yield f"count={len(keys)} first_prefix={model.prefix(family, keys[0])}"
