"""The daemon as a user runs it, beside daemons of every make: `ip route` is the witness."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lab import agent, namespace, peers
from tests.interop.site import ALL, THEIRS, THEIRS6, THEM, THEM6, US, Site

AS = 64512


@pytest.fixture(
    params=[(kind, remote_as) for kind in ALL for remote_as in (AS, 64513)],
    ids=lambda param: f"{param[0].__name__}-{'ibgp' if param[1] == AS else 'ebgp'}",
)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A neighbour of each make, within our AS and in another; nothing started."""
    kind, remote_as = request.param
    with namespace.Lab() as lab:
        yield Site(lab, kind, (AS, remote_as))


@pytest.fixture
def bird() -> Iterator[Site]:
    """BIRD in another AS; nothing started."""
    with namespace.Lab() as lab:
        yield Site(lab, peers.Bird, (AS, 64513))


def test_learned_routes_are_in_the_kernel(site: Site) -> None:
    """Learned is installed via the neighbour, withdrawn is gone, and a foreign route is let be."""
    site.host.run("ip", "route", "add", "10.99.0.0/16", "via", THEM, "proto", "static")
    daemon = _start(site)
    site.peer.start()
    route = _wait(site, THEIRS, there=True)
    if isinstance(site.peer, peers.GoBgp):
        _refused_then_mended(site, daemon)
    six = _wait(site, THEIRS6, there=True)
    site.peer.announce("10.3.0.0/20")
    _wait(site, "10.3.0.0/20", there=True)
    site.peer.withdraw("10.3.0.0/20")
    _wait(site, "10.3.0.0/20", there=False)

    assert (route["gateway"], route["dev"], route["metric"]) == (THEM, "eth1", 17900)
    assert (six["dev"], six["metric"]) == ("eth1", 17900)
    assert site.peer.established(US)

    daemon.stop_command("--withdraw")
    assert _ours(site) == {}
    assert [r["dst"] for r in site.host.routes("proto", "static")] == ["10.99.0.0/16"]


def test_routes_outlive_daemon_and_neighbor(bird: Site) -> None:
    """No route leaves the kernel while the daemon, or then BIRD, is killed and comes back."""
    daemon = _start(bird)
    bird.peer.start()
    _wait(bird, THEIRS, there=True)
    watch = bird.host.start("ip", "monitor", "route", log="monitor.log")

    def mark(address: str) -> bool:
        # Added and deleted, as replacing a route by its like is told to nobody; and again on
        # each call, as what comes before the monitor has subscribed is never shown.
        route = ("blackhole", address, "proto", "static")
        for verb in ("add", "del"):
            bird.host.run("ip", "route", verb, *route)
        return f"Deleted blackhole {address}" in watch.output()

    namespace.wait_until(lambda: mark("198.51.100.1"), "the monitor to watch")

    daemon.kill()
    assert THEIRS in _ours(bird)
    daemon.start()
    daemon.established()

    bird.peer.kill()
    namespace.wait_until(lambda: "are kept for" in daemon.log(), "the daemon to notice")
    assert THEIRS in _ours(bird)
    assert isinstance(bird.peer, peers.Bird)
    bird.peer.start(restarting=True)
    peers.wait_established(bird.peer, US)
    daemon.established()
    assert THEIRS in _ours(bird)

    # The monitor tells in order: with this, all that was deleted before has been shown.
    namespace.wait_until(lambda: mark("198.51.100.2"), "the monitor to show all")
    assert f"Deleted {THEIRS}" not in watch.output()


def test_neighbor_that_never_returns(bird: Site) -> None:
    """Its routes leave the kernel when its restart time is over."""
    neighbor = peers.Neighbor(address=US, remote_as=AS, restart_time=2)
    bird.peer = peers.Bird(
        bird.peer.host,
        peers.Speaker(local_as=64513, router_id=THEM, neighbors=(neighbor,), originate=(THEIRS,)),
    )
    daemon = _start(bird)
    bird.peer.start()
    _wait(bird, THEIRS, there=True)
    bird.peer.kill()
    namespace.wait_until(lambda: "are kept for 2 s" in daemon.log(), "the daemon to notice")

    _wait(bird, THEIRS, there=False)


def test_second_daemon(bird: Site) -> None:
    """A second daemon in the namespace ends with its reason; the first does not notice."""
    daemon = _start(bird)
    bird.peer.start()
    daemon.established()
    second = _start(bird, wait=False)

    assert second.process.wait() == 1
    assert "already-running" in second.process.output()
    assert "bgp-ipvlan stop" in second.process.output()
    assert daemon.process.alive
    assert bird.peer.established(US)
    assert THEIRS in _ours(bird)


def test_port_in_use(bird: Site) -> None:
    """Beside another BGP daemon on the host: an error with its reason, and nothing left behind."""
    neighbor = peers.Neighbor(address=THEM, remote_as=64513)
    other = peers.Bird(bird.host, peers.Speaker(local_as=AS, router_id=US, neighbors=(neighbor,)))
    other.start()
    namespace.wait_until(
        lambda: ":179" in bird.host.run("ss", "-Hltn").stdout, "the other daemon to listen"
    )
    daemon = _start(bird, wait=False)

    assert daemon.process.wait() == 1
    assert "port-in-use" in daemon.process.output()
    assert "ss -ltnp 'sport = :179'" in daemon.process.output()
    assert "Traceback" not in daemon.process.output()
    assert _ours(bird) == {}


def _refused_then_mended(site: Site, daemon: agent.Agent) -> None:
    """GoBGP's own next hop for IPv6 on an IPv4 session is IPv4-mapped, which no kernel can use.

    It is refused with its reason, and the same prefix with an IPv6 host's address is taken.
    """
    refusal = f"route refused prefix={THEIRS6} next_hop=::ffff:c000:202"
    namespace.wait_until(lambda: refusal in daemon.log(), "the refusal")
    (line,) = (line for line in daemon.log().splitlines() if refusal in line)
    assert line.endswith("reason=nexthop-offlink")
    assert THEIRS6 not in _ours(site)
    site.peer.host.run(*("gobgp", "global", "rib", "add", "-a", "ipv6", THEIRS6, "nexthop", THEM6))


def _start(site: Site, *, wait: bool = True) -> agent.Agent:
    """The daemon on our host; without waiting, where it is not to come up."""
    number = site.ases[1]
    flags = ("--host-interface", "eth1", "--as", str(AS), "--neighbor", f"{THEM},as={number}")
    found = agent.Agent(site.host, *flags)
    if wait:
        found.start()
    else:
        found.process = site.host.start(agent.COMMAND, "run", *flags, log="refused.log")
    return found


def _ours(site: Site) -> dict[str, dict[str, Any]]:
    """`ip -j route show proto 179`, by prefix."""
    return {
        r["dst"]: r for family in (4, 6) for r in site.host.routes("proto", "179", family=family)
    }


def _wait(site: Site, prefix: str, *, there: bool) -> dict[str, Any]:
    what = f"{prefix} to be {'in' if there else 'gone from'} the kernel"
    namespace.wait_until(lambda: (prefix in _ours(site)) is there, what)
    return _ours(site).get(prefix, {})
