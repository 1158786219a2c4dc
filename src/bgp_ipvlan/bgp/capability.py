"""Capabilities of an OPEN (RFC 5492). Pure."""

from __future__ import annotations

import dataclasses
import struct

from bgp_ipvlan import model
from bgp_ipvlan.bgp import message

AS_TRANS = 23456
SAFI_UNICAST = 1
_MULTIPROTOCOL, _ROUTE_REFRESH, _GRACEFUL_RESTART, _FOUR_OCTET_AS = 1, 2, 64, 65


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GracefulRestart:
    """RFC 4724 section 3."""

    restarted: bool
    """The Restart State bit: it comes back from a restart."""
    time: int
    """Seconds after which to give it up."""
    families: dict[model.Family, bool]
    """Family → Forwarding State bit: its routes still work."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What one side can."""

    families: frozenset[model.Family] = frozenset((model.Family.IPV4,))
    four_octet_as: int | None = None
    route_refresh: bool = False
    graceful_restart: GracefulRestart | None = None

    def encode(self) -> bytes:
        """For `message.Open.parameters`."""
        found = [
            (_MULTIPROTOCOL, struct.pack("!HBB", family, 0, SAFI_UNICAST))
            for family in sorted(self.families)
        ]
        if self.route_refresh:
            found.append((_ROUTE_REFRESH, b""))
        if self.four_octet_as is not None:
            found.append((_FOUR_OCTET_AS, struct.pack("!I", self.four_octet_as)))
        if self.graceful_restart is not None:
            found.append((_GRACEFUL_RESTART, _encode_restart(self.graceful_restart)))
        return b"".join(bytes((code, len(value))) + value for code, value in found)


def _encode_restart(restart: GracefulRestart) -> bytes:
    flags = 0x8000 if restart.restarted else 0
    return struct.pack("!H", flags | restart.time) + b"".join(
        struct.pack("!HBB", family, SAFI_UNICAST, 0x80 if preserved else 0)
        for family, preserved in sorted(restart.families.items())
    )


def parse(data: bytes) -> Capabilities:
    """Decode; unknown capabilities are passed over (RFC 5492 section 3).

    Raises:
        message.ProtocolError: OPEN Message Error.
    """
    families: set[model.Family] = set()
    multiprotocol = False
    four_octet_as = None
    route_refresh = False
    restart = None
    for code, value in _split(data):
        if code == _MULTIPROTOCOL and len(value) == 4:
            multiprotocol = True
            afi, _, safi = struct.unpack("!HBB", value)
            if safi == SAFI_UNICAST and afi in set(model.Family):
                families.add(model.Family(afi))
        elif code == _FOUR_OCTET_AS and len(value) == 4:
            four_octet_as = int.from_bytes(value)
        elif code == _ROUTE_REFRESH:
            route_refresh = True
        elif code == _GRACEFUL_RESTART and len(value) >= 2 and len(value) % 4 == 2:
            restart = _parse_restart(value)
    if not multiprotocol:
        # RFC 4760 section 8: who says nothing means plain IPv4.
        families = {model.Family.IPV4}
    return Capabilities(
        families=frozenset(families),
        four_octet_as=four_octet_as,
        route_refresh=route_refresh,
        graceful_restart=restart,
    )


def _split(data: bytes) -> list[tuple[int, bytes]]:
    found, start = [], 0
    while start < len(data):
        if start + 2 > len(data) or start + 2 + data[start + 1] > len(data):
            raise message.ProtocolError(message.OPEN_ERROR, 0, detail="a capability is cut off")
        end = start + 2 + data[start + 1]
        found.append((data[start], data[start + 2 : end]))
        start = end
    return found


def _parse_restart(value: bytes) -> GracefulRestart:
    first = int.from_bytes(value[:2])
    families = {
        model.Family(afi): bool(flags & 0x80)
        for afi, safi, flags in struct.iter_unpack("!HBB", value[2:])
        if safi == SAFI_UNICAST and afi in set(model.Family)
    }
    return GracefulRestart(restarted=bool(first & 0x8000), time=first & 0xFFF, families=families)
