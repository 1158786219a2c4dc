"""Path attributes (RFC 4271 section 5), with the error handling of RFC 7606. Pure.

Three things can become of a bad attribute: the session is reset (`ProtocolError`), the
routes of the UPDATE are withdrawn (`Withdraw`), or the attribute alone is dropped.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import struct
from collections.abc import Callable

from bgp_ipvlan import model
from bgp_ipvlan.bgp import capability, message

ORIGIN, AS_PATH, NEXT_HOP, MED, LOCAL_PREF, ATOMIC_AGGREGATE, AGGREGATOR = range(1, 8)
COMMUNITIES, ORIGINATOR_ID, CLUSTER_LIST = 8, 9, 10
MP_REACH_NLRI, MP_UNREACH_NLRI = 14, 15
EXTENDED_COMMUNITIES, AS4_PATH, AS4_AGGREGATOR, LARGE_COMMUNITIES = 16, 17, 18, 32

OPTIONAL, TRANSITIVE, PARTIAL, EXTENDED_LENGTH = 0x80, 0x40, 0x20, 0x10
_AS_SET, _AS_SEQUENCE, _CONFED_SEQUENCE, _CONFED_SET = 1, 2, 3, 4

_KIND = OPTIONAL | TRANSITIVE
_FLAGS = {
    **dict.fromkeys((ORIGIN, AS_PATH, NEXT_HOP, LOCAL_PREF, ATOMIC_AGGREGATE), TRANSITIVE),
    **dict.fromkeys((MED, ORIGINATOR_ID, CLUSTER_LIST, MP_REACH_NLRI, MP_UNREACH_NLRI), OPTIONAL),
    **dict.fromkeys((AGGREGATOR, COMMUNITIES, EXTENDED_COMMUNITIES, LARGE_COMMUNITIES), _KIND),
    **dict.fromkeys((AS4_PATH, AS4_AGGREGATOR), _KIND),
}
"""The optional and transitive bits that each attribute must have."""


class WithdrawError(Exception):
    """The attributes are unusable: treat the UPDATE's routes as withdrawn (RFC 7606 section 2)."""


@dataclasses.dataclass(slots=True)
class Attributes:
    """What an UPDATE says about its routes."""

    origin: int | None = None
    as_path: tuple[int, ...] | None = None
    as_path_length: int = 0
    confederation: bool = False
    """AS_PATH has segments of a confederation (RFC 5065)."""
    next_hop: model.Address | None = None
    med: int | None = None
    local_pref: int | None = None
    communities: tuple[int, ...] = ()
    large_communities: tuple[tuple[int, int, int], ...] = ()
    extended_communities: tuple[int, ...] = ()
    originator_id: int | None = None
    cluster_list: tuple[int, ...] = ()
    reach: bytes | None = None
    """MP_REACH_NLRI, not yet looked into."""
    unreach: bytes | None = None
    problem: str = ""
    """Why the routes are to be treated as withdrawn; empty when they are not."""


def parse(data: bytes, *, four_octet_as: bool, ebgp: bool) -> Attributes:
    """Decode the path attributes of one UPDATE.

    Raises:
        message.ProtocolError: the session cannot go on.
    """
    found = Attributes()
    raw: dict[int, bytes] = {}
    start = 0
    while start < len(data):
        if len(data) - start < 3:
            found.problem = "attribute list is cut off"
            break
        flags, code = data[start], data[start + 1]
        wide = bool(flags & EXTENDED_LENGTH)
        value = start + (4 if wide else 3)
        end = value + int.from_bytes(data[start + 2 : value])
        if value > len(data) or end > len(data):
            # RFC 7606 section 4: the length of all attributes still says where NLRI begin.
            found.problem = f"attribute {code} is cut off"
            break
        if code in raw:
            if code in {MP_REACH_NLRI, MP_UNREACH_NLRI}:
                raise message.ProtocolError(message.UPDATE_ERROR, 1)
        else:
            raw[code] = data[value:end]
            wrong = _flags_wrong(flags, code, data[start:end])
            if wrong and not found.problem and not (ebgp and code in _IBGP_ONLY):
                found.problem = f"attribute {code} has wrong flags"
        start = end
    _values(found, raw, four_octet_as=four_octet_as, ebgp=ebgp)
    return found


def _values(found: Attributes, raw: dict[int, bytes], *, four_octet_as: bool, ebgp: bool) -> None:
    for code, value in raw.items():
        parser = _PARSERS.get(code)
        # What an edge speaker has no use for and never passes on is not looked into, which is
        # RFC 7606's "attribute discard" for ATOMIC_AGGREGATE and AGGREGATOR in any shape.
        if parser is None or (ebgp and code in _IBGP_ONLY):
            continue
        try:
            parser(found, value, four_octet_as)
        except WithdrawError as error:
            found.problem = found.problem or str(error)
    if ebgp and found.confederation and not found.problem:
        found.problem = "AS_PATH has a confederation's segment"  # RFC 5065 section 5
    if not four_octet_as and AS4_PATH in raw and not _older(raw):
        _merge_as4_path(found, raw[AS4_PATH])


