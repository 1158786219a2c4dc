"""One neighbour: its connections, retries, collisions, and restarts.

A neighbour may have two connections for a moment, one from each side; RFC 4271 section 6.8
decides which one stays. At most one is established.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import time
from typing import Protocol

from bgp_ipvlan import model
from bgp_ipvlan.bgp import capability, message, session
from bgp_ipvlan.engines.embedded import transport

log = logging.getLogger("bgp_ipvlan")

_RETRY_FIRST, _RETRY_LAST = 1.0, 15.0
"""Seconds between attempts, doubling, with jitter (RFC 4271 section 10). Hosts come and go
together in a rack: short, but not in step."""
_SOUND = 30.0
"""A session that held for so many seconds was a good one: the next attempt may follow soon."""
_TOGETHER = 3.0
"""Connections that stand within so many seconds were made at once from both sides. No host
restarts in that time unnoticed."""
_MOST_LINKS = 4
"""Connections of one neighbour at a time, so that it cannot use up our sockets."""
_CLOSE_TIMEOUT = 2.0
_STALE_TIME = 60.0
"""Seconds after its return in which a neighbour must have sent End-of-RIB."""
_QUIET = 3.0
"""A neighbour that promises no End-of-RIB has said all when it was silent for so long."""


class Owner(Protocol):
    """What a peer needs of the engine."""

    def restart_capability(self, peer: Peer) -> capability.GracefulRestart:
        """Our graceful restart capability towards it, now."""

    def established(self, peer: Peer) -> None:
        """Send it everything."""

    def refresh(self, peer: Peer, family: model.Family) -> None:
        """Send it one family again."""

    def learned(self, peer: Peer, event: session.Learned) -> None:
        """Put it into the tables."""

    def lost(self, peer: Peer, *, keep: frozenset[model.Family]) -> None:
        """The session is over: forget its routes, those of some families only mark stale."""

    def flush_stale(self, peer: Peer, family: model.Family) -> None:
        """Forget what is still marked."""

    def said_all(self, peer: Peer) -> None:
        """Its initial table is complete."""

    def changed(self, peer: Peer, detail: str) -> None:
        """Tell of a new state."""


class Link:
    """A connection with its session.

    Args:
        peer: whose.
        connection: the TCP side.
        outgoing: we made it.
    """

    def __init__(self, peer: Peer, connection: transport.Connection, *, outgoing: bool) -> None:
        self.outgoing = outgoing
        self.connection = connection
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.session = session.Session(
            peer.local,
            peer.config,
            restart=peer.owner.restart_capability(peer),
            now=self._loop.time(),
            address=connection.local,
        )
        self.since = self._loop.time()
        self.flush()

    def received(self, data: bytes) -> None:
        """Octets came."""
        for event in self.session.receive(data, self._loop.time()):
            self._peer.on_event(self, event)
        self.flush()

    def disconnected(self, reason: str) -> None:
        """The connection is gone."""
        if not self.session.closed:
            self._peer.on_event(self, self.session.lost(reason))

    def flush(self) -> None:
        """Send what the session has to say, and look when it next must be woken."""
        self.connection.send(self.session.take())
        if self.session.closed:
            self.drop()
            return
        deadline = self.session.deadline
        # Each message moves the deadline later: wake early and look again, rather than set a
        # timer anew for each. Sooner it moves once, when the OPEN has brought the hold time.
        if self._timer is not None and self._timer.when() > deadline:
            self.stop_timer()
        if self._timer is None and deadline != float("inf"):
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        for event in self.session.tick(self._loop.time()):
            self._peer.on_event(self, event)
        self.flush()

    def drop(self) -> None:
        """Close without another word."""
        self.stop_timer()
        self.connection.close()

    def stop_timer(self) -> None:
        """Hold and keepalive matter no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Peer:
    """See the module.

    Args:
        local: this speaker.
        config: the neighbour.
        owner: the engine.
    """

    def __init__(
        self, local: model.SpeakerConfig, config: model.NeighborConfig, owner: Owner
    ) -> None:
        self.local = local
        self.config = config
        self.owner = owner
        self.sent = 0
        self.since = time.time()
        self.last_error = ""
        self.ended: set[model.Family] = set()
        """Families whose End-of-RIB came in this session."""
        self.initial_done = False
        self.met = False
        """There has been a session since we run."""
        self.link: Link | None = None
        """The connection that is established."""
        self._links: list[Link] = []
        self._connecting = False
        self._idle = asyncio.Event()
        """No connection stands: connect."""
        self._idle.set()
        self._delay = _RETRY_FIRST
        self._idle_until = float("-inf")
        """Idle hold (RFC 4271 section 8.1.1): until then its connections are refused."""
        self._up_at = float("-inf")
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self._stale_timer: asyncio.TimerHandle | None = None
        self._quiet_timer: asyncio.TimerHandle | None = None

    # --- life ----------------------------------------------------------------------

    def start(self) -> None:
        """Start connecting, unless passive."""
        if not self.config.passive:
            self._task = asyncio.create_task(self._connect_always())

    async def stop(self, *, cease: bool) -> None:
        """Close; with `cease` after a NOTIFICATION."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
        for timer in (self._stale_timer, self._quiet_timer):
            if timer is not None:
                timer.cancel()
        # From here on nothing finds a session to send on.
        links, self._links, self.link = self._links, [], None
        for link in links:
            if cease:
                link.session.close(message.ADMINISTRATIVE_SHUTDOWN)
                link.connection.send(link.session.take())
            link.stop_timer()
        async with asyncio.TaskGroup() as group:
            for link in links:
                group.create_task(link.connection.finish(_CLOSE_TIMEOUT))

    @property
    def state(self) -> model.SessionState:
        """The furthest state of any connection."""
        order = list(model.SessionState)
        states = [link.session.state for link in self._links]
        if self._connecting:
            states.append(model.SessionState.CONNECT)
        idle = model.SessionState.ACTIVE
        return max(states, key=order.index, default=idle)

    async def _connect_always(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._idle.wait()
            if (wait := self._idle_until - loop.time()) > 0:
                await asyncio.sleep(wait)
                continue
            self._connecting = True
            try:
                await transport.connect(self.config, self._connected)
            except (OSError, TimeoutError) as error:
                self.last_error = f"connect: {getattr(error, 'strerror', None) or 'timed out'}"
                log.debug("connect failed neighbor=%s error=%s", self.config.address, error)
            finally:
                self._connecting = False
            # Also after a connection that stood: what ended at once will end at once again.
            # Jitter of 0.75 to 1 (RFC 4271 section 10).
            await asyncio.sleep(self._delay * random.uniform(0.75, 1.0))
            self._delay = min(self._delay * 2, _RETRY_LAST)

    def _connected(self, connection: transport.Connection) -> Link | None:
        if self._stopped:
            return None
        return self._add(connection, outgoing=True)

    def accept(self, connection: transport.Connection) -> Link | None:
        """A connection from the neighbour's side; None refuses it."""
        now = asyncio.get_running_loop().time()
        if self._stopped or now < self._idle_until or len(self._links) >= _MOST_LINKS:
            log.debug("connection refused neighbor=%s reason=idle-hold", self.config.address)
            return None
        return self._add(connection, outgoing=False)

    def _add(self, connection: transport.Connection, *, outgoing: bool) -> Link:
        link = Link(self, connection, outgoing=outgoing)
        self._links.append(link)
        self._idle.clear()
        return link

    def _remove(self, link: Link) -> None:
        if link in self._links:
            self._links.remove(link)
        if not self._links:
            self._idle.set()

    # --- events --------------------------------------------------------------------

    def on_event(self, link: Link, event: session.Event) -> None:
        """Something happened on one of the connections."""
        match event:
            case session.Learned():
                self._hear()
                self.owner.learned(self, event)
            case session.Opened(identifier):
                self._collide(link, identifier)
            case session.Established():
                self._established(link)
            case session.EndOfRib(family):
                self.ended.add(family)
                self.owner.flush_stale(self, family)
                if self.ended >= link.session.families:
                    self._all_said()
            case session.RefreshWanted(family):
                self.owner.refresh(self, family)
            case session.Closed(reason, silent):
                self._closed(link, reason, silent=silent)

    def _collide(self, link: Link, identifier: int) -> None:
        """Two connections: one must go (RFC 4271 section 6.8).

        Also one whose OPEN has not come counts: it is the same neighbour, so its identifier
        is known. Waiting for it, one side may see the loser established for a moment.
        """
        for other in [one for one in self._links if one is not link]:
            if other is self.link:
                young = link.since - self._up_at < _TOGETHER
                if other.session.restart is not None and not young:
                    # RFC 4724 section 5: it has restarted, and the old connection is dead
                    # without our having noticed.
                    self._closed(other, "neighbor came back on a new connection", silent=True)
                    other.drop()
                else:
                    self._refuse(link)
                return
            if link.outgoing is other.outgoing:
                # Both from its side: it has forgotten the older one.
                self._refuse(other)
                continue
            # RFC 6286 section 2.3: with equal identifiers the larger AS number decides.
            ours = (int(self.local.router_id), self.local.local_as)
            ours_wins = ours > (identifier, self.config.remote_as)
            if link.outgoing is not ours_wins:
                self._refuse(link)
                return
            self._refuse(other)

    def _refuse(self, link: Link) -> None:
        link.session.close(message.COLLISION)
        self._remove(link)
        link.flush()

    def _established(self, link: Link) -> None:
        for other in [one for one in self._links if one is not link]:
            self._refuse(other)
        self.link = link
        self.met = True
        self._up_at = asyncio.get_running_loop().time()
        self.ended.clear()
        self.since, self.last_error = time.time(), ""
        kept = link.session.restart.families if link.session.restart else {}
        for family in model.Family:
            # RFC 4724 section 4.2: it did not keep its routes over the restart.
            if not kept.get(family):
                self.owner.flush_stale(self, family)
        self._arm_stale(_STALE_TIME)
        self._hear()
        self.owner.changed(self, f"router_id={ipaddress.IPv4Address(link.session.identifier)}")
        self.owner.established(self)

    def _closed(self, link: Link, reason: str, *, silent: bool) -> None:
        self._back_off(link, fault=link.session.fault)
        self._remove(link)
        self.last_error = reason
        if link is not self.link:
            log.info("connection ended neighbor=%s reason=%s", self.config.address, reason)
            return
        self.link = None
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
        self.since, self.sent = time.time(), 0
        restart = link.session.restart
        keep = frozenset(restart.families) if silent and restart is not None else frozenset()
        self.owner.lost(self, keep=keep)
        if keep and restart is not None:
            self._arm_stale(restart.time)
        kept = f", its routes are kept for {restart.time} s" if keep and restart else ""
        self.owner.changed(self, reason + kept)

    def _back_off(self, link: Link, *, fault: bool) -> None:
        """How soon the next connection may follow the end of this one."""
        now = asyncio.get_running_loop().time()
        if link is self.link and (not fault or now - self._up_at > _SOUND):
            self._delay = _RETRY_FIRST
        elif fault:
            self._idle_until = now + self._delay
            self._delay = min(self._delay * 2, _RETRY_LAST)

    # --- initial table and restart -----------------------------------------------------

    def _arm_stale(self, seconds: float) -> None:
        if self._stale_timer is not None:
            self._stale_timer.cancel()
        self._stale_timer = asyncio.get_running_loop().call_later(seconds, self._stale_over)

    def _stale_over(self) -> None:
        self._stale_timer = None
        for family in model.Family:
            self.owner.flush_stale(self, family)

    def _hear(self) -> None:
        """Something came: where no End-of-RIB is promised, wait for silence."""
        link = self.link
        if self.initial_done or link is None or link.session.restart is not None:
            return
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
        self._quiet_timer = asyncio.get_running_loop().call_later(_QUIET, self._all_said)

    def _all_said(self) -> None:
        if not self.initial_done:
            self.initial_done = True
            self.owner.said_all(self)
