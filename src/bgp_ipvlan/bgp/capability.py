"""Capabilities of an OPEN (RFC 5492), and what two sides can together. Pure."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

from bgp_ipvlan import model
from bgp_ipvlan.bgp import message

AS_TRANS = 23456
SAFI_UNICAST = 1
_MULTIPROTOCOL, _ROUTE_REFRESH, _EXTENDED_NEXT_HOP, _EXTENDED_MESSAGE = 1, 2, 5, 6
_GRACEFUL_RESTART, _FOUR_OCTET_AS, _ADD_PATH, _ENHANCED_REFRESH = 64, 65, 69, 70
_RECEIVE, _SEND = 1, 2
_RESTARTED, _NOTIFICATION = 0x8000, 0x4000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GracefulRestart:
    """RFC 4724 section 3."""

    restarted: bool
    """The Restart State bit: it comes back from a restart."""
    time: int
    """Seconds after which to give it up."""
    families: dict[model.Family, bool]
    """Family → Forwarding State bit: its routes still work."""
    notification: bool = False
    """The N bit: also after a NOTIFICATION (RFC 8538 section 2)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What one side can."""

    families: frozenset[model.Family] = frozenset((model.Family.IPV4,))
    four_octet_as: int | None = None
    route_refresh: bool = False
    enhanced_refresh: bool = False
    """RFC 7313."""
    extended_message: bool = False
    """RFC 8654."""
    extended_next_hop: bool = False
    """IPv4 unicast prefixes with an IPv6 next hop (RFC 8950)."""
    receive_paths: frozenset[model.Family] = frozenset()
    """ADD-PATH (RFC 7911): it takes several paths per prefix."""
    send_paths: frozenset[model.Family] = frozenset()
    """ADD-PATH: it may send several."""
    graceful_restart: GracefulRestart | None = None

    def encode(self) -> bytes:
        """For `message.Open.parameters`."""
        return b"".join(bytes((code, len(value))) + value for code, value in self._encoded())

    def _encoded(self) -> Iterator[tuple[int, bytes]]:
        for family in sorted(self.families):
            yield _MULTIPROTOCOL, struct.pack("!HBB", family, 0, SAFI_UNICAST)
        for code, can in (
            (_ROUTE_REFRESH, self.route_refresh),
            (_ENHANCED_REFRESH, self.enhanced_refresh),
            (_EXTENDED_MESSAGE, self.extended_message),
        ):
            if can:
                yield code, b""
        if self.extended_next_hop:
            # RFC 8950 section 4: AFI and SAFI (two octets here) of the prefixes, AFI of next hops.
            value = struct.pack("!HHH", model.Family.IPV4, SAFI_UNICAST, model.Family.IPV6)
            yield _EXTENDED_NEXT_HOP, value
        if self.four_octet_as is not None:
            yield _FOUR_OCTET_AS, struct.pack("!I", self.four_octet_as)
        ways = {
            family: _RECEIVE * (family in self.receive_paths) + _SEND * (family in self.send_paths)
            for family in sorted(self.receive_paths | self.send_paths)
        }
        if ways:
            entries = (struct.pack("!HBB", f, SAFI_UNICAST, way) for f, way in ways.items())
            yield _ADD_PATH, b"".join(entries)
        if self.graceful_restart is not None:
            yield _GRACEFUL_RESTART, _encode_restart(self.graceful_restart)


def _encode_restart(restart: GracefulRestart) -> bytes:
    flags = _RESTARTED * restart.restarted | _NOTIFICATION * restart.notification
    return struct.pack("!H", flags | restart.time) + b"".join(
        struct.pack("!HBB", family, SAFI_UNICAST, 0x80 if preserved else 0)
        for family, preserved in sorted(restart.families.items())
    )


def parse(data: bytes) -> Capabilities:
    """Decode; unknown and malformed capabilities are passed over (RFC 5492 section 3).

    Raises:
        message.ProtocolError: OPEN Message Error.
    """
    families: set[model.Family] = set()
    multiprotocol = False
    flags: set[int] = set()
    four_octet_as = restart = None
    ways: dict[model.Family, int] = {}
    next_hops: set[tuple[int, ...]] = set()
    for code, value in _split(data):
        flags.add(code)
        if code == _MULTIPROTOCOL and len(value) == 4:
            multiprotocol = True
            afi, _, safi = struct.unpack("!HBB", value)
            if (family := _family(afi, safi)) is not None:
                families.add(family)
        elif code == _FOUR_OCTET_AS and len(value) == 4:
            four_octet_as = int.from_bytes(value)
        elif code == _GRACEFUL_RESTART and len(value) >= 2 and len(value) % 4 == 2:
            restart = _parse_restart(value)
        elif code == _ADD_PATH and len(value) % 4 == 0:
            ways |= {f: way for f, way in _per_family(value) if way in {1, 2, 3}}
        elif code == _EXTENDED_NEXT_HOP and len(value) % 6 == 0:
            next_hops.update(struct.iter_unpack("!HHH", value))
    if not multiprotocol:
        # RFC 4760 section 8: who says nothing means plain IPv4.
        families = {model.Family.IPV4}
    return Capabilities(
        families=frozenset(families),
        four_octet_as=four_octet_as,
        route_refresh=_ROUTE_REFRESH in flags,
        enhanced_refresh=_ENHANCED_REFRESH in flags,
        extended_message=_EXTENDED_MESSAGE in flags,
        extended_next_hop=(model.Family.IPV4, SAFI_UNICAST, model.Family.IPV6) in next_hops,
        receive_paths=frozenset(f for f, way in ways.items() if way & _RECEIVE),
        send_paths=frozenset(f for f, way in ways.items() if way & _SEND),
        graceful_restart=restart,
    )


def _family(afi: int, safi: int) -> model.Family | None:
    known = safi == SAFI_UNICAST and afi in set(model.Family)
    return model.Family(afi) if known else None


def _per_family(value: bytes) -> Iterator[tuple[model.Family, int]]:
    """Entries of AFI, SAFI and an octet."""
    for afi, safi, octet in struct.iter_unpack("!HBB", value):
        if (family := _family(afi, safi)) is not None:
            yield family, octet


def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(data):
        if start + 2 > len(data) or start + 2 + data[start + 1] > len(data):
            raise message.ProtocolError(message.OPEN_ERROR, 0, detail="a capability is cut off")
        end = start + 2 + data[start + 1]
        yield data[start], data[start + 2 : end]
        start = end


def _parse_restart(value: bytes) -> GracefulRestart:
    first = int.from_bytes(value[:2])
    return GracefulRestart(
        restarted=bool(first & _RESTARTED),
        notification=bool(first & _NOTIFICATION),
        time=first & 0xFFF,
        families={family: bool(flags & 0x80) for family, flags in _per_family(value[2:])},
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """What both sides can, and what the other one may therefore be sent or asked."""

    families: frozenset[model.Family] = frozenset()
    four_octet_as: bool = False
    route_refresh: bool = False
    enhanced_refresh: bool = False
    extended_message: bool = False
    extended_next_hop: bool = False
    add_path: frozenset[model.Family] = frozenset()
    """Families in which it sends us path identifiers."""
    restart: GracefulRestart | None = None
    """The other side's, where both restart gracefully."""

    @property
    def notification_restart(self) -> bool:
        """Whether routes outlive a NOTIFICATION too (RFC 8538)."""
        return self.restart is not None and self.restart.notification

    @property
    def names(self) -> tuple[str, ...]:
        """For people."""
        named = {
            "4-octet-as": self.four_octet_as,
            "route-refresh": self.route_refresh,
            "enhanced-route-refresh": self.enhanced_refresh,
            "extended-message": self.extended_message,
            "extended-next-hop": self.extended_next_hop,
            "add-path-receive": bool(self.add_path),
            "graceful-restart": self.restart is not None,
            "graceful-restart-notification": self.notification_restart,
        }
        return tuple(name for name, can in named.items() if can)


def agree(ours: Capabilities, theirs: Capabilities) -> Agreed:
    """What holds between two sides."""
    families = ours.families & theirs.families
    restart = theirs.graceful_restart if ours.graceful_restart is not None else None
    if restart is not None and ours.graceful_restart is not None:
        both = restart.notification and ours.graceful_restart.notification
        restart = dataclasses.replace(restart, notification=both)
    return Agreed(
        families=families,
        four_octet_as=ours.four_octet_as is not None and theirs.four_octet_as is not None,
        route_refresh=ours.route_refresh and theirs.route_refresh,
        enhanced_refresh=ours.enhanced_refresh and theirs.enhanced_refresh,
        extended_message=ours.extended_message and theirs.extended_message,
        extended_next_hop=ours.extended_next_hop and theirs.extended_next_hop,
        add_path=ours.receive_paths & theirs.send_paths & families,
        restart=restart,
    )
