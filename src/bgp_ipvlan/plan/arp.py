"""What nobody on a parent's LAN may be asked for by ARP, and who else would be asked. Pure.

A container's packet that finds no route is not dropped but taken for on-link (`kernel.arp`).
For an address inside one of our own prefixes that is never right. For any other address
without a route it is what the host would do as well, if told to use that interface: then
there should be a default route.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterable, Iterator

from bgp_ipvlan import model

Range = tuple[int, int]
"""First and last IPv4 address, as numbers."""
_BITS = 32
DEFAULT: model.Nlri = b"\0"
"""0.0.0.0/0."""


def nobody(ours: Collection[model.Nlri], on_link: Iterable[model.Nlri]) -> tuple[Range, ...]:
    """The addresses that are ours, in order, ranges that touch made one.

    Args:
        ours: IPv4 prefixes whose routes are ours (`origin`).
        on_link: those of other people's routes that lead to a wire without a gateway. One that
            is equal to or inside a prefix of ours wins over it, so its addresses are left out.
    """
    holes = [_range(key) for key in on_link if _covered(key, ours)]
    return tuple(_without(_joined(map(_range, ours)), _joined(holes)))


def has_default(
    parent: model.Link, others: Iterable[model.ForeignRoute], learned: Iterable[model.NextHop]
) -> bool:
    """Whether packets from a parent's containers have a default route: one out of the parent.

    Args:
        parent: the look-up for what they send has it as output device.
        others: other people's default routes.
        learned: the next hops of our own, if we have one.
    """
    return any(
        # Where an object of theirs leads we do not know: then say nothing.
        route.nexthop_id or route.on_link == parent.index or _through(parent, route.next_hops)
        for route in others
    ) or _through(parent, learned)


def _through(parent: model.Link, next_hops: Iterable[model.NextHop]) -> bool:
    return any(hop.ifindex == parent.index for hop in next_hops)


def _range(key: model.Nlri) -> Range:
    first = int.from_bytes(key[1:].ljust(_BITS // 8, b"\0"))
    return first, first + (1 << _BITS - key[0]) - 1


def _covered(key: model.Nlri, ours: Collection[model.Nlri]) -> bool:
    """Whether a prefix is equal to or inside one of ours."""
    first, _ = _range(key)
    for length in range(key[0], -1, -1):
        network = first >> _BITS - length << _BITS - length
        octets = network.to_bytes(_BITS // 8)[: (length + 7) // 8]
        if bytes((length,)) + octets in ours:
            return True
    return False


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """In order, without overlap, those that touch made one."""
    joined: list[Range] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return joined


def _without(ranges: list[Range], holes: list[Range]) -> Iterator[Range]:
    """Ranges with holes taken out; both in order and without overlap."""
    for first, last in ranges:
        start = first
        for hole_first, hole_last in holes[bisect.bisect(holes, (first,)) :]:
            if hole_first > last:
                break
            if hole_first > start:
                yield start, hole_first - 1
            start = hole_last + 1
        if start <= last:
            yield start, last
