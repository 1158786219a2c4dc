"""Links and endpoints kept in step with the state: what was lost, what is left over."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bgp_ipvlan import model, ownership, plan, upkeep
from bgp_ipvlan import state as state_
from tests.fakes import links as links_

ETH1 = model.Link(index=3, name="eth1", up=True, running=True)
SUBNET = model.Subnet(ipaddress.ip_network("10.1.1.0/24"), ipaddress.ip_address("10.1.1.1"))
NET = model.Network(id="a" * 64, parent="eth1", subnets=(SUBNET,))
END = model.Endpoint(
    id="e" * 64, network_id=NET.id, addresses=(ipaddress.ip_interface("10.1.1.2/24"),), joined=True
)
SHIM, LINK = ownership.link_name(NET.id), ownership.link_name(END.id)


@dataclasses.dataclass
class World:
    """A host."""

    state: state_.State
    links: links_.FakeLinks
    upkeep: upkeep.Upkeep

    async def sweep(self, *, at_once: bool = False) -> set[str]:
        """One audit's, or the start's; the ids of the endpoints that went."""
        return {endpoint.id for endpoint in await self.upkeep.sweep(at_once=at_once)}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A host with a network, its shim, and a container."""
    state = await state_.State.open(tmp_path)
    links = links_.FakeLinks(ETH1)
    await state.put_network(NET)
    await state.put_endpoint(END)
    await links.ensure_slave(plan.own.shim(NET))
    await links.ensure_slave(plan.own.slave(NET, END))
    links.move(LINK)
    yield World(state, links, upkeep.Upkeep(state, links))
    links.check_consumed()
    await state.close()


async def test_all_well(world: World) -> None:
    """A container that lives, a shim that stands: nothing is touched, however often."""
    for _ in range(3):
        assert await world.sweep() == set()
    assert await world.sweep(at_once=True) == set()
    assert await world.upkeep.shims(world.links.links) is False
    assert dict(world.state.endpoints) == {END.id: END}
    assert world.links.ours() == {SHIM}


async def test_a_dead_endpoint_must_look_dead_twice(world: World) -> None:
    """Its link is nowhere: forgotten in the second audit in a row."""
    world.links.away.clear()
    assert await world.sweep() == set()
    assert END.id in world.state.endpoints
    assert await world.sweep() == {END.id}
    assert END.id not in world.state.endpoints


async def test_one_that_comes_back_starts_anew(world: World) -> None:
    """Dead, alive, dead: three audits are not two in a row."""
    away = dict(world.links.away)
    world.links.away.clear()
    await world.sweep()
    world.links.away.update(away)
    await world.sweep()
    world.links.away.clear()
    assert await world.sweep() == set()
    assert END.id in world.state.endpoints


async def test_an_incomplete_look_proves_nothing(world: World) -> None:
    """A namespace could not be looked into: nobody is dead, also at start."""
    world.links.away.clear()
    world.links.scan_complete = False
    for _ in range(3):
        assert await world.sweep() == set()
    assert await world.sweep(at_once=True) == set()
    assert END.id in world.state.endpoints


async def test_an_endpoint_between_create_and_join_lives(world: World) -> None:
    """It has no link yet, nor after Leave."""
    await world.state.put_endpoint(dataclasses.replace(END, joined=False))
    world.links.away.clear()
    for _ in range(3):
        assert await world.sweep() == set()
    assert END.id in world.state.endpoints


async def test_a_link_that_came_home_lives(world: World) -> None:
    """Docker moved it back, or has not moved it yet."""
    world.links.away.clear()
    await world.links.ensure_slave(plan.own.slave(NET, END))
    for _ in range(3):
        assert await world.sweep() == set()
    assert world.links.ours() == {SHIM, LINK}


async def test_a_link_of_nobody_is_removed_in_the_second_audit(world: World) -> None:
    """The state knows neither network nor endpoint of that id."""
    world.links.away.clear()
    await world.links.ensure_slave(plan.own.slave(NET, END))
    await world.state.remove_network(NET.id)
    await world.sweep()
    assert world.links.ours() == {SHIM, LINK}
    await world.sweep()
    assert world.links.ours() == set()


