"""How full the pools of our IPAM driver are, for `status` and `networks`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bgp_ipvlan import model, plan
from bgp_ipvlan import state as state_

Json = dict[str, Any]

_NEARLY = 90
"""Percent of a pool in use that are worth a word."""
_FEW = 2
"""A pool of no more addresses is meant to be full: a gateway and a container."""


def of_subnet(state: state_.State, prefix: model.Prefix) -> Json | None:
    """The pool that a network's subnet came from; None where it is not from our IPAM driver.

    Returns:
        Its id, its range, how many addresses of it are what, and how much of the range is in use.
    """
    pool = next((one for one in state.pools.values() if one.prefix == prefix), None)
    if pool is None:
        return None
    held = [lease.holding for lease in state.leases_of(pool.id).values()]
    used, size = _use(state, pool)
    return {
        "pool": pool.id,
        "range": str(pool.range),
        **{str(holding): held.count(holding) for holding in model.Holding},
        "percent": 100 * used // size if size else 100,
    }


def unclaimed(state: state_.State) -> list[str]:
    """Subnets that were given and that no network of ours has; see docs/ipam.md."""
    claimed = {subnet.prefix for one in state.networks.values() for subnet in one.subnets}
    return [str(pool.prefix) for pool in state.pools.values() if pool.prefix not in claimed]


def warnings(state: state_.State) -> Iterator[str]:
    """Networks that will soon have no address for a container."""
    pools = {pool.prefix: pool for pool in state.pools.values()}
    for network in state.networks.values():
        for pool in (pools[s.prefix] for s in network.subnets if s.prefix in pools):
            used, size = _use(state, pool)
            if size > _FEW and 100 * used >= _NEARLY * size:
                yield (
                    f"network {network.short}: {used} of {size} addresses in {pool.range} are in "
                    f"use [pool-nearly-full]"
                )


def _use(state: state_.State, pool: model.Pool) -> tuple[int, int]:
    """How many addresses of the range are in use, and how many there are."""
    usable = plan.pools.usable(pool.prefix)
    first = max(usable.start, int(pool.range[0]))
    last = min(usable.stop - 1, int(pool.range[-1]))
    used = sum(
        first <= int(lease.address) <= last
        for lease in state.leases_of(pool.id).values()
        if lease.holding is not model.Holding.RESTING
    )
    return used, max(last - first + 1, 0)
