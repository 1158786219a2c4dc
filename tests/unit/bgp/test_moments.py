"""Moments in which two things meet: an end and a word, a refresh and a restart, a removal and a return.

The neighbour is this test itself, octet by octet.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import ipaddress
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bgp_ipvlan import errors, model
from bgp_ipvlan.bgp import capability, message, update
from tests.unit.bgp.speakers import OTHER, PREFIX, Speaker, free_port, until
from tests.unit.bgp.test_faults import common
from tests.unit.bgp.test_operations import narrow
from tests.unit.bgp.test_wire_engine import KEEPALIVE, Wire, connect

V4 = model.Family.IPV4
HOP = ipaddress.ip_address("192.0.2.2")
OFFER = capability.Capabilities(
    families=frozenset((V4,)),
    four_octet_as=65001,
    route_refresh=True,
    enhanced_refresh=True,
    extended_message=True,
    graceful_restart=capability.GracefulRestart(
        restarted=False, notification=True, time=30, families={V4: True}
    ),
)
BEGIN, END = (update.route_refresh(V4, subtype) for subtype in (1, 2))


@contextlib.asynccontextmanager
async def near_and_far(
    *prefixes: model.Prefix, **more: Any
) -> AsyncIterator[tuple[Speaker, Speaker]]:
    """Ours, started, which waits for the other."""
    port = free_port()
    far, near = Speaker(1, 65001, port), Speaker(2, 65002, port)
    near.knows(far, passive=True, **more)
    await near.start(*prefixes)
    try:
        yield near, far
    finally:
        await near.engine.stop(withdraw=False)


def opening(**changes: object) -> bytes:
    """An OPEN of the other."""
    offer = dataclasses.replace(OFFER, **changes)  # type: ignore[arg-type]
    return message.Open(
        my_as=65001, hold_time=90, identifier=0x0A000001, parameters=offer.encode()
    ).encode()


async def up(near: Speaker, far: Speaker, **theirs: object) -> Wire:
    """An established session with one that offers this; ours has announced nothing yet."""
    wire = await connect(near, far.address)
    await wire.read_open()
    wire.say(opening(**theirs), KEEPALIVE)
    await until(near.established, "the session")
    return wire


def announced(*prefixes: model.Prefix) -> bytes:
    """UPDATEs that announce."""
    keys = [model.nlri(prefix) for prefix in prefixes]
    return b"".join(update.announce(V4, keys, next_hop=HOP, common=common((65001,))))


async def kinds(wire: Wire, count: int) -> list[tuple[int, bytes]]:
    """The next messages."""
    return [await wire.read() for _ in range(count)]


async def test_a_removed_neighbor_is_not_heard_any_more() -> None:
    """What it said in the very turn in which it was removed leaves no route behind."""
    async with near_and_far() as (near, far):
        wire = await up(near, far)
        wire.say(announced(PREFIX))
        await wire.writer.drain()
        near.engine.configure([], [])
        kind, body = await wire.read()
        while kind != message.NOTIFICATION:
            kind, body = await wire.read()
        assert await wire.reader.read() == b""
        await wire.close()

        assert body[:4] == bytes((6, 9, 6, message.PEER_DECONFIGURED))
        assert not near.seen.best
        assert list(near.engine.prefixes(V4)) == []


async def test_our_own_late_connection() -> None:
    """One that we made, and that comes late to a session that stands, is the one to go."""
    port = free_port()
    far, near = Speaker(1, 65001, port), Speaker(2, 65002, port)
    near.knows(far)
    await near.start()
    try:
        wire = await up(near, far)
        peer = next(iter(near.engine._neighbors))
        assert peer.link is not None
        peer._up_at -= 100
        accepted: asyncio.Queue[Wire] = asyncio.Queue()
        server = await asyncio.start_server(
            lambda reader, writer: accepted.put_nowait(Wire(reader, writer)),
            str(far.address),
            port,
        )
        from bgp_ipvlan.engines.embedded import transport

        await transport.connect(peer.config, peer._connected, ebgp=False)
        late = await accepted.get()
        assert await late.reader.read() == b""
        server.close()
        wire.say(announced(PREFIX))
        await until(lambda: near.seen.has(PREFIX), "a route on the session that stands")
        assert near.seen.states == [model.SessionState.ESTABLISHED]
        await late.close()
        await wire.close()
    finally:
        await near.engine.stop(withdraw=False)


async def test_refresh_before_the_first_table() -> None:
    """RFC 7313 section 4: a request that comes with the first KEEPALIVE is answered by that table."""
    async with near_and_far(PREFIX) as (near, far):
        wire = await connect(near, far.address)
        await wire.read_open()
        wire.say(opening(), KEEPALIVE + update.route_refresh(V4))
        messages = await kinds(wire, 3)

        assert [kind for kind, _ in messages] == [
            message.KEEPALIVE,
            message.UPDATE,
            message.UPDATE,
        ]
        assert messages[2][1] == update.end_of_rib(V4)[19:]

        wire.say(update.route_refresh(V4))
        messages = await kinds(wire, 3)
        assert [(kind, body[2] if kind == 5 else 0) for kind, body in messages] == [
            (5, 1),
            (2, 0),
            (5, 2),
        ]
        await wire.close()


async def test_session_lost_in_the_middle_of_a_refresh() -> None:
    """Routes not said again yet are as good as the rest: graceful restart keeps them all."""
    async with near_and_far() as (near, far):
        wire = await up(near, far)
        wire.say(announced(PREFIX, OTHER), update.end_of_rib(V4))
        await until(lambda: near.seen.synced_count, "the table")
        wire.say(BEGIN, announced(PREFIX))
        await until(lambda: near.about(far).stale == 1, "half a refresh")
        await wire.close()
        await until(lambda: len(near.seen.states) == 2, "the session's end")

        assert near.about(far).stale == 2
        assert near.seen.has(PREFIX)
        assert near.seen.has(OTHER)


async def test_refresh_drops_what_is_not_said_again() -> None:
    """RFC 7313 section 4: what is not between begin and end of a refresh is gone."""
    async with near_and_far() as (near, far):
        wire = await up(near, far)
        wire.say(announced(PREFIX, OTHER), update.end_of_rib(V4))
        await until(lambda: near.seen.has(OTHER), "the table")
        wire.say(BEGIN, announced(PREFIX), END)
        await until(lambda: not near.seen.has(OTHER), "the other route to go")

        assert near.seen.has(PREFIX)
        await wire.close()


async def test_refresh_marks_before_end_of_rib_are_ignored() -> None:
    """RFC 7313 section 4: after a restart only End-of-RIB says that the table is complete."""
    async with near_and_far() as (near, far):
        wire = await up(near, far)
        wire.say(announced(PREFIX, OTHER), update.end_of_rib(V4))
        await until(lambda: near.seen.has(OTHER), "the table")
        await wire.close()
        await until(lambda: len(near.seen.states) == 2, "the session's end")
        wire = await up(near, far)
        wire.say(BEGIN, END, announced(PREFIX))
        await until(lambda: near.about(far).stale == 1, "the announcement")

        assert near.seen.has(OTHER)
        assert not near.about(far).end_of_rib

        wire.say(update.end_of_rib(V4))
        await until(lambda: not near.seen.has(OTHER), "the stale route to go")
        await wire.close()


async def test_drain_reaches_one_that_is_behind() -> None:
    """A neighbour that reads slowly still reads the withdrawals and the Cease, whole."""
    many = [ipaddress.ip_network((10 << 24 | n, 32)) for n in range(40_000)]
    async with near_and_far() as (near, far):
        wire = await connect(near, far.address, receive_buffer=4096)
        await wire.read_open()
        wire.say(opening(), KEEPALIVE)
        await until(near.established, "the session")
        link = narrow(near, far)
        near.engine.announce(map(near.announcement, many))
        await until(lambda: link.connection.behind, "the neighbour to be behind")
        down = asyncio.create_task(near.engine.shutdown(message="new kernel"))
        seen = []
        while True:
            kind, body = await wire.read()
            seen.append(kind)
            if kind == message.NOTIFICATION:
                break
        await down

        assert message.parse_notification(body).text.endswith("(hard reset): new kernel")
        assert len(seen) > 5
        await wire.close()


async def test_a_dynamic_neighbor_is_held_off_too() -> None:
    """One from a range that said too much stays away, whatever it tries."""
    port = free_port()
    far, near = Speaker(1, 65001, port), Speaker(2, 65002, port)
    template = model.NeighborConfig(
        address=ipaddress.ip_address("127.0.0.0"),
        remote_as=65001,
        max_prefixes=1,
        max_prefixes_restart=0,
    )
    found = model.DynamicNeighbors(prefix=ipaddress.ip_network("127.0.0.0/29"), template=template)
    await near.start(dynamic=(found,))
    try:
        wire = await up(near, far)
        wire.say(announced(PREFIX, OTHER))
        await until(lambda: len(near.seen.states) == 2, "the session's end")
        await wire.close()
        again = await connect(near, far.address)
        assert await again.reader.read() == b""
        await again.close()

        assert near.about(far).idle_reason == "max-prefixes"
        assert len(near.seen.states) == 2

        near.engine.reset(far.address, soft=False)
        wire = await up(near, far)
        await wire.close()
    finally:
        await near.engine.stop(withdraw=False)


async def test_a_neighbor_without_the_password_of_its_range() -> None:
    """The kernel would demand the range's: said at once, with what to do."""
    port = free_port()
    far, near = Speaker(1, 65001, port), Speaker(2, 65002, port)
    template = model.NeighborConfig(
        address=ipaddress.ip_address("127.0.0.0"), remote_as=65001, password="secret"
    )
    found = model.DynamicNeighbors(prefix=ipaddress.ip_network("127.0.0.0/29"), template=template)
    near.knows(far)
    with pytest.raises(errors.EngineError) as caught:
        await near.start(dynamic=(found,))

    assert caught.value.reason == "password-missing"


