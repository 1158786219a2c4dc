"""`ports.Engine`, over its life: when all is known, and what a stop and a return look like to others."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from lab import namespace, peers
from tests.interop.scene import (
    INSIDE,
    LATER,
    LEFT,
    OF_RIGHT,
    OURS,
    OURS6,
    THEIRS,
    Engine,
    Scene,
    Watch,
)

NEVER = """
protocol bgp to_nobody {
  local as 64513;
  neighbor 192.0.2.99 as 64512;
  ipv4 { import all; export none; };
  ipv6 { import all; export none; };
  graceful restart on;
}
"""
"""Whom BIRD waits for in vain after a restart, and says nothing to anybody meanwhile."""


@pytest.fixture
def made(engine: Engine) -> Iterator[Scene]:
    """A scene in which nothing runs yet."""
    with namespace.Lab() as lab:
        scene = Scene(lab, engine)
        if engine.gobgp and not engine.spawned:
            scene.gobgpd.start()
        yield scene


def test_synced_when_the_last_has_said_all(made: Scene) -> None:
    """Told once, when the last neighbour's End-of-RIB has come, and then all is there.

    The right one is not there at first. The left one is, but as long as it recovers itself it
    neither announces anything nor says that this is all.
    """
    scene = made
    scene.left.change(extra=f"graceful restart wait 3;\n{NEVER}")
    scene.left.start(restarting=True)
    scene.inside.start()
    scene.start()
    for address in (LEFT, INSIDE):
        scene.wait(lambda a=address: _is_up(scene, a), f"{address} to be up")  # type: ignore[misc]
    assert scene.neighbor(LEFT)["end_of_rib"] is False
    scene.right.start()
    scene.wait(lambda: OF_RIGHT in scene.prefixes(), "the right one's route")
    assert scene.ours.events("synced") == []
    scene.ours.wait_synced()
    assert scene.ours.events("synced")[0]["prefixes"] == len(THEIRS)
    assert scene.neighbor(LEFT)["end_of_rib"] is True
    # Nothing that comes later is a second time.
    scene.right.stop()
    scene.wait(lambda: OF_RIGHT not in scene.prefixes(), "the right one's route to go")
    scene.right.start()
    scene.ready()
    assert len(scene.ours.events("synced")) == 1


def test_synced_at_the_deadline(engine: Engine) -> None:
    """A neighbour that does not come is waited for until the deadline, not longer, not shorter."""
    with namespace.Lab() as lab:
        scene = Scene(lab, engine, speaker={"sync_deadline": 2})
        if engine.gobgp and not engine.spawned:
            scene.gobgpd.start()
        for bird in (scene.left, scene.inside):
            bird.start()
        begun = time.monotonic()
        scene.start()
        scene.wait(lambda: scene.prefixes() == THEIRS - {OF_RIGHT}, "the other two's routes")
        early = time.monotonic() < begun + 2 and scene.ours.events("synced")
        assert not early
        scene.ours.wait_synced()
        assert 2 <= time.monotonic() - begun < 12
        assert scene.ours.events("synced")[0]["prefixes"] == len(THEIRS) - 1
        scene.right.start()
        scene.ready()
        assert len(scene.ours.events("synced")) == 1


def test_synced_without_neighbors(engine: Engine) -> None:
    """Where nobody is configured all is known at once."""
    with namespace.Lab() as lab:
        scene = Scene(lab, engine, neighbors=())
        if engine.gobgp and not engine.spawned:
            scene.gobgpd.start()
        scene.start()
        namespace.wait_until(lambda: scene.ours.events("synced"), "synced", timeout=5)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stop", "kill"])
def test_restart(made: Scene, how: signal.Signals) -> None:
    """Stopped without withdraw, or killed: nobody loses a route of ours, not in their kernel either.

    When we are back what is announced no more goes, what is new comes, and all is known again.
    """
    scene = made
    scene.left.change(install=True)
    scene.up()
    watch = Watch(scene.left.host)
    scene.ours.process.signal(how)
    status = scene.ours.process.wait()
    assert status == (0 if how is signal.SIGTERM else -how)
    assert "Traceback" not in scene.ours.process.output()
    for bird in scene.birds:
        assert bird.learned(OURS) is not None
        assert bird.learned(OURS6) is not None

    scene.start(OURS, LATER, restarted=True)
    scene.ours.wait_synced()
    assert scene.ours.events("synced")[0]["prefixes"] == len(THEIRS)
    for bird, address in scene.each():
        peers.wait_established(bird, address)
        peers.wait_learned(bird, LATER)
        peers.wait_forgotten(bird, OURS6)
        namespace.wait_until(
            lambda b=bird: not peers.wait_learned(b, OURS).stale,  # type: ignore[misc]
            "our route to be fresh",
        )
    assert scene.prefixes() == THEIRS
    lost = [line for line in watch.lines() if line.startswith("Deleted")]
    assert [line for line in lost if OURS in line] == []
    assert [line for line in lost if OURS6 in line] != []


def test_stop_with_withdraw(made: Scene) -> None:
    """All is taken back and all hear why; nothing is kept. The next life begins like the first."""
    scene = made
    scene.up()
    assert scene.ours.leave() == 0
    assert "Traceback" not in scene.ours.process.output()
    for bird, address in scene.each():
        for prefix in (OURS, OURS6):
            peers.wait_forgotten(bird, prefix, timeout=3)
        namespace.wait_until(lambda b=bird, a=address: not b.established(a), "the end")  # type: ignore[misc]
        assert "Administrative shutdown" in bird.notification(address)
    scene.start()
    scene.ready()


def _is_up(scene: Scene, address: str) -> bool:
    return bool(scene.neighbor(address)["state"] == "Established")
