"""Writes routes to the kernel, on a thread of its own.

The kernel handles a route request inside `send`, so when that returns everything in it is
done and every refusal lies in the receive buffer, quoting the request it refuses and its
sequence number, which is its batch's. No acknowledgement is asked for, nothing has to be
remembered per route, and a bad route stops nobody. `send` blocks with the GIL released: the
loop parses the next UPDATE meanwhile.

What concerns nexthop objects goes ahead of the queue where that is safe: where they lead, and
an object that takes all its routes with it. Routes keep their order, and the queue is kept short
(`room`), so that one route does not wait long behind many.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import errno
import functools
import logging
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Iterator

from bgp_ipvlan import model, ports
from bgp_ipvlan.kernel import netlink as nl
from bgp_ipvlan.kernel import nexthops, pack, readback

log = logging.getLogger("bgp_ipvlan")

_HIGH = 20_000
"""Prefixes in the queue from which on there is no room for more: the kernel's work of some 20 ms."""
_SEND = 4096
"""Routes per send: few enough that the kernel's answers to all fit the receive buffer."""

_Work = list[model.RouteBatch] | Callable[[], None]


class Writer:
    """See the module.

    Args:
        sock: a netlink socket, the writer's alone.
        next_hops: nexthop objects.
        objects: whether the kernel has them.
        on_failures: told on the loop's thread of routes the kernel refused.
    """

    def __init__(
        self,
        sock: socket.socket,
        next_hops: nexthops.NextHops,
        *,
        objects: bool,
        on_failures: ports.OnRouteFailures,
    ) -> None:
        self._socket = sock
        self._next_hops = next_hops
        self._objects = objects
        self._on_failures = on_failures
        self._loop = asyncio.get_running_loop()
        self.lock = threading.Lock()
        """Held while something is written: `next_hops` does not change then."""
        self._queue: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._urgent: collections.deque[Callable[[], None]] = collections.deque()
        """Done before whatever is sent next."""
        self._held: list[model.RouteBatch] = []
        """To be queued together: each hand-over costs both threads a change of the GIL."""
        self._held_prefixes = 0
        self._turn: asyncio.Handle | None = None
        self._prefixes = self._replacing = 0
        """How many prefixes wait, as the loop knows it, and how many of them to be replaced."""
        self.room = asyncio.Event()
        """See `ports.Routes`."""
        self.room.set()
        self._retired: set[int] = set()
        """Objects that went ahead of the queue: what is still in there about them is void."""
        self.taken: dict[model.Table, set[model.Nlri]] = collections.defaultdict(set)
        """Keys somebody else has a route under. The books hear of a refusal only when the loop
        turns; what they queued before, as a replacement of ours, must not hit the stranger's."""
        self._answer = bytearray(1 << 16)
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="routes", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write what is queued, stop the thread."""
        self._hand_over()
        self._queue.put(self._end)
        await self._loop.run_in_executor(None, self._thread.join)

    # --- queueing, on the loop's thread ------------------------------------------------

    def write(self, batches: Iterable[model.RouteBatch]) -> None:
        """Queue batches; see `ports.Routes`."""
        for batch in batches:
            at_once = not self._prefixes
            self._prefixes += len(batch.prefixes)
            self._replacing += len(batch.prefixes) if batch.replace else 0
            self._held.append(batch)
            self._held_prefixes += len(batch.prefixes)
            if at_once or self._held_prefixes >= _SEND:
                self._hand_over()
        if self._held and self._turn is None:
            self._turn = self._loop.call_soon(self._hand_over)
        if self._prefixes > _HIGH:
            self.room.clear()

    def _hand_over(self) -> None:
        """To the thread: at once while it has nothing to do, else when it is worth it."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self._held:
            self._queue.put(self._held)
            self._held, self._held_prefixes = [], 0

    def _hurry(self, work: Callable[[], None]) -> None:
        self._urgent.append(work)
        self._queue.put(_nothing)  # wakes the thread

    def lead(self, via: model.Via, next_hops: tuple[model.NextHop, ...]) -> None:
        """See `ports.Routes`. It may go ahead: what is queued then leads there as well.

        But not without objects, where an id may have been retired a moment ago, in order.
        """
        work = functools.partial(self._lead, via.id, next_hops)
        if self._objects:
            self._hurry(work)
        else:
            self._hand_over()
            self._queue.put(work)

    def retire(self, via: model.Via, *, keep: bool) -> None:
        """See `ports.Routes`.

        What is queued about the object before is void once its routes have gone: but not where
        a route that leads elsewhere was to be replaced. Then all goes in order.
        """
        self._hand_over()
        if self._objects and not keep and not self._replacing:
            self._hurry(functools.partial(self._retire, via.id, ahead=True))
        else:
            self._queue.put(functools.partial(self._retire, via.id, keep=keep))

    async def flush(self) -> None:
        """Wait until all that was queued has been answered."""
        done = asyncio.Event()
        self._hand_over()
        self._queue.put(lambda: self._tell(done.set))
        await done.wait()

    def _written(self, batches: list[model.RouteBatch]) -> None:
        for batch in batches:
            self._prefixes -= len(batch.prefixes)
            self._replacing -= len(batch.prefixes) if batch.replace else 0
        if self._prefixes <= _HIGH:
            self.room.set()

    # --- on the thread of its own ------------------------------------------------------------

    def _run(self) -> None:
        while not self._ended:
            work = self._queue.get()
            with self.lock:
                if isinstance(work, list):
                    self._safely(functools.partial(self._write, work), work)
                    self._tell(self._written, work)
                else:
                    self._do_urgent()
                    self._safely(work)
                if self._queue.empty():
                    self._retired.clear()

    def _end(self) -> None:
        self._ended = True

    def _do_urgent(self) -> None:
        while self._urgent:
            self._safely(self._urgent.popleft())

    def _safely(self, work: Callable[[], None], batches: Iterable[model.RouteBatch] = ()) -> None:
        """The thread must outlive one bad batch."""
        try:
            work()
        except Exception as error:
            log.exception("BUG route writer")
            self._refuse(batches, str(error))

    def _lead(self, id_: int, next_hops: tuple[model.NextHop, ...]) -> None:
        messages = self._next_hops.lead(id_, next_hops)
        if self._objects:
            self._send(messages, [])

    def _retire(self, id_: int, *, keep: bool = False, ahead: bool = False) -> None:
        self._next_hops.forget(id_)
        if ahead:
            self._retired.add(id_)
        if self._objects and not keep:
            self._send([pack.delete_nexthop(id_)], [])

    def _write(self, batches: Iterable[model.RouteBatch]) -> None:
        """As much at a time as may be sent, after what is urgent."""
        load: list[model.RouteBatch] = []
        room = _SEND
        for batch in batches:
            if room <= 0 or _hangs_on(batch, load):
                self._load(load)
                load, room = [], _SEND
            for part in self._parts(batch):
                load.append(part)
                room -= len(part.prefixes)
                if room <= 0:
                    self._do_urgent()
                    self._load(load)
                    load, room = [], _SEND
        self._do_urgent()
        self._load(load)

    def _parts(self, batch: model.RouteBatch) -> Iterator[model.RouteBatch]:
        """Parts of at most _SEND prefixes, with what would hit strangers apart."""
        taken = self.taken.get(batch.table)
        theirs: list[model.Nlri] = []
        prefixes = batch.prefixes
        if taken and batch.value is not None and not taken.isdisjoint(prefixes):
            theirs = [prefix for prefix in prefixes if prefix in taken]
            prefixes = [prefix for prefix in prefixes if prefix not in taken]
            taken.difference_update(theirs)
        if not theirs and len(prefixes) <= _SEND:
            yield batch
            return
        for start in range(0, len(theirs), _SEND):
            part = theirs[start : start + _SEND]
            yield dataclasses.replace(batch, prefixes=part, replace=False)
        for start in range(0, len(prefixes), _SEND):
            yield dataclasses.replace(batch, prefixes=prefixes[start : start + _SEND])

    def _load(self, batches: list[model.RouteBatch]) -> None:
        """Send some batches but for what is void, with the objects they need before them."""
        batches = [batch for batch in batches if not self._void(batch)]
        data: list[bytes] = []
        if self._objects:
            for id_ in {batch.value.id for batch in batches if isinstance(batch.value, model.Via)}:
                data += self._next_hops.make(id_)
        ways = None if self._objects else self._next_hops.ways
        for number, batch in enumerate(batches):
            data += pack.routes(batch, number, ways)
        try:
            self._send(data, batches)
        except OSError as error:
            self._refuse(batches, nl.describe(error.errno or 0))

    def _void(self, batch: model.RouteBatch) -> bool:
        if batch.was is not None and batch.was.id in self._retired:
            return True
        if not isinstance(batch.value, model.Via) or batch.value.id in self._next_hops.ways:
            return False
        if batch.value.id not in self._retired:
            self._refuse([batch], "its nexthop object has gone")
        return True

    # --- sending ---------------------------------------------------------------------------

    def _send(self, data: list[bytes], batches: list[model.RouteBatch]) -> None:
        """Send, and read what was refused."""
        if not data:
            return
        self._socket.send(b"".join(data))
        failures: list[model.RouteFailure] = []
        while True:
            try:
                size = self._socket.recv_into(self._answer, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            for kind, _, body in nl.messages(bytes(self._answer[:size])):
                if kind == nl.NLMSG_ERROR:
                    failures += self._refused(*nl.failed(body), batches)
        if failures:
            self._tell(self._on_failures, failures)

    def send_deletions(self, objects: Iterable[int]) -> None:
        """Delete nexthop objects; from any thread that holds the lock."""
        self._send([pack.delete_nexthop(id_) for id_ in objects], [])

    def _refused(
        self, code: int, request: bytes, batches: list[model.RouteBatch]
    ) -> Iterator[model.RouteFailure]:
        _, kind, _, sequence, _ = nl.HEADER.unpack_from(request)
        if kind in {nl.RTM_NEWNEXTHOP, nl.RTM_DELNEXTHOP}:
            if code not in {0, errno.EEXIST, errno.ENOENT}:
                self._object_refused(code, request)
            return
        batch = batches[sequence]
        if code == 0 or (batch.value is None and code in {errno.ESRCH, errno.ENODEV}):
            return
        prefix, _ = readback.key_of(batch.table[0], request[nl.HEADER.size :])
        reason = "kernel-refused"
        if code == errno.EEXIST:
            reason = "foreign-route"
            self.taken[batch.table].add(prefix)
        yield _failure(batch, prefix, reason, nl.describe(code))

    def _object_refused(self, code: int, request: bytes) -> None:
        """The routes that need it will be refused, and tried again; told once until then."""
        found = nl.attributes(request, nl.HEADER.size + nl.NHMSG.size)
        hop = self._next_hops.refused(nl.number(found.get(pack.NHA_ID, b"")))
        if hop is not None:
            log.warning(
                "next hop refused by kernel next_hop=%s reason=kernel-refused error=%s",
                hop,
                nl.describe(code),
            )

    def _refuse(self, batches: Iterable[model.RouteBatch], detail: str) -> None:
        failures = [
            _failure(batch, prefix, "kernel-refused", detail)
            for batch in batches
            for prefix in batch.prefixes
        ]
        if failures:
            self._tell(self._on_failures, failures)

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        self._loop.call_soon_threadsafe(what, *arguments)


def _nothing() -> None:
    """Work that is none."""


def _hangs_on(batch: model.RouteBatch, earlier: list[model.RouteBatch]) -> bool:
    """Whether a replacement must wait until creations have been answered.

    They may be refused because of a stranger's route, which it would overwrite.
    """
    if not batch.replace:
        return False
    prefixes = set(batch.prefixes)
    return any(
        one.table == batch.table
        and not one.replace
        and one.value is not None
        and not prefixes.isdisjoint(one.prefixes)
        for one in earlier
    )


def _failure(
    batch: model.RouteBatch, prefix: model.Nlri, reason: str, detail: str
) -> model.RouteFailure:
    return model.RouteFailure(batch.table, prefix, batch.value, batch.replace, reason, detail)
