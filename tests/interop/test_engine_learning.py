"""`ports.Engine`, learning: what every engine must tell and answer of what BIRD was made to say."""

from __future__ import annotations

import ipaddress

import pytest

from lab import peers
from tests.interop.scene import (
    ALL_ADDRESSES,
    INSIDE,
    INSIDE6,
    LEFT,
    LEFT6,
    LEFT_AS,
    MANY,
    OF_INSIDE,
    OF_LEFT,
    OF_LEFT6,
    OF_RIGHT,
    OURS,
    OURS6,
    RIGHT,
    RIGHT6,
    SHARED,
    THEIRS,
    TO_INSIDE,
    TO_LEFT,
    TO_RIGHT,
    Scene,
    cannot,
    sessions,
)

SHARED6 = "2001:db8:9::/64"


def test_paths_have_their_attributes(scene: Scene) -> None:
    """What came with a path is in it: of whom, next hop, AS path, communities, preference."""
    marked = peers.Originated(
        prefix=SHARED, communities=("64513:1",), large_communities=("64513:1:2",)
    )
    scene.left.originate(OF_LEFT, OF_LEFT6, marked)
    wait_next_hops(scene, SHARED, LEFT)
    (path,) = scene.order("best", prefix=SHARED)
    expected = {
        "neighbor": LEFT,
        "next_hop": LEFT,
        "as_path": [LEFT_AS],
        "as_path_length": 1,
        "communities": [(LEFT_AS << 16) + 1],
        "large_communities": [[64513, 1, 2]],
        "local_pref": 100,
        "med": None,
        "ebgp": True,
        "router_id": int(ipaddress.IPv4Address(LEFT)),
        "path_id": 0,
    }
    assert expected == {name: path[name] for name in expected}
    scene.left.originate(OF_LEFT, OF_LEFT6)
    wait_next_hops(scene, SHARED)


def test_paths_of_both_families_and_both_kinds(scene: Scene) -> None:
    """IPv6 has a global next hop; within our AS the path is empty and no eBGP path."""
    (six,) = scene.order("best", prefix=OF_LEFT6)
    assert (six["neighbor"], six["next_hop"]) == (LEFT, LEFT6)
    (right,) = scene.order("best", prefix=OF_RIGHT)
    assert (right["neighbor"], right["next_hop"]) == (RIGHT6, RIGHT)
    (inside,) = scene.order("best", prefix=OF_INSIDE)
    assert (inside["as_path"], inside["ebgp"], inside["local_pref"]) == ([], False, 100)
    assert set(scene.order("table")["now"]) == THEIRS
    assert scene.order("best", prefix="198.18.0.0/15") == []


@pytest.mark.parametrize(
    ("prefix", "hops"),
    [(SHARED, (LEFT, RIGHT, INSIDE)), (SHARED6, (LEFT6, "2001:db8::3", INSIDE6))],
    ids=["ipv4", "ipv6"],
)
def test_equal_paths_and_preferred_ones(
    scene: Scene, prefix: str, hops: tuple[str, str, str]
) -> None:
    """Equally long AS paths are used together, a shorter one alone; and back again, to none."""
    left, right, inside = hops
    scene.left.announce(prefix)
    wait_next_hops(scene, prefix, left)
    scene.right.announce(prefix)
    wait_next_hops(scene, prefix, left, right)
    scene.inside.announce(prefix)
    wait_next_hops(scene, prefix, inside)
    scene.inside.withdraw(prefix)
    wait_next_hops(scene, prefix, left, right)
    scene.left.withdraw(prefix)
    wait_next_hops(scene, prefix, right)
    scene.right.withdraw(prefix)
    wait_next_hops(scene, prefix)
    assert prefix in scene.order("gone")