async def test_passwords_hold_from_the_first_moment() -> None:
    """Nobody without the password gets in, also while the first neighbour is being configured."""
    port = free_port()
    far, near = Speaker(1, 65001, port), Speaker(2, 65002, port)
    await near.start()
    try:
        near.engine.configure([near.knows(far, passive=True, password="secret")], [])
        listener = near.engine._neighbors._listener
        refused = 0
        while True:
            with socket.socket() as sock:
                sock.bind((str(far.address), 0))
                sock.settimeout(0.2)
                try:
                    sock.connect((str(near.address), port))
                except ConnectionRefusedError:
                    refused += 1
                    assert not listener.listening or refused < 1000
                except TimeoutError:
                    break  # it listens, and drops what is not signed
                else:
                    pytest.fail("an unsigned connection was accepted")
            await asyncio.sleep(0)

        assert listener.listening
        assert near.about(far).state is not model.SessionState.ESTABLISHED
    finally:
        await near.engine.stop(withdraw=False)


async def test_our_slowness_is_not_theirs() -> None:
    """While what a neighbour said waits for us, its hold time does not run out."""
    async with near_and_far(hold_time=3) as (near, far):
        wire = await up(near, far)
        link = next(iter(near.engine._neighbors)).link
        assert link is not None
        link._turn = asyncio.get_running_loop().call_later(100, print)
        link.session._expires = asyncio.get_running_loop().time() - 1
        link._tick()
        assert link.session.deadline > asyncio.get_running_loop().time()

        link._turn.cancel()
        link._turn = None
        link.session._expires = asyncio.get_running_loop().time() - 1
        link._tick()
        assert "Hold Timer Expired" in near.seen.details[-1]
        await wire.close()


