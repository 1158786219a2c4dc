"""A parent that goes into a VRF, or out of it: routes and the host's own link go with it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bgp_ipvlan import model
from tests.fakes import routes as routes_
from tests.unit.core.conftest import ETH1, HOST, OTHER, OWN, SHIM, VIA, World, end, net

BLUE = 300
OUT: dict[str, Any] = {"vrf": 0, "table": 0}
IN: dict[str, Any] = {"vrf": 9, "table": BLUE}


async def life(world: World) -> None:
    """A network with a container, and a prefix that was learned."""
    await world.start()
    await world.create(net())
    await world.join(end(), net())
    world.learn(OTHER)
    world.core.synced()
    await world.settled()


def numbers(world: World) -> set[int]:
    """The tables that hold routes of ours."""
    return {number for (_, number), routes in world.routes.ours.items() if routes}


async def move(world: World, where: dict[str, Any]) -> None:
    """The kernel sets a link down and up for that."""
    world.links.change("eth1", up=False, running=False)
    world.links.change("eth1", up=True, running=True, **where)
    await world.until(lambda: world.links.links[SHIM].vrf == where["vrf"], "the shim follows")
    await world.settled()


def expected(world: World) -> dict[model.Prefix, routes_.Shown]:
    """Own prefix, own container, learned prefix."""
    shim = world.links.links[SHIM]
    gateway = shim.addresses[0].ip
    return {OWN: model.Blackhole(), HOST: model.Device(shim.index, gateway), OTHER: VIA}


async def test_in_a_vrf_from_the_start(world: World) -> None:
    """All routes are in the VRF's table, and the shim is in the VRF."""
    world.links.links["eth1"] = dataclasses.replace(ETH1, **IN)
    await life(world)

    assert world.links.links[SHIM].vrf == 9
    assert expected(world) == world.routes.table(BLUE)
    assert numbers(world) == {BLUE}


@pytest.mark.parametrize(("first", "then"), [(OUT, IN), (IN, OUT), (IN, {"vrf": 8, "table": 301})])
async def test_moves(world: World, first: dict[str, Any], then: dict[str, Any]) -> None:
    """All routes follow; nothing is left in the table of before."""
    world.links.links["eth1"] = dataclasses.replace(ETH1, **first)
    await life(world)
    old = world.links.links[SHIM].index
    await move(world, then)

    table = then["table"] or model.MAIN
    assert world.links.links[SHIM].index != old
    assert expected(world) == world.routes.table(table)
    assert numbers(world) == {table}


async def test_an_address_of_the_shim_is_lost(world: World) -> None:
    """As IPv6 ones are with a VRF that is deleted: it is made anew."""
    await life(world)
    world.links.change(SHIM, addresses=())
    await world.until(lambda: bool(world.links.links[SHIM].addresses), "the address")
    await world.settled()

    assert expected(world) == world.routes.table()


async def test_others_routes_count_in_the_vrf(world: World) -> None:
    """One in its table wins over a learned prefix; one in the main table does not matter."""
    world.links.links["eth1"] = dataclasses.replace(ETH1, **IN)
    world.routes.put_foreign(OTHER)
    await life(world)
    assert world.reason(OTHER) is None

    world.routes.put_foreign(OTHER, table=BLUE)
    key = model.nlri(OTHER)
    static = model.ForeignRoute("proto static")
    world.core.foreign_route((model.Family.IPV4, BLUE), key, 0, static)
    await world.settled()

    assert world.reason(OTHER) == "foreign-route"
    assert OTHER not in world.routes.table(BLUE)
