"""What an operator does to a running speaker, and what it does to protect itself. Real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bgp_ipvlan import errors, model
from bgp_ipvlan.bgp import message, policy, update
from bgp_ipvlan.engines.embedded import learning, neighbors, sockets
from bgp_ipvlan.engines.embedded.link import Link
from tests.unit.bgp.speakers import OTHER, PREFIX, SIX, Speaker, free_port, until
from tests.unit.bgp.test_faults import common
from tests.unit.bgp.test_wire_engine import KEEPALIVE, Wire, connect, opening

V4 = model.Family.IPV4


@contextlib.asynccontextmanager
async def ended(*speakers: Speaker) -> AsyncIterator[None]:
    """Stop those that were started."""
    try:
        yield
    finally:
        for one in speakers:
            if hasattr(one, "engine"):
                await one.engine.stop(withdraw=False)


def three(*ases: int) -> tuple[Speaker, Speaker, Speaker]:
    """Three speakers that do not know each other."""
    port = free_port()
    a, b, c = (Speaker(n, number, port) for n, number in enumerate(ases, 1))
    return a, b, c


# --- TCP MD5, GTSM ----------------------------------------------------------------------


def _dropped() -> int:
    """Segments this namespace has dropped for their MD5 signature, or for having none."""
    names, values = (
        line.split()
        for line in Path("/proc/self/net/netstat").read_text().splitlines()
        if line.startswith("TcpExt:")
    )
    counters = dict(zip(names[1:], map(int, values[1:]), strict=True))
    return counters["TCPMD5NotFound"] + counters["TCPMD5Unexpected"] + counters["TCPMD5Failure"]


async def test_password() -> None:
    """RFC 2385: the same password on both sides, or nothing gets through; others do not notice."""
    a, b, c = three(65001, 65002, 65003)
    a.knows(b, password="secret")
    b.knows(a, password="secret", passive=True)
    a.knows(c, password="secret")
    c.knows(a, password="Secret")
    before = _dropped()
    async with ended(a, b, c):
        await b.start(PREFIX)
        await c.start(OTHER)
        await a.start()
        await until(lambda: a.seen.has(PREFIX), "the route over the session with the password")
        await until(lambda: _dropped() > before, "the kernel to drop the other one's segments")

        assert a.about(b).password
        assert a.about(c).state is not model.SessionState.ESTABLISHED
        assert not a.seen.has(OTHER)


@pytest.mark.parametrize("address", ["127.0.0.9", "::1"])
def test_password_that_cannot_be(address: str) -> None:
    """One the kernel does not take is an error with its reason, and is tried before it is needed."""
    where = ipaddress.ip_address(address)
    neighbor = model.NeighborConfig(address=where, remote_as=1, password="x" * 81)
    with pytest.raises(errors.EngineError) as caught:
        sockets.check_password(neighbor, ipaddress.ip_network(where))

    assert caught.value.reason == "password-unusable"
    assert "81 octets" in str(caught.value)


async def test_password_that_cannot_be_changes_nothing() -> None:
    """`configure` with an unusable password leaves every neighbour as it was."""
    a, b, c = three(65001, 65002, 65003)
    good = a.knows(b)
    b.knows(a)
    bad = c.knows(a, password="x" * 81)
    async with ended(a, b):
        await a.start()
        await b.start(PREFIX)
        await until(lambda: a.seen.has(PREFIX), "route")
        with pytest.raises(errors.EngineError):
            a.engine.configure([bad], [])

        assert [n.address for n in a.engine.neighbors()] == [good.address]
        assert a.established()


@pytest.mark.parametrize(
    ("options", "ebgp", "expected"),
    [
        ({"ttl_security": True}, True, (255, 255)),
        ({"ttl_security": True, "multihop": 3}, True, (255, 253)),
        ({"ttl_security": True}, False, (255, 255)),
        ({}, True, (1, 0)),
        ({"multihop": 5}, True, (5, 0)),
        ({}, False, (64, 0)),
    ],
)
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_time_to_live(
    family: socket.AddressFamily, options: dict[str, Any], ebgp: bool, expected: tuple[int, int]
) -> None:
    """RFC 5082 section 3 and the wire of an external neighbour: what is sent, the least taken."""
    neighbor = model.NeighborConfig(
        address=ipaddress.ip_address("192.0.2.2"), remote_as=1, **options
    )
    level, ttl, least = (
        (socket.IPPROTO_IP, socket.IP_TTL, 21)
        if family == socket.AF_INET
        else (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 73)
    )
    with socket.socket(family) as sock:
        sockets.send_far(sock)
        sockets.set_ttl(sock, neighbor, ebgp=ebgp)

        assert (sock.getsockopt(level, ttl), sock.getsockopt(level, least)) == expected


async def test_nothing_waits_for_an_acknowledgement() -> None:
    """TCP_NODELAY on both ends: a route leaves at once, whatever was sent before it."""
    a, b, _ = three(65001, 65002, 65003)
    a.knows(b)
    b.knows(a, passive=True)
    async with ended(a, b):
        await a.start()
        await b.start()
        await until(lambda: a.established() and b.established(), "session")
        for one in (a, b):
            link = next(iter(one.engine._neighbors)).link
            assert link is not None
            assert link.connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# --- neighbours come, change and go -------------------------------------------------------


async def test_neighbors_at_run_time() -> None:
    """Added, described anew and removed neighbours: the others' sessions stand untouched."""
    a, b, c = three(65001, 65002, 65003)
    of_b = a.knows(b)
    b.knows(a)
    of_c = a.knows(c)
    c.knows(a)
    a.neighbors.remove(of_c)
    async with ended(a, b, c):
        await a.start()
        await b.start(PREFIX)
        await c.start(OTHER)
        await until(lambda: a.seen.has(PREFIX), "the first neighbour's route")
        since = a.about(b).since
        a.engine.configure([of_b, of_c], [])
        await until(lambda: a.seen.has(OTHER), "the added neighbour's route")
        named = model.NeighborConfig(
            **{f: getattr(of_b, f) for f in of_b.__slots__} | {"description": "rack 7"}
        )
        a.engine.configure([named], [])
        await until(lambda: not a.seen.has(OTHER), "the removed neighbour's route to be gone")
        await until(lambda: "de-configured" in c.seen.details[-1], "the removed one to be told")

        assert a.about(b).since == since
        assert a.about(b).description == "rack 7"
        assert len(b.seen.states) == 1


