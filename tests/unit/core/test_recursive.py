"""Next hops behind others' routes (`recursive`): they come, move and go with these."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path

import pytest

from bgp_ipvlan import intake, model
from tests.fakes import routes as routes_
from tests.unit.core.conftest import (
    ETH1,
    MAIN,
    NET,
    OTHER,
    PATH,
    PEER,
    V4,
    World,
    again,
    net,
)

FAR = dataclasses.replace(PATH, next_hop=ipaddress.ip_address("10.9.0.5"), recursive=True)
AROUND = model.nlri(ipaddress.ip_network("10.9.0.0/16"))
PREFIXES = [ipaddress.ip_network(f"10.7.{number}.0/24") for number in range(50)]


def static(*gateways: str) -> model.ForeignRoute:
    """Somebody's route out of eth1."""
    return model.ForeignRoute("proto static", tuple(hops(*gateways).next_hops))


def hops(*gateways: str) -> routes_.Hops:
    """Out of eth1."""
    return routes_.Hops(tuple(model.NextHop(ipaddress.ip_address(g), 3) for g in gateways))


def foreign(world: World, route: model.ForeignRoute | None, key: model.Nlri = AROUND) -> None:
    """Somebody makes a route in the kernel, or (None) takes it away, and its monitor tells."""
    if route is None:
        del world.routes.foreign[MAIN][key]
    else:
        world.routes.foreign[MAIN][key] = {100: route}
    world.core.foreign_route(MAIN, key, 100, route)


async def test_with_others_routes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, routed, led elsewhere by one message, two ways at once, and refused again."""
    monkeypatch.setattr(intake, "_SLICE", 7)
    await world.start()
    world.learn(*PREFIXES, paths=(FAR,))
    assert world.reason(PREFIXES[0]) == "nexthop-offlink"
    assert not world.engine.usable(FAR)

    foreign(world, static("192.0.2.254"))
    await world.until(lambda: len(world.routes.table()) == 50, "all routed")
    assert set(world.routes.table().values()) == {hops("192.0.2.254")}
    assert world.core.refused[V4] == {}
    assert world.engine.usable(FAR)
    world.routes.written.clear()

    foreign(world, static("192.0.2.253"))
    moved = hops("192.0.2.253")
    await world.until(lambda: world.routes.table()[PREFIXES[0]] == moved, "led elsewhere")
    foreign(world, static("192.0.2.253", "192.0.2.254"))
    both = hops("192.0.2.253", "192.0.2.254")
    await world.until(lambda: world.routes.table()[PREFIXES[0]] == both, "two ways at once")
    assert set(world.routes.table().values()) == {both}
    assert world.routes.written == [], "no route was touched, only the object"

    foreign(world, None)
    await world.until(lambda: not world.routes.table(), "the routes went with the object")
    await world.until(lambda: len(world.core.refused[V4]) == 50, "decided anew")
    assert world.reason(PREFIXES[49]) == "nexthop-offlink"
    assert not world.engine.usable(FAR)
    assert world.routes.written == []


async def test_it_costs_nothing_where_nothing_changes(world: World) -> None:
    """Others' routes that lead no next hop elsewhere: nobody is told, nothing decided."""
    await world.start()
    world.learn(OTHER)
    foreign(world, static("192.0.2.254"))
    await world.settled()
    assert world.core._resolving is None
    world.learn(PREFIXES[0], paths=(FAR,))
    await world.settled()
    told, led = world.engine.told_of_surroundings, len(world.routes.led)

    for number in range(100):
        foreign(world, static("192.0.2.9"), model.nlri(ipaddress.ip_network(f"10.{number}.0.0/30")))
    foreign(world, static("192.0.2.254"), model.nlri(ipaddress.ip_network("10.9.0.0/17")))
    await world.settled()

    assert world.engine.told_of_surroundings == told
    assert len(world.routes.led) == led
    assert world.routes.table() == {OTHER: hops(str(PEER)), PREFIXES[0]: hops("192.0.2.254")}


