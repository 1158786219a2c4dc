"""UPDATE, both ways (RFC 4271 section 4.3, RFC 4760). Pure.

An UPDATE carries one set of attributes and many prefixes, and stays that way here: prefixes
are slices of what was received, one dictionary key each and no object more (D2).
"""

from __future__ import annotations

import dataclasses
import ipaddress
import struct
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

from bgp_ipvlan import model
from bgp_ipvlan.bgp import attributes, message
from bgp_ipvlan.bgp.capability import SAFI_UNICAST

_V4, _V6 = model.Family.IPV4, model.Family.IPV6


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """Prefixes of an UPDATE that stand together."""

    family: model.Family
    prefixes: list[model.Nlri]
    path_id: int | None = None
    """Which of several paths (RFC 7911); None without ADD-PATH."""
    next_hop: model.Address | None = None
    link_local: model.Address | None = None


@dataclasses.dataclass(slots=True)
class Update:
    """A decoded UPDATE."""

    attributes: attributes.Attributes
    withdrawn: list[Block]
    announced: list[Block]
    end_of_rib: model.Family | None = None
    """It only says that the initial table has been sent (RFC 4724 section 2)."""


def parse(
    body: bytes,
    *,
    four_octet_as: bool,
    ebgp: bool,
    add_path: Collection[model.Family] = frozenset(),
) -> Update:
    """Decode an UPDATE's body.

    Routes that cannot be used for a fault in their attributes stand under `withdrawn`.

    Args:
        body: without the message header.
        four_octet_as: both sides know AS numbers of four octets (RFC 6793).
        ebgp: the neighbour is in another AS.
        add_path: families in which prefixes come with path identifiers (RFC 7911).

    Raises:
        message.ProtocolError: UPDATE Message Error.
    """
    withdrawn_end = 2 + int.from_bytes(body[:2])
    attributes_end = withdrawn_end + 2 + int.from_bytes(body[withdrawn_end : withdrawn_end + 2])
    if withdrawn_end + 2 > len(body) or attributes_end > len(body):
        raise message.ProtocolError(message.UPDATE_ERROR, 1)
    if len(body) == 4:
        return Update(attributes.Attributes(), [], [], end_of_rib=_V4)
    found = attributes.parse(
        body[withdrawn_end + 2 : attributes_end], four_octet_as=four_octet_as, ebgp=ebgp
    )
    update = Update(
        found,
        withdrawn=list(_blocks(_V4, body[2:withdrawn_end], add_path)),
        announced=list(_blocks(_V4, body[attributes_end:], add_path, found.next_hop)),
    )
    if found.unreach is not None:
        _unreach(update, found.unreach, add_path)
    if found.reach is not None:
        _reach(update, found.reach, add_path)
    _check(update)
    return update


def _blocks(
    family: model.Family,
    data: bytes,
    add_path: Collection[model.Family],
    next_hop: model.Address | None = None,
    link_local: model.Address | None = None,
) -> Iterator[Block]:
    if not data:
        return
    if family not in add_path:
        yield Block(family, split(family, data), None, next_hop, link_local)
        return
    for path_id, prefixes in _split_paths(family, data).items():
        yield Block(family, prefixes, path_id, next_hop, link_local)


def _family(data: bytes) -> model.Family | None:
    afi, safi = int.from_bytes(data[:2]), data[2]
    if safi != SAFI_UNICAST or afi not in set(model.Family):
        return None
    return model.Family(afi)


def _unreach(update: Update, value: bytes, add_path: Collection[model.Family]) -> None:
    if len(value) < 3:
        raise message.ProtocolError(message.UPDATE_ERROR, 9, detail="MP_UNREACH_NLRI is too short")
    family = _family(value)
    if family is None:
        return
    update.withdrawn += _blocks(family, value[3:], add_path)
    if not (update.withdrawn or update.announced) and update.attributes.reach is None:
        update.end_of_rib = family


