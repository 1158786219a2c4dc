"""The little of nftables' netlink that a filter for ARP needs: messages and expressions, by `struct`.

Numbers are from the kernel's uapi headers (linux/netfilter.h, netfilter_arp.h,
netfilter/nfnetlink.h, netfilter/nf_tables.h). Its own numbers are in network order.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from bgp_ipvlan.kernel import netlink as nl

NEWTABLE, GETTABLE, DELTABLE = 0, 1, 2
NEWCHAIN, GETCHAIN = 3, 4
NEWRULE, GETRULE = 6, 7
NEWSET, GETSET = 9, 10
NEWSETELEM, GETSETELEM = 12, 13

ARP_IN, ARP_OUT = 0, 1
"""NF_ARP_IN, NF_ARP_OUT."""
IIFNAME, OIFNAME = 6, 7
"""NFT_META_IIFNAME, NFT_META_OIFNAME."""
NAME_SIZE = 16
"""IFNAMSIZ."""

TABLE_NAME, TABLE_FLAGS = 1, 2
RULE_USERDATA = 7
OF_TABLE = 1
"""NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_SET_ELEM_LIST_TABLE."""

BODY = 4
"""Octets of nfgenmsg: family, version, and the generation of the rule set, which anybody's change counts up."""

_NETLINK_NETFILTER = 12
_NLM_F_APPEND = 0x800
_SO_SNDBUFFORCE = 32
_NFPROTO_ARP = 3
_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NESTED = 0x8000
_NF_DROP, _NF_ACCEPT = 0, 1
_VERDICT_REGISTER, _REGISTER = 0, 1
_NETWORK_HEADER = 1
_TYPE_IPV4_ADDR = 7
"""nft's own number for the type of a set's keys: what `nft list` shows them as."""
_SET_INTERVAL, _INTERVAL_END = 4, 1
_SET_ID = 1
_ELEMENTS = 1000
"""Elements in a message: an attribute holds 64 KiB, and one takes 28 octets at most."""
_PRIORITY = 0


def open_socket() -> socket.socket:
    """A bound nfnetlink socket of the calling thread's network namespace.

    Raises:
        OSError: EPROTONOSUPPORT, the kernel has no nfnetlink.
    """
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    sock = socket.socket(socket.AF_NETLINK, kind, _NETLINK_NETFILTER)
    # A transaction goes in one piece.
    sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 4 << 20)
    sock.bind((0, 0))
    return sock


def read(sock: socket.socket, what: int, *attributes: bytes) -> list[bytes]:
    """Entries of the ARP family, as the bodies of their messages after nfgenmsg.

    Raises:
        OSError: the kernel's answer.
    """
    answers = nl.table(sock, _kind(what), _nfgenmsg(_NFPROTO_ARP) + b"".join(attributes))
    return [answer[BODY:] for answer in answers]


def change(sock: socket.socket, messages: Iterable[bytes]) -> None:
    """One transaction: all of it or nothing.

    Raises:
        OSError: the kernel's first complaint.
    """
    begin, end = (
        nl.message(kind, 0, _nfgenmsg(0, _SUBSYSTEM)) for kind in (_BATCH_BEGIN, _BATCH_END)
    )
    sock.send(begin + b"".join(messages) + end)
    # The kernel has answered inside `send`: each message is acknowledged or complained of.
    while True:
        try:
            data = sock.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        for kind, _, body in nl.messages(data):
            code = nl.failed(body)[0] if kind == nl.NLMSG_ERROR else 0
            if code:
                _drain(sock)
                raise OSError(code, nl.describe(code))


