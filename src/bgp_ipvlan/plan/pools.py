"""Which subnet a network gets that asks for none, and which address a container. Pure.

Addresses are handled as numbers and nothing is kept per free address, so that a /64 costs
what its containers cost.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping

from bgp_ipvlan import model

_LENGTHS = {4: 24, 6: 64}
"""Prefix length of a network's share of a wider `--ipvlan-subnet`, by IP version."""

Leases = Mapping[model.Address, model.Lease]


def usable(prefix: model.Prefix) -> range:
    """The numbers of the addresses that a container can have.

    In IPv4 neither the first nor the last (network, broadcast), but in a /31 both (RFC 3021);
    in IPv6 not the first, the subnet-router anycast address (RFC 4291 section 2.6.1), but in
    a /127 both (RFC 6164). A /32 or /128 is its one address.
    """
    first, last = int(prefix[0]), int(prefix[-1])
    if last - first > 1:
        first += 1
        last -= prefix.version == 4
    return range(first, last + 1)


def contains(prefix: model.Prefix, address: model.Address) -> bool:
    """Whether a container of that subnet can have the address."""
    return address.version == prefix.version and int(address) in usable(prefix)


def choose(
    pool: model.Pool, leases: Leases, taken: Collection[model.Address]
) -> model.Address | None:
    """The address for somebody who named none.

    First those that nobody has had, or not for long, upwards from the last that was chosen and
    round; then, of those given back, the one that has rested longest.

    Args:
        pool: of which only the range is considered.
        leases: what is not simply free.
        taken: also in use, whatever the leases say.

    Returns:
        None if there is none.
    """
    numbers = _choosable(pool)
    kind = type(pool.prefix[0])
    start = 0
    if pool.last is not None and int(pool.last) in numbers:
        start = int(pool.last) - numbers.start + 1
    # One more than there are obstacles is enough to find one that is none.
    for step in range(min(_size(numbers), len(leases) + len(taken) + 1)):
        address = kind(numbers.start + (start + step) % _size(numbers))
        if address not in leases and address not in taken:
            return address
    resting = [
        lease
        for lease in leases.values()
        if lease.holding is model.Holding.RESTING
        and lease.address not in taken
        and int(lease.address) in numbers
    ]
    return min(resting, key=lambda lease: lease.since).address if resting else None


def stale(
    pool: model.Pool, leases: Leases, taken: Collection[model.Address], before: float
) -> list[model.Lease]:
    """Addresses of the range that were given to a container which never came, or went unsaid.

    Args:
        pool: whose.
        leases: what is not simply free.
        taken: in use.
        before: what was given later may be on its way to its container.

    Returns:
        The oldest first.
    """
    numbers = _choosable(pool)
    found = [
        lease
        for lease in leases.values()
        if lost(lease, taken, before) and int(lease.address) in numbers
    ]
    return sorted(found, key=lambda lease: lease.since)


def lost(lease: model.Lease, taken: Collection[model.Address], before: float) -> bool:
    """Whether a container's address has no container; see `stale`."""
    return (
        lease.holding is model.Holding.HELD and lease.address not in taken and lease.since < before
    )


def share(within: model.Prefix) -> int:
    """Prefix length of a network that says nothing: all of a small subnet, else a /24 or /64."""
    return max(within.prefixlen, _LENGTHS[within.version])


def subnets(
    within: model.Prefix, length: int, taken: Iterable[model.Prefix]
) -> Iterator[model.Prefix]:
    """The free subnets of that length inside a prefix, lowest first.

    Args:
        within: the prefix.
        length: at least its own, at most that of an address.
        taken: prefixes that may not be touched.
    """
    size = 1 << (within.max_prefixlen - length)
    blocked = sorted((int(p[0]), int(p[-1])) for p in taken if p.version == within.version)
    start, end = int(within[0]), int(within[-1])
    for first, last in blocked:
        while start + size <= min(first, end + 1):
            yield _network(within, start, length)
            start += size
        if last >= start:
            start = (last // size + 1) * size
    while start <= end:
        yield _network(within, start, length)
        start += size


def _network(within: model.Prefix, number: int, length: int) -> model.Prefix:
    kind = ipaddress.IPv4Network if within.version == 4 else ipaddress.IPv6Network
    return kind((number, length))


def _choosable(pool: model.Pool) -> range:
    numbers = usable(pool.prefix)
    return range(max(numbers.start, int(pool.range[0])), min(numbers.stop, int(pool.range[-1]) + 1))


def _size(numbers: range) -> int:
    # len() cannot count a /64.
    return max(numbers.stop - numbers.start, 0)
