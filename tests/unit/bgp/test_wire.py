"""Octets as they stand in the RFCs, written by hand, both ways; and the edges of each rule."""

from __future__ import annotations

import dataclasses
import ipaddress
import struct

import pytest

from bgp_ipvlan import model
from bgp_ipvlan.bgp import attributes, capability, message, session, update
from tests.unit.bgp.test_faults import (
    ADDRESS,
    GOOD,
    HOP,
    KEEPALIVE,
    LOCAL,
    NEIGHBOR,
    OPEN,
    ORIGIN,
    PATH,
    PREFIX,
    RESTART,
    an_update,
    attribute,
    begin,
    common,
    established,
)

V4, V6 = model.Family.IPV4, model.Family.IPV6


def test_capabilities_on_the_wire() -> None:
    """RFC 4760 section 8, RFC 2918, RFC 6793 section 3, RFC 4724 section 3, to the bit."""
    one = capability.Capabilities(
        families=frozenset((V4, V6)),
        four_octet_as=4200000001,
        route_refresh=True,
        graceful_restart=capability.GracefulRestart(
            restarted=True, time=30, families={V4: True, V6: False}
        ),
    )
    octets = bytes.fromhex(
        "0104 00010001 0104 00020001 0200 4104 fa56ea01 400a 801e 00010180 00020100"
    )

    assert one.encode() == octets
    assert capability.parse(octets) == one


def test_capabilities_of_other_families() -> None:
    """Multicast and VPN are passed over, in what is offered and in what is kept over a restart."""
    octets = bytes.fromhex("0104 00010002 0104 00010080 0104 00020001 400a 001e 00010280 00020180")
    found = capability.parse(octets)

    assert found.families == {V6}
    assert found.graceful_restart is not None
    assert found.graceful_restart.families == {V6: True}
    assert not found.graceful_restart.restarted


def test_no_multiprotocol_means_ipv4() -> None:
    """RFC 4760 section 8: an OPEN of an old speaker."""
    assert capability.parse(b"").families == {V4}


@pytest.mark.parametrize(("number", "field"), [(65535, 65535), (65536, 23456)])
def test_my_as_field(number: int, field: int) -> None:
    """RFC 6793 section 4.1: AS_TRANS stands where, and only where, the number does not fit."""
    one = session.Session(
        dataclasses.replace(LOCAL, local_as=number), NEIGHBOR, restart=RESTART, now=0.0
    )
    opening = message.parse_open(one.take()[19:])

    assert opening.my_as == field
    assert opening.hold_time == 9
    assert opening.identifier == int(LOCAL.router_id)


@pytest.mark.parametrize(
    ("number", "octets"),
    [(65535, "40020402 01ffff"), (65536, "40020402 015ba0 c0110602 0100010000")],
)
def test_two_octet_path(number: int, octets: str) -> None:
    """RFC 6793 section 4.2.2: AS4_PATH is sent when a number does not fit, else not."""
    encoded = common((number,), four_octet_as=False).removeprefix(ORIGIN)

    assert encoded == bytes.fromhex(octets)


def test_four_octet_path() -> None:
    """RFC 4271 section 4.3 b with four octets, and the empty path within the AS."""
    assert common((65536,)).removeprefix(ORIGIN) == bytes.fromhex("400206 0201 00010000")
    assert common(()).removeprefix(ORIGIN) == bytes.fromhex("400200")


def test_announcement_on_the_wire() -> None:
    """RFC 4271 section 4.3 and RFC 4760 section 3: one UPDATE of each family, to the bit."""
    ours = common((64512,))
    (four,) = update.announce(V4, [PREFIX], next_hop=ADDRESS, common=ours)
    (six,) = update.announce(
        V6,
        [bytes.fromhex("2020010db8")],
        next_hop=ipaddress.ip_address("2001:db8::1"),
        common=ours,
    )

    assert four[16:] == bytes.fromhex(
        "002f02 0000 0014 40010100 400206 02010000fc00 400304c0000201 180a0200"
    )
    assert six[16:] == bytes.fromhex(
        "004102 0000 002a 800e1a 00020110 20010db8000000000000000000000001 00 2020010db8"
        "40010100 400206 02010000fc00"
    )


