"""`--max-routes`: a bound on what neighbours can put into the kernel."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable
from pathlib import Path

import pytest

from bgp_ipvlan import capacity, model
from bgp_ipvlan import state as state_
from tests.unit.core.conftest import NET, OWN, PATH, PEER, V4, World, net

OTHERS = [ipaddress.ip_network(f"10.7.{number}.0/24") for number in range(40)]


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """With room for ten IPv4 and ten IPv6 routes."""
    return World(await state_.State.open(tmp_path / "state"), max_routes=10)


def routed(world: World, prefixes: Iterable[model.Prefix] = OTHERS) -> list[model.Prefix]:
    """Those of some prefixes that have a route."""
    table = world.routes.table()
    return [prefix for prefix in prefixes if prefix in table]


async def test_above_the_limit(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """First come, first served; the rest is refused with its reason, and told of once."""
    await world.start()
    world.learn(*OTHERS[:6])
    world.learn(*OTHERS[6:16])
    world.learn(*OTHERS[16:30])
    assert routed(world) == OTHERS[:10]
    assert {world.reason(prefix) for prefix in OTHERS[10:30]} == {"max-routes"}
    assert list(world.core.waiting[V4]) == [model.nlri(prefix) for prefix in OTHERS[10:30]]
    six = ipaddress.ip_network("2001:db8:9::/48")
    via6 = dataclasses.replace(PATH, next_hop=ipaddress.ip_address("2001:db8::2"))
    world.learn(six, paths=(via6,))
    assert six in world.routes.table(), "each family has a limit of its own"
    told = [record for record in caplog.records if "max-routes" in record.getMessage()]
    assert [(r.levelname, "family=ipv4" in r.getMessage()) for r in told] == [("WARNING", True)]
    await world.stop()


async def test_what_has_a_route_keeps_it(world: World) -> None:
    """Other paths for routed prefixes are no new routes, also in one batch with such."""
    await world.start()
    world.learn(*OTHERS[:10])
    third = ipaddress.ip_address("192.0.2.3")
    world.learn(*OTHERS[5:15], paths=(dataclasses.replace(PATH, next_hop=third),))
    assert routed(world) == OTHERS[:10]
    gateways = [world.routes.table()[prefix].next_hops[0].gateway for prefix in OTHERS[:10]]  # type: ignore[union-attr]
    assert gateways == [PEER] * 5 + [third] * 5
    await world.stop()


async def test_taken_in_when_there_is_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there is room for, the longest waiting first; what was withdrawn is not."""
    monkeypatch.setattr(capacity, "_SLICE", 3)
    await world.start()
    world.learn(*OTHERS[:20])
    world.learn(OTHERS[10], OTHERS[13], paths=())
    assert world.reason(OTHERS[10]) is None
    world.learn(*OTHERS[:8], paths=())
    expected = [*OTHERS[8:10], *OTHERS[11:13], *OTHERS[14:20]]
    await world.until(lambda: routed(world) == expected, "taken in")
    assert world.core.refused[V4] == {}
    world.learn(*OTHERS[20:30])
    assert world.reason(OTHERS[20]) == "max-routes"
    await world.stop()


async def test_own_networks_are_never_refused(world: World) -> None:
    """They count, and stand above the limit; when one goes there is room for another's."""
    await world.start()
    world.learn(*OTHERS[:12])
    await world.create(net())
    assert OWN in world.routes.table()
    assert len(world.routes.table()) > 10
    world.learn(*OTHERS[:3], paths=())
    await world.settled()
    count = len(world.routes.table())
    assert count == 10
    assert routed(world) == OTHERS[3 : 3 + len(routed(world))]
    await world.remove(NET)
    await world.until(lambda: routed(world) == OTHERS[3:12], "all that is left")
    await world.stop()


async def test_next_hops_that_go_make_room(world: World) -> None:
    """Refused for another reason, a prefix takes no room; when all is back the limit holds."""
    await world.start()
    world.learn(*OTHERS[:15])
    world.links.change("eth1", up=False)
    await world.until(lambda: not world.routes.table(), "the link is down")
    await world.settled()
    world.links.change("eth1", up=True)
    await world.until(lambda: len(world.routes.table()) == 10, "back")
    await world.settled()
    reasons = [world.reason(prefix) for prefix in OTHERS[:15] if not routed(world, [prefix])]
    assert reasons == ["max-routes"] * 5
    assert len(world.core.waiting[V4]) == 5
    world.core.withdraw_learned()
    assert not world.routes.table()
    assert not world.core.waiting[V4]
    await world.stop()


async def test_no_limit(tmp_path: Path) -> None:
    """0 is none."""
    world = World(await state_.State.open(tmp_path / "state"), max_routes=0)
    await world.start()
    world.learn(*OTHERS)
    assert routed(world) == OTHERS
    await world.stop()
