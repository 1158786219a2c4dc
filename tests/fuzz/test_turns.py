"""The greediest streams into the whole engine: no neighbour keeps the loop from the others (D7)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterator

import pytest

from bgp_ipvlan import model
from tests.fuzz import oracle, sessions
from tests.fuzz.test_bounds import SIZE, STREAMS
from tests.unit.bgp import speakers

TURN = 0.05
"""Seconds of computing in one turn of the loop; the engine aims at 5 ms for a neighbour."""


@pytest.fixture
def calm() -> Iterator[None]:
    """The garbage collector does not look at what the other tests have left, as in the daemon."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("name", STREAMS)
async def test_turns_are_short(name: str) -> None:
    """While a neighbour sends the worst we know, the loop still turns."""
    settings, parts = STREAMS[name]
    assert sum(map(len, parts)) > SIZE * 0.7
    us = speakers.Speaker(1, sessions.OUR_AS, speakers.free_port())
    them = speakers.Speaker(2, sessions.THEIR_AS, us.port)
    add_path = bool(settings.settings & sessions.ADD_PATH)
    us.knows(them, passive=True, add_path=add_path, max_prefixes=0)
    await us.start()
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(_longest_turn())
        reader, writer = await asyncio.open_connection(
            str(us.address), us.port, local_addr=(str(them.address), 0)
        )
        writer.write(sessions.greeting(sessions.THEIR_AS, 0xFF))
        writer.write(sessions.framed(oracle.KEEPALIVE, b""))
        for part in parts:
            writer.write(part)
            # Not all at once: our own socket would be what takes the time.
            await writer.drain()
        writer.write(sessions.framed(oracle.NOTIFICATION, b"\6\2"))
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass  # until it hangs up over the NOTIFICATION, or something before it
        writer.close()
        watch.cancel()
    assert us.about(them).state is not model.SessionState.ESTABLISHED
    await us.engine.stop(withdraw=False)


async def _longest_turn() -> None:
    """Fails when one turn of the loop takes too long, in this thread's own time."""
    while True:
        before = time.thread_time()
        await asyncio.sleep(0)
        spent = time.thread_time() - before
        assert spent < TURN, f"a turn of {spent:.3f} s"