async def test_a_failure_of_ours_ends_the_session_only() -> None:
    """An exception in a later turn is told, ends the session, and the next one works."""
    async with near_and_far() as (near, far):
        wire = await up(near, far)
        told = near.seen.best_paths

        def failing(change: model.BestPaths) -> None:
            near.seen.best_paths = told  # type: ignore[method-assign]
            raise RuntimeError("a bug")

        near.seen.best_paths = failing  # type: ignore[method-assign]
        wire.say(announced(PREFIX))
        await until(lambda: len(near.seen.states) == 2, "the session's end")
        assert "internal error" in near.seen.details[-1]
        await wire.close()

        wire = await up(near, far)
        wire.say(announced(OTHER))
        await until(lambda: near.seen.has(OTHER), "a route")
        await wire.close()


async def test_a_range_is_described_anew() -> None:
    """What may change in place changes under the sessions of a range as well."""
    port = free_port()
    far, near = Speaker(1, 65001, port), Speaker(2, 65002, port)
    template = model.NeighborConfig(address=ipaddress.ip_address("127.0.0.0"), remote_as=65001)
    found = model.DynamicNeighbors(prefix=ipaddress.ip_network("127.0.0.0/29"), template=template)
    await near.start(dynamic=(found,))
    try:
        wire = await up(near, far)
        named = dataclasses.replace(template, description="rack 7")
        near.engine.configure([], [dataclasses.replace(found, template=named)])
        wire.say(announced(PREFIX))
        await until(lambda: near.seen.has(PREFIX), "a route on the same session")

        assert near.about(far).description == "rack 7"
        assert near.seen.states == [model.SessionState.ESTABLISHED]
        await wire.close()
    finally:
        await near.engine.stop(withdraw=False)


