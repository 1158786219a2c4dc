"""Taking GoBGP's messages apart, without a gobgpd."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import logging
from collections.abc import AsyncIterator

import hypothesis
import pytest
from hypothesis import strategies

from bgp_ipvlan import model
from bgp_ipvlan.engines.gobgp import attributes, dialects, neighbors, originate, paths, watch, wire
from bgp_ipvlan.engines.gobgp.proto import gobgp_pb2 as messages

LOCAL_AS = 64512
V4, V6 = model.Family.IPV4, model.Family.IPV6
HOP = ipaddress.ip_address("192.0.2.2")


def _hop3(text: str = "192.0.2.2") -> bytes:
    one = messages.Any(
        type_url="type.googleapis.com/apipb.NextHopAttribute",
        value=messages.Text(value=text).SerializeToString(),
    )
    return one.SerializeToString()


def _reach3(*hops: str, others: int = 0) -> bytes:
    """MP_REACH_NLRI with so many prefixes, which are field 3."""
    value = messages.MpReach(next_hops=hops).SerializeToString() + b"\x1a\x02ab" * others
    one = messages.Any(type_url="type.googleapis.com/apipb.MpReachNLRIAttribute", value=value)
    return one.SerializeToString()


def _path3(prefix: str, *parts: bytes, **values: object) -> messages.Path3:
    network = ipaddress.ip_network(prefix)
    defaults = {"neighbor_ip": "192.0.2.2", "source_asn": 64513, "source_id": "192.0.2.2"}
    return messages.Path3(
        nlri=messages.Nlri3(
            value=messages.Prefix(length=network.prefixlen, address=str(network.network_address))
        ),
        family=messages.Family(afi=model.Family.of(network), safi=1),
        attributes=parts or (_hop3(),),
        **{**defaults, **values},  # type: ignore[arg-type]
    )


@hypothesis.given(
    strategies.lists(strategies.binary(max_size=40), max_size=30),
    strategies.integers(1, 8),
    strategies.integers(1, 100),
)
def test_slices_are_messages_and_together_the_whole(
    parts: list[bytes], count: int, size: int
) -> None:
    """Whatever is cut where: each slice is a message, and their fields are those of the whole."""
    whole = messages.Path3(attributes=parts).SerializeToString()
    found = list(wire.slices(b"x" + whole + b"y", 1, 1 + len(whole), count=count, size=size))
    read = [messages.Path3.FromString(one).attributes for one in found]
    assert parts == list(itertools.chain(*read))
    assert all(len(one) <= count for one in read)
    assert b"".join(found) == whole


@hypothesis.given(strategies.binary(max_size=60))
def test_no_field_reaches_beyond_its_message(data: bytes) -> None:
    """Octets that are no message end in a ValueError, and never in what lies behind them."""
    behind = data + b"\x12\x01x" * 50
    try:
        found = list(wire.spans(behind, 0, len(data)))
    except ValueError:
        return
    assert all(0 < start <= end <= len(data) for _, start, end in found)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("0.0.0.0/0", "00"),
        ("10.1.2.3/32", "200a010203"),
        ("10.1.3.0/23", "170a0102"),
        ("10.1.2.0/23", "170a0102"),
        ("2001:db8::/33", "2120010db800"),
    ],
)
def test_keys(prefix: str, expected: str) -> None:
    """A prefix becomes its key, host bits zero whatever gobgpd says."""
    address, _, length = prefix.partition("/")
    one = messages.Prefix(length=int(length), address=address)
    key = paths.nlri(2 if ":" in prefix else 1, one)
    assert key.hex() == expected


def test_equal_attributes_are_one_tuple() -> None:
    """Also where MP_REACH_NLRI names other prefixes; other next hops or neighbours are others."""
    decoder = paths.Decoder(dialects.V3, LOCAL_AS)
    rows = decoder.rows(
        [
            _path3("2001:db8:1::/48", _reach3("2001:db8::2", others=1)),
            _path3("2001:db8:2::/48", _reach3("2001:db8::2", others=300)),
            _path3("2001:db8:3::/48", _reach3("2001:db8::2", "fe80::2")),
            _path3("2001:db8:4::/48", _reach3("2001:db8::2"), neighbor_ip="192.0.2.3"),
            _path3("2001:db8:5::/48", _reach3("2001:db8::2"), identifier=7),
        ]
    )
    assert rows[0][2] is rows[1][2]
    assert len({id(row[2]) for row in rows}) == 4
    assert [str(row[2][0].link_local) for row in rows] == ["None", "None", "fe80::2", *["None"] * 2]


def test_paths_of_one_prefix_are_one_row_across_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is cut between the two paths of a prefix, and they still come together."""
    monkeypatch.setattr(watch, "SLICE", 2)
    table = messages.Table3(
        paths=[
            _path3("10.0.0.0/16"),
            _path3("10.1.0.0/16"),
            _path3("10.1.0.0/16", neighbor_ip="192.0.2.3"),
            _path3("10.2.0.0/16"),
            _path3("10.3.0.0/16"),
        ]
    ).SerializeToString()
    found = _events(b"\x1a" + _varint(len(table)) + table)
    rows = [row for one in found if isinstance(one, watch.Rows) for row in one.rows]
    assert [len(paths_) for _, _, paths_ in rows] == [1, 2, 1, 1]
    assert [one.more for one in found if isinstance(one, watch.Rows)] == [True] * 3 + [False]