@pytest.mark.parametrize("prefix", [OURS, OURS6], ids=["ipv4", "ipv6"])
def test_own_prefix_of_another(scene: Scene, prefix: str) -> None:
    """Who else announces what is ours is told, though we use no path but our own.

    That is what `duplicate-prefix` goes by. We go on announcing it.
    """
    before = scene.right.updates(scene.right.speaker.neighbors[0].address)
    scene.left.announce(prefix)
    wait_next_hops(scene, prefix, LEFT6 if ":" in prefix else LEFT)
    (path,) = scene.order("best", prefix=prefix)
    assert path["as_path"] == [LEFT_AS]
    assert scene.right.learned(prefix) is not None
    assert scene.right.learned(prefix).as_path == (64512,)  # type: ignore[union-attr]
    scene.left.withdraw(prefix)
    wait_next_hops(scene, prefix)
    assert scene.right.updates(scene.right.speaker.neighbors[0].address) == before


def test_others_do_not_hear_of_each_other(scene: Scene) -> None:
    """A host is never transit (D1): what one neighbour says no other learns of us."""
    scene.left.announce(SHARED)
    wait_next_hops(scene, SHARED, LEFT)
    # What is announced now would come after it.
    scene.announce("10.1.9.0/24")
    for bird in (scene.right, scene.inside):
        peers.wait_learned(bird, "10.1.9.0/24")
        assert all(bird.learned(prefix) is None for prefix in (SHARED, OF_LEFT, OF_LEFT6))
    scene.withdraw("10.1.9.0/24")
    scene.left.withdraw(SHARED)
    wait_next_hops(scene, SHARED)


def test_import_rules(scene: Scene) -> None:
    """What no rule lets in is refused with its reason, counted, and comes in when a rule does."""
    scene.left.announce(SHARED)
    wait_next_hops(scene, SHARED, LEFT)
    came_up = [sessions(bird) for bird in scene.birds]
    rules = [f"{OF_LEFT} le 24", "2001:db8::/32 ge 48 le 64"]
    strict = {**TO_LEFT, "import_rules": rules}
    scene.order("configure", neighbors=[strict, TO_RIGHT, TO_INSIDE])
    wait_next_hops(scene, SHARED)
    refusal = {"prefix": SHARED, "neighbor": LEFT, "reason": "import-policy"}
    assert [refusal] == scene.order("refusals")
    assert scene.prefixes() == THEIRS

    scene.left.announce("10.10.0.0/16")
    scene.wait(lambda: len(scene.order("refusals")) == 2, "one more refusal")
    scene.left.withdraw("10.10.0.0/16")
    scene.wait(lambda: [refusal] == scene.order("refusals"), "it to be withdrawn")
    scene.order("configure", neighbors=[TO_LEFT, TO_RIGHT, TO_INSIDE])
    wait_next_hops(scene, SHARED, LEFT)
    assert scene.order("refusals") == []
    assert came_up == [sessions(bird) for bird in scene.birds]
    scene.left.withdraw(SHARED)


def test_next_hops_that_cannot_be_reached(scene: Scene) -> None:
    """Of several paths those take part whose next hop can be reached; and when it can again."""
    for bird in (scene.left, scene.right):
        bird.announce(SHARED)
    wait_next_hops(scene, SHARED, LEFT, RIGHT)
    scene.order("surroundings", addresses=ALL_ADDRESSES, unusable=[LEFT])
    wait_next_hops(scene, SHARED, RIGHT)
    # What comes meanwhile is decided by the same.
    for bird in (scene.left, scene.right):
        bird.announce("10.10.0.0/16")
    wait_next_hops(scene, "10.10.0.0/16", RIGHT)
    scene.order("surroundings", addresses=ALL_ADDRESSES)
    wait_next_hops(scene, SHARED, LEFT, RIGHT)
    wait_next_hops(scene, "10.10.0.0/16", LEFT, RIGHT)


def test_preferred_next_hop_cannot_be_reached(scene: Scene) -> None:
    """A path that would be preferred, but by a next hop that cannot be reached, is none."""
    cannot(scene, "it decides, by what it knows of next hops itself, and tells the best alone")
    for bird in scene.birds:
        bird.announce(SHARED)
    wait_next_hops(scene, SHARED, INSIDE)
    scene.order("surroundings", addresses=ALL_ADDRESSES, unusable=[LEFT, INSIDE])
    wait_next_hops(scene, SHARED, RIGHT)
    scene.order("surroundings", addresses=ALL_ADDRESSES)
    wait_next_hops(scene, SHARED, INSIDE)


