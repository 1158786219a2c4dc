"""What the kernel tells of links, addresses and routes, as calls of `ports.KernelEvents`.

Our own writes would come back as one notification per route, and slow the writer down
(kernel sheet, section 4). A filter in the kernel drops what carries our writer's port id
before it is queued.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import socket
import struct
from collections.abc import Callable

from bgp_ipvlan import model, ownership, ports
from bgp_ipvlan.kernel import netlink as nl
from bgp_ipvlan.kernel import pack, readback

_GROUPS = (1, 5, 9, 7, 11, 8, 19)
"""RTNLGRP_LINK, IPV4_IFADDR, IPV6_IFADDR, IPV4_ROUTE, IPV6_ROUTE, IPV4_RULE, IPV6_RULE."""
_NEXTHOP_GROUP = 32
"""RTNLGRP_NEXTHOP."""
_SO_ATTACH_FILTER = 26
_KIND_OFFSET, _PORT_OFFSET = 4, 12
"""nlmsg_type and nlmsg_pid in nlmsghdr."""
_PROTOCOL_OFFSET = 5
"""rtm_protocol in rtmsg."""
_PER_TURN = 64
_USABLE = 0x10001
"""IFF_UP and IFF_LOWER_UP."""
_LINK_KINDS = frozenset((nl.RTM_NEWLINK, nl.RTM_DELLINK, nl.RTM_NEWADDR, nl.RTM_DELADDR))


class KernelMonitor:
    """See the module.

    Args:
        events: whom to tell, on the loop's thread.
        own_port: netlink port id of the route writer.
    """

    def __init__(self, events: ports.KernelEvents, *, own_port: int) -> None:
        self._events = events
        self._own_port = own_port
        self._deaf = False

    async def start(self) -> None:
        """Subscribe."""
        self._socket = nl.open_socket()
        self._socket.setblocking(False)
        _attach_filter(self._socket, self._own_port)
        for group in _GROUPS:
            self._socket.setsockopt(nl.SOL_NETLINK, nl.NETLINK_ADD_MEMBERSHIP, group)
        # A kernel without nexthop objects (before 5.3) does not know their group.
        with contextlib.suppress(OSError):
            self._socket.setsockopt(nl.SOL_NETLINK, nl.NETLINK_ADD_MEMBERSHIP, _NEXTHOP_GROUP)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._readable)

    async def close(self) -> None:
        """Stop listening."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _readable(self) -> None:
        links = False
        calls: set[Callable[[], None] | None] = set()
        lost: set[int] = set()
        # Bounded, so that a storm of others' routes does not keep the loop (D7).
        for _ in range(_PER_TURN):
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                if self._deaf:
                    self._deaf = False
                    self._events.overflow()
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                # Until its buffer has been emptied the kernel drops more, and does not say so
                # again: what is read back now may miss that, so there is another call then.
                self._deaf = True
                self._events.overflow()
                continue
            for kind, flags, body in nl.messages(data):
                if kind in _LINK_KINDS:
                    links = True
                    lost |= _lost(kind, body)
                elif kind in {nl.RTM_NEWROUTE, nl.RTM_DELROUTE}:
                    self._route(kind, flags, body)
                else:
                    calls.add(self._other(kind, body))
        if links:
            self._events.links_changed(lost)
        for call in filter(None, calls):
            call()

    def _other(self, kind: int, body: bytes) -> Callable[[], None] | None:
        """What to call, once, for a message that is not about a link or a route."""
        if kind in {nl.RTM_NEWRULE, nl.RTM_DELRULE}:
            return self._events.rules_changed
        if kind in {nl.RTM_NEWNEXTHOP, nl.RTM_DELNEXTHOP} and _our_nexthop(body):
            return self._events.nexthop_touched
        return None

    def _route(self, kind: int, header_flags: int, body: bytes) -> None:
        fields = nl.RTMSG.unpack_from(body)
        family_number, protocol, type_, flags = (*fields[:1], *fields[5:6], *fields[7:])
        if flags & readback.RTM_F_CLONED or type_ not in readback.RTN_KINDS:
            return
        if family_number not in {socket.AF_INET, socket.AF_INET6}:
            return
        ipv4 = family_number == socket.AF_INET
        family = model.Family.IPV4 if ipv4 else model.Family.IPV6
        table = family, readback.table_of(body)
        prefix, metric = readback.key_of(family, body)
        present = kind == nl.RTM_NEWROUTE
        if (protocol, metric) == (ownership.ROUTE_PROTOCOL, ownership.ROUTE_METRIC):
            self._events.own_route_touched(table, prefix, present=present)
        else:
            appended = bool(header_flags & nl.NLM_F_APPEND)
            route = readback.foreign(body, siblings=appended) if present else None
            self._events.foreign_route(table, prefix, metric, route)


def _our_nexthop(body: bytes) -> bool:
    """Whether a message is about an object in our range of ids, whatever its mark says now.

    Or about somebody's group with such a one in it, which must not go without warning.
    """
    found = nl.attributes(body, nl.NHMSG.size)
    members = struct.iter_unpack("=IBBH", found.get(pack.NHA_GROUP, b""))
    ids = [nl.number(found.get(pack.NHA_ID, b"")), *(member[0] for member in members)]
    return any(id_ in ownership.NEXTHOP_IDS for id_ in ids)


def _lost(kind: int, body: bytes) -> set[int]:
    """The link that is down or gone, or that lost an address, if the message says that."""
    # ifinfomsg and ifaddrmsg both have the index in octets 4 to 7; the former has flags next.
    index, flags = struct.unpack_from("=iI", body.ljust(12, b"\0"), 4)
    kept = kind == nl.RTM_NEWADDR or (kind == nl.RTM_NEWLINK and flags & _USABLE == _USABLE)
    return set() if kept else {index}


def _attach_filter(sock: socket.socket, port: int) -> None:
    """Drop what need not be told (classic BPF, linux/filter.h).

    That is what we do ourselves, by nlmsg_pid. And what the kernel does to our own routes when
    a link, an address or a nexthop object goes (pid 0), a message for each IPv6 route: it
    says that of the link, the address or the object as well.
    """
    load_word, load_half, load_byte, equal, end = 0x20, 0x28, 0x30, 0x15, 0x06
    # BPF loads in network order what netlink wrote in the host's.
    own = struct.unpack(">I", struct.pack("=I", port))[0]
    routes = [
        struct.unpack(">H", struct.pack("=H", k))[0] for k in (nl.RTM_NEWROUTE, nl.RTM_DELROUTE)
    ]
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (load_word, 0, 0, _PORT_OFFSET),
            (equal, 6, 0, own),  # ours: drop
            (equal, 0, 6, 0),  # somebody's: keep
            (load_half, 0, 0, _KIND_OFFSET),
            (equal, 1, 0, routes[0]),
            (equal, 0, 3, routes[1]),  # no route: keep
            (load_byte, 0, 0, nl.HEADER.size + _PROTOCOL_OFFSET),
            (equal, 0, 1, ownership.ROUTE_PROTOCOL),  # other's: keep
            (end, 0, 0, 0),
            (end, 0, 0, 0xFFFFFFFF),
        )
    )
    code = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