async def test_only_where_the_neighbor_has_it(world: World) -> None:
    """The same next hop by a neighbour without `recursive` stays refused."""
    await world.start()
    foreign(world, static("192.0.2.254"))
    world.learn(OTHER, paths=(dataclasses.replace(FAR, recursive=False),))
    assert world.reason(OTHER) == "nexthop-offlink"

    world.learn(OTHER, paths=(FAR,))
    assert world.routes.table() == {OTHER: hops("192.0.2.254")}


async def test_found_by_reading_the_kernel(world: World) -> None:
    """What no event told of counts after an audit; as do routes that were there at the start."""
    world.routes.foreign[MAIN][AROUND] = {0: static("192.0.2.254")}
    await world.start()
    world.learn(OTHER, paths=(FAR,))
    assert world.routes.table() == {OTHER: hops("192.0.2.254")}

    del world.routes.foreign[MAIN][AROUND]
    await world.settled()
    await world.until(lambda: not world.routes.table(), "gone")
    world.routes.foreign[MAIN][AROUND] = {0: static("192.0.2.253")}
    await world.settled()
    await world.until(lambda: OTHER in world.routes.table(), "back")
    assert world.routes.table() == {OTHER: hops("192.0.2.253")}


async def test_the_parent_goes_down(world: World) -> None:
    """With the parent the way is gone, whatever route the kernel still shows; and it comes back."""
    world.routes.foreign[MAIN][AROUND] = {0: static("192.0.2.254")}
    await world.start()
    world.learn(OTHER, paths=(FAR,))
    world.links.change("eth1", up=False)
    await world.until(lambda: world.reason(OTHER) == "nexthop-offlink", "refused")
    assert world.routes.table() == {}

    world.links.change("eth1", up=True)
    await world.until(lambda: world.routes.table() == {OTHER: hops("192.0.2.254")}, "back")


@pytest.mark.parametrize("advertise", [model.Advertise.SUBNET, model.Advertise.ENDPOINT])
async def test_a_parent_comes_with_its_first_network(
    world: World, advertise: model.Advertise
) -> None:
    """What leaves by it counts from then on, and no longer when its last network goes.

    Without a link of our own, whose coming would have us look around anyway.
    """
    eth2 = (ipaddress.ip_interface("198.51.100.1/24"),)
    world.links.links["eth2"] = dataclasses.replace(ETH1, index=4, name="eth2", addresses=eth2)
    hop = model.NextHop(ipaddress.ip_address("198.51.100.2"), 4)
    world.routes.foreign[MAIN][AROUND] = {0: model.ForeignRoute("proto static", (hop,))}
    await world.start()
    world.learn(OTHER, paths=(FAR,))
    assert world.reason(OTHER) == "nexthop-offlink"

    network = net(parent="eth2", advertise=advertise, host_access=False)
    await world.state.put_network(network)
    world.core.network_changed(NET)
    await world.until(lambda: world.routes.table().get(OTHER) == routes_.Hops((hop,)), "routed")
    assert world.engine.usable(FAR)
    await world.state.remove_network(NET)
    world.core.network_changed(NET)
    await world.until(lambda: world.reason(OTHER) == "nexthop-offlink", "refused")


async def test_without_nexthop_objects(world: World, tmp_path: Path) -> None:
    """Each route carries its next hops, and is written anew."""
    world.routes.nexthop_objects = False
    world = await again(world, tmp_path)
    await world.start()
    world.learn(OTHER, paths=(FAR,))
    for gateway in ("192.0.2.254", "192.0.2.253"):
        foreign(world, static(gateway))
        expected = hops(gateway)
        await world.until(lambda want=expected: world.routes.table() == {OTHER: want}, gateway)  # type: ignore[misc]
    foreign(world, None)
    await world.until(lambda: not world.routes.table(), "gone")
    assert world.reason(OTHER) == "nexthop-offlink"
    await world.stop()
