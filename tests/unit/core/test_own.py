"""Our own networks: announced and routed as they, and the parent, come and go."""

from __future__ import annotations

import dataclasses
import ipaddress

import pytest

from bgp_ipvlan import errors, model
from tests.unit.core.conftest import (
    ETH1,
    MAIN,
    NET,
    NET2,
    OTHER,
    OWN,
    PATH,
    SHIM,
    STATIC,
    V4,
    World,
    end,
    net,
)


async def test_a_network_comes_and_goes(world: World) -> None:
    """Blackhole before the announcement, withdrawal before the blackhole goes."""
    await world.start()
    await world.create(net())
    assert world.routes.table() == {OWN: model.Blackhole()}
    [announced] = world.engine.announced.values()
    assert announced.next_hop == ipaddress.ip_address("192.0.2.1")
    assert announced.large_communities == ((64512, 179, 17900), (64512, 17900, 3221225985))
    await world.remove(NET)
    assert world.routes.table() == {}
    assert world.engine.journal == [
        ("announce", OWN, model.Blackhole()),
        ("withdraw", OWN, model.Blackhole()),
    ]


async def test_a_container_gets_its_host_route(world: World) -> None:
    """One /32 to the shim while it is joined; nothing is announced anew for it."""
    await world.start()
    await world.create(net())
    await world.join(end(), net())
    shim = world.links.links[SHIM].index
    host = ipaddress.ip_network("10.1.1.2/32")
    gateway = ipaddress.ip_address("10.1.1.1")
    assert world.routes.table()[host] == model.Device(shim, gateway)
    await world.state.put_endpoint(dataclasses.replace(end(), joined=False))
    world.core.network_changed(NET)
    assert world.routes.table() == {OWN: model.Blackhole()}
    assert len(world.engine.journal) == 1


async def test_what_is_not_announced(world: World) -> None:
    """`--internal` and bgp.advertise=none: no announcement, no blackhole."""
    await world.start()
    await world.create(net(internal=True))
    await world.create(net(NET2, "10.1.2.0/24", advertise=model.Advertise.NONE))
    assert world.engine.announced == {}
    assert world.routes.table() == {}


async def test_parent_down_and_up(world: World) -> None:
    """Withdrawn while the parent is down, with the blackhole in place; announced again after."""
    await world.start()
    await world.create(net())
    world.links.change("eth1", running=False)
    await world.until(lambda: not world.engine.announced, "withdrawn")
    assert world.core.own[NET].notes == {OWN: "parent-down"}
    assert world.routes.table() == {OWN: model.Blackhole()}
    world.links.change("eth1", running=True)
    await world.until(lambda: OWN in world.engine.announced, "announced again")


async def test_parent_made_anew(world: World) -> None:
    """It has a new index and no shim: shim and host routes are made again."""
    await world.start()
    await world.create(net())
    await world.join(end(), net())
    before = world.links.links[SHIM].index
    for prefix in [p for p, v in world.routes.table().items() if v != model.Blackhole()]:
        world.routes.lose(prefix)  # with their device, without a word
    world.links.remove("eth1")
    await world.until(lambda: not world.engine.announced, "withdrawn")
    world.links.add(dataclasses.replace(ETH1, index=30))
    await world.until(lambda: OWN in world.engine.announced, "announced again")
    await world.settled()
    shim = world.links.links[SHIM]
    assert shim.index != before
    value = world.routes.table()[ipaddress.ip_network("10.1.1.2/32")]
    assert isinstance(value, model.Device)
    assert value.ifindex == shim.index


async def test_the_parents_address_changes(world: World) -> None:
    """NEXT_HOP follows; without an address of the family nothing is announced."""
    await world.start()
    await world.create(net())
    world.links.change("eth1", addresses=(ipaddress.ip_interface("198.51.100.9/24"),))
    new = ipaddress.ip_address("198.51.100.9")
    await world.until(lambda: world.engine.announced[OWN].next_hop == new, "next hop")
    world.links.change("eth1", addresses=())
    await world.until(lambda: not world.engine.announced, "withdrawn")
    assert world.core.own[NET].notes == {OWN: "no-nexthop"}


async def test_check_create_sees_everything(world: World) -> None:
    """Each case of D10 that needs the world: links, networks, routes, what was learned, slaves."""
    await world.start()
    await world.create(net())
    world.learn(OTHER)
    static = ipaddress.ip_network("10.1.3.0/24")
    world.core.foreign_route(MAIN, model.nlri(static), 0, STATIC)
    marked = dataclasses.replace(PATH, large_communities=((64999, 179, 17900),))
    world.learn(ipaddress.ip_network("10.2.0.0/16"), paths=(marked,))
    world.learn(ipaddress.ip_network("10.3.0.0/16"))
    for subnet, reason in (
        ("10.1.1.128/25", "own-overlap"),
        ("192.0.2.128/25", "connected-overlap"),
        ("10.1.2.0/24", "announced-elsewhere"),
        ("10.1.2.0/23", "announced-elsewhere"),
        ("10.2.7.0/24", "announced-elsewhere"),
        ("10.1.3.0/24", "foreign-route"),
        ("172.17.0.0/16", "default-pool"),
    ):
        with pytest.raises(errors.Refused) as caught:
            await world.core.check_create(net(NET2, subnet))
        assert caught.value.reason == reason, subnet
    for prefix, reason in (("10.1.5.0/24", "import-policy"), ("10.4.0.0/16", "as-loop")):
        key = model.nlri(ipaddress.ip_network(prefix))
        world.engine.refused.append(model.Refusal(V4, key, marked, reason))
    for subnet in ("10.1.5.0/24", "10.1.5.0/25", "10.1.4.0/23", "10.4.4.0/24"):
        with pytest.raises(errors.Refused, match="already announces") as caught:
            await world.core.check_create(net(NET2, subnet))
        assert caught.value.reason == "announced-elsewhere", subnet
    for subnet in ("10.3.7.0/24", "10.1.4.0/24"):
        await world.core.check_create(net(NET2, subnet))
    for parent, kind in (("eth9", errors.BadRequest), ("lo", errors.BadRequest)):
        with pytest.raises(kind):
            await world.core.check_create(net(NET2, "10.1.4.0/24", parent=parent))
    world.links.away["x"] = model.Slave(
        name="eth0",
        alias="",
        mode=model.Mode.L2,
        flag=model.Flag.BRIDGE,
        parent_index=3,
        namespace="/proc/9/ns/net",
    )
    with pytest.raises(errors.Refused, match="already carries ipvlan mode l2"):
        await world.core.check_create(net(NET2, "10.1.4.0/24"))
