"""Taking this host out of the routing for a while: announced, waited for, done, remembered.

First everything we announce is marked GRACEFUL_SHUTDOWN (RFC 8326), so that the others move
their traffic where there is another way; then it is withdrawn and the sessions end with a
Cease that says why (RFC 9003). It is remembered before it begins: a daemon that is started
again, however it ended, comes up shut down.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import time
from typing import Any

from bgp_ipvlan import errors, model, ports
from bgp_ipvlan import state as state_

log = logging.getLogger("bgp_ipvlan")

WAIT = 10.0
"""Seconds between the mark and the end, unless said otherwise."""
LONGEST = 3600.0
MESSAGE_OCTETS = 255
"""Of a shutdown communication (RFC 9003 section 2)."""
_META = "drained"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is."""

    since: float
    """Unix time."""
    message: str
    until: float
    """Unix time at which the sessions end."""
    done: bool


def check_message(text: str) -> str:
    """Refuse a shutdown communication that does not fit into a NOTIFICATION.

    Raises:
        errors.BadRequest: `long-message`.
    """
    octets = len(text.encode())
    if octets > MESSAGE_OCTETS:
        raise errors.BadRequest(
            "long-message",
            f"--message has {octets} octets, a NOTIFICATION holds {MESSAGE_OCTETS} (RFC 9003)",
        )
    return text


class Drain:
    """See the module.

    Args:
        state: where it is remembered.
        engine: who speaks.
    """

    def __init__(self, state: state_.State, engine: ports.Engine) -> None:
        self._state = state
        self._engine = engine
        self._task: asyncio.Task[None] | None = None
        self.progress: Progress | None = None
        """None while this host takes part."""

    async def restore(self) -> None:
        """Before the engine starts: be shut down if that was the last word."""
        text = self._state.meta(_META)
        if not text:
            return
        kept: dict[str, Any] = json.loads(text)
        self.progress = Progress(
            since=kept["since"], message=kept["message"], until=kept["since"], done=True
        )
        await self._engine.shutdown(message=self.progress.message)
        log.warning("drained, as before the start: `bgp-ipvlan undrain` ends it reason=drained")

    async def begin(self, *, wait: float, message: str) -> None:
        """Mark, and after `wait` seconds withdraw and Cease. Begun again, the new values count.

        Raises:
            errors.BadRequest: `long-message`, `bad-value`.
            errors.StateError: it cannot be remembered; then nothing has begun.
        """
        check_message(message)
        if not 0 <= wait <= LONGEST:
            raise errors.BadRequest("bad-value", f"--wait {wait:g}: 0 to {LONGEST:g} seconds")
        if self.progress is not None and self.progress.done:
            return
        if not any(n.state is model.SessionState.ESTABLISHED for n in self._engine.neighbors()):
            wait = 0.0  # nobody there to move traffic
        now = time.time()
        await self._state.set_meta(_META, json.dumps({"since": now, "message": message}))
        await self.close()
        self.progress = Progress(since=now, message=message, until=now + wait, done=False)
        self._engine.graceful_shutdown(on=True)
        log.info("draining wait=%g message=%r", wait, message)
        self._task = asyncio.create_task(self._finish(wait, message), name="drain")

    async def _finish(self, wait: float, message: str) -> None:
        await asyncio.sleep(wait)
        await self._engine.shutdown(message=message)
        assert self.progress is not None
        self.progress = dataclasses.replace(self.progress, done=True)
        log.info("drained")

    async def end(self) -> None:
        """Take part again; also in the middle of it.

        Raises:
            errors.Refused: `not-drained`.
            errors.StateError: it cannot be remembered; then nothing has changed.
        """
        if self.progress is None:
            raise errors.Refused("not-drained", "this host is not drained")
        await self._state.set_meta(_META, "")
        await self.close()
        self.progress = None
        self._engine.resume()
        log.info("undrained")

    async def close(self) -> None:
        """Wait no longer; what is remembered stays."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