@pytest.mark.parametrize("numbers", [(), (64512,), (64512,) * 100])
def test_attributes_in_order(numbers: tuple[int, ...]) -> None:
    """RFC 4271 section 5: codes ascend, however long AS_PATH is; MP_REACH_NLRI first (RFC 7606)."""
    ours = attributes.encode_common(
        as_path=numbers,
        four_octet_as=True,
        med=5,
        local_pref=100,
        communities=(1,),
        large_communities=((1, 2, 3),),
    )
    (four,) = update.announce(V4, [PREFIX], next_hop=ADDRESS, common=ours)
    hop = ipaddress.ip_address("2001:db8::1")
    (six,) = update.announce(V6, [bytes.fromhex("2020010db8")], next_hop=hop, common=ours)

    assert _codes(four) == [1, 2, 3, 4, 5, 8, 32]
    assert _codes(six) == [14, 1, 2, 4, 5, 8, 32]
    assert update.parse(four[19:], four_octet_as=True, ebgp=True).announced[0].next_hop == ADDRESS


def _codes(sent: bytes) -> list[int]:
    """Codes of the attributes of an UPDATE that withdraws nothing."""
    found, start, end = [], 23, 23 + int.from_bytes(sent[21:23])
    while start < end:
        found.append(sent[start + 1])
        width = 2 if sent[start] & 0x10 else 1
        start += 2 + width + int.from_bytes(sent[start + 2 : start + 2 + width])
    return found


def test_withdraw_and_end_of_rib_on_the_wire() -> None:
    """RFC 4271 section 4.3, RFC 4760 section 4, RFC 4724 section 2."""
    (four,) = update.withdraw(V4, [PREFIX])
    (six,) = update.withdraw(V6, [bytes.fromhex("2020010db8")])

    assert four[16:] == bytes.fromhex("001b02 0004 180a0200 0000")
    assert six[16:] == bytes.fromhex("002202 0000 000b 800f08 000201 2020010db8")
    assert update.end_of_rib(V4)[16:] == bytes.fromhex("001702 0000 0000")
    assert update.end_of_rib(V6)[16:] == bytes.fromhex("001d02 0000 0006 800f03 000201")


def test_long_attribute() -> None:
    """RFC 4271 section 4.3: above 255 octets the length takes two octets; both forms are read."""
    short, long = bytes(255), bytes(256)

    assert attributes.encode(99, short, 0xC0)[:3] == bytes((0xC0, 99, 255))
    assert attributes.encode(99, long, 0xC0)[:4] == bytes((0xD0, 99, 1, 0))

    communities = struct.pack("!64I", *range(64))
    found = attributes.parse(
        attribute(8, communities, 0xC0) + ORIGIN, four_octet_as=True, ebgp=True
    )
    assert found.communities == tuple(range(64))
    assert found.origin == 0


def test_longest_message() -> None:
    """RFC 4271 section 4.1: 4096 octets are allowed."""
    fill = attribute(200, bytes(4096 - 19 - 4 - len(GOOD) - len(PREFIX) - 4), 0xC0)
    data = an_update(GOOD + fill)
    (event,) = established().receive(data, 0.0)

    assert len(data) == 4096
    assert isinstance(event, session.Learned)


@pytest.mark.parametrize(
    ("segments", "numbers", "length"),
    [
        ([(2, (1, 2))], (1, 2), 2),
        ([(2, (1, 2)), (1, (3, 4, 5))], (1, 2, 3, 4, 5), 3),
        ([(3, (65001, 65002)), (2, (1,)), (4, (65003,))], (65001, 65002, 1, 65003), 1),
        ([], (), 0),
    ],
    ids=["sequence", "set", "confederation", "empty"],
)
def test_path_length(
    segments: list[tuple[int, tuple[int, ...]]], numbers: tuple[int, ...], length: int
) -> None:
    """RFC 4271 section 9.1.2.2 a: a set counts one; RFC 5065 section 5.3: confederations nothing."""
    value = b"".join(
        struct.pack(f"!BB{len(part)}I", kind, len(part), *part) for kind, part in segments
    )
    found = attributes.parse(attribute(2, value), four_octet_as=True, ebgp=False)

    assert (found.as_path, found.as_path_length) == (numbers, length)


