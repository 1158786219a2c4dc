"""Forgets the flows of an address that nobody has any more (`ports.Conntrack`).

Whoever gets the address next must not inherit them: a firewall would take his first packets
for the old container's, or invalid, and NAT would go on as it was decided for somebody else.

The whole table is read, once for all addresses that wait, since the kernel's own filter will
not do: it takes IPv6 addresses for their opposite (seen on 6.1 and 6.18: told to delete one
address's entries it would delete all others), looks at one address in one place at a time,
which is four passes, and up to 6.1 reads but does not delete by it. Reading costs 1.3 µs for
each entry, nearly all of it inside the kernel.

Numbers are from linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import struct
from collections.abc import Collection, Iterator
from pathlib import Path

from bgp_ipvlan import model
from bgp_ipvlan.kernel import netlink as nl

log = logging.getLogger("bgp_ipvlan")

BOUND = 2.0
"""Seconds that `KernelConntrack.forget` waits at most: a table of more than a million entries."""
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_NETLINK_NETFILTER = 12
_CT_GET, _CT_DELETE = 0x101, 0x102
"""IPCTNL_MSG_CT_* of NFNL_SUBSYS_CTNETLINK."""
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_ID, _CTA_ZONE = 1, 2, 12, 18
_CTA_TUPLE_IP = 1
_NLA_F_NESTED = 0x8000
_NFGENMSG = struct.Struct("=BBH")
"""nfgenmsg: family, version, resource id."""
_BATCH = 200
"""Entries deleted by one `send`."""


class KernelConntrack:
    """The connection tracking of the host's network namespace.

    A kernel without it, or one that tracks nothing, is asked nothing: no module is loaded
    by us, and nothing begins to be tracked.
    """

    def __init__(self) -> None:
        self._wanted: set[model.Address] = set()
        self._next: asyncio.Task[None] | None = None
        """Will read the table for all that is in `_wanted`."""
        self._reading = asyncio.Lock()

    async def forget(self, addresses: Collection[model.Address]) -> None:
        """Delete the entries of addresses that are gone; see `ports.Conntrack`."""
        if not addresses:
            return
        self._wanted.update(addresses)
        if self._next is None:
            self._next = asyncio.create_task(self._round(), name="conntrack")
        try:
            # Shielded: others wait for it too.
            await asyncio.wait_for(asyncio.shield(self._next), BOUND)
        except TimeoutError:
            log.warning("conntrack entries still being deleted reason=conntrack-slow")

    async def _round(self) -> None:
        async with self._reading:
            # Who comes from now on waits for the next round: his entries may be passed already.
            self._next = None
            addresses, self._wanted = self._wanted, set()
            loop = asyncio.get_running_loop()
            names = ",".join(sorted(map(str, addresses)))
            try:
                count = await loop.run_in_executor(None, _forget, addresses)
            except OSError as error:
                log.warning(
                    "conntrack entries stay addresses=%s reason=conntrack-refused error=%s",
                    names,
                    nl.describe(error.errno or 0),
                )
                return
            except Exception:
                # Docker's call, which waits for this, must not fail over it.
                log.exception("BUG conntrack entries stay addresses=%s", names)
                return
            if count:
                log.debug("conntrack entries deleted addresses=%s count=%d", names, count)


# --- on a thread ------------------------------------------------------------------------


def _forget(addresses: Collection[model.Address]) -> int:
    """Delete; how many there were.

    Raises:
        OSError: the kernel's answer.
    """
    try:
        if not int(_COUNT.read_text()):
            return 0
    except FileNotFoundError:
        return 0  # nothing is tracked
    deleted = 0
    with _open() as sock:
        for family in model.Family:
            mine = {a.packed for a in addresses if model.Family.of(a) is family}
            if mine:
                # All of them first: what is deleted while it is read may hide others.
                deleted += _delete(sock, list(_find(sock, family, mine)))
    return deleted


def _open() -> socket.socket:
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
    )
    sock.bind((0, 0))
    return sock


def _find(sock: socket.socket, family: model.Family, mine: set[bytes]) -> Iterator[bytes]:
    """Requests that delete each entry in which one of the addresses takes part."""
    sock.send(nl.message(_CT_GET, nl.NLM_F_DUMP, _NFGENMSG.pack(family.af, 0, 0)))
    while True:
        data = sock.recv(1 << 16)
        # The end is a message of its own, and so is an error.
        _, kind, _, _, _ = nl.HEADER.unpack_from(data)
        if kind == nl.NLMSG_DONE:
            return
        if kind == nl.NLMSG_ERROR:
            code, _ = nl.failed(data[nl.HEADER.size :])
            raise OSError(code, os.strerror(code))
        # Entries are looked into only where the octets of an address occur at all.
        if any(address in data for address in mine):
            for _, _, body in nl.messages(data):
                entry = nl.attributes(body, _NFGENMSG.size)
                if not mine.isdisjoint(_addresses(entry)):
                    yield _deletion(family, entry)


def _addresses(entry: dict[int, bytes]) -> Iterator[bytes]:
    """Of both directions, which NAT makes differ."""
    for direction in (_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY):
        ip = nl.attributes(entry[direction], 0)[_CTA_TUPLE_IP]
        yield from nl.attributes(ip, 0).values()


def _deletion(family: model.Family, entry: dict[int, bytes]) -> bytes:
    """The id makes sure that it is this entry, and not one that has come in its place."""
    body = _NFGENMSG.pack(family.af, 0, 0)
    body += nl.attribute(_CTA_TUPLE_ORIG | _NLA_F_NESTED, entry[_CTA_TUPLE_ORIG])
    for kind in (_CTA_ID, _CTA_ZONE):
        if kind in entry:
            body += nl.attribute(kind, entry[kind])
    return nl.message(_CT_DELETE, 0, body)


def _delete(sock: socket.socket, requests: list[bytes]) -> int:
    """Send them all, and read what was refused, as with routes (`kernel/routes`)."""
    gone, refused = 0, 0
    for start in range(0, len(requests), _BATCH):
        batch = requests[start : start + _BATCH]
        sock.send(b"".join(batch))
        gone += len(batch)
        while answers := _pending(sock):
            for _, _, body in nl.messages(answers):
                code, _ = nl.failed(body)
                gone -= 1
                # ENOENT: it has run out meanwhile.
                refused = refused if code == errno.ENOENT else code
    if refused:
        raise OSError(refused, os.strerror(refused))
    return gone


def _pending(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""
