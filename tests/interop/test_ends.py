"""How sessions end, with each daemon: silence, a stop in order, and none at all for a wrong AS."""

from __future__ import annotations

import dataclasses

import pytest

from lab import namespace, peers
from tests.interop.site import ALL, OURS, THEIRS, THEM, US, Site

NOBODY = "02:00:00:00:00:99"
"""A MAC address that is on no wire of the lab."""
STOPPED: dict[type[peers.Peer], str] = {
    peers.Bird: "Cease, administrative shutdown",
    peers.Frr: "closed by peer, its routes are kept for 30 s",
    peers.GoBgp: "Cease, peer de-configured",
    peers.OpenBgpd: "Cease, administrative shutdown: bgpd shutting down",
    peers.ExaBgp: "its routes are kept for 30 s",
}
"""What we tell of the end when a daemon is stopped."""
TOLD: dict[type[peers.Peer], str] = {
    peers.Bird: "Received: Bad peer AS",
    peers.Frr: "received from neighbor 192.0.2.1 2/2 (OPEN Message Error/Bad Peer AS)",
    peers.OpenBgpd: "received notification: error in OPEN message, AS unacceptable",
    peers.ExaBgp: "notification received (2,2)",
}
"""How a daemon shows our Bad Peer AS; GoBGP does not."""
each = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)


@each
def test_silent_wire(kind: type[peers.Peer]) -> None:
    """When nothing comes through, the hold time ends the session on both sides; then it returns.

    Routes are kept over it where both sides say so (RFC 8538): of the five, FRR does.
    """
    with namespace.Lab() as lab:
        us, them = {"hold_time": 3, "keepalive": 1}, {"hold_time": 3}
        site = Site(lab, kind, (64512, 64513), us=us, them=them)
        site.up()
        peers.wait_learned(site.peer, OURS)
        site.ours.wait_route(THEIRS)
        _silence(site, on=True)
        site.ours.wait(lambda: len(site.ours.sessions()) == 2, "our hold time to pass")
        namespace.wait_until(lambda: not site.peer.established(US), "their hold time to pass")

        kept = kind is peers.Frr
        assert "sent NOTIFICATION Hold Timer Expired" in site.ours.sessions()[1]
        assert ("kept for 30 s" in site.ours.sessions()[1]) is kept
        assert (THEIRS in site.ours.routes()) is kept
        # GoBGP keeps ours all the same.
        assert (site.peer.learned(OURS) is not None) is (kept or kind is peers.GoBgp)

        _silence(site, on=False)
        peers.wait_established(site.peer, US)
        peers.wait_learned(site.peer, OURS)
        site.ours.wait_route(THEIRS)
        namespace.wait_until(lambda: not site.ours.neighbor()["stale"], "all to be fresh again")


@each
def test_neighbor_is_stopped(kind: type[peers.Peer]) -> None:
    """A daemon that is stopped says Cease, and its routes go at once, or says nothing to keep them."""
    with namespace.Lab() as lab:
        site = Site(lab, kind, (64512, 64513))
        site.up()
        site.ours.wait_route(THEIRS)
        site.peer.stop()
        site.ours.wait(lambda: len(site.ours.sessions()) == 2, "the session's end")

        assert STOPPED[kind] in site.ours.sessions()[1]
        assert (THEIRS in site.ours.routes()) is ("kept" in STOPPED[kind])


@pytest.mark.parametrize("kind", TOLD, ids=lambda kind: kind.__name__)
def test_they_have_another_as(kind: type[peers.Peer]) -> None:
    """A neighbour in another AS than configured is told so, as its log has it; no session."""
    with namespace.Lab() as lab:
        site = Site(lab, kind, (64512, 64513), us={"remote_as": 64999})
        site.ours.start(f"{OURS},{US}")
        site.peer.start()
        namespace.wait_until(
            lambda: TOLD[kind] in site.peer.notification(US), "the neighbour to hear"
        )

        assert "it is AS 64513, configured is 64999" in site.ours.process.output()
        assert site.ours.sessions() == []


@each
def test_we_have_another_as(kind: type[peers.Peer]) -> None:
    """A neighbour that expects us in another AS: what it says is in our log and our status."""
    with namespace.Lab() as lab:
        site = Site(lab, kind, (64512, 64513), them={"remote_as": 64999})
        site.ours.start(f"{OURS},{US}")
        site.peer.start()
        said = "received NOTIFICATION OPEN Message Error, bad peer AS"
        site.ours.wait(
            lambda: f"neighbor={THEM} reason={said}" in site.ours.process.output(),
            "the NOTIFICATION",
        )

        assert site.ours.sessions() == []
        assert not site.peer.established(US)


def test_same_router_id() -> None:
    """A neighbour in our AS with our router id: Bad BGP Identifier (RFC 6286), and no session."""
    with namespace.Lab() as lab:
        site = Site(lab, peers.Bird, (64512, 64512))
        site.peer = peers.Bird(site.peer.host, dataclasses.replace(site.peer.speaker, router_id=US))
        site.ours.start(f"{OURS},{US}")
        site.peer.start()
        said = "bad BGP identifier: it is our own router id"
        site.ours.wait(lambda: said in site.ours.process.output(), "us to say so")

        # BIRD sees it as we do; whose NOTIFICATION is first is open.
        namespace.wait_until(
            lambda: "Bad BGP identifier" in site.peer.notification(US), "BIRD to say so"
        )
        assert site.ours.sessions() == []


def _silence(site: Site, *, on: bool) -> None:
    """Let nothing through, both ways: what goes out is for nobody."""
    for host, other in ((site.host, THEM), (site.peer.host, US)):
        if on:
            wrong = ("lladdr", NOBODY, "nud", "permanent")
            host.run("ip", "neigh", "replace", other, "dev", "eth1", *wrong)
        else:
            host.run("ip", "neigh", "del", other, "dev", "eth1")
