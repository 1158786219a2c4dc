"""gobgpd's paths, made into rows of the tables of the rest of this package.

A hundred thousand prefixes have a few hundred sets of attributes. So a set is decoded once, and
known again by its octets; what has the same neighbour and attributes shares one tuple, by whose
identity the core groups (D2).
"""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
import socket
from collections.abc import Iterable
from typing import Any

from bgp_ipvlan import model
from bgp_ipvlan.engines.gobgp import attributes, dialects

log = logging.getLogger("bgp_ipvlan")

Paths = tuple[model.Path, ...]
Row = tuple[model.Family, model.Nlri, Paths]
Change = tuple[model.Family, model.Nlri, Paths, Paths]

_MOST = 100_000
"""Sets of attributes that are remembered. A full table of the Internet has some more."""
_FAMILIES = {1: model.Family.IPV4, 2: model.Family.IPV6}
_UNICAST = 1
_NOBODY = ipaddress.IPv4Address(0)
_REACH_TYPE = b"type.googleapis.com/apipb.MpReachNLRIAttribute"
_REACH = {"3": bytes((0x0A, len(_REACH_TYPE))) + _REACH_TYPE, "4": b"\x62"}
"""How MP_REACH_NLRI begins: as an Any, and as a field of the oneof. It names the prefix as well
as the next hop, so it is no part of a set that prefixes share."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A path of gobgpd's."""

    path: model.Path | None
    """None where it cannot be read."""
    is_local: bool
    """Of gobgpd itself: it was added through its API."""
    paths: Paths
    """As a row has it: the path alone, or nothing where it is no route of a neighbour's."""


class Decoder:
    """See the module. One for each connection.

    Args:
        dialect: the version.
        local_as: gobgpd's AS number: who has another one is an external neighbour.
    """

    def __init__(self, dialect: dialects.Dialect, local_as: int) -> None:
        self._dialect = dialect
        self._local_as = local_as
        self._reach = _REACH[dialect.name]
        self._young: dict[tuple[Any, ...], Entry] = {}
        self._old: dict[tuple[Any, ...], Entry] = {}
        self._several: dict[tuple[int, ...], Paths] = {}

    def entry(self, raw: Any) -> Entry:
        """One path."""
        parts = raw.attributes
        sets = tuple(parts)
        for number, part in enumerate(sets):
            if part.startswith(self._reach):
                sets = (*sets[:number], attributes.next_hops(part), *sets[number + 1 :])
                break
        key = (raw.neighbor_ip, raw.source_id, raw.source_asn, raw.identifier, sets)
        found = self._young.get(key)
        if found is None:
            found = self._remember(key, raw)
        return found

    def _remember(self, key: tuple[Any, ...], raw: Any) -> Entry:
        if len(self._young) >= _MOST:
            self._young, self._old = {}, self._young
        found = self._young[key] = self._old.get(key) or self._decode(raw)
        return found

    def _decode(self, raw: Any) -> Entry:
        neighbor = source(raw.neighbor_ip)
        try:
            path = model.Path(
                neighbor=_NOBODY if neighbor is None else neighbor,
                path_id=raw.identifier,
                # What GoBGP calls external came from another routing table, not from another AS.
                ebgp=neighbor is not None and raw.source_asn != self._local_as,
                router_id=int(source(raw.source_id) or 0),
                **attributes.decode(self._dialect, raw.attributes),
            )
        except ValueError as error:
            log.warning("path of gobgpd passed over neighbor=%s error=%s", raw.neighbor_ip, error)
            return Entry(None, neighbor is None, ())
        return Entry(path, neighbor is None, () if neighbor is None else (path,))

    def rows(self, raws: Iterable[Any]) -> list[Row]:
        """Rows of paths, those of one prefix, which stand together, as one."""
        found: list[Row] = []
        families = _FAMILIES
        before: tuple[int, model.Nlri] | None = None
        for raw in raws:
            family = raw.family
            afi = family.afi
            if family.safi != _UNICAST or afi not in families:
                continue
            key = nlri(afi, raw.nlri.value)
            paths = () if raw.is_withdraw else self.entry(raw).paths
            if before == (afi, key):
                paths = self._together(found.pop()[2], paths)
            found.append((families[afi], key, paths))
            before = afi, key
        return found

    def join(self, last: Row, rows: list[Row]) -> list[Row]:
        """Put a row in front of others, or together with the first if that is its prefix."""
        if rows and rows[0][:2] == last[:2]:
            family, key, paths = rows[0]
            return [(family, key, self._together(last[2], paths)), *rows[1:]]
        return [last, *rows]

    def changes(self, raws: Iterable[Any]) -> list[Change]:
        """Paths that came and paths that went, each by itself."""
        found: list[Change] = []
        for raw in raws:
            family = raw.family
            if family.safi != _UNICAST or family.afi not in _FAMILIES:
                continue
            paths = self.entry(raw).paths
            key = nlri(family.afi, raw.nlri.value)
            came, gone = ((), paths) if raw.is_withdraw else (paths, ())
            found.append((_FAMILIES[family.afi], key, came, gone))
        return found

    def _together(self, first: Paths, second: Paths) -> Paths:
        paths = first + second
        key = tuple(map(id, paths))  # the value keeps them, so the ids stay theirs
        if len(self._several) >= _MOST:
            self._several = {}
        return self._several.setdefault(key, paths)


def nlri(afi: int, prefix: Any) -> model.Nlri:
    """The table key of a prefix as gobgpd has it.

    Raises:
        ValueError: it is none.
    """
    length = prefix.length
    try:
        if afi == 1:
            packed = socket.inet_pton(socket.AF_INET, prefix.address)
        else:
            packed = socket.inet_pton(socket.AF_INET6, prefix.address)
    except OSError as error:
        raise ValueError(f"not a prefix: {prefix.address}/{length}") from error
    key = bytes((length,)) + packed[: (length + 7) >> 3]
    spare = -length & 7
    if spare and key[-1] & ((1 << spare) - 1):
        return key[:-1] + bytes((key[-1] >> spare << spare,))
    return key


def source(text: str) -> model.Address | None:
    """Who a path is from; None for gobgpd itself, which is written in as many ways as versions."""
    try:
        found = attributes.address(text)
    except ValueError:
        return None  # "", "<nil>", "invalid IP"
    return None if found.is_unspecified else found
