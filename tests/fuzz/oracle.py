"""What must hold of anything the core gives, worked out without the core.

Readers of the wire format written a second time, as plainly as they can be: the code under
test is judged by them and never by itself.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import time
from collections.abc import Callable, Iterator

from bgp_ipvlan import model

MARKER = b"\xff" * 16
HEADER = 19
"""Octets of a message's header."""
OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = 1, 2, 3, 4, 5
SENDABLE: dict[int, set[int]] = {
    1: {1, 2, 3},
    2: {0, 1, 2, 3, 4, 6, 7},
    3: {1, 2, 3, 4, 5, 6, 8, 9, 10, 11},
    4: {0},
    5: {1, 2, 3},
    6: set(range(1, 11)),
    7: {1},
    8: {0},
}
"""Codes and subcodes of a NOTIFICATION that are defined and not deprecated: RFC 4271 section
4.5, RFC 4486, RFC 5492, RFC 6608, RFC 7313, RFC 8538, RFC 9384, RFC 9687."""
_SETTLE, _PER_OCTET = 0.1, 40e-6
"""Seconds of computing that any input may cost, and that each of its octets may add. An octet
costs about a fortieth of that; a quadratic step shows from some kilobytes on."""


def allowance(octets: int) -> float:
    """Seconds that so many octets of input may cost."""
    return _SETTLE + _PER_OCTET * octets


def bounded(octets: int, work: Callable[[], None]) -> None:
    """Do some work on so many octets of input, and see that it takes no time to speak of.

    Raises:
        AssertionError: it was too slow three times in a row.
    """
    spent = []
    for _ in range(3):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
        if spent[-1] <= allowance(octets):
            return
    raise AssertionError(f"{octets} octets cost {min(spent):.3f} s")


def naive_nlri(data: bytes, bits: int, *, paths: bool) -> list[tuple[int, bytes]] | None:
    """Read a field of NLRI; None when it is malformed (RFC 4271 section 4.3, RFC 7911 section 3).

    Args:
        data: the field.
        bits: of an address.
        paths: each prefix has a path identifier before it.

    Returns:
        Path identifiers (0 without) and keys.
    """
    found = []
    while data:
        number = 0
        if paths:
            number, data = int.from_bytes(data[:4]), data[4:]
            if not data:
                return None
        length, octets = data[0], (data[0] + 7) // 8
        value, data = data[1 : 1 + octets], data[1 + octets :]
        if length > bits or len(value) < octets:
            return None
        spare = octets * 8 - length
        kept = int.from_bytes(value) >> spare << spare
        found.append((number, bytes((length,)) + kept.to_bytes(octets)))
    return found


def check_code(expected: int, code: int, subcode: int) -> None:
    """An error of the expected kind, with a subcode that this kind has."""
    assert code == expected
    assert subcode in SENDABLE[code], (code, subcode)


def check_prefixes(family: model.Family, prefixes: list[model.Nlri]) -> None:
    """There are some, and each is a canonical key of that family."""
    assert prefixes
    for key in prefixes:
        assert type(key) is bytes, type(key)
        assert naive_nlri(key, family.bits, paths=False) == [(0, key)], (family, key.hex())


def check_next_hop(
    family: model.Family, hop: model.Address, link_local: model.Address | None
) -> None:
    """IPv6 for IPv6, either for IPv4 (RFC 8950); beside it only a link-local one (RFC 2545)."""
    assert family is model.Family.IPV4 or hop.version == 6
    if link_local is not None:
        assert hop.version == 6
        assert isinstance(link_local, ipaddress.IPv6Address)
        assert link_local.is_link_local


def check_numbers(path: model.Path) -> None:
    """Each number of a path fits its field."""
    wide = [path.local_pref, path.router_id, path.path_id, *path.communities, *path.cluster_list]
    wide += [number for one in path.large_communities for number in one]
    wide += [number for number in (path.med, path.originator_id) if number is not None]
    assert all(0 <= number < 1 << 32 for number in wide)
    assert all(0 < number < 1 << 32 for number in path.as_path)  # RFC 7607: never AS 0
    assert all(0 <= number < 1 << 64 for number in path.extended_communities)
    assert all(len(one) == 3 for one in path.large_communities)
    assert 0 <= path.as_path_length <= len(path.as_path)
    assert path.origin in {0, 1, 2}


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """A message that the speaker under test sends."""

    kind: int
    body: bytes


def read(data: bytes) -> Iterator[Sent]:
    """Read what the speaker sends; it must be whole messages and nothing else."""
    while data:
        assert data[:16] == MARKER, data[:19].hex()
        length = int.from_bytes(data[16:18])
        assert 19 <= length <= len(data), (length, len(data))
        kind, body, data = data[18], data[19:length], data[length:]
        assert kind in {OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH}, kind
        assert (kind == KEEPALIVE) <= (not body)
        if kind == NOTIFICATION:
            assert body[1] in SENDABLE.get(body[0], ()), body.hex()
            assert len(body) <= 4096 - 19
        yield Sent(kind, body)
