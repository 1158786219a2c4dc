"""A Join at the start gate: it holds up nobody else, and a refusal undoes all of it."""

from __future__ import annotations

import asyncio

import pytest

from bgp_ipvlan import errors, ownership
from tests.unit.docker import conftest as c

SHIM = ownership.link_name(c.NET)
LINK = ownership.link_name(c.END)


class AtGate:
    """Makes starts wait at the gate until it is told how they end."""

    def __init__(self, world: c.World) -> None:
        self.begun = asyncio.Event()
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        world.core.gate = self._wait

    async def _wait(self) -> None:
        self.begun.set()
        await asyncio.shield(self.end)


async def test_a_start_comes_to_the_gate_when_all_is_done(world: c.World) -> None:
    """Link, state and announcement are there; the answer comes when the gate opens."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())
    gate = AtGate(world)
    task = asyncio.create_task(world.call("Join", **c.ref()))
    await gate.begun.wait()
    assert world.links.ours() == {SHIM, LINK}
    assert world.core.seen[c.NET] == (True, frozenset({c.END}))
    assert not task.done()
    gate.end.set_result(None)
    assert (await task)["InterfaceName"]["SrcName"] == LINK
    assert world.core.gated == [c.END]


async def test_a_start_that_is_refused_at_the_gate_leaves_nothing(world: c.World) -> None:
    """Not joined, no link, and the core was told; the endpoint is there for the next try."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())

    async def refuse() -> None:
        raise errors.Refused("start-gate", "no neighbor is established")

    world.core.gate = refuse
    assert (await world.refused("Join", **c.ref())).reason == "start-gate"
    assert not world.state.endpoints[c.END].joined
    assert world.links.ours() == {SHIM}
    world.core.check()
    assert world.core.seen[c.NET] == (True, frozenset())
    world.core.gate = None
    await world.call("Join", **c.ref())
    assert world.links.ours() == {SHIM, LINK}


async def test_nobody_waits_for_a_start_at_the_gate(world: c.World) -> None:
    """Other containers of the same network, and of others, come and go meanwhile."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateNetwork", **c.network_body(c.NET2, "10.1.2.0/24"))
    await world.call("CreateEndpoint", **c.endpoint_body())
    gate = AtGate(world)
    task = asyncio.create_task(world.call("Join", **c.ref()))
    await gate.begun.wait()
    world.core.gate = None
    for end, net, address in ((c.END2, c.NET, "10.1.1.3/24"), ("1" * 64, c.NET2, "10.1.2.2/24")):
        await world.call("CreateEndpoint", **c.endpoint_body(end, net, address))
        await world.call("Join", **c.ref(end, net))
        await world.call("Leave", **c.ref(end, net))
    assert not task.done()
    gate.end.set_result(None)
    await task


@pytest.mark.parametrize("how", ["refused", "cancelled"])
async def test_an_endpoint_deleted_while_it_waits_stays_deleted(world: c.World, how: str) -> None:
    """The undoing of a start finds nothing any more, and brings nothing back."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())
    gate = AtGate(world)
    task = asyncio.create_task(world.call("Join", **c.ref()))
    await gate.begun.wait()
    await world.call("Leave", **c.ref())
    await world.call("DeleteEndpoint", **c.ref())
    if how == "refused":
        gate.end.set_exception(errors.Refused("start-gate", "nobody knows"))
    else:
        task.cancel()
    with pytest.raises((errors.Refused, asyncio.CancelledError)):
        await task
    assert dict(world.state.endpoints) == {}
    assert world.links.ours() == {SHIM}
    world.core.check()


async def test_a_start_whose_time_is_up_at_the_gate(world: c.World) -> None:
    """Cancelled while it waits: undone like a refusal."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())
    gate = AtGate(world)
    task = asyncio.create_task(world.call("Join", **c.ref()))
    await gate.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not world.state.endpoints[c.END].joined
    assert world.links.ours() == {SHIM}
    world.core.check()
