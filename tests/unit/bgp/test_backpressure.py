"""What nobody can take is not read: TCP holds it back, and the session lives on."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from tests.unit.bgp.speakers import Speaker, free_port, until

FIRST, SECOND = ipaddress.ip_network("10.1.1.0/24"), ipaddress.ip_network("10.1.2.0/24")


async def test_without_room_nothing_is_learned() -> None:
    """Until there is room again, and longer than the hold time; then all of it, on the same session."""
    port = free_port()
    here, there = Speaker(1, 64512, port), Speaker(2, 64513, port)
    here.knows(there, hold_time=3)
    there.knows(here)
    await here.start()
    await there.start(FIRST)
    try:
        await until(lambda: here.seen.has(FIRST), "the first prefix")
        states = list(here.seen.states)
        room = here.engine.room
        assert isinstance(room, asyncio.Event)
        room.clear()
        there.engine.announce([there.announcement(SECOND)])
        await there.engine.delivered([SECOND], timeout=20)
        link = next(iter(here.engine._neighbors._peers.values())).link
        assert link is not None
        await until(lambda: link._turn is not None, "it was read, and waits")
        # Our own slowness must not cost the session: the timer is looked at when it has run out.
        loop = asyncio.get_running_loop()
        late = loop.time() + 2 * link.session.hold_time
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "time", lambda: late)
            link._tick()
        assert not here.seen.has(SECOND)
        room.set()
        await until(lambda: here.seen.has(SECOND), "the second prefix")
        assert here.seen.states == states
    finally:
        await here.engine.stop(withdraw=False)
        await there.engine.stop(withdraw=False)
