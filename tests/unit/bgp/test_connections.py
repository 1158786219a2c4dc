"""Several connections of one neighbour: which stays, and what becomes of its routes."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress

import pytest

from bgp_ipvlan.bgp import capability, message
from bgp_ipvlan.engines.embedded import peer
from tests.unit.bgp.speakers import PREFIX, Speaker, free_port, until
from tests.unit.bgp.test_extensions import RESTART
from tests.unit.bgp.test_faults import KEEPALIVE
from tests.unit.bgp.test_moments import announced, near_and_far, opening, up
from tests.unit.bgp.test_wire_engine import COLLISION, Wire, connect


async def refused(wire: Wire) -> None:
    """The connection ends as the loser of a collision."""
    kind, body = await wire.read()
    while kind != message.NOTIFICATION:
        kind, body = await wire.read()
    assert body == COLLISION


async def test_restarted_neighbor_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 4724 section 5: its new connection takes the place of the one that it forgot."""
    monkeypatch.setattr(peer, "_TOGETHER", 0.0)
    async with near_and_far() as (near, far):
        first = await up(near, far)
        first.say(announced(PREFIX))
        await until(lambda: near.seen.has(PREFIX), "route")
        second = await connect(near, far.address)
        await second.read_open()
        second.say(opening(), KEEPALIVE)
        await until(lambda: len(near.seen.states) == 3 and near.established(), "the new session")

        assert "came back on a new connection" in near.seen.details[1]
        assert near.seen.has(PREFIX)
        for wire in (first, second):
            await wire.close()


@pytest.mark.parametrize(
    ("together", "restart"), [(3600.0, RESTART), (0.0, None)], ids=["at-once", "no-restart"]
)
async def test_second_connection_is_refused(
    together: float,
    restart: capability.GracefulRestart | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RFC 4271 section 6.8: made at once with the first, or without graceful restart, it must go."""
    monkeypatch.setattr(peer, "_TOGETHER", together)
    async with near_and_far() as (near, far):
        first = await up(near, far, graceful_restart=restart)
        second = await connect(near, far.address)
        await second.read_open()
        second.say(opening(graceful_restart=restart))
        await refused(second)

        assert near.established()
        assert len(near.seen.states) == 1
        for wire in (first, second):
            await wire.close()


async def test_older_of_two_from_one_side_goes() -> None:
    """A neighbour that connects twice has forgotten the first attempt."""
    async with near_and_far() as (near, far):
        first = await connect(near, far.address)
        await first.read_open()
        second = await up(near, far)
        await refused(first)

        assert near.established()
        for wire in (first, second):
            await wire.close()


async def test_restart_time_of_zero() -> None:
    """RFC 4724 section 3: who needs no time to come back has its routes forgotten at once."""
    async with near_and_far() as (near, far):
        wire = await up(near, far, graceful_restart=dataclasses.replace(RESTART, time=0))
        wire.say(announced(PREFIX))
        await until(lambda: near.seen.has(PREFIX), "route")
        await wire.close()
        await until(lambda: len(near.seen.states) == 2, "the session's end")

        assert not near.seen.best
        assert near.about(far).stale == 0


async def test_equal_identifiers_of_two_as() -> None:
    """RFC 6286 section 2.3: then the connection of the larger AS number, ours, stays."""
    port = free_port()
    far, near = Speaker(1, 65001, port), Speaker(2, 65002, port)
    near.knows(far)
    accepted: asyncio.Queue[Wire] = asyncio.Queue()
    server = await asyncio.start_server(
        lambda reader, writer: accepted.put_nowait(Wire(reader, writer)), str(far.address), port
    )
    await near.start()
    try:
        async with asyncio.timeout(10):
            ours = await accepted.get()
        theirs = await connect(near, far.address)
        await theirs.read_open()
        body = opening()[19:]
        same = body[:5] + ipaddress.ip_address("10.0.0.2").packed + body[9:]
        theirs.say(message.frame(message.OPEN, same))
        await refused(theirs)
        ours.say(message.frame(message.OPEN, same), KEEPALIVE)
        await until(near.established, "session")
        for wire in (ours, theirs):
            await wire.close()
    finally:
        server.close()
        await near.engine.stop(withdraw=False)
