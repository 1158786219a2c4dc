"""A loop whose time stands still until a test lets it pass, and which has no threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import Any

_TURNS = 20_000
"""A loop that is not idle after so many turns goes round in a circle."""


class Loop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        """The time that has been let pass, in seconds."""
        return self._now

    def run_in_executor(  # type: ignore[override]  # the base says a coroutine, and returns a future
        self,
        executor: concurrent.futures.Executor | None,  # noqa: ARG002 - nobody's thread
        func: Callable[..., Any],
        *args: Any,
    ) -> asyncio.Future[Any]:
        """Call it here and now: what happens, happens in one order."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is the caller's
            future.set_exception(error)
        return future

    async def idle(self) -> None:
        """Return when nothing can go on without time passing or a test doing something."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            if not self._ready and not self._due():  # type: ignore[attr-defined]  # the base's
                return
        raise AssertionError("the loop never becomes idle")

    def _due(self) -> bool:
        timers = self._scheduled  # type: ignore[attr-defined]  # the base's
        return any(t.when() <= self._now and not t.cancelled() for t in timers)

    async def let_pass(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        end = self._now + seconds
        while True:
            await self.idle()
            timers = [t.when() for t in self._scheduled if not t.cancelled()]  # type: ignore[attr-defined]
            self._now = min([when for when in timers if when > self._now] + [end])
            if self._now >= end:
                self._now = end
                await self.idle()
                return
