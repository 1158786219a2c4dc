"""When a neighbour may be tried next, and from when on it may come itself. Pure; times in seconds.

Hosts come and go together in a rack: attempts follow soon, but not in step, and ever later
where they end at once.
"""

from __future__ import annotations

import random

NEVER = float("inf")
_FIRST, _LAST = 1.0, 15.0
"""Between attempts, doubling, with jitter (RFC 4271 section 10)."""
_SOUND = 30.0
"""A session that held so long was a good one: the next attempt may follow soon."""
_MOST_SHORT = 3
"""So many shorter ones in a row are taken for restarts."""


class Backoff:
    """See the module. All instants are of one clock."""

    def __init__(self) -> None:
        self.idle_until = -NEVER
        """Idle hold (RFC 4271 section 8.1.1): until then its connections are refused."""
        self._attempt_at = -NEVER
        self._delay = _FIRST
        self._short = 0

    def held(self, now: float) -> bool:
        """Whether it is idle by now."""
        return now < self.idle_until

    def wait(self, now: float) -> float:
        """How long until the next attempt; not above 0 is now."""
        return max(self.idle_until, self._attempt_at) - now

    def hold(self, until: float) -> None:
        """Be idle until then, whatever comes."""
        self.idle_until = until

    def clear(self) -> None:
        """Try now."""
        self.idle_until = self._attempt_at = -NEVER
        self._delay = _FIRST

    def pause(self, now: float) -> None:
        """A connection is just being closed: a new one must not overtake its last word."""
        self._attempt_at = max(self._attempt_at, now + _FIRST)

    def attempted(self, now: float) -> None:
        """A connection was tried. Also one that stood: what ended at once will do so again."""
        self._attempt_at = now + self._delay * random.uniform(0.75, 1.0)
        self._grow()

    def session_ended(self, now: float, up_at: float, *, fault: bool) -> None:
        """An established session is over.

        Args:
            now: the time.
            up_at: when it came up.
            fault: one side broke the protocol.
        """
        if now - up_at > _SOUND:
            self._delay, self._short = _FIRST, 0
            return
        self._short += 1
        # A restart or two is nobody's fault; sessions that end again and again are, and may
        # cost neither us nor those we tell much.
        if fault or self._short > _MOST_SHORT:
            self.flapped(now)
        else:
            self._delay = _FIRST

    def flapped(self, now: float) -> None:
        """It ended in a way that the next attempt will likely end in too."""
        self.idle_until = max(self.idle_until, now + self._delay)
        self._grow()

    def _grow(self) -> None:
        self._delay = min(self._delay * 2, _LAST)
