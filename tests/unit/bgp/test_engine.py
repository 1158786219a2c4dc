"""The embedded engine over real sockets: sessions, routes, collisions, graceful restart."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from bgp_ipvlan import errors, model
from bgp_ipvlan.bgp import message
from tests.unit.bgp.speakers import OTHER, PREFIX, SIX, Speaker, free_port, until

V4 = model.Family.IPV4


@pytest.fixture
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Speaker, Speaker]]:
    """Two speakers that know each other; parameters are their AS numbers."""
    ases = getattr(request, "param", (65001, 65001))
    port = free_port()
    a, b = Speaker(1, ases[0], port), Speaker(2, ases[1], port)
    a.knows(b)
    b.knows(a)
    yield a, b
    for one in (a, b):
        if hasattr(one, "engine"):
            await one.engine.stop(withdraw=False)


@pytest.mark.parametrize(
    ("pair", "path"),
    [
        ((65001, 65001), ()),
        ((65001, 65002), (65001,)),
        ((4200000001, 65002), (4200000001,)),
    ],
    indirect=["pair"],
    ids=["ibgp", "ebgp", "four-octet"],
)
async def test_routes_of_both_families_go_both_ways(
    pair: tuple[Speaker, Speaker], path: tuple[int, ...]
) -> None:
    """Each learns the other's prefixes with the other's attributes, then both are synced once."""
    a, b = pair
    await a.start(PREFIX, SIX)
    await b.start(OTHER)
    await until(lambda: b.seen.has(PREFIX) and b.seen.has(SIX) and a.seen.has(OTHER), "routes")
    await until(lambda: a.seen.synced_count and b.seen.synced_count, "synced")

    (found,) = b.engine.best(V4, model.nlri(PREFIX))
    assert path == found.as_path
    assert str(found.next_hop) == "192.0.2.1"
    assert ((a.local_as, 179, 17900),) == found.large_communities
    assert found.local_pref == 100
    assert str(b.engine.best(model.Family.IPV6, model.nlri(SIX))[0].next_hop) == "2001:db8::1"
    assert (a.seen.synced_count, b.seen.synced_count) == (1, 1)
    assert all(one.engine.neighbors()[0].end_of_rib for one in pair)


async def test_later_changes_arrive(pair: tuple[Speaker, Speaker]) -> None:
    """What is announced and withdrawn while the session is up reaches the other side."""
    a, b = pair
    await a.start()
    await b.start()
    await until(lambda: a.established() and b.established(), "session")
    a.engine.announce([a.announcement(PREFIX), a.announcement(OTHER)])
    await until(lambda: b.seen.has(PREFIX) and b.seen.has(OTHER), "routes")

    assert [len(batch.prefixes) for batch in b.seen.batches] == [2]

    a.engine.withdraw([PREFIX])
    await until(lambda: not b.seen.has(PREFIX), "withdraw")

    assert b.seen.has(OTHER)


async def test_two_connections_at_once_leave_one(pair: tuple[Speaker, Speaker]) -> None:
    """Started in the same turn of the loop, both sides connect, and one session remains."""
    a, b = pair
    await asyncio.gather(a.start(PREFIX), b.start(OTHER))
    await until(lambda: b.seen.has(PREFIX) and a.seen.has(OTHER), "routes")
    await until(lambda: a.seen.synced_count and b.seen.synced_count, "synced")

    established = model.SessionState.ESTABLISHED
    assert [established] == a.seen.states
    assert [established] == b.seen.states


async def test_stop_with_withdraw_ends_with_cease(pair: tuple[Speaker, Speaker]) -> None:
    """The other side loses the routes at once and knows why."""
    a, b = pair
    await a.start(PREFIX)
    await b.start()
    await until(lambda: b.seen.has(PREFIX), "route")
    await a.engine.stop(withdraw=True)
    await until(lambda: not b.seen.has(PREFIX), "route gone")
    await until(lambda: len(b.seen.states) == 2, "session down")

    assert b.seen.details[-1] == "received NOTIFICATION Cease, administrative shutdown (hard reset)"
    assert b.engine.neighbors()[0].stale == 0


async def test_restart_keeps_the_routes_of_both_sides(pair: tuple[Speaker, Speaker]) -> None:
    """Stopped without a word and back: the neighbour never drops the route, only the stale one."""
    a, b = pair
    await a.start(PREFIX, OTHER)
    await b.start(SIX)
    await until(lambda: b.seen.has(OTHER) and a.seen.synced_count, "routes")
    await a.engine.stop(withdraw=False)
    await until(lambda: b.engine.neighbors()[0].stale == 2, "stale")

    assert b.seen.has(PREFIX)

    b.seen.batches.clear()
    await a.start(PREFIX, restarted=True, preserved=True)
    await until(lambda: not b.seen.has(OTHER), "what is not announced again to go")
    await until(lambda: a.seen.has(SIX), "their routes")

    withdrawn = [key for batch in b.seen.batches if not batch.paths for key in batch.prefixes]
    assert [model.nlri(OTHER)] == withdrawn
    assert b.seen.has(PREFIX)
    assert b.engine.neighbors()[0].stale == 0


async def test_return_without_forwarding_state_drops_the_old_routes(
    pair: tuple[Speaker, Speaker],
) -> None:
    """A neighbour back without the F bit (rebooted) has its old routes removed before EoR."""
    a, b = pair
    await a.start(PREFIX)
    await b.start()
    await until(lambda: b.seen.has(PREFIX), "route")
    await a.engine.stop(withdraw=False)
    await until(lambda: b.engine.neighbors()[0].stale == 1, "stale")
    b.seen.batches.clear()
    await a.start(PREFIX, restarted=True, preserved=False)
    await until(lambda: len(b.seen.batches) == 2, "gone and learned again")

    assert [not batch.paths for batch in b.seen.batches] == [True, False]


async def test_neighbor_that_does_not_return_is_given_up(pair: tuple[Speaker, Speaker]) -> None:
    """Stale routes go when the restart time has passed."""
    a, b = pair
    await a.start(PREFIX, restart_time=1)
    await b.start()
    await until(lambda: b.seen.has(PREFIX), "route")
    await a.engine.stop(withdraw=False)
    await until(lambda: not b.seen.has(PREFIX), "route given up")

    assert "its routes are kept for 1 s" in b.seen.details[-1]


async def test_frozen_neighbor_is_noticed() -> None:
    """No KEEPALIVE within the hold time: session down, routes gone, no graceful restart."""
    port = free_port()
    a, b = Speaker(1, 65001, port), Speaker(2, 65002, port)
    b.knows(a, passive=True, hold_time=3)
    await b.start()
    try:
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.bind((str(a.address), 0))
            await asyncio.get_running_loop().sock_connect(sock, (str(b.address), port))
            opening = message.Open(my_as=65001, hold_time=90, identifier=1)
            hello = opening.encode() + message.frame(message.KEEPALIVE)
            await asyncio.get_running_loop().sock_sendall(sock, hello)
            await until(b.established, "session")
            await until(lambda: len(b.seen.states) == 2, "hold time to pass")
    finally:
        await b.engine.stop(withdraw=False)

    assert b.seen.details[-1] == "sent NOTIFICATION Hold Timer Expired"


async def test_wrong_as_is_refused(pair: tuple[Speaker, Speaker]) -> None:
    """A neighbour of another AS than configured gets no session and its operator the reason."""
    port = free_port()
    a, b = Speaker(1, 65001, port), Speaker(2, 65002, port)
    a.knows(b)
    b.knows(a, remote_as=65009, passive=True)
    await b.start()
    await a.start()
    try:
        await until(lambda: "bad peer AS" in a.engine.neighbors()[0].last_error, "the reason")

        assert "it is AS 65001, configured is 65009" in b.engine.neighbors()[0].last_error
        assert not a.seen.states
        assert not b.seen.states
    finally:
        await a.engine.stop(withdraw=False)
        await b.engine.stop(withdraw=False)


async def test_stranger_is_refused(
    pair: tuple[Speaker, Speaker], caplog: pytest.LogCaptureFixture
) -> None:
    """Who is not configured gets no OPEN, and one line in the log however often it tries."""
    _, b = pair
    await b.start()
    for _ in range(3):
        reader, writer = await asyncio.open_connection(
            str(b.address), b.port, local_addr=("127.0.0.77", 0)
        )
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()

    assert sum("reason=unknown-neighbor" in one.message for one in caplog.records) == 1


async def test_port_in_use_is_told_with_the_remedy(pair: tuple[Speaker, Speaker]) -> None:
    """Another daemon on the port: one line that says what to look for."""
    a, _ = pair
    with socket.socket() as sock:
        sock.bind((str(a.address), a.port))
        sock.listen()
        with pytest.raises(errors.EngineError, match=r"ss -ltnp") as caught:
            await a.start()
        del a.engine

    assert caught.value.reason == "port-in-use"


async def test_synced_comes_by_deadline_when_a_neighbor_is_missing(
    pair: tuple[Speaker, Speaker],
) -> None:
    """Who never comes up delays `synced` only up to the deadline."""
    a, _ = pair
    await a.start(sync_deadline=1)

    assert a.seen.synced_count == 0

    await until(lambda: a.seen.synced_count == 1, "deadline")


async def test_neighbor_without_graceful_restart_is_complete_after_silence() -> None:
    """A speaker that promises no End-of-RIB is taken to have said all once it is quiet."""
    port = free_port()
    a, b = Speaker(1, 65001, port), Speaker(2, 65002, port)
    b.knows(a, passive=True)
    await b.start()
    try:
        reader, writer = await asyncio.open_connection(
            str(b.address), port, local_addr=(str(a.address), 0)
        )
        opening = message.Open(my_as=65001, hold_time=90, identifier=1)
        writer.write(opening.encode() + message.frame(message.KEEPALIVE))
        await until(lambda: b.seen.synced_count, "synced")
        writer.close()
        del reader
    finally:
        await b.engine.stop(withdraw=False)

    assert b.seen.synced_count == 1


async def test_connections_of_one_neighbor_are_bounded() -> None:
    """A neighbour that opens connection after connection cannot use up our sockets."""
    port = free_port()
    a, b = Speaker(1, 65001, port), Speaker(2, 65002, port)
    b.knows(a, passive=True)
    await b.start()
    streams = []
    refused = 0
    try:
        for _ in range(8):
            stream = await asyncio.open_connection(
                str(b.address), port, local_addr=(str(a.address), 0)
            )
            streams.append(stream)
            try:
                refused += not await stream[0].read(1)
            except ConnectionResetError:
                refused += 1
    finally:
        for _, writer in streams:
            writer.close()
        await b.engine.stop(withdraw=False)

    assert refused == 4


async def test_faulty_neighbor_is_kept_off_for_a_while() -> None:
    """After an error the neighbour's next connection is refused until the idle hold has passed."""
    port = free_port()
    a, b = Speaker(1, 65001, port), Speaker(2, 65002, port)
    b.knows(a, passive=True)
    await b.start()

    async def say(data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(
            str(b.address), port, local_addr=(str(a.address), 0)
        )
        writer.write(data)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    try:
        first = await say(b"GET / HTTP/1.1\r\n\r\n" + b"." * 19)

        assert first.endswith(bytes((message.HEADER_ERROR, message.NOT_SYNCHRONIZED)))
        assert await say(b"") == b""

        async with asyncio.timeout(20):
            while not await say(message.frame(message.KEEPALIVE)):
                pass
    finally:
        await b.engine.stop(withdraw=False)
