"""Pools of addresses, as our IPAM driver gives them to Docker."""

from __future__ import annotations

import dataclasses
import enum

from bgp_ipvlan.model.addresses import Address, Prefix


class Holding(enum.StrEnum):
    """What an address of a pool is."""

    RESERVED = "reserved"
    """Asked for when the network was created: its gateway, or `--aux-address`."""
    HELD = "held"
    """A container's."""
    RESTING = "resting"
    """Given back: free, but others may still remember whose it was, so the last to be chosen."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A subnet that Docker's IPAM calls name by `id`."""

    id: str
    """Docker stores it with network and endpoints. Never the same again: Docker may release late."""
    prefix: Prefix
    range: Prefix
    """Where addresses nobody named are chosen from (`--ip-range`); else the prefix."""
    since: float
    """When it was asked for, seconds since the epoch."""
    last: Address | None = None
    """The address chosen last."""


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """An address of a pool that is not simply free."""

    address: Address
    holding: Holding
    since: float
    """When it became that, seconds since the epoch."""
