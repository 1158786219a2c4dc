"""The host's links and addresses: what the engine has to know of them, and when."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress

import pytest

from bgp_ipvlan import errors, model, reconcile
from tests.fakes import routes as routes_
from tests.unit.core.conftest import ETH1, OTHER, PATH, SHIM, World, end, net


def by(next_hop: str) -> model.Path:
    """A path with another next hop."""
    return dataclasses.replace(PATH, next_hop=ipaddress.ip_address(next_hop))


async def test_the_engine_knows_the_hosts_addresses(world: World) -> None:
    """At the start and whenever they change: sessions end with their address or its link."""
    lo = model.Link(
        index=1,
        name="lo",
        up=True,
        running=True,
        addresses=(ipaddress.ip_interface("127.0.0.1/8"),),
    )
    world.links.links["lo"] = lo
    await world.start()
    mine = {ipaddress.ip_address(text) for text in ("127.0.0.1", "192.0.2.1", "2001:db8::1")}
    assert world.engine.addresses == mine
    assert world.engine.usable(PATH)
    assert not world.engine.usable(by("203.0.113.1"))
    assert not world.engine.usable(by("192.0.2.1")), "ourselves"
    world.links.change("eth1", running=False)
    only = {ipaddress.ip_address("127.0.0.1")}
    await world.until(lambda: world.engine.addresses == only, "the link is down")
    assert not world.engine.usable(PATH)
    world.links.change("eth1", running=True)
    await world.until(lambda: world.engine.addresses == mine, "up again")
    world.links.change("eth1", addresses=(ipaddress.ip_interface("2001:db8::1/64"),))
    gone = mine - {ipaddress.ip_address("192.0.2.1")}
    await world.until(lambda: world.engine.addresses == gone, "an address is gone")
    assert not world.engine.usable(PATH)


async def test_an_address_is_replaced_in_its_subnet(world: World) -> None:
    """The same next hops can be reached as before, but a session's own address is gone."""
    await world.start()
    world.links.change("eth1", addresses=(ipaddress.ip_interface("192.0.2.9/24"),))
    now = frozenset({ipaddress.ip_address("192.0.2.9")})
    await world.until(lambda: world.engine.addresses == now, "told")
    world.links.change("eth1", addresses=(ipaddress.ip_interface("192.0.2.7/24"),))
    now = frozenset({ipaddress.ip_address("192.0.2.7")})
    await world.until(lambda: world.engine.addresses == now, "told again")


async def test_the_engine_is_told_before_repairs(world: World) -> None:
    """Making a shim anew may wait for a busy kernel; the word that a link is down does not."""
    await world.start()
    await world.create(net())
    hanging = asyncio.Event()

    async def hangs(spec: model.SlaveSpec) -> model.Link:
        hanging.set()
        await asyncio.Event().wait()
        raise AssertionError

    world.links.ensure_slave = hangs  # type: ignore[method-assign]
    world.links.remove(SHIM)
    world.links.change("eth1", running=False)
    await hanging.wait()
    assert world.engine.addresses == frozenset()


async def test_the_engine_hears_of_links_that_the_front_door_read(world: World) -> None:
    """The door reads links as well: what it has seen is still news for the engine."""
    await world.start()
    world.links.links["eth1"] = dataclasses.replace(ETH1, running=False)
    with pytest.raises(errors.Refused, match="is down"):
        await world.core.check_create(net())
    world.core.around.recompute()
    world.core.links_changed()
    await world.until(lambda: world.engine.addresses == frozenset(), "told")


async def test_containers_links_are_no_news(world: World) -> None:
    """A slave comes and goes: the engine is not bothered."""
    await world.start()
    await world.create(net())
    told = world.engine.told_of_surroundings
    await world.join(end(), net())
    await world.settled()
    assert world.engine.told_of_surroundings == told


async def test_links_are_looked_at_during_an_audit(world: World) -> None:
    """Reading routes back takes long: a link that goes down meanwhile is seen at once."""
    await world.start()
    reading, go = asyncio.Event(), asyncio.Event()
    flush = world.routes.flush

    async def slow() -> None:
        reading.set()
        await go.wait()
        await flush()

    world.routes.flush = slow  # type: ignore[method-assign]
    world.core.nexthop_touched()
    await reading.wait()
    world.links.change("eth1", running=False)
    await world.until(lambda: world.engine.addresses == frozenset(), "told")
    assert not go.is_set()
    go.set()


async def test_an_audit_waits_for_the_links(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Routes that went with a link are not put back before it is known that it is down."""
    monkeypatch.setattr(reconcile, "_RETRY", 20.0)
    await world.start()
    world.learn(OTHER)
    reading, go = asyncio.Event(), asyncio.Event()
    read = world.links.read

    async def slow() -> tuple[model.Link, ...]:
        reading.set()
        await go.wait()
        return await read()

    world.links.read = slow  # type: ignore[method-assign]
    world.routes.lose(OTHER)
    world.links.change("eth1", running=False)
    await reading.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert world.routes.table() == {}
    go.set()
    await world.settled()
    assert world.routes.table() == {}
    assert world.core.counters.repaired == 0


async def test_ipv4_through_an_ipv6_next_hop(world: World) -> None:
    """RFC 8950: also by a link-local address, on the link of the neighbour."""
    await world.start()
    six, local = ipaddress.ip_address("2001:db8::2"), ipaddress.ip_address("fe80::2")
    world.learn(OTHER, paths=(dataclasses.replace(PATH, next_hop=six),))
    assert world.routes.table() == {OTHER: routes_.Hops((model.NextHop(six, 3),))}
    world.learn(OTHER, paths=(dataclasses.replace(PATH, next_hop=local),))
    assert world.routes.table() == {OTHER: routes_.Hops((model.NextHop(local, 3),))}


async def test_a_foreign_route_in_the_table_that_was_left(world: World) -> None:
    """Refused for somebody's route in a VRF; back in the main table, it is a route."""
    blue = (ipaddress.ip_interface("198.51.100.1/24"),)
    world.links.links["eth2"] = dataclasses.replace(
        ETH1, index=4, name="eth2", addresses=blue, table=100
    )
    world.routes.put_foreign(OTHER, table=100)
    await world.start()
    world.learn(OTHER, paths=(PATH, by("198.51.100.2")))
    assert OTHER in world.routes.table()
    world.links.change("eth1", running=False)
    await world.until(lambda: world.reason(OTHER) == "foreign-route", "refused in table 100")
    world.links.change("eth1", running=True)
    await world.until(lambda: world.reason(OTHER) is None, "decided anew")
    await world.until(lambda: OTHER in world.routes.table(), "in the main table")
