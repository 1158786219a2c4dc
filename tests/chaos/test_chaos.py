"""Everything at once, against the daemon as it runs: at rest the kernel is as it must be.

`CHAOS_SEED` and `CHAOS_TIME` (seconds) in the environment say which run, and how long. A seed is a
run; every kind of action happens at least once, however short the time.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from lab import namespace
from tests.chaos import actions, rest
from tests.chaos.world import World

SEED = int(os.environ.get("CHAOS_SEED") or 1)
SECONDS = float(os.environ.get("CHAOS_TIME") or 40)


@pytest.fixture
def world() -> Iterator[World]:
    """Everybody up, nothing said."""
    with namespace.Lab() as lab:
        found = World(lab)
        try:
            yield found
        finally:
            found.close()


@pytest.mark.timeout(SECONDS * 3 + 1200)
def test_chaos(world: World) -> None:
    """Whatever happens: our routes are those of the RIB, others' are untouched, and all goes."""
    rng = random.Random(SEED)
    log = [f"CHAOS_SEED={SEED} CHAOS_TIME={SECONDS:.0f}"]
    try:
        world.start()
        rest.settle(world)
        _run(world, rng, log)
        _end(world, rng, log)
    except Exception as error:
        error.add_note("\n".join([*log, "--- the daemon:", world.daemon.log()[-40000:]]))
        raise
    assert "Traceback" not in world.daemon.log()


def _run(world: World, rng: random.Random, log: list[str]) -> None:
    deadline = time.monotonic() + SECONDS
    cards = actions.deck(rng)
    first = True
    while first or time.monotonic() < deadline:
        for _ in range(min(rng.randrange(1, 5), len(cards))):
            card = cards.pop()
            log.append(f"{card.do.__name__}?")
            # One of its own: what it draws may hang on the kernel, what comes after must not.
            log[-1] = f"{card.do.__name__}: {card.do(world, random.Random(rng.random()))}"
        log.append("rest?")
        rest.settle(world)
        log[-1] = "rest"
        if not cards:
            cards, first = actions.deck(rng), False


def _end(world: World, rng: random.Random, log: list[str]) -> None:
    """A stop, with what stays and what not; then a cleanup, after which nothing is left."""
    withdraw = rng.random() < 0.5
    log.append(f"stop {'--withdraw' if withdraw else ''}")
    world.daemon.stop_command(*(["--withdraw"] if withdraw else []))
    if withdraw:
        assert list(rest.still_learned(world)) == []
    log.append("cleanup")
    world.daemon.run("cleanup", "--state-dir", str(world.us.directory / "state"))
    assert list(rest.left_behind(world)) == []
