"""`ports.Engine`, neighbours: configured, reset, shut, and shown as they are; BIRD is the witness."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab import namespace, peers
from tests.interop.scene import (
    ALL_ADDRESSES,
    AS,
    ATTACHED_3,
    INSIDE,
    LATER,
    LEFT,
    LEFT_AS,
    NEIGHBORS,
    OF_LEFT,
    OF_LEFT6,
    OURS,
    RIGHT,
    RIGHT6,
    RIGHT_AS,
    THEIRS,
    TO_INSIDE,
    TO_LEFT,
    TO_RIGHT,
    US,
    US6,
    Scene,
    cannot,
    sessions,
)

TO_US = "to_192_0_2_1"
WORDS = "moving to rack 12 – see the plan"


@pytest.fixture
def others(scene: Scene) -> Iterator[Scene]:
    """The scene; at the end all but the left neighbour have noticed nothing."""
    before = [(sessions(bird), bird.withdrawals(us)) for bird, us in scene.each()[1:]]
    yield scene
    assert [(sessions(bird), bird.withdrawals(us)) for bird, us in scene.each()[1:]] == before


def test_shown_while_established(scene: Scene) -> None:
    """State, since when, both ends, what was negotiated, and counters."""
    expected = {
        "address": RIGHT6,
        "remote_as": RIGHT_AS,
        "state": "Established",
        "local_as": AS,
        "local_address": US6,
        "router_id": RIGHT,
        "hold_time": 9,
        "received": 1,
        "refused": 0,
        "sent": 2,
        "end_of_rib": True,
        "graceful_restart": True,
        "stale": 0,
        "idle_reason": "",
        "password": False,
        "dynamic": False,
        "families": [1, 2],
    }
    scene.wait(lambda: expected.items() <= scene.neighbor(RIGHT6).items(), "all to be counted")
    found = scene.neighbor(RIGHT6)
    assert {"route-refresh", "graceful-restart", "four-octet-as"} & set(found["capabilities"])
    assert 0 <= time.time() - found["since"] < 120
    inside = scene.neighbor(INSIDE)
    assert (inside["remote_as"], inside["local_address"]) == (AS, US)
    assert {one["address"] for one in scene.order("neighbors")} == {LEFT, RIGHT6, INSIDE}


def test_counters_move(scene: Scene) -> None:
    """What is received and sent is counted."""
    scene.left.announce("10.10.0.0/16")
    scene.announce(LATER)
    scene.wait(lambda: scene.neighbor(LEFT)["received"] == 3, "one more received")
    scene.wait(lambda: scene.neighbor(LEFT)["sent"] == 3, "one more sent")
    scene.left.withdraw("10.10.0.0/16")
    scene.withdraw(LATER)
    scene.wait(lambda: scene.neighbor(LEFT)["received"] == 2, "one less received")
    scene.wait(lambda: scene.neighbor(LEFT)["sent"] == 2, "one less sent")


def test_refused_paths_are_counted(scene: Scene) -> None:
    """What import rules refuse is received all the same, and shown as refused."""
    strict = {**TO_LEFT, "import_rules": [f"{OF_LEFT} le 24"]}
    scene.order("configure", neighbors=[strict, TO_RIGHT, TO_INSIDE])
    counted = {"received": 2, "refused": 1}
    scene.wait(lambda: counted.items() <= scene.neighbor(LEFT).items(), "it to be counted")


def test_shown_while_down(others: Scene) -> None:
    """Who is not there has a state and no session's values; the end is told once, and the return."""
    scene, told = others, len(others.ours.events("neighbor"))
    scene.left.ctl(f"disable {TO_US}")
    scene.wait(lambda: scene.neighbor(LEFT)["state"] != "Established", "the end")
    found = scene.neighbor(LEFT)
    assert found["remote_as"] == LEFT_AS
    assert (found["received"], found["sent"], found["hold_time"]) == (0, 0, 0)
    assert (found["families"], found["local_address"], found["end_of_rib"]) == ([], None, False)
    (event,) = scene.ours.events("neighbor")[told:]
    assert event["address"] == LEFT
    assert event["state"] != "Established"
    scene.left.ctl(f"enable {TO_US}")
    scene.wait(lambda: len(scene.ours.events("neighbor")) == told + 2, "the return to be told")
    assert scene.ours.events("neighbor")[-1]["state"] == "Established"


def test_reason_of_the_end(scene: Scene) -> None:
    """What the neighbour said when it ended the session is told."""
    cannot(scene, "GoBGP 3 does not tell")
    told = len(scene.ours.events("neighbor"))
    scene.left.ctl(f"disable {TO_US}")
    scene.wait(lambda: len(scene.ours.events("neighbor")) > told, "the end")
    assert "administrative shutdown" in scene.ours.events("neighbor")[told]["detail"].lower()


