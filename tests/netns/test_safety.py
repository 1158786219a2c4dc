"""Who may overlap whom: the rows of design.md D10 that are about what is learned, on a real kernel.

One daemon hears all of it at once; each test is a row, and looks at the kernel, at
`routes --json` and at the log. What is about creation is in test_plan_create and in tests/dockerd;
addresses of containers are in tests/ipvlan/test_stretched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bgp_ipvlan import model
from tests.netns import scene as scene_

MARKS = {"large_communities": ["64513:179:17900", "64513:179:17901"]}
ECHO = {"large_communities": ["64512:179:17900", "64512:17900:3221225985"]}
OWN = scene_.network("10.1.1.0/24")
STRETCHED = scene_.network("10.1.2.0/24", model.Advertise.ENDPOINT)
BOTH = scene_.network("10.1.3.0/24", model.Advertise.BOTH)
CONNECTED = scene_.network("10.1.4.0/24")

OTHERS = (
    "10.20.1.0/24 via 192.0.2.9 dev eth1 proto static",
    "10.20.2.0/24 via 192.0.2.9 dev eth1 proto dhcp metric 100",
    "10.20.3.0/24 via 192.0.2.9 dev eth1 proto static metric 17900",
    "10.20.4.0/24 via 192.0.2.9 dev eth1 proto 179 metric 100",
    "blackhole 10.20.5.0/24 proto static metric 20000",
    "10.20.6.0/24 via 192.0.2.9 dev eth1 proto static table 100",
    "fd00:20:1::/64 via 2001:db8::9 dev eth1 proto ra metric 1024",
    "fd00:20:2::/64 via 2001:db8::9 dev eth1 proto boot metric 1024",
    "fd00:20:3::/64 via 2001:db8::9 dev eth1 proto static metric 17900",
    "fd00:20:4::/64 dev eth1 proto 179 metric 1024",
    # Where next hops lie that are on no wire of ours.
    "10.30.0.0/16 via 192.0.2.3 dev eth1 proto static",
    "10.31.0.0/16 via 198.51.100.2 dev eth2 proto static",
    "default via 192.0.2.3 dev eth1 proto dhcp metric 100",
)

ROWS: tuple[tuple[str, str, str | None, dict[str, Any]], ...] = (
    # what it is, the prefix, the reason (None: a route), what is said with it
    ("default route", "0.0.0.0/0", "default-route", {}),
    ("default route, IPv6", "::/0", "default-route", {}),
    ("default route that is accepted", "::/1", None, {}),
    ("martian: loopback", "127.0.0.0/8", "martian", {}),
    ("martian: link-local", "169.254.7.0/24", "martian", {}),
    ("martian: multicast", "ff02::/16", "martian", {}),
    ("martian that is accepted", "240.0.0.0/8", None, {}),
    ("equal to a static route", "10.20.1.0/24", "foreign-route", {}),
    ("equal to a route of DHCP", "10.20.2.0/24", "foreign-route", {}),
    ("equal to one with our metric", "10.20.3.0/24", "foreign-route", {}),
    ("equal to one with our protocol", "10.20.4.0/24", "foreign-route", {}),
    ("equal to a blackhole", "10.20.5.0/24", "foreign-route", {}),
    ("equal to one in another table", "10.20.6.0/24", None, {}),
    ("equal to a router advertisement's", "fd00:20:1::/64", "foreign-route", {}),
    ("equal to a boot-time route", "fd00:20:2::/64", "foreign-route", {}),
    ("equal to one with our metric, IPv6", "fd00:20:3::/64", "foreign-route", {}),
    ("equal to one with our protocol, IPv6", "fd00:20:4::/64", "foreign-route", {}),
    ("equal to a connected subnet", "198.51.100.0/24", "connected-overlap", {}),
    ("inside a connected subnet", "192.0.2.128/25", "connected-overlap", {}),
    ("a host of a connected subnet", "192.0.2.77/32", "connected-overlap", {}),
    ("inside a connected subnet, IPv6", "2001:db8:0:0:1::/80", "connected-overlap", {}),
    ("inside one of our own prefixes", "10.1.1.128/25", "own-prefix", {}),
    ("inside a stretched subnet", "10.1.2.7/32", None, {}),
    ("inside a subnet with `both`", "10.1.3.7/32", None, {}),
    ("equal to one of our own prefixes", "10.1.1.0/24", "duplicate-prefix", {}),
    ("equal, with our own identity on it", "10.1.4.0/24", "own-echo", ECHO),
    ("equal, and both say `both`", "10.1.3.0/24", "shared-prefix", MARKS),
    ("equal to a subnet with `endpoint`", "10.1.2.0/24", None, {}),
    ("covering own and foreign routes", "10.0.0.0/8", None, {}),
    ("covering connected subnets", "192.0.0.0/8", None, {}),
    ("covering, IPv6", "fd00::/16", None, {}),
    ("next hop not on-link", "10.50.1.0/24", "nexthop-offlink", {"next_hop": "10.30.0.5"}),
    ("next hop that is us", "10.50.2.0/24", "nexthop-own", {"next_hop": "198.51.100.1"}),
)
RECURSIVE: tuple[tuple[str, str, str | None, dict[str, Any]], ...] = (
    ("recursive, by a static route", "10.50.3.0/24", None, {"next_hop": "10.30.0.5"}),
    ("recursive, by a default", "10.50.4.0/24", "nexthop-offlink", {"next_hop": "203.0.113.9"}),
    ("recursive, not by the parent", "10.50.5.0/24", "nexthop-offlink", {"next_hop": "10.31.0.5"}),
    ("recursive, by a route of ours", "10.50.6.0/24", "nexthop-offlink", {"next_hop": "10.1.2.5"}),
)


@pytest.fixture(scope="module")
def everything() -> Iterator[scene_.Scene]:
    """All others' routes stand, all of the table was said, and is decided."""
    flags = ("--accept", "::/1", "--accept", "240.0.0.0/8")
    with scene_.scene(OWN, STRETCHED, BOTH, CONNECTED, flags=flags) as found:
        for route in OTHERS:
            found.ip(("-6 " if "::" in route else "") + "route add " + route)
        before = found.theirs()
        for neighbor, rows in ((found.peer, ROWS), (found.router, RECURSIVE)):
            for _, prefix, _, said in rows:
                neighbor.announce(prefix, **said)
        known = {row[1] for row in (*ROWS, *RECURSIVE)}
        found.until(lambda: known <= found.ours().keys() | found.refused().keys(), "all decided")
        assert before == found.theirs()
        yield found


