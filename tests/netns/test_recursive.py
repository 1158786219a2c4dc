"""`recursive`: next hops behind others' routes, by the whole daemon on a real kernel."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest

from lab import namespace
from tests.netns import scene as scene_

FAR, FAR6 = "10.30.0.5", "fd00:30::5"
P4, P6 = "10.50.1.0/24", "fd00:50:1::/64"
MANY = [str(ipaddress.ip_network((0x0A3C0000 + (n << 8), 24))) for n in range(200)]


@pytest.fixture
def scene() -> Iterator[scene_.Scene]:
    """Running, nothing said yet."""
    with scene_.scene() as found:
        yield found


def ways(scene: scene_.Scene, prefix: str) -> set[str]:
    """Where a route of ours leads."""
    route = scene.ours().get(prefix)
    if route is None:
        return set()
    return {f"{hop['gateway']}%{hop['dev']}" for hop in route.get("nexthops", [route])}


def test_they_follow(scene: scene_.Scene) -> None:
    """They come with a static route, move with it, take two ways, and go with it: both families."""
    router = scene.router
    router.announce(P4, next_hop=FAR)
    router.announce(P6, next_hop=FAR6)
    scene.until(lambda: len(scene.refused()) == 2, "refused")
    assert set(scene.refused().values()) == {"nexthop-offlink"}

    scene.ip("route add 10.30.0.0/16 via 192.0.2.3 dev eth1")
    scene.ip("-6 route add fd00:30::/64 via 2001:db8::3 dev eth1")
    scene.until(lambda: ways(scene, P4) == {"192.0.2.3%eth1"}, "routed", timeout=1)
    scene.until(lambda: ways(scene, P6) == {"2001:db8::3%eth1"}, "routed", timeout=1)
    assert scene.refused() == {}

    scene.ip("route add 10.30.0.0/24 via 192.0.2.9 dev eth1")
    scene.ip("-6 route replace fd00:30::/64 via 2001:db8::9 dev eth1")
    scene.until(lambda: ways(scene, P4) == {"192.0.2.9%eth1"}, "the longer match", timeout=1)
    scene.until(lambda: ways(scene, P6) == {"2001:db8::9%eth1"}, "the new way", timeout=1)

    scene.ip("route replace 10.30.0.0/24 nexthop via 192.0.2.8 dev eth1 nexthop via 192.0.2.9")
    both = {"192.0.2.8%eth1", "192.0.2.9%eth1"}
    scene.until(lambda: ways(scene, P4) == both, "two ways at once", timeout=1)

    scene.ip("route del 10.30.0.0/24")
    scene.until(lambda: ways(scene, P4) == {"192.0.2.3%eth1"}, "the shorter match", timeout=1)
    scene.ip("route del 10.30.0.0/16")
    scene.ip("-6 route del fd00:30::/64")
    scene.until(lambda: scene.ours() == {}, "gone", timeout=1)
    scene.until(lambda: len(scene.refused()) == 2, "refused again", timeout=1)
    assert "BUG" not in scene.daemon.log()


def test_many_by_one(scene: scene_.Scene) -> None:
    """All prefixes of a next hop, whatever leads to it; a route in the way of one stays theirs."""
    scene.ip(f"route add {MANY[7]} via 192.0.2.9 dev eth1 proto static")
    scene.router.announce(*MANY, next_hop=FAR)
    scene.until(lambda: len(scene.refused()) == len(MANY), "refused")
    scene.ip("route add 10.30.0.5/32 dev eth1 scope link")
    scene.until(lambda: len(scene.ours()) == len(MANY) - 1, "routed", timeout=5)
    assert ways(scene, MANY[0]) == {f"{FAR}%eth1"}
    assert scene.refused() == {MANY[7]: "foreign-route"}
    scene.ip("route del 10.30.0.5/32")
    scene.until(lambda: scene.ours() == {}, "gone", timeout=5)


def test_best_path_goes_by_it(scene: scene_.Scene) -> None:
    """A path whose next hop cannot be reached loses to any other, and wins when it can."""
    scene.router.announce(P4, next_hop=FAR)
    scene.peer.announce(P4, prepend=2)
    scene.until(lambda: ways(scene, P4) == {"192.0.2.2%eth1"}, "the longer AS path")
    scene.ip("route add 10.30.0.0/16 via 192.0.2.3 dev eth1")
    scene.until(lambda: ways(scene, P4) == {"192.0.2.3%eth1"}, "the shorter one", timeout=1)
    scene.ip("route del 10.30.0.0/16")
    scene.until(lambda: ways(scene, P4) == {"192.0.2.2%eth1"}, "the longer one again", timeout=1)


def test_switched_while_it_runs(scene: scene_.Scene) -> None:
    """`neighbor set`: the session stays, the neighbour is asked again, and shown with it."""
    scene.ip("route add 10.30.0.0/16 via 192.0.2.3 dev eth1")
    scene.peer.announce(P4, next_hop=FAR)
    scene.until(lambda: scene.refused() == {P4: "nexthop-offlink"}, "refused")

    def configured() -> bool:
        [one] = [
            n for n in scene.daemon.ask("neighbors")["neighbors"] if n["address"] == scene_.PEER
        ]
        sessions.add((one["state"], one["since"]))
        return bool(one["configured"]["recursive"])

    sessions: set[tuple[str, float]] = set()
    assert not configured()
    scene.daemon.run("neighbor", "set", f"{scene_.PEER},recursive")
    scene.until(lambda: ways(scene, P4) == {"192.0.2.3%eth1"}, "routed", timeout=5)
    assert configured()
    [(state, _)] = sessions
    assert state == "Established"
    scene.daemon.run("neighbor", "set", f"{scene_.PEER},no-recursive")
    scene.until(lambda: scene.refused() == {P4: "nexthop-offlink"}, "refused again", timeout=5)
    assert scene.ours() == {}


def test_neighbors_of_a_range() -> None:
    """They have what their range has."""
    with namespace.Lab() as lab:
        found = scene_.Scene(lab)
        flags = [flag for flag in found.daemon.flags if flag.startswith("192.0.2.")]
        kept = [f for f in found.daemon.flags if f not in {*flags, "--neighbor"}]
        found.daemon.flags = (*kept, "--neighbor-range", "192.0.2.0/24,as=64513,recursive")
        found.start()
        found.ip("route add 10.30.0.0/16 via 192.0.2.3 dev eth1")
        found.peer.announce(P4, next_hop=FAR)
        found.until(lambda: ways(found, P4) == {"192.0.2.3%eth1"}, "routed")


def test_the_parent_goes_down(scene: scene_.Scene) -> None:
    """Its routes go, and are back when somebody has made his again."""
    scene.ip("route add 10.30.0.0/16 via 192.0.2.3 dev eth1")
    scene.router.announce(P4, next_hop=FAR)
    scene.until(lambda: P4 in scene.ours(), "routed")
    scene.ip("link set eth1 down")
    scene.until(lambda: P4 not in scene.ours(), "gone")
    scene.ip("link set eth1 up")
    scene.established()
    scene.until(lambda: scene.refused() == {P4: "nexthop-offlink"}, "the static route has gone")
    scene.ip("route add 10.30.0.0/16 via 192.0.2.3 dev eth1")
    scene.until(lambda: ways(scene, P4) == {"192.0.2.3%eth1"}, "back", timeout=1)


def test_max_routes() -> None:
    """What is above the limit waits, is told of once, and is taken in when there is room."""
    with scene_.scene(scene_.network("10.1.1.0/24"), flags=("--max-routes", "50")) as found:
        found.peer.announce(*MANY[:40])
        found.until(lambda: len(found.ours()) == 41, "all in")
        found.router.announce(*MANY[40:])
        found.until(lambda: len(found.refused()) == 151, "the rest refused")
        assert len(found.ours()) == 50
        assert "10.1.1.0/24" in found.ours(), "our own network is never refused"
        assert set(found.refused().values()) == {"max-routes"}
        [warning] = [w for w in found.daemon.ask("status")["warnings"] if "max-routes" in w]
        assert warning == "151 ipv4 prefixes have no route, --max-routes 50 is reached [max-routes]"
        assert found.daemon.log().count("reason=max-routes") == 1

        found.peer.stop()
        found.until(lambda: len(found.refused()) == 111, "room for forty more")
        assert len(found.ours()) == 50
        found.router.withdraw(*MANY[60:])
        found.until(lambda: found.refused() == {}, "room for all")
        assert set(found.ours()) == {"10.1.1.0/24", *MANY[40:60]}
