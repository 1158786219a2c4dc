"""Routes and nexthop objects as the kernel keeps them, without a kernel.

Holds state, decides nothing of ours, and is strict: whoever would harm a route or an object
that is somebody else's fails here. tests/contract has the real kernel behave the same.
"""

from __future__ import annotations

import collections
import dataclasses

from bgp_ipvlan import model, ownership


@dataclasses.dataclass(frozen=True)
class Hops:
    """A route of ours through gateways, with its nexthop object resolved."""

    next_hops: tuple[model.NextHop, ...]


Shown = Hops | model.Device | model.Blackhole
Held = model.RouteValue | Hops
"""What a route is in the kernel: with `Hops` it carries its gateways itself."""
STRANGE = model.Device(0)
"""How a route of ours reads that leads through an object which is not ours."""


class FakeKernel:
    """Routing tables and nexthop objects of a network namespace."""

    def __init__(self) -> None:
        self.ours: dict[model.Table, dict[model.Nlri, Held]] = collections.defaultdict(dict)
        """Routes with our protocol and metric."""
        self.foreign: dict[model.Table, model.Foreign] = collections.defaultdict(dict)
        self.objects: dict[int, tuple[model.NextHop, ...]] = {}
        """Nexthop objects with our mark, and where they lead."""
        self.strangers: dict[int, tuple[model.NextHop, ...]] = {}
        """Objects with ids in our range that somebody else has, or has made his."""
        self.known: set[int] = set()
        """Strangers that we have been told of: from then on there is no excuse."""
        self.down: set[int] = set()
        """Indexes of links that are down or gone."""

    # --- routes -----------------------------------------------------------------------------

    def set(self, table: model.Table, key: model.Nlri, value: Held, *, replace: bool) -> str:
        """Make or replace a route of ours; the reason it cannot be, or an empty text."""
        if not self._reachable(value):
            return "kernel-refused"
        theirs = ownership.ROUTE_METRIC in self.foreign[table].get(key, {})
        if replace:
            assert not theirs, f"replaces somebody's route for {model.prefix(table[0], key)}"
        elif key in self.ours[table] or theirs:
            return "foreign-route"
        self.ours[table][key] = value
        return ""

    def delete(self, table: model.Table, key: model.Nlri) -> None:
        """Delete a route of ours: the protocol is part of the request, so theirs does not match."""
        self.ours[table].pop(key, None)

    def _reachable(self, value: Held) -> bool:
        match value:
            case model.Via(id_):
                assert id_ not in self.known, "a route through a stranger's object"
                return id_ in self.objects or id_ in self.strangers
            case Hops(next_hops):
                return all(hop.ifindex not in self.down for hop in next_hops)
            case model.Device(ifindex):
                return ifindex not in self.down
            case _:
                return True

    def shown(self, value: Held) -> Shown:
        """A route as `ip route` shows it."""
        if isinstance(value, model.Via):
            return Hops(self.objects.get(value.id) or self.strangers[value.id])
        return value

    # --- nexthop objects ----------------------------------------------------------------------

    def make_object(self, id_: int, next_hops: tuple[model.NextHop, ...], *, replace: bool) -> None:
        """Make an object, or change one: routes that point at it follow."""
        assert next_hops
        assert (id_ in ownership.GROUP_IDS) or len(next_hops) == 1
        assert not (replace and id_ in self.known), "changes a stranger's object"
        if id_ in self.strangers and not replace:
            return
        up = all(hop.ifindex not in self.down for hop in next_hops)
        if up and (replace or id_ not in self.objects):
            self.objects[id_] = next_hops
            self.strangers.pop(id_, None)

    def delete_object(self, id_: int) -> None:
        """Delete an object, and silently all routes that point at it."""
        assert id_ not in self.known, "deletes a stranger's object"
        users = [key for key, user in self.borrowed().items() if user == id_]
        assert not users or id_ not in self.objects, f"{users} of somebody go with our object"
        self._lose_object(id_)
        self.strangers.pop(id_, None)

    def borrowed(self) -> model.Borrowed:
        """Others' routes through objects in our range."""
        return {
            (table, key, metric): route.nexthop_id
            for table, routes in self.foreign.items()
            for key, by_metric in routes.items()
            for metric, route in by_metric.items()
            if route.nexthop_id
        }

    def _lose_object(self, id_: int) -> None:
        self.objects.pop(id_, None)
        for routes in self.ours.values():
            for key in [key for key, value in routes.items() if value == model.Via(id_)]:
                del routes[key]

    # --- what happens to it --------------------------------------------------------------------

    def link_down(self, ifindex: int) -> None:
        """A link goes down: its objects go, groups shrink, routes go with either, all silently."""
        self.down.add(ifindex)
        for id_, hops in tuple(self.objects.items()):
            left = tuple(hop for hop in hops if hop.ifindex != ifindex)
            if left:
                self.objects[id_] = left
            else:
                self.lose_object(id_)
        for routes in self.ours.values():
            for key, value in tuple(routes.items()):
                single = isinstance(value, Hops) and {h.ifindex for h in value.next_hops}
                if single == {ifindex} or (
                    isinstance(value, model.Device) and value.ifindex == ifindex
                ):
                    del routes[key]

    def lose_object(self, id_: int) -> None:
        """An object goes by another hand than ours, and everybody's routes through it."""
        self._lose_object(id_)
        for routes in self.foreign.values():
            for key, by_metric in tuple(routes.items()):
                left = {m: route for m, route in by_metric.items() if route.nexthop_id != id_}
                if left:
                    routes[key] = left
                else:
                    del routes[key]

    def take_object(self, id_: int, next_hops: tuple[model.NextHop, ...]) -> None:
        """Somebody makes an object of ours, or a free id of our range, his own."""
        self.objects.pop(id_, None)
        self.strangers[id_] = next_hops

    def put_foreign(
        self, table: model.Table, key: model.Nlri, metric: int, route: model.ForeignRoute
    ) -> None:
        """Somebody else makes a route, with our metric in the place of ours."""
        self.foreign[table].setdefault(key, {})[metric] = route
        if metric == ownership.ROUTE_METRIC:
            self.ours[table].pop(key, None)

    def drop_foreign(self, table: model.Table, key: model.Nlri, metric: int) -> None:
        """And takes it away."""
        routes = self.foreign[table]
        del routes[key][metric]
        if not routes[key]:
            del routes[key]