def _flags_wrong(flags: int, code: int, whole: bytes) -> bool:
    """Optional and transitive bits as each attribute demands (RFC 7606 section 3c)."""
    wanted = _FLAGS.get(code)
    if wanted is None:
        if not flags & OPTIONAL:
            # RFC 4271 section 6.3: we cannot know what we would break.
            raise message.ProtocolError(message.UPDATE_ERROR, 2, whole)
        return False
    return flags & _KIND != wanted


def _origin(found: Attributes, value: bytes, _: bool) -> None:
    if len(value) != 1 or value[0] > 2:
        raise WithdrawError("ORIGIN is malformed")
    found.origin = value[0]


def _as_path(found: Attributes, value: bytes, four_octet_as: bool) -> None:
    width = 4 if four_octet_as else 2
    found.as_path, found.as_path_length, found.confederation = _segments(value, width)


def _segments(value: bytes, width: int) -> tuple[tuple[int, ...], int, bool]:
    """All numbers, how many they count for, and whether a confederation's are among them."""
    confederation = False
    numbers: list[int] = []
    length = start = 0
    while start < len(value):
        if start + 2 > len(value):
            raise WithdrawError("AS_PATH is malformed")
        kind, count = value[start], value[start + 1]
        end = start + 2 + count * width
        if kind not in {_AS_SET, _AS_SEQUENCE, _CONFED_SEQUENCE, _CONFED_SET}:
            raise WithdrawError("AS_PATH has an unknown segment")
        if count == 0 or end > len(value):
            raise WithdrawError("AS_PATH is malformed")
        part = struct.unpack_from(f"!{count}{'I' if width == 4 else 'H'}", value, start + 2)
        if 0 in part:
            raise WithdrawError("AS_PATH has AS 0")  # RFC 7607 section 2
        numbers += part
        # RFC 4271 section 9.1.2.2; RFC 5065 section 5.3 for confederations.
        length += {_AS_SET: 1, _AS_SEQUENCE: count}.get(kind, 0)
        confederation = confederation or kind in {_CONFED_SEQUENCE, _CONFED_SET}
        start = end
    return tuple(numbers), length, confederation


def _older(raw: dict[int, bytes]) -> bool:
    """An AGGREGATOR that is newer than AS4_PATH: somebody without RFC 6793 aggregated (4.2.3)."""
    trans = capability.AS_TRANS.to_bytes(2)
    return AS4_AGGREGATOR in raw and AGGREGATOR in raw and raw[AGGREGATOR][:2] != trans


def _merge_as4_path(found: Attributes, value: bytes) -> None:
    """Put the real numbers of AS4_PATH in the place of AS_TRANS (RFC 6793 section 4.2.3)."""
    try:
        numbers, length, _ = _segments(value, 4)
    except WithdrawError:
        return  # RFC 6793 section 6: a malformed AS4_PATH is discarded
    if found.as_path is not None and length <= found.as_path_length:
        keep = len(found.as_path) - len(numbers)
        found.as_path = found.as_path[: max(keep, 0)] + numbers


def _next_hop(found: Attributes, value: bytes, _: bool) -> None:
    # A malformed one counts as missing: beside MP_REACH_NLRI it does not matter (RFC 4760
    # section 3), and prefixes that need it are withdrawn without it.
    if len(value) == 4:
        found.next_hop = ipaddress.IPv4Address(value)


def _number(name: str, field: str) -> Callable[[Attributes, bytes, bool], None]:
    def parser(found: Attributes, value: bytes, _: bool) -> None:
        if len(value) != 4:
            raise WithdrawError(f"{name} is malformed")
        setattr(found, field, int.from_bytes(value))

    return parser


def _numbers(name: str, field: str) -> Callable[[Attributes, bytes, bool], None]:
    def parser(found: Attributes, value: bytes, _: bool) -> None:
        if not value or len(value) % 4:
            raise WithdrawError(f"{name} is malformed")
        setattr(found, field, struct.unpack(f"!{len(value) // 4}I", value))

    return parser


def _large_communities(found: Attributes, value: bytes, _: bool) -> None:
    if not value or len(value) % 12:
        raise WithdrawError("LARGE_COMMUNITY is malformed")
    found.large_communities = tuple(struct.iter_unpack("!III", value))


