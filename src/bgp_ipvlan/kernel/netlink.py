"""The little of rtnetlink that we need: sockets, headers, attributes, by `struct`.

Numbers are from the kernel's uapi headers (linux/netlink.h, rtnetlink.h, nexthop.h,
if_link.h).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_DUMP = 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_GETNSID = 90
RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106

SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP, NETLINK_GET_STRICT_CHK = 1, 12
RTNLGRP_IPV6_ROUTE = 11
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33

HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port id."""
ATTRIBUTE = struct.Struct("=HH")
RTMSG = struct.Struct("=BBBBBBBBI")
"""rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags."""
NHMSG = struct.Struct("=BBBBI")
"""nhmsg: family, scope, protocol, reserved, flags."""
NLA_TYPE_MASK = 0x3FFF
_DUMPS = 5
"""Tries to read a table that others change."""


def align(length: int) -> int:
    """Round up to netlink's four octets."""
    return (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, kind) + value + b"\0" * (align(length) - length)


def u32(kind: int, value: int) -> bytes:
    """An attribute with a 32-bit number."""
    return attribute(kind, struct.pack("=I", value))


def message(kind: int, flags: int, body: bytes, sequence: int = 0) -> bytes:
    """One message."""
    flags |= NLM_F_REQUEST
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Split what was received into (type, flags, body)."""
    start = 0
    while start + HEADER.size <= len(data):
        length, kind, flags, _, _ = HEADER.unpack_from(data, start)
        if length < HEADER.size:
            return
        yield kind, flags, data[start + HEADER.size : start + length]
        start += align(length)


def attributes(body: bytes, start: int) -> dict[int, bytes]:
    """The attributes of a message from an offset on; nested ones as bytes."""
    found: dict[int, bytes] = {}
    while start + ATTRIBUTE.size <= len(body):
        length, kind = ATTRIBUTE.unpack_from(body, start)
        if length < ATTRIBUTE.size:
            break
        found[kind & NLA_TYPE_MASK] = body[start + ATTRIBUTE.size : start + length]
        start += align(length)
    return found


def number(value: bytes) -> int:
    """A host-order number of whatever size."""
    return int.from_bytes(value, "little" if struct.pack("=H", 1)[0] else "big")


def text(value: bytes) -> str:
    """A name."""
    return value.rstrip(b"\0").decode(errors="replace")


_SEND_BUFFER = 8 << 20
"""Octets: a thousand routes of 256 next hops each, in a kernel without nexthop objects."""


def open_socket(*, receive_buffer: int = 4 << 20) -> socket.socket:
    """A bound rtnetlink socket of the calling thread's network namespace."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer)
    # A send that is longer than that is refused as a whole.
    sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, _SEND_BUFFER)
    # Dumps are filtered by the kernel, and a filter it does not know is an error.
    sock.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
    sock.bind((0, 0))
    return sock


def dump(sock: socket.socket, kind: int, body: bytes) -> list[bytes] | None:
    """Read a whole table.

    Returns:
        The raw answers, each with many messages in it; None when the table changed
        meanwhile in a way that may have hidden entries (NLM_F_DUMP_INTR): read it again.

    Raises:
        OSError: the kernel's answer, such as EOPNOTSUPP.
    """
    sock.send(message(kind, NLM_F_DUMP, body))
    answers = []
    interrupted = False
    while True:
        data = sock.recv(1 << 20)
        answers.append(data)
        # The end is a message of its own or the last of the answer; the flag is on all that follow.
        last_kind = 0
        for last_kind, flags, part in messages_headers(data):
            interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
            if last_kind == NLMSG_ERROR:
                code = -struct.unpack_from("=i", data, part)[0]
                raise OSError(code, os.strerror(code))
        if last_kind == NLMSG_DONE:
            return None if interrupted else answers


def table(sock: socket.socket, kind: int, body: bytes) -> list[bytes]:
    """Read a small table, as the bodies of its entries; again if it changed under our eyes.

    Raises:
        OSError: the kernel's answer; InterruptedError when it changes all the time.
    """
    for _ in range(_DUMPS):
        answers = dump(sock, kind, body)
        if answers is not None:
            found = (one for data in answers for one in messages(data))
            return [entry for entry_kind, _, entry in found if entry_kind != NLMSG_DONE]
    raise InterruptedError(errno.EINTR, "it changes all the time")


def request(sock: socket.socket, kind: int, flags: int, body: bytes) -> list[bytes]:
    """Have one thing done, or told; returns the bodies of what was told.

    Raises:
        OSError: the kernel's answer, such as ENODEV.
    """
    sock.send(message(kind, flags | NLM_F_ACK, body))
    told: list[bytes] = []
    while True:
        for answer_kind, _, answer in messages(sock.recv(1 << 16)):
            if answer_kind != NLMSG_ERROR:
                told.append(answer)
                continue
            code, _ = failed(answer)
            if code:
                raise OSError(code, os.strerror(code))
            return told


def messages_headers(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Like `messages`, with the offset of the body: nothing is copied."""
    start, end = 0, len(data) - HEADER.size
    unpack = HEADER.unpack_from
    while start <= end:
        length, kind, flags, _, _ = unpack(data, start)
        yield kind, flags, start + HEADER.size
        start += (length + 3) & ~3


def failed(body: bytes) -> tuple[int, bytes]:
    """An NLMSG_ERROR: the errno (0 is an acknowledgement), and the request it is about."""
    return -struct.unpack_from("=i", body)[0], body[4:]


def describe(code: int) -> str:
    """An errno as people know it."""
    return f"{errno.errorcode.get(code, code)}: {os.strerror(code)}"