async def test_at_start_once_is_enough(world: World) -> None:
    """No request is being served: orphans and dead endpoints go at once."""
    world.links.away.clear()
    orphan = dataclasses.replace(END, id="f" * 64)
    await world.links.ensure_slave(plan.own.slave(NET, orphan))
    assert await world.sweep(at_once=True) == {END.id}
    assert dict(world.state.endpoints) == {}
    assert world.links.ours() == {SHIM}


async def test_what_is_not_ours_stays(world: World) -> None:
    """Names like ours without our mark, other kinds, others' aliases."""
    foreign = [
        model.Link(index=50, name="bi000000000001", kind="ipvlan"),
        model.Link(index=51, name="bi000000000002", kind="macvlan", alias="bgp-ipvlan:x"),
        model.Link(index=52, name="mine0", kind="ipvlan", alias="bgp-ipvlan:x"),
        model.Link(index=53, name="bi000000000003", kind="ipvlan", alias="somebody"),
    ]
    for link in foreign:
        world.links.add(link)
    await world.sweep(at_once=True)
    assert {link.name for link in foreign} < set(world.links.links)


async def test_a_link_half_made_is_removed(world: World) -> None:
    """A crash between making it and giving it its alias: our group tells whose it is."""
    world.links.add(
        model.Link(index=50, name="bi000000000001", kind="ipvlan", group=ownership.LINK_GROUP)
    )
    await world.sweep(at_once=True)
    assert world.links.ours() == {SHIM}


async def test_one_failure_does_not_stop_the_rest(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A link that cannot be deleted is tried in the next audits; the others go now."""
    world.links.away.clear()
    for letter in "12":
        await world.links.ensure_slave(
            plan.own.slave(NET, dataclasses.replace(END, id=letter * 64))
        )
    world.links.fail("delete")
    assert await world.sweep(at_once=True) == {END.id}
    assert len(world.links.ours()) == 2
    assert "link not removed" in caplog.text
    await world.sweep()
    await world.sweep()
    assert world.links.ours() == {SHIM}


async def test_a_missing_shim_is_made(world: World) -> None:
    """Also one that somebody set down; not without a parent, not where none belongs."""
    await world.state.put_network(dataclasses.replace(NET, id="b" * 64, host_access=False))
    world.links.remove(SHIM)
    assert await world.upkeep.shims(world.links.links) is True
    assert world.links.ours() == {SHIM}
    world.links.change(SHIM, up=False)
    assert await world.upkeep.shims(world.links.links) is True
    assert world.links.links[SHIM].up
    world.links.remove("eth1")
    assert await world.upkeep.shims(world.links.links) is False


async def test_a_shim_that_cannot_be_made(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Said with its reason; the next network's is made all the same."""
    other = dataclasses.replace(
        NET,
        id="b" * 64,
        subnets=(
            model.Subnet(ipaddress.ip_network("10.1.2.0/24"), ipaddress.ip_address("10.1.2.1")),
        ),
    )
    await world.state.put_network(other)
    world.links.remove(SHIM)
    world.links.fail("ensure_slave", "parent-busy")
    assert await world.upkeep.shims(world.links.links) is True
    assert world.links.ours() == {ownership.link_name("b" * 64)}
    assert "reason=parent-busy" in caplog.text


async def test_a_reboot_ends_every_container(world: World) -> None:
    """Another boot id: endpoints are forgotten once, networks stay; the same boot: all stays."""
    assert await world.upkeep.same_boot("one") is False
    assert dict(world.state.endpoints) == {}
    assert set(world.state.networks) == {NET.id}
    await world.state.put_endpoint(END)
    assert await world.upkeep.same_boot("one") is True
    assert set(world.state.endpoints) == {END.id}
    assert await world.upkeep.same_boot("two") is False
    assert dict(world.state.endpoints) == {}
