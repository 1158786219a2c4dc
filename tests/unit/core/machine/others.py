"""What others do to the kernel behind our back, and how the kernel fails and keeps us waiting."""

from __future__ import annotations

import ipaddress

from hypothesis import stateful
from hypothesis import strategies as st

from bgp_ipvlan import model, ownership
from tests.fakes import routes as routes_
from tests.unit.core import conftest as c
from tests.unit.core.machine import base

_OFTEN = 3
"""So often in a while `repairs` answers at once."""


class Others(base.Base):
    """See the module."""

    # --- others -----------------------------------------------------------------------------------

    @stateful.rule(
        where=base.keys,
        ours=st.booleans(),
        through=st.integers(-6, 3),
        silent=st.booleans(),
    )
    def foreign_comes(
        self, where: tuple[int, model.Prefix], ours: bool, through: int, silent: bool
    ) -> None:
        """Somebody makes or changes a route; with our metric, or through our object."""
        (number, prefix), metric = where, ownership.ROUTE_METRIC if where and ours else 0
        ids = sorted(self.routes.kernel.objects.keys() & self.routes.ways.keys())
        id_ = ids[through % len(ids)] if through >= 0 and ids else 0
        special = bool(metric or id_)
        if special and not self.quiet:
            return
        self.count += 1
        route = model.ForeignRoute(f"proto static via 192.0.2.9 #{self.count}", nexthop_id=id_)
        table = model.Family.of(prefix), number
        self.foreign.setdefault(table, {}).setdefault(model.nlri(prefix), {})[metric] = route
        self.routes.kernel.put_foreign(table, model.nlri(prefix), metric, route)
        self._tell_foreign(table, model.nlri(prefix), metric, route, silent and not special)

    @stateful.rule(number=st.integers(0, 20), silent=st.booleans())
    def foreign_goes(self, number: int, silent: bool) -> None:
        """And takes one away."""
        found = [
            (table, key, metric)
            for table, routes in self.foreign.items()
            for key, by_metric in routes.items()
            for metric in by_metric
        ]
        if found:
            table, key, metric = found[number % len(found)]
            del self.foreign[table][key][metric]
            if not self.foreign[table][key]:
                del self.foreign[table][key]
            self.routes.kernel.drop_foreign(table, key, metric)
            self._tell_foreign(table, key, metric, None, silent)

    def _tell_foreign(
        self,
        table: model.Table,
        key: model.Nlri,
        metric: int,
        route: model.ForeignRoute | None,
        silent: bool,
    ) -> None:
        async def main() -> None:
            if not silent:
                self.world.core.foreign_route(table, key, metric, route)

        self.run(main())
        # A key of our metric that is free again is tried at the next retry.
        self.certain = self.certain and not silent and not metric

    @stateful.rule(number=st.integers(0, 30), how=st.sampled_from(["gone", "changed", "silent"]))
    def ours_touched(self, number: int, how: str) -> None:
        """Somebody deletes or changes a route of ours."""
        found = [(t, key) for t, routes in self.routes.ours.items() for key in routes]
        if found:
            table, key = found[number % len(found)]
            if how == "changed":
                self.routes.ours[table][key] = model.Device(1)
            else:
                del self.routes.ours[table][key]
            self._tell_touched(table, key, how)

    @stateful.rule(prefix=st.sampled_from(base.FOUR), how=st.sampled_from(["changed", "silent"]))
    def ours_appears(self, prefix: model.Prefix, how: str) -> None:
        """A route with our marks that we never made."""
        table, key = c.MAIN, model.nlri(prefix)
        theirs = self.routes.foreign[table].get(key, {})
        if key not in self.routes.ours[table] and ownership.ROUTE_METRIC not in theirs:
            self.routes.ours[table][key] = model.Device(1)
            self._tell_touched(table, key, how)

    def _tell_touched(self, table: model.Table, key: model.Nlri, how: str) -> None:
        async def main() -> None:
            if how != "silent":
                self.world.core.own_route_touched(table, key, present=how == "changed")

        self._often()
        # What is queued may meet a route that nobody told of.
        self.certain = self.certain and how != "silent" and self.quiet
        self.run(main())

    @stateful.rule(number=st.integers(0, 9), how=st.sampled_from(["gone", "changed", "taken"]))
    def object_touched(self, number: int, how: str) -> None:
        """Somebody deletes or changes a nexthop object of ours, or makes it his own."""
        kernel = self.routes.kernel
        objects = sorted(kernel.objects)
        if not objects or not self.quiet:
            return
        id_ = objects[number % len(objects)]
        if how == "gone":
            kernel.lose_object(id_)
            self._foreign_went()
        elif how == "taken":
            kernel.take_object(id_, kernel.objects[id_])
        else:
            kernel.objects[id_] = (model.NextHop(ipaddress.ip_address("192.0.2.66"), 3),)
        self._tell_objects()

    @stateful.rule(number=st.integers(0, 9))
    def stranger_goes(self, number: int) -> None:
        """Whoever has one of our ids gives it back."""
        kernel = self.routes.kernel
        if kernel.strangers and self.quiet:
            id_ = sorted(kernel.strangers)[number % len(kernel.strangers)]
            del kernel.strangers[id_]
            kernel.known.discard(id_)
            kernel.lose_object(id_)
            self._foreign_went()
            self._tell_objects()

    def _tell_objects(self) -> None:
        self._often()

        async def main() -> None:
            self.world.core.nexthop_touched()

        self.run(main())

    def _often(self) -> None:
        """Whoever goes against us again and again has to wait."""
        self.touches += 1
        self.certain = self.certain and self.touches <= _OFTEN

    # --- the writer, the reader, faults, time --------------------------------------------------------

    @stateful.rule(held=st.booleans())
    def hold(self, held: bool) -> None:
        """The writer is slow, or no longer."""
        self.routes.held = held

        async def main() -> None:
            if not held:
                await self.routes.flush()

        self.run(main())

    @stateful.rule()
    def work(self) -> None:
        """The writer does a little."""

        async def main() -> None:
            self.routes.work()

        self.run(main())

    @stateful.rule(slow=st.booleans())
    def deliver(self, slow: bool) -> None:
        """Readings of the kernel take their time, or arrive."""

        async def main() -> None:
            if slow:
                self.routes.delivering.clear()
            else:
                self.routes.delivering.set()

        self.run(main())

    @stateful.rule(some=base.prefixes, paths=base.paths, when=st.sampled_from(["flushed", "read"]))
    def meanwhile(self, some: list[model.Prefix], paths: tuple[model.Path, ...], when: str) -> None:
        """A neighbour announces just when an audit has flushed the writer, or reads the kernel."""

        def announce() -> None:
            self.world.learn(*some, paths=paths)

        async def main() -> None:
            if when == "flushed":
                self.routes.after_flush = announce
            else:
                self.routes.during_dump = announce
            self.world.core.nexthop_touched()

        self._often()
        self.run(main())

    @stateful.rule()
    def overflow(self) -> None:
        """Events were lost."""

        async def main() -> None:
            self.world.core.overflow()

        self.run(main())

    @stateful.rule(seconds=st.sampled_from([0.5, 6.0, 91.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.run(self.loop.let_pass(seconds))

    @stateful.rule(kind=st.sampled_from(routes_.FAULTS))
    def fault(self, kind: str) -> None:
        """The next call of some kind fails."""
        self.routes.fail_next(kind)
        self.certain = False

    @stateful.rule(operation=st.sampled_from(["read", "scan_slaves", "ensure_slave"]))
    def fault_of_links(self, operation: str) -> None:
        """Links cannot be read or made for once."""
        self.world.links.fail(operation)
        self.certain = False
