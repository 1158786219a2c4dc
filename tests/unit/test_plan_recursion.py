"""Next hops that others' routes lead to: where the neighbour has `recursive`, and not else."""

from __future__ import annotations

import ipaddress

import pytest

from bgp_ipvlan import model, ownership
from bgp_ipvlan.plan import learned, recursion

V4, V6 = model.Family.IPV4, model.Family.IPV6
ETH0, ETH1, ETH2 = 2, 3, 4
VRF = 1001


def route(*next_hops: str, on_link: int = 0, nexthop_id: int = 0) -> model.ForeignRoute:
    """Somebody's route; next hops as GATEWAY%INDEX."""
    hops = tuple(
        model.NextHop(ipaddress.ip_address(gateway), int(index))
        for gateway, index in (one.split("%") for one in next_hops)
    )
    return model.ForeignRoute("proto static", hops, on_link, nexthop_id)


def table(**routes: model.ForeignRoute) -> model.Foreign:
    """Prefixes as `_10_0_0_0__8`, metric 100 each."""
    found: model.Foreign = {}
    for name, one in routes.items():
        prefix = ipaddress.ip_network(name[1:].replace("__", "/").replace("_", "."))
        found[model.nlri(prefix)] = {100: one}
    return found


BY_ETH1 = route("192.0.2.254%3")


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ({}, []),
        ({"_10_9_0_0__16": BY_ETH1}, ["192.0.2.254%3"]),
        ({"_10_9_0_5__32": BY_ETH1}, ["192.0.2.254%3"]),
        ({"_0_0_0_0__1": BY_ETH1}, ["192.0.2.254%3"]),
        # A default route leads everywhere, and so proves nothing.
        ({"_0_0_0_0__0": BY_ETH1}, []),
        ({"_10_8_0_0__16": BY_ETH1}, []),
        # The longest match decides, also when it leads nowhere, or away from the parents.
        ({"_10_0_0_0__8": BY_ETH1, "_10_9_0_0__16": route("192.0.2.9%3")}, ["192.0.2.9%3"]),
        ({"_10_0_0_0__8": BY_ETH1, "_10_9_0_0__16": route()}, []),
        ({"_10_0_0_0__8": BY_ETH1, "_10_9_0_0__16": route("203.0.113.9%2")}, []),
        # Of several next hops those that leave by a parent, of whatever family.
        (
            {"_10_9_0_0__16": route("192.0.2.1%3", "203.0.113.9%2", "fe80::1%3")},
            ["192.0.2.1%3", "fe80::1%3"],
        ),
        # On-link by a route (no gateway): the next hop itself.
        ({"_10_9_0_0__16": route(on_link=ETH1)}, ["10.9.0.5%3"]),
        ({"_10_9_0_0__16": route(on_link=ETH0)}, []),
        # What points at an object of ours would hang on itself.
        ({"_10_9_0_0__16": route("192.0.2.1%3", nexthop_id=ownership.GROUP_IDS[0])}, []),
        ({"_10_9_0_0__16": route("192.0.2.1%3", nexthop_id=7)}, ["192.0.2.1%3"]),
    ],
)
def test_by_longest_match(routes: dict[str, model.ForeignRoute], expected: list[str]) -> None:
    """Where packets to 10.9.0.5 go, with eth1 the parent."""
    foreign = {(V4, model.MAIN): table(**routes), (V4, VRF): table(_10_9_0_0__16=BY_ETH1)}

    found = recursion.through(
        ipaddress.ip_address("10.9.0.5"), foreign, {ETH1: model.MAIN, ETH2: model.MAIN}
    )

    assert expected == [f"{hop.gateway}%{hop.ifindex}" for hop in found]


def test_lowest_metric_first() -> None:
    """Of routes for one prefix the kernel uses that with the lowest metric."""
    found: model.Foreign = table(_10_9_0_0__16=route("192.0.2.254%3"))
    found[model.nlri(ipaddress.ip_network("10.9.0.0/16"))][20] = route("192.0.2.20%3")

    [hop] = recursion.through(
        ipaddress.ip_address("10.9.0.5"), {(V4, model.MAIN): found}, {ETH1: model.MAIN}
    )

    assert str(hop.gateway) == "192.0.2.20"


