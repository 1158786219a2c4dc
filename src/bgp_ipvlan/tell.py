"""What an operator reads of routes in the log: one line a prefix, or one for many."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from bgp_ipvlan import model

log = logging.getLogger("bgp_ipvlan")

_LINES = 5
"""Up to so many prefixes of one batch get a line of their own."""
_QUIET = frozenset(("own-echo", "shared-prefix", "max-routes"))
"""Refusals that nobody need look into, or that are told of once for all."""


def withdrawn(batches: Iterable[model.RouteBatch]) -> None:
    """Routes that go.

    Args:
        batches: what is being written.
    """
    for batch in batches:
        for line in _lines(batch.table[0], batch.prefixes):
            log.info("route withdrawn %s", line)


def learned(
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
    hops = " ".join(
        f"next_hop={hop.gateway} interface={names.get(hop.ifindex, hop.ifindex)}"
        for hop in next_hops
    )
    for batch in batches:
        if batch.value is not None:
            for line in _lines(batch.table[0], batch.prefixes):
                log.info("route learned %s %s", line, hops)


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