async def test_settings_change_without_losing_routes() -> None:
    """A change that needs a new session is soft where both sides have RFC 8538: routes stay."""
    async with near_and_far() as (near, far):
        wire = await up(near, far)
        wire.say(announced(PREFIX), update.end_of_rib(V4))
        await until(lambda: near.seen.has(PREFIX), "route")
        before = list(near.seen.batches)
        near.neighbors.clear()
        near.engine.configure([near.knows(far, passive=True, hold_time=30)], [])
        await wire.close()
        wire = await connect(near, far.address)
        restart = (await wire.read_open()).graceful_restart
        wire.say(opening(), KEEPALIVE, announced(PREFIX), update.end_of_rib(V4))
        await until(lambda: near.about(far).end_of_rib, "the table again")

        assert restart is not None
        assert restart.families[V4]
        assert near.seen.batches == before
        await wire.close()


async def test_an_end_is_seen_while_ours_is_not_read() -> None:
    """A neighbour that goes without reading what we sent is missed at once."""
    async with near_and_far(hold_time=0) as (near, far):
        wire = await connect(near, far.address, receive_buffer=4096)
        await wire.read_open()
        wire.say(opening(), KEEPALIVE)
        await until(near.established, "the session")
        link = narrow(near, far)
        near.engine.announce(
            near.announcement(ipaddress.ip_network((10 << 24 | n, 32))) for n in range(40_000)
        )
        await until(lambda: link.connection.behind, "the neighbour to be behind")
        wire.writer.write_eof()
        await until(lambda: len(near.seen.states) == 2, "its end to be seen")

        assert "closed by peer" in near.seen.details[-1]
        await wire.close()


async def test_all_keys_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the kernel refuses one password, neighbours and keys stay as they were."""
    from bgp_ipvlan.engines.embedded import sockets

    async with near_and_far(password="old") as (near, far):
        real, keys = sockets.set_password, {}

        def refusing(sock: object, who: model.Prefix, password: str) -> None:
            if password == "unlucky":
                raise errors.EngineError("password-unusable", "no more room")
            real(sock, who, password)  # type: ignore[arg-type]
            keys[who] = password

        monkeypatch.setattr(sockets, "set_password", refusing)
        monkeypatch.setattr(sockets, "check_password", lambda *_: None)
        (old,) = near.neighbors
        other = dataclasses.replace(
            old, address=ipaddress.ip_address("127.0.0.7"), password="unlucky"
        )
        with pytest.raises(errors.EngineError):
            near.engine.configure([dataclasses.replace(old, password="new"), other], [])

        assert keys == {ipaddress.ip_network(far.address): "old"}
        assert [n.address for n in near.engine.neighbors()] == [far.address]


async def test_stop_right_after_the_first_neighbor() -> None:
    """Configured and stopped in one turn: nothing listens afterwards."""
    port = free_port()
    far, near = Speaker(1, 65001, port), Speaker(2, 65002, port)
    await near.start()
    near.engine.configure([near.knows(far)], [])
    near.engine.configure(near.neighbors, [])
    await near.engine.stop(withdraw=False)
    await asyncio.sleep(0)

    with socket.socket() as sock:
        assert sock.connect_ex((str(near.address), port)) == errno.ECONNREFUSED


async def test_much_at_once_is_worked_off_in_turns() -> None:
    """One reading with thousands of prefixes takes several turns, and all of it counts."""
    async with near_and_far() as (near, far):
        wire = await up(near, far)
        keys = [bytes((32,)) + (10 << 24 | n).to_bytes(4) for n in range(30_000)]
        sizes: list[int] = []
        told = near.seen.best_paths

        def best_paths(change: model.BestPaths) -> None:
            told(change)
            sizes[-1] += len(change.prefixes)

        near.seen.best_paths = best_paths  # type: ignore[method-assign]
        done = asyncio.Event()

        def turn() -> None:
            sizes.append(0)
            if not done.is_set():
                asyncio.get_running_loop().call_soon(turn)

        turn()
        wire.say(*update.announce(V4, keys, next_hop=HOP, common=common((65001,))))
        await until(lambda: len(near.seen.best) == len(keys), "all routes")
        done.set()
        await wire.close()

        # One message more than the bound may fit into a turn, and two turns may be seen as one.
        assert max(sizes) <= 10_000
