"""The kernel's routes: written by a thread of its own (`writer`), and read back here (`ports.Routes`)."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import socket
from collections.abc import Collection, Iterable, Mapping

from bgp_ipvlan import errors, model, ownership, ports
from bgp_ipvlan.kernel import netlink as nl
from bgp_ipvlan.kernel import nexthops, pack, readback, rules
from bgp_ipvlan.kernel.writer import Writer

log = logging.getLogger("bgp_ipvlan")

_DUMP_TRIES = 5


class KernelRoutes:
    """See the module.

    Args:
        on_failures: told on the loop's thread of routes the kernel refused.
        nexthop_objects: whether to use them where the kernel has them (5.3 and later).
    """

    def __init__(self, on_failures: ports.OnRouteFailures, *, nexthop_objects: bool = True) -> None:
        self._on_failures = on_failures
        self._next_hops = nexthops.NextHops()
        self.nexthop_objects = nexthop_objects

    async def start(self) -> None:
        """Open the socket, look whether the kernel has nexthop objects, start the writer.

        Raises:
            errors.KernelError: `no-permission` and the like.
        """
        self._loop = asyncio.get_running_loop()
        self._socket = nl.open_socket()
        self.port: int = self._socket.getsockname()[0]
        """Netlink port id of the writer: notifications that carry it are our own doing."""
        try:
            if self.nexthop_objects:
                nl.dump(self._socket, nl.RTM_GETNEXTHOP, nl.NHMSG.pack(0, 0, 0, 0, 0))
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                self._socket.close()
                raise errors.KernelError(
                    "kernel-refused", f"cannot read routes: {error.strerror}", error.errno or 0
                ) from None
            log.info("kernel has no nexthop objects, routes carry their gateways")
            self.nexthop_objects = False
        self._writer = Writer(
            self._socket,
            self._next_hops,
            objects=self.nexthop_objects,
            on_failures=self._on_failures,
        )

    async def close(self) -> None:
        """Write what is queued, stop the thread."""
        await self._writer.close()
        self._socket.close()

    # --- writing -----------------------------------------------------------------------

    def write(self, batches: Iterable[model.RouteBatch]) -> None:
        """Queue batches; see `ports.Routes`."""
        self._writer.write(batches)

    def lead(self, via: model.Via, next_hops: tuple[model.NextHop, ...]) -> None:
        """Queue it; see `ports.Routes`."""
        self._writer.lead(via, next_hops)

    def retire(self, via: model.Via, *, keep: bool) -> None:
        """Queue it; see `ports.Routes`."""
        self._writer.retire(via, keep=keep)

    async def flush(self) -> None:
        """Wait until all that was queued has been answered."""
        await self._writer.flush()

    @property
    def room(self) -> asyncio.Event:
        """Set while more can be taken."""
        return self._writer.room

    # --- reading back -----------------------------------------------------------------

    async def dump(self, believed: model.Believed, *, everywhere: bool = False) -> model.RouteDump:
        """Read tables; delete nexthop objects that nothing uses. See `ports.Routes`."""
        return await self._loop.run_in_executor(None, self._dump, believed, everywhere)

    async def rules(self) -> Mapping[model.Family, model.Rules]:
        """Read the rules; see `ports.Routes`."""
        return await self._loop.run_in_executor(None, _rules)

    def _dump(self, believed: model.Believed, everywhere: bool) -> model.RouteDump:
        """On a thread, with a socket of its own."""
        with self._writer.lock:
            self._next_hops.watch()
        try:
            with nl.open_socket() as sock:
                found = self._read_objects(sock)
                plain = None if self.nexthop_objects else self._plain_id
                readers = {
                    table: readback.Reader(table[0], ours, found.ways, plain)
                    for table, ours in believed.items()
                }
                partial = frozenset(
                    table for table, reader in readers.items() if not _read(sock, table, reader)
                )
                strays = self._strays(sock, found, readers.keys()) if everywhere else {}
                objects, borrowed = self._tidy(sock, found, look=everywhere)
        except OSError as error:
            raise errors.KernelError(
                "kernel-refused", f"cannot read routes: {error.strerror}", error.errno or 0
            ) from None
        drift = {table: reader.drift for table, reader in (*readers.items(), *strays.items())}
        with self._writer.lock:
            for table, prefixes in drift.items():
                # Refused because of a route that is ours after all: it may be replaced.
                self._writer.taken[table].difference_update(prefixes)
        foreign = {table: reader.foreign for table, reader in readers.items()}
        lent = {m for id_, ms in found.members.items() if id_ not in found.ours for m in ms}
        return model.RouteDump(
            drift,
            foreign,
            objects,
            found.strangers,
            borrowed,
            grouped=frozenset(lent & found.ours),
            partial=partial,
        )

    def _read_objects(self, sock: socket.socket) -> nexthops.Objects:
        if not self.nexthop_objects:
            return nexthops.parse([])
        return nexthops.parse(_whole(sock, nl.RTM_GETNEXTHOP, nl.NHMSG.pack(0, 0, 0, 0, 0)))

    def _plain_id(self, next_hops: tuple[model.NextHop, ...]) -> int:
        with self._writer.lock:
            return self._next_hops.plain_id(next_hops)

    def _strays(
        self, sock: socket.socket, found: nexthops.Objects, known: Collection[model.Table]
    ) -> dict[model.Table, readback.Reader]:
        """Routes of ours in tables where we do not expect any: an earlier run had others."""
        strays: dict[model.Table, readback.Reader] = {}
        for family in model.Family:
            answers = _whole(sock, nl.RTM_GETROUTE, pack.which_of_ours(family))
            plain = None if self.nexthop_objects else self._plain_id
            for number in readback.tables(answers):
                if (family, number) not in known:
                    reader = readback.Reader(family, {}, found.ways, plain)
                    reader.read(answers, only=number)
                    strays[family, number] = reader
        return strays

    def _tidy(
        self, sock: socket.socket, found: nexthops.Objects, *, look: bool
    ) -> tuple[dict[model.Via, tuple[model.NextHop, ...]], model.Borrowed | None]:
        """Delete the objects that nothing uses.

        Returns:
            The others, and where they lead; and, if there was a reason to `look` into all tables,
            whose routes use ours.
        """
        # Without a look nothing is known of others, and so nothing is deleted: also not what has
        # been retired since, and was left because others use it.
        in_use: set[int] = set(found.ours)
        borrowed: model.Borrowed | None = None
        # What groups have as members goes with them, and is not worth reading everything for.
        members = itertools.chain.from_iterable(found.members.values())
        unknown = found.ours.difference(self._next_hops.ways, members)
        if look or unknown:
            in_use, borrowed = set(), {}
            for family in model.Family:
                answers, complete = _answers(sock, family, pack.which_of_all(family))
                # Better a useless object too many than somebody's route too few.
                in_use |= readback.in_use(answers) if complete else found.ours
                borrowed |= readback.borrowed(family, answers)
        with self._writer.lock:
            unused = self._next_hops.observe(found, in_use)
            self._writer.send_deletions(unused)
            left = found.ways if self.nexthop_objects else self._next_hops.ways
            objects = {
                model.Via(id_): way
                for id_, way in left.items()
                if id_ not in unused and id_ not in ownership.MEMBER_IDS
            }
        return objects, borrowed


def _rules() -> dict[model.Family, model.Rules]:
    try:
        with nl.open_socket() as sock:
            return {family: rules.read(sock, family) for family in model.Family}
    except OSError as error:
        raise errors.KernelError(
            "kernel-refused", f"cannot read rules: {error.strerror}", error.errno or 0
        ) from None


def _read(sock: socket.socket, table: model.Table, reader: readback.Reader) -> bool:
    """Read a table; whether that is all of it."""
    answers, complete = _answers(sock, table[0], pack.which(table))
    reader.read(answers, complete=complete)
    return complete


def _answers(sock: socket.socket, family: model.Family, request: bytes) -> tuple[list[bytes], bool]:
    """Read routes; and whether those are all.

    When an IPv6 table changes meanwhile the kernel begins at its root again and leaves out as many
    routes as it has given, whichever these are now, without a word (inet6_dump_fib,
    net/ipv6/ip6_fib.c). So changes are listened for, and it is read until there are none.
    """
    if family is model.Family.IPV4:
        return _whole(sock, nl.RTM_GETROUTE, request), True
    answers: list[bytes] = []
    with nl.open_socket(receive_buffer=1 << 16) as changes:
        changes.setsockopt(nl.SOL_NETLINK, nl.NETLINK_ADD_MEMBERSHIP, nl.RTNLGRP_IPV6_ROUTE)
        for _ in range(_DUMP_TRIES):
            answers = _whole(sock, nl.RTM_GETROUTE, request)
            if _quiet(changes):
                return answers, True
    return answers, False


def _quiet(changes: socket.socket) -> bool:
    """Whether nothing was said since this was last asked."""
    quiet = True
    while True:
        try:
            changes.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return quiet
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
        quiet = False


def _whole(sock: socket.socket, kind: int, body: bytes) -> list[bytes]:
    """Read a table in a way that nothing interrupted."""
    answers: list[bytes] | None = None
    for _ in range(_DUMP_TRIES):
        answers = nl.dump(sock, kind, body)
        if answers is not None:
            return answers
    raise errors.KernelError(
        "dump-interrupted", "the routing table changes faster than it can be read", errno.EINTR
    )
