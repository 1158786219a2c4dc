"""Routes that are not as we want them: refused by the kernel, or changed by somebody else.

What the kernel refused is tried again, less and less often. What somebody's hand deletes or
changes is put back in the same turn of the loop. But a program that goes against us in a loop
would keep both sides busy and fill the disk with complaints: what was put back `_OFTEN` times in
a period waits with what the kernel refused.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import Counter, defaultdict
from collections.abc import Callable

from bgp_ipvlan import forwarding, model, tell

log = logging.getLogger("bgp_ipvlan")

_RETRY_FIRST, _RETRY_LAST = 0.5, 60.0
"""Seconds until what was refused is tried again."""
_OFTEN = 5
"""So often in a period a route is put back at once."""
_PERIOD_FIRST, _PERIOD_LAST = 10.0, 640.0
"""Seconds; a period with a fight is followed by one twice as long."""
_LINES = 20
"""Repairs that are told of one by one, in a period."""


@dataclasses.dataclass(slots=True)
class Counters:
    """What happened since the start, for status and metrics."""

    audits: int = 0
    repaired: int = 0
    failed: int = 0
    overflows: int = 0


class Repairs:
    """See the module.

    Args:
        forwarding: the books.
        counters: of the loop.
        audit: has the kernel read back.
    """

    def __init__(
        self, forwarding: forwarding.Forwarding, counters: Counters, *, audit: Callable[[], None]
    ) -> None:
        self._forwarding = forwarding
        self._counters = counters
        self._audit = audit
        self._delay = 0.0
        """Until the next try, as the timer was set."""
        self._timer: asyncio.TimerHandle | None = None
        """Unset while nothing waits for a try."""
        self._fresh: list[model.RouteFailure] = []
        """Refused for the first time; they have a try of their own."""
        self._once: asyncio.TimerHandle | None = None
        self._news: dict[model.Table, dict[model.Nlri, bool]] = defaultdict(dict)
        """Routes touched in this turn, and whether there is something now."""
        self._turn: asyncio.Handle | None = None
        self._period = _PERIOD_FIRST
        self._end: asyncio.TimerHandle | None = None
        self._begin()

    def stop(self) -> None:
        """Try and repair nothing more."""
        for timer in (self._timer, self._once, self._turn, self._end):
            if timer is not None:
                timer.cancel()

    # --- refused ---------------------------------------------------------------------------

    def failed(self, failures: list[model.RouteFailure]) -> None:
        """The kernel refused routes: the books learn it; they are tried again later."""
        self._counters.failed += len(failures)
        news = [failure for failure in failures if not self._forwarding.failed(failure)]
        tell.failed(news)
        if news:
            # What is refused for the first time does not wait with what is refused for ever.
            self._fresh += news
            if self._once is None:
                loop = asyncio.get_running_loop()
                self._once = loop.call_later(_RETRY_FIRST, self._retry_once)
        self._retry_soon()
        if any(f.reason == "foreign-route" and not self._forwarding.is_taken(f) for f in failures):
            # By nobody we know of, so by ourselves: we heard late that it was deleted, and had
            # put it back meanwhile.
            self._look()

    def _retry_once(self) -> None:
        self._once = None
        fresh, self._fresh = self._fresh, []
        self._forwarding.retry_once(fresh)

    def _retry_soon(self) -> None:
        if self._timer is None:
            self._retry_later(2 * _RETRY_FIRST)

    def _retry_later(self, delay: float) -> None:
        self._delay = delay
        self._timer = asyncio.get_running_loop().call_later(delay, self._retry)

    def _retry(self) -> None:
        self._timer = None
        if self._forwarding.retry():
            self._retry_later(min(self._delay * 2, _RETRY_LAST))

    # --- changed by others -----------------------------------------------------------------

    def touched(self, table: model.Table, prefix: model.Nlri, *, present: bool) -> None:
        """Somebody changed (`present`) or deleted a route of ours."""
        # All of a turn together: `ip route flush` is one batch, and one line in the log.
        self._news[table][prefix] = present
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._repair)

    def object_touched(self) -> None:
        """Somebody changed or deleted a nexthop object: only reading tells which routes are left."""
        self._look()

    def _look(self) -> None:
        """Have the kernel read, at once if that was not needed too often in this period."""
        self._watch()
        self._audits += 1
        if self._audits <= _OFTEN:
            self._audit()
        else:
            self._fights = True  # and looked at when the period ends

    def _repair(self) -> None:
        self._turn = None
        news, self._news = self._news, defaultdict(dict)
        self._watch()
        for table, changed in news.items():
            times = self._times[table]
            for present in (False, True):
                keys = [key for key, there in changed.items() if there is present]
                held = [key for key in keys if times[key] >= _OFTEN]
                if held:
                    keys = [key for key in keys if times[key] < _OFTEN]
                    self._hold(table, held, present=present)
                repaired = self._forwarding.touched(table, keys, present=present)
                times.update(repaired)
                self._counters.repaired += len(repaired)
                self._tell(table, [key for key in repaired if times[key] == 1], len(repaired))

    def _hold(self, table: model.Table, keys: list[model.Nlri], *, present: bool) -> None:
        held = self._forwarding.touched(table, keys, present=present, hold=True)
        if held:
            if not self._fights:
                tell.contested(table, held)
            self._fights = True
            self._retry_soon()

    def _tell(self, table: model.Table, news: list[model.Nlri], count: int) -> None:
        if news and self._lines:
            self._lines -= 1
            tell.repaired(table, news)
            count -= len(news)
        self._untold += count

    # --- periods ---------------------------------------------------------------------------

    def _begin(self) -> None:
        """A period in which nothing has happened yet."""
        self._times: dict[model.Table, Counter[model.Nlri]] = defaultdict(Counter)
        self._audits = 0
        self._fights = False
        self._lines = _LINES
        self._untold = 0

    def _watch(self) -> None:
        """One begins with the first that happens."""
        if self._end is None:
            self._end = asyncio.get_running_loop().call_later(self._period, self._over)

    def _over(self) -> None:
        self._end = None
        if self._untold:
            log.warning(
                "routes repaired count=%d seconds=%d reason=changed-by-others",
                self._untold,
                self._period,
            )
        if self._audits > _OFTEN:
            self._audit()
        self._period = min(self._period * 2, _PERIOD_LAST) if self._fights else _PERIOD_FIRST
        self._begin()
