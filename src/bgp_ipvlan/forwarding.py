"""What this host forwards by: the routes we want, their nexthop objects, and the kernel's.

Everything that wants a route comes here, and everything the kernel says of routes. The books
are `delta`'s, the objects `gateways`'; what they say has to be done is written here.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable

from bgp_ipvlan import delta, model, ownership, ports
from bgp_ipvlan.gateways import Gateways, Resolve, Way


class Forwarding:
    """See the module.

    Args:
        routes: the kernel's routes; started.
    """

    def __init__(self, routes: ports.Routes) -> None:
        self._routes = routes
        self._gateways = Gateways(objects=routes.nexthop_objects)
        self.books: dict[model.Table, delta.RouteBook] = {}
        self.foreign: dict[model.Table, model.Foreign] = {}
        """Others' routes in the tables that we use."""
        self._borrowed: model.Borrowed = {}
        """Others' routes, in whatever table, that point at a nexthop object of ours."""
        self._grouped: frozenset[int] = frozenset()
        """Ids of objects of ours that are in other people's groups."""

    # --- wanting ---------------------------------------------------------------------------

    def book(self, table: model.Table) -> delta.RouteBook:
        """The book of a table."""
        found = self.books.get(table)
        if found is None:
            found = self.books[table] = delta.RouteBook(table)
            self.foreign.setdefault(table, {})
        return found

    def want(
        self, table: model.Table, value: model.RouteValue, prefixes: list[model.Nlri]
    ) -> delta.Batches:
        """Want a route for some prefixes, in this table and no other.

        Returns:
            What is written to have it so.
        """
        book = self.book(table)
        batches = book.want(value, prefixes)
        self._routes.write(batches)
        # Afterwards: an object that has these routes now is not taken for one without any.
        return self.drop(table[0], prefixes, but=book) + batches

    def through(
        self,
        family: model.Family,
        gateways: tuple[model.Gateway, ...],
        way: Way,
        prefixes: list[model.Nlri],
    ) -> delta.Batches:
        """Want routes through some gateways.

        Args:
            family: of the prefixes.
            gateways: of the best paths.
            way: how they are reached now.
            prefixes: whose routes they shall be.
        """
        if not prefixes:
            return []
        entry, news = self._gateways.find(gateways, way)
        if news:
            self._routes.lead(entry.via, way.next_hops)
        return self.want((family, way.table), entry.via, prefixes)

    def drop(
        self,
        family: model.Family,
        prefixes: list[model.Nlri],
        *,
        but: delta.RouteBook | None = None,
    ) -> delta.Batches:
        """Want no route for some prefixes any more, `but` in one table."""
        batches = []
        for table, book in self.books.items():
            if table[0] is family and book is not but:
                batches += book.want(None, prefixes)
        self._write(batches)
        return batches

    def _write(self, batches: delta.Batches) -> None:
        """Write; an object that lost its last route goes first, and its routes with it (D2)."""
        self._routes.write(batches)
        for batch in batches:
            if batch.was is not None and not self._uses(batch.was):
                self._retire(batch.was)

    def _uses(self, via: model.Via) -> bool:
        """Whether an object has routes: of several tables, or both families (RFC 8950)."""
        return any(book.uses(via) for book in self.books.values())

    def _retire(self, via: model.Via, *, keep: bool = False) -> None:
        """An object has no routes, or leads nowhere: it goes, and what still points at it."""
        self._gateways.forget(via)
        # With the object the kernel would delete other people's routes through it.
        keep = keep or via.id in self._borrowed.values() or via.id in self._grouped
        for book in self.books.values():
            book.gone(via, kept=keep)
        self._routes.retire(via, keep=keep)

    def wanted(self, family: model.Family) -> list[model.Nlri]:
        """Every prefix that has a route, or should."""
        return [
            key for table, book in self.books.items() if table[0] is family for key in book.wanted
        ]

    def count(self, family: model.Family) -> int:
        """How many prefixes have a route, or should."""
        return sum(len(book.wanted) for table, book in self.books.items() if table[0] is family)

    def having(self, family: model.Family, prefixes: list[model.Nlri]) -> set[model.Nlri]:
        """Those of some prefixes that have a route, or should."""
        books = [book for table, book in self.books.items() if table[0] is family]
        return {key for book in books for key in prefixes if key in book.wanted}

    def next_hops(self, via: model.Via) -> tuple[model.NextHop, ...]:
        """Where a route through an object leads now."""
        return self._gateways.next_hops(via)

    # --- the ways change -------------------------------------------------------------------------

    def refresh(self, resolve: Resolve) -> None:
        """Links or addresses changed: lead each object where it has to lead now.

        One message for each object that is concerned. The routes of those that lead nowhere go
        with it; their prefixes have to be decided anew.
        """
        moved, ended = self._gateways.refresh(resolve)
        for entry in moved:
            self._routes.lead(entry.via, entry.way.next_hops)
        for entry in ended:
            self._retire(entry.via)

    def stranded(self, family: model.Family) -> list[model.Nlri]:
        """Prefixes that lost their routes with an object, and have to be decided anew."""
        if not self._routes.nexthop_objects:
            return self.wanted(family)
        books = [book for table, book in self.books.items() if table[0] is family]
        return [key for book in books for key in book.stranded()]

    # --- what the kernel says ------------------------------------------------------------------

    def failed(self, failure: model.RouteFailure) -> bool:
        """The kernel refused a route.

        Returns:
            Whether that was known already, or no longer matters.
        """
        return self.book(failure.table).failed(failure)

    def is_taken(self, failure: model.RouteFailure) -> bool:
        """Whether somebody is known to have a route under the very key of one that was refused."""
        routes = self.foreign.get(failure.table, {}).get(failure.prefix, {})
        return ownership.ROUTE_METRIC in routes

    def retry(self) -> bool:
        """Try again what was refused; whether there was any."""
        batches = [batch for book in self.books.values() for batch in book.retry()]
        self._write(batches)
        return bool(batches)

    def retry_once(self, failures: Iterable[model.RouteFailure]) -> None:
        """Try again what has just been refused for the first time."""
        by_table: dict[model.Table, list[model.Nlri]] = defaultdict(list)
        for failure in failures:
            by_table[failure.table].append(failure.prefix)
        for table, keys in by_table.items():
            self._write(self.book(table).retry(keys))

    def touched(
        self, table: model.Table, prefixes: list[model.Nlri], *, present: bool, hold: bool = False
    ) -> list[model.Nlri]:
        """Somebody changed (`present`) or deleted some routes of ours.

        Args:
            table: which.
            prefixes: their keys.
            present: there is something now, whatever it is.
            hold: repair them with the next `retry`, and not now.

        Returns:
            Those that have to be repaired, which is being done unless they are held.
        """
        book = self.books.get(table)
        if book is None:
            return []
        if hold:
            return book.hold(prefixes, present=present)
        batches = book.lost(prefixes, present=present)
        self._write(batches)
        return [key for batch in batches for key in batch.prefixes]

    def foreign_route(
        self, table: model.Table, prefix: model.Nlri, metric: int, route: model.ForeignRoute | None
    ) -> bool | None:
        """Somebody else's route came, changed, or (None) went.

        Returns:
            Whether the prefix has others' routes now and had none, or the reverse; None is
            unknown until the kernel is read.
        """
        known = self.foreign.get(table, {}).get(prefix, {}).get(metric)
        if known is not None and known.siblings:
            if route is None:
                return None
            route = dataclasses.replace(route, siblings=True)
        self._borrowed.pop((table, prefix, metric), None)
        if route is not None and route.nexthop_id in ownership.NEXTHOP_IDS:
            self._borrowed[table, prefix, metric] = route.nexthop_id
        routes = self.foreign.get(table)
        if routes is None:
            return False
        mine = routes.get(prefix, {})
        mine.pop(metric, None)
        if route is not None:
            mine[metric] = route
        before = prefix in routes
        if mine:
            routes[prefix] = mine
        elif before:
            del routes[prefix]
        return before is not bool(mine)

    def sweep(self) -> int:
        """All is known: what nobody wants goes, now and after each reading.

        Returns:
            How many routes that are.
        """
        batches = [batch for book in self.books.values() for batch in book.sweep()]
        self._write(batches)
        return sum(len(batch.prefixes) for batch in batches)

    # --- reading back ------------------------------------------------------------------------

    def use(self, tables: Iterable[int]) -> None:
        """Keep books of these tables too, and know others' routes in them."""
        for number in tables:
            for family in model.Family:
                self.book((family, number))

    def take_over(self, dump: model.RouteDump) -> None:
        """Others' routes are these, as far as tables were read."""
        for table, routes in dump.foreign.items():
            if table in dump.partial:
                self.foreign[table] = self.foreign.get(table, {}) | routes
            else:
                self.foreign[table] = routes
        self._grouped = dump.grouped
        if dump.borrowed is not None:
            self._borrowed = dump.borrowed
            return
        kept = {key: id_ for key, id_ in self._borrowed.items() if key[0] not in dump.foreign}
        for table, routes in dump.foreign.items():
            for prefix, by_metric in routes.items():
                for metric, route in by_metric.items():
                    if route.nexthop_id in ownership.NEXTHOP_IDS:
                        kept[table, prefix, metric] = route.nexthop_id
        self._borrowed = kept

    def watch(self) -> model.Believed:
        """The kernel is about to be read; what it should have."""
        self._gateways.mark()
        return {table: book.watch() for table, book in self.books.items()}

    def observe(self, dump: model.RouteDump) -> tuple[int, bool]:
        """The kernel was read: repair what is not as it should be.

        Returns:
            How many routes and nexthop objects that are; and whether prefixes are stranded,
            because an object has gone, or somebody else has taken its id.
        """
        wrong, taken, lost = self._gateways.observe(dump.objects, dump.strangers)
        for entry in taken:
            self._retire(entry.via, keep=True)
        lost = [e for e in lost if any(book.has(e.via) for book in self.books.values())]
        for entry in lost:
            # Its routes have gone with it, and are not in the drift: they may be a million.
            self._retire(entry.via)
        for entry in wrong:
            self._routes.lead(entry.via, entry.way.next_hops)
        repaired = len(wrong) + len(lost)
        for table, drift in dump.drift.items():
            batches = self.book(table).observe(drift)
            self._write(batches)
            repaired += sum(len(batch.prefixes) for batch in batches)
        for entry in self._gateways:
            if not self._uses(entry.via):
                self._retire(entry.via)
        return repaired, bool(taken or lost)
