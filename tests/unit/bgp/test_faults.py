"""Each fault a neighbour can make gets the RFC's code and subcode, or the RFC's mercy."""

from __future__ import annotations

import dataclasses
import ipaddress
import struct

import pytest

from bgp_ipvlan import model
from bgp_ipvlan.bgp import attributes, capability, message, session, update

V4, V6 = model.Family.IPV4, model.Family.IPV6
LOCAL = model.SpeakerConfig(local_as=64512, router_id=ipaddress.IPv4Address("192.0.2.1"))
NEIGHBOR = model.NeighborConfig(address=ipaddress.ip_address("192.0.2.2"), remote_as=64513)
ADDRESS = ipaddress.ip_address("192.0.2.1")
RESTART = capability.GracefulRestart(restarted=False, time=30, families={V4: True})
OFFER = capability.Capabilities(
    families=frozenset((V4, V6)), four_octet_as=64513, route_refresh=True
)
OPEN = message.Open(my_as=64513, hold_time=9, identifier=7, parameters=OFFER.encode())
KEEPALIVE = message.frame(message.KEEPALIVE)
PREFIX = bytes((24, 10, 2, 0))


def begin(neighbor: model.NeighborConfig = NEIGHBOR) -> session.Session:
    """A session in OpenSent, its OPEN taken."""
    one = session.Session(LOCAL, neighbor, restart=RESTART, now=0.0, address=ADDRESS)
    one.take()
    return one


def established(neighbor: model.NeighborConfig = NEIGHBOR) -> session.Session:
    """A session that is up, everything taken."""
    one = begin(neighbor)
    opening = dataclasses.replace(
        OPEN,
        my_as=neighbor.remote_as,
        parameters=dataclasses.replace(OFFER, four_octet_as=neighbor.remote_as).encode(),
    )
    events = list(one.receive(opening.encode() + KEEPALIVE, 0.0))
    assert [session.Opened, session.Established] == list(map(type, events))
    one.take()
    return one


def code_of(one: session.Session) -> tuple[int, int, bytes]:
    """Code, subcode and data of the NOTIFICATION it sends, which is all it sends."""
    data = one.take()
    assert data[18] == message.NOTIFICATION
    assert int.from_bytes(data[16:18]) == len(data)
    return data[19], data[20], data[21:]


def attribute(code: int, value: bytes, flags: int = 0x40) -> bytes:
    """One path attribute."""
    return attributes.encode(code, value, flags)


ORIGIN = attribute(1, b"\0")
PATH = attribute(2, struct.pack("!BBI", 2, 1, 64513))
HOP = attribute(3, bytes((192, 0, 2, 2)))
GOOD = ORIGIN + PATH + HOP


def common(path: tuple[int, ...], *, four_octet_as: bool = True) -> bytes:
    """The least an announcement carries, without its next hop."""
    return attributes.encode_common(
        as_path=path,
        four_octet_as=four_octet_as,
        med=None,
        local_pref=None,
        communities=(),
        large_communities=(),
    )


def an_update(attrs: bytes, nlri: bytes = PREFIX, withdrawn: bytes = b"") -> bytes:
    """A whole UPDATE."""
    body = struct.pack("!H", len(withdrawn)) + withdrawn + struct.pack("!H", len(attrs))
    return message.frame(message.UPDATE, body + attrs + nlri)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\0" + KEEPALIVE[1:], (1, 1, b"")),
        (message.frame(message.KEEPALIVE, b"x"), (1, 2, b"\0\x14")),
        (message.MARKER + struct.pack("!HB", 18, 4), (1, 2, b"\0\x12")),
        (message.MARKER + struct.pack("!HB", 4097, 2), (1, 2, b"\x10\x01")),
        (message.MARKER + struct.pack("!HB", 28, 1), (1, 2, b"\0\x1c")),
        (message.MARKER + struct.pack("!HB", 22, 2), (1, 2, b"\0\x16")),
        (message.MARKER + struct.pack("!HB", 20, 3), (1, 2, b"\0\x14")),
        (message.MARKER + struct.pack("!HB", 19, 6), (1, 3, b"\x06")),
    ],
)
def test_header_error(data: bytes, expected: tuple[int, int, bytes]) -> None:
    """RFC 4271 section 6.1: marker, length, type; from the header alone where it suffices."""
    one = begin()
    (event,) = one.receive(data, 0.0)

    assert isinstance(event, session.Closed)
    assert not event.graceful
    assert code_of(one) == expected
    assert one.closed


def _with(**changes: int | bytes) -> bytes:
    return dataclasses.replace(OPEN, **changes).encode()  # type: ignore[arg-type]


