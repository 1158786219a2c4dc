"""The timers of a session, by a clock of the test: hold, keepalive, and what OPEN may take."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress

import pytest

from bgp_ipvlan import model
from bgp_ipvlan.bgp import session
from bgp_ipvlan.engines.embedded import link
from tests.unit.bgp.speakers import PREFIX, until
from tests.unit.bgp.test_faults import (
    GOOD,
    KEEPALIVE,
    NEIGHBOR,
    OPEN,
    an_update,
    begin,
    code_of,
    established,
)
from tests.unit.bgp.test_moments import announced, near_and_far, up


def test_hold_time_expires() -> None:
    """RFC 4271 section 6.5, at the negotiated minimum and not before."""
    one = established()

    assert list(one.tick(8.9)) == []

    one.take()
    (event,) = one.tick(9.0)

    assert isinstance(event, session.Closed)
    assert not event.graceful
    assert code_of(one) == (4, 0, b"")


def test_keepalives_go_out_in_time() -> None:
    """One at a third of the hold time, again and again, and each message of theirs moves the end."""
    one = established()
    for number in range(1, 21):
        assert one.deadline == 3.0 * number
        assert list(one.tick(one.deadline)) == []
        assert one.take() == KEEPALIVE
        list(one.receive(KEEPALIVE, 3.0 * number))


def test_hold_time_zero() -> None:
    """RFC 4271 section 4.2: neither side sends KEEPALIVEs and nothing expires."""
    one = begin(dataclasses.replace(NEIGHBOR, hold_time=0))
    list(one.receive(OPEN.encode() + KEEPALIVE, 0.0))

    assert one.state is model.SessionState.ESTABLISHED
    assert one.deadline == float("inf")


def test_open_that_does_not_come() -> None:
    """A connection on which nothing is said is given up after OPEN_WAIT, not sooner."""
    one = begin()

    assert list(one.tick(session.OPEN_WAIT - 0.1)) == []

    (event,) = one.tick(session.OPEN_WAIT)

    assert isinstance(event, session.Closed)
    assert code_of(one)[0] == 4


def test_keepalive_that_does_not_come() -> None:
    """With hold time 0 too, a neighbour that stops after its OPEN is given up."""
    one = begin(dataclasses.replace(NEIGHBOR, hold_time=0))
    list(one.receive(OPEN.encode(), 5.0))
    one.take()

    assert list(one.tick(5.0 + session.OPEN_WAIT - 0.1)) == []

    (event,) = one.tick(5.0 + session.OPEN_WAIT)

    assert isinstance(event, session.Closed)
    assert code_of(one)[0] == 4


def test_what_is_taken_in_late_takes_no_time_back() -> None:
    """Two UPDATEs read at 1 s, the second worked off at 20 s: the hold time runs from 20 s on."""
    one = established()
    late = one.receive(an_update(GOOD) * 2, 1.0)
    next(late)
    one.heard(20.0)
    assert len(list(late)) == 1

    assert list(one.tick(28.9)) == []
    (event,) = one.tick(29.0)
    assert isinstance(event, session.Closed)


async def test_session_outlives_our_own_slowness(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read takes longer than the hold time to work off: the neighbour gets to speak first."""
    loop = asyncio.get_running_loop()
    real, lost = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + lost)
    prefixes = [
        ipaddress.ip_network(f"10.9.{number}.0/24") for number in range(link._MOST_EVENTS + 2)
    ]
    async with near_and_far() as (near, far):
        wire = await up(near, far)
        told = near.seen.best_paths

        def slowly(change: model.BestPaths) -> None:
            nonlocal lost
            lost = 20.0
            told(change)

        monkeypatch.setattr(near.seen, "best_paths", slowly)
        wire.say(*(announced(prefix) for prefix in prefixes))
        await until(lambda: near.seen.has(prefixes[-1]), "all that was read")
        wire.say(announced(PREFIX))
        await until(lambda: near.seen.has(PREFIX) or len(near.seen.states) > 1, "the next word")

        assert near.seen.states == [model.SessionState.ESTABLISHED]
        await wire.close()
