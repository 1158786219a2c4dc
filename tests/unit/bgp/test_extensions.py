"""The extensions of BGP that are agreed upon in OPEN, each by its RFC, octet by octet."""

from __future__ import annotations

import dataclasses
import ipaddress
import struct

import pytest

from bgp_ipvlan import model
from bgp_ipvlan.bgp import capability, message, session, update
from tests.unit.bgp.test_faults import (
    ADDRESS,
    GOOD,
    HOP,
    KEEPALIVE,
    LOCAL,
    NEIGHBOR,
    OFFER,
    OPEN,
    ORIGIN,
    PATH,
    PREFIX,
    REACH6,
    an_update,
    attribute,
    code_of,
    common,
)

V4, V6 = model.Family.IPV4, model.Family.IPV6
SIX = ipaddress.ip_address("2001:db8::2")
LINK_LOCAL = ipaddress.ip_address("fe80::2")
RESTART = capability.GracefulRestart(
    restarted=False, notification=True, time=30, families={V4: True}
)


def agreed(neighbor: model.NeighborConfig = NEIGHBOR, **theirs: object) -> session.Session:
    """An established session with a neighbour that offers more."""
    one = session.Session(LOCAL, neighbor, restart=RESTART, now=0.0, address=ADDRESS)
    one.take()
    offer = dataclasses.replace(OFFER, **theirs)  # type: ignore[arg-type]
    opening = dataclasses.replace(OPEN, parameters=offer.encode())
    list(one.receive(opening.encode() + KEEPALIVE, 0.0))
    assert one.state is model.SessionState.ESTABLISHED
    one.take()
    return one


# --- RFC 8654 -------------------------------------------------------------------------


def test_extended_message() -> None:
    """RFC 8654 section 4: we take up to 65,535 octets from whom we told so, and send as theirs says."""
    long = an_update(GOOD, PREFIX * 5000)
    both, alone = agreed(extended_message=True), agreed()
    for one in (both, alone):
        (event,) = one.receive(long, 1.0)

        assert isinstance(event, session.Learned)
        assert len(event.prefixes) == 5000
    assert (both.longest, alone.longest) == (65535, 4096)


@pytest.mark.parametrize("kind", [message.OPEN, message.KEEPALIVE])
def test_extended_message_is_not_for_all(kind: int) -> None:
    """RFC 8654 section 4: OPEN and KEEPALIVE stay as short as they were."""
    one = agreed(extended_message=True)
    (event,) = one.receive(message.MARKER + struct.pack("!HB", 4097, kind), 1.0)

    assert isinstance(event, session.Closed)
    assert code_of(one) == (1, 2, b"\x10\x01")


def test_long_messages_are_sent_where_they_may_be() -> None:
    """20,000 host routes go out in few messages, none longer than agreed."""
    keys = [bytes((32,)) + n.to_bytes(4) for n in range(20_000)]
    for longest, count in ((4096, 25), (65535, 2)):
        sent = list(update.announce(V4, keys, next_hop=ADDRESS, common=common(()), longest=longest))

        assert max(map(len, sent)) <= longest
        assert len(sent) == count


# --- RFC 7911 -------------------------------------------------------------------------


def _path(number: int, prefix: bytes) -> bytes:
    return number.to_bytes(4) + prefix


def test_several_paths() -> None:
    """RFC 7911 section 3: each path identifier is a path of its own, announced and withdrawn."""
    one = agreed(send_paths=frozenset((V4,)))
    other = bytes((25, 10, 9, 0, 128))
    nlri = _path(7, PREFIX) + _path(8, PREFIX) + _path(7, other)
    events = list(one.receive(an_update(GOOD, nlri), 1.0))
    (gone,) = one.receive(an_update(b"", b"", _path(8, PREFIX)), 1.0)

    learned = [(e.path_id, e.prefixes) for e in events if isinstance(e, session.Learned)]
    assert learned == [(7, [PREFIX, other]), (8, [PREFIX])]
    assert [e.path.path_id for e in events if isinstance(e, session.Learned) and e.path] == [7, 8]
    assert gone == session.Learned(V4, None, [PREFIX], 8)


