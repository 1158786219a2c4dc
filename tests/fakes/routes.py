"""A writer of routes without a kernel: `ports.Routes` on top of `FakeKernel`."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Callable, Iterable

from bgp_ipvlan import errors, model, ownership, ports
from tests.fakes.kernel import STRANGE, FakeKernel, Held, Hops, Shown

__all__ = ["FAULTS", "FakeRoutes", "Hops", "Shown"]

FAULTS = ("create", "replace", "delete", "make", "lead", "retire", "dump")
"""What can fail: routes to set or delete, objects to make, change or delete, and reading."""

_Work = model.RouteBatch | Callable[[], None]


@dataclasses.dataclass
class _Reading:
    """What was read of the kernel, and not yet delivered."""

    ours: dict[model.Table, dict[model.Nlri, Held]]
    foreign: dict[model.Table, model.Foreign]
    objects: dict[int, tuple[model.NextHop, ...]]
    strangers: dict[int, tuple[model.NextHop, ...]]
    borrowed: model.Borrowed | None


class FakeRoutes:
    """Implements `ports.Routes` as a kernel and its writer would.

    What is written is there at once, unless the writer is `held`: then it is queued until
    `work`. What is refused is told a turn of the loop later.

    Args:
        nexthop_objects: whether this kernel has them.
    """

    def __init__(self, *, nexthop_objects: bool = True) -> None:
        self.nexthop_objects = nexthop_objects
        self.on_failures: ports.OnRouteFailures = lambda _failures: None
        """Told of each refused route."""
        self.led_to = {255, model.MAIN, 253}
        """The tables that rules lead to, beside those of VRFs."""
        self.rules_fail = False
        self.kernel = FakeKernel()
        self.written: list[model.RouteBatch] = []
        """Since the start, as done."""
        self.led: list[tuple[int, tuple[model.NextHop, ...]]] = []
        self.retired: list[int] = []
        self.refused: list[model.RouteFailure] = []
        self.during_dump: Callable[[], None] | None = None
        """Called once, after the next dump was taken and before it is delivered."""
        self.after_flush: Callable[[], None] | None = None
        """Called once, when the next flush is over and before whoever waits for it goes on."""
        self.delivering = asyncio.Event()
        """While it is not set readings are taken, but not delivered."""
        self.delivering.set()
        self.held = False
        self.ways: dict[int, tuple[model.NextHop, ...]] = {}
        """Where ids lead, as the writer was told."""
        self._made: set[int] = set()
        """Objects made since the kernel is being read."""
        self._queue: collections.deque[_Work] = collections.deque()
        self._urgent: collections.deque[Callable[[], None]] = collections.deque()
        """What concerns objects, and goes ahead of the queue."""
        self._void: set[int] = set()
        """Objects that went ahead of the queue."""
        self._taken: dict[model.Table, set[model.Nlri]] = collections.defaultdict(set)
        """Keys that somebody else had: a replacement in the queue must not hit his route."""
        self._refuse: set[model.Prefix] = set()
        self._faults: set[str] = set()

    @property
    def ours(self) -> dict[model.Table, dict[model.Nlri, Held]]:
        """Routes of ours in the kernel."""
        return self.kernel.ours

    @property
    def foreign(self) -> dict[model.Table, model.Foreign]:
        """Others'."""
        return self.kernel.foreign

    # --- what a test does to the world --------------------------------------------------

    def fail(self, *prefixes: model.Prefix) -> None:
        """The next write of each of these fails."""
        self._refuse.update(prefixes)

    def fail_next(self, kind: str) -> None:
        """The next call of that kind (`FAULTS`) fails."""
        assert kind in FAULTS
        self._faults.add(kind)

    def pending(self) -> frozenset[str]:
        """Faults ordered that have not happened."""
        return frozenset(self._faults)

    def forget(self, *kinds: str) -> None:
        """These need not happen any more."""
        self._faults.difference_update(kinds)

    def crash(self) -> None:
        """The process ends: what the writer knew and had not yet done is gone."""
        self._queue.clear()
        self._urgent.clear()
        self._void.clear()
        self._taken.clear()
        self.ways.clear()
        self.during_dump = self.after_flush = None
        self.written.clear()
        self.retired.clear()
        self.refused.clear()

    @property
    def busy(self) -> bool:
        """Whether something is queued."""
        return bool(self._urgent or self._queue)

    def check_consumed(self) -> None:
        """Every failure ordered has happened."""
        assert not self._refuse, f"never written: {self._refuse}"
        assert not self._faults, f"never called: {self._faults}"

    def put_foreign(
        self,
        prefix: model.Prefix,
        text: str = "proto static via 192.0.2.1",
        *,
        metric: int = 0,
        table: int = model.MAIN,
    ) -> None:
        """Somebody else makes a route."""
        where = model.Family.of(prefix), table
        self.kernel.put_foreign(where, model.nlri(prefix), metric, model.ForeignRoute(text))

    def drop_foreign(self, prefix: model.Prefix, *, table: int = model.MAIN) -> None:
        """Somebody else's routes for a prefix go."""
        del self.foreign[model.Family.of(prefix), table][model.nlri(prefix)]

    def lose(self, prefix: model.Prefix, *, table: int = model.MAIN) -> None:
        """A route of ours goes without a word, as IPv4 routes do when a link goes down."""
        del self.ours[model.Family.of(prefix), table][model.nlri(prefix)]

    def put(self, prefix: model.Prefix, value: Shown, *, table: int = model.MAIN) -> None:
        """A route with our marks that we did not write, or not in this life."""
        real: Held = value
        if isinstance(value, Hops) and self.nexthop_objects:
            ids = ownership.GROUP_IDS if len(value.next_hops) > 1 else ownership.SINGLE_IDS
            objects = self.kernel.objects
            id_ = next(i for i in ids if objects.get(i, value.next_hops) == value.next_hops)
            objects[id_] = value.next_hops
            real = model.Via(id_)
        self.ours[model.Family.of(prefix), table][model.nlri(prefix)] = real

    def table(self, number: int = model.MAIN) -> dict[model.Prefix, Shown]:
        """Our routes, readable."""
        return {
            model.prefix(family, key): self.kernel.shown(value)
            for (family, table), routes in self.ours.items()
            for key, value in routes.items()
            if table == number
        }

    def work(self) -> bool:
        """Do what is urgent, and then one more of what is queued; whether there was anything."""
        some = bool(self._urgent or self._queue)
        while self._urgent:
            self._do(self._urgent.popleft())
        if self._queue:
            self._do(self._queue.popleft())
        if not self._queue:
            self._void.clear()
        return some

    # --- ports.Routes: writing ------------------------------------------------------------

    def write(self, batches: Iterable[model.RouteBatch]) -> None:
        """Set or delete."""
        for batch in batches:
            assert batch.prefixes, "an empty batch"
            self._queue.append(batch)
        self._unless_held()

    def lead(self, via: model.Via, next_hops: tuple[model.NextHop, ...]) -> None:
        """Make or change an object, ahead of the queue where there are objects."""
        # Without objects it concerns only what is written from now on, and an id may be used again.
        if self.nexthop_objects:
            self._urgent.append(lambda: self._lead(via.id, next_hops))
        else:
            self._queue.append(lambda: self._lead(via.id, next_hops))
        self._unless_held()

    def retire(self, via: model.Via, *, keep: bool) -> None:
        """Delete an object, and what points at it; ahead of the queue where that is safe."""
        replacing = any(isinstance(w, model.RouteBatch) and w.replace for w in self._queue)
        if self.nexthop_objects and not keep and not replacing:
            self._urgent.append(lambda: self._retire(via.id, ahead=True))
        else:
            self._queue.append(lambda: self._retire(via.id, keep=keep))
        self._unless_held()

    async def flush(self) -> None:
        """Return after all refusals so far were told; a writer that is held works now."""
        while self.work():
            pass
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.call_soon(told.set)
        if self.after_flush is not None:
            change, self.after_flush = self.after_flush, None
            loop.call_soon(change)
        await told.wait()

    @property
    def room(self) -> asyncio.Event:
        """There is always room."""
        room = asyncio.Event()
        room.set()
        return room

    async def rules(self) -> dict[model.Family, model.Rules]:
        """As a host has them that nobody touched, unless a test did."""
        if self.rules_fail:
            raise errors.KernelError("kernel-refused", "rules fail by order", 5)
        return {family: model.Rules(frozenset(self.led_to), l3mdev=True) for family in model.Family}

    def _unless_held(self) -> None:
        while not self.held and self.work():
            pass

    def _do(self, work: _Work) -> None:
        if not isinstance(work, model.RouteBatch):
            work()
            return
        if work.was is not None and work.was.id in self._void:
            return
        if isinstance(work.value, model.Via):
            if work.value.id not in self.ways:
                assert work.value.id in self._void, "a route through an object nobody made"
                return
            self._make(work.value.id)
        self.written.append(work)
        failures = [
            model.RouteFailure(work.table, key, work.value, work.replace, reason, "by order")
            for key in work.prefixes
            if (reason := self._write(work, key))
        ]
        if failures:
            self.refused += failures
            asyncio.get_running_loop().call_soon(self.on_failures, failures)

    def _write(self, batch: model.RouteBatch, key: model.Nlri) -> str:
        """Do one route; the reason it cannot be, or an empty text."""
        prefix = model.prefix(batch.table[0], key)
        kind = "delete" if batch.value is None else "replace" if batch.replace else "create"
        taken = self._taken[batch.table]
        replace = batch.replace and key not in taken
        if self._fault(kind) or prefix in self._refuse:
            self._refuse.discard(prefix)
            return "kernel-refused"
        if batch.value is None:
            self.kernel.delete(batch.table, key)
            return ""
        taken.discard(key)
        value: Held = batch.value
        if isinstance(value, model.Via) and not self.nexthop_objects:
            value = Hops(self.ways[value.id])
        reason = self.kernel.set(batch.table, key, value, replace=replace)
        if reason == "foreign-route":
            taken.add(key)
        return reason

    def _make(self, id_: int) -> None:
        self._made.add(id_)
        if self.nexthop_objects and id_ not in self.kernel.objects and not self._fault("make"):
            self.kernel.make_object(id_, self.ways[id_], replace=False)

    def _lead(self, id_: int, next_hops: tuple[model.NextHop, ...]) -> None:
        self.led.append((id_, next_hops))
        before, self.ways[id_] = self.ways.get(id_, next_hops), next_hops
        if self.nexthop_objects and before != next_hops:
            self._made.add(id_)
            if not self._fault("lead"):
                self.kernel.make_object(id_, next_hops, replace=True)

    def _retire(self, id_: int, *, keep: bool = False, ahead: bool = False) -> None:
        self.retired.append(id_)
        self.ways.pop(id_, None)
        if ahead:
            self._void.add(id_)
        if self.nexthop_objects and not keep and not self._fault("retire"):
            self.kernel.delete_object(id_)

    def _fault(self, kind: str) -> bool:
        ordered = kind in self._faults
        self._faults.discard(kind)
        return ordered

    # --- ports.Routes: reading back ----------------------------------------------------------

    async def dump(self, believed: model.Believed, *, everywhere: bool = False) -> model.RouteDump:
        """What is there; objects that nothing uses go."""
        if self._fault("dump"):
            raise errors.KernelError("dump-interrupted", "by order", 4)
        self._made.clear()
        tables = [*believed, *(self.ours if everywhere else ())]
        reading = _Reading(
            {table: dict(self.ours[table]) for table in tables},
            {table: {k: dict(r) for k, r in self.foreign[table].items()} for table in believed},
            dict(self.kernel.objects),
            dict(self.kernel.strangers),
            # All tables are looked into only when there is a reason.
            self.kernel.borrowed() if everywhere or self._unknown() else None,
        )
        if self.during_dump is not None:
            change, self.during_dump = self.during_dump, None
            change()
        await asyncio.sleep(0)
        await self.delivering.wait()
        return self._deliver(reading, believed)

    def _deliver(self, reading: _Reading, believed: model.Believed) -> model.RouteDump:
        there = {
            table: {key: self._read(value, reading) for key, value in routes.items()}
            for table, routes in reading.ours.items()
        }
        drift = {
            table: {
                key: routes.get(key)
                for key in routes.keys() | believed.get(table, {}).keys()
                if routes.get(key) != believed.get(table, {}).get(key)
                and not (key not in routes and self._went(believed[table][key], reading))
            }
            for table, routes in there.items()
        }
        for table, changed in drift.items():
            self._taken[table].difference_update(changed)
        objects = self._sweep_objects(reading) if self.nexthop_objects else self.ways
        self.kernel.known |= reading.strangers.keys() & self.kernel.strangers.keys()
        return model.RouteDump(
            drift,
            reading.foreign,
            {model.Via(id_): hops for id_, hops in objects.items()},
            frozenset(reading.strangers),
            reading.borrowed,
        )

    def _went(self, value: model.RouteValue, reading: _Reading) -> bool:
        """Whether a route went with its object, which is told of the object alone."""
        gone = isinstance(value, model.Via) and value.id not in reading.objects
        return self.nexthop_objects and gone

    def _unknown(self) -> bool:
        """Whether there are objects that may have to go."""
        return not self.kernel.objects.keys() <= self.ways.keys()

    def _read(self, value: Held, reading: _Reading) -> model.RouteValue:
        if isinstance(value, Hops):
            return model.Via(self._plain_id(value.next_hops))
        if isinstance(value, model.Via) and value.id not in reading.objects:
            return STRANGE
        return value

    def _plain_id(self, next_hops: tuple[model.NextHop, ...]) -> int:
        """The id that stands for what a route carries itself."""
        ids = ownership.GROUP_IDS if len(next_hops) > 1 else ownership.SINGLE_IDS
        known = (id_ for id_, hops in self.ways.items() if hops == next_hops)
        found = next(known, None) or next(i for i in reversed(ids) if i not in self.ways)
        self.ways[found] = next_hops
        return found

    def _sweep_objects(self, reading: _Reading) -> dict[int, tuple[model.NextHop, ...]]:
        """Delete those that nothing uses; the others."""
        needed = self._made | self.ways.keys()
        for routes in reading.ours.values():
            needed |= {value.id for value in routes.values() if isinstance(value, model.Via)}
        needed |= set((reading.borrowed or {}).values())
        changed = reading.objects.keys() & self.ways.keys() - self._made
        self.ways.update({id_: reading.objects[id_] for id_ in changed})
        for id_ in reading.objects.keys() - needed:
            self.kernel.delete_object(id_)
        return {id_: hops for id_, hops in reading.objects.items() if id_ in needed}
