"""What nobody is asked for by ARP follows our networks; and who has no default route."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from bgp_ipvlan import errors, model, origin
from tests.unit.core.conftest import (
    ETH1,
    HOST,
    MAIN,
    NET,
    NET2,
    OWN,
    PATH,
    PEER,
    World,
    again,
    end,
    leave,
    net,
    stretched,
)

SUBNET = (0x0A010100, 0x0A0101FF)
ADDRESS = (0x0A010102, 0x0A010102)
DEFAULT = model.nlri(model.prefix(model.Family.IPV4, b"\0"))
ROUTER = model.ForeignRoute("proto static via 192.0.2.2", (model.NextHop(PEER, ETH1.index),))
WIRE = model.ForeignRoute("proto static scope link", on_link=ETH1.index)


async def until(world: World, *ranges: tuple[int, int]) -> None:
    """Wait for the filter to be this one."""
    wanted = (("eth1",), ranges) if ranges else ((), ())
    await world.until(lambda: world.arp.now == wanted, f"filter {wanted}")


async def test_a_subnet_while_it_is_ours(world: World) -> None:
    """From the creation of a network to its end, its containers changing nothing."""
    await world.start()
    await world.create(net())
    await until(world, SUBNET)
    await world.create(net(NET2, "10.1.4.0/24"))
    await until(world, SUBNET, (0x0A010400, 0x0A0104FF))
    await world.join(end(), net())
    await until(world, SUBNET, (0x0A010400, 0x0A0104FF))
    await world.remove(NET2)
    await until(world, SUBNET)
    await leave(world, end())
    await world.state.remove_endpoint(end().id)
    await world.remove(NET)
    await until(world)


async def test_the_addresses_of_a_shared_subnet(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`endpoint`: a container's address, and for as long as it lingers; not the subnet."""
    monkeypatch.setattr(origin, "LINGER", 0.2)
    await world.start()
    await world.create(stretched())
    await until(world)
    await world.join(end(), stretched())
    await until(world, ADDRESS)
    await leave(world, end())
    assert world.routes.table()[HOST] == model.Blackhole()
    assert world.arp.now == (("eth1",), (ADDRESS,))
    await until(world)


async def test_the_administrators_wire(world: World) -> None:
    """An address that he routes to the wire may be asked for, until he does not."""
    await world.start()
    await world.create(net())
    key = model.nlri(HOST)

    world.core.foreign_route(MAIN, key, 0, WIRE)
    await until(world, (SUBNET[0], ADDRESS[0] - 1), (ADDRESS[0] + 1, SUBNET[1]))

    world.core.foreign_route(MAIN, key, 0, None)
    await until(world, SUBNET)


async def test_an_audit_repairs_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody's firewall flushed all rules: put back with the next audit, counted and logged."""
    await world.start()
    await world.create(net())
    await until(world, SUBNET)
    assert world.core.arp.repaired == 0
    world.arp.now = ((), ())

    world.core.nexthop_touched()

    await until(world, SUBNET)
    await world.until(lambda: world.core.arp.repaired == 1, "counted")
    assert "arp filter repaired" in caplog.text


async def test_a_kernel_without_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Said once, and all else works; when it can be made after all it is."""
    world.arp.failure = errors.KernelError("no-arp-filter", "cannot")
    await world.start()
    await world.create(net())
    await world.until(lambda: world.core.arp.trouble is not None, "the trouble")
    looks = world.arp.looks
    world.core.nexthop_touched()
    await world.until(lambda: world.arp.looks > looks, "another look")
    assert caplog.text.count("reason=no-arp-filter") == 1
    assert world.routes.table()[OWN] == model.Blackhole()

    world.arp.failure = None
    await world.settled()

    await until(world, SUBNET)
    assert world.core.arp.trouble is None


async def test_what_an_earlier_run_left(world: World, tmp_path: Path) -> None:
    """It stays over a restart; and goes where the network went without us."""
    await world.start()
    await world.create(net())
    await until(world, SUBNET)
    world = await again(world, tmp_path)
    assert world.arp.now == (("eth1",), (SUBNET,))
    await world.state.remove_network(NET)

    await world.start()

    await until(world)
    assert world.core.arp.repaired == 0
    await world.stop()


async def test_no_default_route(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Said when a network of ours is concerned, once; over with a default route out of it."""
    caplog.set_level(logging.INFO, "bgp_ipvlan")
    await world.start()
    await world.create(net(internal=True))
    await world.settled()
    assert world.core.arp.without_default == set()
    await world.create(net(NET2, "10.1.4.0/24"))
    await world.until(lambda: world.core.arp.without_default == {"eth1"}, "the warning")
    await world.settled()

    world.core.foreign_route(MAIN, DEFAULT, 0, ROUTER)
    await world.until(lambda: not world.core.arp.without_default, "a default route")
    world.core.foreign_route(MAIN, DEFAULT, 0, None)
    await world.until(lambda: bool(world.core.arp.without_default), "none again")

    assert caplog.text.count("reason=no-default-route") == 2


async def test_a_parent_in_a_vrf(world: World) -> None:
    """There the kernel asks nobody, so nothing is said; again when it leaves the VRF."""
    await world.start()
    world.links.change("eth1", table=10)
    await world.settled()
    await world.create(net())
    await until(world, SUBNET)
    assert world.core.arp.without_default == set()

    world.links.change("eth1", table=0)
    await world.settled()

    await world.until(lambda: world.core.arp.without_default == {"eth1"}, "the warning")


async def test_one_default_route_for_another(world: World) -> None:
    """Out of the parent instead of elsewhere, and the reverse: told without a reading."""
    await world.start()
    away = model.ForeignRoute(
        "proto static via 198.51.100.9", (model.NextHop(PEER, ETH1.index + 1),)
    )
    world.core.foreign_route(MAIN, DEFAULT, 0, away)
    await world.create(net())
    await world.until(lambda: bool(world.core.arp.without_default), "the warning")
    world.core.foreign_route(MAIN, DEFAULT, 0, ROUTER)
    await world.until(lambda: not world.core.arp.without_default, "a default route")
    world.core.foreign_route(MAIN, DEFAULT, 0, away)
    await world.until(lambda: bool(world.core.arp.without_default), "the warning again")


async def test_a_learned_default_route(world: World) -> None:
    """With `--accept 0.0.0.0/0` a neighbour's counts as well."""
    accept = (model.prefix(model.Family.IPV4, DEFAULT),)
    world.core.around._settings = dataclasses.replace(world.core.around._settings, accept=accept)
    await world.start()
    await world.create(net())
    await world.until(lambda: bool(world.core.arp.without_default), "the warning")

    world.learn(model.prefix(model.Family.IPV4, DEFAULT), paths=(PATH,))
    await world.settled()

    await world.until(lambda: not world.core.arp.without_default, "a default route")