def test_several_paths_of_one_family_only() -> None:
    """RFC 7911 section 4: what was agreed for IPv4 says nothing of IPv6."""
    one = agreed(send_paths=frozenset((V4,)))
    six = bytes.fromhex("2020010db8")
    (event,) = one.receive(an_update(ORIGIN + PATH + attribute(14, REACH6 + six, 0x80), b""), 1.0)

    assert isinstance(event, session.Learned)
    assert (event.family, event.path_id, event.prefixes) == (V6, None, [six])


@pytest.mark.parametrize("cut", [1, 3, 4, 6])
def test_several_paths_cut_off(cut: int) -> None:
    """RFC 7606 section 5.3: an NLRI field that ends inside a path is an Invalid Network Field."""
    one = agreed(send_paths=frozenset((V4,)))
    (event,) = one.receive(an_update(GOOD, _path(7, PREFIX) + _path(8, PREFIX)[:cut]), 1.0)

    assert isinstance(event, session.Closed)
    assert code_of(one)[:2] == (3, 10)


def test_paths_are_not_offered_where_not_wanted() -> None:
    """With `add_path` off we offer nothing, and read plain prefixes although the other can send."""
    one = agreed(dataclasses.replace(NEIGHBOR, add_path=False), send_paths=frozenset((V4, V6)))
    (event,) = one.receive(an_update(GOOD), 1.0)

    assert event.prefixes == [PREFIX]  # type: ignore[union-attr]
    assert one.agreed.add_path == frozenset()


# --- RFC 8950, RFC 2545 ---------------------------------------------------------------


def _reach(family: model.Family, hops: bytes, prefixes: bytes) -> bytes:
    value = struct.pack("!HBB", family, 1, len(hops)) + hops + b"\0" + prefixes
    return an_update(ORIGIN + PATH + attribute(14, value, 0x80), b"")


@pytest.mark.parametrize(
    ("family", "hops", "expected"),
    [
        (V4, SIX.packed, (SIX, None)),
        (V4, SIX.packed + LINK_LOCAL.packed, (SIX, LINK_LOCAL)),
        (V4, bytes((192, 0, 2, 9)), (ipaddress.ip_address("192.0.2.9"), None)),
        (V6, SIX.packed, (SIX, None)),
        (V6, SIX.packed + LINK_LOCAL.packed, (SIX, LINK_LOCAL)),
        (V6, bytes(16) + LINK_LOCAL.packed, (LINK_LOCAL, LINK_LOCAL)),
        (V6, LINK_LOCAL.packed, (LINK_LOCAL, None)),
    ],
)
def test_next_hops_of_mp_reach(
    family: model.Family, hops: bytes, expected: tuple[model.Address, model.Address | None]
) -> None:
    """RFC 8950 section 3 and RFC 2545 section 3: global and link-local next hops, either family."""
    prefix = PREFIX if family is V4 else bytes.fromhex("2020010db8")
    (event,) = agreed(extended_next_hop=True).receive(_reach(family, hops, prefix), 1.0)

    assert isinstance(event, session.Learned)
    assert event.path is not None
    assert (event.path.next_hop, event.path.link_local) == expected
    assert event.prefixes == [prefix]


def test_next_hops_are_sent_as_read() -> None:
    """IPv4 prefixes with IPv6 next hops leave in MP_REACH_NLRI and come back the same."""
    (sent,) = update.announce(
        V4, [PREFIX], next_hop=SIX, link_local=LINK_LOCAL, common=common((64512,))
    )
    (event,) = agreed(extended_next_hop=True).receive(sent, 1.0)

    assert isinstance(event, session.Learned)
    assert event.path is not None
    assert (event.family, event.prefixes) == (V4, [PREFIX])
    assert (event.path.next_hop, event.path.link_local) == (SIX, LINK_LOCAL)


# --- RFC 7313 -------------------------------------------------------------------------


