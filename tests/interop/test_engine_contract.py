"""`ports.Engine`, announcing: what every engine must do, with BIRD as the witness."""

from __future__ import annotations

import signal
import time

import pytest

from lab import namespace, peers
from tests.interop.scene import (
    AS,
    LATER,
    LEFT,
    MANY,
    MARK,
    OURS,
    OURS6,
    TO_LEFT,
    TO_RIGHT,
    US,
    US6,
    Scene,
    cannot,
    ours,
)

COMMUNITIES, LARGE = ("64512:1", "64512:65535"), ("64512:179:17900", "4200000001:0:4294967295")
FAT = tuple(f"64512:179:{n}" for n in range(60))
"""Makes an UPDATE of its own of each prefix, together with a MED."""


def test_both_families_arrive_by_d12(scene: Scene) -> None:
    """NEXT_HOP is our address in the neighbour's subnet; IPv6 on-link has the link-local beside it."""
    for bird, _ in scene.each():
        assert peers.wait_learned(bird, OURS).next_hop == US
        assert peers.wait_learned(bird, OURS6).next_hop == US6


def test_link_local_next_hop(scene: Scene) -> None:
    """RFC 2545 section 3: where the neighbour is on-link, the link-local address stands beside it."""
    cannot(scene, "what an API client gives gobgpd has one next hop for all neighbours")
    assert f"BGP.next_hop: {US6} fe80::17" in peers.wait_learned(scene.right, OURS6).raw
    assert "fe80::" not in peers.wait_learned(scene.left, OURS6).raw


def test_next_hops_that_are_not_ours(scene: Scene) -> None:
    """Off-link it is the announcement's own; what the administrator fixed goes before everything."""
    scene.announce(
        ours(LATER, next_hop="192.0.2.50", on_link=["203.0.113.1/24"]),
        ours("10.1.3.0/24", fixed_next_hop="192.0.2.60"),
        ours("2001:db8:3::/64", fixed_next_hop="2001:db8::60"),
    )
    for bird, _ in scene.each():
        assert peers.wait_learned(bird, LATER).next_hop == "192.0.2.50"
        assert peers.wait_learned(bird, "10.1.3.0/24").next_hop == "192.0.2.60"
        found = peers.wait_learned(bird, "2001:db8:3::/64")
        assert found.next_hop == "2001:db8::60"
        assert "fe80::" not in found.raw


@pytest.mark.parametrize("prefix", [LATER, "2001:db8:3::/64"], ids=["ipv4", "ipv6"])
def test_attributes_arrive_and_are_replaced(scene: Scene, prefix: str) -> None:
    """Communities, MED, prepending and preference; then others in their place, and nothing else moves."""
    more = {"communities": COMMUNITIES, "large_communities": LARGE, "med": 77}
    scene.announce(ours(prefix, local_pref=150, **more))
    for bird, _ in scene.each():
        found = peers.wait_learned(bird, prefix)
        assert frozenset(COMMUNITIES) == found.communities
        assert frozenset(LARGE) == found.large_communities
        assert found.med == 77
        inside = bird is scene.inside
        assert found.as_path == (() if inside else (AS,))
        assert found.local_pref == (150 if inside else 100)

    before = [bird.updates(address) for bird, address in scene.each()]
    scene.announce(ours(prefix, med=78))
    for bird, _ in scene.each():
        namespace.wait_until(lambda b=bird: _med(b, prefix) == 78, "the new MED")  # type: ignore[misc]
        found = peers.wait_learned(bird, prefix)
        assert not found.communities
        assert found.large_communities == {MARK}
        assert found.local_pref == 100
        assert found.as_path == (() if bird is scene.inside else (AS,))
    assert [number + 1 for number in before] == [b.updates(a) for b, a in scene.each()]


def test_prepending(scene: Scene) -> None:
    """Our AS number stands in AS_PATH as often as was asked, towards other ASes."""
    scene.order("configure", neighbors=[TO_LEFT, TO_RIGHT])
    scene.announce(ours(LATER, prepend=2))
    for bird in (scene.left, scene.right):
        assert peers.wait_learned(bird, LATER).as_path == (AS,) * 3


def test_withdraw(scene: Scene) -> None:
    """What is withdrawn goes everywhere and alone; what was never announced is no matter."""
    scene.announce(LATER)
    for bird, _ in scene.each():
        peers.wait_learned(bird, LATER)
    scene.withdraw(LATER, "198.18.0.0/15", "2001:db8:ffff::/64")
    for bird, _ in scene.each():
        peers.wait_forgotten(bird, LATER)
        assert bird.learned(OURS) is not None
    scene.withdraw(LATER)