def test_configure_removes_and_adds(others: Scene) -> None:
    """One that is no longer wanted hears so, and its paths go; wanted again, it is back."""
    scene = others
    scene.order("gone")
    scene.order("configure", neighbors=[TO_RIGHT, TO_INSIDE])
    scene.wait(lambda: scene.prefixes() == THEIRS - {OF_LEFT, OF_LEFT6}, "its paths to go")
    namespace.wait_until(
        lambda: "Peer de-configured" in scene.left.notification(US), "BIRD to be told"
    )
    assert scene.neighbor(LEFT) == {}
    assert set(scene.order("gone")) == {OF_LEFT, OF_LEFT6}
    peers.wait_forgotten(scene.left, OURS)
    scene.order("configure", neighbors=NEIGHBORS)
    peers.wait_learned(scene.left, OURS)
    scene.wait(lambda: scene.prefixes() == THEIRS, "its paths to be back")


def test_connects(others: Scene, request: pytest.FixtureRequest) -> None:
    """A neighbour that waits to be connected to is connected to."""
    scene, before = others, sessions(others.left)
    _to_us(scene, passive=True)
    request.addfinalizer(lambda: _to_us(scene))
    scene.order("configure", neighbors=[TO_RIGHT, TO_INSIDE])
    scene.wait(lambda: scene.neighbor(LEFT) == {}, "it to be removed")
    scene.order("configure", neighbors=NEIGHBORS)
    namespace.wait_until(lambda: sessions(scene.left) > before, "the session")
    peers.wait_learned(scene.left, OURS)


def test_configure_changes_one(others: Scene) -> None:
    """New values that the session cannot go on with: it ends, and comes back with them."""
    scene, before = others, sessions(others.left)
    changed = {**TO_LEFT, "hold_time": 6, "keepalive": 2}
    scene.order("configure", neighbors=[changed, TO_RIGHT, TO_INSIDE])
    # GoBGP 3 rests for 30 s in between.
    namespace.wait_until(
        lambda: scene.neighbor(LEFT).get("hold_time") == 6, "the new hold time", timeout=60
    )
    assert sessions(scene.left) == before + 1
    peers.wait_learned(scene.left, OURS)


def test_configure_the_same(others: Scene) -> None:
    """Who is as before notices nothing, the left one neither; a description is no reason."""
    scene, before = others, (sessions(others.left), others.left.withdrawals(US))
    described = {**TO_LEFT, "description": "top of rack"}
    for left in (TO_LEFT, described):
        scene.order("configure", neighbors=[left, TO_RIGHT, TO_INSIDE])
    scene.announce(LATER)
    peers.wait_learned(scene.left, LATER)
    scene.wait(lambda: scene.neighbor(LEFT)["description"] == "top of rack", "it to be shown")
    assert (sessions(scene.left), scene.left.withdrawals(US)) == before


def test_range(others: Scene) -> None:
    """Who is in a range and connects is a neighbour, shown as such; it goes with the range."""
    scene = others
    template = {"address": "192.0.2.0", "remote_as": LEFT_AS, "passive": True}
    ranges = [{"prefix": "192.0.2.0/29", "template": template}]
    scene.order("configure", neighbors=[TO_RIGHT, TO_INSIDE], dynamic=ranges)
    found = {"state": "Established", "dynamic": True}
    scene.wait(lambda: found.items() <= scene.neighbor(LEFT).items(), "it to connect")
    peers.wait_learned(scene.left, OURS)
    scene.wait(lambda: scene.prefixes() == THEIRS, "its paths")
    scene.order("configure", neighbors=[TO_RIGHT, TO_INSIDE])
    scene.wait(lambda: scene.neighbor(LEFT) == {}, "it to go")
    scene.wait(lambda: scene.prefixes() == THEIRS - {OF_LEFT, OF_LEFT6}, "its paths to go")


def test_soft_reset(others: Scene) -> None:
    """ROUTE-REFRESH: BIRD says all of it again, on the same session, and nothing changes here."""
    cannot(others, "it never sends ROUTE-REFRESH, it keeps what neighbours said and looks again")
    scene, before = others, sessions(others.left)
    scene.order("gone")
    said = _exported(scene.left)
    assert scene.order("reset", address=LEFT, soft=True) is None
    namespace.wait_until(lambda: _exported(scene.left) >= said + 2, "BIRD to say all again")
    assert sessions(scene.left) == before
    assert scene.order("gone") == []


def test_reset_in_vain(scene: Scene) -> None:
    """Of whom nobody has heard, or of whom nothing can be asked: refused, with the reason."""
    assert scene.order("reset", address="192.0.2.99")["reason"] == "unknown-neighbor"
    scene.left.ctl(f"disable {TO_US}")
    scene.wait(lambda: scene.neighbor(LEFT)["state"] != "Established", "the end")
    assert scene.order("reset", address=LEFT, soft=True)["reason"] == "not-established"
    scene.left.ctl(f"enable {TO_US}")


