"""The values of the options `-o bgp.…`: text → what `model.BgpOptions` holds. Pure.

Strict, since a typing mistake here would go out to every neighbour. Each parser raises
ValueError for what it does not take; `options` says then what it would have taken.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import TypeVar

from bgp_ipvlan import model, ownership

_T = TypeVar("_T")

WELL_KNOWN = {
    # IANA, "BGP Well-known Communities".
    "graceful-shutdown": model.GRACEFUL_SHUTDOWN,  # RFC 8326
    "accept-own": 0xFFFF0001,  # RFC 7611
    "llgr-stale": 0xFFFF0006,  # RFC 9494
    "no-llgr": 0xFFFF0007,  # RFC 9494
    "blackhole": 0xFFFF029A,  # RFC 7999
    "no-export": 0xFFFFFF01,  # RFC 1997
    "no-advertise": 0xFFFFFF02,  # RFC 1997
    "no-export-subconfed": 0xFFFFFF03,  # RFC 1997
    "no-peer": 0xFFFFFF04,  # RFC 3765
}
MOST = 64
"""Communities of a kind: all attributes and a prefix must fit an UPDATE (RFC 4271 section 4)."""
_NOWHERE = tuple(
    map(
        ipaddress.ip_network,
        # Unspecified, loopback, multicast and reserved: nobody could send to it.
        ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/96", "::ffff:0:0/96", "ff00::/8"),
    )
)


def number(text: str, most: int) -> int:
    """A plain decimal number from 0 to `most`."""
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(text)
    value = int(text)
    if value > most:
        raise ValueError(text)
    return value


def communities(text: str) -> tuple[int, ...]:
    """RFC 1997: `65000:1`, a well-known name, or all 32 bits as one number."""
    return _several(text, _community)


def large_communities(text: str) -> tuple[tuple[int, int, int], ...]:
    """RFC 8092: `64512:1:2`. Our own marks are not for others to set."""
    return _several(text, _large_community)


def next_hops(text: str) -> tuple[model.Address, ...]:
    """One address for each family at most, that others could send to."""
    found = _several(text, ipaddress.ip_address)
    for address in found:
        nowhere = any(address in prefix for prefix in _NOWHERE)
        # A link-local address, or one with a zone, means nothing beyond its link.
        if nowhere or address.is_link_local or "%" in str(address):
            raise ValueError(text)
    if len({address.version for address in found}) < len(found):
        raise ValueError(text)
    return tuple(sorted(found, key=lambda address: address.version))


def _several(text: str, parser: Callable[[str], _T]) -> tuple[_T, ...]:
    """Values with commas or white space between them, each once, in their order."""
    found = tuple(dict.fromkeys(map(parser, re.split(r"[,\s]+", text.strip()))))
    if len(found) > MOST:
        raise ValueError(text)
    return found


def _community(text: str) -> int:
    known = WELL_KNOWN.get(text.lower())
    if known is not None:
        return known
    first, colon, second = text.partition(":")
    if colon:
        return number(first, 0xFFFF) << 16 | number(second, 0xFFFF)
    return number(text, 0xFFFFFFFF)


def _large_community(text: str) -> tuple[int, int, int]:
    first, second, third = (number(part, 0xFFFFFFFF) for part in text.split(":"))
    if ownership.reserved((first, second, third)):
        raise ValueError(text)
    return first, second, third
