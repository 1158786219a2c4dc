"""One BGP connection: the state machine of RFC 4271 section 8 from OpenSent on. Pure.

Bytes and time go in, bytes and events come out. What is before (Idle, Connect, Active) and
which of two connections stays (section 6.8) needs sockets, and is the engine's.

    OpenSent ──OPEN──▶ OpenConfirm ──KEEPALIVE──▶ Established ──any error──▶ closed
"""

from __future__ import annotations

from collections.abc import Iterator

from bgp_ipvlan import model
from bgp_ipvlan.bgp import capability, message, reception, update
from bgp_ipvlan.bgp.events import (
    Closed,
    EndOfRib,
    Established,
    Event,
    Learned,
    Opened,
    RefreshBegun,
    RefreshEnded,
    RefreshWanted,
)

__all__ = [
    "Closed",
    "EndOfRib",
    "Established",
    "Event",
    "Learned",
    "Opened",
    "RefreshBegun",
    "RefreshEnded",
    "RefreshWanted",
    "Session",
]

OPEN_WAIT = 30.0
"""Seconds an OPEN may take to come. RFC 4271 section 8.2.2 suggests four minutes, at a time
when routers were slower; a connection that does nothing keeps a good one from being tried."""
_NO_FAULT = frozenset((message.HOLD_TIMER_EXPIRED, message.CEASE))
_FOR_GOOD = frozenset(
    (message.MAXIMUM_PREFIXES, message.ADMINISTRATIVE_SHUTDOWN, message.PEER_DECONFIGURED)
)
"""Subcodes of Cease after which nothing of ours is to be kept (RFC 8538 section 4)."""
_NEVER = float("inf")