async def test_a_change_that_needs_a_new_session() -> None:
    """Another hold time: Cease "other configuration change", and the session comes back with it."""
    a, b, _ = three(65001, 65002, 65003)
    a.knows(b)
    b.knows(a)
    async with ended(a, b):
        await a.start()
        await b.start(PREFIX)
        await until(lambda: a.established() and b.established(), "session")
        (neighbor,) = a.neighbors
        a.neighbors.clear()
        a.engine.configure([a.knows(b, hold_time=30)], [])
        await until(lambda: "configuration change" in "".join(b.seen.details), "the reason")
        await until(lambda: a.about(b).hold_time == 9 and a.seen.has(PREFIX), "the new session")

        assert neighbor.hold_time == 9


async def test_import_rules_change_under_a_session() -> None:
    """What was refused by policy comes in when the rules change, without the session's noticing."""
    a, b, _ = three(65001, 65002, 65003)
    a.knows(b, import_rules=(policy.parse(str(OTHER)),))
    b.knows(a)
    async with ended(a, b):
        await a.start()
        await b.start(PREFIX, OTHER)
        await until(lambda: a.seen.has(OTHER) and a.about(b).received == 2, "routes")

        (refusal,) = a.engine.refusals(V4)
        assert (refusal.prefix, refusal.reason) == (model.nlri(PREFIX), "import-policy")
        assert (a.seen.has(PREFIX), a.about(b).refused) == (False, 1)

        a.neighbors.clear()
        a.engine.configure([a.knows(b, import_rules=None)], [])
        await until(lambda: a.seen.has(PREFIX), "the other route")

        assert len(b.seen.states) == 1
        assert list(a.engine.refusals(V4)) == []


async def test_neighbors_from_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is in the range may connect, up to the limit, and is forgotten some time after it goes."""
    monkeypatch.setattr(neighbors, "_REMEMBER", 0.1)
    a, b, c = three(65001, 65002, 65003)
    template = model.NeighborConfig(address=ipaddress.ip_address("127.0.0.0"), remote_as=0)
    found = model.DynamicNeighbors(
        prefix=ipaddress.ip_network("127.0.0.0/29"), template=template, limit=1
    )
    b.knows(a)
    c.knows(a)
    async with ended(a, b, c):
        await a.start(SIX, dynamic=(found,))
        await b.start(PREFIX)
        await until(lambda: a.seen.has(PREFIX) and b.seen.has(SIX), "routes")

        assert a.about(b).dynamic
        assert a.about(b).remote_as == 65002
        assert a.seen.synced_count == 1

        await c.start(OTHER)
        await until(lambda: c.about(a).last_error, "the second to be refused")
        assert not a.seen.has(OTHER)

        await b.engine.stop(withdraw=True)
        await until(lambda: a.seen.has(OTHER), "the second to take the place")
        await until(lambda: len(a.engine.neighbors()) == 1, "the first to be forgotten")
        assert a.engine.neighbors()[0].address == c.address


async def test_reset() -> None:
    """Hard: Cease with the operator's words, and back again; soft: the routes once more."""
    a, b, c = three(65001, 65002, 65003)
    a.knows(b)
    b.knows(a)
    async with ended(a, b):
        await a.start()
        await b.start(PREFIX)
        await until(lambda: a.seen.has(PREFIX), "route")
        a.engine.reset(b.address, soft=False, message="new cable")
        await until(lambda: "administrative reset: new cable" in "".join(b.seen.details), "reason")
        await until(lambda: len(b.seen.states) >= 3 and a.established(), "the session again")
        a.engine.reset(b.address, soft=True)
        with pytest.raises(errors.EngineError) as caught:
            a.engine.reset(c.address, soft=True)

        assert caught.value.reason == "unknown-neighbor"
        assert a.seen.has(PREFIX)