@pytest.mark.parametrize(
    ("prefix", "reason"), [pytest.param(p, why, id=case) for case, p, why, _ in (*ROWS, *RECURSIVE)]
)
def test_row(everything: scene_.Scene, prefix: str, reason: str | None) -> None:
    """It is a route, or it is none and routes, status and log say why."""
    route = everything.ours().get(prefix)
    learned = route is not None and route.get("type") != "blackhole"

    assert everything.refused().get(prefix) == reason
    assert learned == (reason is None)
    if reason not in {None, "own-echo", "shared-prefix"}:
        assert f"prefix={prefix} " in everything.daemon.log()
        assert any(
            f"prefix={prefix} " in line and line.endswith(f"reason={reason}")
            for line in everything.daemon.log().splitlines()
        )


def test_refusals_in_status(everything: scene_.Scene) -> None:
    """They are counted; the one that a person has to look into is a warning."""
    status = everything.daemon.ask("status")
    refused = [row for row in (*ROWS, *RECURSIVE) if row[2]]

    assert status["routes"]["refused"] == len(refused)
    warnings = [text for text in status["warnings"] if "duplicate-prefix" in text]
    assert len(warnings) == 1
    assert "10.1.1.0/24" in warnings[0]
    shown = everything.daemon.run("routes")
    for _, prefix, reason, _ in refused:
        assert any(line.split()[0] == prefix and str(reason) in line for line in shown.splitlines())


def test_a_recursive_next_hop_is_the_routers(everything: scene_.Scene) -> None:
    """The way is that of the route it was found by."""
    route = everything.ours()["10.50.3.0/24"]
    hops = route.get("nexthops", [route])

    assert [(hop["gateway"], hop["dev"]) for hop in hops] == [(scene_.ROUTER, "eth1")]
