"""The little of rtnetlink that the bench asks and says itself (linux/netlink.h, rtnetlink.h, nexthop.h).

Written apart from `bgp_ipvlan.kernel`, so that a fault there cannot make itself look fast here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from lab import namespace

NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEXTHOP, DELNEXTHOP = 104, 105
ACK, DUMP, EXCLUSIVE, CREATE = 0x4, 0x300, 0x200, 0x400
DONE, ERROR = 3, 2
MAIN, STATIC, UNICAST, BLACKHOLE = 254, 4, 1, 6
DST, METRIC, NEXTHOP_ID = 1, 6, 30
FIB_MATCH = 0x2000
"""RTM_F_FIB_MATCH: answer with the route itself, not with what follows from it."""

HEADER = struct.Struct("=IHHII")
ROUTE = struct.Struct("=BBBBBBBBI")
_NEXTHOP = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_CLONE_NEWNET = 0x40000000


def attribute(kind: int, value: bytes) -> bytes:
    """One, of a length that needs no padding."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value


def u32(kind: int, value: int) -> bytes:
    """One with a number."""
    return attribute(kind, struct.pack("=I", value))


def message(kind: int, flags: int, body: bytes) -> bytes:
    """One request."""
    return HEADER.pack(HEADER.size + len(body), kind, 1 | flags, 0, 0) + body


def family(address: bytes) -> int:
    """AF_INET or AF_INET6."""
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def blackhole(address: bytes) -> bytes:
    """RTM_NEWROUTE: a blackhole for one host, in the main table."""
    return message(NEWROUTE, CREATE | EXCLUSIVE, _route(address, STATIC, BLACKHOLE))


def question(address: bytes) -> bytes:
    """RTM_GETROUTE: which route is there for a host?"""
    return message(GETROUTE, 0, _route(address, 0, 0, table=0, flags=FIB_MATCH))


def _route(address: bytes, protocol: int, kind: int, *, table: int = MAIN, flags: int = 0) -> bytes:
    fixed = (family(address), 8 * len(address), 0, 0, table, protocol, 0, kind, flags)
    return ROUTE.pack(*fixed) + attribute(DST, address)


def through(length: int, protocol: int, nexthop: int, *, metric: int) -> tuple[bytes, bytes]:
    """What stands before and after the address in an RTM_NEWROUTE for a host through a nexthop object.

    Args:
        length: octets of an address.
        protocol: of the route.
        nexthop: the object's id.
        metric: of the route.
    """
    fixed = _route(bytes(length), protocol, UNICAST)
    whole = message(
        NEWROUTE, CREATE | EXCLUSIVE, fixed + u32(METRIC, metric) + u32(NEXTHOP_ID, nexthop)
    )
    at = HEADER.size + len(fixed) - length
    return whole[:at], whole[at + length :]


def new_nexthop(identity: int, gateway: bytes, ifindex: int) -> bytes:
    """RTM_NEWNEXTHOP, to be acknowledged."""
    body = _NEXTHOP.pack(family(gateway), 0, STATIC, 0, 0) + u32(1, identity)
    return message(
        NEWNEXTHOP, ACK | CREATE | EXCLUSIVE, body + u32(5, ifindex) + attribute(6, gateway)
    )


def delete_nexthop(identity: int) -> bytes:
    """RTM_DELNEXTHOP, to be acknowledged. What points at it goes with it."""
    return message(DELNEXTHOP, ACK, _NEXTHOP.pack(0, 0, 0, 0, 0) + u32(1, identity))


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each message in a datagram."""
    start = 0
    while start < len(data):
        length, kind, *_ = HEADER.unpack_from(data, start)
        yield kind, data[start + HEADER.size : start + length]
        start += (length + 3) & ~3


def destination(body: bytes) -> bytes:
    """RTA_DST of a route; empty for a default route."""
    at = ROUTE.size
    while at < len(body):
        size, kind = _ATTRIBUTE.unpack_from(body, at)
        if kind == DST:
            return body[at + _ATTRIBUTE.size : at + size]
        at += (size + 3) & ~3
    return b""


def check(answer: bytes) -> None:
    """Raise what an acknowledgement says.

    Raises:
        OSError: it is a refusal.
    """
    code = -struct.unpack_from("=i", answer, HEADER.size)[0]
    if code:
        raise OSError(code, os.strerror(code))


def open_socket(host: namespace.Host | None = None) -> socket.socket:
    """A netlink socket, in the network namespace of a host or in our own.

    A thread enters the namespace (setns(2)) and ends; the socket stays where it was made.
    """
    made: list[socket.socket] = []

    def make() -> None:
        if host is not None:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path(f"/proc/{host.pid}/ns/net").open("rb") as handle:
                if libc.setns(handle.fileno(), _CLONE_NEWNET):
                    return
        made.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if not made:
        raise namespace.LabError(f"cannot enter the network of {host and host.name}")
    made[0].bind((0, 0))
    return made[0]


def refused(sock: socket.socket) -> int:
    """Errno of the first refusal that lies in the receive buffer; 0 if there is none."""
    try:
        answer = sock.recv(1 << 16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return 0
    try:
        check(answer)
    except OSError as error:
        return error.errno or errno.EIO
    return 0
