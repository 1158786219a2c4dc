"""What may not be asked for by ARP on a parent's LAN (`ports.ArpFilter`).

For what containers send the kernel looks up a route out of the parent, and takes a miss, also
by a blackhole, for "it is on that wire" (IPv4; kernel sheet, section 3): it asks there for an
address that is ours, and whoever answers gets the packets. Nothing in the routing table stops
that. So an nftables table of family `arp` drops the question, and ARP from there that claims
such an address. Its hooks see ARP alone: no other packet pays for it.

The table is made anew in one transaction whenever it is not as we left it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from bgp_ipvlan import errors, ownership
from bgp_ipvlan.kernel import netlink as nl
from bgp_ipvlan.kernel import nftables as nft

_TABLE = ownership.ARP_TABLE
_COMMENT = nft.comment(ownership.ARP_COMMENT)
_SET = "ours"
_OPERATION, _SENDER, _TARGET = 6, 14, 24
"""Offsets in an ARP packet for IPv4 over Ethernet (RFC 826)."""
_REQUEST = b"\0\1"

_Ranges = tuple[tuple[int, int], ...]
_Seen = tuple[bytes, ...]
_T = TypeVar("_T")
_MISSING = {
    errno.EOPNOTSUPP,
    errno.EAFNOSUPPORT,
    errno.EPROTONOSUPPORT,
    errno.EINVAL,
    errno.ENOENT,
}
"""Answers of a kernel without nftables, or without its ARP family."""


class KernelArpFilter:
    """See the module."""

    def __init__(self) -> None:
        # Somebody's large transaction may hold ours up, so never on the loop (D7).
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="arp")
        self._made: tuple[tuple[str, ...], _Ranges] | None = None
        self._left: _Seen | None = None
        """What the kernel showed when we had made it."""

    async def close(self) -> None:
        """End the thread; the table stays."""
        self._thread.shutdown()

    async def ensure(self, interfaces: Iterable[str], ranges: Iterable[tuple[int, int]]) -> bool:
        """Have this filter; see `ports.ArpFilter`."""
        wanted = tuple(interfaces), tuple(ranges)
        return await self._do(lambda: self._ensure(*wanted) if all(wanted) else self._remove())

    async def _do(self, work: Callable[[], _T]) -> _T:
        """Run on the thread; shielded, so that a cancelled caller leaves no half of it."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._thread, work))

    # --- on the thread ------------------------------------------------------------

    def _ensure(self, interfaces: tuple[str, ...], ranges: _Ranges) -> bool:
        try:
            with contextlib.closing(nft.open_socket()) as sock:
                wanted = interfaces, ranges
                if wanted == self._made and _seen(sock) == self._left:
                    return False
                _check_ours(sock)
                nft.change(sock, _table(interfaces, ranges))
                self._made, self._left = wanted, _seen(sock)
        except OSError as error:
            raise _translated(error) from error
        return True

    def _remove(self) -> bool:
        self._made = None
        try:
            with contextlib.closing(nft.open_socket()) as sock:
                if not _seen(sock):
                    return False
                _check_ours(sock)
                nft.change(sock, (nft.new_table(_TABLE), nft.delete_table(_TABLE)))
        except OSError as error:
            if error.errno in _MISSING:
                return False
            raise _translated(error) from error
        return True


def _table(interfaces: Iterable[str], ranges: _Ranges) -> Iterator[bytes]:
    """All of it anew. To make it first is to be able to delete what may not be there."""
    yield nft.new_table(_TABLE)
    yield nft.delete_table(_TABLE)
    yield nft.new_table(_TABLE)
    yield nft.new_set(_TABLE, _SET)
    yield from nft.new_elements(_TABLE, _SET, ranges)
    yield nft.new_chain(_TABLE, "input", nft.ARP_IN)
    yield nft.new_chain(_TABLE, "output", nft.ARP_OUT)
    for interface in interfaces:
        claims = [
            *nft.interface_is(nft.IIFNAME, interface),
            *nft.field_in(_SENDER, _SET),
        ]
        asks = [
            *nft.interface_is(nft.OIFNAME, interface),
            *nft.field_is(_OPERATION, _REQUEST),
            *nft.field_in(_TARGET, _SET),
        ]
        yield nft.new_rule(_TABLE, "input", claims, _COMMENT)
        yield nft.new_rule(_TABLE, "output", asks, _COMMENT)


def _seen(sock: socket.socket) -> _Seen:
    """The table as the kernel shows it; empty if there is none.

    Compared as it is: each thing has a handle, which no other gets, so a rule that was taken
    away and put back counts as changed.
    """
    name = nft.of_table(_TABLE)
    tables = [one for one in nft.read(sock, nft.GETTABLE) if one.startswith(name)]
    if not tables:
        return ()
    chains = [one for one in nft.read(sock, nft.GETCHAIN) if one.startswith(name)]
    sets = nft.read(sock, nft.GETSET, name)
    rules = nft.read(sock, nft.GETRULE, name)
    try:
        elements = nft.read(sock, nft.GETSETELEM, nft.of_set(_TABLE, _SET))
    except FileNotFoundError:
        elements = []
    return (*tables, *chains, *sets, *rules, *elements)


def _check_ours(sock: socket.socket) -> None:
    """Leave a table of that name alone that is somebody else's, or in which somebody is.

    Raises:
        errors.KernelError: `foreign-table`.
    """
    for rule in nft.read(sock, nft.GETRULE, nft.of_table(_TABLE)):
        if nl.attributes(rule, 0).get(nft.RULE_USERDATA) != _COMMENT:
            raise errors.KernelError(
                "foreign-table",
                f"nftables' table `arp {_TABLE}` has rules that are not ours, and stays as it is: "
                f"move them to a table of another name",
                errno.EEXIST,
            )


def _translated(error: OSError) -> errors.KernelError:
    code = error.errno or 0
    if code in _MISSING:
        return errors.KernelError(
            "no-arp-filter",
            "this kernel cannot filter ARP (CONFIG_NF_TABLES_ARP): a container's packet to an "
            "address of its own subnet that nobody has makes this host ask for it on the "
            "parent's LAN",
            code,
        )
    if code == errno.EPERM:
        return errors.KernelError("no-permission", "run the daemon as root (CAP_NET_ADMIN)", code)
    return errors.KernelError(
        "kernel-refused", f"cannot make the ARP filter: {nl.describe(code)}", code
    )
