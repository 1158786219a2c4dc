"""What a path carries: communities, several paths (RFC 7911), the other family's next hop."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab import namespace, peers
from tests.interop.site import ALL, OURS, OURS6, THEIRS, US, US6, Site

COMMUNITIES = ("64513:1", "64513:65535")
LARGE = ("64513:1:2", "4200000001:0:4294967295")
MARKED = "10.4.0.0/16"
each = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)


@each
def test_attributes(kind: type[peers.Peer]) -> None:
    """Communities and large communities arrive as they were, both ways, MED and prepending too."""
    marked = peers.Originated(prefix=MARKED, communities=COMMUNITIES, large_communities=LARGE)
    ours: dict[str, Any] = {
        "prefix": OURS,
        "next_hop": US,
        "communities": [text.replace("64513", "64512") for text in COMMUNITIES],
        "large_communities": LARGE,
        "med": 77,
        "prepend": 2,
    }
    with namespace.Lab() as lab:
        site = Site(lab, kind, (64512, 64513), originate=(marked,))
        site.up(json.dumps(ours))
        found = peers.wait_learned(site.peer, OURS)
        assert frozenset(ours["communities"]) == found.communities
        assert frozenset(LARGE) == found.large_communities
        assert found.med == 77
        assert found.as_path == (64512,) * 3

        learned = site.ours.wait_route(MARKED)
        assert set(learned["communities"]) == set(COMMUNITIES)
        assert set(learned["large_communities"]) == set(LARGE)
        assert site.ours.routes()[THEIRS]["communities"] == []


@each
def test_graceful_shutdown(kind: type[peers.Peer]) -> None:
    """RFC 8326: what we announce gets its community while we prepare to go, and loses it after."""
    with namespace.Lab() as lab:
        site = Site(lab, kind, (64512, 64513))
        site.up()
        peers.wait_learned(site.peer, OURS)
        for on in (True, False):
            site.ours.order("graceful_shutdown", on=on)
            namespace.wait_until(
                lambda on=on: _is_marked(site) is on,  # type: ignore[misc]
                f"our route to be {'marked' if on else 'plain'}",
            )


@pytest.mark.parametrize(
    "kind", [peers.Bird, peers.GoBgp, peers.ExaBgp], ids=lambda kind: kind.__name__
)
def test_several_paths(kind: type[peers.Peer]) -> None:
    """ADD-PATH: of one prefix the neighbour sends two paths, and both are used."""
    several = tuple(peers.Originated(prefix=MARKED, next_hop=f"192.0.2.{n}") for n in (71, 72))
    with namespace.Lab() as lab:
        site = Site(lab, kind, (64512, 64513), them={"add_path": True}, originate=several)
        site.up()
        site.ours.wait(lambda: site.ours.routes().get(MARKED, {}).get("paths") == 2, "two paths")
        peers.wait_learned(site.peer, OURS)
        assert "add-path" in site.peer.capabilities(US)

        site.peer.withdraw(MARKED)
        # BIRD takes back all of a prefix, the others the first path alone.
        left = 0 if kind is peers.Bird else 1
        site.ours.wait(
            lambda: site.ours.routes().get(MARKED, {}).get("paths", 0) == left, "the withdraw"
        )


@pytest.mark.parametrize(
    "kind", [peers.Frr, peers.OpenBgpd, peers.Bird, peers.GoBgp], ids=lambda kind: kind.__name__
)
def test_paths_of_others(kind: type[peers.Peer]) -> None:
    """ADD-PATH from a router between us and two others: each one's path comes, and goes alone."""
    with namespace.Lab() as lab:
        site = Site(lab, kind, (64512, 64513), them={"add_path": True})
        behind = [site.behind(MARKED) for _ in range(2)]
        site.up()
        site.ours.wait_route(THEIRS)
        before = site.ours.neighbor()["received"]
        for one in behind:
            one.start()
        site.ours.wait(lambda: site.ours.neighbor()["received"] == before + 2, "two paths")
        behind[0].withdraw(MARKED)
        site.ours.wait(lambda: site.ours.neighbor()["received"] == before + 1, "one path to go")
        site.ours.wait(
            lambda: site.ours.routes()[MARKED]["as_path"] == [64513, 65002],
            "the other path to be used",
        )
        behind[1].withdraw(MARKED)
        site.ours.wait(lambda: MARKED not in site.ours.routes(), "the last path to go")


@pytest.mark.parametrize(
    "kind", [peers.Bird, peers.Frr, peers.GoBgp, peers.ExaBgp], ids=lambda kind: kind.__name__
)
def test_ipv4_over_ipv6_next_hop(kind: type[peers.Peer]) -> None:
    """RFC 8950, both ways: IPv4 prefixes whose next hop is an IPv6 address."""
    with namespace.Lab() as lab:
        site = Site(lab, kind, (64512, 64513), six=True, them={"extended_next_hop": True})
        site.up(f"{OURS},{US6}", f"{OURS6},{US6}")
        assert peers.wait_learned(site.peer, OURS).next_hop.startswith(US6)
        if kind is not peers.ExaBgp:
            assert ":" in site.ours.wait_route(THEIRS)["next_hop"]
        assert "extended-next-hop" in site.peer.capabilities(site.us)


def _is_marked(site: Site) -> bool:
    found = site.peer.learned(OURS)
    assert found is not None
    # Some show the name that the registry has for it.
    return bool({"65535:0", "gracefulShutdown", "GRACEFUL_SHUTDOWN"} & found.communities)
