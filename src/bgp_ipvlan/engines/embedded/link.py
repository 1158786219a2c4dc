"""One connection with its session: bytes between them, and the timers of both."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from typing import Protocol

from bgp_ipvlan import model, ports
from bgp_ipvlan.bgp import capability, session
from bgp_ipvlan.engines.embedded import outbox, transport

log = logging.getLogger("bgp_ipvlan")

_MOST_EVENTS, _MOST_PREFIXES = 128, 4000
"""Of what one reading brought, so much is worked off in one turn of the loop, about 5 ms, so
that no neighbour delays the others (D7)."""


class Owner(Protocol):
    """Whose connection it is."""

    config: model.NeighborConfig
    local: model.SpeakerConfig

    @property
    def room(self) -> ports.Room:
        """Set while more can be learned."""

    def on_event(self, link: Link, event: session.Event) -> None:
        """The session tells something."""


class Link:
    """See the module.

    Args:
        owner: the neighbour.
        connection: the TCP side.
        outgoing: we made it.
        restart: our graceful restart capability.
        table: everything we announce.
    """

    def __init__(
        self,
        owner: Owner,
        connection: transport.Connection,
        *,
        outgoing: bool,
        restart: capability.GracefulRestart | None,
        table: outbox.Table,
    ) -> None:
        self.outgoing = outgoing
        self.connection = connection
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._turn: asyncio.Handle | asyncio.Task[None] | None = None
        """The rest of what was read waits for it."""
        self.session = session.Session(
            owner.local,
            owner.config,
            restart=restart,
            now=self._loop.time(),
            address=connection.local,
        )
        self.outbox = outbox.Outbox(self.session, table)
        self.since = self._loop.time()
        self.idle = asyncio.Event()
        """Nothing is due, and the socket has taken all."""
        self.flush()

    # --- transport.Receiver -----------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Octets came."""
        self._work(self.session.receive(data, self._loop.time()))

    def _work(self, events: Iterator[session.Event]) -> None:
        """Some of what was read; the rest in later turns, and nothing is read until then."""
        late, self._turn = self._turn is not None, None
        if not self._owner.room.is_set():
            self.connection.pause()
            self._turn = self._loop.create_task(self._wait(events))
            return
        try:
            if self._some(events):
                if late:
                    # Only now can it be heard again: what it said meanwhile is still to be read.
                    self.session.heard(self._loop.time())
                self.connection.resume()
            else:
                self._turn = self._loop.call_soon(self._work, events)
                self.connection.pause()
        except Exception:
            log.exception("BUG session ended neighbor=%s", self.session.neighbor.address)
            self.disconnected("internal error")
            return
        self.flush()

    async def _wait(self, events: Iterator[session.Event]) -> None:
        """Until what was learned before has found its place."""
        await self._owner.room.wait()
        self._work(events)

    def _some(self, events: Iterator[session.Event]) -> bool:
        """Work off some events; True when there are no more."""
        prefixes = 0
        for count, event in enumerate(events, start=1):
            self._owner.on_event(self, event)
            if self.session.closed:
                return True  # also where we ended it over this event: the rest is void
            if isinstance(event, session.Learned):
                prefixes += len(event.prefixes)
            if count >= _MOST_EVENTS or prefixes >= _MOST_PREFIXES:
                return False
        return True

    def disconnected(self, reason: str) -> None:
        """The connection is gone."""
        if not self.session.closed:
            self._owner.on_event(self, self.session.lost(reason))
        self.drop()

    def written(self) -> None:
        """The socket has taken all: now what was held back meanwhile."""
        self._stop_send_timer()
        self.flush()

    # --- sending ------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what there is to say, unless the socket is behind; see when to wake up next."""
        established = self.session.state is model.SessionState.ESTABLISHED
        if established and not self.connection.behind and not self.outbox.empty:
            self.outbox.send()
        self.connection.send(self.session.take())
        if self.session.closed:
            self.drop()
            return
        if self.connection.behind or not self.outbox.empty:
            self.idle.clear()
        else:
            self.idle.set()
        if self.connection.behind and self._send_timer is None:
            self._watch_socket()
        self._wake_at(self.session.deadline)

    def _wake_at(self, deadline: float) -> None:
        # Each message moves the deadline later: wake early and look again, rather than set a
        # timer anew for each. Sooner it moves once, when the OPEN has brought the hold time.
        if self._timer is not None and self._timer.when() > deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and deadline != float("inf"):
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._turn is not None:
            # It is we who are late: what it said waits, and reading with it.
            self.session.heard(now)
        self._tell(self.session.tick(now))

    def _tell(self, events: Iterable[session.Event]) -> None:
        for event in events:
            self._owner.on_event(self, event)
            if self.session.closed:
                break  # also where we ended it over this event: the rest of the data is void
        self.flush()

    def _watch_socket(self) -> None:
        """RFC 9687: a neighbour may not keep us from sending for ever."""
        if self.session.hold_time:
            seconds = max(self._owner.local.send_hold_time, 2 * self.session.hold_time)
            taken = self.connection.taken
            self._send_timer = self._loop.call_later(seconds, self._send_hold, taken)

    def _send_hold(self, taken: int) -> None:
        self._send_timer = None
        if self.connection.taken > taken:
            self._watch_socket()
            return
        self._owner.on_event(self, self.session.send_hold_expired())
        self.drop()

    def kept(self) -> tuple[frozenset[model.Family], int]:
        """Families whose routes may be kept over its end, and for how many seconds (RFC 4724)."""
        restart = self.session.agreed.restart
        if restart is None or not restart.time:
            return frozenset(), 0
        return frozenset(restart.families), restart.time

    # --- the end ------------------------------------------------------------------------

    def end(self, closed: session.Closed) -> None:
        """Our side ends it: `closed` is what the session said to that."""
        self._owner.on_event(self, closed)
        self.flush()

    def drop(self) -> None:
        """Close without another word."""
        self.stop_timers()
        self.idle.set()
        self.connection.close()

    def stop_timers(self) -> None:
        """Hold, keepalive and what was read matter no more."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stop_send_timer()

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
