"""What `status` and `networks` say of the engine, the kernel's routes and our pools; and how it looks."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from bgp_ipvlan import config, model, operations, repairs, status, tables
from tests.unit.core.conftest import MAIN, NET, OTHER, OWN, PEER, World, net

KERNEL = {"announced_table": 179}


def snapshot(world: World, **settings: Any) -> status.Status:
    """As `app` makes it."""
    desk = operations.Operations(
        config.Flags(), config.Settings(**settings), state=world.state, engine=world.engine
    )
    return status.Status(desk, world.state, reconciler=world.core, engine=world.engine)


def shown(capsys: pytest.CaptureFixture[str], view: str, answer: Mapping[str, Any]) -> list[str]:
    """The lines that a person sees."""
    tables.show(view, dict(answer))
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


async def give(world: World, prefix: str, within: str, *held: model.Holding) -> None:
    """A pool of our IPAM driver, with its first addresses given."""
    pool = model.Pool(
        id=f"bgp-ipvlan/{prefix}",
        prefix=ipaddress.ip_network(prefix),
        range=ipaddress.ip_network(within),
        since=0.0,
    )
    await world.state.put_pool(pool)
    for number, holding in enumerate(held, 1):
        await world.state.put_lease(pool, model.Lease(pool.prefix[number], holding, 0.0))


# --- the engine -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "about", "line"),
    [
        ("embedded", {}, "engine embedded"),
        (
            "gobgp",
            {"gobgp": {"spawned": False, "api": "127.0.0.1:50051", "reached": True}},
            "engine gobgp: the gobgpd at 127.0.0.1:50051",
        ),
        (
            "gobgp",
            {"gobgp": {"spawned": True, "api": "unix:/run/x", "reached": False}},
            "engine gobgp: a gobgpd of ours, not connected",
        ),
        (
            "kernel",
            KERNEL,
            "engine kernel: the routing daemon of this host has the sessions; announced: table 179",
        ),
        (
            "kernel",
            {"announced_table": model.MAIN},
            "engine kernel: the routing daemon of this host has the sessions; announced: table main",
        ),
    ],
)
async def test_who_speaks(
    world: World, capsys: pytest.CaptureFixture[str], kind: str, about: dict[str, Any], line: str
) -> None:
    """Engine and what is particular about it; no count of neighbours where there are never any."""
    await world.start()
    world.engine.particulars = about
    answer = snapshot(world, engine=model.EngineKind(kind)).summary()

    assert answer["engine"] == kind
    assert about.items() <= answer.items()
    lines = shown(capsys, "status", answer)
    assert line in lines
    assert ("neighbors 0 of 0 established" in lines) == ("announced_table" not in about)


async def test_warnings_of_the_engine(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """They are among the others."""
    await world.start()
    world.engine.complaints = ["no gobgpd since 10:00:00: it is gone [gobgp-unreachable]"]
    answer = snapshot(world).summary()

    assert answer["warnings"][0] == world.engine.complaints[0]
    assert f"warning: {world.engine.complaints[0]}" in shown(capsys, "status", answer)


async def test_what_the_engine_withholds(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that somebody else has in its place is not announced, and the reason is shown."""
    await world.start()
    await world.create(net())
    page = snapshot(world)
    [before] = page.networks()[0]["subnets"]
    world.engine.held_back = {OWN: "foreign-path"}
    [after] = page.networks()[0]["subnets"]

    assert (before["announced"], before["reason"]) == (True, None)
    assert (after["announced"], after["next_hop"], after["reason"]) == (False, None, "foreign-path")
    assert " foreign-path " in shown(capsys, "networks", {"networks": page.networks()})[1]


def test_neighbors_of_a_routing_daemon(capsys: pytest.CaptureFixture[str]) -> None:
    """Instead of an empty table there is who has them."""
    lines = shown(capsys, "neighbors", {"neighbors": [], "engine": "kernel", **KERNEL})

    assert len(lines) == 1
    assert lines[0].endswith("has the sessions; announced: table 179")
    assert shown(capsys, "neighbors", {"neighbors": [], "engine": "embedded"})[0][:8] == "NEIGHBOR"


