"""When an endpoint is gone so are the kernel's entries of its addresses; and at no other time."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
from pathlib import Path

import pytest

from bgp_ipvlan import model, reconcile
from tests.unit.core.conftest import (
    HOST,
    OTHER,
    OWN,
    PATH,
    World,
    again,
    end,
    leave,
    net,
    stretched,
)

ADDRESS = HOST.network_address
BOTH = dataclasses.replace(
    end(),
    addresses=(ipaddress.ip_interface("10.1.1.2/24"), ipaddress.ip_interface("fd00:1::2/64")),
)


async def gone(world: World, endpoint: model.Endpoint) -> None:
    """What the front door does at DeleteEndpoint."""
    await world.state.remove_endpoint(endpoint.id)
    world.core.network_changed(endpoint.network_id)
    world.links.away.clear()
    await world.core.endpoints_gone([endpoint])


async def test_a_container_that_is_gone(world: World) -> None:
    """All of its addresses, once no route leads to it; not before, not at Leave, not twice."""
    await world.start()
    await world.create(net())
    await world.join(BOTH, net())
    assert HOST in world.routes.table()
    await leave(world, BOTH)
    await world.settled()
    assert world.conntrack.asked == []

    await gone(world, BOTH)
    await world.settled()

    assert world.conntrack.asked == [{address.ip for address in BOTH.addresses}]
    assert world.conntrack.routes == [{OWN: model.Blackhole()}]


async def test_changes_of_the_way_flush_nothing(world: World) -> None:
    """Learned routes come, change their next hop and go; links flap; containers stay where they are."""
    third = dataclasses.replace(PATH, next_hop=ipaddress.ip_address("192.0.2.3"))
    await world.start()
    await world.create(stretched())
    await world.join(end(), stretched())
    for paths in ((PATH,), (third,), (PATH, third), ()):
        world.learn(OTHER, HOST, paths=paths)
        await world.settled()
    world.learn(OTHER)
    for up in (False, True):
        world.links.change("eth1", up=up, running=up)
        await world.settled()
    await world.core._audit(full=True)

    assert world.conntrack.asked == []


async def test_one_that_moves_to_another_host(world: World) -> None:
    """It goes here, and its entries with it; that the other host then announces it is no reason more."""
    await world.start()
    await world.create(stretched())
    await world.join(end(), stretched())
    await gone(world, end())
    world.learn(HOST)
    await world.settled()

    assert world.conntrack.asked == [{ADDRESS}]


async def test_one_that_died_without_a_word(world: World) -> None:
    """Found in the second audit in a row."""
    await world.start()
    await world.create(net())
    await world.join(end(), net())
    world.links.away.clear()
    await world.core._audit(full=True)
    assert world.conntrack.asked == []
    await world.core._audit(full=True)

    assert world.conntrack.asked == [{ADDRESS}]
    assert world.conntrack.routes == [{OWN: model.Blackhole()}]


async def test_one_that_died_while_we_were_away(world: World, tmp_path: Path) -> None:
    """Found at start."""
    await world.start()
    await world.create(net())
    await world.join(end(), net())
    world.links.away.clear()
    then = await again(world, tmp_path)
    await then.start()

    assert then.conntrack.asked == [{ADDRESS}]
    await then.stop()


async def test_the_routes_go_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much else is being written; but nobody waits for ever."""
    await world.start()
    written = asyncio.Event()

    async def flush() -> None:
        await written.wait()

    monkeypatch.setattr(world.routes, "flush", flush)
    waits = asyncio.create_task(world.core.endpoints_gone([end()]))
    for _ in range(9):
        await asyncio.sleep(0)  # it would have been asked by now
    assert world.conntrack.asked == []
    written.set()
    await waits
    assert world.conntrack.asked == [{ADDRESS}]

    written.clear()
    monkeypatch.setattr(reconcile, "_ROUTES_GO", 0.01)
    await world.core.endpoints_gone([end()])
    assert world.conntrack.asked == [{ADDRESS}, {ADDRESS}]
    written.set()


async def test_nobody_is_gone(world: World) -> None:
    """A network without endpoints is removed: nothing is asked for."""
    await world.start()
    await world.core.endpoints_gone([])

    assert world.conntrack.asked == []
