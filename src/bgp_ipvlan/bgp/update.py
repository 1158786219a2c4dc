"""UPDATE, both ways (RFC 4271 section 4.3, RFC 4760). Pure.

An UPDATE carries one set of attributes and many prefixes, and stays that way here: prefixes
are slices of what was received, one dictionary key each and no object more (D2).
"""

from __future__ import annotations

import dataclasses
import ipaddress
import struct
from collections.abc import Iterable, Iterator

from bgp_ipvlan import model
from bgp_ipvlan.bgp import attributes, message
from bgp_ipvlan.bgp.capability import SAFI_UNICAST

_V4 = model.Family.IPV4


@dataclasses.dataclass(slots=True)
class Update:
    """A decoded UPDATE."""

    attributes: attributes.Attributes
    withdrawn: dict[model.Family, list[model.Nlri]]
    announced: dict[model.Family, list[model.Nlri]]
    next_hops: dict[model.Family, model.Address | None]
    end_of_rib: model.Family | None = None
    """It only says that the initial table has been sent (RFC 4724 section 2)."""


def parse(body: bytes, *, four_octet_as: bool, ebgp: bool) -> Update:
    """Decode an UPDATE's body.

    Routes that cannot be used for a fault in their attributes stand under `withdrawn`.

    Raises:
        message.ProtocolError: UPDATE Message Error.
    """
    withdrawn_end = 2 + int.from_bytes(body[:2])
    attributes_end = withdrawn_end + 2 + int.from_bytes(body[withdrawn_end : withdrawn_end + 2])
    if withdrawn_end + 2 > len(body) or attributes_end > len(body):
        raise message.ProtocolError(message.UPDATE_ERROR, 1)
    if len(body) == 4:
        return Update(attributes.Attributes(), {}, {}, {}, end_of_rib=_V4)
    found = attributes.parse(
        body[withdrawn_end + 2 : attributes_end], four_octet_as=four_octet_as, ebgp=ebgp
    )
    update = Update(found, {}, {}, {_V4: found.next_hop})
    _collect(update.withdrawn, _V4, split(_V4, body[2:withdrawn_end]))
    _collect(update.announced, _V4, split(_V4, body[attributes_end:]))
    if found.unreach is not None:
        family = _unreach(update, found.unreach)
        if not (update.withdrawn or update.announced) and found.reach is None:
            update.end_of_rib = family
    if found.reach is not None:
        _reach(update, found.reach)
    _check(update)
    return update


def _collect(
    into: dict[model.Family, list[model.Nlri]], family: model.Family, keys: list[model.Nlri]
) -> None:
    if keys:
        into.setdefault(family, []).extend(keys)


def _family(data: bytes) -> model.Family | None:
    afi, safi = int.from_bytes(data[:2]), data[2]
    if safi != SAFI_UNICAST or afi not in set(model.Family):
        return None
    return model.Family(afi)


def _unreach(update: Update, value: bytes) -> model.Family | None:
    if len(value) < 3:
        raise message.ProtocolError(message.UPDATE_ERROR, 9, detail="MP_UNREACH_NLRI is too short")
    family = _family(value)
    if family is not None:
        _collect(update.withdrawn, family, split(family, value[3:]))
    return family


def _reach(update: Update, value: bytes) -> None:
    if len(value) < 5 or len(value) < 5 + value[3]:
        raise message.ProtocolError(message.UPDATE_ERROR, 9, detail="MP_REACH_NLRI is too short")
    family = _family(value)
    if family is None:
        return
    hop = value[4 : 4 + value[3]]
    # One octet, reserved, lies between next hop and prefixes (RFC 4760 section 3).
    _collect(update.announced, family, split(family, value[5 + value[3] :]))
    if len(hop) == 4 and family is _V4:
        update.next_hops[family] = ipaddress.IPv4Address(hop)
    elif len(hop) in {16, 32} and family is model.Family.IPV6:
        # The second is the link-local one (RFC 2545 section 3).
        update.next_hops[family] = ipaddress.IPv6Address(hop[:16])
    else:
        raise message.ProtocolError(message.UPDATE_ERROR, 9, detail="next hop of a wrong length")


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
        if any(update.next_hops.get(family) is None for family in update.announced):
            missing.append("NEXT_HOP")
        if missing:
            found.problem = f"{missing[0]} is missing"
    if found.problem:
        for family, keys in update.announced.items():
            update.withdrawn.setdefault(family, []).extend(keys)
        update.announced = {}


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
    return list(_split_mixed(family, data))


def _split_mixed(family: model.Family, data: bytes) -> Iterator[model.Nlri]:
    start, size, bits = 0, len(data), family.bits
    while start < size:
        length = data[start]
        end = start + 1 + ((length + 7) >> 3)
        if length > bits or end > size:
            raise message.ProtocolError(message.UPDATE_ERROR, 10)
        spare = -length & 7
        if spare and data[end - 1] & ((1 << spare) - 1):
            # Bits beyond the length mean nothing (RFC 4271 section 4.3), and we key by them.
            yield data[start : end - 1] + bytes((data[end - 1] >> spare << spare,))
        else:
            yield data[start:end]
        start = end


# --- sending ------------------------------------------------------------------------


def withdraw(family: model.Family, keys: Iterable[model.Nlri]) -> Iterator[bytes]:
    """UPDATEs that withdraw prefixes, as few as hold them."""
    for part in _parts(keys, message.MAX_SIZE - message.HEADER_SIZE - 16):
        if family is _V4:
            yield message.frame(message.UPDATE, struct.pack("!H", len(part)) + part + b"\0\0")
        else:
            value = struct.pack("!HB", family, SAFI_UNICAST) + part
            yield _update(attributes.encode(attributes.MP_UNREACH_NLRI, value, attributes.OPTIONAL))


def announce(
    family: model.Family, keys: Iterable[model.Nlri], *, next_hop: model.Address, common: bytes
) -> Iterator[bytes]:
    """UPDATEs that announce prefixes with the same attributes, as few as hold them.

    Args:
        family: of the prefixes.
        keys: the prefixes.
        next_hop: of the same family.
        common: the encoded attributes other than next hop.
    """
    room = message.MAX_SIZE - message.HEADER_SIZE - 4 - len(common) - 32
    for part in _parts(keys, room):
        if family is _V4:
            hop = attributes.encode(attributes.NEXT_HOP, next_hop.packed, attributes.TRANSITIVE)
            yield _update(common + hop, part)
        else:
            value = struct.pack("!HBB", family, SAFI_UNICAST, 16) + next_hop.packed + b"\0" + part
            reach = attributes.encode(attributes.MP_REACH_NLRI, value, attributes.OPTIONAL)
            yield _update(reach + common)


def end_of_rib(family: model.Family) -> bytes:
    """The End-of-RIB marker (RFC 4724 section 2)."""
    if family is _V4:
        return message.frame(message.UPDATE, b"\0\0\0\0")
    value = struct.pack("!HB", family, SAFI_UNICAST)
    return _update(attributes.encode(attributes.MP_UNREACH_NLRI, value, attributes.OPTIONAL))


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
