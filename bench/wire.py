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
FIRST_PREFIX = int(ipaddress.IPv4Address("10.0.0.0"))
"""Prefix number n is the host route of the n-th address from here."""
OWN = "192.88.99.0/24"
"""What the receiver itself announces."""
TRANSIT_AS = 64999
"""The one AS number in every AS_PATH."""

_PREFIX = struct.Struct("!BI")


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


def opening(local_as: int, router_id: ipaddress.IPv4Address, hold_time: int) -> bytes:
    """OPEN with IPv4 unicast, route refresh and 4-octet AS, without graceful restart."""
    capabilities = struct.pack("!BBHBB BB BBI", 1, 4, 1, 0, 1, 2, 0, 65, 4, local_as)
    parameters = bytes((2, len(capabilities))) + capabilities
    fixed = struct.pack("!BHHIB", 4, local_as, hold_time, int(router_id), len(parameters))
    return message(OPEN, fixed + parameters)


def refresh() -> bytes:
    """ROUTE-REFRESH for IPv4 unicast (RFC 2918)."""
    return message(ROUTE_REFRESH, struct.pack("!HBB", 1, 0, 1))


def prefix(number: int) -> str:
    """Prefix number n as text."""
    return f"{ipaddress.IPv4Address(FIRST_PREFIX + number)}/32"


def table(first: int, count: int, next_hop: ipaddress.IPv4Address, *, med: int = 0) -> bytes:
    """UPDATEs that announce `count` prefixes with one set of attributes, as few as hold them.

    Args:
        first: number of the first prefix.
        count: how many.
        next_hop: of all.
        med: tells one burst of the same prefixes from the next.
    """
    attributes = b"".join(
        (
            b"\x40\x01\x01\x00",  # ORIGIN: IGP
            b"\x40\x02\x06\x02\x01" + struct.pack("!I", TRANSIT_AS),  # AS_PATH
            b"\x40\x03\x04" + next_hop.packed,  # NEXT_HOP
            b"\x80\x04\x04" + struct.pack("!I", med),  # MULTI_EXIT_DISC
            b"\x40\x05\x04" + struct.pack("!I", 100),  # LOCAL_PREF
        )
    )
    head = struct.pack("!HH", 0, len(attributes)) + attributes
    each = (LONGEST - HEADER - len(head)) // _PREFIX.size
    numbers = range(FIRST_PREFIX + first, FIRST_PREFIX + first + count)
    return b"".join(
        message(UPDATE, head + b"".join(_PREFIX.pack(32, n) for n in numbers[at : at + each]))
        for at in range(0, count, each)
    )