def test_all_that_a_path_carries() -> None:
    """From an internal neighbour every attribute arrives in the path."""
    one = established(dataclasses.replace(NEIGHBOR, remote_as=64512))
    attrs = (
        attribute(1, b"\2")
        + PATH
        + HOP
        + attribute(4, struct.pack("!I", 7), 0x80)
        + attribute(5, struct.pack("!I", 300))
        + attribute(8, struct.pack("!II", 1, 2), 0xC0)
        + attribute(9, struct.pack("!I", 9), 0x80)
        + attribute(10, struct.pack("!II", 3, 4), 0x80)
        + attribute(32, struct.pack("!6I", 1, 2, 3, 4, 5, 6), 0xC0)
    )
    (event,) = one.receive(an_update(attrs), 0.0)

    assert event == session.Learned(
        V4,
        model.Path(
            neighbor=NEIGHBOR.address,
            next_hop=ipaddress.ip_address("192.0.2.2"),
            origin=2,
            as_path=(64513,),
            as_path_length=1,
            med=7,
            local_pref=300,
            communities=(1, 2),
            large_communities=((1, 2, 3), (4, 5, 6)),
            originator_id=9,
            cluster_list=(3, 4),
            ebgp=False,
            router_id=7,
        ),
        [PREFIX],
    )


def test_both_families_in_one_update() -> None:
    """RFC 4760: MP_REACH_NLRI and plain NLRI together, each with its own next hop."""
    far = ipaddress.ip_address("2001:db8::2")
    local = ipaddress.ip_address("fe80::2")
    reach = struct.pack("!HBB", 2, 1, 32) + far.packed + local.packed + b"\0" + b"\x10\x20\x01"
    (four, six) = established().receive(an_update(GOOD + attribute(14, reach, 0x80)), 0.0)

    assert isinstance(four, session.Learned)
    assert isinstance(six, session.Learned)
    assert four.path is not None
    assert six.path is not None
    assert (four.path.next_hop, four.prefixes) == (ipaddress.ip_address("192.0.2.2"), [PREFIX])
    assert (six.path.next_hop, six.prefixes) == (far, [b"\x10\x20\x01"])


def test_ipv4_in_mp_reach() -> None:
    """RFC 4760: IPv4 too may come in MP_REACH_NLRI."""
    reach = struct.pack("!HBB", 1, 1, 4) + bytes((192, 0, 2, 9)) + b"\0" + PREFIX
    (event,) = established().receive(
        an_update(ORIGIN + PATH + attribute(14, reach, 0x80), b""), 0.0
    )

    assert isinstance(event, session.Learned)
    assert event.path is not None
    assert (str(event.path.next_hop), event.prefixes) == ("192.0.2.9", [PREFIX])


@pytest.mark.parametrize("afi_safi", ["0001 80", "0001 02", "0019 41"])
def test_family_not_ours(afi_safi: str) -> None:
    """Routes of a family that was never offered are ignored, and the session stays."""
    reach = bytes.fromhex(afi_safi) + b"\4" + bytes(4) + b"\0" + b"\x40" + bytes(8)
    unreach = bytes.fromhex(afi_safi) + b"\x40" + bytes(8)
    one = established()
    data = an_update(ORIGIN + PATH + attribute(14, reach, 0x80), b"")
    data += an_update(attribute(15, unreach, 0x80), b"")

    assert list(one.receive(data, 0.0)) == []
    assert not one.closed


def test_withdraw_with_attributes_is_no_end_of_rib() -> None:
    """Only an UPDATE that withdraws and announces nothing at all ends the table."""
    reach = struct.pack("!HBB", 2, 1, 16) + ipaddress.ip_address("2001:db8::2").packed + b"\0"
    both = attribute(14, reach + b"\x10\x20\x01", 0x80) + attribute(15, b"\0\2\1", 0x80)
    one = established()
    events = list(one.receive(an_update(ORIGIN + PATH + both, b""), 0.0))
    events += one.receive(an_update(attribute(15, b"\0\2\1", 0x80), b"", PREFIX), 0.0)

    assert [type(event) for event in events] == [session.Learned, session.Learned]

    (event,) = one.receive(update.end_of_rib(V6), 0.0)
    assert event == session.EndOfRib(V6)


