"""The two sides of the contract: the fake's kernel, and a real one seen and touched with `ip`."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
from collections.abc import AsyncIterator
from typing import Any, Protocol

from bgp_ipvlan import model, ports
from lab import namespace
from tests.fakes.kernel import Hops
from tests.fakes.routes import FakeRoutes
from tests.netns import conftest as c

_INDEXES = {"eth1": 3, "eth2": 4}
"""Of the fake's interfaces."""
Route = frozenset[tuple[str, str]] | str
"""Gateways with their interfaces; `blackhole`; the name of an interface."""


class Side(Protocol):
    """What a test of the contract needs."""

    failures: list[model.RouteFailure]

    @property
    def routes(self) -> ports.Routes:
        """What is put to the test."""

    def index(self, name: str) -> int:
        """The index of an interface (eth1 with 192.0.2.1/24 and 2001:db8::1/64, or eth2)."""

    def shown(self, table: int = model.MAIN) -> dict[str, Route]:
        """The routes of a table that carry our protocol, by prefix."""

    def objects(self) -> dict[int, Route]:
        """Nexthop objects, whoever's, that routes may point at."""

    def others(self) -> dict[str, str]:
        """Somebody's routes for 10.0.0.0/8, by prefix; opaque, but equal when nothing changed."""

    def foreign(self, prefix: str, *, metric: int = 0, table: int = 254, through: int = 0) -> None:
        """Somebody makes a static route, by 192.0.2.9 or through an object."""

    def unforeign(self, prefix: str, *, metric: int = 0, table: int = 254) -> None:
        """He takes it away."""

    def lose(self, prefix: str) -> None:
        """Somebody deletes a route of ours."""

    def change(self, id_: int, gateway: str, *, ours: bool) -> None:
        """Somebody changes an object of ours, with our mark or his."""

    def link(self, name: str, *, up: bool) -> None:
        """A link goes down or comes up."""


@dataclasses.dataclass
class FakeSide:
    """`FakeRoutes`."""

    routes: FakeRoutes
    failures: list[model.RouteFailure]

    def index(self, name: str) -> int:
        """Made up."""
        return _INDEXES[name]

    def _hops(self, next_hops: tuple[model.NextHop, ...]) -> Route:
        names = {index: name for name, index in _INDEXES.items()}
        return frozenset((str(hop.gateway), names[hop.ifindex]) for hop in next_hops)

    def shown(self, table: int = model.MAIN) -> dict[str, Route]:
        """As the fake has it."""
        found: dict[str, Route] = {}
        for prefix, value in self.routes.table(table).items():
            if isinstance(value, Hops):
                found[str(prefix)] = self._hops(value.next_hops)
            elif isinstance(value, model.Blackhole):
                found[str(prefix)] = "blackhole"
            else:
                found[str(prefix)] = next(n for n, i in _INDEXES.items() if i == value.ifindex)
        return found

    def objects(self) -> dict[int, Route]:
        """As the fake has it."""
        kernel = self.routes.kernel
        return {id_: self._hops(hops) for id_, hops in (kernel.objects | kernel.strangers).items()}

    def others(self) -> dict[str, str]:
        """As the fake has it."""
        return {
            f"{model.prefix(table[0], key)} {metric} {table[1]}": route.text
            for table, routes in self.routes.foreign.items()
            for key, by_metric in routes.items()
            for metric, route in by_metric.items()
        }

    def foreign(self, prefix: str, *, metric: int = 0, table: int = 254, through: int = 0) -> None:
        """Put there."""
        network = ipaddress.ip_network(prefix)
        route = model.ForeignRoute("proto static", nexthop_id=through)
        where = model.Family.of(network), table
        self.routes.kernel.put_foreign(where, model.nlri(network), metric, route)

    def unforeign(self, prefix: str, *, metric: int = 0, table: int = 254) -> None:
        """Taken away."""
        network = ipaddress.ip_network(prefix)
        where = model.Family.of(network), table
        self.routes.kernel.drop_foreign(where, model.nlri(network), metric)

    def lose(self, prefix: str) -> None:
        """Taken away."""
        self.routes.lose(ipaddress.ip_network(prefix))

    def change(self, id_: int, gateway: str, *, ours: bool) -> None:
        """Changed, or taken."""
        hops = (model.NextHop(ipaddress.ip_address(gateway), 3),)
        if ours:
            self.routes.kernel.objects[id_] = hops
        else:
            self.routes.kernel.take_object(id_, hops)

    def link(self, name: str, *, up: bool) -> None:
        """Down or up."""
        if up:
            self.routes.kernel.down.discard(_INDEXES[name])
        else:
            self.routes.kernel.link_down(_INDEXES[name])


