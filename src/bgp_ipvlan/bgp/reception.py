"""A received path: its record, and what keeps it out of the decision whatever the policy. Pure.

None of this is a fault of the neighbour's that would cost it the session: many send
everybody everything.
"""

from __future__ import annotations

import ipaddress
from typing import Protocol

from bgp_ipvlan import model
from bgp_ipvlan.bgp import attributes, update

_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


class Receiver(Protocol):
    """What is needed to know of the session."""

    @property
    def neighbor(self) -> model.NeighborConfig:
        """The other side."""

    @property
    def identifier(self) -> int:
        """Its BGP identifier."""

    @property
    def ebgp(self) -> bool:
        """Whether it is in another AS."""

    @property
    def own_as_numbers(self) -> frozenset[int]:
        """Ours."""

    @property
    def own_identifier(self) -> int:
        """Ours."""

    @property
    def own_address(self) -> model.Address | None:
        """Ours, on this connection."""


def path(to: Receiver, found: attributes.Attributes, block: update.Block) -> model.Path:
    """The record that the prefixes of a block share.

    Args:
        to: the session it came on.
        found: the attributes, complete ones.
        block: with its next hop.
    """
    assert block.next_hop is not None
    return model.Path(
        neighbor=to.neighbor.address,
        next_hop=block.next_hop,
        link_local=block.link_local,
        path_id=block.path_id or 0,
        origin=found.origin or 0,
        as_path=found.as_path or (),
        as_path_length=found.as_path_length,
        med=found.med,
        local_pref=100 if found.local_pref is None else found.local_pref,
        communities=found.communities,
        large_communities=found.large_communities,
        extended_communities=found.extended_communities,
        originator_id=found.originator_id,
        cluster_list=found.cluster_list,
        ebgp=to.ebgp,
        router_id=to.identifier,
        recursive=to.neighbor.recursive,
    )


def refusal(to: Receiver, found: attributes.Attributes, one: model.Path) -> str:
    """Why a path must not be used: a reason code, or nothing."""
    own = to.own_as_numbers
    if one.as_path and sum(number in own for number in one.as_path) > to.neighbor.allow_own_as:
        return "as-loop"  # RFC 4271 section 9.1.2
    if found.originator_id == to.own_identifier:
        return "originator-loop"  # RFC 4456 section 8
    if to.own_identifier in found.cluster_list:
        return "cluster-loop"  # as above; a cluster's identifier is by default its reflector's
    return _next_hop_refusal(to, one.next_hop)


def _next_hop_refusal(to: Receiver, next_hop: model.Address) -> str:
    """RFC 4271 section 6.3: semantically wrong, so the route is ignored, the session stays."""
    if next_hop == to.own_address:
        return "nexthop-own"
    nobody = (
        next_hop.is_unspecified
        or next_hop.is_multicast
        or next_hop == _BROADCAST
        # Session and next hop on loopback: both speakers are on this host.
        or (next_hop.is_loopback and not to.neighbor.address.is_loopback)
    )
    return "nexthop-martian" if nobody else ""