def test_too_many_prefixes(others: Scene) -> None:
    """A neighbour that says more than it may loses its session and its paths, until it is reset."""
    scene = others
    limited = {**TO_LEFT, "max_prefixes": 3}
    scene.order("configure", neighbors=[limited, TO_RIGHT, TO_INSIDE])
    peers.wait_established(scene.left, US)
    scene.wait(lambda: scene.prefixes() == THEIRS, "its paths")
    scene.left.originate(OF_LEFT, OF_LEFT6, *(f"10.{n}.0.0/16" for n in range(10, 14)))
    scene.wait(lambda: scene.neighbor(LEFT)["idle_reason"] == "max-prefixes", "the session's end")
    scene.wait(lambda: scene.prefixes() == THEIRS - {OF_LEFT, OF_LEFT6}, "its paths to go")
    namespace.wait_until(
        lambda: "Maximum number of prefixes" in scene.left.notification(US), "BIRD to be told"
    )
    assert not scene.left.established(US)
    scene.left.originate(OF_LEFT, OF_LEFT6)
    scene.order("reset", address=LEFT)
    scene.wait(lambda: scene.prefixes() == THEIRS, "its paths to be back")
    assert scene.neighbor(LEFT)["idle_reason"] == ""


def test_own_address_goes(scene: Scene) -> None:
    """A session whose own address is on no link that is up ends at once, before any timer; no other."""
    cannot(scene, "its sessions are its own affair, and it notices by the hold time")
    rest = [address for address in ALL_ADDRESSES if address != US6]
    before = len(scene.ours.events("neighbor"))
    came_up = [sessions(bird) for bird in (scene.left, scene.inside)]
    scene.order("surroundings", addresses=rest)
    scene.wait(lambda: len(scene.ours.events("neighbor")) > before, "the end")
    event = scene.ours.events("neighbor")[before]
    assert (event["address"], event["state"] != "Established") == (RIGHT6, True)
    scene.order("surroundings", addresses=ALL_ADDRESSES)
    scene.ready()
    assert came_up == [sessions(bird) for bird in (scene.left, scene.inside)]


def test_shutdown_and_resume(scene: Scene) -> None:
    """All is withdrawn and all hear why; nobody is talked to until `resume`."""
    scene.order("graceful_shutdown", on=True)
    scene.order("shutdown", message=WORDS)
    for bird, us in scene.each():
        peers.wait_forgotten(bird, OURS)
        assert not bird.established(us)
        assert "Administrative shutdown" in bird.notification(us)
        assert WORDS in bird.process.output()
    scene.wait(lambda: scene.prefixes() == set(), "all paths to go")
    scene.order("configure", neighbors=NEIGHBORS[:2])
    idle = [("Idle", "shutdown")] * 2
    scene.wait(
        lambda: idle == [(one["state"], one["idle_reason"]) for one in scene.order("neighbors")],
        "the other two to be idle",
    )
    scene.announce(LATER)
    scene.order("resume")
    for bird in scene.birds[:2]:
        assert peers.wait_learned(bird, LATER).communities == frozenset()
        peers.wait_learned(bird, OURS)


def test_password(others: Scene, request: pytest.FixtureRequest) -> None:
    """With one on our side alone there is no session; with the same on both the kernel signs it."""
    # One of the last tests: gobgpd's listener goes on asking for the key when there is none any more.
    scene = others
    secret = {**TO_LEFT, "password": "correct-horse"}
    scene.order("configure", neighbors=[secret, TO_RIGHT, TO_INSIDE])
    scene.wait(lambda: scene.neighbor(LEFT)["state"] != "Established", "the end")
    _to_us(scene, password="correct-horse")
    request.addfinalizer(lambda: _to_us(scene))
    scene.wait(lambda: scene.neighbor(LEFT)["state"] == "Established", "the session")
    assert scene.neighbor(LEFT)["password"] is True
    signed = scene.host.run("ss", "-Htni", "state", "established").stdout
    assert signed.count("md5keys") == 1
    assert "correct-horse" not in str(scene.order("neighbors"))
    assert "correct-horse" not in scene.ours.process.output()


def test_reset(scene: Scene) -> None:
    """Hard: Cease, administrative reset, with the message; it is told, and comes back."""
    # The last test of all, since GoBGP 3 rests after it.
    told = len(scene.ours.events("neighbor"))
    scene.order("reset", address=LEFT, message=WORDS)
    namespace.wait_until(
        lambda: "Administrative reset" in scene.left.notification(US), "BIRD to be told"
    )
    assert WORDS in scene.left.process.output()
    scene.wait(lambda: len(scene.ours.events("neighbor")) > told, "the end to be told")
    assert scene.ours.events("neighbor")[told]["address"] == LEFT
    if scene.engine is ATTACHED_3:
        pytest.skip("all but the return: GoBGP 3 rests for 30 s, whatever its API is told")
    peers.wait_learned(scene.left, OURS)
    scene.wait(lambda: scene.prefixes() == THEIRS, "its paths to be back")


def _exported(bird: peers.Bird) -> int:
    """How many routes BIRD has told us so far, again and again."""
    shown = bird.ctl(f"show protocols all {TO_US}")
    return sum(map(int, re.findall(r"Export updates:(?:\s+\S+){4}\s+(\d+)", shown)))


def _to_us(scene: Scene, **more: Any) -> None:
    """How the left neighbour's side of our session is configured."""
    neighbor = peers.Neighbor(address=US, remote_as=AS, **more)
    scene.left.change(neighbors=(neighbor,))