async def test_shutdown_and_resume() -> None:
    """Drained: routes and sessions go with the reason said, stay away, and come back when asked."""
    a, b, _ = three(65001, 65002, 65003)
    a.knows(b)
    b.knows(a)
    async with ended(a, b):
        await a.start(PREFIX)
        await b.start(OTHER)
        await until(lambda: b.seen.has(PREFIX) and a.seen.has(OTHER), "routes")
        await a.engine.shutdown(message="new kernel")
        await until(lambda: not b.seen.has(PREFIX) and not a.seen.has(OTHER), "routes gone")
        await until(lambda: "connection" in b.about(a).last_error, "a new attempt to be refused")

        assert "administrative shutdown (hard reset): new kernel" in "".join(b.seen.details)
        assert (a.about(b).state, a.about(b).idle_reason) == (
            model.SessionState.IDLE,
            "shutdown",
        )

        a.engine.resume()
        await until(lambda: b.seen.has(PREFIX) and a.seen.has(OTHER), "routes again")
        assert a.about(b).idle_reason == ""


@pytest.mark.parametrize(("ases", "preference"), [((65001, 65001), 0), ((65001, 65002), 100)])
async def test_graceful_shutdown(ases: tuple[int, int], preference: int) -> None:
    """RFC 8326: marked while it is on; within the AS the preference says so too."""
    a, b, _ = three(*ases, 65003)
    a.knows(b)
    b.knows(a)
    async with ended(a, b):
        await a.start(PREFIX)
        await b.start()
        await until(lambda: b.seen.has(PREFIX), "route")

        def best() -> model.Path:
            return b.engine.best(V4, model.nlri(PREFIX))[0]

        a.engine.graceful_shutdown(on=True)
        await until(lambda: best().communities == (model.GRACEFUL_SHUTDOWN,), "the community")
        assert best().local_pref == preference

        a.engine.graceful_shutdown(on=False)
        await until(lambda: best().communities == (), "the community to go")
        assert best().local_pref == 100


# --- protection -------------------------------------------------------------------------


async def test_max_prefixes() -> None:
    """Warned near the limit, ended above it, idle for the restart time, and back."""
    a, b, _ = three(65001, 65002, 65003)
    a.knows(b, max_prefixes=1, max_prefixes_restart=1)
    b.knows(a)
    async with ended(a, b):
        await a.start()
        await b.start(PREFIX, OTHER)
        await until(lambda: "maximum number of prefixes" in "".join(b.seen.details), "Cease")
        await until(lambda: not a.seen.best, "the routes to be gone")
        b.engine.withdraw([OTHER])
        await until(lambda: a.seen.has(PREFIX), "the session to return")

        assert a.about(b).idle_reason == ""
        assert "more than 1 ipv4 prefixes" in "".join(a.seen.details)


async def test_max_prefixes_for_good() -> None:
    """With a restart time of 0 it stays idle until it is reset by hand."""
    a, b, _ = three(65001, 65002, 65003)
    a.knows(b, max_prefixes=1, max_prefixes_restart=0)
    b.knows(a)
    async with ended(a, b):
        await a.start()
        await b.start(PREFIX, OTHER)
        await until(lambda: a.about(b).idle_reason == "max-prefixes", "idle")
        await until(lambda: "connection" in b.about(a).last_error, "a new attempt to be refused")
        b.engine.withdraw([OTHER])

        assert a.about(b).state is model.SessionState.IDLE

        a.engine.reset(b.address, soft=False)
        await until(lambda: a.seen.has(PREFIX), "the session")