class Session:
    """See the module.

    Args:
        local: this speaker.
        neighbor: the other side, as configured.
        restart: our graceful restart capability; None does without.
        now: the time, in seconds of whatever clock.
        address: our own on this connection.
    """

    def __init__(
        self,
        local: model.SpeakerConfig,
        neighbor: model.NeighborConfig,
        *,
        restart: capability.GracefulRestart | None,
        now: float,
        address: model.Address | None = None,
    ) -> None:
        self.neighbor = neighbor
        self.state = model.SessionState.OPEN_SENT
        self.local_as = neighbor.local_as or local.local_as
        self.remote_as = neighbor.remote_as
        """As configured; for a dynamic neighbour of any AS known with its OPEN."""
        self.identifier = 0
        self.hold_time = 0
        self.agreed = capability.Agreed()
        self.fault = False
        """It ended because one side broke the protocol: the next attempt will likely end so too."""
        self._local = local
        self._address = address
        self._framer = message.Framer()
        self._out: list[bytes] = []
        self._expires: float = now + OPEN_WAIT
        self._heard = now
        self._keepalive_at = _NEVER
        self._keepalive = 0.0
        self._offer = capability.Capabilities(
            families=neighbor.families,
            four_octet_as=self.local_as,
            route_refresh=True,
            enhanced_refresh=True,
            extended_message=True,
            extended_next_hop=model.Family.IPV4 in neighbor.families,
            receive_paths=neighbor.families if neighbor.add_path else frozenset(),
            graceful_restart=restart,
        )
        self._send_open()

    @property
    def ebgp(self) -> bool:
        """Whether the neighbour is in another AS."""
        return self.remote_as != self.local_as

    @property
    def families(self) -> frozenset[model.Family]:
        """Address families that both sides speak."""
        return self.agreed.families

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self.state is model.SessionState.IDLE

    @property
    def deadline(self) -> float:
        """When to call `tick`; infinity is never."""
        return min(self._expires, self._keepalive_at)

    @property
    def longest(self) -> int:
        """Octets of the longest message the neighbour takes."""
        return message.EXTENDED_SIZE if self.agreed.extended_message else message.MAX_SIZE

    def take(self) -> bytes:
        """What is to be sent now."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def send(self, *messages: bytes) -> None:
        """Queue UPDATEs or ROUTE-REFRESHes; only while established."""
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

    def heard(self, now: float) -> None:
        """The neighbour has spoken: what it said waits to be taken in."""
        if not self.closed:
            self._restart_hold(now)

    def close(self, subcode: int, data: bytes = b"", detail: str = "") -> Closed:
        """End it with Cease (RFC 4486); only while it is not closed.

        Args:
            subcode: of Cease.
            data: as the subcode defines it; see `message.shutdown_communication`.
            detail: for our own log.
        """
        if subcode in _FOR_GOOD and self.agreed.notification_restart:
            # RFC 8538 section 3.1: else the neighbour would keep our routes.
            what = message.describe(message.CEASE, subcode)
            detail = f"{what}{detail and ': ' + detail}"
            data = bytes((message.CEASE, subcode)) + data
            subcode = message.HARD_RESET
        return self._fail(message.ProtocolError(message.CEASE, subcode, data, detail))

    def exceeded(self, family: model.Family) -> Closed:
        """End it because the neighbour sends too much (RFC 4486 section 4)."""
        limit = self.neighbor.max_prefixes
        data = family.to_bytes(2) + bytes((capability.SAFI_UNICAST,)) + limit.to_bytes(4)
        name = f"more than {limit} {family.name.lower()} prefixes"
        return self.close(message.MAXIMUM_PREFIXES, data, name)

    def send_hold_expired(self) -> Closed:
        """It takes nothing of what we send (RFC 9687); no NOTIFICATION would reach it."""
        self.state = model.SessionState.IDLE
        reason = message.describe(message.SEND_HOLD_TIMER_EXPIRED, 0)
        return Closed(f"{reason}: the neighbour does not read", graceful=False)

    def lost(self, reason: str) -> Closed:
        """The connection is gone."""
        self.state = model.SessionState.IDLE
        return Closed(reason, graceful=True)

    def _send_open(self) -> None:
        opening = message.Open(
            my_as=self.local_as if self.local_as < 1 << 16 else capability.AS_TRANS,
            hold_time=self.neighbor.hold_time,
            identifier=int(self._local.router_id),
            parameters=self._offer.encode(),
        )
        self._out.append(opening.encode())

    def _fail(self, error: message.ProtocolError) -> Closed:
        self._out.append(message.notification(error))
        self.state = model.SessionState.IDLE
        self.fault = error.code not in _NO_FAULT
        hard = (error.code, error.subcode) == (message.CEASE, message.HARD_RESET)
        graceful = self.agreed.notification_restart and not hard
        return Closed(f"sent NOTIFICATION {error}", graceful=graceful)

    def _messages(self, data: bytes, now: float) -> Iterator[Event]:
        for kind, body in self._framer.feed(data):
            yield from self._message(kind, body, now)
            if self.closed:
                return

    def _message(self, kind: int, body: bytes, now: float) -> Iterator[Event]:
        state = self.state
        if kind == message.NOTIFICATION:
            yield self._notified(message.parse_notification(body))
        elif state is model.SessionState.ESTABLISHED and kind != message.OPEN:
            self._restart_hold(now)
            if kind == message.UPDATE:
                yield from self._update(body)
            elif kind == message.ROUTE_REFRESH:
                yield from self._refresh(body)
        elif kind == message.OPEN and state is model.SessionState.OPEN_SENT:
            yield self._opened(message.parse_open(body), now)
        elif kind == message.KEEPALIVE and state is model.SessionState.OPEN_CONFIRM:
            self.state = model.SessionState.ESTABLISHED
            self._expires = _NEVER
            self._restart_hold(now)
            yield Established()
        else:
            # RFC 6608: the subcode says in which state the message was not expected.
            states = {"OpenSent": 1, "OpenConfirm": 2, "Established": 3}
            raise message.ProtocolError(message.FSM_ERROR, states[state])

    def _notified(self, found: message.Notification) -> Closed:
        self.state = model.SessionState.IDLE
        self.fault = found.code not in _NO_FAULT
        graceful = self.agreed.notification_restart and not found.hard
        return Closed(f"received NOTIFICATION {found.text}", graceful=graceful)

    def _restart_hold(self, now: float) -> None:
        # What was read before may be worked off after `heard`: it takes no time back.
        self._heard = max(self._heard, now)
        if self.hold_time:
            self._expires = self._heard + self.hold_time

    def _opened(self, opening: message.Open, now: float) -> Event:
        offered = capability.parse(opening.parameters)
        four = offered.four_octet_as
        self.remote_as = self._check_as(opening.my_as if four is None else four)
        if opening.identifier == int(self._local.router_id) and not self.ebgp:
            # RFC 6286 section 2.2: two of one AS must differ.
            raise message.ProtocolError(
                message.OPEN_ERROR, message.BAD_IDENTIFIER, detail="it is our own router id"
            )
        agreed = capability.agree(self._offer, offered)
        if not agreed.families:
            # RFC 5492 section 5: the data lists what was missed.
            wanted = capability.Capabilities(families=self._offer.families).encode()
            raise message.ProtocolError(message.OPEN_ERROR, message.BAD_CAPABILITY, wanted)
        self.agreed = agreed
        self.identifier = opening.identifier
        # Each side's offer is about what it takes itself (RFC 8654 section 4), and ours stands.
        self._framer.longest = message.EXTENDED_SIZE
        self._start_timers(min(self.neighbor.hold_time, opening.hold_time), now)
        self._out.append(message.frame(message.KEEPALIVE))
        self.state = model.SessionState.OPEN_CONFIRM
        return Opened(opening.identifier)

    def _check_as(self, remote_as: int) -> int:
        """RFC 4271 section 6.2; AS 0 is nobody's (RFC 7607)."""
        wanted = self.neighbor.remote_as
        good = remote_as == wanted if wanted else remote_as not in {0, self.local_as}
        if not good:
            expected = wanted or f"any but {self.local_as}"
            raise message.ProtocolError(
                message.OPEN_ERROR,
                message.BAD_PEER_AS,
                detail=f"it is AS {remote_as}, configured is {expected}",
            )
        return remote_as

    def _start_timers(self, hold_time: int, now: float) -> None:
        self.hold_time = hold_time
        # Without a hold time its KEEPALIVE may still not take for ever.
        self._expires, self._keepalive = now + OPEN_WAIT, 0.0
        if hold_time:
            self._keepalive = min(self.neighbor.keepalive or hold_time, hold_time / 3)
            self._keepalive_at = now + self._keepalive
        self._restart_hold(now)

    def _refresh(self, body: bytes) -> Iterator[Event]:
        afi, subtype, safi = int.from_bytes(body[:2]), body[2], body[3]
        enhanced = self.agreed.enhanced_refresh
        if enhanced and subtype in {1, 2} and len(body) != 4:
            raise message.ProtocolError(
                message.REFRESH_ERROR, 1, message.frame(message.ROUTE_REFRESH, body)
            )
        if safi != capability.SAFI_UNICAST or afi not in self.families:
            return
        family = model.Family(afi)
        # Without RFC 7313 the octet is reserved, and means nothing.
        match subtype if enhanced else 0:
            case 0:
                yield RefreshWanted(family)
            case 1:
                yield RefreshBegun(family)
            case 2:
                yield RefreshEnded(family)

    def _update(self, body: bytes) -> Iterator[Event]:
        found = update.parse(
            body,
            four_octet_as=self.agreed.four_octet_as,
            ebgp=self.ebgp,
            add_path=self.agreed.add_path,
        )
        if found.end_of_rib is not None:
            if found.end_of_rib in self.families:
                yield EndOfRib(found.end_of_rib)
            return
        problem = found.attributes.problem
        for block in found.withdrawn:
            if block.family in self.families:
                yield Learned(block.family, None, block.prefixes, block.path_id, problem=problem)
        for block in found.announced:
            if block.family in self.families:
                path = reception.path(self, found.attributes, block)
                refused = reception.refusal(self, found.attributes, path)
                yield Learned(block.family, path, block.prefixes, block.path_id, refused=refused)

    @property
    def own_as_numbers(self) -> frozenset[int]:
        """Our AS numbers: the speaker's, and what it calls itself here (`local_as`)."""
        return frozenset((self._local.local_as, self.local_as))

    @property
    def own_identifier(self) -> int:
        """Our BGP identifier."""
        return int(self._local.router_id)

    @property
    def own_address(self) -> model.Address | None:
        """Our address on this connection."""
        return self._address
