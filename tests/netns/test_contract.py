"""The contract of `ports.Routes`, kept by the kernel and by the fake that other tests trust."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from bgp_ipvlan import model, ownership
from tests.netns import conftest as c
from tests.netns import sides
from tests.netns.sides import Side

V4, V6 = (model.Family.IPV4, model.MAIN), (model.Family.IPV6, model.MAIN)
METRIC = ownership.ROUTE_METRIC
ONE, TWO, SIX = (model.Via(id_) for id_ in ownership.SINGLE_IDS[:3])
BOTH = model.Via(ownership.GROUP_IDS[0])
FIRST, SECOND = frozenset({("192.0.2.2", "eth1")}), frozenset({("192.0.2.3", "eth1")})
OTHER = frozenset({("198.51.100.2", "eth2")})

Run = Callable[..., None]


@pytest.fixture(params=["fake", "kernel"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine with one side or the other."""

    def with_fake(main: Callable[[Side], Coroutine[Any, Any, None]], objects: bool = True) -> None:
        async def inner() -> None:
            async with sides.fake(objects=objects) as side:
                await main(side)

        asyncio.run(inner())

    if request.param == "fake":
        return with_fake
    host = request.getfixturevalue("host")

    def with_kernel(
        main: Callable[[Side], Coroutine[Any, Any, None]], objects: bool = True
    ) -> None:
        async def inner() -> None:
            async with sides.kernel(host, objects=objects) as side:
                await main(side)

        c.inside(host, inner)

    return with_kernel


def keys(*prefixes: str) -> list[model.Nlri]:
    """As NLRI."""
    return [model.nlri(ipaddress.ip_network(prefix)) for prefix in prefixes]


def all_of(value: model.RouteValue, *prefixes: str) -> dict[model.Nlri, model.RouteValue]:
    """The same for some prefixes."""
    return dict.fromkeys(keys(*prefixes), value)


def hops(side: Side, *gateways: str) -> tuple[model.NextHop, ...]:
    """Next hops on eth1, or eth2 for its subnet."""
    return tuple(
        model.NextHop(
            ipaddress.ip_address(gateway),
            side.index("eth2" if gateway.startswith("198.51.100.") else "eth1"),
        )
        for gateway in gateways
    )


async def write(
    side: Side,
    value: model.RouteValue | None,
    *prefixes: str,
    replace: bool = False,
    table: model.Table | None = None,
) -> list[tuple[str, str]]:
    """Write, and the refusals of it: prefix and reason."""
    known = len(side.failures)
    where = table or (V6 if ":" in prefixes[0] else V4)
    side.routes.write([model.RouteBatch(where, value, keys(*prefixes), replace)])
    await side.routes.flush()
    return [(str(model.prefix(f.table[0], f.prefix)), f.reason) for f in side.failures[known:]]


async def drift(side: Side, believed: model.Believed) -> dict[str, model.RouteValue | None]:
    """What a reading finds to be otherwise."""
    dump = await side.routes.dump(believed)
    return {
        str(model.prefix(table[0], key)): value
        for table, found in dump.drift.items()
        for key, value in found.items()
    }


@pytest.mark.parametrize("objects", [True, False])
def test_routes_are_created_replaced_and_deleted(run: Run, objects: bool) -> None:
    """Each exactly what was written; a creation over a route of ours is refused, as is said."""

    async def main(side: Side) -> None:
        side.routes.lead(ONE, hops(side, "192.0.2.2"))
        side.routes.lead(SIX, hops(side, "2001:db8::2"))
        side.routes.lead(BOTH, hops(side, "192.0.2.2", "198.51.100.2"))
        device = model.Device(side.index("eth1"), ipaddress.ip_address("192.0.2.1"))
        assert await write(side, ONE, "10.1.0.0/24", "10.2.0.0/16", "0.0.0.0/0") == []
        assert await write(side, model.Blackhole(), "10.3.0.0/24") == []
        assert await write(side, device, "10.4.0.9/32") == []
        assert await write(side, SIX, "fd00::/64", "fd00:1::1/128") == []
        assert await write(side, SIX, "10.5.0.0/24", table=V4) == [], "RFC 8950"
        six = frozenset({("2001:db8::2", "eth1")})
        expected: dict[str, sides.Route] = {
            "10.1.0.0/24": FIRST,
            "10.2.0.0/16": FIRST,
            "0.0.0.0/0": FIRST,
            "10.3.0.0/24": "blackhole",
            "10.4.0.9/32": "eth1",
            "fd00::/64": six,
            "fd00:1::1/128": six,
            "10.5.0.0/24": six,
        }
        assert side.shown() == expected
        refused = [("10.1.0.0/24", "foreign-route")]
        assert await write(side, model.Blackhole(), "10.1.0.0/24", "10.6.0.0/24") == refused
        assert await write(side, BOTH, "10.2.0.0/16", replace=True) == []
        assert await write(side, None, "10.3.0.0/24", "10.77.0.0/24") == [], "gone is gone"
        assert await write(side, None, "fd00::/64") == []
        expected |= {"10.2.0.0/16": FIRST | OTHER, "10.6.0.0/24": "blackhole"}
        del expected["10.3.0.0/24"], expected["fd00::/64"]
        assert side.shown() == expected

    run(main, objects)


