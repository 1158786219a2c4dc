"""When a neighbour is tried next, and from when on it may come."""

from __future__ import annotations

from bgp_ipvlan.engines.embedded.backoff import NEVER, Backoff


def test_attempts_come_ever_later() -> None:
    """Doubling from a second to fifteen, each with jitter from three quarters on (RFC 4271 10)."""
    one, now, waits = Backoff(), 0.0, []
    for _ in range(7):
        one.attempted(now)
        waits.append(one.wait(now))
        now += waits[-1]

    for wait, most in zip(waits, (1, 2, 4, 8, 15, 15, 15), strict=True):
        assert 0.75 * most <= wait <= most
    assert one.wait(now) <= 0


def test_restarts_are_free_and_flaps_are_not() -> None:
    """Three short sessions are taken for restarts; more of them, or a fault, are held off."""
    one = Backoff()
    held = []
    for _ in range(5):
        one.session_ended(100.0, 99.0, fault=False)
        held.append(one.held(100.0))
    assert held == [False, False, False, True, True]

    one.session_ended(200.0, 100.0, fault=False)
    one.clear()
    one.session_ended(300.0, 299.0, fault=False)
    assert not one.held(300.0)

    one.session_ended(300.0, 299.0, fault=True)
    assert one.held(300.5)
    assert not one.held(302.1)


def test_a_sound_session_forgives() -> None:
    """After one that lasted, a fault does not hold it off."""
    one = Backoff()
    one.session_ended(100.0, 10.0, fault=True)

    assert not one.held(100.0)


def test_hold_until_asked() -> None:
    """Held for good it stays so over faults, until it is cleared."""
    one = Backoff()
    one.hold(NEVER)
    one.flapped(5.0)

    assert one.held(1e9)

    one.clear()

    assert one.wait(5.0) < 0


def test_a_last_word_is_not_overtaken() -> None:
    """After a close the next attempt waits a second, also when it was asked for at once."""
    one = Backoff()
    one.clear()
    one.pause(5.0)

    assert one.wait(5.0) == 1.0