def _varint(number: int) -> bytes:
    found = b""
    while number > 0x7F:
        found += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return found + bytes((number,))


def _events(*octets: bytes, multipath: bool = False) -> list[watch.Peer | watch.Rows]:
    async def stream() -> AsyncIterator[bytes]:
        for one in octets:
            yield one

    async def run() -> list[watch.Peer | watch.Rows]:
        decoder = paths.Decoder(dialects.V3, LOCAL_AS)
        events = watch.events(dialects.V3, decoder, stream(), multipath=multipath, table=True)
        return [one async for one in events]

    return asyncio.run(run())


def test_an_empty_table_is_told() -> None:
    """A message of no paths is the whole table the first time, and no news the second."""
    first, second = _events(b"\x1a\0", b"\x1a\0")
    assert first == watch.Rows(watch.Kind.SNAPSHOT)
    assert second == watch.Rows(watch.Kind.SET)


@pytest.mark.parametrize("text", ["", "<nil>", "invalid IP", "0.0.0.0", "::"])
def test_local_paths_are_no_rows_of_ours(text: str) -> None:
    """Whichever way gobgpd writes that a path is its own."""
    decoder = paths.Decoder(dialects.V3, LOCAL_AS)
    raw = _path3("10.0.0.0/16", neighbor_ip=text)
    assert decoder.rows([raw]) == [(V4, b"\x10\x0a\x00", ())]
    entry = decoder.entry(raw)
    assert entry.is_local
    assert entry.path is not None
    assert entry.path.next_hop == HOP


def test_other_families_are_passed_over() -> None:
    """Of multicast or VPN routes nothing is said."""
    raw = _path3("10.0.0.0/16")
    raw.family.safi = 128
    decoder = paths.Decoder(dialects.V3, LOCAL_AS)
    assert decoder.rows([raw]) == []
    assert decoder.changes([raw]) == []