def _reach(update: Update, value: bytes, add_path: Collection[model.Family]) -> None:
    if len(value) < 5 or len(value) < 5 + value[3]:
        raise message.ProtocolError(message.UPDATE_ERROR, 9, detail="MP_REACH_NLRI is too short")
    family = _family(value)
    if family is None:
        return
    next_hop, link_local = _next_hops(family, value[4 : 4 + value[3]])
    # One octet, reserved, lies between next hop and prefixes (RFC 4760 section 3).
    prefixes = value[5 + value[3] :]
    update.announced += _blocks(family, prefixes, add_path, next_hop, link_local)


def _next_hops(family: model.Family, hop: bytes) -> tuple[model.Address, model.Address | None]:
    """Next hop, and the link-local one beside it (RFC 2545 section 3, RFC 8950 section 3)."""
    if len(hop) == 4 and family is _V4:
        return ipaddress.IPv4Address(hop), None
    if len(hop) not in {16, 32}:
        raise message.ProtocolError(message.UPDATE_ERROR, 9, detail="next hop of a wrong length")
    first = ipaddress.IPv6Address(hop[:16])
    second = ipaddress.IPv6Address(hop[16:]) if len(hop) == 32 else None
    if first.is_unspecified and second is not None:
        # FRR and others without a global address of their own.
        first = second
    return first, second if second is not None and second.is_link_local else None


def _check(update: Update) -> None:
    """Mandatory attributes (RFC 7606 section 3d); then treat-as-withdraw where it must be."""
    found = update.attributes
    if not update.announced:
        if found.problem and not update.withdrawn and found.reach is None:
            # Which routes it spoke of cannot be known, so they cannot be withdrawn
            # (RFC 7606 section 5.2).
            raise message.ProtocolError(message.UPDATE_ERROR, 1, detail=found.problem)
        return
    if not found.problem:
        missing = [
            name
            for name, value in (("ORIGIN", found.origin), ("AS_PATH", found.as_path))
            if value is None
        ]
        if any(block.next_hop is None for block in update.announced):
            missing.append("a usable NEXT_HOP")
        if missing:
            found.problem = f"{missing[0]} is missing"
    if found.problem:
        update.withdrawn += update.announced
        update.announced = []


def split(family: model.Family, data: bytes) -> list[model.Nlri]:
    """Cut a field of NLRI into canonical keys.

    Raises:
        message.ProtocolError: Invalid Network Field (RFC 7606 section 5.3).
    """
    if not data:
        return []
    # All of one length, as host routes and most tables are: then every stride-th octet is it.
    first = data[0]
    stride = 1 + ((first + 7) >> 3)
    size = len(data)
    if first <= family.bits and not first & 7 and not size % stride:
        lengths = data[::stride]
        if lengths.count(first) == len(lengths):
            return [data[start : start + stride] for start in range(0, size, stride)]
    return [key for _, key in _each(family, data, 0)]


def _split_paths(family: model.Family, data: bytes) -> dict[int, list[model.Nlri]]:
    """Cut a field of NLRI with path identifiers, by identifier (RFC 7911 section 3)."""
    found: dict[int, list[model.Nlri]] = defaultdict(list)
    for start, key in _each(family, data, 4):
        found[int.from_bytes(data[start : start + 4])].append(key)
    return found


def _each(family: model.Family, data: bytes, before: int) -> Iterator[tuple[int, model.Nlri]]:
    """Prefixes one by one, each with the place of the `before` octets in front of it."""
    start, size, bits = 0, len(data), family.bits
    while start < size:
        at = start + before
        # One that is cut off before its length has none; it ends beyond the data all the same.
        length = data[at] if at < size else 0
        end = at + 1 + ((length + 7) >> 3)
        if length > bits or end > size:
            raise message.ProtocolError(message.UPDATE_ERROR, 10)
        spare = -length & 7
        if spare and data[end - 1] & ((1 << spare) - 1):
            # Bits beyond the length mean nothing (RFC 4271 section 4.3), and we key by them.
            yield start, data[at : end - 1] + bytes((data[end - 1] >> spare << spare,))
        else:
            yield start, data[at:end]
        start = end