@dataclasses.dataclass
class KernelSide:
    """A real kernel; `ip` is the witness."""

    host: namespace.Host
    routes: ports.Routes
    failures: list[model.RouteFailure]

    def index(self, name: str) -> int:
        """As `ip link` has it."""
        return int(self.host.links()[name]["ifindex"])

    def shown(self, table: int = model.MAIN) -> dict[str, Route]:
        """As `ip -j route` has it."""
        found: dict[str, Route] = {}
        for family, bits in (("-4", 32), ("-6", 128)):
            command = ("ip", "-j", family, "route", "show", "table", "all", "proto", "179")
            for route in self.host.json(*command) or []:
                if route.get("table", str(model.MAIN)) != str(table):
                    continue
                whole = "0.0.0.0/0" if bits == 32 else "::/0"
                text = whole if route["dst"] == "default" else route["dst"]
                found[text if "/" in text else f"{text}/{bits}"] = _route(route)
        return found

    def objects(self) -> dict[int, Route]:
        """As `ip -j nexthop` has it; members of groups are the writer's own affair."""
        entries: list[dict[str, Any]] = self.host.json("ip", "-j", "nexthop") or []
        singles = {entry["id"]: entry for entry in entries if "gateway" in entry}
        members = {one["id"] for entry in entries for one in entry.get("group", ())}
        found: dict[int, Route] = {}
        for entry in entries:
            if entry["id"] not in members:
                group = [singles[one["id"]] for one in entry.get("group", (entry,))]
                found[entry["id"]] = frozenset((one["gateway"], one["dev"]) for one in group)
        return found

    def others(self) -> dict[str, str]:
        """As `ip -d route` has it."""
        lines = []
        for family in ("-4", "-6"):
            text = self.host.run("ip", "-d", family, "route", "show", "table", "all").stdout
            lines += [line for line in text.splitlines() if "proto static" in line]
        return {line: line for line in lines}

    def foreign(self, prefix: str, *, metric: int = 0, table: int = 254, through: int = 0) -> None:
        """`ip route replace`."""
        gateway = "2001:db8::9" if ":" in prefix else "192.0.2.9"
        how = f"nhid {through}" if through else f"via {gateway}"
        rest = f"metric {metric}" if metric else ""
        c.ip(self.host, f"route replace {prefix} {how} proto static table {table} {rest}")

    def unforeign(self, prefix: str, *, metric: int = 0, table: int = 254) -> None:
        """`ip route del`."""
        rest = f"metric {metric}" if metric else ""
        c.ip(self.host, f"route del {prefix} proto static table {table} {rest}")

    def lose(self, prefix: str) -> None:
        """`ip route del`."""
        c.ip(self.host, f"route del {prefix} proto 179")

    def change(self, id_: int, gateway: str, *, ours: bool) -> None:
        """`ip nexthop replace`."""
        mark = "179" if ours else "static"
        c.ip(self.host, f"nexthop replace id {id_} via {gateway} dev eth1 protocol {mark}")

    def link(self, name: str, *, up: bool) -> None:
        """`ip link set`."""
        c.ip(self.host, f"link set {name} {'up' if up else 'down'}")


def _route(entry: dict[str, Any]) -> Route:
    if entry.get("type") == "blackhole":
        return "blackhole"
    hops = entry.get("nexthops", [entry])
    gateways = [hop.get("gateway") or hop.get("via", {}).get("host") for hop in hops]
    if gateways == [None]:
        return str(entry["dev"])
    return frozenset(zip(gateways, (str(hop["dev"]) for hop in hops), strict=True))


@contextlib.asynccontextmanager
async def fake(*, objects: bool) -> AsyncIterator[FakeSide]:
    """The fake, started."""
    side = FakeSide(FakeRoutes(nexthop_objects=objects), [])
    side.routes.on_failures = side.failures.extend
    yield side


@contextlib.asynccontextmanager
async def kernel(host: namespace.Host, *, objects: bool) -> AsyncIterator[KernelSide]:
    """The kernel of this thread's namespace."""
    async with c.started(nexthop_objects=objects) as found:
        yield KernelSide(host, found.routes, found.failures)