def test_in_the_table_of_the_parent() -> None:
    """A parent in a VRF is reached by what stands in that table; each parent in its own."""
    address = ipaddress.ip_address("2001:db8:9::5")
    prefix = model.nlri(ipaddress.ip_network("2001:db8:9::/48"))
    foreign: dict[model.Table, model.Foreign] = {
        (V6, model.MAIN): {prefix: {1024: route("fe80::1%4")}},
        (V6, VRF): {prefix: {1024: route("fe80::2%4")}},
    }

    assert [str(h.gateway) for h in recursion.through(address, foreign, {ETH2: VRF})] == ["fe80::2"]
    # Main leads by eth2, which is looked up in the VRF's table.
    both = {ETH1: model.MAIN, ETH2: VRF}
    assert [str(h.gateway) for h in recursion.through(address, foreign, both)] == ["fe80::2"]
    assert recursion.through(address, foreign, {ETH1: model.MAIN}) == ()


def gateways(*texts: str, recursive: bool = True) -> tuple[model.Gateway, ...]:
    """As neighbours name them."""
    return tuple(model.Gateway(ipaddress.ip_address(text), recursive=recursive) for text in texts)


def test_only_for_who_asked() -> None:
    """Without `recursive` a next hop is on-link or unusable; with it on-link goes first."""
    eth1 = model.Link(
        index=ETH1,
        name="eth1",
        up=True,
        running=True,
        addresses=(ipaddress.ip_interface("192.0.2.5/24"),),
    )
    foreign = {(V4, model.MAIN): table(_10_9_0_0__16=BY_ETH1, _192_0_2_0__25=route("192.0.2.9%3"))}
    hops = learned.NextHops([eth1], ["eth1"], foreign=foreign)
    stranger = learned.NextHops([eth1], [], foreign=foreign)

    [hop] = hops.way(gateways("10.9.0.5")).next_hops  # type: ignore[union-attr]
    assert str(hop.gateway) == "192.0.2.254"
    [hop] = hops.way(gateways("192.0.2.7")).next_hops  # type: ignore[union-attr]
    assert str(hop.gateway) == "192.0.2.7"
    assert hops.way(gateways("10.9.0.5", recursive=False)) == "nexthop-offlink"
    assert hops.way(gateways("192.0.2.5")) == "nexthop-own"
    assert stranger.way(gateways("10.9.0.5")) == "nexthop-offlink", "eth1 is no parent"
    both = hops.way(gateways("10.9.0.5", "192.0.2.7"))
    assert [str(h.gateway) for h in both.next_hops] == ["192.0.2.7", "192.0.2.254"]  # type: ignore[union-attr]


def test_others_routes_change() -> None:
    """What was asked for is worked out anew, and is news only if it leads elsewhere."""
    eth1 = model.Link(
        index=ETH1,
        name="eth1",
        up=True,
        running=True,
        addresses=(ipaddress.ip_interface("192.0.2.5/24"),),
    )
    foreign: dict[model.Table, model.Foreign] = {}
    before = learned.NextHops([eth1], ["eth1"], foreign=foreign)
    path = model.Path(
        neighbor=ipaddress.ip_address("192.0.2.2"),
        next_hop=ipaddress.ip_address("10.9.0.5"),
        recursive=True,
    )
    assert not before.reaches(path)
    hops = learned.NextHops([eth1], ["eth1"], foreign=foreign, asked=before.recursive)

    assert not hops.look_again()
    foreign[V4, model.MAIN] = table(_10_9_0_0__16=BY_ETH1)
    assert hops.look_again()
    assert hops.reaches(path)
    foreign[V4, model.MAIN] |= table(_10_0_0_0__8=BY_ETH1)
    assert not hops.look_again()
    del foreign[V4, model.MAIN]
    assert hops.look_again()
    assert not hops.reaches(path)