def test_refresh_is_bounded() -> None:
    """RFC 7313 section 4: begin and end of a refresh are told where both know it, else ignored."""
    data = b"".join(update.route_refresh(V4, subtype) for subtype in (0, 1, 2, 9))
    both = list(agreed(enhanced_refresh=True).receive(data, 1.0))
    alone = list(agreed().receive(data, 1.0))

    assert both == [
        session.RefreshWanted(V4),
        session.RefreshBegun(V4),
        session.RefreshEnded(V4),
    ]
    # Without it the octet is reserved (RFC 2918 section 3): each is a plain request.
    assert alone == [session.RefreshWanted(V4)] * 4


def test_an_error_about_a_long_message() -> None:
    """RFC 4271 section 4.1: what a NOTIFICATION quotes is cut to what a message may hold."""
    one = agreed(enhanced_refresh=True, extended_message=True)
    list(one.receive(message.frame(message.ROUTE_REFRESH, b"\0\1\1\1" + bytes(65000)), 1.0))
    data = one.take()

    assert len(data) == message.MAX_SIZE
    assert data[18:21] == bytes((message.NOTIFICATION, 7, 1))


def test_refresh_of_a_wrong_length() -> None:
    """RFC 7313 section 5: ROUTE-REFRESH Message Error with the message as data."""
    one = agreed(enhanced_refresh=True)
    wrong = message.frame(message.ROUTE_REFRESH, b"\0\1\1\1\0")
    (event,) = one.receive(wrong, 1.0)

    assert isinstance(event, session.Closed)
    assert code_of(one) == (7, 1, wrong)


# --- RFC 8538, RFC 9003, RFC 4486 -----------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "body", "graceful"),
    [
        (True, b"\6\4", True),
        (True, b"\3\1", True),
        (True, b"\4\0", True),
        (True, b"\6\x09\6\2\3bye", False),
        (False, b"\6\4", False),
        (False, b"\4\0", False),
    ],
)
def test_notification_and_graceful_restart(theirs: bool, body: bytes, graceful: bool) -> None:
    """RFC 8538 section 3: with the N bit on both sides only a Hard Reset ends the grace."""
    restart = dataclasses.replace(RESTART, notification=theirs)
    one = agreed(graceful_restart=restart)
    (event,) = one.receive(message.frame(message.NOTIFICATION, body), 1.0)

    assert isinstance(event, session.Closed)
    assert event.graceful is graceful
    assert ("administrative shutdown (hard reset): bye" in event.reason) == (body[1:2] == b"\x09")


@pytest.mark.parametrize(
    ("subcode", "hard"),
    [
        (message.MAXIMUM_PREFIXES, True),
        (message.ADMINISTRATIVE_SHUTDOWN, True),
        (message.PEER_DECONFIGURED, True),
        (message.ADMINISTRATIVE_RESET, False),
        (message.CONFIGURATION_CHANGE, False),
    ],
)
def test_our_cease(subcode: int, hard: bool) -> None:
    """RFC 8538 section 4: what is for good is a Hard Reset, where the other would else keep all."""
    text = message.shutdown_communication("maintenance")
    known = agreed(graceful_restart=RESTART)
    unknown = agreed(graceful_restart=dataclasses.replace(RESTART, notification=False))
    closed = [one.close(subcode, text) for one in (known, unknown)]

    inner = bytes((6, subcode)) + text
    assert code_of(known) == ((6, 9, inner) if hard else (6, subcode, text))
    assert code_of(unknown) == (6, subcode, text)
    assert [one.graceful for one in closed] == [not hard, False]


def test_an_error_with_the_number_of_a_hard_reset() -> None:
    """Subcode 9 of UPDATE Message Error is no Hard Reset: grace holds (RFC 8538 section 3)."""
    one = agreed(graceful_restart=RESTART)
    (event,) = one.receive(an_update(attribute(15, b"\0\2", 0x80), b""), 1.0)

    assert isinstance(event, session.Closed)
    assert code_of(one)[:2] == (3, 9)
    assert event.graceful


def test_too_many_prefixes() -> None:
    """RFC 4486 section 4: Cease, subcode 1, with AFI, SAFI and the limit."""
    one = agreed(dataclasses.replace(NEIGHBOR, max_prefixes=70_000))
    closed = one.exceeded(V6)

    assert code_of(one) == (6, 1, bytes.fromhex("0002 01 00011170"))
    assert "more than 70000 ipv6 prefixes" in closed.reason


