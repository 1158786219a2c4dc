"""The oracle itself, case by case: who judges must be judged first."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest

from tests.chaos import oracle

NEAR, FAR = ipaddress.ip_address("192.0.2.2"), ipaddress.ip_address("198.51.100.2")
ETH1 = ("192.0.2.1/24", "2001:db8:1::1/64", "fe80::1/64")
ETH2 = ("198.51.100.1/24",)
P = ipaddress.ip_network("10.1.0.0/16")


def around(
    *, eth2: bool = True, foreign: Sequence[tuple[str, int]] = (), own: Sequence[str] = ()
) -> oracle.Around:
    """Two links, of which the second may be down."""
    links = (("lo", True, ("127.0.0.1/8",)), ("eth1", True, ETH1), ("eth2", eth2, ETH2))
    return oracle.Around(
        [
            oracle.Interface(name, works, tuple(map(ipaddress.ip_interface, addresses)))
            for name, works, addresses in links
        ],
        [(ipaddress.ip_network(prefix), metric) for prefix, metric in foreign],
        tuple(map(ipaddress.ip_network, own)),
    )


def path(hop: str, local: str = "", pref: int = 100) -> oracle.Path:
    """From a neighbour on eth1."""
    link_local = ipaddress.ip_address(local) if local else None
    return oracle.Path(NEAR, ipaddress.ip_address(hop), link_local, pref)


@pytest.mark.parametrize(
    ("paths", "hops"),
    [
        ([path("192.0.2.9")], {("192.0.2.9", "eth1")}),
        ([path("198.51.100.9")], {("198.51.100.9", "eth2")}),
        (
            [path("192.0.2.9"), path("198.51.100.9")],
            {("192.0.2.9", "eth1"), ("198.51.100.9", "eth2")},
        ),
        ([path("192.0.2.9"), path("198.51.100.9", pref=200)], {("198.51.100.9", "eth2")}),
        ([path("192.0.2.9"), path("203.0.113.9", pref=200)], {("192.0.2.9", "eth1")}),
        ([path("192.0.2.9"), path("198.51.100.1", pref=200)], {("192.0.2.9", "eth1")}),
        ([path("2001:db8:1::9")], {("2001:db8:1::9", "eth1")}),
        ([path("fe80::9")], {("fe80::9", "eth1")}),
        ([path("2001:db8:9::9", "fe80::9")], {("fe80::9", "eth1")}),
        ([path("2001:db8:1::9", "fe80::9")], {("2001:db8:1::9", "eth1")}),
    ],
)
def test_best_paths(paths: list[oracle.Path], hops: set[oracle.Hop]) -> None:
    """Reachable before preferred, equal ones together; link-local beside or alone, RFC 8950."""
    assert oracle.expected({P: paths}, around()) == oracle.Expected({P: frozenset(hops)}, {})


@pytest.mark.parametrize(
    ("hop", "reason"), [("203.0.113.9", "nexthop-offlink"), ("198.51.100.1", "nexthop-own")]
)
def test_unusable(hop: str, reason: str) -> None:
    """No next hop, no route."""
    assert oracle.expected({P: [path(hop)]}, around()) == oracle.Expected({}, {P: {reason}})


def test_a_link_that_is_down() -> None:
    """Its next hops are off-link, its subnet is still connected."""
    inside = ipaddress.ip_network("198.51.100.128/25")
    paths = {P: [path("198.51.100.9")], inside: [path("192.0.2.9")]}
    refused = {P: {"nexthop-offlink"}, inside: {"connected-overlap"}}
    assert oracle.expected(paths, around(eth2=False)) == oracle.Expected({}, refused)


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        ("192.0.2.0/24", "connected-overlap"),
        ("192.0.2.9/32", "connected-overlap"),
        ("10.7.1.9/32", "own-prefix"),
        ("10.7.1.0/24", "duplicate-prefix"),
        ("10.8.0.0/16", "foreign-route"),
        ("0.0.0.0/0", "default-route"),
        ("127.1.0.0/16", "martian"),
    ],
)
def test_guarded(prefix: str, reason: str) -> None:
    """D10's table: refused whatever the path."""
    here = around(foreign=[("10.8.0.0/16", 20)], own=["10.7.1.0/24"])
    key = ipaddress.ip_network(prefix)
    found = oracle.expected({key: [path("192.0.2.9")]}, here)
    assert {reason} == found.refused[key]
    assert found.routes == {ipaddress.ip_network("10.7.1.0/24"): oracle.BLACKHOLE}


@pytest.mark.parametrize("prefix", ["192.0.0.0/8", "10.0.0.0/8"])
def test_around_what_is_guarded(prefix: str) -> None:
    """Covering routes are fine."""
    here = around(foreign=[("10.8.0.0/16", 20)], own=["10.7.1.0/24"])
    key = ipaddress.ip_network(prefix)
    assert key in oracle.expected({key: [path("192.0.2.9")]}, here).routes


@pytest.mark.parametrize(("metric", "there"), [(0, True), (17900, False)])
def test_own_subnet(metric: int, there: bool) -> None:
    """The blackhole stands beside others' routes, unless they have taken its very key."""
    own = "10.7.1.0/24"
    found = oracle.expected({}, around(foreign=[(own, metric)], own=[own]))
    assert (ipaddress.ip_network(own) in found.routes) is there
