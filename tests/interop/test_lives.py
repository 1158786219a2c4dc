"""The life of a session with each daemon, within one AS and between two.

The foreign daemon's own tool is the witness of all that we announce.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import namespace, peers
from tests.interop.site import ALL, LATER, OURS, OURS6, THEIRS, THEIRS6, THEM, US, US6, Site

WIDE = 4200000001
"""An AS that does not fit into two octets."""


@pytest.fixture(
    scope="module",
    params=[(kind, ases) for kind in ALL for ases in ((64512, 64512), (WIDE, 64513))],
    ids=lambda param: f"{param[0].__name__}-{'ibgp' if param[1][0] == param[1][1] else 'ebgp'}",
)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Both speakers up, each with a prefix of either family."""
    kind, ases = request.param
    with namespace.Lab() as lab:
        site = Site(lab, kind, ases)
        site.up()
        yield site


def ours(site: Site) -> tuple[int, ...]:
    """AS_PATH with which our routes must arrive."""
    return () if site.ases[0] == site.ases[1] else (site.ases[0],)


def test_routes_both_ways(site: Site) -> None:
    """Each side has the other's prefixes of both families, with next hop and AS path."""
    found = peers.wait_learned(site.peer, OURS)
    assert (US, ours(site)) == (found.next_hop, found.as_path)
    assert US6 in peers.wait_learned(site.peer, OURS6).next_hop

    learned = site.ours.wait_route(THEIRS)
    assert learned["next_hop"] == THEM
    assert learned["as_path"] == ([] if not ours(site) else [site.ases[1]])
    site.ours.wait_route(THEIRS6)


def test_later_changes(site: Site) -> None:
    """What the neighbour announces and withdraws later comes and goes."""
    site.peer.announce("10.3.0.0/20")
    site.ours.wait_route("10.3.0.0/20")
    site.peer.withdraw("10.3.0.0/20")
    site.ours.wait(lambda: "10.3.0.0/20" not in site.ours.routes(), "the withdraw")


@pytest.mark.parametrize(
    ("how", "before", "after"), [("kill", OURS6, LATER), ("stop", LATER, OURS6)]
)
def test_our_restart_keeps_our_routes_there(site: Site, how: str, before: str, after: str) -> None:
    """Killed or stopped without NOTIFICATION and back: the neighbour has our route throughout.

    What is announced no more goes with End-of-RIB, what is new comes. ExaBGP has no tables, so
    there it is the new session alone that counts.
    """
    keeps = not isinstance(site.peer, peers.ExaBgp)
    peers.wait_learned(site.peer, OURS)
    getattr(site.ours.process, how)()
    namespace.wait_until(lambda: not site.peer.established(US), "the neighbour to notice")
    for prefix in (OURS, before):
        assert (site.peer.learned(prefix) is not None) is keeps
    site.ours.start(f"{OURS},{US}", f"{after},{US6 if ':' in after else US}", restarted=True)

    def back() -> bool:
        assert site.peer.learned(OURS) is not None or not keeps
        return site.peer.established(US) and site.peer.learned(after) is not None

    namespace.wait_until(back, "our speaker's return")
    peers.wait_forgotten(site.peer, before)
    found = site.peer.learned(OURS)
    assert found is not None
    assert not found.stale
    site.ours.wait_route(THEIRS)


def test_their_restart_keeps_their_routes_here(site: Site) -> None:
    """The neighbour is killed and comes back: its route never leaves our table.

    OpenBGPD asks for no such thing, so of it nothing is kept.
    """
    site.ours.wait_synced()
    site.ours.wait_route(THEIRS)
    before = len(site.ours.events("route"))
    site.peer.kill()
    asks = not isinstance(site.peer, peers.OpenBgpd)
    site.ours.wait(lambda: not _last(site).startswith("Est"), "our speaker to notice")
    assert ("kept for" in _last(site)) is asks
    site.peer.start(restarting=True)
    peers.wait_established(site.peer, US)
    peers.wait_learned(site.peer, OURS)
    site.ours.wait(lambda: _last(site).startswith("Established"), "the session to return")
    site.ours.wait_route(THEIRS)

    changes = site.ours.events("route")[before:]
    lost = [c for c in changes if c["prefix"] == THEIRS and not c["next_hop"]]
    assert len(lost) == (0 if asks else 1)


def test_our_leave_withdraws_at_once(site: Site) -> None:
    """Withdraw and Cease: the neighbour has no route of ours left, and keeps none as stale."""
    assert site.ours.leave() == 0
    peers.wait_forgotten(site.peer, OURS, timeout=3)
    peers.wait_forgotten(site.peer, OURS6, timeout=3)
    assert site.ours.process.status == 0
    assert "Traceback" not in site.ours.process.output()


def _last(site: Site) -> str:
    """The last change of the session's state."""
    return site.ours.sessions()[-1]