@pytest.mark.parametrize(
    ("text", "size"), [("", 0), ("bye", 3), ("ä" * 127, 254), ("ä" * 128, 254), ("x" * 999, 255)]
)
def test_shutdown_communication(text: str, size: int) -> None:
    """RFC 9003 section 2: at most 255 octets of UTF-8, never half a character."""
    data = message.shutdown_communication(text)
    back = message.parse_notification(b"\6\2" + data)

    assert len(data) == (size + 1 if size else 0)
    assert text.startswith(back.text.removeprefix("Cease, administrative shutdown").lstrip(": "))


# --- RFC 9072, RFC 7607, dynamic neighbours ---------------------------------------------


@pytest.mark.parametrize("size", [0, 253, 254, 255, 300, 3000])
def test_long_open(size: int) -> None:
    """RFC 9072 section 2: optional parameters of any length are read as they were written."""
    one = dataclasses.replace(OPEN, parameters=bytes(size))
    body = one.encode()[19:]

    assert message.parse_open(body) == one
    assert (body[9:11] == b"\xff\xff") == (size > 253)


@pytest.mark.parametrize(("number", "good"), [(64513, True), (65001, True), (64512, False)])
def test_any_other_as(number: int, good: bool) -> None:
    """A neighbour from a range without an AS may be of any but ours, and is external."""
    one = session.Session(
        LOCAL, dataclasses.replace(NEIGHBOR, remote_as=0), restart=None, now=0.0, address=ADDRESS
    )
    one.take()
    offer = dataclasses.replace(OFFER, four_octet_as=number)
    events = list(one.receive(dataclasses.replace(OPEN, parameters=offer.encode()).encode(), 0.0))

    assert isinstance(events[0], session.Opened) is good
    if good:
        assert (one.remote_as, one.ebgp) == (number, True)
    else:
        assert code_of(one)[:2] == (2, 2)


def test_another_as_of_ours() -> None:
    """`local_as`: OPEN carries it, and both it and the speaker's own are loops in AS_PATH."""
    neighbor = dataclasses.replace(NEIGHBOR, local_as=65100)
    one = session.Session(LOCAL, neighbor, restart=None, now=0.0, address=ADDRESS)
    opening = message.parse_open(one.take()[19:])
    list(one.receive(OPEN.encode() + KEEPALIVE, 0.0))
    reasons = []
    for number in (64512, 65100, 65101):
        path = attribute(2, struct.pack("!BBII", 2, 2, 64513, number))
        (event,) = one.receive(an_update(ORIGIN + path + HOP), 1.0)
        assert isinstance(event, session.Learned)
        reasons.append(event.refused)

    assert opening.my_as == 65100
    assert capability.parse(opening.parameters).four_octet_as == 65100
    assert reasons == ["as-loop", "as-loop", ""]


def test_no_family_that_was_not_agreed() -> None:
    """What comes of a family that only one side speaks is passed over (RFC 4760 section 6)."""
    one = agreed(dataclasses.replace(NEIGHBOR, families=frozenset((V4,))))
    six = bytes.fromhex("2020010db8")

    assert list(one.receive(_reach(V6, SIX.packed, six), 1.0)) == []
    assert list(one.receive(update.end_of_rib(V6), 1.0)) == []
    assert not one.closed


def test_all_is_kept() -> None:
    """Every attribute a person may ask for stands in the path's record."""
    one = agreed()
    extra = attribute(4, (7).to_bytes(4), 0x80)
    extra += attribute(8, bytes.fromhex("fde80001 ffff0000"), 0xC0)
    extra += attribute(16, bytes.fromhex("0002fde800000064"), 0xC0)
    extra += attribute(32, struct.pack("!III", 64513, 1, 2), 0xC0)
    (event,) = one.receive(an_update(GOOD + extra), 1.0)

    assert isinstance(event, session.Learned)
    assert event.path is not None
    assert event.path.med == 7
    assert event.path.communities == (0xFDE80001, model.GRACEFUL_SHUTDOWN)
    assert event.path.extended_communities == (0x0002FDE800000064,)
    assert event.path.large_communities == ((64513, 1, 2),)
