"""What an operator reads of routes in the log: one line a prefix, or one for many."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from bgp_ipvlan import model

log = logging.getLogger("bgp_ipvlan")

_LINES = 5
"""Up to so many prefixes of one batch get a line of their own."""
_AS_MEANT = frozenset(("own-echo", "shared-prefix"))
"""Refusals that nobody need look into."""


def routes(batches: Iterable[model.RouteBatch], names: Mapping[int, str]) -> None:
    """Routes learned or withdrawn.

    Args:
        batches: what is being written.
        names: interfaces by index.
    """
    for batch in batches:
        hops = ""
        if isinstance(batch.value, model.Via):
            hops = "".join(
                f" next_hop={hop.gateway} interface={names.get(hop.ifindex, hop.ifindex)}"
                for hop in batch.value.next_hops
            )
        word = "withdrawn" if batch.value is None else "learned"
        for line in _lines(batch.family, batch.prefixes):
            log.info("route %s %s%s", word, line, hops)


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
        level = logging.DEBUG if reason in _AS_MEANT else logging.WARNING
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