def test_announced_twice(scene: Scene) -> None:
    """Announcing what stands takes nothing away, not for a moment."""
    before, gone = scene.left.updates(US), scene.left.withdrawals(US)
    scene.announce(OURS, OURS6)
    scene.announce(LATER)
    peers.wait_learned(scene.left, LATER)
    assert scene.left.updates(US) <= before + 3
    assert scene.left.withdrawals(US) == gone


def test_delivered_when_taken(scene: Scene) -> None:
    """It answers as soon as the neighbours have it, and says how many they are."""
    scene.announce(LATER)
    begun = time.monotonic()
    assert scene.order("delivered", prefixes=[LATER], timeout=20) == {
        "established": 3,
        "waiting": [],
    }
    assert time.monotonic() - begun < 5
    for bird, _ in scene.each():
        peers.wait_learned(bird, LATER, timeout=2)


def test_delivered_without_neighbors(scene: Scene) -> None:
    """Where nobody is, there is nobody to wait for."""
    scene.order("configure", neighbors=[])
    scene.wait(lambda: scene.order("neighbors") == [], "all to be gone")
    scene.announce(LATER)
    begun = time.monotonic()
    assert scene.order("delivered", prefixes=[LATER], timeout=20) == {
        "established": 0,
        "waiting": [],
    }
    assert time.monotonic() - begun < 5


def test_delivered_is_bounded(scene: Scene) -> None:
    """A neighbour that reads nothing is waited for as long as was said, and named; the others are not."""
    cannot(scene, "it does not tell how far a neighbour's socket has come")
    fat = [ours(prefix, med=n, large_communities=FAT) for n, prefix in enumerate(MANY[:6000])]
    scene.left.process.signal(signal.SIGSTOP)
    try:
        scene.announce(*fat)
        prefixes = [one["prefix"] for one in fat]
        begun = time.monotonic()
        found = scene.order("delivered", prefixes=prefixes, timeout=2)
        took = time.monotonic() - begun
        # It is the last of the three that has not come.
        peers.wait_count(scene.right, US6, "ipv4", len(fat) + 1)
    finally:
        scene.left.process.signal(signal.SIGCONT)
    assert 2 <= took < 4
    assert LEFT in found["waiting"]
    scene.withdraw(*prefixes)
    peers.wait_count(scene.left, US, "ipv4", 1)


def test_graceful_shutdown(scene: Scene) -> None:
    """RFC 8326: all we announce has 65535:0 while it is on, also what is new; iBGP hears preference 0."""
    scene.order("graceful_shutdown", on=True)
    scene.announce(ours(LATER, communities=COMMUNITIES))
    for bird, _ in scene.each():
        for prefix in (OURS, OURS6, LATER):
            _wait_marked(bird, prefix, on=True)
        found = peers.wait_learned(bird, LATER)
        assert frozenset((*COMMUNITIES, "65535:0")) == found.communities
        assert found.local_pref == (0 if bird is scene.inside else 100)
    scene.order("graceful_shutdown", on=False)
    for bird, _ in scene.each():
        for prefix in (OURS, OURS6, LATER):
            _wait_marked(bird, prefix, on=False)
    assert [peers.wait_learned(bird, LATER).local_pref for bird in scene.birds] == [100, 100, 100]


def test_burst_of_ours(scene: Scene) -> None:
    """Many prefixes arrive whole at each neighbour, and go whole."""
    many = scene.engine.burst
    before = [bird.count(address, "ipv4") for bird, address in scene.each()]
    scene.announce(*many)
    for (bird, address), number in zip(scene.each(), before, strict=True):
        peers.wait_count(bird, address, "ipv4", number + len(many))
    scene.withdraw(*many)
    for (bird, address), number in zip(scene.each(), before, strict=True):
        peers.wait_count(bird, address, "ipv4", number)


def _med(bird: peers.Bird, prefix: str) -> int | None:
    return peers.wait_learned(bird, prefix).med


def _wait_marked(bird: peers.Bird, prefix: str, *, on: bool) -> None:
    namespace.wait_until(
        lambda: ("65535:0" in peers.wait_learned(bird, prefix).communities) is on,
        f"{prefix} to be {'marked' if on else 'plain'}",
    )
