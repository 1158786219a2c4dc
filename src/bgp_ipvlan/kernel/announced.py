"""Routes that are there to be read: what a routing daemon on this host shall announce.

A table of its own holds one blackhole for each prefix and nothing else, so that whoever reads
it need not tell what is announced from what only this host goes by. No packet is looked up in
it. Protocol 179 as everything of ours, and a metric of its own: with that of our other routes
the books of those (`delta`) would take them for routes that an earlier run has left.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ctypes
import errno
import socket
import struct
from collections.abc import Callable, Collection, Iterable

from bgp_ipvlan import errors, model, ownership
from bgp_ipvlan.kernel import netlink as nl
from bgp_ipvlan.kernel import pack, readback

METRIC = ownership.ANNOUNCED_METRIC
TABLE = 179
"""Below 253, since more cannot be said in some daemons (FRR's import-table)."""
_SEND = 1024
"""Routes per send: the kernel's answers to all fit the receive buffer."""
_GROUPS = (7, 11)
"""RTNLGRP_IPV4_ROUTE, IPV6_ROUTE."""
_SO_ATTACH_FILTER = 26


class AnnouncedRoutes:
    """See the module.

    Args:
        table: its number.
    """

    def __init__(self, table: int = TABLE) -> None:
        self.table = table
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="announced")
        self._made: set[model.Prefix] = set()
        """What we have written: reading a table that others change may leave something out."""

    async def start(self, on_change: Callable[[], None]) -> None:
        """Open the sockets.

        Args:
            on_change: called on the loop's thread when somebody touched a route of ours.

        Raises:
            errors.KernelError: `kernel-refused`.
        """
        self._loop = asyncio.get_running_loop()
        self._on_change = on_change
        try:
            self._socket = nl.open_socket()
            self._watch = nl.open_socket(receive_buffer=1 << 20)
            self._watch.setblocking(False)
            _attach_filter(self._watch, self._socket.getsockname()[0])
            for group in _GROUPS:
                self._watch.setsockopt(nl.SOL_NETLINK, nl.NETLINK_ADD_MEMBERSHIP, group)
        except OSError as error:
            raise _translated(error) from None
        self._loop.add_reader(self._watch, self._readable)

    async def close(self) -> None:
        """End the thread and close the sockets; the routes stay."""
        self._loop.remove_reader(self._watch)
        self._thread.shutdown()
        self._watch.close()
        self._socket.close()

    async def ensure(
        self, prefixes: Collection[model.Prefix]
    ) -> tuple[int, frozenset[model.Prefix]]:
        """Have exactly these there; the table is read back first.

        Returns:
            How many routes had to be written or deleted, and the prefixes that somebody else has
            a route for under the very key.

        Raises:
            errors.KernelError: `kernel-refused`.
        """
        wanted = frozenset(prefixes)
        # Shielded, so that a cancelled caller leaves no half of it.
        return await asyncio.shield(self._loop.run_in_executor(self._thread, self._ensure, wanted))

    # --- on the thread -----------------------------------------------------------------

    def _ensure(self, wanted: frozenset[model.Prefix]) -> tuple[int, frozenset[model.Prefix]]:
        try:
            good, bad = self._read()
            extra = (good | bad | self._made) - wanted
            missing = wanted - good - bad
            wrong = bad & wanted
            self._send(extra, nl.RTM_DELROUTE, 0)
            self._send(wrong, nl.RTM_NEWROUTE, nl.NLM_F_CREATE | nl.NLM_F_REPLACE)
            refused = self._send(missing, nl.RTM_NEWROUTE, nl.NLM_F_CREATE | nl.NLM_F_EXCL)
            if refused:
                # Or it was ours, and left out of a reading that others' changes disturbed.
                refused -= self._read()[0]
        except OSError as error:
            raise _translated(error) from None
        self._made = set(wanted) - refused
        gone = extra & (good | bad)
        return len(gone) + len(wrong) + len(missing - refused), frozenset(refused)

    def _read(self) -> tuple[set[model.Prefix], set[model.Prefix]]:
        """Our routes in the table: those that are as they should be, and those that are not."""
        good: set[model.Prefix] = set()
        bad: set[model.Prefix] = set()
        for family in model.Family:
            for body in self._entries(family):
                key, metric = readback.key_of(family, body)
                if metric == METRIC:
                    as_made = body[7] == pack.RTN_BLACKHOLE
                    (good if as_made else bad).add(model.prefix(family, key))
        return good, bad

    def _entries(self, family: model.Family) -> list[bytes]:
        """The routes of the table with our protocol; the kernel leaves out the rest."""
        ours = ownership.ROUTE_PROTOCOL
        head = nl.RTMSG.pack(family.af, 0, 0, 0, pack.RT_TABLE_UNSPEC, ours, 0, 0, 0)
        body = head + nl.u32(pack.RTA_TABLE, self.table)
        return nl.table(self._socket, nl.RTM_GETROUTE, body)

    def _send(self, prefixes: Iterable[model.Prefix], kind: int, flags: int) -> set[model.Prefix]:
        """Write or delete; those that EEXIST refuses.

        Raises:
            OSError: another refusal; the rest has been written all the same.
        """
        ordered = sorted(prefixes, key=str)
        taken: set[model.Prefix] = set()
        other = 0
        for start in range(0, len(ordered), _SEND):
            part = ordered[start : start + _SEND]
            data = [self._message(one, kind, flags, number) for number, one in enumerate(part)]
            self._socket.send(b"".join(data))
            for code, sequence in self._refusals():
                if code == errno.EEXIST:
                    taken.add(part[sequence])
                elif code not in {0, errno.ESRCH, errno.ENOENT}:
                    other = code
        if other:
            raise OSError(other, nl.describe(other))
        return taken

    def _refusals(self) -> list[tuple[int, int]]:
        """Errno and sequence number of what was refused: the kernel answers inside `send`."""
        found: list[tuple[int, int]] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data = self._socket.recv(1 << 16, socket.MSG_DONTWAIT)
                for kind, _, body in nl.messages(data):
                    if kind == nl.NLMSG_ERROR:
                        code, request = nl.failed(body)
                        found.append((code, nl.HEADER.unpack_from(request)[3]))
        return found

    def _message(self, prefix: model.Prefix, kind: int, flags: int, sequence: int) -> bytes:
        type_, scope = pack.RTN_BLACKHOLE, pack.RT_SCOPE_UNIVERSE
        if kind == nl.RTM_DELROUTE:
            type_, scope = 0, pack.RT_SCOPE_NOWHERE
        body = nl.RTMSG.pack(
            model.Family.of(prefix).af,
            prefix.prefixlen,
            0,
            0,
            pack.RT_TABLE_UNSPEC,
            ownership.ROUTE_PROTOCOL,
            scope,
            type_,
            0,
        )
        body += nl.attribute(pack.RTA_DST, prefix.network_address.packed)
        body += nl.u32(pack.RTA_PRIORITY, METRIC) + nl.u32(pack.RTA_TABLE, self.table)
        return nl.message(kind, flags, body, sequence)

    # --- what others do ------------------------------------------------------------------

    def _readable(self) -> None:
        touched = False
        while True:
            try:
                data = self._watch.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                touched = True
                continue
            touched = touched or any(
                nl.number(nl.attributes(body, nl.RTMSG.size).get(pack.RTA_PRIORITY, b"")) == METRIC
                for _, _, body in nl.messages(data)
            )
        if touched:
            self._on_change()


