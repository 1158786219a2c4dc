"""BGP octets of the sender, made before any clock starts (RFC 4271 section 4).

Written apart from `bgp_ipvlan.bgp`, so that a fault there cannot make itself look fast here.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = 1, 2, 3, 4, 5
HEADER = 19
LONGEST = 4096
FIRST = {4: ipaddress.ip_address("10.0.0.0"), 6: ipaddress.ip_address("fd00:10::")}
"""Prefix number n of an IP version is the host route of the n-th address from here."""
OWN = "192.88.99.0/24"
"""What the receiver itself announces."""
TRANSIT_AS = 64999
"""The one AS number in every AS_PATH."""

_IPV6_UNICAST = struct.pack("!HB", 2, 1)


def message(kind: int, body: bytes = b"") -> bytes:
    """One message with its header."""
    return b"\xff" * 16 + struct.pack("!HB", HEADER + len(body), kind) + body


def messages(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take whole messages off the front of what was received: (type, body) of each."""
    while len(buffer) >= HEADER:
        length = int.from_bytes(buffer[16:18])
        if len(buffer) < length:
            return
        found = buffer[18], bytes(buffer[HEADER:length])
        del buffer[:length]
        yield found


def announces(body: bytes) -> bool:
    """Whether an UPDATE announces an IPv4 prefix (so it is no End-of-RIB)."""
    withdrawn = 2 + int.from_bytes(body[:2])
    return len(body) > withdrawn + 2 + int.from_bytes(body[withdrawn : withdrawn + 2])


def opening(
    local_as: int,
    router_id: ipaddress.IPv4Address,
    hold_time: int,
    *,
    graceful_restart: bool = False,
) -> bytes:
    """OPEN with IPv4 and IPv6 unicast, route refresh and 4-octet AS.

    Args:
        local_as: ours.
        router_id: ours.
        hold_time: seconds.
        graceful_restart: promise End-of-RIB, and to keep the neighbour's routes while it
            restarts (RFC 4724), as far as a program can that has no routes.
    """
    capabilities = struct.pack("!BBHBB BBHBB", 1, 4, 1, 0, 1, 1, 4, 2, 0, 1)
    capabilities += struct.pack("!BB BBI", 2, 0, 65, 4, local_as)
    if graceful_restart:
        capabilities += struct.pack("!BBH HBBHBB", 64, 10, 120, 1, 1, 0x80, 2, 1, 0x80)
    parameters = bytes((2, len(capabilities))) + capabilities
    fixed = struct.pack("!BHHIB", 4, local_as, hold_time, int(router_id), len(parameters))
    return message(OPEN, fixed + parameters)


def end_of_rib() -> bytes:
    """End-of-RIB of both families (RFC 4724 section 2)."""
    ipv6 = b"\x80\x0f\x03" + _IPV6_UNICAST
    return message(UPDATE, bytes(4)) + message(UPDATE, struct.pack("!HH", 0, len(ipv6)) + ipv6)


def refresh() -> bytes:
    """ROUTE-REFRESH for IPv4 unicast (RFC 2918)."""
    return message(ROUTE_REFRESH, struct.pack("!HBB", 1, 0, 1))


def address(number: int, *, version: int = 4) -> bytes:
    """The address of prefix number n, packed."""
    return (FIRST[version] + number).packed


def prefix(number: int, *, version: int = 4) -> str:
    """Prefix number n as text."""
    return str(ipaddress.ip_network(FIRST[version] + number))


def table(
    first: int,
    count: int,
    next_hop: ipaddress.IPv4Address | ipaddress.IPv6Address,
    *,
    med: int = 0,
) -> bytes:
    """UPDATEs that announce `count` prefixes with one set of attributes, as few as hold them.

    Args:
        first: number of the first prefix.
        count: how many.
        next_hop: of all; they are of its IP version.
        med: tells one burst of the same prefixes from the next.
    """
    size = next_hop.max_prefixlen // 8
    start = int(FIRST[next_hop.version]) + first
    prefixes = [
        bytes((size * 8,)) + number.to_bytes(size) for number in range(start, start + count)
    ]
    update = _ipv4_update if next_hop.version == 4 else _ipv6_update
    room = LONGEST - len(update(next_hop.packed, med, b""))
    each = room // (size + 1)
    return b"".join(
        update(next_hop.packed, med, b"".join(prefixes[at : at + each]))
        for at in range(0, count, each)
    )


def _ipv4_update(next_hop: bytes, med: int, prefixes: bytes) -> bytes:
    """RFC 4271 section 4.3."""
    return _update(med, prefixes, next_hop=b"\x40\x03\x04" + next_hop)


def _ipv6_update(next_hop: bytes, med: int, prefixes: bytes) -> bytes:
    """MP_REACH_NLRI stands last: it is as long as the message allows (RFC 4760 section 3)."""
    value = _IPV6_UNICAST + bytes((len(next_hop),)) + next_hop + b"\0" + prefixes
    return _update(med, b"", reach=struct.pack("!BBH", 0x90, 14, len(value)) + value)


def _update(med: int, prefixes: bytes, *, next_hop: bytes = b"", reach: bytes = b"") -> bytes:
    attributes = b"".join(
        (
            b"\x40\x01\x01\x00",  # ORIGIN: IGP
            b"\x40\x02\x06\x02\x01" + struct.pack("!I", TRANSIT_AS),  # AS_PATH
            next_hop,
            b"\x80\x04\x04" + struct.pack("!I", med),  # MULTI_EXIT_DISC
            b"\x40\x05\x04" + struct.pack("!I", 100),  # LOCAL_PREF
            reach,
        )
    )
    return message(UPDATE, struct.pack("!HH", 0, len(attributes)) + attributes + prefixes)
