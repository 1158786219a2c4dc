"""What a review broke on purpose and no test noticed: each of these failed on that broken code."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import logging
import socket
import struct
from typing import Any

import pytest

from bgp_ipvlan import model
from bgp_ipvlan.bgp import capability, message, policy, session, update
from bgp_ipvlan.engines.embedded import initial, learning, outbox, peer
from tests.unit.bgp.speakers import OTHER, PREFIX, Recorder, Speaker, free_port, until
from tests.unit.bgp.speakers import SIX as SIX_PREFIX
from tests.unit.bgp.test_extensions import RESTART, SIX, agreed
from tests.unit.bgp.test_faults import (
    ADDRESS,
    GOOD,
    KEEPALIVE,
    LOCAL,
    NEIGHBOR,
    OFFER,
    OPEN,
    ORIGIN,
    PATH,
    an_update,
    attribute,
    common,
)
from tests.unit.bgp.test_moments import HOP, announced, near_and_far, opening
from tests.unit.bgp.test_wire_engine import COLLISION, Wire, connect

V4, V6 = model.Family.IPV4, model.Family.IPV6
KEY = model.nlri(PREFIX)
OWN_AS = b"".join(update.announce(V4, [KEY], next_hop=HOP, common=common((65001, 65002))))
GOOD_OF_65001 = common((65001,)) + attribute(3, HOP.packed)


# --- the session alone --------------------------------------------------------------------


def test_only_breaking_the_protocol_is_a_fault() -> None:
    """Cease and an expired hold time may be over at the next attempt; a bad UPDATE will come again."""
    ceased, silent, broken = agreed(), agreed(), agreed()
    ceased.close(message.ADMINISTRATIVE_RESET)
    list(silent.tick(99.0))
    list(broken.receive(an_update(GOOD, bytes((33, 10, 0, 0, 0, 0))), 1.0))

    assert [one.closed for one in (ceased, silent, broken)] == [True] * 3
    assert [one.fault for one in (ceased, silent, broken)] == [False, False, True]


def test_who_does_not_read_gets_no_grace() -> None:
    """RFC 9687: nothing is sent that would not be read, and its routes are not kept."""
    one = agreed(graceful_restart=RESTART)
    closed = one.send_hold_expired()

    assert (closed.graceful, one.closed, one.take()) == (False, True, b"")


def test_refresh_with_filters() -> None:
    """RFC 7313 section 5 bounds the length of subtypes 1 and 2 only: RFC 5291 puts filters into 0."""
    one = agreed(enhanced_refresh=True)
    wanted = message.frame(message.ROUTE_REFRESH, b"\0\1\0\1" + b"\1\x40\0\2\x80\0")

    assert list(one.receive(wanted, 1.0)) == [session.RefreshWanted(V4)]
    assert not one.closed


def test_withdraw_of_a_family_that_was_not_agreed() -> None:
    """MP_UNREACH_NLRI of a family that only one side speaks is passed over (RFC 4760 section 6)."""
    one = agreed(dataclasses.replace(NEIGHBOR, families=frozenset((V4,))))
    (gone,) = update.withdraw(V6, [bytes.fromhex("2020010db8")])

    assert list(one.receive(gone, 1.0)) == []
    assert not one.closed


def test_malformed_route_of_a_family_we_do_not_speak() -> None:
    """Its MP_REACH_NLRI says whose it is, so no session need end for it (RFC 7606 section 5.2)."""
    one = agreed()
    foreign = struct.pack("!HBB", 25, 70, 4) + bytes((192, 0, 2, 9)) + b"\0" + b"\0\1"
    data = an_update(attribute(1, b"\7") + PATH + attribute(14, foreign, 0x80), b"")

    assert list(one.receive(data, 1.0)) == []
    assert not one.closed


def test_second_next_hop_that_is_not_link_local() -> None:
    """RFC 2545 section 3 has a link-local address there: another one is not taken for it."""
    hops = SIX.packed + ipaddress.ip_address("2001:db8::3").packed
    value = struct.pack("!HBB", V6, 1, 32) + hops + b"\0" + bytes.fromhex("2020010db8")
    (event,) = agreed().receive(an_update(ORIGIN + PATH + attribute(14, value, 0x80), b""), 1.0)

    assert isinstance(event, session.Learned)
    assert event.path is not None
    assert (event.path.next_hop, event.path.link_local) == (SIX, None)


# --- what goes out -----------------------------------------------------------------------


def box(*prefixes: model.Prefix, hop: str = "192.0.2.1", **theirs: Any) -> outbox.Outbox:
    """An outbox towards a neighbour, with a table that has these."""
    table: dict[model.Family, dict[model.Nlri, model.Announcement]] = {V4: {}, V6: {}}
    for prefix in prefixes:
        one = model.Announcement(prefix=prefix, next_hop=ipaddress.ip_address(hop))
        table[model.Family.of(prefix)][model.nlri(prefix)] = one
    return outbox.Outbox(agreed(**theirs), table)


def said(one: outbox.Outbox) -> list[bytes]:
    """What it sends now, message by message."""
    one.send()
    data, found = one._to.take(), []
    while data:
        size = int.from_bytes(data[16:18])
        found.append(data[:size])
        data = data[size:]
    return found


@pytest.mark.parametrize("enhanced", [True, False])
def test_answer_to_a_refresh(enhanced: bool) -> None:
    """RFC 7313 section 4: begin, all routes, end, once; without the capability the routes alone."""
    one = box(PREFIX, enhanced_refresh=enhanced)
    one.refresh(V4)
    first, again = said(one), said(one)

    marks = {update.route_refresh(V4, 1): 0, update.route_refresh(V4, 2): 2} if enhanced else {}
    assert {m: at for at, m in enumerate(first) if m[18] == message.ROUTE_REFRESH} == marks
    assert [m.endswith(KEY) for m in first if m not in marks] == [True]
    assert (again, one.empty) == ([], True)


@pytest.mark.parametrize("restart", [RESTART, None])
def test_end_of_rib_where_it_is_known(restart: capability.GracefulRestart | None) -> None:
    """RFC 4724 section 2: the first table ends with the marker for who offered graceful restart."""
    one = box(PREFIX, graceful_restart=restart)
    one.first(V4)

    assert (update.end_of_rib(V4) in said(one)) is (restart is not None)


def test_next_hop_that_cannot_be_sent_any_more() -> None:
    """A route whose next hop turned into an IPv6 one is taken back from who cannot read that."""
    one = box(PREFIX, hop="2001:db8::1")
    one.mark(V4, [KEY])

    assert said(one) == list(update.withdraw(V4, [KEY]))


def test_ipv6_routes_need_an_ipv6_next_hop() -> None:
    """RFC 8950 is about IPv4 prefixes: an IPv6 prefix never goes out with an IPv4 next hop."""
    one = box(SIX_PREFIX, extended_next_hop=True)

    assert not one.takes(V6, one._table[V6][model.nlri(SIX_PREFIX)])


def test_nothing_is_due_of_a_family_that_was_not_agreed() -> None:
    """Else the outbox would never be empty, and a start gate wait for it."""
    one = box(SIX_PREFIX, families=frozenset((V4,)))
    one.mark(V6, [model.nlri(SIX_PREFIX)])

    assert one.empty


def test_nothing_follows_the_last_withdrawal() -> None:
    """What was announced in the same turn is not said after all was taken back."""
    one = box(PREFIX)
    one.mark(V4, [KEY])
    one.withdraw_all()
    one._to.take()

    assert said(one) == []


# --- what was learned ----------------------------------------------------------------------


def a_path(hop: str, neighbor: model.NeighborConfig = NEIGHBOR) -> model.Path:
    """A path of a neighbour."""
    return model.Path(neighbor=neighbor.address, next_hop=ipaddress.ip_address(hop))


async def test_second_restart_during_the_first() -> None:
    """RFC 4724 section 4.2: what was stale already when it went again is forgotten."""
    seen = Recorder()
    one = learning.Learning(LOCAL, seen)
    one.learned(NEIGHBOR, session.Learned(V4, a_path("192.0.2.2"), [KEY, model.nlri(OTHER)]))
    one.lost(NEIGHBOR.address, keep=frozenset((V4,)))
    one.learned(NEIGHBOR, session.Learned(V4, a_path("192.0.2.2"), [KEY]))
    one.lost(NEIGHBOR.address, keep=frozenset((V4,)))

    assert (seen.has(PREFIX), seen.has(OTHER)) == (True, False)


async def test_next_hop_is_lost() -> None:
    """Where there is a choice it is made anew when a next hop cannot be used any more."""
    other = dataclasses.replace(NEIGHBOR, address=ipaddress.ip_address("192.0.2.3"))
    seen = Recorder()
    one = learning.Learning(dataclasses.replace(LOCAL, maximum_paths=1), seen)
    for neighbor, hop in ((NEIGHBOR, "192.0.2.2"), (other, "192.0.2.3")):
        one.learned(neighbor, session.Learned(V4, a_path(hop, neighbor), [KEY]))
    before = seen.best[V4, KEY][0].next_hop
    one.next_hops_changed(lambda hop: hop != before)

    assert seen.best[V4, KEY][0].next_hop != before


async def test_many_prefixes_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """At `max_prefixes_warn` percent, and not before; exactly the limit is allowed."""
    neighbor = dataclasses.replace(NEIGHBOR, max_prefixes=4, max_prefixes_warn=50)
    one = learning.Learning(LOCAL, Recorder())
    warned = []
    with caplog.at_level(logging.WARNING, logger="bgp_ipvlan"):
        for number in range(5):
            one.learned(
                neighbor, session.Learned(V4, a_path("192.0.2.2"), [bytes((24, 10, 0, number))])
            )
            exceeded = one.exceeds(neighbor, V4)
            warned.append((sum("max-prefixes-near" in m for m in caplog.messages), exceeded))

    assert warned == [(0, False), (1, False), (1, False), (1, False), (1, True)]


async def test_stopped_while_much_is_left() -> None:
    """Nothing is told any more once the engine stops (D4: routes stay over a restart)."""
    seen = Recorder()
    one = learning.Learning(LOCAL, seen)
    keys = [bytes((32, 10)) + n.to_bytes(3) for n in range(3 * learning._SLICE)]
    one.learned(NEIGHBOR, session.Learned(V4, a_path("192.0.2.2"), keys))
    one.lost(NEIGHBOR.address, keep=frozenset())
    left = len(seen.best)
    one.stop()
    for _ in range(10):
        await asyncio.sleep(0)

    assert len(seen.best) == left > 0


Flushed = asyncio.Queue[model.Family]


async def both(flushed: Flushed) -> set[model.Family]:
    """The families of two flushes."""
    async with asyncio.timeout(10):
        return {await flushed.get(), await flushed.get()}


async def test_refresh_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 7313 section 4: what a refresh that never ends did not bring goes after a while."""
    flushed = Flushed()
    one = initial.InitialTable(flush_stale=flushed.put_nowait, said_all=lambda: None)
    one.begin(capability.Agreed(families=frozenset((V4,))))
    assert await both(flushed) == {V4, V6}

    monkeypatch.setattr(initial, "STALE_TIME", 0.01)
    assert one.refresh_begun(V4)
    async with asyncio.timeout(10):
        assert await flushed.get() == V4
    one.stop()


