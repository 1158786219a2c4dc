"""Ends and starts of the daemon over one kernel and one state."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from bgp_ipvlan import model
from tests.unit.core.conftest import ETH1, NET, OTHER, OWN, SHIM, VIA, World, again, end, net


async def test_a_restart_writes_nothing(world: World, tmp_path: Path) -> None:
    """Crash and start: routes adopted, announced as before, not one route written."""
    await world.start()
    await world.create(net())
    await world.join(end(), net())
    world.learn(OTHER)
    table = world.routes.table()
    world = await again(world, tmp_path)
    try:
        world.routes.written.clear()
        assert await world.start() is True, "same boot: forwarding was preserved"
        assert set(world.engine.announced) == {OWN}
        world.learn(OTHER)
        world.core.synced()
        await world.settled()
        assert world.routes.written == []
        assert world.routes.table() == table
        assert world.links.deleted == []
    finally:
        await world.stop()


async def test_nothing_is_deleted_before_all_is_known(world: World, tmp_path: Path) -> None:
    """An adopted route that nobody announces stays until `synced`, also over an audit."""
    await world.start()
    world.learn(OTHER)
    world = await again(world, tmp_path)
    try:
        await world.start()
        await world.settled()
        assert world.routes.table() == {OTHER: VIA}
        world.core.synced()
        assert world.routes.table() == {}
    finally:
        await world.stop()


async def test_a_network_removed_while_we_were_down(world: World, tmp_path: Path) -> None:
    """Its shim is removed at start, its blackhole when all is known."""
    await world.start()
    await world.create(net())
    await world.state.remove_network(NET)
    world = await again(world, tmp_path)
    try:
        await world.start()
        assert world.links.ours() == set()
        assert world.routes.table() == {OWN: model.Blackhole()}
        world.core.synced()
        assert world.routes.table() == {}
    finally:
        await world.stop()


async def test_after_a_reboot(world: World, tmp_path: Path) -> None:
    """Links and routes are gone, containers too: endpoints forgotten, shim and blackhole made."""
    await world.start()
    await world.create(net())
    await world.join(end(), net())
    await world.stop()
    world.links.on_change = lambda _lost: None
    world.links.remove("eth1")
    world.links.links["eth1"] = ETH1
    world.routes.ours.clear()
    world = await again(world, tmp_path)
    try:
        assert await world.start("another boot") is False
        assert dict(world.state.endpoints) == {}
        assert world.links.ours() == {SHIM}
        assert world.routes.table() == {OWN: model.Blackhole()}
        assert set(world.engine.announced) == {OWN}
    finally:
        await world.stop()


async def test_withdraw_learned_leaves_our_own(world: World) -> None:
    """For `stop --withdraw`: nobody keeps learned routes true any more."""
    await world.start()
    await world.create(net())
    world.learn(OTHER, ipaddress.ip_network("10.7.0.0/16"))
    world.core.withdraw_learned()
    assert world.routes.table() == {OWN: model.Blackhole()}