def _drain(sock: socket.socket) -> None:
    try:
        while True:
            sock.recv(1 << 16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        pass


# --- messages -----------------------------------------------------------------------------


def new_table(name: str) -> bytes:
    """Make a table, or leave it as it is."""
    return _message(NEWTABLE, nl.NLM_F_CREATE, _text(TABLE_NAME, name))


def delete_table(name: str) -> bytes:
    """Delete a table with all that is in it."""
    return _message(DELTABLE, 0, _text(TABLE_NAME, name))


def new_chain(table: str, name: str, hook: int) -> bytes:
    """Make a base chain that accepts what its rules do not drop."""
    at = _u32(1, hook) + _u32(2, _PRIORITY)
    return _message(
        NEWCHAIN,
        nl.NLM_F_CREATE,
        of_table(table) + _text(3, name) + _nest(4, at) + _u32(5, _NF_ACCEPT) + _text(7, "filter"),
    )


def new_set(table: str, name: str) -> bytes:
    """Make a set of ranges of IPv4 addresses."""
    return _message(
        NEWSET,
        nl.NLM_F_CREATE,
        of_table(table)
        + _text(2, name)
        + _u32(3, _SET_INTERVAL)
        + _u32(4, _TYPE_IPV4_ADDR)
        + _u32(5, 4)
        + _u32(10, _SET_ID),
    )


def new_elements(table: str, name: str, ranges: Iterable[tuple[int, int]]) -> list[bytes]:
    """Put ranges (first and last address) into a set: in order, and not touching each other."""
    elements = []
    for first, last in ranges:
        elements.append(_element(first, 0))
        if last < 0xFFFF_FFFF:
            elements.append(_element(last + 1, _INTERVAL_END))
    head = of_table(table) + _text(2, name) + _u32(4, _SET_ID)
    return [
        _message(
            NEWSETELEM,
            nl.NLM_F_CREATE,
            head + _nest(3, b"".join(elements[start : start + _ELEMENTS])),
        )
        for start in range(0, len(elements), _ELEMENTS)
    ]


def _element(address: int, flags: int) -> bytes:
    key = _nest(1, nl.attribute(1, struct.pack(">I", address)))
    return _nest(1, key + _u32(3, flags))


def new_rule(table: str, chain: str, expressions: Iterable[bytes], comment: bytes) -> bytes:
    """Append a rule that drops what all expressions match."""
    return _message(
        NEWRULE,
        nl.NLM_F_CREATE | _NLM_F_APPEND,
        of_table(table)
        + _text(2, chain)
        + _nest(4, b"".join(expressions) + _drop())
        + nl.attribute(RULE_USERDATA, comment),
    )


def of_table(name: str) -> bytes:
    """The attribute that says whose a chain, a rule, a set or an element is."""
    return _text(OF_TABLE, name)


def of_set(table: str, name: str) -> bytes:
    """The attributes that name a set."""
    return of_table(table) + _text(2, name)


def comment(text: str) -> bytes:
    """User data of a rule as `nft` writes it: type 0, length, text."""
    data = text.encode() + b"\0"
    return bytes((0, len(data))) + data


# --- expressions ---------------------------------------------------------------------------


def interface_is(key: int, name: str) -> list[bytes]:
    """The interface (`IIFNAME` or `OIFNAME`) has this name."""
    load = _expression("meta", _u32(1, _REGISTER) + _u32(2, key))
    return [load, _equals(name.encode().ljust(NAME_SIZE, b"\0"))]


def field_is(offset: int, value: bytes) -> list[bytes]:
    """The ARP header has this at an offset."""
    return [_load(offset, len(value)), _equals(value)]


def field_in(offset: int, set_name: str) -> list[bytes]:
    """The ARP header has an address of this transaction's set at an offset."""
    found = _expression("lookup", _text(1, set_name) + _u32(2, _REGISTER) + _u32(4, _SET_ID))
    return [_load(offset, 4), found]


def _load(offset: int, length: int) -> bytes:
    return _expression(
        "payload",
        _u32(1, _REGISTER) + _u32(2, _NETWORK_HEADER) + _u32(3, offset) + _u32(4, length),
    )


def _equals(value: bytes) -> bytes:
    return _expression("cmp", _u32(1, _REGISTER) + _u32(2, 0) + _nest(3, nl.attribute(1, value)))


def _drop() -> bytes:
    verdict = _nest(2, _nest(2, _u32(1, _NF_DROP)))
    return _expression("immediate", _u32(1, _VERDICT_REGISTER) + verdict)


def _expression(name: str, data: bytes) -> bytes:
    return _nest(1, _text(1, name) + _nest(2, data))


# --- the shape of it -------------------------------------------------------------------------


def _kind(what: int) -> int:
    return _SUBSYSTEM << 8 | what


def _nfgenmsg(family: int, resource: int = 0) -> bytes:
    return struct.pack(">BBH", family, 0, resource)


def _message(what: int, flags: int, body: bytes) -> bytes:
    return nl.message(_kind(what), flags | nl.NLM_F_ACK, _nfgenmsg(_NFPROTO_ARP) + body)


def _nest(kind: int, content: bytes) -> bytes:
    return nl.attribute(kind | _NESTED, content)


def _text(kind: int, value: str) -> bytes:
    return nl.attribute(kind, value.encode() + b"\0")


def _u32(kind: int, value: int) -> bytes:
    return nl.attribute(kind, struct.pack(">I", value))
