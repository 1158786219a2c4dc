"""The kernel's routes: a writer on a thread of its own, and reading back (`ports.Routes`).

The kernel handles a route request inside `send`, so when that returns everything in it is
done and every refusal lies in the receive buffer, quoting the request it refuses. No
acknowledgement is asked for, nothing has to be remembered, and a bad route stops nobody.
`send` blocks with the GIL released: the loop parses the next UPDATE meanwhile.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import logging
import queue
import socket
import threading
from collections.abc import Iterable

from bgp_ipvlan import errors, model, ports
from bgp_ipvlan.kernel import netlink as nl
from bgp_ipvlan.kernel import nexthops, pack, readback

log = logging.getLogger("bgp_ipvlan")

_HIGH = 50_000
"""Prefixes in the queue from which on `drained` waits."""
_DUMP_TRIES = 5


class KernelRoutes:
    """See the module.

    Args:
        on_failure: told on the loop's thread of each route the kernel refused.
        nexthop_objects: whether to use them where the kernel has them (5.3 and later).
    """

    def __init__(self, on_failure: ports.OnRouteFailure, *, nexthop_objects: bool = True) -> None:
        self._on_failure = on_failure
        self._queue: queue.SimpleQueue[model.RouteBatch | asyncio.Event | None]
        self._queue = queue.SimpleQueue()
        self._queued = 0
        self._room = asyncio.Event()
        self._lock = threading.Lock()
        self._next_hops = nexthops.NextHops()
        self._objects = nexthop_objects
        self._taken: dict[model.Family, set[model.Nlri]] = {f: set() for f in model.Family}
        """Keys somebody else has a route under. The books hear of a refusal only when the loop
        turns; what they queued before, as a replacement of ours, must not hit the stranger's."""
        self._thread = threading.Thread(target=self._run, name="routes", daemon=True)

    async def start(self) -> None:
        """Open the socket, look whether the kernel has nexthop objects, start the writer.

        Raises:
            errors.KernelError: `no-permission` and the like.
        """
        self._loop = asyncio.get_running_loop()
        self._room.set()
        self._socket = nl.open_socket()
        self.port: int = self._socket.getsockname()[0]
        """Netlink port id of the writer: notifications that carry it are our own doing."""
        try:
            if self._objects:
                nl.dump(self._socket, nl.RTM_GETNEXTHOP, nl.NHMSG.pack(0, 0, 0, 0, 0))
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                self._socket.close()
                raise errors.KernelError(
                    "kernel-refused", f"cannot read routes: {error.strerror}", error.errno or 0
                ) from None
            log.info("kernel has no nexthop objects, routes carry their gateways")
            self._objects = False
        self._thread.start()

    async def close(self) -> None:
        """Write what is queued, stop the thread."""
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        self._socket.close()

    # --- writing -------------------------------------------------------------------

    def write(self, batches: Iterable[model.RouteBatch]) -> None:
        """Queue batches; see `ports.Routes`."""
        for batch in batches:
            self._queued += len(batch.prefixes)
            self._queue.put(batch)
        if self._queued > _HIGH:
            self._room.clear()

    async def flush(self) -> None:
        """Wait until all that was queued has been answered."""
        done = asyncio.Event()
        self._queue.put(done)
        await done.wait()

    async def drained(self) -> None:
        """Wait until there is room."""
        await self._room.wait()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, asyncio.Event):
                self._loop.call_soon_threadsafe(item.set)
                continue
            try:
                with self._lock:
                    self._write(item)
            except Exception as error:  # the thread must outlive one bad batch
                log.exception("route batch failed")
                self._refuse(item, item.prefixes, str(error))
            self._loop.call_soon_threadsafe(self._written, len(item.prefixes))

    def _written(self, count: int) -> None:
        self._queued -= count
        if self._queued <= _HIGH:
            self._room.set()

    def _write(self, batch: model.RouteBatch) -> None:
        taken = self._taken[batch.family]
        if batch.replace and taken and not taken.isdisjoint(batch.prefixes):
            theirs = [prefix for prefix in batch.prefixes if prefix in taken]
            ours = [prefix for prefix in batch.prefixes if prefix not in taken]
            self._write(dataclasses.replace(batch, prefixes=theirs, replace=False))
            self._write(dataclasses.replace(batch, prefixes=ours))
            return
        if taken and batch.value is not None:
            taken.difference_update(batch.prefixes)
        if self._objects and isinstance(batch.value, model.Via):
            self._send(b"".join(self._next_hops.prepare(batch.value)), None)
        for data, prefixes in pack.routes(batch, self._next_hops.ids if self._objects else {}):
            try:
                self._send(data, batch)
            except OSError as error:
                self._refuse(batch, prefixes, nl.describe(error.errno or 0))

    def _send(self, data: bytes, batch: model.RouteBatch | None) -> None:
        """Send, and read what was refused. Without a batch: nexthop objects."""
        self._socket.send(data)
        while True:
            try:
                answer = self._socket.recv(1 << 18, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            for kind, _, body in nl.messages(answer):
                if kind == nl.NLMSG_ERROR:
                    self._answer(*nl.failed(body), batch)

    def _answer(self, code: int, request: bytes, batch: model.RouteBatch | None) -> None:
        if batch is None:
            if code not in {0, errno.EEXIST}:
                # The routes that need it will be refused, and tried again.
                log.warning("nexthop object refused error=%s", nl.describe(code))
            return
        if code == 0 or (batch.value is None and code in {errno.ESRCH, errno.ENODEV}):
            return
        prefix, _ = readback.key_of(batch.family, request[nl.HEADER.size :])
        reason = "kernel-refused"
        if code == errno.EEXIST:
            reason = "foreign-route"
            self._taken[batch.family].add(prefix)
        self._tell([prefix], batch, reason, nl.describe(code))

    def _refuse(self, batch: model.RouteBatch, prefixes: list[model.Nlri], detail: str) -> None:
        self._tell(prefixes, batch, "kernel-refused", detail)

    def _tell(
        self, prefixes: list[model.Nlri], batch: model.RouteBatch, reason: str, detail: str
    ) -> None:
        for prefix in prefixes:
            failure = model.RouteFailure(
                batch.family, prefix, batch.value, batch.replace, reason, detail
            )
            self._loop.call_soon_threadsafe(self._on_failure, failure)

    # --- reading back -----------------------------------------------------------------

    async def dump(self) -> model.RouteDump:
        """Read the main table; delete nexthop objects that nothing uses."""
        return await self._loop.run_in_executor(None, self._dump)

    def _dump(self) -> model.RouteDump:
        """On a thread, with a socket of its own."""
        with self._lock:
            self._next_hops.watch()
        try:
            with nl.open_socket() as sock:
                found = self._read_objects(sock)
                readers = {
                    family: self._read(sock, family, found.values) for family in model.Family
                }
        except OSError as error:
            raise errors.KernelError(
                "kernel-refused", f"cannot read routes: {error.strerror}", error.errno or 0
            ) from None
        in_use = set().union(*(reader.in_use for reader in readers.values()))
        with self._lock:
            unused = self._next_hops.observe(found, in_use)
            if unused:
                self._send(b"".join(unused), None)
            for family, reader in readers.items():
                # Refused because of a route that is ours after all: it may be replaced.
                self._taken[family].difference_update(reader.ours)
        return model.RouteDump(
            {family: reader.ours for family, reader in readers.items()},
            {family: reader.foreign for family, reader in readers.items()},
        )

    def _read_objects(self, sock: socket.socket) -> nexthops.Objects:
        if not self._objects:
            return nexthops.parse([])
        body = nl.NHMSG.pack(0, 0, 0, 0, 0)
        return nexthops.parse(_whole(sock, nl.RTM_GETNEXTHOP, body))

    def _read(
        self, sock: socket.socket, family: model.Family, values: dict[int, model.Via]
    ) -> readback.Reader:
        body = nl.RTMSG.pack(family.af, 0, 0, 0, pack.RT_TABLE_MAIN, 0, 0, 0, 0)
        reader = readback.Reader(family, values)
        for data in _whole(sock, nl.RTM_GETROUTE, body):
            reader.read(data)
        return reader


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
