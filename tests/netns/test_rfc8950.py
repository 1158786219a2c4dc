"""IPv4 routes through IPv6 next hops (RFC 8950) on a real kernel, with `ip` as the witness."""

from __future__ import annotations

from typing import Any

import pytest

from bgp_ipvlan import model
from lab import namespace
from tests.netns import conftest as c


@pytest.fixture(params=[True, False], ids=["objects", "gateways"])
def objects(request: pytest.FixtureRequest) -> bool:
    """With nexthop objects, and with the gateways in the routes themselves."""
    return bool(request.param)


def shown(host: namespace.Host) -> dict[str, dict[str, Any]]:
    """Our IPv4 routes as `ip -j route` shows them."""
    return {route["dst"]: route for route in host.routes("proto", "179")}


def test_ipv6_next_hops(host: namespace.Host, objects: bool) -> None:
    """Global, link-local, ECMP of two of them, and of both families: written and read back."""
    c.ip(host, "address add 2001:db8:2::1/64 dev eth2 nodad")
    values = {
        "10.1.0.0/24": c.via(host, "2001:db8::2"),
        "10.2.0.0/24": c.via(host, "fe80::2"),
        "10.3.0.0/24": c.via(host, "2001:db8::2", "2001:db8:2::2"),
        "10.4.0.0/24": c.via(host, "192.0.2.2", "2001:db8:2::2"),
        "10.5.0.9/32": c.via(host, "2001:db8::2"),
    }

    async def main() -> None:
        async with c.started(nexthop_objects=objects) as kernel:
            for prefix, value in values.items():
                await kernel.set(value, prefix)
            assert kernel.failures == []
            assert await kernel.table() == values

    c.inside(host, main)
    routes = shown(host)
    for dst, gateway in (("10.1.0.0/24", "2001:db8::2"), ("10.2.0.0/24", "fe80::2")):
        assert routes[dst]["via"] == {"family": "inet6", "host": gateway}
        assert (routes[dst]["dev"], "nhid" in routes[dst]) == ("eth1", objects)
    assert routes["10.5.0.9"]["via"]["host"] == "2001:db8::2"
    for dst, expected in (
        ("10.3.0.0/24", {("2001:db8::2", "eth1"), ("2001:db8:2::2", "eth2")}),
        ("10.4.0.0/24", {("192.0.2.2", "eth1"), ("2001:db8:2::2", "eth2")}),
    ):
        hops = routes[dst]["nexthops"]
        assert {(hop.get("gateway") or hop["via"]["host"], hop["dev"]) for hop in hops} == expected


def test_packets_go_that_way(objects: bool) -> None:
    """On a wire without an IPv4 subnet: an IPv4 ping there, and back by a route of the same kind."""
    with namespace.Lab() as lab:
        here, there = lab.host("here"), lab.host("there")
        lab.wire(
            namespace.Port(here, "eth1", ("2001:db8::1/64",)),
            namespace.Port(there, "eth1", ("2001:db8::2/64",)),
        )
        c.ip(here, "address add 10.6.0.1/32 dev lo")
        c.ip(there, "address add 10.7.0.1/32 dev lo")
        c.ip(there, "route add 10.6.0.0/24 via inet6 2001:db8::1 dev eth1")

        async def main() -> None:
            async with c.started(nexthop_objects=objects) as kernel:
                await kernel.set(c.via(here, "2001:db8::2"), "10.7.0.0/24")
                assert kernel.failures == []

        c.inside(here, main)
        [way] = here.json("ip", "-j", "route", "get", "10.7.0.1")
        assert way["via"] == {"family": "inet6", "host": "2001:db8::2"}
        here.run("ping", "-c", "1", "-W", "5", "-I", "10.6.0.1", "10.7.0.1")


def test_others_routes_are_described(host: namespace.Host) -> None:
    """Somebody else's route of that kind is named with its gateway, and stays."""
    c.ip(host, "route add 10.8.0.0/24 via inet6 2001:db8::9 dev eth1 proto static")
    c.ip(host, "route add 10.9.0.0/24 via inet6 2001:db8::9 dev eth1 proto static metric 17900")

    async def main() -> None:
        async with c.started() as kernel:
            await kernel.set(c.via(host, "2001:db8::2"), "10.9.0.0/24")
            assert [failure.reason for failure in kernel.failures] == ["foreign-route"]
            foreign = (await kernel.dump()).foreign[c.MAIN]
            texts = {str(model.prefix(c.V4, k)): v[0].text for k, v in foreign.items() if 0 in v}
            assert texts["10.8.0.0/24"] == "proto static via 2001:db8::9 dev eth1"

    c.inside(host, main)


def test_replaced_and_adopted(host: namespace.Host, objects: bool) -> None:
    """From IPv4 to IPv6 next hop and back in place; the next daemon reads what this one wrote."""
    four, six = c.via(host, "192.0.2.2"), c.via(host, "2001:db8::2")

    async def first() -> None:
        async with c.started(nexthop_objects=objects) as kernel:
            await kernel.set(four, "10.1.0.0/24")
            for value in (six, four, six):
                await kernel.set(value, "10.1.0.0/24", replace=True)
                assert await kernel.table() == {"10.1.0.0/24": value}
            assert kernel.failures == []

    async def second() -> None:
        async with c.started(nexthop_objects=objects) as kernel:
            assert await kernel.table() == {"10.1.0.0/24": six}
            await kernel.set(None, "10.1.0.0/24")
            assert await kernel.table() == {}
            assert kernel.failures == []

    c.inside(host, first)
    assert len(host.routes("10.1.0.0/24")) == 1
    c.inside(host, second)