def test_an_object_leads_elsewhere(run: Run) -> None:
    """And with it every route through it, single or ECMP, IPv6 too; no route is written."""

    async def main(side: Side) -> None:
        side.routes.lead(ONE, hops(side, "192.0.2.2"))
        side.routes.lead(SIX, hops(side, "2001:db8::2"))
        side.routes.lead(BOTH, hops(side, "192.0.2.2", "198.51.100.2"))
        await write(side, ONE, "10.1.0.0/24", "10.1.1.0/24")
        await write(side, BOTH, "10.2.0.0/24")
        await write(side, SIX, "fd00::/64")
        side.routes.lead(ONE, hops(side, "192.0.2.3"))
        side.routes.lead(BOTH, hops(side, "192.0.2.3"))
        side.routes.lead(SIX, hops(side, "2001:db8::3"))
        await side.routes.flush()
        assert side.shown() == {
            "10.1.0.0/24": SECOND,
            "10.1.1.0/24": SECOND,
            "10.2.0.0/24": SECOND,
            "fd00::/64": frozenset({("2001:db8::3", "eth1")}),
        }
        side.routes.lead(BOTH, hops(side, "192.0.2.3", "198.51.100.2"))
        await side.routes.flush()
        assert side.shown()["10.2.0.0/24"] == SECOND | OTHER
        assert side.failures == []

    run(main)


def test_an_object_that_retires_takes_its_routes(run: Run) -> None:
    """Those in the kernel and those still queued; but not when others need it."""

    async def main(side: Side) -> None:
        side.routes.lead(ONE, hops(side, "192.0.2.2"))
        side.routes.lead(TWO, hops(side, "192.0.2.3"))
        await write(side, ONE, "10.1.0.0/24", "10.1.1.0/24")
        await write(side, TWO, "10.2.0.0/24")
        side.foreign("10.9.0.0/24", through=TWO.id)
        side.routes.write([model.RouteBatch(V4, ONE, keys("10.1.2.0/24"))])
        side.routes.retire(ONE, keep=False)
        side.routes.retire(TWO, keep=True)
        await side.routes.flush()
        assert side.shown() == {"10.2.0.0/24": SECOND}
        assert side.objects() == {TWO.id: SECOND}
        assert len(side.others()) == 1
        assert side.failures == []

    run(main)


def test_a_route_that_leaves_a_retiring_object_in_time(run: Run) -> None:
    """Replaced just before: it stands, and nothing is left that led through the object."""

    async def main(side: Side) -> None:
        many = [bytes((32, 10, 8, n >> 8, n & 255)) for n in range(3000)]
        side.routes.lead(ONE, hops(side, "192.0.2.2"))
        side.routes.lead(TWO, hops(side, "192.0.2.3"))
        side.routes.write([model.RouteBatch(V4, ONE, many)])
        side.routes.write([model.RouteBatch(V4, TWO, many[:2000], replace=True)])
        side.routes.retire(ONE, keep=False)
        await side.routes.flush()
        assert set(side.shown().values()) == {SECOND}
        assert len(side.shown()) == 2000
        assert side.objects() == {TWO.id: SECOND}
        assert side.failures == []

    run(main)


