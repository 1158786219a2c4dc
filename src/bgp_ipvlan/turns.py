"""Much work on the loop, cut so that nobody else waits long for his turn (D7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

_T = TypeVar("_T")

_TURN = 0.003
"""Seconds after which the loop gets its turn."""


async def slices(items: list[_T], size: int) -> AsyncIterator[list[_T]]:
    """Cut a list in slices; the loop gets its turn when some have taken their time.

    Args:
        items: not changed meanwhile.
        size: of a slice, so that one alone takes well under 5 ms.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + _TURN
    for start in range(0, len(items), size):
        yield items[start : start + size]
        if loop.time() > end:
            await asyncio.sleep(0)
            end = loop.time() + _TURN
