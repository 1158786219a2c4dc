"""What holds for every input: identities, splits, and garbage."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Callable

import hypothesis
from hypothesis import strategies as st

from bgp_ipvlan import model
from bgp_ipvlan.bgp import attributes, capability, message, session, update
from tests.unit.bgp.test_faults import GOOD, OPEN, an_update, begin, common, established

V4, V6 = model.Family.IPV4, model.Family.IPV6
u32 = st.integers(0, 2**32 - 1)
families = st.sampled_from(model.Family)


def keys(family: model.Family) -> st.SearchStrategy[model.Nlri]:
    """Canonical prefixes of a family, of every length."""
    raw = st.tuples(st.integers(0, 2**family.bits - 1), st.integers(0, family.bits))
    network = ipaddress.IPv4Network if family is V4 else ipaddress.IPv6Network
    return raw.map(lambda pair: model.nlri(network(pair, strict=False)))


@hypothesis.given(
    st.integers(0, 65535), st.integers(3, 65535), u32.filter(bool), st.binary(max_size=253)
)
def test_open_identity(my_as: int, hold_time: int, identifier: int, parameters: bytes) -> None:
    """An OPEN is read as it was written."""
    one = message.Open(
        my_as=my_as, hold_time=hold_time, identifier=identifier, parameters=parameters
    )

    assert message.parse_open(one.encode()[19:]) == one


@hypothesis.given(
    st.frozensets(families, min_size=1),
    st.none() | u32,
    st.booleans(),
    st.none()
    | st.builds(
        capability.GracefulRestart,
        restarted=st.booleans(),
        time=st.integers(0, 4095),
        families=st.dictionaries(families, st.booleans()),
    ),
)
def test_capabilities_identity(
    offered: frozenset[model.Family],
    four_octet_as: int | None,
    route_refresh: bool,
    restart: capability.GracefulRestart | None,
) -> None:
    """Capabilities are read as they were written."""
    one = capability.Capabilities(
        families=offered,
        four_octet_as=four_octet_as,
        route_refresh=route_refresh,
        graceful_restart=restart,
    )

    assert capability.parse(one.encode()) == one


@hypothesis.given(families.flatmap(lambda f: st.tuples(st.just(f), st.lists(keys(f)))), st.data())
def test_update_identity(table: tuple[model.Family, list[model.Nlri]], data: st.DataObject) -> None:
    """What is packed into UPDATEs, announced or withdrawn, comes out in order and complete."""
    family, prefixes = table
    size = 4 if family is V4 else 16
    hop = ipaddress.ip_address(data.draw(st.binary(min_size=size, max_size=size)))
    path = tuple(data.draw(st.lists(st.integers(1, 2**32 - 1), max_size=60)))
    sent = list(update.announce(family, prefixes, next_hop=hop, common=common(path)))
    back = [update.parse(one[19:], four_octet_as=True, ebgp=True) for one in sent]

    announced = [block for one in back for block in one.announced]
    assert [key for block in announced for key in block.prefixes] == prefixes
    assert {one.attributes.as_path for one in back} <= {path}
    assert {(block.family, block.next_hop) for block in announced} <= {(family, hop)}
    assert not any(one.withdrawn or one.attributes.problem for one in back)

    gone = [
        update.parse(one[19:], four_octet_as=True, ebgp=True)
        for one in update.withdraw(family, prefixes)
    ]

    withdrawn = [block for one in gone for block in one.withdrawn]
    assert [key for block in withdrawn for key in block.prefixes] == prefixes


@hypothesis.given(families, st.integers(2000, 3000))
def test_updates_fit(family: model.Family, count: int) -> None:
    """No message is longer than 4096 octets, and none is needlessly short."""
    size = family.bits // 8
    prefixes = [bytes((family.bits,)) + n.to_bytes(size) for n in range(count)]
    hop = ipaddress.ip_address(bytes(size))
    for sent in (
        list(update.announce(family, prefixes, next_hop=hop, common=common(()))),
        list(update.withdraw(family, prefixes)),
    ):
        assert all(len(one) <= message.MAX_SIZE for one in sent)
        assert all(len(one) > message.MAX_SIZE - 80 for one in sent[:-1])


@hypothesis.given(families, st.lists(st.integers(0, 32), max_size=40), st.binary(min_size=16))
def test_host_bits_are_cleared(family: model.Family, lengths: list[int], host: bytes) -> None:
    """Whatever stands beyond the prefix length, the key is canonical (RFC 4271 section 4.3)."""
    raw = b"".join(bytes((n,)) + host[: (n + 7) // 8] for n in lengths)
    found = update.split(family, raw)

    assert [key[0] for key in found] == lengths
    for key in found:
        assert model.nlri(model.prefix(family, key)) == key


def _conversation() -> bytes:
    hop = ipaddress.ip_address("192.0.2.2")
    common = GOOD[: GOOD.index(b"\x40\x03")]
    hosts = [bytes((32, 10, 9, n >> 8, n & 255)) for n in range(900)]
    parts = [OPEN.encode(), message.frame(message.KEEPALIVE)]
    parts += update.announce(V4, hosts, next_hop=hop, common=common)
    parts += update.withdraw(V4, hosts[:5])
    parts += update.withdraw(V6, [bytes((16, 32, 1))])
    parts += [update.end_of_rib(V4), update.end_of_rib(V6)]
    parts += [message.frame(message.ROUTE_REFRESH, bytes((0, 1, 0, 1)))]
    parts += [message.frame(message.NOTIFICATION, b"\6\4")]
    return b"".join(parts)


CONVERSATION = _conversation()


@hypothesis.given(st.lists(st.integers(0, len(CONVERSATION)), max_size=12))
def test_any_split_of_the_stream(cuts: list[int]) -> None:
    """However TCP cuts the octets, the events and the answers are the same."""
    whole = begin()
    expected = list(whole.receive(CONVERSATION, 0.0))
    one = begin()
    edges = [0, *sorted(cuts), len(CONVERSATION)]
    found: list[session.Event] = []
    for start, end in itertools.pairwise(edges):
        found += one.receive(CONVERSATION[start:end], 0.0)

    assert found == expected
    assert one.take() == whole.take()
    assert {type(event) for event in found} == {
        session.Opened,
        session.Established,
        session.Learned,
        session.EndOfRib,
        session.RefreshWanted,
        session.Closed,
    }


def _survives(make: Callable[[], session.Session], data: bytes) -> None:
    """Garbage ends in at most one Closed, the last event; a NOTIFICATION is the last message."""
    one = make()
    events = list(one.receive(data, 0.0))
    closed = [event for event in events if isinstance(event, session.Closed)]

    assert closed == events[len(events) - len(closed) :]
    assert len(closed) == one.closed
    for kind, _ in list(message.Framer().feed(one.take()))[:-1]:
        assert kind != message.NOTIFICATION


@hypothesis.given(st.sampled_from([begin, established]), st.integers(0, 6), st.binary(max_size=200))
def test_garbage_never_raises(make: Callable[[], session.Session], kind: int, body: bytes) -> None:
    """Any octets as the body of any message, or as they are, in any state."""
    _survives(make, message.frame(kind, body))
    _survives(make, body)


@hypothesis.given(st.data())
def test_damaged_messages_never_raise(data: st.DataObject) -> None:
    """A good message with one octet changed, or cut short with its length mended."""
    reach = attributes.encode(14, bytes.fromhex("00020110") + bytes(17) + b"\x10\x20\x01", 0x80)
    more = attributes.encode(8, bytes(8), 0xC0) + attributes.encode(32, bytes(12), 0xC0)
    good = data.draw(
        st.sampled_from([(begin, OPEN.encode()), (established, an_update(GOOD + more + reach))])
    )
    make, octets = good
    body = octets[19:]
    where = data.draw(st.integers(0, len(body) - 1))
    changed = body[:where] + bytes((data.draw(st.integers(0, 255)),)) + body[where + 1 :]
    _survives(make, message.frame(octets[18], changed))
    _survives(make, message.frame(octets[18], body[:where]))