@pytest.mark.parametrize("objects", [True, False])
def test_a_reading_tells_what_is_not_as_believed(run: Run, objects: bool) -> None:
    """Missing, other and unknown, in both families; what is as believed is not mentioned."""

    async def main(side: Side) -> None:
        side.routes.lead(ONE, hops(side, "192.0.2.2"))
        side.routes.lead(BOTH, hops(side, "192.0.2.2", "198.51.100.2"))
        side.routes.lead(SIX, hops(side, "2001:db8::2"))
        await write(side, ONE, "10.1.0.0/24", "10.1.1.0/24")
        await write(side, BOTH, "10.2.0.0/24")
        await write(side, SIX, "fd00::/64", "fd00:1::/64")
        await write(side, model.Blackhole(), "fd00:2::/64")
        side.lose("10.1.1.0/24")
        believed: model.Believed = {
            V4: all_of(ONE, "10.1.0.0/24", "10.1.1.0/24")
            | all_of(model.Blackhole(), "10.2.0.0/24", "10.3.0.0/24"),
            V6: all_of(SIX, "fd00::/64", "fd00:2::/64"),
        }
        assert await drift(side, believed) == {
            "10.1.1.0/24": None,
            "10.2.0.0/24": BOTH,
            "10.3.0.0/24": None,
            "fd00:1::/64": SIX,
            "fd00:2::/64": model.Blackhole(),
        }

    run(main, objects)


def test_routes_of_ours_in_tables_that_nobody_believes_in(run: Run) -> None:
    """They are found when it is asked for, and not mentioned else."""

    async def main(side: Side) -> None:
        elsewhere = model.Family.IPV4, 500
        await write(side, model.Blackhole(), "10.1.0.0/24", table=elsewhere)
        await write(side, model.Blackhole(), "10.2.0.0/24")
        assert side.shown(500) == {"10.1.0.0/24": "blackhole"}
        assert (await side.routes.dump({V4: {}})).drift.keys() == {V4}
        dump = await side.routes.dump({V4: {}}, everywhere=True)
        assert dump.drift[elsewhere] == all_of(model.Blackhole(), "10.1.0.0/24")
        assert dump.drift[V4] == all_of(model.Blackhole(), "10.2.0.0/24")

    run(main)


def test_others_routes_are_told_and_stay(run: Run) -> None:
    """By prefix and metric, with the object they point at; refused where one has our very key."""

    async def main(side: Side) -> None:
        side.routes.lead(ONE, hops(side, "192.0.2.2"))
        await write(side, ONE, "10.1.0.0/24")
        side.foreign("10.1.0.0/24")
        side.foreign("10.2.0.0/24", metric=METRIC)
        side.foreign("10.3.0.0/24", through=ONE.id)
        side.foreign("10.4.0.0/24", table=500, through=ONE.id)
        side.foreign("fd00::/64", metric=METRIC)
        before = side.others()
        assert len(before) == 5
        refused = [("10.2.0.0/24", "foreign-route")]
        assert await write(side, ONE, "10.2.0.0/24", "10.5.0.0/24") == refused
        assert await write(side, model.Blackhole(), "fd00::/64") == [("fd00::/64", "foreign-route")]
        assert await write(side, ONE, "10.2.0.0/24", replace=True) == refused, "not ours to replace"
        assert await write(side, None, "10.2.0.0/24") == [], "there is none of ours"
        assert before == side.others()
        dump = await side.routes.dump({V4: {}, V6: {}}, everywhere=True)
        assert {
            (str(model.prefix(table[0], key)), metric, route.nexthop_id)
            for table, routes in dump.foreign.items()
            for key, by_metric in routes.items()
            for metric, route in by_metric.items()
            if "static" in route.text
        } == {
            ("10.1.0.0/24", 0, 0),
            ("10.2.0.0/24", METRIC, 0),
            ("10.3.0.0/24", 0, ONE.id),
            ("fd00::/64", METRIC, 0),
        }
        assert dump.borrowed == {
            (V4, *keys("10.3.0.0/24"), 0): ONE.id,
            ((model.Family.IPV4, 500), *keys("10.4.0.0/24"), 0): ONE.id,
        }
        side.unforeign("10.2.0.0/24", metric=METRIC)
        assert await write(side, ONE, "10.2.0.0/24") == []
        assert await write(side, model.Blackhole(), "10.2.0.0/24", replace=True) == []

    run(main)


def test_a_route_put_in_the_place_of_ours(run: Run) -> None:
    """With our metric: ours has gone, and a reading says so."""

    async def main(side: Side) -> None:
        await write(side, model.Blackhole(), "10.1.0.0/24", "10.2.0.0/24")
        side.foreign("10.1.0.0/24", metric=METRIC)
        assert side.shown() == {"10.2.0.0/24": "blackhole"}
        ours = all_of(model.Blackhole(), "10.1.0.0/24", "10.2.0.0/24")
        assert await drift(side, {V4: ours}) == {"10.1.0.0/24": None}

    run(main)


