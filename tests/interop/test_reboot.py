"""A reboot is no graceful restart: what the host no longer has, nobody keeps (RFC 4724 section 4.2)."""

from __future__ import annotations

import pytest

from lab import namespace, peers
from tests.interop.site import LATER, OURS, US, Site


@pytest.mark.parametrize("kind", [peers.Bird, peers.Frr], ids=lambda kind: kind.__name__)
def test_no_stale_route_after_a_reboot(kind: type[peers.Peer]) -> None:
    """Back with the forwarding bit unset: the neighbour drops at once what it had kept.

    With the bit set it would keep the route until our End-of-RIB. Here that is not waited for:
    the routes go as soon as the session stands, and what is still announced comes anew.
    """
    with namespace.Lab() as lab:
        site = Site(lab, kind, (64512, 64513))
        site.up(f"{OURS},{US}", f"{LATER},{US}")
        peers.wait_learned(site.peer, LATER)
        site.ours.process.kill()
        namespace.wait_until(lambda: not site.peer.established(US), "the neighbour to notice")
        assert site.peer.learned(LATER) is not None

        site.ours.start(f"{OURS},{US}", restarted=False)
        peers.wait_established(site.peer, US)
        peers.wait_forgotten(site.peer, LATER, timeout=5)
        found = peers.wait_learned(site.peer, OURS)
        assert not found.stale
