"""The connection to gobgpd, one after the other, and how long what was learned may be old."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable

from bgp_ipvlan import errors
from bgp_ipvlan.engines.gobgp import api as api_

log = logging.getLogger("bgp_ipvlan")

_RETRY = 0.1
_LONGEST = 5.0
"""Seconds between two tries to reach gobgpd."""
_SOON = 0.2
"""The longest with one of our own."""

Works = Iterable[Coroutine[None, None, None]]


class Life:
    """See the module.

    Args:
        api: gobgpd.
        local_as: the AS number that it has to have; 0 is any.
        patience: seconds that gobgpd has, from its loss and from its return, to know all again.
        quiet: its absence before it first answers is no news: it has just been started.
    """

    def __init__(self, api: api_.Api, *, local_as: int, patience: float, quiet: bool) -> None:
        self._api = api
        self._local_as = local_as
        self._patience = patience
        self._quiet = quiet
        self.works: Callable[[], Works] = lambda: ()
        """What is to be done while gobgpd is there; each ends with `gobgp-unreachable`."""
        self.on_lost: Callable[[], None] = lambda: None
        self.on_complete: Callable[[], None] = lambda: None
        """Told once for each time that gobgpd was away: all is known again, or time is up."""
        self.is_there = False
        self.since = time.time()
        """Unix time since which it is there, or not."""
        self.trouble: errors.EngineError | None = None
        """Why it is not there."""
        self.answered = asyncio.Event()
        """It has answered once; perhaps with what makes it none for us."""
        self.mismatch: errors.EngineError | None = None
        self._old_since: float | None = None
        """The loop's time since which something may be old; None where nothing is."""
        self._deadline: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Reach gobgpd, and do the work, for ever."""
        loop = asyncio.get_running_loop()
        self._old_since = loop.time()
        self._set_deadline()
        wait, said = _RETRY, ""
        while True:
            began = loop.time()
            try:
                await self._reach()
                said = ""
                await self._work()
            except errors.EngineError as error:
                self._note(error, said)
                said = error.reason
            except Exception:
                log.exception("internal error in the engine, beginning anew reason=internal-error")
            self._lost()
            longest = _SOON if self._quiet else _LONGEST
            wait = _RETRY if loop.time() - began > _LONGEST else min(2 * wait, longest)
            await asyncio.sleep(wait)

    def close(self) -> None:
        """Time matters no more."""
        if self._deadline is not None:
            self._deadline.cancel()

    def _note(self, error: errors.EngineError, said: str) -> None:
        if self._quiet and error.reason == "gobgp-unreachable":
            error = errors.EngineError(error.reason, "ours has ended; it is started again")
        self.trouble = error
        # Once for each time.
        if error.reason != said and (self.answered.is_set() or not self._quiet):
            log.warning("no gobgpd to work with reason=%s error=%s", error.reason, error)
        if error.reason == "gobgp-as" and not self.answered.is_set():
            self.mismatch = error
            self.answered.set()

    async def _reach(self) -> None:
        speaker = await self._api.connect()
        if not speaker.local_as:
            raise errors.EngineError(
                "gobgp-unconfigured",
                "gobgpd has no AS number yet: give it a configuration file, or "
                "`gobgp global as NUMBER router-id ADDRESS`",
            )
        if self._local_as and speaker.local_as != self._local_as:
            raise errors.EngineError(
                "gobgp-as",
                f"gobgpd's AS number is {speaker.local_as}, ours {self._local_as}: start the daemon "
                f"with --as {speaker.local_as}",
            )
        log.info(
            "gobgpd reached as=%d router_id=%s api=%s",
            speaker.local_as,
            speaker.router_id,
            speaker.version,
        )

    async def _work(self) -> None:
        self.is_there, self.since, self.trouble = True, time.time(), None
        self._set_deadline()
        self.answered.set()
        tasks = [asyncio.create_task(work) for work in self.works()]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()  # raises what ended it

    def _lost(self) -> None:
        """Lose gobgpd: what was learned stays for a while."""
        if not self.is_there:
            return
        self.is_there, self.since = False, time.time()
        self.on_lost()
        if self._old_since is None:
            self._old_since = asyncio.get_running_loop().time()
        self._set_deadline()

    def _set_deadline(self) -> None:
        """However often it is lost and comes back: twice the patience is the end."""
        if self._old_since is None:
            return
        self.close()
        loop = asyncio.get_running_loop()
        last = self._old_since + 2 * self._patience
        at = min(loop.time() + self._patience, last)
        self._deadline = loop.call_at(at, self.complete)

    def complete(self) -> None:
        """All is known that there is to know, or it took too long."""
        if self._old_since is not None:
            self._old_since = None
            self.close()
            self.on_complete()


async def quietly(work: Coroutine[None, None, None]) -> None:
    """Do what nobody waits for; gobgpd's refusal is logged."""
    try:
        await work
    except errors.EngineError as error:
        log.warning("gobgpd refused reason=%s error=%s", error.reason, error)
