"""Sessions on IPv6, and what protects one: passwords (RFC 2385) and GTSM (RFC 5082)."""

from __future__ import annotations

import pytest

from lab import namespace, peers
from tests.interop.site import ALL, OURS, OURS6, THEIRS, THEIRS6, US, US6, Site

PASSWORD = {"password": "correct-horse"}
each = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)


@each
def test_ipv6_transport(kind: type[peers.Peer]) -> None:
    """A session on IPv6 carries both families both ways."""
    with namespace.Lab() as lab:
        site = Site(lab, kind, (64512, 64513), six=True)
        site.up()
        assert peers.wait_learned(site.peer, OURS6).next_hop.startswith(US6)
        assert peers.wait_learned(site.peer, OURS).next_hop == US
        site.ours.wait_route(THEIRS6)
        site.ours.wait_route(THEIRS)


@each
@pytest.mark.parametrize("six", [False, True], ids=["ipv4", "ipv6"])
def test_password(kind: type[peers.Peer], six: bool) -> None:
    """With the same password on both sides there is a session, and the kernel signs it."""
    with namespace.Lab() as lab:
        site = Site(lab, kind, (64512, 64513), six=six, us=PASSWORD, them=PASSWORD)
        site.up()
        peers.wait_learned(site.peer, OURS6 if six else OURS)
        assert "md5keys" in site.host.run("ss", "-Htni", "state", "established").stdout
        assert site.ours.neighbor()["password"] is True


@each
@pytest.mark.parametrize("theirs", ["", "wrong-horse"], ids=["none", "other"])
def test_wrong_password(kind: type[peers.Peer], theirs: str) -> None:
    """With another password, or none, no segment is heard on either side: no session."""
    with namespace.Lab() as lab:
        them = {"password": theirs} if theirs else {}
        site = Site(lab, kind, (64512, 64513), us=PASSWORD, them=them)
        site.ours.start(f"{OURS},{US}")
        site.peer.start()
        reasons = ("TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure")
        namespace.wait_until(
            lambda: sum(_counter(site.host, reason) for reason in reasons) >= 3,
            "the kernel to drop segments",
        )
        assert site.ours.sessions() == []
        assert not site.peer.established(US)


@each
def test_ttl_security(kind: type[peers.Peer]) -> None:
    """With GTSM on both sides there is a session; a neighbour without it is not heard."""
    gtsm = {"ttl_security": True}
    with namespace.Lab() as lab:
        site = Site(lab, kind, (64512, 64513), us=gtsm, them=gtsm)
        site.up()
        peers.wait_learned(site.peer, OURS)
        site.ours.wait_route(THEIRS)


def test_without_ttl_security() -> None:
    """A neighbour that sends with TTL 1 is not heard by a side with GTSM."""
    with namespace.Lab() as lab:
        site = Site(lab, peers.Bird, (64512, 64513), us={"ttl_security": True})
        site.ours.start(f"{OURS},{US}")
        site.peer.start()
        namespace.wait_until(
            lambda: _counter(site.host, "TCPMinTTLDrop") >= 3, "the kernel to drop segments"
        )
        assert site.ours.sessions() == []
        assert not site.peer.established(US)


def _counter(host: namespace.Host, name: str) -> int:
    """One of the kernel's counters."""
    words = host.run("nstat", "-asz", f"TcpExt{name}").stdout.split()
    return int(words[words.index(f"TcpExt{name}") + 1])