def test_objects_under_other_hands(run: Run) -> None:
    """Changed: read as it leads, and led back. Taken: a stranger's, whose routes read as strange."""

    async def main(side: Side) -> None:
        side.routes.lead(ONE, hops(side, "192.0.2.2"))
        side.routes.lead(TWO, hops(side, "192.0.2.3"))
        await write(side, ONE, "10.1.0.0/24")
        await write(side, TWO, "10.2.0.0/24")
        side.change(ONE.id, "192.0.2.66", ours=True)
        side.change(TWO.id, "192.0.2.66", ours=False)
        dump = await side.routes.dump({V4: {}})
        assert dump.strangers == {TWO.id}
        assert dump.objects == {ONE: hops(side, "192.0.2.66")}
        assert dump.drift[V4] == {
            **all_of(ONE, "10.1.0.0/24"),
            **all_of(model.Device(0), "10.2.0.0/24"),
        }
        side.routes.lead(ONE, hops(side, "192.0.2.2"))
        side.routes.retire(TWO, keep=True)
        await side.routes.flush()
        strange = frozenset({("192.0.2.66", "eth1")})
        assert side.shown() == {"10.1.0.0/24": FIRST, "10.2.0.0/24": strange}
        assert side.objects() == {ONE.id: FIRST, TWO.id: strange}

    run(main)


def test_objects_that_nothing_uses_go_with_a_reading(run: Run) -> None:
    """Left by an earlier run; those that anybody's route points at, or that are led, stay."""

    async def main(side: Side) -> None:
        for via, gateway in ((ONE, "192.0.2.2"), (TWO, "192.0.2.3"), (SIX, "2001:db8::2")):
            side.routes.lead(via, hops(side, gateway))
        await write(side, ONE, "10.1.0.0/24")
        await write(side, TWO, "10.2.0.0/24")
        await write(side, SIX, "fd00::/64")
        side.foreign("10.9.0.0/24", table=500, through=TWO.id)
        side.routes.retire(TWO, keep=True)
        side.routes.retire(SIX, keep=True)
        await write(side, None, "10.2.0.0/24")
        await write(side, None, "fd00::/64")
        await write(side, None, "10.1.0.0/24")
        await side.routes.dump({V4: {}, V6: {}})
        await side.routes.dump({V4: {}, V6: {}})
        assert side.objects() == {ONE.id: FIRST, TWO.id: SECOND}
        side.unforeign("10.9.0.0/24", table=500)
        await side.routes.dump({V4: {}, V6: {}})
        assert side.objects() == {ONE.id: FIRST}

    run(main)


def test_a_link_goes_down(run: Run) -> None:
    """Its objects and all routes through them go, groups shrink; when it is up they are made anew."""

    async def main(side: Side) -> None:
        side.routes.lead(ONE, hops(side, "192.0.2.2"))
        side.routes.lead(TWO, hops(side, "198.51.100.2"))
        side.routes.lead(BOTH, hops(side, "192.0.2.2", "198.51.100.2"))
        await write(side, ONE, "10.1.0.0/24")
        await write(side, TWO, "10.2.0.0/24")
        await write(side, BOTH, "10.3.0.0/24")
        await write(side, model.Blackhole(), "10.4.0.0/24")
        side.link("eth2", up=False)
        expected = {"10.1.0.0/24": FIRST, "10.3.0.0/24": FIRST, "10.4.0.0/24": "blackhole"}
        assert side.shown() == expected
        assert await write(side, TWO, "10.2.0.0/24") == [("10.2.0.0/24", "kernel-refused")]
        believed: model.Believed = {V4: all_of(TWO, "10.2.0.0/24") | all_of(ONE, "10.1.0.0/24")}
        dump = await side.routes.dump(believed)
        assert TWO not in dump.objects
        told = {*keys("10.3.0.0/24", "10.4.0.0/24")}
        assert dump.drift[V4].keys() == told, "what went with its object is told of that alone"
        side.link("eth2", up=True)
        assert await write(side, TWO, "10.2.0.0/24") == []
        assert side.shown() == expected | {"10.2.0.0/24": OTHER}
        assert (await side.routes.dump({V4: {}})).objects[BOTH] == hops(side, "192.0.2.2")
        side.routes.lead(BOTH, hops(side, "192.0.2.2", "198.51.100.2"))
        await side.routes.flush()
        assert side.shown()["10.3.0.0/24"] == FIRST | OTHER

    run(main)
