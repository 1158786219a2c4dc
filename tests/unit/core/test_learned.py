"""What neighbours announce: routes, refusals, and their change with links and others' routes."""

from __future__ import annotations

import dataclasses
import ipaddress

import pytest

from bgp_ipvlan import intake, model
from tests.fakes import routes as routes_
from tests.unit.core.conftest import (
    MAIN,
    NET,
    OTHER,
    OWN,
    PATH,
    PEER,
    STATIC,
    V4,
    VIA,
    World,
    net,
)


async def test_learned_routes_come_change_and_go(world: World) -> None:
    """A prefix becomes a route by its next hop, follows it, becomes ECMP, and goes."""
    await world.start()
    world.learn(OTHER)
    assert world.routes.table() == {OTHER: VIA}
    third = ipaddress.ip_address("192.0.2.3")
    world.learn(OTHER, paths=(PATH, dataclasses.replace(PATH, next_hop=third)))
    assert world.routes.table() == {
        OTHER: routes_.Hops((model.NextHop(PEER, 3), model.NextHop(third, 3)))
    }
    world.learn(OTHER, paths=())
    assert world.routes.table() == {}


async def test_refusals_have_reasons(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Each prefix that may not be a route is none, and log and status say why."""
    await world.start()
    await world.create(net())
    cases = {
        "0.0.0.0/0": "default-route",
        "127.1.0.0/16": "martian",
        "192.0.2.128/25": "connected-overlap",
        "10.1.1.2/32": "own-prefix",
        "10.1.1.0/24": "duplicate-prefix",
    }
    for text, reason in cases.items():
        world.learn(ipaddress.ip_network(text))
        assert world.reason(ipaddress.ip_network(text)) == reason
        assert f"prefix={text}" in caplog.text
        assert f"reason={reason}" in caplog.text
    off = dataclasses.replace(PATH, next_hop=ipaddress.ip_address("203.0.113.1"))
    world.learn(OTHER, paths=(off,))
    assert world.reason(OTHER) == "nexthop-offlink"
    assert world.routes.table() == {OWN: model.Blackhole()}


async def test_a_foreign_route_wins_while_it_is_there(world: World) -> None:
    """It comes: ours goes. It goes: ours comes back. Its own other routes do not matter."""
    await world.start()
    world.learn(OTHER)
    key = model.nlri(OTHER)
    world.core.foreign_route(MAIN, key, 0, STATIC)
    world.core.foreign_route(MAIN, key, 5, STATIC)
    assert world.routes.table() == {}
    assert world.reason(OTHER) == "foreign-route"
    world.core.foreign_route(MAIN, key, 0, None)
    assert world.routes.table() == {}
    world.core.foreign_route(MAIN, key, 5, None)
    assert world.routes.table() == {OTHER: VIA}
    assert world.reason(OTHER) is None


async def test_a_foreign_route_that_nobody_told_of(world: World) -> None:
    """An audit finds it, and finds it gone."""
    await world.start()
    world.learn(OTHER)
    world.routes.put_foreign(OTHER)
    await world.settled()
    assert world.routes.table() == {}
    world.routes.drop_foreign(OTHER)
    await world.settled()
    assert world.routes.table() == {OTHER: VIA}


async def test_news_of_a_foreign_route_during_an_audit(world: World) -> None:
    """The reading is older than the event: the event counts."""
    await world.start()
    world.learn(OTHER)
    key = model.nlri(OTHER)

    def comes() -> None:
        world.routes.put_foreign(OTHER)
        world.core.foreign_route(MAIN, key, 0, STATIC)

    def goes() -> None:
        world.routes.drop_foreign(OTHER)
        world.core.foreign_route(MAIN, key, 0, None)

    world.routes.during_dump = comes
    await world.core._audit(full=False)
    assert (world.routes.table(), world.reason(OTHER)) == ({}, "foreign-route")
    world.routes.during_dump = goes
    await world.core._audit(full=False)
    assert (world.routes.table(), world.reason(OTHER)) == ({OTHER: VIA}, None)


async def test_a_network_hides_learned_prefixes_while_it_is_there(world: World) -> None:
    """A network that is not announced may cover learned ones: refused, and back afterwards."""
    await world.start()
    inside = ipaddress.ip_network("10.1.1.128/25")
    world.learn(inside, OWN)
    await world.create(net(internal=True))
    assert world.routes.table() == {}
    assert (world.reason(inside), world.reason(OWN)) == ("own-prefix", "duplicate-prefix")
    await world.remove(NET)
    assert world.routes.table() == {inside: VIA, OWN: VIA}


async def test_a_prefix_claimed_twice_is_learned_when_ours_goes(world: World) -> None:
    """`duplicate-prefix` while we have it: our blackhole stays; then theirs is a route."""
    await world.start()
    await world.create(net())
    world.learn(OWN)
    assert world.routes.table() == {OWN: model.Blackhole()}
    world.learn(OWN, paths=())
    assert world.routes.table() == {OWN: model.Blackhole()}, "their withdrawal is not ours"
    world.learn(OWN)
    await world.remove(NET)
    assert world.routes.table() == {OWN: VIA}


async def test_learned_routes_follow_the_link(world: World) -> None:
    """Down: refused and out of the books; up: back, though the kernel dropped them silently."""
    await world.start()
    world.learn(OTHER)
    world.routes.lose(OTHER)
    world.links.change("eth1", up=False, running=False)
    await world.until(lambda: world.reason(OTHER) == "nexthop-offlink", "refused")
    await world.settled()
    assert world.routes.table() == {}
    world.links.change("eth1", up=True, running=True)
    await world.until(lambda: world.reason(OTHER) is None, "no longer refused")
    assert world.routes.table() == {OTHER: VIA}


async def test_a_short_flap_of_the_link(world: World) -> None:
    """Down and up before we looked: IPv4 routes went without a word, and are put back."""
    await world.start()
    world.learn(OTHER)
    await world.settled()
    world.links.change("eth1", up=False)
    world.routes.lose(OTHER)
    world.links.change("eth1", up=True)
    await world.until(lambda: world.routes.table() == {OTHER: VIA}, "back")


async def test_many_prefixes_are_decided_in_slices(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of links decides every learned prefix anew, none forgotten at the edges."""
    monkeypatch.setattr(intake, "_SLICE", 7)
    await world.start()
    prefixes = [ipaddress.ip_network(f"10.9.{n}.0/24") for n in range(50)]
    world.learn(*prefixes)
    world.links.change("eth1", up=False)
    await world.until(lambda: len(world.core.refused[V4]) == 50, "all refused")
    assert world.routes.table() == {}
    world.links.change("eth1", up=True)
    await world.until(lambda: len(world.routes.table()) == 50, "all back")
