"""The order of things: what is said first, what is waited for, what is told once."""

from __future__ import annotations

from tests.unit.gobgp import scene as s

ONE, TWO, MINE = map(s.key, ("10.9.0.0/24", "10.9.1.0/24", "10.1.1.0/24"))


@s.plays()
async def test_a_life(w: s.Scene) -> None:
    """What neighbours say is used, what we want is announced, and synced is told once."""
    w.announce(MINE)
    w.say(s.LEFT, ONE)
    w.say(s.RIGHT, ONE, TWO)
    await w.start()
    assert {ONE, TWO} == w.best().keys()
    assert w.events.synced_times == 1
    w.check()
