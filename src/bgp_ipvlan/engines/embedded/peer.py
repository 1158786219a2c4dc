"""One neighbour: its connections, retries, collisions, and what keeps it idle.

A neighbour may have two connections for a moment, one from each side; RFC 4271 section 6.8
decides which one stays. At most one is established.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from typing import Protocol

from bgp_ipvlan import errors, model, ports
from bgp_ipvlan.bgp import capability, message, session, update
from bgp_ipvlan.engines.embedded import backoff, initial, outbox, transport
from bgp_ipvlan.engines.embedded import link as link_

log = logging.getLogger("bgp_ipvlan")

_TOGETHER = 3.0
"""Connections that stand within so many seconds were made at once from both sides. No host
restarts in that time unnoticed."""
_UNUSABLE = 60.0
"""Seconds after which a password that the kernel refused is tried again."""
_MOST_LINKS = 4
"""Connections of one neighbour at a time, so that it cannot use up our sockets."""


class Owner(Protocol):
    """What a peer needs of the engine."""

    @property
    def table(self) -> outbox.Table:
        """Everything we announce."""

    @property
    def marks_shutdown(self) -> bool:
        """Whether it goes out with GRACEFUL_SHUTDOWN (RFC 8326)."""

    room: ports.Room
    """Set while more can be learned."""

    def restart_capability(self, peer: Peer) -> capability.GracefulRestart | None:
        """Our graceful restart capability towards it, now."""

    def learned(self, peer: Peer, event: session.Learned) -> None:
        """Put it into the tables."""

    def lost(self, peer: Peer, *, keep: frozenset[model.Family]) -> None:
        """The session is over: forget its routes, those of some families only mark stale."""

    def mark_stale(self, peer: Peer, family: model.Family) -> None:
        """It will say all of a family again."""

    def flush_stale(self, peer: Peer, family: model.Family) -> None:
        """Forget what is still marked."""

    def said_all(self, peer: Peer) -> None:
        """Its initial table is complete."""

    def changed(self, peer: Peer, detail: str) -> None:
        """Tell of a new state."""

    def ended(self, peer: Peer) -> None:
        """One of its connections is over."""

    def has_routes(self, peer: Peer) -> bool:
        """Whether routes of it are in the tables."""


class Peer:
    """See the module.

    Args:
        local: this speaker.
        config: the neighbour.
        owner: the engine.
        dynamic: it connected from a range, and goes with its connection.
    """

    def __init__(
        self,
        local: model.SpeakerConfig,
        config: model.NeighborConfig,
        owner: Owner,
        *,
        dynamic: bool = False,
    ) -> None:
        self.local = local
        self.config = config
        self.owner = owner
        self.dynamic = dynamic
        self.since = time.time()
        self.last_error = ""
        self.idle_reason = ""
        """Why it is left alone, a reason code; empty when it is not."""
        self.met = False
        """There has been a session since we run."""
        self.link: link_.Link | None = None
        """The connection that is established."""
        self.initial = initial.InitialTable(
            flush_stale=lambda family: owner.flush_stale(self, family),
            said_all=lambda: owner.said_all(self),
        )
        self._links: list[link_.Link] = []
        self._closing: list[transport.Connection] = []
        """They deliver a last word, and are gone within seconds."""
        self._connecting = False
        self._wake = asyncio.Event()
        """No connection stands, or waiting was cut short: look whether to connect."""
        self.backoff = backoff.Backoff()
        self._up_at = float("-inf")
        self._stopped = False
        self._task: asyncio.Task[None] | None = None

    # --- life ----------------------------------------------------------------------

    def start(self) -> None:
        """Start connecting, unless passive."""
        if not self.config.passive and self._task is None:
            self._task = asyncio.create_task(self._connect_always())

    def stop(self, *, cease: int = 0, data: bytes = b"") -> list[transport.Connection]:
        """End for good, at once: from here on it says and hears nothing.

        Args:
            cease: subcode of the Cease to send; 0 sends nothing.
            data: of it.

        Returns:
            Connections that deliver the last word; they are gone within seconds.
        """
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
        self.initial.stop()
        # From here on nothing finds a session to send on.
        links, self._links, self.link = self._links, [], None
        for one in links:
            if cease:
                one.session.close(cease, data)
                one.connection.send(one.session.take())
            one.drop()
        return [*self.closing(), *(one.connection for one in links)]

    def closing(self) -> list[transport.Connection]:
        """Connections that deliver a last word."""
        self._closing = [one for one in self._closing if one.open]
        return self._closing

    def hold_idle(self, reason: str, seconds: float = backoff.NEVER) -> None:
        """Have no connection for some seconds, or until `wake`.

        Args:
            reason: a reason code for status.
            seconds: from now.
        """
        self.idle_reason = reason
        self.backoff.hold(_now() + seconds)

    def wake(self) -> None:
        """End idleness of whatever reason: connect now, or when the last word is said."""
        self.idle_reason = ""
        self.backoff.clear()
        if self.closing():
            self.backoff.pause(_now())
        self._wake.set()

    def close(self, subcode: int, data: bytes = b"", detail: str = "") -> None:
        """End its connections with Cease; it is tried again unless `hold_idle` says otherwise."""
        if self._links:
            self.backoff.pause(_now())
        for one in list(self._links):
            one.end(one.session.close(subcode, data, detail))

    def configure(self, config: model.NeighborConfig) -> None:
        """Take another configuration that its connections can live with."""
        self.config = config
        for one in self._links:
            one.session.neighbor = config

    def ask_again(self) -> None:
        """Ask for all its routes (RFC 2918), because what we let in has changed.

        Raises:
            errors.EngineError: `not-established`, `no-route-refresh`.
        """
        if self.link is None:
            raise errors.EngineError(
                "not-established", f"there is no session with {self.config.address} now"
            )
        if not self.link.session.agreed.route_refresh:
            raise errors.EngineError(
                "no-route-refresh",
                f"neighbor {self.config.address} does not know route refresh: reset the session "
                f"instead",
            )
        self.link.session.send(*map(update.route_refresh, sorted(self.link.session.families)))
        self.link.flush()

    def lose(self, address_gone: model.Address) -> None:
        """Our own address went, or the link it is on: do not wait for the hold time."""
        for one in list(self._links):
            if one.connection.local == address_gone:
                self.on_event(one, one.session.lost(f"our address {address_gone} is down"))
                one.drop()

    def own_addresses(self) -> set[model.Address]:
        """Our own addresses on its connections."""
        return {one.connection.local for one in self._links}

    @property
    def room(self) -> ports.Room:
        """Set while more can be learned."""
        return self.owner.room

    @property
    def ebgp(self) -> bool:
        """Whether it is in another AS."""
        return self.config.remote_as != (self.config.local_as or self.local.local_as)

    @property
    def state(self) -> model.SessionState:
        """The furthest state of any connection."""
        order = list(model.SessionState)
        states = [one.session.state for one in self._links]
        if self._connecting:
            states.append(model.SessionState.CONNECT)
        waits = model.SessionState.IDLE if self.idle_reason else model.SessionState.ACTIVE
        return max(states, key=order.index, default=waits)

    # --- connections -----------------------------------------------------------------

    async def _connect_always(self) -> None:
        while True:
            self._wake.clear()
            if self._links:
                await self._wake.wait()
                continue
            wait = self.backoff.wait(_now())
            if wait > 0:
                await self._sleep(wait)
                continue
            self._end_of_idle()
            self._connecting = True
            try:
                await transport.connect(self.config, self._connected, ebgp=self.ebgp)
            except (OSError, TimeoutError) as error:
                self.last_error = f"connect: {getattr(error, 'strerror', None) or 'timed out'}"
                log.debug("connect failed neighbor=%s error=%s", self.config.address, error)
            except errors.EngineError as error:
                if self.last_error != str(error):
                    log.warning(
                        "connect failed neighbor=%s reason=%s error=%s",
                        self.config.address,
                        error.reason,
                        error,
                    )
                self.last_error = str(error)
                self.hold_idle(error.reason, _UNUSABLE)
            finally:
                self._connecting = False
            self.backoff.attempted(_now())

    async def _sleep(self, seconds: float) -> None:
        """Until `wake`, or so long."""
        try:
            async with asyncio.timeout(None if seconds == backoff.NEVER else seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _end_of_idle(self) -> None:
        if self.idle_reason and not self.backoff.held(_now()):
            self.idle_reason = ""

    def _connected(self, connection: transport.Connection) -> link_.Link | None:
        # It may have connected to us while our attempt was under way.
        if self._stopped or self.backoff.held(_now()) or self.link is not None:
            return None
        return self._add(connection, outgoing=True)

    def accept(self, connection: transport.Connection) -> link_.Link | None:
        """A connection from the neighbour's side; None refuses it."""
        if self._stopped or self.backoff.held(_now()) or len(self._links) >= _MOST_LINKS:
            log.debug("connection refused neighbor=%s reason=idle-hold", self.config.address)
            return None
        self._end_of_idle()
        return self._add(connection, outgoing=False)

    def _add(self, connection: transport.Connection, *, outgoing: bool) -> link_.Link:
        one = link_.Link(
            self,
            connection,
            outgoing=outgoing,
            restart=self.owner.restart_capability(self),
            table=self.owner.table,
        )
        self._links.append(one)
        return one

    def _remove(self, link: link_.Link) -> None:
        if link in self._links:
            self._links.remove(link)
            self._closing = [*self.closing(), link.connection]
        if not self._links:
            self._wake.set()

    # --- events --------------------------------------------------------------------

    def on_event(self, link: link_.Link, event: session.Event) -> None:
        """Something happened on one of the connections."""
        match event:
            case session.Learned():
                self.initial.heard()
                self.owner.learned(self, event)
            case session.Opened(identifier):
                self._collide(link, identifier)
            case session.Established():
                self._established(link)
            case session.EndOfRib(family):
                self.initial.end_of_rib(family)
            case session.RefreshBegun(family):
                if self.initial.refresh_begun(family):
                    self.owner.mark_stale(self, family)
            case session.RefreshEnded(family):
                self.initial.refresh_ended(family)
            case session.RefreshWanted(family):
                link.outbox.refresh(family)
            case session.Closed(reason, graceful):
                self._closed(link, reason, graceful=graceful)

    def _collide(self, link: link_.Link, identifier: int) -> None:
        """Two connections: one must go (RFC 4271 section 6.8).

        Also one whose OPEN has not come counts: it is the same neighbour, so its identifier
        is known. Waiting for it, one side may see the loser established for a moment.
        """
        for other in [one for one in self._links if one is not link]:
            if other is self.link:
                young = link.since - self._up_at < _TOGETHER
                if other.session.agreed.restart is not None and not (young or link.outgoing):
                    # RFC 4724 section 5: it has restarted, and the old connection is dead
                    # without our having noticed.
                    gone = other.session.lost("neighbor came back on a new connection")
                    self.on_event(other, gone)
                    other.drop()
                else:
                    self._refuse(link)
                return
            if link.outgoing is other.outgoing:
                # Both from its side: it has forgotten the older one.
                self._refuse(other)
                continue
            # RFC 6286 section 2.3: with equal identifiers the larger AS number decides.
            ours = (int(self.local.router_id), link.session.local_as)
            ours_wins = ours > (identifier, link.session.remote_as)
            if link.outgoing is not ours_wins:
                self._refuse(link)
                return
            self._refuse(other)

    def _refuse(self, link: link_.Link) -> None:
        link.session.close(message.COLLISION)
        self._remove(link)
        link.flush()

    def _established(self, link: link_.Link) -> None:
        for other in [one for one in self._links if one is not link]:
            self._refuse(other)
        self.link = link
        self.met = True
        self._up_at = _now()
        self.since, self.last_error = time.time(), ""
        self.initial.begin(link.session.agreed)
        self.owner.changed(self, f"router_id={ipaddress.IPv4Address(link.session.identifier)}")
        link.outbox.graceful_shutdown = self.owner.marks_shutdown
        for family in link.session.families:
            link.outbox.first(family)

    def _closed(self, link: link_.Link, reason: str, *, graceful: bool) -> None:
        if link is self.link:
            self.backoff.session_ended(_now(), self._up_at, fault=link.session.fault)
        elif link.session.fault:
            self.backoff.flapped(_now())
        self.last_error = reason
        established = link is self.link
        if established:
            self.link = None
        # First of all: what follows calls others, and no failure of theirs may wedge us.
        self._remove(link)
        if not established:
            log.info("connection ended neighbor=%s reason=%s", self.config.address, reason)
            self.owner.ended(self)
            return
        self.since = time.time()
        keep, seconds = link.kept() if graceful else (frozenset(), 0)
        self.owner.lost(self, keep=keep)
        self.initial.lost(seconds)
        kept = f", its routes are kept for {seconds} s" if keep else ""
        self.owner.changed(self, reason + kept)
        self.owner.ended(self)


def _now() -> float:
    return asyncio.get_running_loop().time()
