"""One BGP connection: the state machine of RFC 4271 section 8 from OpenSent on. Pure.

Bytes and time go in, bytes and events come out. What is before (Idle, Connect, Active) and
which of two connections stays (section 6.8) needs sockets, and is the engine's.

    OpenSent ──OPEN──▶ OpenConfirm ──KEEPALIVE──▶ Established ──any error──▶ closed
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator

from bgp_ipvlan import model
from bgp_ipvlan.bgp import capability, message, update

OPEN_WAIT = 30.0
"""Seconds an OPEN may take to come. RFC 4271 section 8.2.2 suggests four minutes, at a time
when routers were slower; a connection that does nothing keeps a good one from being tried."""
_NO_FAULT = frozenset((message.HOLD_TIMER_EXPIRED, message.CEASE))
_BROADCAST = frozenset((ipaddress.IPv4Address("255.255.255.255"),))


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """The OPEN came and is good: now a collision can be decided."""

    identifier: int


@dataclasses.dataclass(frozen=True, slots=True)
class Established:
    """The session is up."""


@dataclasses.dataclass(frozen=True, slots=True)
class Learned:
    """Prefixes announced with one path, or withdrawn (None)."""

    family: model.Family
    path: model.Path | None
    prefixes: list[model.Nlri]
    problem: str = ""
    """Why they are withdrawn although the neighbour announced them."""


@dataclasses.dataclass(frozen=True, slots=True)
class EndOfRib:
    """The neighbour has sent its whole table."""

    family: model.Family


@dataclasses.dataclass(frozen=True, slots=True)
class RefreshWanted:
    """The neighbour wants everything again (RFC 2918)."""

    family: model.Family


@dataclasses.dataclass(frozen=True, slots=True)
class Closed:
    """The session is over; send what is left to send and close the connection."""

    reason: str
    silent: bool
    """Without a NOTIFICATION: graceful restart may apply (RFC 4724 section 4.2)."""


Event = Opened | Established | Learned | EndOfRib | RefreshWanted | Closed


class Session:
    """See the module.

    Args:
        local: this speaker.
        neighbor: the other side, as configured.
        restart: our graceful restart capability.
        now: the time, in seconds of whatever clock.
        address: our own on this connection.
    """

    def __init__(
        self,
        local: model.SpeakerConfig,
        neighbor: model.NeighborConfig,
        *,
        restart: capability.GracefulRestart,
        now: float,
        address: model.Address | None = None,
    ) -> None:
        self.neighbor = neighbor
        self.state = model.SessionState.OPEN_SENT
        self.identifier = 0
        self.hold_time = 0
        self.families: frozenset[model.Family] = frozenset()
        self.fault = False
        """It ended because one side broke the protocol: the next attempt will likely end so too."""
        self.restart: capability.GracefulRestart | None = None
        """The neighbour's, when it has one."""
        self.four_octet_as = False
        self._local = local
        self._address = address
        self._framer = message.Framer()
        self._out: list[bytes] = []
        self._expires: float = now + OPEN_WAIT
        self._keepalive_at = float("inf")
        self._keepalive = 0.0
        self._offer = capability.Capabilities(
            families=frozenset(model.Family),
            four_octet_as=local.local_as,
            route_refresh=True,
            graceful_restart=restart,
        )
        self._send_open()

    @property
    def ebgp(self) -> bool:
        """Whether the neighbour is in another AS."""
        return self.neighbor.remote_as != self._local.local_as

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self.state is model.SessionState.IDLE

    @property
    def deadline(self) -> float:
        """When to call `tick`; infinity is never."""
        return min(self._expires, self._keepalive_at)

    def take(self) -> bytes:
        """What is to be sent now."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def send(self, *messages: bytes) -> None:
        """Queue UPDATEs; only while established."""
        assert self.state is model.SessionState.ESTABLISHED
        self._out += messages

    def receive(self, data: bytes, now: float) -> Iterator[Event]:
        """Take in what was received."""
        if not self.closed:
            try:
                yield from self._messages(data, now)
            except message.ProtocolError as error:
                yield self._fail(error)

    def tick(self, now: float) -> Iterator[Event]:
        """Time has passed."""
        if self.closed:
            return
        if now >= self._expires:
            yield self._fail(message.ProtocolError(message.HOLD_TIMER_EXPIRED))
        elif now >= self._keepalive_at:
            self._out.append(message.frame(message.KEEPALIVE))
            self._keepalive_at = now + self._keepalive

    def close(self, subcode: int) -> Closed:
        """End it with Cease (RFC 4486); only while it is not closed."""
        return self._fail(message.ProtocolError(message.CEASE, subcode))

    def lost(self, reason: str) -> Closed:
        """The connection is gone."""
        self.state = model.SessionState.IDLE
        return Closed(reason, silent=True)

    def _send_open(self) -> None:
        number = self._local.local_as
        opening = message.Open(
            my_as=number if number < 1 << 16 else capability.AS_TRANS,
            hold_time=self.neighbor.hold_time,
            identifier=int(self._local.router_id),
            parameters=self._offer.encode(),
        )
        self._out.append(opening.encode())

    def _fail(self, error: message.ProtocolError) -> Closed:
        self._out.append(message.notification(error))
        self.state = model.SessionState.IDLE
        self.fault = error.code not in _NO_FAULT
        return Closed(f"sent NOTIFICATION {error}", silent=False)

    def _messages(self, data: bytes, now: float) -> Iterator[Event]:
        for kind, body in self._framer.feed(data):
            yield from self._message(kind, body, now)
            if self.closed:
                return

    def _message(self, kind: int, body: bytes, now: float) -> Iterator[Event]:
        if kind == message.NOTIFICATION:
            self.state = model.SessionState.IDLE
            self.fault = body[0] not in _NO_FAULT
            text = message.describe(body[0], body[1])
            yield Closed(f"received NOTIFICATION {text}{_shutdown_text(body)}", silent=False)
        elif kind == message.OPEN and self.state is model.SessionState.OPEN_SENT:
            yield self._opened(message.parse_open(body), now)
        elif kind == message.KEEPALIVE and self.state is model.SessionState.OPEN_CONFIRM:
            self.state = model.SessionState.ESTABLISHED
            self._expires = float("inf")
            self._restart_hold(now)
            yield Established()
        elif self.state is model.SessionState.ESTABLISHED and kind != message.OPEN:
            self._restart_hold(now)
            if kind == message.UPDATE:
                yield from self._update(body)
            elif kind == message.ROUTE_REFRESH:
                yield from self._refresh(body)
        else:
            # RFC 6608: the subcode says in which state the message was not expected.
            states = {"OpenSent": 1, "OpenConfirm": 2, "Established": 3}
            raise message.ProtocolError(message.FSM_ERROR, states[self.state])

    def _restart_hold(self, now: float) -> None:
        if self.hold_time:
            self._expires = now + self.hold_time

    def _opened(self, opening: message.Open, now: float) -> Event:
        offered = capability.parse(opening.parameters)
        remote_as = opening.my_as if offered.four_octet_as is None else offered.four_octet_as
        if remote_as != self.neighbor.remote_as:
            raise message.ProtocolError(
                message.OPEN_ERROR,
                message.BAD_PEER_AS,
                detail=f"it is AS {remote_as}, configured is {self.neighbor.remote_as}",
            )
        if opening.identifier == int(self._local.router_id) and not self.ebgp:
            # RFC 6286 section 2.2: two of one AS must differ.
            raise message.ProtocolError(
                message.OPEN_ERROR, message.BAD_IDENTIFIER, detail="it is our own router id"
            )
        self.families = self._offer.families & offered.families
        if not self.families:
            # RFC 5492 section 5: the data lists what was missed.
            wanted = capability.Capabilities(families=self._offer.families).encode()
            raise message.ProtocolError(message.OPEN_ERROR, message.BAD_CAPABILITY, wanted)
        self.identifier = opening.identifier
        self.four_octet_as = offered.four_octet_as is not None
        self.restart = offered.graceful_restart
        self.hold_time = min(self.neighbor.hold_time, opening.hold_time)
        # Without a hold time its KEEPALIVE may still not take for ever.
        self._expires, self._keepalive = now + OPEN_WAIT, 0.0
        if self.hold_time:
            self._keepalive = min(self.neighbor.keepalive or self.hold_time, self.hold_time / 3)
            self._keepalive_at = now + self._keepalive
        self._restart_hold(now)
        self._out.append(message.frame(message.KEEPALIVE))
        self.state = model.SessionState.OPEN_CONFIRM
        return Opened(opening.identifier)

    def _refresh(self, body: bytes) -> Iterator[Event]:
        afi, safi = int.from_bytes(body[:2]), body[3]
        if safi == capability.SAFI_UNICAST and afi in self.families:
            yield RefreshWanted(model.Family(afi))

    def _update(self, body: bytes) -> Iterator[Event]:
        found = update.parse(body, four_octet_as=self.four_octet_as, ebgp=self.ebgp)
        if found.end_of_rib is not None:
            if found.end_of_rib in self.families:
                yield EndOfRib(found.end_of_rib)
            return
        for family, keys in found.withdrawn.items():
            yield Learned(family, None, keys, found.attributes.problem)
        looped = self._looped(found)
        for family, keys in found.announced.items():
            if family not in self.families:
                continue
            problem = "" if looped else self._unusable(found.next_hops[family])
            path = None if looped or problem else self._path(family, found)
            yield Learned(family, path, keys, problem)

    def _looped(self, found: update.Update) -> bool:
        """RFC 4271 section 9.1.2, RFC 4456 section 8: it has been here already.

        No fault of the neighbour's: many send everybody everything.
        """
        return self._local.local_as in (
            found.attributes.as_path or ()
        ) or found.attributes.originator_id == int(self._local.router_id)

    def _unusable(self, next_hop: model.Address | None) -> str:
        """RFC 4271 section 6.3: semantically wrong, so the route is ignored, the session stays."""
        if next_hop is None or next_hop == self._address:
            return "NEXT_HOP is our own address"
        nobody = (
            next_hop.is_unspecified
            or next_hop.is_multicast
            or next_hop in _BROADCAST
            # Session and next hop on loopback: both speakers are on this host.
            or (next_hop.is_loopback and not self.neighbor.address.is_loopback)
        )
        return "NEXT_HOP is no host's address" if nobody else ""

    def _path(self, family: model.Family, found: update.Update) -> model.Path:
        attributes = found.attributes
        next_hop = found.next_hops[family]
        assert next_hop is not None
        return model.Path(
            neighbor=self.neighbor.address,
            next_hop=next_hop,
            origin=attributes.origin or 0,
            as_path=attributes.as_path or (),
            as_path_length=attributes.as_path_length,
            med=attributes.med,
            local_pref=100 if attributes.local_pref is None else attributes.local_pref,
            communities=attributes.communities,
            large_communities=attributes.large_communities,
            originator_id=attributes.originator_id,
            cluster_list=attributes.cluster_list,
            ebgp=self.ebgp,
            router_id=self.identifier,
        )


def _shutdown_text(body: bytes) -> str:
    """The text of an administrative shutdown or reset (RFC 9003)."""
    if body[0] != message.CEASE or body[1] not in {2, 4} or len(body) < 4:
        return ""
    text = body[3 : 3 + body[2]].decode(errors="replace")
    return ": " + "".join(c for c in text if c.isprintable()) if text else ""
