"""Reading the main table back, quickly. Pure: raw answers in, records out.

Most routes of ours differ in nothing but the prefix. So the rest of each message is the key
of a cache, and only a rest not seen before is parsed.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Mapping

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


class Reader:
    """Collects one family's routes.

    Args:
        family: which.
        values: our nexthop objects by id.
    """

    def __init__(self, family: model.Family, values: dict[int, model.Via]) -> None:
        self.ours: dict[model.Nlri, model.RouteValue] = {}
        self.foreign: model.Foreign = {}
        self.in_use: set[int] = set()
        """Nexthop objects that routes point at, whoever's they are."""
        self._family = family
        self._values = values
        self._cache: dict[bytes, model.RouteValue | None] = {}

    def read(self, data: bytes) -> None:
        """Take in one answer of the kernel."""
        octets = self._family.bits // 8
        # Where the destination stands when it stands second, after RTA_TABLE, as the kernel
        # writes it; anything else goes the long way.
        usual = nl.RTMSG.size + 8
        for kind, _, start in nl.messages_headers(data):
            if kind != nl.RTM_NEWROUTE:
                continue
            end = start - nl.HEADER.size + struct.unpack_from("=I", data, start - nl.HEADER.size)[0]
            at = start + usual
            if data[start + 5] == ownership.ROUTE_PROTOCOL and data[at + 2] == pack.RTA_DST:
                length = data[start + 1]
                # dst_len is part of the key only through the prefix: blank it out.
                rest = data[start : start + 1] + data[start + 2 : at] + data[at + 4 + octets : end]
                if rest in self._cache:
                    value = self._cache[rest]
                else:
                    value = self._cache[rest] = self._value(data[start:end])
                if value is not None:
                    address = data[at + 4 : at + 4 + (length + 7) // 8]
                    self.ours[bytes((length,)) + address] = value
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
            self.in_use.add(id_)
            # An object we do not know (made by hand): a value that is never wanted.
            return self._values.get(id_, model.Device(0))
        gateway = _gateway(found)
        if gateway is not None:
            return model.Via((model.NextHop(gateway, nl.number(found[pack.RTA_OIF])),))
        if pack.RTA_MULTIPATH in found:
            return model.Via(_multipath(found[pack.RTA_MULTIPATH]))
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
            self.ours[key] = value
            return
        self.foreign.setdefault(key, {})[metric] = describe(body)
        object_id = nl.attributes(body, nl.RTMSG.size).get(pack.RTA_NH_ID)
        if object_id is not None:
            self.in_use.add(nl.number(object_id))


def key_of(family: model.Family, body: bytes) -> tuple[model.Nlri, int]:
    """Prefix and metric of a route message."""
    found = nl.attributes(body, nl.RTMSG.size)
    length = body[1]
    address = found.get(pack.RTA_DST, b"").ljust(family.bits // 8, b"\0")
    return bytes((length,)) + address[: (length + 7) // 8], nl.number(
        found.get(pack.RTA_PRIORITY, b"")
    )


def describe(body: bytes) -> str:
    """A route in the words of `ip route`, without its prefix."""
    found = nl.attributes(body, nl.RTMSG.size)
    words = [_TYPES.get(body[7], f"type {body[7]}")]
    words.append(f"proto {_NAMES.get(body[5], body[5])}")
    gateway = _gateway(found)
    if gateway is not None:
        words.append(f"via {gateway}")
    if pack.RTA_OIF in found:
        words.append(f"dev {_name(nl.number(found[pack.RTA_OIF]))}")
    metric = nl.number(found.get(pack.RTA_PRIORITY, b""))
    if metric:
        words.append(f"metric {metric}")
    return " ".join(filter(None, words))


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
