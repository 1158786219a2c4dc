"""Paths that must not be used, from a neighbour that says what it is told to: ExaBGP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import namespace, peers
from tests.interop.site import THEIRS, THEM, THEM6, US, Site

BAD = {
    "10.9.1.0/24": ("nexthop-own", f"next-hop {US}"),
    "10.9.2.0/24": ("nexthop-martian", "next-hop 127.0.0.1"),
    "10.9.3.0/24": ("nexthop-martian", "next-hop 224.0.0.9"),
    "10.9.4.0/24": ("nexthop-martian", "next-hop 255.255.255.255"),
    "10.9.5.0/24": ("as-loop", f"next-hop {THEM} as-path [ 64513 64512 64999 ]"),
    "2001:db8:9:2::/64": ("nexthop-martian", "next-hop ::1"),
    "2001:db8:9:3::/64": ("nexthop-martian", "next-hop ff02::1"),
    "2001:db8:9:4::/64": ("as-loop", f"next-hop {THEM6} as-path [ 64513 64512 ]"),
}
"""Prefix: reason, and what ExaBGP says of it."""
GOOD = {"10.8.1.0/24": f"next-hop {THEM}", "2001:db8:8:1::/64": f"next-hop {THEM6}"}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Both up in two AS."""
    with namespace.Lab() as lab:
        site = Site(lab, peers.ExaBgp, (64512, 64513))
        site.up()
        yield site


@pytest.mark.parametrize("prefix", BAD)
def test_refused(site: Site, prefix: str) -> None:
    """The path is refused with its reason; the session and what is good stay as they are."""
    reason, said = BAD[prefix]
    assert isinstance(site.peer, peers.ExaBgp)
    good, words = next(one for one in GOOD.items() if (":" in one[0]) == (":" in prefix))
    site.peer.ctl(f"announce route {prefix} {said}")
    # What is said later has come later.
    site.peer.ctl(f"announce route {good} {words}")
    site.ours.wait_route(good)

    assert f"first_prefix={prefix} reason={reason}\n" in site.ours.process.output()
    assert prefix not in site.ours.routes()
    assert THEIRS in site.ours.routes()
    assert len(site.ours.sessions()) == 1

    site.peer.ctl(f"withdraw route {good} {words}")
    site.ours.wait(lambda: good not in site.ours.routes(), "the withdraw")
