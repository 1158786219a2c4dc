"""Routes and nexthop objects as netlink messages, many at a time. Pure.

A batch has one value: all its messages are alike but for the prefix, so the constant part
before and after it is built once, and one `join` makes the lot (kernel sheet, section 4).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from bgp_ipvlan import model, ownership
from bgp_ipvlan.kernel import netlink as nl

RTN_UNICAST, RTN_BLACKHOLE = 1, 6
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
RT_TABLE_UNSPEC = 0
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC = 1, 4, 5, 6, 7
RTA_MULTIPATH, RTA_TABLE, RTA_VIA, RTA_NH_ID = 9, 15, 18, 30
NHA_ID, NHA_GROUP, NHA_OIF, NHA_GATEWAY = 1, 2, 5, 6

Ways = Mapping[int, tuple[model.NextHop, ...]]
"""Where routes through an id lead, for a kernel without nexthop objects."""


def routes(batch: model.RouteBatch, sequence: int, ways: Ways | None) -> list[bytes]:
    """The messages of a batch, one per prefix and length; to be joined.

    Args:
        batch: what to set or delete.
        sequence: number of all its messages, by which refusals are told apart.
        ways: None where the kernel has nexthop objects; else the gateways go into each route.
    """
    prefixes = batch.prefixes
    lengths = {prefix[0] for prefix in prefixes}
    data: list[bytes] = []
    for length in lengths:
        head, tail = _constant(batch, length, sequence, ways)
        some = prefixes
        if len(lengths) > 1:
            some = [prefix for prefix in prefixes if prefix[0] == length]
        data += (head, (tail + head).join([prefix[1:] for prefix in some]), tail)
    return data


def _table(number: int) -> tuple[int, bytes]:
    """A table's number as rtm_table, and as an attribute where it does not fit into that."""
    return (number, b"") if number < 256 else (RT_TABLE_UNSPEC, nl.u32(RTA_TABLE, number))


def which(table: model.Table) -> bytes:
    """The body of a request for a whole table."""
    short, long = _table(table[1])
    return nl.RTMSG.pack(table[0].af, 0, 0, 0, short, 0, 0, 0, 0) + long


def which_of_all(family: model.Family) -> bytes:
    """The body of a request for all routes, in whatever table."""
    return nl.RTMSG.pack(family.af, 0, 0, 0, 0, 0, 0, 0, 0)


def which_of_ours(family: model.Family) -> bytes:
    """The body of a request for the routes with our protocol, in whatever table."""
    return nl.RTMSG.pack(family.af, 0, 0, 0, 0, ownership.ROUTE_PROTOCOL, 0, 0, 0)


def _constant(
    batch: model.RouteBatch, length: int, sequence: int, ways: Ways | None
) -> tuple[bytes, bytes]:
    """What stands before and after the octets of a prefix of some length."""
    family, number = batch.table
    octets = (length + 7) // 8
    if batch.value is None:
        kind, flags, scope, type_ = nl.RTM_DELROUTE, 0, RT_SCOPE_NOWHERE, 0
        rest = b""
    else:
        kind = nl.RTM_NEWROUTE
        flags = nl.NLM_F_CREATE | (nl.NLM_F_REPLACE if batch.replace else nl.NLM_F_EXCL)
        scope, type_, rest = _value(family, batch.value, ways)
    # The kernel wants a whole address; what NLRI leaves out is zero.
    padding = b"\0" * (family.bits // 8 - octets)
    short, long = _table(number)
    tail = padding + nl.u32(RTA_PRIORITY, ownership.ROUTE_METRIC) + long + rest
    fixed = nl.RTMSG.pack(
        family.af,
        length,
        0,
        0,
        short,
        ownership.ROUTE_PROTOCOL,
        scope,
        type_,
        0,
    )
    destination = nl.ATTRIBUTE.pack(nl.ATTRIBUTE.size + family.bits // 8, RTA_DST)
    size = nl.HEADER.size + len(fixed) + len(destination) + octets + len(tail)
    header = nl.HEADER.pack(size, kind, flags | nl.NLM_F_REQUEST, sequence, 0)
    return header + fixed + destination, tail


def _value(
    family: model.Family, value: model.RouteValue, ways: Ways | None
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
        case model.Via(id_):
            if ways is None:
                rest = nl.u32(RTA_NH_ID, id_)
            elif len(ways[id_]) == 1:
                [hop] = ways[id_]
                rest = _gateway(family, hop) + nl.u32(RTA_OIF, hop.ifindex)
            else:
                hops = b"".join(_rtnexthop(family, hop) for hop in ways[id_])
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


def nexthop(hop: model.NextHop, object_id: int, *, replace: bool = False) -> bytes:
    """Make a nexthop object, unless there is one of that id (EEXIST), or change it."""
    af = model.Family.of(hop.gateway).af
    body = nl.NHMSG.pack(af, 0, ownership.ROUTE_PROTOCOL, 0, 0)
    body += nl.u32(NHA_ID, object_id) + nl.u32(NHA_OIF, hop.ifindex)
    body += nl.attribute(NHA_GATEWAY, hop.gateway.packed)
    return nl.message(nl.RTM_NEWNEXTHOP, _make(replace=replace), body)


def group(members: Iterable[int], object_id: int, *, replace: bool = False) -> bytes:
    """Make or change a group of nexthop objects (ECMP), each of weight 1 (which is written 0)."""
    body = nl.NHMSG.pack(0, 0, ownership.ROUTE_PROTOCOL, 0, 0) + nl.u32(NHA_ID, object_id)
    body += nl.attribute(
        NHA_GROUP, b"".join(struct.pack("=IBBH", member, 0, 0, 0) for member in members)
    )
    return nl.message(nl.RTM_NEWNEXTHOP, _make(replace=replace), body)


def _make(*, replace: bool) -> int:
    return nl.NLM_F_CREATE | (nl.NLM_F_REPLACE if replace else nl.NLM_F_EXCL)


def delete_nexthop(object_id: int) -> bytes:
    """Delete a nexthop object."""
    body = nl.NHMSG.pack(0, 0, 0, 0, 0) + nl.u32(NHA_ID, object_id)
    return nl.message(nl.RTM_DELNEXTHOP, 0, body)