def test_withdrawn_and_announced_at_once() -> None:
    """RFC 4271 section 4.3: what stands in both fields is announced."""
    gone, come = established().receive(an_update(GOOD, PREFIX, PREFIX), 0.0)

    assert isinstance(gone, session.Learned)
    assert isinstance(come, session.Learned)
    assert gone.path is None
    assert come.path is not None


@pytest.mark.parametrize(
    ("body", "wanted"),
    [("00010001", [V4]), ("00020001", [V6]), ("00010002", []), ("00190041", [])],
)
def test_route_refresh(body: str, wanted: list[model.Family]) -> None:
    """RFC 2918: of families negotiated; others are ignored."""
    one = established()
    events = list(one.receive(message.frame(message.ROUTE_REFRESH, bytes.fromhex(body)), 0.0))

    assert events == [session.RefreshWanted(family) for family in wanted]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"\6\2\3bye", "Cease, administrative shutdown: bye"),
        (b"\6\4\3bye", "Cease, administrative reset: bye"),
        (b"\6\4\3b\ny", "Cease, administrative reset: b\ufffdy"),
        (b"\6\2", "Cease, administrative shutdown"),
        (b"\6\2\0", "Cease, administrative shutdown"),
        (b"\6\7\3bye", "Cease, connection collision resolution"),
        (b"\5\2\3bye", "Finite State Machine Error, in OpenConfirm"),
        (b"\2\2", "OPEN Message Error, bad peer AS"),
        (b"\x63\1", "code 99, subcode 1"),
    ],
)
def test_notification_in_words(body: bytes, text: str) -> None:
    """RFC 4271 section 4.5, RFC 4486; the shutdown text of RFC 9003, made printable."""
    one = established()
    (event,) = one.receive(message.frame(message.NOTIFICATION, body), 0.0)

    assert event == session.Closed(f"received NOTIFICATION {text}", graceful=False)
    assert one.fault == (body[0] not in {4, 6})
    assert one.take() == b""


def test_short_keepalive_interval() -> None:
    """The configured interval holds when it is shorter than a third of the hold time, never longer."""
    for keepalive, expected in ((1, 1.0), (60, 3.0), (0, 3.0)):
        one = begin(dataclasses.replace(NEIGHBOR, keepalive=keepalive))
        list(one.receive(OPEN.encode() + KEEPALIVE, 0.0))

        assert one.deadline == expected


def test_hold_time_is_the_smaller_one() -> None:
    """RFC 4271 section 4.2."""
    for theirs, expected in ((3, 3), (9, 9), (180, 9)):
        one = begin()
        list(one.receive(dataclasses.replace(OPEN, hold_time=theirs).encode(), 0.0))

        assert one.hold_time == expected


@pytest.mark.parametrize("octet", [0x00, 0x01, 0x55, 0x80, 0xFE, 0xFF])
@pytest.mark.parametrize("family", [V4, V6])
def test_every_length_is_made_canonical(family: model.Family, octet: int) -> None:
    """RFC 4271 section 4.3: bits beyond the length mean nothing, all others stay as they are."""
    size = family.bits // 8
    network = ipaddress.IPv4Network if family is V4 else ipaddress.IPv6Network
    for length in range(family.bits + 1):
        octets = bytes((octet,)) * size
        sent = bytes((length,)) + octets[: (length + 7) // 8]
        truth = model.nlri(network((octets, length), strict=False))

        assert update.split(family, sent) == [truth]
        assert update.split(family, sent * 3 + bytes((0,))) == [truth] * 3 + [b"\0"]


@pytest.mark.parametrize("octets", ["4103fa56ea", "0103000100", "4001ff", "4003000100"])
def test_capability_of_a_wrong_length_is_passed_over(octets: str) -> None:
    """What cannot be read counts as not offered."""
    assert capability.parse(bytes.fromhex(octets)) == capability.Capabilities()
