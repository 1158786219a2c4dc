"""The start gate: a container starts when its neighbours know the way to it."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from bgp_ipvlan import errors, model
from bgp_ipvlan import gate as gate_
from tests.unit.core.conftest import HOST, PEER, World, end, net, stretched


def gated(gate: model.StartGate) -> model.Network:
    """A network with a start gate."""
    return stretched(bgp=model.BgpOptions(start_gate=gate))


async def gate(world: World, how: model.StartGate) -> None:
    """A container has joined; its start comes to the gate."""
    await world.create(gated(how))
    await world.join(end(), gated(how))
    await world.core.start_gate(gated(how), end())


@pytest.mark.parametrize("how", [model.StartGate.WARN, model.StartGate.REQUIRE])
async def test_the_gate_opens_when_neighbours_know(
    world: World, caplog: pytest.LogCaptureFixture, how: model.StartGate
) -> None:
    """All established neighbours have taken the route: nothing is said."""
    await world.start()
    slow = ipaddress.ip_address("192.0.2.3")
    world.engine.establish(PEER)
    world.engine.establish(slow, reads=False)
    waiting = asyncio.create_task(gate(world, how))
    await world.until(lambda: bool(world.engine.asked), "at the gate")
    [(prefixes, bound)] = world.engine.asked
    assert prefixes == {HOST}
    assert 0 < bound <= gate_.BOUND
    assert not waiting.done()
    world.engine.read(slow)
    await waiting
    assert "start-gate" not in caplog.text


async def test_nobody_is_there(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """`warn` goes on at once and says so."""
    await world.start()
    async with asyncio.timeout(gate_.BOUND / 2):
        await gate(world, model.StartGate.WARN)
    assert "reason=start-gate" in caplog.text
    assert "no neighbor is established" in caplog.text


async def test_the_engine_knows_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without neighbours (`--engine kernel`) says itself why nobody knows the way."""
    monkeypatch.setattr(gate_, "BOUND", 0.05)
    await world.start()
    world.engine.nobody = "its route is not in table 179"
    with pytest.raises(errors.Refused, match="container: its route is not in table 179"):
        await gate(world, model.StartGate.REQUIRE)


async def test_a_neighbour_that_does_not_read(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`warn` waits a little and names it; `require` is content with any other that was told."""
    monkeypatch.setattr(gate_, "BOUND", 0.05)
    await world.start()
    slow = ipaddress.ip_address("192.0.2.3")
    world.engine.establish(slow, reads=False)
    await gate(world, model.StartGate.WARN)
    assert "not taken by 192.0.2.3" in caplog.text
    with pytest.raises(errors.Refused, match="192.0.2.3") as caught:
        await world.core.start_gate(gated(model.StartGate.REQUIRE), end())
    assert caught.value.reason == "start-gate"
    world.engine.establish(PEER)
    caplog.clear()
    await world.core.start_gate(gated(model.StartGate.REQUIRE), end())
    assert "reason=start-gate" in caplog.text


async def test_require_waits_for_a_session(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within its bound: containers start with the host, when sessions are just coming up."""
    await world.start()
    waiting = asyncio.create_task(gate(world, model.StartGate.REQUIRE))
    await world.until(lambda: bool(world.engine.asked), "at the gate")
    await asyncio.sleep(0.02)
    assert not waiting.done()
    world.engine.establish(PEER)
    await waiting
    world.engine.lose(PEER)
    monkeypatch.setattr(gate_, "BOUND", 0.05)
    with pytest.raises(errors.Refused, match="no neighbor is established"):
        await world.core.start_gate(gated(model.StartGate.REQUIRE), end())


async def test_the_gate_names_why_nothing_is_announced(world: World) -> None:
    """The parent has no address to send to: `require` refuses with that reason, at once."""
    await world.start()
    world.engine.establish(PEER)
    world.links.change("eth1", addresses=())
    await world.settled()
    with pytest.raises(errors.Refused, match="no-nexthop") as caught:
        await gate(world, model.StartGate.REQUIRE)
    assert caught.value.reason == "start-gate"


@pytest.mark.parametrize(
    "network",
    [
        gated(model.StartGate.OFF),
        net(bgp=model.BgpOptions(start_gate=model.StartGate.REQUIRE)),
        stretched(internal=True, bgp=model.BgpOptions(start_gate=model.StartGate.REQUIRE)),
    ],
)
async def test_no_gate(world: World, network: model.Network) -> None:
    """Off, or nothing of the container is announced: nobody is asked."""
    await world.start()
    await world.create(network)
    await world.join(end(), network)
    await world.core.start_gate(network, end())
    assert world.engine.asked == []