def _extended_communities(found: Attributes, value: bytes, _: bool) -> None:
    if not value or len(value) % 8:
        raise WithdrawError("EXTENDED_COMMUNITIES is malformed")  # RFC 7606 section 7.14
    found.extended_communities = struct.unpack(f"!{len(value) // 8}Q", value)


def _reach(found: Attributes, value: bytes, _: bool) -> None:
    found.reach = value


def _unreach(found: Attributes, value: bytes, _: bool) -> None:
    found.unreach = value


_PARSERS: dict[int, Callable[[Attributes, bytes, bool], None]] = {
    ORIGIN: _origin,
    AS_PATH: _as_path,
    NEXT_HOP: _next_hop,
    MED: _number("MULTI_EXIT_DISC", "med"),
    LOCAL_PREF: _number("LOCAL_PREF", "local_pref"),
    COMMUNITIES: _numbers("COMMUNITIES", "communities"),
    ORIGINATOR_ID: _number("ORIGINATOR_ID", "originator_id"),
    CLUSTER_LIST: _numbers("CLUSTER_LIST", "cluster_list"),
    MP_REACH_NLRI: _reach,
    MP_UNREACH_NLRI: _unreach,
    EXTENDED_COMMUNITIES: _extended_communities,
    LARGE_COMMUNITIES: _large_communities,
}
_IBGP_ONLY = frozenset((LOCAL_PREF, ORIGINATOR_ID, CLUSTER_LIST))
"""Discarded when an external neighbour sends them (RFC 7606 section 7)."""


def encode(code: int, value: bytes, flags: int) -> bytes:
    """One attribute."""
    if len(value) > 255:
        return struct.pack("!BBH", flags | EXTENDED_LENGTH, code, len(value)) + value
    return bytes((flags, code, len(value))) + value


@functools.lru_cache(maxsize=256)
def encode_common(
    *,
    as_path: tuple[int, ...],
    four_octet_as: bool,
    med: int | None,
    local_pref: int | None,
    communities: tuple[int, ...],
    large_communities: tuple[tuple[int, int, int], ...],
) -> bytes:
    """All attributes of a path of ours but its next hop, in the order of their codes.

    Networks have few sets of attributes, which go out again and again: hence the cache.

    Args:
        as_path: empty within our own AS (RFC 4271 section 5.1.2).
        four_octet_as: whether the neighbour knows AS numbers of four octets.
        med: MULTI_EXIT_DISC, or none.
        local_pref: LOCAL_PREF; None towards an external neighbour.
        communities: RFC 1997.
        large_communities: RFC 8092.
    """
    parts = [encode(ORIGIN, b"\0", TRANSITIVE), _encode_as_path(as_path, four_octet_as)]
    if med is not None:
        parts.append(encode(MED, med.to_bytes(4), OPTIONAL))
    if local_pref is not None:
        parts.append(encode(LOCAL_PREF, local_pref.to_bytes(4), TRANSITIVE))
    if communities:
        value = struct.pack(f"!{len(communities)}I", *communities)
        parts.append(encode(COMMUNITIES, value, _KIND))
    if not four_octet_as and any(number >= 1 << 16 for number in as_path):
        # RFC 6793 section 4.2.2: the real numbers, for those behind it.
        parts.append(encode(AS4_PATH, _segments_of(as_path, "I"), _KIND))
    if large_communities:
        value = b"".join(struct.pack("!III", *one) for one in large_communities)
        parts.append(encode(LARGE_COMMUNITIES, value, _KIND))
    return b"".join(parts)


def with_next_hop(common: bytes, next_hop: bytes) -> bytes:
    """Put NEXT_HOP into its place behind AS_PATH: codes ascend (RFC 4271 section 5).

    Args:
        common: from `encode_common`: ORIGIN, of four octets, and AS_PATH come first.
        next_hop: an IPv4 address.
    """
    wide = bool(common[4] & EXTENDED_LENGTH)
    start = 8 if wide else 7
    end = start + int.from_bytes(common[6:start])
    return common[:end] + encode(NEXT_HOP, next_hop, TRANSITIVE) + common[end:]


def _encode_as_path(numbers: tuple[int, ...], four_octet_as: bool) -> bytes:
    if four_octet_as:
        return encode(AS_PATH, _segments_of(numbers, "I"), TRANSITIVE)
    fits = tuple(number if number < 1 << 16 else capability.AS_TRANS for number in numbers)
    return encode(AS_PATH, _segments_of(fits, "H"), TRANSITIVE)


def _segments_of(numbers: tuple[int, ...], kind: str) -> bytes:
    """AS_SEQUENCEs of at most 255 numbers each."""
    value = b""
    for start in range(0, len(numbers), 255):
        part = numbers[start : start + 255]
        value += bytes((_AS_SEQUENCE, len(part))) + struct.pack(f"!{len(part)}{kind}", *part)
    return value