# --- sending ------------------------------------------------------------------------


def withdraw(
    family: model.Family, keys: Iterable[model.Nlri], *, longest: int = message.MAX_SIZE
) -> Iterator[bytes]:
    """UPDATEs that withdraw prefixes, as few as hold them.

    Args:
        family: of the prefixes.
        keys: the prefixes.
        longest: octets a message may have.
    """
    for part in _parts(keys, longest - message.HEADER_SIZE - 16):
        if family is _V4:
            yield message.frame(message.UPDATE, struct.pack("!H", len(part)) + part + b"\0\0")
        else:
            value = struct.pack("!HB", family, SAFI_UNICAST) + part
            yield _update(attributes.encode(attributes.MP_UNREACH_NLRI, value, attributes.OPTIONAL))


def announce(
    family: model.Family,
    keys: Iterable[model.Nlri],
    *,
    next_hop: model.Address,
    common: bytes,
    link_local: model.Address | None = None,
    longest: int = message.MAX_SIZE,
) -> Iterator[bytes]:
    """UPDATEs that announce prefixes with the same attributes, as few as hold them.

    Args:
        family: of the prefixes.
        keys: the prefixes.
        next_hop: of the same family, or IPv6 for IPv4 prefixes (RFC 8950).
        common: the attributes other than next hop, from `attributes.encode_common`.
        link_local: sent beside an IPv6 next hop (RFC 2545 section 3).
        longest: octets a message may have.
    """
    plain = family is _V4 and next_hop.version == 4
    hops = next_hop.packed + (link_local.packed if link_local is not None else b"")
    # What stands around the prefixes: header, two lengths, next hop or MP_REACH_NLRI.
    room = longest - message.HEADER_SIZE - 4 - len(common) - (7 if plain else 9 + len(hops))
    if room < 1 + family.bits // 8:
        return  # the attributes alone fill a message: not to be advertised (RFC 4271 section 9.2)
    for part in _parts(keys, room):
        if plain:
            yield _update(attributes.with_next_hop(common, hops), part)
        else:
            value = struct.pack("!HBB", family, SAFI_UNICAST, len(hops)) + hops + b"\0" + part
            reach = attributes.encode(attributes.MP_REACH_NLRI, value, attributes.OPTIONAL)
            yield _update(reach + common)


def end_of_rib(family: model.Family) -> bytes:
    """The End-of-RIB marker (RFC 4724 section 2)."""
    if family is _V4:
        return message.frame(message.UPDATE, b"\0\0\0\0")
    value = struct.pack("!HB", family, SAFI_UNICAST)
    return _update(attributes.encode(attributes.MP_UNREACH_NLRI, value, attributes.OPTIONAL))


def route_refresh(family: model.Family, subtype: int = 0) -> bytes:
    """ROUTE-REFRESH (RFC 2918 section 3).

    Args:
        family: which routes.
        subtype: 0 asks; 1 and 2 are the begin and the end of an answer (RFC 7313 section 3.2).
    """
    return message.frame(message.ROUTE_REFRESH, struct.pack("!HBB", family, subtype, SAFI_UNICAST))


def _update(encoded: bytes, nlri: bytes = b"") -> bytes:
    return message.frame(message.UPDATE, b"\0\0" + struct.pack("!H", len(encoded)) + encoded + nlri)


def _parts(keys: Iterable[model.Nlri], room: int) -> Iterator[bytes]:
    part: list[bytes] = []
    size = 0
    for key in keys:
        if size + len(key) > room:
            yield b"".join(part)
            part, size = [], 0
        part.append(key)
        size += len(key)
    if part:
        yield b"".join(part)
