"""Fuzz target: single messages, through each decoder of the core in each of its modes.

The input is an octet that says which decoder, one of modes, and what the decoder gets.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from bgp_ipvlan import model
from bgp_ipvlan.bgp import attributes, capability, message, update
from tests.fuzz import oracle

V4, V6 = model.Family.IPV4, model.Family.IPV6
FOUR_OCTET_AS, EBGP, PATHS_V4, PATHS_V6, EXTENDED = 1, 2, 4, 8, 16
"""The modes, as bits. The high three say how `framer` gets its octets."""


def run(data: bytes) -> None:
    """Decode; whatever the core may not do is an exception.

    Raises:
        AssertionError: a property does not hold.
    """
    which, modes = data[:2].ljust(2, b"\0")
    decoder = DECODERS[which % len(DECODERS)]
    oracle.bounded(len(data), lambda: decoder(data[2:], modes))


def modes_of(data: bytes) -> Iterable[int]:
    """Every mode in which an input can be run."""
    decoder = DECODERS[data[0] % len(DECODERS)] if data else an_update
    if decoder is an_update:
        return range(EXTENDED)
    return (size << 5 | longest for size in range(8) for longest in (0, EXTENDED))


def framer(data: bytes, modes: int) -> None:
    """Frames come out as they are in the stream, however it is cut, up to the first bad header."""
    longest = message.EXTENDED_SIZE if modes & EXTENDED else message.MAX_SIZE
    expected, error = _frames(data, longest)
    size = (len(data) or 1, 1, 7, 18, 19, 20, 100, 4096)[modes >> 5]
    framer = message.Framer()
    framer.longest = longest
    found: list[tuple[int, bytes]] = []
    told = None
    for start in range(0, len(data), size):
        try:
            for frame in framer.feed(data[start : start + size]):
                found.append(frame)  # noqa: PERF402 - an error must not lose those before it
        except message.ProtocolError as problem:
            told = (problem.code, problem.subcode)
            break
    assert found == expected
    assert told == error


def _frames(data: bytes, longest: int) -> tuple[list[tuple[int, bytes]], tuple[int, int] | None]:
    """The whole messages at the start, and the code of what follows them (RFC 4271 section 6.1)."""
    least = {1: 29, 2: 23, 3: 21, 4: 19, 5: 23}
    found: list[tuple[int, bytes]] = []
    while len(data) >= 19:
        length, kind = int.from_bytes(data[16:18]), data[18]
        if data[:16] != oracle.MARKER:
            return found, (1, 1)
        if kind not in least:
            return found, (1, 3)
        # RFC 8654 section 4: OPEN and KEEPALIVE never grow.
        most = {1: 4096, 4: 19}.get(kind, longest)
        if not least[kind] <= length <= most:
            return found, (1, 2)
        if length > len(data):
            break
        found.append((kind, data[19:length]))
        data = data[length:]
    return found, None


def opening(data: bytes, _: int) -> None:
    """An OPEN is refused with an OPEN Message Error, or read, and read the same from our own."""
    if len(data) < 10:
        return  # the framer lets none so short through
    try:
        found = message.parse_open(data)
    except message.ProtocolError as error:
        oracle.check_code(2, error.code, error.subcode)
        return
    assert data[0] == 4
    assert found.hold_time not in {1, 2}
    assert 0 <= found.hold_time < 1 << 16
    assert 0 < found.identifier < 1 << 32
    assert len(found.parameters) <= len(data)
    if len(found.parameters) <= 4096 - 19 - 16:
        assert message.parse_open(found.encode()[19:]) == found
    capabilities(found.parameters, 0)


def capabilities(data: bytes, _: int) -> None:
    """Capabilities are refused or read, read the same from our own, and agreed upon both ways."""
    try:
        found = capability.parse(data)
    except message.ProtocolError as error:
        oracle.check_code(2, error.code, error.subcode)
        assert not _whole(data)
        return
    assert _whole(data)
    assert found.families <= set(model.Family)
    if found.graceful_restart is not None:
        assert 0 <= found.graceful_restart.time < 1 << 12
    if found.families:
        assert capability.parse(found.encode()) == found
    ours = capability.Capabilities(
        families=frozenset(model.Family),
        four_octet_as=65001,
        receive_paths=frozenset(model.Family),
        graceful_restart=None,
    )
    for agreed in (capability.agree(ours, found), capability.agree(found, ours)):
        assert agreed.families == found.families
        assert agreed.restart is None
        assert all(type(name) is str for name in agreed.names)
    assert capability.agree(ours, found).add_path <= found.families


def _whole(data: bytes) -> bool:
    """Whether codes, lengths and values go up evenly (RFC 5492 section 4)."""
    while len(data) >= 2 and len(data) >= 2 + data[1]:
        data = data[2 + data[1] :]
    return not data


def notification(data: bytes, _: int) -> None:
    """A NOTIFICATION is words fit for a terminal; a text of ours is cut to what fits."""
    if len(data) < 2:
        return
    found = message.parse_notification(data)
    assert found.text.isprintable()
    assert len(found.text) < 400
    text = data.decode(errors="replace")
    said = message.shutdown_communication(text)
    assert len(said) <= 256
    if said:
        assert said[0] == len(said) - 1
        assert text.startswith(said[1:].decode())


def an_update(data: bytes, modes: int) -> None:
    """An UPDATE is refused, or its routes are the ones that stand there, whole and canonical."""
    if len(data) < 4:
        return
    paths = frozenset(f for f, bit in ((V4, PATHS_V4), (V6, PATHS_V6)) if modes & bit)
    try:
        found = update.parse(
            data,
            four_octet_as=bool(modes & FOUR_OCTET_AS),
            ebgp=bool(modes & EBGP),
            add_path=paths,
        )
    except message.ProtocolError as error:
        oracle.check_code(3, error.code, error.subcode)
        return
    blocks = [*found.withdrawn, *found.announced]
    assert sum(len(block.prefixes) for block in blocks) <= len(data)
    for block in blocks:
        oracle.check_prefixes(block.family, block.prefixes)
        assert (block.path_id is not None) == (block.family in paths)
        assert 0 <= (block.path_id or 0) < 1 << 32
    if found.end_of_rib is not None:
        assert not blocks
    if found.announced:
        assert not found.attributes.problem
        assert found.attributes.origin in {0, 1, 2}
        assert found.attributes.as_path is not None
    for block in found.announced:
        assert block.next_hop is not None
        oracle.check_next_hop(block.family, block.next_hop, block.link_local)
    _same_plain_routes(data, found, paths)
    _encoded_again(found)


def _same_plain_routes(data: bytes, found: update.Update, paths: frozenset[model.Family]) -> None:
    """Those outside the attributes are all there, and in the right place."""
    middle = 2 + int.from_bytes(data[:2])
    end = middle + 2 + int.from_bytes(data[middle : middle + 2])
    withdrawn = oracle.naive_nlri(data[2:middle], 32, paths=V4 in paths)
    announced = oracle.naive_nlri(data[end:], 32, paths=V4 in paths)
    assert withdrawn is not None
    assert announced is not None
    for wanted, blocks in (
        (withdrawn, found.withdrawn),
        (announced, found.announced or found.withdrawn),
    ):
        there = {
            (block.path_id or 0, key)
            for block in blocks
            if block.family is V4
            for key in block.prefixes
        }
        assert set(wanted) <= there


def _encoded_again(found: update.Update) -> None:
    """What we would send with the same prefixes is read as the same prefixes."""
    common = attributes.encode_common(
        as_path=(65001,),
        four_octet_as=True,
        med=None,
        local_pref=None,
        communities=(),
        large_communities=(),
    )
    for block in found.announced:
        assert block.next_hop is not None
        sent = update.announce(
            block.family,
            block.prefixes,
            next_hop=block.next_hop,
            common=common,
            link_local=block.link_local,
        )
        again = [
            again
            for octets in sent
            for again in _read(octets).announced  # each ends with its own
        ]
        assert [key for one in again for key in one.prefixes] == block.prefixes
        assert {(one.next_hop, one.link_local) for one in again} == {
            (block.next_hop, block.link_local)
        }
    for block in found.withdrawn:
        sent = update.withdraw(block.family, block.prefixes)
        keys = [k for octets in sent for one in _read(octets).withdrawn for k in one.prefixes]
        assert keys == block.prefixes


def _read(octets: bytes) -> update.Update:
    (sent,) = oracle.read(octets)
    assert len(octets) <= message.MAX_SIZE
    return update.parse(sent.body, four_octet_as=True, ebgp=True)


def shown(data: bytes, _: int) -> None:
    """A key that passes the oracle is a prefix, and the other way round."""
    for family in model.Family:
        if oracle.naive_nlri(data, family.bits, paths=False) == [(0, data)]:
            prefix = model.prefix(family, data)
            assert model.nlri(prefix) == data
            assert isinstance(prefix, ipaddress.IPv4Network | ipaddress.IPv6Network)


DECODERS: tuple[Callable[[bytes, int], None], ...] = (
    an_update,
    framer,
    opening,
    capabilities,
    notification,
    shown,
)