@pytest.mark.parametrize("recursive", [False, True])
async def test_a_neighbor_of_recursive_next_hops(
    world: World,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    recursive: bool,
) -> None:
    """`recursive` is among what is shown of one neighbour."""
    await world.start()
    up = model.NeighborStatus(
        address=PEER, remote_as=64512, state=model.SessionState.ESTABLISHED, since=0.0
    )
    monkeypatch.setattr(world.engine, "neighbors", lambda: (up,))
    asked = model.NeighborConfig(address=PEER, remote_as=64512, recursive=recursive)
    found = snapshot(world, neighbors=(asked,)).neighbors(str(PEER))

    lines = shown(capsys, "neighbor", {"neighbors": found})
    assert ("next hops recursive: by others' routes as well" in lines) == recursive


# --- routes ---------------------------------------------------------------------------------


async def test_a_contested_route(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is pending, as in `routes`, and does not count as being in the kernel."""
    monkeypatch.setattr(repairs, "_RETRY_FIRST", 30.0)
    monkeypatch.setattr(repairs, "_OFTEN", 0)
    await world.start()
    await world.create(net())
    world.learn(OTHER)
    world.routes.lose(OTHER)
    world.core.own_route_touched(MAIN, model.nlri(OTHER), present=False)
    await asyncio.sleep(0)
    page = snapshot(world)
    answer = page.summary()

    pending = [one["prefix"] for one in page.routes()["routes"] if one["pending"]]
    assert pending == [str(OTHER)]
    assert answer["routes"] == {"wanted": 2, "pending": 1, "refused": 0}
    assert "routes 1 in the kernel, 1 pending, 0 refused" in shown(capsys, "status", answer)
    world.learn(OTHER, paths=())
    assert snapshot(world).summary()["routes"] == {"wanted": 1, "pending": 0, "refused": 0}


# --- pools ----------------------------------------------------------------------------------


async def test_how_full_a_pool_is(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Resting addresses are free; the range counts; from 90 % on it is a warning."""
    await world.start()
    await world.create(net())
    reserved, held, resting = model.Holding
    before = snapshot(world)
    assert before.networks()[0]["subnets"][0]["ipam"] is None
    await give(world, "10.1.1.0/24", "10.1.1.0/28", reserved, *[held] * 12, resting, resting)
    page = snapshot(world)

    assert page.networks()[0]["subnets"][0]["ipam"] == {
        "pool": "bgp-ipvlan/10.1.1.0/24",
        "range": "10.1.1.0/28",
        "reserved": 1,
        "held": 12,
        "resting": 2,
        "percent": 86,
    }
    assert "86 % in use" in shown(capsys, "networks", {"networks": page.networks()})[1]
    assert full(page.summary()["warnings"]) == []
    await give(world, "10.1.1.0/24", "10.1.1.0/28", reserved, *[held] * 13)
    assert full(page.summary()["warnings"]) == [
        f"network {NET[:12]}: 14 of 15 addresses in 10.1.1.0/28 are in use [pool-nearly-full]"
    ]


def full(warnings: Iterable[str]) -> list[str]:
    """Those about pools."""
    return [text for text in warnings if text.endswith("[pool-nearly-full]")]


async def test_a_pool_that_is_meant_to_be_full(world: World) -> None:
    """A /31 has a gateway and a container, and that is no warning."""
    await world.start()
    await world.create(net(subnet="10.1.1.0/31"))
    await give(world, "10.1.1.0/31", "10.1.1.0/31", model.Holding.HELD)
    await world.state.put_lease(
        next(iter(world.state.pools.values())),
        model.Lease(ipaddress.ip_address("10.1.1.0"), model.Holding.RESERVED, 0.0),
    )
    assert snapshot(world).networks()[0]["subnets"][0]["ipam"]["percent"] == 100
    assert full(snapshot(world).summary()["warnings"]) == []


async def test_a_pool_without_a_network(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named; those of networks are not."""
    await world.start()
    await world.create(net())
    await give(world, "10.1.1.0/24", "10.1.1.0/24")
    await give(world, "10.1.9.0/24", "10.1.9.0/24")
    answer = snapshot(world).summary()

    assert answer["pools"] == {"given": 2, "unclaimed": ["10.1.9.0/24"]}
    assert "pools without a network: 10.1.9.0/24" in shown(capsys, "status", answer)
