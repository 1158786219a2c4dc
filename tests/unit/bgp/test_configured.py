"""What is configured anew, or holds for neighbours that come later."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct

import pytest

from bgp_ipvlan import model
from bgp_ipvlan.bgp import message, policy, update
from tests.unit.bgp.speakers import OTHER, PREFIX, Speaker, free_port, until
from tests.unit.bgp.speakers import SIX as SIX_PREFIX
from tests.unit.bgp.test_extensions import SIX
from tests.unit.bgp.test_faults import an_update, attribute, common
from tests.unit.bgp.test_moments import HOP, near_and_far, up
from tests.unit.bgp.test_wire_engine import connect

V4, V6 = model.Family.IPV4, model.Family.IPV6
KEY = model.nlri(PREFIX)
OWN_AS = b"".join(update.announce(V4, [KEY], next_hop=HOP, common=common((65001, 65002))))
GOOD_OF_65001 = common((65001,)) + attribute(3, HOP.packed)


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