def _raw_open(parameters: bytes, *, version: int = 4, length: int | None = None) -> bytes:
    size = len(parameters) if length is None else length
    fixed = struct.pack("!BHHIB", version, 64513, 9, 7, size)
    return message.frame(message.OPEN, fixed + parameters)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (_raw_open(b"", version=3), (2, 1, b"\0\x04")),
        (_with(my_as=64999, parameters=b""), (2, 2, b"")),
        (_with(parameters=capability.Capabilities(four_octet_as=64999).encode()), (2, 2, b"")),
        (_with(parameters=capability.Capabilities(four_octet_as=0).encode()), (2, 2, b"")),
        (_with(identifier=0), (2, 3, b"")),
        (_with(hold_time=1), (2, 6, b"")),
        (_with(hold_time=2), (2, 6, b"")),
        (_raw_open(bytes((1, 0))), (2, 4, b"")),
        (_raw_open(bytes((2, 9, 1))), (2, 0, b"")),
        (_raw_open(b"\x02"), (2, 0, b"")),
        (_raw_open(b"", length=4), (2, 0, b"")),
        (_raw_open(b"\x02\x00", length=0), (2, 0, b"")),
        (_raw_open(bytes((2, 3, 1, 4, 0))), (2, 0, b"")),
        (_raw_open(bytes((2, 1, 1))), (2, 0, b"")),
        # Only VPNv4: no family in common (RFC 5492 section 5 wants what was missed as data).
        (
            _with(parameters=bytes((1, 4, 0, 1, 0, 128))),
            (2, 7, bytes.fromhex("010400010001010400020001")),
        ),
    ],
)
def test_open_error(data: bytes, code: tuple[int, int, bytes]) -> None:
    """RFC 4271 section 6.2, RFC 5492: each with its subcode."""
    one = begin()
    (event,) = one.receive(data, 0.0)

    assert isinstance(event, session.Closed)
    assert code_of(one) == code


def test_own_identifier_within_the_as() -> None:
    """RFC 6286: two speakers of one AS cannot have one identifier; of two AS they can."""
    mine = int(LOCAL.router_id)
    inner = begin(dataclasses.replace(NEIGHBOR, remote_as=64512))
    offer = dataclasses.replace(OFFER, four_octet_as=64512)
    list(inner.receive(_with(my_as=64512, identifier=mine, parameters=offer.encode()), 0.0))
    outer = begin()
    (opened,) = outer.receive(_with(identifier=mine), 0.0)

    assert code_of(inner)[:2] == (2, 3)
    assert opened == session.Opened(mine)


def test_long_parameters() -> None:
    """RFC 9072: the extended form of optional parameters is read."""
    inner = OFFER.encode()
    extended = bytes((255,)) + struct.pack("!H", len(inner) + 3)
    extended += bytes((2,)) + struct.pack("!H", len(inner)) + inner
    one = begin()
    (event,) = one.receive(_raw_open(extended, length=255), 0.0)

    assert event == session.Opened(7)
    assert one.families == {V4, V6}


def test_unknown_capability_is_passed_over() -> None:
    """RFC 5492 section 3."""
    one = begin()
    (event,) = one.receive(_with(parameters=bytes((200, 3, 1, 2, 3)) + OFFER.encode()), 0.0)

    assert event == session.Opened(7)


@pytest.mark.parametrize(
    ("before", "data", "subcode"),
    [
        (b"", KEEPALIVE, 1),
        (b"", an_update(GOOD), 1),
        (OPEN.encode(), OPEN.encode(), 2),
        (OPEN.encode(), an_update(GOOD), 2),
        (OPEN.encode() + KEEPALIVE, OPEN.encode(), 3),
    ],
)
def test_message_in_the_wrong_state(before: bytes, data: bytes, subcode: int) -> None:
    """RFC 4271 section 6.6, with the subcodes of RFC 6608."""
    one = begin()
    list(one.receive(before, 0.0))
    one.take()
    (event,) = one.receive(data, 0.0)

    assert isinstance(event, session.Closed)
    assert code_of(one) == (5, subcode, b"")