def test_a_lost_session_takes_its_paths(scene: Scene) -> None:
    """Cease for good: all of the neighbour's prefixes are told to have no path; others' stay."""
    scene.left.announce(SHARED)
    scene.right.announce(SHARED)
    wait_next_hops(scene, SHARED, LEFT, RIGHT)
    scene.order("gone")
    scene.left.ctl("disable to_192_0_2_1")
    wait_next_hops(scene, OF_LEFT)
    wait_next_hops(scene, OF_LEFT6)
    wait_next_hops(scene, SHARED, RIGHT)
    assert {OF_LEFT, OF_LEFT6} == set(scene.order("gone"))
    assert THEIRS - {OF_LEFT, OF_LEFT6} | {SHARED} == scene.prefixes()
    scene.left.ctl("enable to_192_0_2_1")
    wait_next_hops(scene, SHARED, LEFT, RIGHT)
    for bird in (scene.left, scene.right):
        bird.withdraw(SHARED)


def test_a_neighbor_restarts(scene: Scene) -> None:
    """Killed and back: its paths are kept meanwhile, as stale; what it no longer says goes after."""
    scene.left.announce(SHARED)
    wait_next_hops(scene, SHARED, LEFT)
    scene.order("gone")
    scene.left.kill()
    scene.wait(lambda: scene.neighbor(LEFT)["state"] != "Established", "the session's end")
    assert THEIRS | {SHARED} == scene.prefixes()
    if scene.engine.name != "gobgp-attached-4":  # GoBGP 4 does not tell of who is away
        scene.wait(lambda: scene.neighbor(LEFT)["stale"] == 3, "its paths to be stale")
    scene.left.originate(OF_LEFT, OF_LEFT6)
    scene.left.start(restarting=True)
    wait_next_hops(scene, SHARED)
    scene.wait(lambda: scene.neighbor(LEFT)["stale"] == 0, "its paths to be fresh")
    assert scene.order("gone") == [SHARED]
    assert scene.prefixes() == THEIRS
    peers.wait_learned(scene.left, OURS)


def test_burst_of_theirs(scene: Scene) -> None:
    """20,000 prefixes arrive whole and go whole: withdrawn, and with the session."""
    for how in ("withdrawn", "session"):
        scene.left.originate(OF_LEFT, OF_LEFT6, *MANY)
        _wait_count(scene, len(THEIRS) + len(MANY))
        assert set(MANY) < scene.prefixes()
        scene.wait(lambda: scene.neighbor(LEFT)["received"] == len(MANY) + 2, "them to be counted")
        scene.order("gone")
        if how == "withdrawn":
            scene.left.originate(OF_LEFT, OF_LEFT6)
            _wait_count(scene, len(THEIRS))
            assert set(MANY) == set(scene.order("gone"))
        else:
            scene.left.ctl("disable to_192_0_2_1")
            _wait_count(scene, len(THEIRS) - 2)
            assert {*MANY, OF_LEFT, OF_LEFT6} == set(scene.order("gone"))
    scene.left.originate(OF_LEFT, OF_LEFT6)
    scene.left.ctl("enable to_192_0_2_1")


def _wait_count(scene: Scene, number: int) -> None:
    both = {"told": number, "now": number}
    scene.wait(lambda: both == scene.order("counts"), f"{number} prefixes")


def wait_next_hops(scene: Scene, prefix: str, *next_hops: str) -> None:
    """Wait until exactly these lead to a prefix, as told and as answered; the order is nobody's."""
    scene.wait(
        lambda: set(scene.next_hops(prefix)) == set(next_hops),
        f"{prefix} to be by {' and '.join(next_hops) or 'nobody'}",
    )