def test_a_path_that_cannot_be_read_is_none(caplog: pytest.LogCaptureFixture) -> None:
    """It is passed over with a warning, and the others come."""
    decoder = paths.Decoder(dialects.V3, LOCAL_AS)
    with caplog.at_level(logging.WARNING):
        rows = decoder.rows([_path3("10.0.0.0/16", _hop3("nonsense")), _path3("10.1.0.0/16")])
    assert [len(row[2]) for row in rows] == [0, 1]
    assert "passed over" in caplog.text


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets of attributes that are in use stay known, others are forgotten."""
    monkeypatch.setattr(paths, "_MOST", 10)
    decoder = paths.Decoder(dialects.V3, LOCAL_AS)
    used = decoder.entry(_path3("10.0.0.0/16"))
    for number in range(200):
        decoder.entry(_path3("10.0.0.0/16", identifier=number + 1))
        assert decoder.entry(_path3("10.0.0.0/16")) is used
    assert len(decoder._young) + len(decoder._old) <= 20


def test_a_change_says_what_came_and_what_went() -> None:
    """With use-multiple-paths GoBGP 4 tells of single paths."""
    decoder = paths.Decoder(dialects.V3, LOCAL_AS)
    came, gone, own = decoder.changes(
        [
            _path3("10.0.0.0/16"),
            _path3("10.0.0.0/16", is_withdraw=True),
            _path3("10.0.0.0/16", neighbor_ip=""),
        ]
    )
    assert came == (V4, b"\x10\x0a\x00", gone[3], ())
    assert gone[:3] == (V4, b"\x10\x0a\x00", ())
    assert own[2:] == ((), ())


def test_an_external_neighbor_is_in_another_as() -> None:
    """By its AS number."""
    decoder = paths.Decoder(dialects.V3, LOCAL_AS)
    inside = decoder.entry(_path3("10.0.0.0/16", source_asn=LOCAL_AS)).path
    outside = decoder.entry(_path3("10.0.0.0/16")).path
    assert inside is not None
    assert outside is not None
    assert (inside.ebgp, outside.ebgp) == (False, True)


def test_attributes_without_a_next_hop_are_refused() -> None:
    """A path that leads nowhere."""
    with pytest.raises(ValueError, match="next hop"):
        attributes.decode(dialects.V3, [])


def test_a_path_of_ours_of_every_kind() -> None:
    """NEXT_HOP for IPv4, MP_REACH_NLRI where a next hop is IPv6, and AS_PATH as prepended."""
    plain = model.Announcement(prefix=ipaddress.ip_network("10.0.0.0/16"), next_hop=HOP, prepend=2)
    one = originate.path(plain, local_as=LOCAL_AS)
    assert [part[1] for part in one.attributes_binary] == [1, 2, 3]
    assert one.attributes_binary[1].hex() == "40020a0202" + "0000fc00" * 2
    assert (one.nlri_binary, one.is_withdraw, one.family.afi) == (b"\x10\x0a\x00", False, 1)
    six = ipaddress.ip_address("2001:db8::1")
    fixed = model.Announcement(prefix=plain.prefix, next_hop=HOP, fixed_next_hop=six)
    reach = originate.path(fixed, local_as=LOCAL_AS).attributes_binary[-1]
    assert reach.hex() == "800e18" + "00010110" + six.packed.hex() + "00" + "100a00"


def test_enumerations_of_version_4_begin_at_1() -> None:
    """The base of each version is what BEST, GLOBAL, EXACT, IN and UP are."""
    assert watch.request(dialects.V3, table=True).table.filters[0].type == 0
    assert watch.request(dialects.V4, table=True).table.filters[0].type == 1


def test_a_neighbor_says_all_that_gobgpd_would_fill_in() -> None:
    """Else an update that changes nothing would end its session."""
    config = model.NeighborConfig(address=HOP, remote_as=64513, ttl_security=True, multihop=2)
    for dialect in dialects.ALL:
        found = neighbors.peer(dialect, config, local_as=LOCAL_AS, restart_time=30)
        assert found.conf.local_asn == LOCAL_AS
        assert found.conf.type == dialect.base + 1
        assert found.transport.local_address == "0.0.0.0"
        assert found.ttl_security.ttl_min == 254
        assert [one.config.family.afi for one in found.families] == [1, 2]
        assert all(one.graceful_restart.config.enabled for one in found.families)