REACH6 = struct.pack("!HBB", 2, 1, 16) + ipaddress.ip_address("2001:db8::2").packed + b"\0"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (message.frame(2, b"\0\x09\0\0"), (3, 1)),
        (message.frame(2, b"\0\0\0\x09"), (3, 1)),
        (an_update(GOOD, bytes((33, 10, 0, 0, 0, 0))), (3, 10)),
        (an_update(GOOD, bytes((24, 10))), (3, 10)),
        (an_update(b"", b"", bytes((33, 1, 2, 3, 4, 5))), (3, 10)),
        (an_update(GOOD + attribute(99, b"x")), (3, 2)),
        (an_update(ORIGIN + PATH + attribute(14, REACH6, 0x80) * 2, b""), (3, 1)),
        (an_update(ORIGIN + PATH + attribute(14, REACH6[:4], 0x80), b""), (3, 9)),
        (an_update(ORIGIN + PATH + attribute(14, b"\0\2\1\5" + bytes(20), 0x80), b""), (3, 9)),
        (an_update(attribute(15, b"\0\2", 0x80), b""), (3, 9)),
        (an_update(ORIGIN + attribute(14, REACH6 + b"\x81" + bytes(17), 0x80), b""), (3, 10)),
        # Malformed, and nothing says of which routes it spoke (RFC 7606 section 5.2).
        (an_update(attribute(1, b"\7"), b""), (3, 1)),
    ],
)
def test_update_that_ends_the_session(data: bytes, expected: tuple[int, int]) -> None:
    """RFC 7606: reset only where the routes spoken of cannot be told any more."""
    one = established()
    (event,) = one.receive(data, 1.0)

    assert isinstance(event, session.Closed)
    assert code_of(one)[:2] == expected
    assert one.fault


@pytest.mark.parametrize(
    ("attrs", "problem"),
    [
        (PATH + HOP, "ORIGIN is missing"),
        (ORIGIN + HOP, "AS_PATH is missing"),
        (ORIGIN + PATH, "a usable NEXT_HOP is missing"),
        (attribute(1, b"\3") + PATH + HOP, "ORIGIN is malformed"),
        (attribute(1, b"\0\0") + PATH + HOP, "ORIGIN is malformed"),
        (attribute(1, b"\0", 0xC0) + PATH + HOP, "attribute 1 has wrong flags"),
        (GOOD + attribute(4, bytes(4), 0xC0), "attribute 4 has wrong flags"),
        (GOOD + attribute(8, bytes(4), 0x80), "attribute 8 has wrong flags"),
        (ORIGIN + attribute(2, b"\2\2" + bytes(4)) + HOP, "AS_PATH is malformed"),
        (ORIGIN + attribute(2, b"\2\0") + HOP, "AS_PATH is malformed"),
        (ORIGIN + attribute(2, b"\2") + HOP, "AS_PATH is malformed"),
        (ORIGIN + attribute(2, b"\5\1" + bytes((0, 0, 0, 1))) + HOP, "an unknown segment"),
        (ORIGIN + attribute(2, b"\2\1" + bytes(4)) + HOP, "AS 0"),
        (ORIGIN + PATH + attribute(3, b"123"), "a usable NEXT_HOP is missing"),
        (GOOD + attribute(4, b"123", 0x80), "MULTI_EXIT_DISC is malformed"),
        (GOOD + attribute(8, b"12345", 0xC0), "COMMUNITIES is malformed"),
        (GOOD + attribute(32, b"12345", 0xC0), "LARGE_COMMUNITY is malformed"),
        (GOOD + bytes((0x40, 6, 9)), "attribute 6 is cut off"),
        (GOOD + bytes((0x40,)), "cut off"),
        (GOOD + attribute(16, b"1234567", 0xC0), "EXTENDED_COMMUNITIES is malformed"),
        (
            ORIGIN + attribute(2, b"\3\1" + bytes((0, 0, 0, 1))) + HOP,
            "AS_PATH has a confederation's segment",
        ),
    ],
)
def test_update_treated_as_withdraw(attrs: bytes, problem: str) -> None:
    """RFC 7606: the routes go, the session stays, the reason is told."""
    one = established()
    (event,) = one.receive(an_update(attrs), 1.0)

    assert isinstance(event, session.Learned)
    assert (event.path, event.prefixes) == (None, [PREFIX])
    assert problem in event.problem
    assert one.take() == b""
    assert not one.closed


@pytest.mark.parametrize(
    "extra",
    [
        attribute(7, b"123", 0xC0),
        attribute(6, b"x"),
        attribute(5, b"12345"),
        attribute(9, b"1", 0x80),
        attribute(10, b"1", 0x80),
        attribute(17, b"1", 0xC0),
        attribute(200, b"whatever", 0xC0),
        ORIGIN[:3] + b"\2",
    ],
    ids=["aggregator", "atomic", "local-pref", "originator", "cluster", "as4", "unknown", "twice"],
)
def test_attribute_discarded(extra: bytes) -> None:
    """RFC 7606 sections 3g and 7: what does not matter to an external neighbour's route is dropped."""
    one = established()
    (event,) = one.receive(an_update(GOOD + extra), 1.0)

    assert isinstance(event, session.Learned)
    assert event.path is not None
    assert (event.path.origin, event.path.local_pref, event.problem) == (0, 100, "")


