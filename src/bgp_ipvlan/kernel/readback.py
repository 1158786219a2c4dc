"""Reading the main table back, quickly. Pure: raw answers in, records out.

Most routes of ours differ in nothing but the prefix. So the rest of each message is the key
of a cache, and only a rest not seen before is parsed.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Mapping

from bgp_ipvlan import model, ownership
from bgp_ipvlan.kernel import netlink as nl
from bgp_ipvlan.kernel import pack

RTM_F_CLONED = 0x200
_NAMES = {
    2: "kernel",
    3: "boot",
    4: "static",
    9: "ra",
    11: "zebra",
    12: "bird",
    16: "dhcp",
    186: "bgp",
}
_TYPES = {
    1: "",
    2: "local",
    3: "broadcast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
    9: "throw",
}


RTN_KINDS = frozenset((1, 6, 7, 8, 9))
"""Unicast, blackhole, unreachable, prohibit, throw: what stands in the tables we look at."""
_STRANGE = model.Device(0)
"""A route with our marks that is none we would make: a value that is never wanted."""
_NEXTHOP_ID = re.compile(
    re.escape(nl.ATTRIBUTE.pack(8, pack.RTA_NH_ID))
    + (b"..\x17\x0b" if sys.byteorder == "little" else b"\x0b\x17.."),
    re.DOTALL,
)
"""RTA_NH_ID with an id in our range (`ownership.NEXTHOP_IDS`)."""
_METRIC = nl.u32(pack.RTA_PRIORITY, ownership.ROUTE_METRIC)
"""What a route of ours has in it, and hardly another."""
PlainId = Callable[[tuple[model.NextHop, ...]], int]
"""The id that stands for next hops which a route carries itself."""


class Reader:
    """Compares what the kernel has of one table with what we believe it has.

    Args:
        family: the table's.
        believed: our routes; what is found to be so is taken out.
        ways: our nexthop objects by id.
        plain: for a kernel without nexthop objects.
    """

    def __init__(
        self,
        family: model.Family,
        believed: dict[model.Nlri, model.RouteValue],
        ways: Mapping[int, tuple[model.NextHop, ...]],
        plain: PlainId | None = None,
    ) -> None:
        self.drift: dict[model.Nlri, model.RouteValue | None] = {}
        """Our routes that are not as believed."""
        self.foreign: model.Foreign = {}
        self._family = family
        self._believed = believed
        self._ways = ways
        self._plain = plain
        self._cache: dict[bytes, model.RouteValue | None] = {}

    def read(self, answers: list[bytes], *, only: int | None = None, complete: bool = True) -> None:
        """Take in a whole dump.

        Args:
            answers: of the kernel.
            only: the number of a table, of several that are in there.
            complete: what is absent is not there.
        """
        for data in answers:
            self._read(data, only)
        if complete:
            # Those that went with their nexthop object need not be told one by one.
            with_object = self._plain is None
            self.drift.update(
                (prefix, None)
                for prefix, value in self._believed.items()
                if not (with_object and isinstance(value, model.Via) and value.id not in self._ways)
            )

    def _read(self, data: bytes, only: int | None) -> None:
        octets = self._family.bits // 8
        # Where the destination stands when it stands second, after RTA_TABLE, as the kernel
        # writes it; anything else goes the long way.
        usual = nl.RTMSG.size + 8
        cache, believed = self._cache, self._believed
        for kind, _, start in nl.messages_headers(data):
            if kind != nl.RTM_NEWROUTE or (only is not None and _table(data, start) != only):
                continue
            end = start - nl.HEADER.size + struct.unpack_from("=I", data, start - nl.HEADER.size)[0]
            at = start + usual
            if data[start + 5] == ownership.ROUTE_PROTOCOL and data[at + 2] == pack.RTA_DST:
                length = data[start + 1]
                # dst_len is part of the key only through the prefix: blank it out.
                rest = data[start : start + 1] + data[start + 2 : at] + data[at + 4 + octets : end]
                if rest in cache:
                    value = cache[rest]
                else:
                    value = cache[rest] = self._value(data[start:end])
                if value is not None:
                    key = data[start + 1 : start + 2] + data[at + 4 : at + 4 + (length + 7) // 8]
                    if believed.pop(key, None) != value:
                        self.drift[key] = value
                    continue
            self._slow(data[start:end])

    def _value(self, body: bytes) -> model.RouteValue | None:
        """What a route of ours is; None if it is not ours after all."""
        found = nl.attributes(body, nl.RTMSG.size)
        priority = found.get(pack.RTA_PRIORITY)
        if body[5] != ownership.ROUTE_PROTOCOL or priority is None:
            return None
        if nl.number(priority) != ownership.ROUTE_METRIC:
            return None
        if body[7] == pack.RTN_BLACKHOLE:
            return model.Blackhole()
        if pack.RTA_NH_ID in found:
            id_ = nl.number(found[pack.RTA_NH_ID])
            return model.Via(id_) if id_ in self._ways else _STRANGE
        next_hops = _next_hops(found)
        if next_hops:
            return _STRANGE if self._plain is None else model.Via(self._plain(next_hops))
        source = found.get(pack.RTA_PREFSRC)
        return model.Device(
            nl.number(found.get(pack.RTA_OIF, b"")),
            None if source is None else ipaddress.ip_address(source),
        )

    def _slow(self, body: bytes) -> None:
        """A route of somebody else's, or of ours in an unusual shape."""
        if nl.RTMSG.unpack_from(body)[8] & RTM_F_CLONED:
            return
        value = self._value(body)
        key, metric = key_of(self._family, body)
        if value is not None:
            if self._believed.pop(key, None) != value:
                self.drift[key] = value
            return
        if body[7] in RTN_KINDS:
            routes = self.foreign.setdefault(key, {})
            routes[metric] = foreign(body, siblings=metric in routes)


