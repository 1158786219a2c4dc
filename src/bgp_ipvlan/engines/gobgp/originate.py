"""Paths of our own: BGP's own encoding, which both versions of the API take."""

from __future__ import annotations

import struct
from typing import Any

from bgp_ipvlan import model
from bgp_ipvlan.bgp import attributes, capability
from bgp_ipvlan.engines.gobgp.proto import gobgp_pb2 as messages


def path(announcement: model.Announcement, *, local_as: int) -> Any:
    """What is announced.

    Args:
        announcement: for all neighbours alike: gobgpd has one path for all.
        local_as: gobgpd's AS number, for `prepend`.
    """
    hop = announcement.fixed_next_hop or announcement.next_hop
    family, key = model.Family.of(announcement.prefix), model.nlri(announcement.prefix)
    common = attributes.encode_common(
        as_path=(local_as,) * announcement.prepend,
        four_octet_as=True,
        med=announcement.med,
        local_pref=announcement.local_pref,
        communities=announcement.communities,
        large_communities=announcement.large_communities,
    )
    found = withdrawal(family, key)
    found.is_withdraw = False
    found.attributes_binary.extend(_each(common))
    if family is model.Family.IPV4 and hop.version == 4:
        code, value, flags = attributes.NEXT_HOP, hop.packed, attributes.TRANSITIVE
    else:
        # RFC 4760; IPv4 prefixes too, where the next hop is an IPv6 one (RFC 8950).
        head = struct.pack("!HBB", family, capability.SAFI_UNICAST, len(hop.packed))
        value = head + hop.packed + b"\0" + key
        code, flags = attributes.MP_REACH_NLRI, attributes.OPTIONAL
    found.attributes_binary.append(attributes.encode(code, value, flags))
    return found


def withdrawal(family: model.Family, key: model.Nlri) -> Any:
    """What is taken back."""
    return messages.OwnPath(
        is_withdraw=True,
        family=messages.Family(afi=family, safi=capability.SAFI_UNICAST),
        nlri_binary=key,
    )


def _each(encoded: bytes) -> list[bytes]:
    """Cut attributes that stand one after the other."""
    found, start = [], 0
    while start < len(encoded):
        wide = bool(encoded[start] & attributes.EXTENDED_LENGTH)
        value = start + (4 if wide else 3)
        end = value + int.from_bytes(encoded[start + 2 : value])
        found.append(encoded[start:end])
        start = end
    return found