@pytest.mark.parametrize(
    ("hop", "reason"),
    [
        (bytes(4), "nexthop-martian"),
        (bytes((127, 0, 0, 1)), "nexthop-martian"),
        (bytes((224, 0, 0, 5)), "nexthop-martian"),
        (b"\xff" * 4, "nexthop-martian"),
        (ADDRESS.packed, "nexthop-own"),
        (bytes((192, 0, 2, 9)), ""),
    ],
)
def test_next_hop_of_nobody(hop: bytes, reason: str) -> None:
    """RFC 4271 section 6.3: the path is kept with its reason, and takes no part; the session stays."""
    one = established()
    (event,) = one.receive(an_update(ORIGIN + PATH + attribute(3, hop)), 1.0)

    assert isinstance(event, session.Learned)
    assert (event.prefixes, event.refused) == ([PREFIX], reason)
    assert event.path is not None
    assert one.take() == b""


@pytest.mark.parametrize(
    ("numbers", "allowed", "reason"),
    [
        ((64513, 64514), 0, ""),
        ((64513, 64512), 0, "as-loop"),
        ((64513, 64512), 1, ""),
        ((64513, 64512, 64512), 1, "as-loop"),
        ((64513, 64512, 64512), 2, ""),
    ],
)
def test_own_as_in_path(numbers: tuple[int, ...], allowed: int, reason: str) -> None:
    """RFC 4271 section 9.1.2: our AS in AS_PATH is a loop, unless so often is allowed; no fault."""
    one = established(dataclasses.replace(NEIGHBOR, allow_own_as=allowed))
    path = attribute(2, struct.pack(f"!BB{len(numbers)}I", 2, len(numbers), *numbers))
    (event,) = one.receive(an_update(ORIGIN + path + HOP), 1.0)

    assert isinstance(event, session.Learned)
    assert event.refused == reason
    assert event.problem == ""


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (attribute(9, LOCAL.router_id.packed, 0x80), "originator-loop"),
        (attribute(10, bytes(4) + LOCAL.router_id.packed, 0x80), "cluster-loop"),
        (attribute(10, bytes((0, 0, 0, 9)), 0x80), ""),
    ],
)
def test_own_reflected_route(extra: bytes, reason: str) -> None:
    """RFC 4456 section 8: our own ORIGINATOR_ID, or ours in CLUSTER_LIST, is a loop."""
    one = established(dataclasses.replace(NEIGHBOR, remote_as=64512))
    (event,) = one.receive(an_update(ORIGIN + attribute(2, b"") + HOP + extra), 1.0)

    assert isinstance(event, session.Learned)
    assert event.refused == reason


def test_nothing_after_the_end() -> None:
    """Garbage behind a NOTIFICATION, or received later, is met with silence."""
    one = established()
    end = message.frame(message.NOTIFICATION, b"\6\2\x04bye!")
    (event,) = one.receive(end + b"garbage" * 9, 1.0)

    assert isinstance(event, session.Closed)
    assert event.reason == "received NOTIFICATION Cease, administrative shutdown: bye!"
    assert list(one.receive(b"garbage" * 9, 1.0)) == []
    assert list(one.tick(99.0)) == []
    assert one.take() == b""


def test_as_trans_both_ways() -> None:
    """RFC 6793: with a two-octet neighbour AS_TRANS stands in the path and AS4_PATH has the truth."""
    wide = 4200000001
    neighbor = dataclasses.replace(NEIGHBOR, remote_as=64513)
    local = dataclasses.replace(LOCAL, local_as=wide)
    one = session.Session(local, neighbor, restart=RESTART, now=0.0)
    sent = message.parse_open(one.take()[19:])
    list(one.receive(dataclasses.replace(OPEN, parameters=b"").encode() + KEEPALIVE, 0.0))

    assert sent.my_as == capability.AS_TRANS
    assert capability.parse(sent.parameters).four_octet_as == wide
    assert not one.agreed.four_octet_as

    path = attribute(2, struct.pack("!BBHH", 2, 2, 64513, 23456))
    real = attribute(17, struct.pack("!BBI", 2, 1, 4200000009), 0xC0)
    (event,) = one.receive(an_update(ORIGIN + path + HOP + real), 1.0)

    assert isinstance(event, session.Learned)
    assert event.path is not None
    assert event.path.as_path == (64513, 4200000009)
    assert event.path.as_path_length == 2

    ours = common((wide,), four_octet_as=False)
    (body,) = update.announce(V4, [PREFIX], next_hop=ADDRESS, common=ours)
    back = update.parse(body[19:], four_octet_as=False, ebgp=True)

    assert back.attributes.as_path == (wide,)
    assert struct.pack("!BBH", 2, 1, 23456) in body