async def test_return_without_end_of_rib(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 4724 section 4.2: stale routes do not wait for ever for a marker that was promised."""
    monkeypatch.setattr(initial, "STALE_TIME", 0.01)
    flushed = Flushed()
    one = initial.InitialTable(flush_stale=flushed.put_nowait, said_all=lambda: None)
    restart = dataclasses.replace(RESTART, families={V4: True, V6: True})
    one.begin(capability.Agreed(families=frozenset((V4, V6)), restart=restart))
    assert flushed.empty()

    assert await both(flushed) == {V4, V6}
    one.stop()


async def test_silence_after_the_end_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table is not complete because the session that brought it was lost."""
    monkeypatch.setattr(initial, "_QUIET", 0.01)
    told: list[str] = []
    done = asyncio.Event()
    lost = initial.InitialTable(flush_stale=lambda _: None, said_all=lambda: told.append("lost"))
    stays = initial.InitialTable(flush_stale=lambda _: None, said_all=done.set)
    for one in (lost, stays):
        one.begin(capability.Agreed(families=frozenset((V4,))))
    lost.lost(0)
    async with asyncio.timeout(10):
        await done.wait()

    assert (told, lost.complete) == ([], False)
    for one in (lost, stays):
        one.stop()


# --- what was agreed ------------------------------------------------------------------------


def with_ours(
    restart: capability.GracefulRestart | None, neighbor: model.NeighborConfig = NEIGHBOR
) -> session.Session:
    """An established session with all that we can, and a neighbour that can all of it too."""
    one = session.Session(LOCAL, neighbor, restart=restart, now=0.0, address=ADDRESS)
    one.take()
    offer = dataclasses.replace(
        OFFER,
        graceful_restart=RESTART,
        extended_next_hop=True,
        send_paths=frozenset((V4, V6)),
    )
    list(one.receive(dataclasses.replace(OPEN, parameters=offer.encode()).encode(), 0.0))
    list(one.receive(KEEPALIVE, 0.0))
    assert one.state is model.SessionState.ESTABLISHED
    return one


@pytest.mark.parametrize(("ours", "graceful"), [(True, True), (False, False)])
def test_notification_bit_of_both(ours: bool, graceful: bool) -> None:
    """RFC 8538 section 3: where we did not set the N bit a NOTIFICATION ends all grace."""
    one = with_ours(dataclasses.replace(RESTART, notification=ours))
    (event,) = one.receive(message.frame(message.NOTIFICATION, b"\6\4"), 1.0)

    assert isinstance(event, session.Closed)
    assert event.graceful is graceful


def test_graceful_restart_of_one_side_only() -> None:
    """RFC 4724 section 4: who did not offer it does not keep routes of one that did."""
    assert with_ours(None).agreed.restart is None
    assert "graceful-restart" not in with_ours(None).agreed.names


def test_nothing_is_agreed_for_a_family_of_one_side() -> None:
    """IPv6 only: neither ADD-PATH for IPv4, nor IPv4 prefixes with IPv6 next hops (RFC 8950)."""
    one = with_ours(RESTART, dataclasses.replace(NEIGHBOR, families=frozenset((V6,))))

    assert one.agreed.add_path == {V6}
    assert not one.agreed.extended_next_hop


@pytest.mark.parametrize("way", [0, 4, 6, 255])
def test_add_path_of_no_known_way(way: int) -> None:
    """RFC 7911 section 4: an entry with another value than 1, 2 or 3 is ignored."""
    found = capability.parse(bytes((69, 8, 0, 1, 1, way, 0, 2, 1, 2)))

    assert found.send_paths == {V6}
    assert not found.receive_paths


# --- several connections --------------------------------------------------------------------


async def up(near: Speaker, far: Speaker, **theirs: object) -> Wire:
    """An established session with a neighbour that offers something else."""
    wire = await connect(near, far.address)
    await wire.read_open()
    wire.say(opening(**theirs), KEEPALIVE)
    await until(near.established, "session")
    return wire


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


# --- configured anew ------------------------------------------------------------------------


async def test_rules_change_where_nothing_can_be_asked_again() -> None:
    """Without route refresh the session ends with Cease "other configuration change"."""
    async with near_and_far() as (near, far):
        wire = await up(near, far, route_refresh=False)
        near.neighbors.clear()
        rules = (policy.parse(str(OTHER)),)
        near.engine.configure([near.knows(far, passive=True, import_rules=rules)], [])
        kind, body = await wire.read()
        while kind != message.NOTIFICATION:
            kind, body = await wire.read()

        assert body[:2] == bytes((message.CEASE, message.CONFIGURATION_CHANGE))
        await wire.close()


async def test_own_as_is_allowed_under_a_session() -> None:
    """`allow_own_as` counts for what comes after: the neighbour is asked for all of it again."""
    async with near_and_far() as (near, far):
        wire = await up(near, far)
        wire.say(OWN_AS)
        await until(lambda: near.about(far).refused == 1, "refusal")
        near.neighbors.clear()
        near.engine.configure([near.knows(far, passive=True, allow_own_as=1)], [])
        kind, _ = await wire.read()
        while kind != message.ROUTE_REFRESH:
            kind, _ = await wire.read()
        wire.say(OWN_AS)
        await until(lambda: near.seen.has(PREFIX), "route")

        assert len(near.seen.states) == 1
        await wire.close()


async def test_first_neighbor_comes_late() -> None:
    """A speaker that had nobody to listen for listens when it has."""
    port = free_port()
    far, near = Speaker(1, 65001, port), Speaker(2, 65002, port)
    await near.start()
    near.engine.configure([near.knows(far, passive=True)], [])
    far.knows(near)
    await far.start(PREFIX)
    try:
        await until(lambda: near.seen.has(PREFIX), "route")
        assert near.established()
    finally:
        for one in (far, near):
            await one.engine.stop(withdraw=False)


async def test_narrowest_range_counts() -> None:
    """A neighbour in two ranges gets the template of the smaller one."""
    port = free_port()
    a, b = Speaker(1, 65001, port), Speaker(2, 65002, port)
    ranges = [
        model.DynamicNeighbors(
            prefix=ipaddress.ip_network(text),
            template=model.NeighborConfig(
                address=ipaddress.ip_network(text).network_address, remote_as=0, description=text
            ),
        )
        for text in ("127.0.0.0/8", "127.0.0.0/29", "127.0.0.0/16")
    ]
    b.knows(a)
    await a.start(dynamic=tuple(ranges))
    await b.start(PREFIX)
    try:
        await until(lambda: a.seen.has(PREFIX), "route")
        assert a.about(b).description == "127.0.0.0/29"
    finally:
        for one in (a, b):
            await one.engine.stop(withdraw=False)


async def test_rest_of_the_update_that_was_too_much() -> None:
    """Once `max_prefixes` ended the session, what else the same UPDATE brought is not learned."""
    port = free_port()
    far, near = Speaker(1, 65001, port), Speaker(2, 65002, port)
    near.knows(far, passive=True, max_prefixes=1)
    await near.start()
    try:
        wire = await up(near, far, families=frozenset((V4, V6)))
        value = struct.pack("!HBB", V6, 1, 16) + SIX.packed + b"\0" + model.nlri(SIX_PREFIX)
        wire.say(an_update(GOOD_OF_65001 + attribute(14, value, 0x80), KEY + model.nlri(OTHER)))
        await until(lambda: near.about(far).idle_reason == "max-prefixes", "idle")

        assert near.about(far).received == 0
        assert not near.seen.best
        await wire.close()
    finally:
        await near.engine.stop(withdraw=False)


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


async def test_marked_for_those_who_come_later() -> None:
    """RFC 8326: GRACEFUL_SHUTDOWN goes to sessions too that begin while it is on."""
    async with near_and_far(PREFIX) as (near, far):
        near.engine.graceful_shutdown(on=True)
        wire = await up(near, far)
        kind, body = await wire.read()
        while kind != message.UPDATE:
            kind, body = await wire.read()
        found = update.parse(body, four_octet_as=True, ebgp=True)

        assert found.attributes.communities == (model.GRACEFUL_SHUTDOWN,)
        await wire.close()


async def test_shutdown_is_for_those_to_come_too() -> None:
    """Neither a neighbour that is added nor one of a range talks, nor does a reset wake one."""
    port = free_port()
    a, b, c = (Speaker(n, 65000 + n, port) for n in (1, 2, 3))
    found = model.DynamicNeighbors(
        prefix=ipaddress.ip_network("127.0.0.0/29"),
        template=model.NeighborConfig(address=ipaddress.ip_address("127.0.0.0"), remote_as=0),
    )
    await a.start(dynamic=(found,))
    try:
        await a.engine.shutdown()
        a.engine.configure([a.knows(b)], [found])
        a.engine.reset(b.address, soft=False)
        for other in (b, c):
            wire = await connect(a, other.address)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await wire.read()
            await wire.close()

        (status,) = a.engine.neighbors()
        assert (status.state, status.idle_reason) == (model.SessionState.IDLE, "shutdown")
    finally:
        await a.engine.stop(withdraw=False)


async def test_time_to_live_of_one_that_connects() -> None:
    """An external neighbour's connection to us gets the TTL of its wire too, not the listener's."""
    async with near_and_far() as (near, far):
        wire = await up(near, far)
        (found,) = near.engine._neighbors
        assert found.link is not None
        ttl = found.link.connection.socket.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)

        assert ttl == 1
        await wire.close()
