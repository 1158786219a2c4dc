"""Networks that announce their containers, and share a subnet with other hosts."""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path

import pytest

from bgp_ipvlan import model, origin
from tests.unit.core.conftest import (
    ECHO,
    ELSEWHERE,
    HOST,
    NET,
    OWN,
    SHIM,
    THEIRS,
    VIA,
    World,
    again,
    end,
    leave,
    net,
    stretched,
)


async def test_a_container_is_announced_while_it_is_here(world: World) -> None:
    """`endpoint`: from Join to Leave, with a route beneath it at every moment."""
    await world.start()
    await world.create(stretched())
    assert (world.engine.announced, world.routes.table()) == ({}, {})
    await world.join(end(), stretched())
    device = model.Device(world.links.links[SHIM].index, ipaddress.ip_address("10.1.1.1"))
    assert world.routes.table() == {HOST: device}
    assert world.engine.announced[HOST].next_hop == ipaddress.ip_address("192.0.2.1")
    await leave(world, end())
    assert world.engine.announced == {}
    assert world.engine.journal == [("announce", HOST, device), ("withdraw", HOST, device)]


async def test_both_subnet_and_container(world: World) -> None:
    """`both`: the subnet all the time, the container while it is here."""
    await world.start()
    await world.create(stretched(both=True))
    assert set(world.engine.announced) == {OWN}
    await world.join(end(), stretched(both=True))
    assert set(world.engine.announced) == {OWN, HOST}
    await leave(world, end())
    assert set(world.engine.announced) == {OWN}
    assert world.routes.table()[OWN] == model.Blackhole()


async def test_an_address_lingers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a Leave a blackhole stays, for packets still on their way, and then goes."""
    monkeypatch.setattr(origin, "LINGER", 0.05)
    await world.start()
    await world.create(stretched(host_access=False))
    await world.join(end(), stretched(host_access=False))
    assert world.routes.table() == {HOST: model.Blackhole()}
    await leave(world, end())
    await world.settled()
    assert world.routes.table() == {HOST: model.Blackhole()}, "also over an audit"
    world.learn(HOST, paths=(ECHO,))
    assert world.reason(HOST) == "own-echo"
    world.learn(HOST, paths=())
    assert world.routes.table() == {HOST: model.Blackhole()}, "whatever comes back"
    await world.until(lambda: world.routes.table() == {}, "gone")
    world.learn(HOST)
    assert world.routes.table() == {HOST: VIA}, "it is no longer ours"


async def test_an_address_that_moved_does_not_linger(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new host announces it: that is the route at once, and no timer takes it away."""
    monkeypatch.setattr(origin, "LINGER", 0.02)
    await world.start()
    await world.create(stretched())
    await world.join(end(), stretched())
    world.learn(HOST, paths=(THEIRS,))
    assert world.reason(HOST) == "duplicate-prefix"
    await leave(world, end())
    assert world.routes.table() == {HOST: VIA}, "what was learned before the Leave counts now"
    world.learn(HOST, paths=())
    assert world.routes.table() == {}, "no longer ours"


async def test_a_container_comes_back_while_its_address_lingers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart: its route and announcement stay, whatever timer was running."""
    monkeypatch.setattr(origin, "LINGER", 0.02)
    await world.start()
    await world.create(stretched())
    await world.join(end(), stretched())
    table = world.routes.table()
    await leave(world, end())
    await world.state.put_endpoint(end())
    world.core.network_changed(NET)
    await asyncio.sleep(0.05)
    assert world.routes.table() == table
    assert set(world.engine.announced) == {HOST}


async def test_containers_elsewhere(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Other hosts' parts of the subnet are learned; what both announce is said quietly."""
    await world.start()
    world.learn(ELSEWHERE, OWN, paths=(THEIRS,))
    await world.create(stretched(both=True))
    assert world.routes.table() == {ELSEWHERE: VIA, OWN: model.Blackhole()}
    assert world.reason(OWN) == "shared-prefix"
    assert "shared-prefix" not in caplog.text
    await world.remove(NET)
    await world.create(stretched())
    assert world.routes.table() == {ELSEWHERE: VIA, OWN: VIA}, "`endpoint`: theirs is a route"


async def test_two_containers_of_one_address(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """On two hosts: our own stays, and it is said loudly, whoever came first."""
    await world.start()
    await world.create(stretched())
    await world.join(end(), stretched())
    table = world.routes.table()
    world.learn(HOST, paths=(THEIRS,))
    assert world.reason(HOST) == "duplicate-prefix"
    assert "prefix=10.1.1.2/32" in caplog.text
    assert "reason=duplicate-prefix" in caplog.text
    assert world.routes.table() == table
    assert HOST in world.engine.announced, "nothing is withdrawn by itself"
    third = ipaddress.ip_network("10.1.1.3/32")
    world.learn(third, paths=(THEIRS,))
    caplog.clear()
    await world.join(end("10.1.1.3/24", "f" * 64), stretched())
    assert world.reason(third) == "duplicate-prefix"
    assert "prefix=10.1.1.3/32" in caplog.text
    assert isinstance(world.routes.table()[third], model.Device)


async def test_our_own_echo_is_quiet(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Behind a switch with `allow-own-as` our prefixes come back: no route, no warning."""
    await world.start()
    await world.create(stretched(both=True))
    await world.join(end(), stretched(both=True))
    table = world.routes.table()
    world.learn(OWN, HOST, paths=(ECHO,))
    assert (world.reason(OWN), world.reason(HOST)) == ("own-echo", "own-echo")
    assert world.routes.table() == table
    assert "refused" not in caplog.text
    world.learn(OWN, paths=(THEIRS,))
    assert world.reason(OWN) == "shared-prefix", "another host's is not taken for ours"


async def test_an_echo_of_what_was_removed(world: World) -> None:
    """A network is created anew while the echo of its last life is still around."""
    await world.start()
    world.learn(OWN, paths=(ECHO,))
    await world.create(net())
    assert OWN in world.engine.announced


async def test_containers_are_announced_again_after_a_restart(world: World, tmp_path: Path) -> None:
    """The daemon comes back over the same state: not a route is written."""
    await world.start()
    await world.create(stretched())
    await world.join(end(), stretched())
    table = world.routes.table()
    world = await again(world, tmp_path)
    try:
        world.routes.written.clear()
        await world.start()
        world.core.synced()
        await world.settled()
        assert set(world.engine.announced) == {HOST}
        assert (world.routes.written, world.routes.table()) == ([], table)
    finally:
        await world.stop()


async def test_a_container_without_a_way_to_it(world: World) -> None:
    """The parent is down: withdrawn with its reason, and back with it; no linger, it is here."""
    await world.start()
    await world.create(stretched())
    await world.join(end(), stretched())
    table = world.routes.table()
    world.links.change("eth1", running=False)
    await world.until(lambda: not world.engine.announced, "withdrawn")
    assert world.core.own[NET].notes == {OWN: "parent-down"}
    assert world.routes.table() == table
    world.links.change("eth1", running=True)
    await world.until(lambda: HOST in world.engine.announced, "announced again")
    assert world.core.own[NET].notes == {OWN: "advertise-endpoint"}
