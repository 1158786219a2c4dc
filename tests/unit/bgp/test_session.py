"""What a session makes of single messages, and of what one side only can."""

from __future__ import annotations

import dataclasses
import ipaddress
import struct

import pytest

from bgp_ipvlan import model
from bgp_ipvlan.bgp import capability, message, session, update
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
)

V4, V6 = model.Family.IPV4, model.Family.IPV6


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
