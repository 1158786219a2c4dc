"""Routes and nexthop objects as netlink messages, many at a time. Pure.

A batch has one value: all its messages are alike but for the prefix, so the constant part
before and after it is built once, and one `join` makes the lot (kernel sheet, section 4).
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping

from bgp_ipvlan import model, ownership
from bgp_ipvlan.kernel import netlink as nl

RTN_UNICAST, RTN_BLACKHOLE = 1, 6
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
RT_TABLE_MAIN = 254
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC = 1, 4, 5, 6, 7
RTA_MULTIPATH, RTA_VIA, RTA_NH_ID = 9, 18, 30
NHA_ID, NHA_GROUP, NHA_OIF, NHA_GATEWAY = 1, 2, 5, 6

CHUNK = 256
"""Messages per send: from 50 on it makes no difference in speed, and the kernel's answers to
so many fit the receive buffer."""


def routes(
    batch: model.RouteBatch, nexthop_ids: Mapping[model.Via, int]
) -> Iterator[tuple[bytes, list[model.Nlri]]]:
    """The messages of a batch, in chunks to be sent as one.

    Args:
        batch: what to set or delete.
        nexthop_ids: nexthop objects by value; a `Via` that is not in it is written with its
            gateways.
    """
    by_length: dict[int, list[model.Nlri]] = defaultdict(list)
    for prefix in batch.prefixes:
        by_length[prefix[0]].append(prefix)
    for length, prefixes in by_length.items():
        head, tail = _constant(batch, length, nexthop_ids)
        between = tail + head
        for start in range(0, len(prefixes), CHUNK):
            chunk = prefixes[start : start + CHUNK]
            yield head + between.join([prefix[1:] for prefix in chunk]) + tail, chunk


def _constant(
    batch: model.RouteBatch, length: int, nexthop_ids: Mapping[model.Via, int]
) -> tuple[bytes, bytes]:
    """What stands before and after the octets of a prefix of some length."""
    octets = (length + 7) // 8
    if batch.value is None:
        kind, flags, scope, type_ = nl.RTM_DELROUTE, 0, RT_SCOPE_NOWHERE, 0
        rest = b""
    else:
        kind = nl.RTM_NEWROUTE
        flags = nl.NLM_F_CREATE | (nl.NLM_F_REPLACE if batch.replace else nl.NLM_F_EXCL)
        scope, type_, rest = _value(batch.family, batch.value, nexthop_ids)
    # The kernel wants a whole address; what NLRI leaves out is zero.
    padding = b"\0" * (batch.family.bits // 8 - octets)
    tail = padding + nl.u32(RTA_PRIORITY, ownership.ROUTE_METRIC) + rest
    fixed = nl.RTMSG.pack(
        batch.family.af,
        length,
        0,
        0,
        RT_TABLE_MAIN,
        ownership.ROUTE_PROTOCOL,
        scope,
        type_,
        0,
    )
    destination = nl.ATTRIBUTE.pack(nl.ATTRIBUTE.size + batch.family.bits // 8, RTA_DST)
    size = nl.HEADER.size + len(fixed) + len(destination) + octets + len(tail)
    header = nl.HEADER.pack(size, kind, flags | nl.NLM_F_REQUEST, 0, 0)
    return header + fixed + destination, tail


def _value(
    family: model.Family, value: model.RouteValue, nexthop_ids: Mapping[model.Via, int]
) -> tuple[int, int, bytes]:
    """Scope, type and attributes of a route."""
    match value:
        case model.Blackhole():
            return RT_SCOPE_UNIVERSE, RTN_BLACKHOLE, b""
        case model.Device(ifindex, source):
            rest = nl.u32(RTA_OIF, ifindex)
            if source is not None:
                rest += nl.attribute(RTA_PREFSRC, source.packed)
            return RT_SCOPE_LINK, RTN_UNICAST, rest
        case model.Via(next_hops):
            object_id = nexthop_ids.get(value)
            if object_id is not None:
                rest = nl.u32(RTA_NH_ID, object_id)
            elif len(next_hops) == 1:
                rest = _gateway(family, next_hops[0]) + nl.u32(RTA_OIF, next_hops[0].ifindex)
            else:
                hops = b"".join(_rtnexthop(family, hop) for hop in next_hops)
                rest = nl.attribute(RTA_MULTIPATH, hops)
            return RT_SCOPE_UNIVERSE, RTN_UNICAST, rest


def _gateway(family: model.Family, hop: model.NextHop) -> bytes:
    """RTA_GATEWAY; of another family than the route's RTA_VIA, a struct rtvia (RFC 8950)."""
    other = model.Family.of(hop.gateway)
    if other is family:
        return nl.attribute(RTA_GATEWAY, hop.gateway.packed)
    return nl.attribute(RTA_VIA, struct.pack("=H", other.af) + hop.gateway.packed)


def _rtnexthop(family: model.Family, hop: model.NextHop) -> bytes:
    """One struct rtnexthop: length, flags, hops (weight - 1), ifindex; then attributes."""
    gateway = _gateway(family, hop)
    # The length in RTA_VIA counts no padding, this one does, and the next begins after it.
    return struct.pack("=HBBi", 8 + len(gateway), 0, 0, hop.ifindex) + gateway


def nexthop(hop: model.NextHop, object_id: int) -> bytes:
    """Make a nexthop object, unless there is one of that id (EEXIST, which is fine)."""
    af = model.Family.of(hop.gateway).af
    body = nl.NHMSG.pack(af, 0, ownership.ROUTE_PROTOCOL, 0, 0)
    body += nl.u32(NHA_ID, object_id) + nl.u32(NHA_OIF, hop.ifindex)
    body += nl.attribute(NHA_GATEWAY, hop.gateway.packed)
    return nl.message(nl.RTM_NEWNEXTHOP, nl.NLM_F_CREATE | nl.NLM_F_EXCL, body)


def group(members: list[int], object_id: int) -> bytes:
    """Make a group of nexthop objects (ECMP), each of weight 1 (which is written 0)."""
    body = nl.NHMSG.pack(0, 0, ownership.ROUTE_PROTOCOL, 0, 0) + nl.u32(NHA_ID, object_id)
    body += nl.attribute(
        NHA_GROUP, b"".join(struct.pack("=IBBH", member, 0, 0, 0) for member in members)
    )
    return nl.message(nl.RTM_NEWNEXTHOP, nl.NLM_F_CREATE | nl.NLM_F_EXCL, body)


def delete_nexthop(object_id: int) -> bytes:
    """Delete a nexthop object."""
    body = nl.NHMSG.pack(0, 0, 0, 0, 0) + nl.u32(NHA_ID, object_id)
    return nl.message(nl.RTM_DELNEXTHOP, 0, body)