async def test_own_address_is_gone() -> None:
    """A session whose own address or link is down ends at once, and nobody waits for a timer."""
    a, b, c = three(65001, 65002, 65003)
    for other in (b, c):
        a.knows(other)
        other.knows(a)
    async with ended(a, b, c):
        await a.start()
        await b.start(PREFIX)
        await c.start(OTHER)
        await until(lambda: a.seen.has(PREFIX) and a.seen.has(OTHER), "routes")
        a.engine.surroundings_changed({a.address}, lambda _: True)
        assert a.established()

        a.engine.surroundings_changed({b.address}, lambda _: True)
        assert all(n.state is not model.SessionState.ESTABLISHED for n in a.engine.neighbors())
        assert f"our address {a.address} is down" in a.seen.details[-1]


MANY = [ipaddress.ip_network((10 << 24 | n, 32)) for n in range(40_000)]


async def test_one_that_does_not_read() -> None:
    """It delays nobody, is told the latest only, and is seen waiting."""
    a, b, c = three(65001, 65001, 65001)
    a.knows(b, passive=True, hold_time=0)
    a.knows(c)
    c.knows(a)
    async with ended(a, c):
        await a.start()
        await c.start()
        wire = await connect(a, b.address, receive_buffer=4096)
        await wire.read_open()
        wire.say(opening("10.0.0.2"), KEEPALIVE)
        await until(a.established, "both sessions")
        link = narrow(a, b)
        for med in range(10):
            a.engine.announce(a.announcement(p, med=med) for p in MANY)
            await asyncio.sleep(0)
        await until(lambda: _med(c, MANY[-1]) == 9, "the other to hear all")
        delivery = await a.engine.delivered(MANY[:1], timeout=0.1)

        assert delivery == model.Delivery(2, (b.address,))
        # Ten tables were announced; what waits for it is one, and not even all of that.
        waiting = link.connection._transport.get_write_buffer_size()  # type: ignore[union-attr]
        assert 0 < waiting < 2 * len(MANY) * 5
        await wire.close()


async def test_send_hold_timer() -> None:
    """RFC 9687: one that keeps the session alive but reads nothing loses it."""
    a, b, c = three(65001, 65001, 65001)
    a.knows(b, passive=True, hold_time=3)
    a.knows(c)
    c.knows(a)
    async with ended(a, c):
        await a.start(send_hold_time=1)
        await c.start()
        wire = await connect(a, b.address, receive_buffer=4096)
        await wire.read_open()
        wire.say(opening("10.0.0.2"), KEEPALIVE)
        ticking = asyncio.create_task(_keep_alive(wire))
        await until(a.established, "both sessions")
        narrow(a, b)
        a.engine.announce(map(a.announcement, MANY))
        await until(lambda: a.about(b).last_error.startswith("Send Hold"), "the send hold timer")
        ticking.cancel()
        await wire.close()

        assert a.about(c).state is model.SessionState.ESTABLISHED


def narrow(of: Speaker, to: Speaker) -> Link:
    """Give a session a send buffer that little fills."""
    link = next(p for p in of.engine._neighbors if p.config.address == to.address).link
    assert link is not None
    link.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return link


def _med(speaker: Speaker, prefix: model.Prefix) -> int | None:
    paths = speaker.engine.best(V4, model.nlri(prefix))
    return paths[0].med if paths else None


async def _keep_alive(wire: Wire) -> None:
    while True:
        wire.say(KEEPALIVE)
        await asyncio.sleep(0.5)


async def test_loss_of_many_routes_is_no_long_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """50,000 routes of a lost neighbour go in slices, between which the loop does other things.

    Here after each, as where one takes all the time of a turn.
    """
    monkeypatch.setattr(learning, "_TURN", 0.0)
    a, b, _ = three(65001, 65001, 65001)
    a.knows(b, passive=True)
    async with ended(a):
        await a.start()
        wire = await connect(a, b.address)
        await wire.read_open()
        wire.say(opening("10.0.0.2"), KEEPALIVE)
        keys = [bytes((32,)) + (10 << 24 | n).to_bytes(4) for n in range(50_000)]
        hop = ipaddress.ip_address("192.0.2.2")
        wire.say(*update.announce(V4, keys, next_hop=hop, common=common(())))
        await until(lambda: len(a.seen.best) == len(keys), "routes")
        a.seen.batches.clear()
        turns = 0

        def turn() -> None:
            nonlocal turns
            turns += 1
            if a.seen.best:
                asyncio.get_running_loop().call_soon(turn)

        wire.say(message.frame(message.NOTIFICATION, b"\6\2"))
        await until(lambda: a.seen.batches, "the first routes to go")
        turn()
        await until(lambda: not a.seen.best, "all routes to be gone")
        await wire.close()

        assert max(len(batch.prefixes) for batch in a.seen.batches) <= 500
        assert turns >= 10
