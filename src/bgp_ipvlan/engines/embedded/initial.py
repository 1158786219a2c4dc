"""When has a neighbour said all, and what of before its restart is forgotten when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from bgp_ipvlan import model
from bgp_ipvlan.bgp import capability

STALE_TIME = 60.0
"""Seconds after its return in which a neighbour must have sent End-of-RIB."""
_QUIET = 3.0
"""A neighbour that promises no End-of-RIB has said all when it was silent for so long."""


class InitialTable:
    """One neighbour's initial table, over all its sessions.

    Args:
        flush_stale: forget what is still marked in a family.
        said_all: called once, when the first table is complete.
    """

    def __init__(
        self,
        *,
        flush_stale: Callable[[model.Family], None],
        said_all: Callable[[], None],
    ) -> None:
        self._flush_stale = flush_stale
        self._said_all = said_all
        self.complete = False
        """It has been, once."""
        self.ended: set[model.Family] = set()
        """Families whose End-of-RIB came in this session."""
        self.refreshing: set[model.Family] = set()
        """Families it is saying once more (RFC 7313)."""
        self._awaited: frozenset[model.Family] = frozenset()
        self._promised = False
        self._stale_timers: dict[model.Family, asyncio.TimerHandle] = {}
        self._quiet_timer: asyncio.TimerHandle | None = None

    def begin(self, agreed: capability.Agreed) -> None:
        """A session is up."""
        self.ended.clear()
        self.refreshing.clear()
        self._awaited = agreed.families
        self._promised = agreed.restart is not None
        kept = agreed.restart.families if agreed.restart else {}
        for family in model.Family:
            # RFC 4724 section 4.2: it did not keep its routes over the restart.
            if not kept.get(family):
                self._flush_stale(family)
        self.hold_stale(STALE_TIME, model.Family)
        self.heard()

    def end_of_rib(self, family: model.Family) -> None:
        """The neighbour has sent a whole family."""
        self.ended.add(family)
        if family not in self.refreshing:
            self._flush_stale(family)
        if self.ended >= self._awaited:
            self.finish()

    def refresh_begun(self, family: model.Family) -> bool:
        """It says a family once more; False where that is to be ignored.

        RFC 7313 section 4: before End-of-RIB, where that was promised.
        """
        if self._promised and family not in self.ended:
            return False
        self.refreshing.add(family)
        self.hold_stale(STALE_TIME, (family,))
        return True

    def refresh_ended(self, family: model.Family) -> None:
        """It has said it; without a beginning that means nothing."""
        if family in self.refreshing:
            self.refreshing.discard(family)
            self._flush_stale(family)

    def heard(self) -> None:
        """Something came: where no End-of-RIB is promised, wait for silence."""
        if self.complete or self._promised:
            return
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
        self._quiet_timer = asyncio.get_running_loop().call_later(_QUIET, self.finish)

    def finish(self) -> None:
        """It has said all, or never will."""
        if not self.complete:
            self.complete = True
            self._said_all()

    def lost(self, keep_seconds: float) -> None:
        """The session is over; stale routes are kept for so long."""
        self.refreshing.clear()
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
        if keep_seconds:
            self.hold_stale(keep_seconds, model.Family)

    def hold_stale(self, seconds: float, families: Iterable[model.Family]) -> None:
        """Forget what is marked stale by then."""
        loop = asyncio.get_running_loop()
        for family in families:
            if family in self._stale_timers:
                self._stale_timers[family].cancel()
            self._stale_timers[family] = loop.call_later(seconds, self._stale_over, family)

    def stop(self) -> None:
        """Time matters no more."""
        for timer in (*self._stale_timers.values(), self._quiet_timer):
            if timer is not None:
                timer.cancel()

    def _stale_over(self, family: model.Family) -> None:
        del self._stale_timers[family]
        self.refreshing.discard(family)
        self._flush_stale(family)
