"""Routes in other tables than the main one, and what is said of rules that lead to none."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path

import pytest

from bgp_ipvlan import errors, model, rules
from tests.fakes import routes as routes_
from tests.unit.core.conftest import OTHER, PATH, VIA, World, again, net

V4, V6 = model.Family.IPV4, model.Family.IPV6
SIX = ipaddress.ip_network("2001:db8:2::/64")
HOP6 = ipaddress.ip_address("2001:db8::2")
PATH6 = dataclasses.replace(PATH, next_hop=HOP6)


def use(world: World, table: int) -> World:
    """As `--table` says."""
    world.core.around._settings = dataclasses.replace(world.core.around._settings, table=table)
    return world


def numbers(world: World) -> set[int]:
    """The tables that hold routes of ours."""
    return {number for (_, number), routes in world.routes.ours.items() if routes}


@pytest.mark.parametrize(("first", "then"), [(model.MAIN, 100), (100, 70000), (100, model.MAIN)])
async def test_another_table_after_a_restart(
    world: World, tmp_path: Path, first: int, then: int
) -> None:
    """What was adopted stays until all is known; then all is in the new table alone."""
    await use(world, first).start()
    await world.create(net())
    world.learn(OTHER)
    world.core.synced()
    await world.settled()
    assert numbers(world) == {first}

    later = use(await again(world, tmp_path), then)
    await later.start()
    assert OTHER in later.routes.table(first), "before anybody announced it again"
    later.learn(OTHER)
    later.core.synced()
    await later.settled()

    assert later.routes.table(then)[OTHER] == VIA
    assert numbers(later) == {then}
    await later.stop()


@pytest.mark.parametrize("kind", [model.EngineKind.EMBEDDED, model.EngineKind.KERNEL])
async def test_what_a_routing_daemon_has_learned(world: World, kind: model.EngineKind) -> None:
    """With `--engine kernel` it is in the main table and in a network's way, whatever `--table` is."""
    around = use(world, 17900).core.around
    around._settings = dataclasses.replace(around._settings, engine=kind)
    world.routes.put_foreign(OTHER, "proto bgp", metric=20)
    await world.start()
    if kind is model.EngineKind.EMBEDDED:
        await world.create(net(subnet=str(OTHER)))
        return
    with pytest.raises(errors.Refused, match="proto bgp") as caught:
        await world.create(net(subnet=str(OTHER)))
    assert caught.value.reason == "foreign-route"
    world.core.foreign_route((V4, model.MAIN), model.nlri(OTHER), 20, None)
    await world.create(net(subnet=str(OTHER)))
    assert numbers(world) == {17900}


async def test_an_object_of_both_families(world: World) -> None:
    """IPv4 through an IPv6 gateway (RFC 8950): the last IPv6 route goes, the others stay."""
    await world.start()
    world.learn(OTHER, paths=(PATH6,))
    world.learn(SIX, paths=(PATH6,))
    both = routes_.Hops((model.NextHop(HOP6, 3),))
    assert world.routes.table() == {OTHER: both, SIX: both}

    world.learn(SIX, paths=())
    await world.settled()

    assert world.routes.table() == {OTHER: both}


async def test_no_rule_leads_there(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Told when there are routes and no rule, until there is one; for each family by itself."""
    watch = world.core.rules
    world.routes.led_to.discard(model.MAIN)
    await world.start()
    await world.settled()
    assert watch.missed == [], "there are no routes"
    world.learn(OTHER)
    world.core.synced()
    await world.until(lambda: "reason=no-rule" in caplog.text, "the log")

    assert watch.missed == [(V4, model.MAIN)]
    assert "`ip rule add priority 1000 lookup 254`" in rules.remedy((V4, model.MAIN))
    world.routes.led_to.add(model.MAIN)
    world.core.rules_changed()
    await world.until(lambda: not watch.missed, "the rule to be known")


async def test_rules_that_cannot_be_read(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said of them, and it goes on."""
    await world.start()
    world.learn(OTHER)
    await world.settled()
    world.routes.led_to.clear()
    world.routes.rules_fail = True
    world.core.rules_changed()
    await world.until(lambda: "rules not read" in caplog.text, "the log")
    assert world.core.rules.missed == []

    world.routes.rules_fail = False
    world.core.rules_changed()

    await world.until(lambda: world.core.rules.missed == [(V4, model.MAIN)], "told again")