async def clear(*, but: int | None = None) -> int:
    """Remove what a daemon with `--engine kernel` has left: for one with another engine, and none.

    Args:
        but: the table that such a daemon uses now; it may have used the other one before.

    Returns:
        How many routes there were.

    Raises:
        errors.KernelError: `kernel-refused`.
    """
    count = 0
    for table in {TABLE, model.MAIN} - {but}:
        routes = AnnouncedRoutes(table)
        await routes.start(lambda: None)
        try:
            count += (await routes.ensure(()))[0]
        finally:
            await routes.close()
    return count


def _translated(error: OSError) -> errors.KernelError:
    text = nl.describe(error.errno or 0)
    return errors.KernelError(
        "kernel-refused", f"the routes for the routing daemon: {text}", error.errno or 0
    )


def _attach_filter(sock: socket.socket, port: int) -> None:
    """Hear of routes with our protocol alone, and not of what we do (classic BPF, linux/filter.h).

    A routing daemon may write a hundred thousand of its own.
    """
    load_word, load_byte, equal, end = 0x20, 0x30, 0x15, 0x06
    # BPF loads in network order what netlink wrote in the host's.
    own = struct.unpack(">I", struct.pack("=I", port))[0]
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (load_word, 0, 0, 12),  # nlmsg_pid
            (equal, 2, 0, own),
            (load_byte, 0, 0, nl.HEADER.size + 5),  # rtm_protocol
            (equal, 1, 0, ownership.ROUTE_PROTOCOL),
            (end, 0, 0, 0),
            (end, 0, 0, 0xFFFFFFFF),
        )
    )
    code = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