def key_of(family: model.Family, body: bytes) -> tuple[model.Nlri, int]:
    """Prefix and metric of a route message."""
    found = nl.attributes(body, nl.RTMSG.size)
    length = body[1]
    address = found.get(pack.RTA_DST, b"").ljust(family.bits // 8, b"\0")
    return bytes((length,)) + address[: (length + 7) // 8], nl.number(
        found.get(pack.RTA_PRIORITY, b"")
    )


def in_use(answers: Iterable[bytes]) -> set[int]:
    """The nexthop objects in our range that routes of a dump point at, whoever's they are.

    Octets may look like it by chance: then an object stays that could go.
    """
    return {nl.number(found[4:]) for data in answers for found in set(_NEXTHOP_ID.findall(data))}


def borrowed(family: model.Family, answers: Iterable[bytes]) -> model.Borrowed:
    """Others' routes of a dump that point at a nexthop object of ours."""
    found: model.Borrowed = {}
    for data in answers:
        if _NEXTHOP_ID.search(data) is None:
            continue
        for kind, _, start in nl.messages_headers(data):
            end = start - nl.HEADER.size + struct.unpack_from("=I", data, start - nl.HEADER.size)[0]
            ours = data[start + 5] == ownership.ROUTE_PROTOCOL and _METRIC in data[start:end]
            if kind == nl.RTM_NEWROUTE and not ours:
                body = data[start:end]
                id_ = nl.number(nl.attributes(body, nl.RTMSG.size).get(pack.RTA_NH_ID, b""))
                if id_ in ownership.NEXTHOP_IDS:
                    found[(family, table_of(body)), *key_of(family, body)] = id_
    return found


def tables(answers: list[bytes]) -> set[int]:
    """The tables that the routes of a dump are in."""
    return {
        _table(data, start)
        for data in answers
        for kind, _, start in nl.messages_headers(data)
        if kind == nl.RTM_NEWROUTE
    }


def _table(data: bytes, start: int) -> int:
    """The table of a route; the kernel writes RTA_TABLE first."""
    kind, number = struct.unpack_from("=HI", data, start + nl.RTMSG.size + 2)
    return number if kind == pack.RTA_TABLE else data[start + 4]


def table_of(body: bytes) -> int:
    """The table of a route message."""
    found = nl.attributes(body, nl.RTMSG.size).get(pack.RTA_TABLE)
    return body[4] if found is None else nl.number(found)


def foreign(body: bytes, *, siblings: bool = False) -> model.ForeignRoute:
    """Somebody else's route, its text in the words of `ip route`, without its prefix.

    One for a type of service counts as beside that without: the key is the same but for that.
    And IPv6 routes of one key are shown as one with several next hops.
    """
    found = nl.attributes(body, nl.RTMSG.size)
    words = [_TYPES.get(body[7], f"type {body[7]}")]
    words.append(f"proto {_NAMES.get(body[5], body[5])}")
    next_hops = _next_hops(found)
    words += [f"via {hop.gateway}" for hop in next_hops]
    ifindex = nl.number(found.get(pack.RTA_OIF, b""))
    if ifindex:
        words.append(f"dev {_name(ifindex)}")
    metric = nl.number(found.get(pack.RTA_PRIORITY, b""))
    if metric:
        words.append(f"metric {metric}")
    return model.ForeignRoute(
        " ".join(filter(None, words)),
        next_hops,
        0 if next_hops else ifindex,
        nl.number(found.get(pack.RTA_NH_ID, b"")),
        siblings or body[3] != 0 or len(next_hops) > 1,
    )


def _next_hops(found: Mapping[int, bytes]) -> tuple[model.NextHop, ...]:
    """The next hops that a route carries itself."""
    gateway = _gateway(found)
    if gateway is not None:
        return (model.NextHop(gateway, nl.number(found.get(pack.RTA_OIF, b""))),)
    return _multipath(found.get(pack.RTA_MULTIPATH, b""))


def _gateway(found: Mapping[int, bytes]) -> model.Address | None:
    """The gateway among a route's attributes; one of another family is a struct rtvia."""
    if pack.RTA_VIA in found:
        return ipaddress.ip_address(found[pack.RTA_VIA][2:])
    if pack.RTA_GATEWAY in found:
        return ipaddress.ip_address(found[pack.RTA_GATEWAY])
    return None


def _name(ifindex: int) -> str:
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return f"if{ifindex}"


def _multipath(data: bytes) -> tuple[model.NextHop, ...]:
    hops = []
    start = 0
    while start + 8 <= len(data):
        length, _, _, ifindex = struct.unpack_from("=HBBi", data, start)
        found = nl.attributes(data[start : start + length], 8)
        gateway = _gateway(found)
        if gateway is not None:
            hops.append(model.NextHop(gateway, ifindex))
        start += nl.align(max(length, 8))
    return tuple(sorted(hops, key=lambda hop: (int(hop.gateway), hop.ifindex)))
