"""Next hops that are not on-link, through routes that are somebody else's (D10). Pure.

Only where the neighbour has `recursive`. The longest match decides, as in the kernel: what it
does not lead to, no shorter one does. A default route leads everywhere, and so proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from bgp_ipvlan import model, ownership


def through(
    address: model.Address,
    foreign: Mapping[model.Table, model.Foreign],
    exits: Mapping[int, int],
) -> tuple[model.NextHop, ...]:
    """Where packets to a next hop go, by routes that are not ours.

    Args:
        address: of the next hop.
        foreign: others' routes.
        exits: parents of networks that work: index → the table that packets to it are looked
            up in.

    Returns:
        The on-link next hops, of a route with several those that leave by a parent; none if
        the address is not reached so.
    """
    family = model.Family.of(address)
    for table in dict.fromkeys(exits.values()):
        route = _longest_match(address, foreign.get((family, table), {}))
        if route is None or route.nexthop_id in ownership.NEXTHOP_IDS:
            continue  # through an object of ours it would hang on itself
        hops = route.next_hops or (model.NextHop(address, route.on_link),)
        found = tuple(hop for hop in hops if exits.get(hop.ifindex) == table)
        if found:
            return found
    return ()


def _longest_match(address: model.Address, routes: model.Foreign) -> model.ForeignRoute | None:
    """The route that covers an address most closely, the default aside; of several its best."""
    if not routes:
        return None
    bits = address.max_prefixlen
    number = int(address)
    for length in range(bits, 0, -1):
        host = bits - length
        octets = (number >> host << host).to_bytes(bits // 8)[: (length + 7) // 8]
        found = routes.get(bytes((length,)) + octets)
        if found:
            return found[min(found)]
    return None
