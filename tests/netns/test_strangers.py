"""What is not ours stays bit for bit as it was, whatever becomes of us and our neighbours (D3)."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from bgp_ipvlan import ownership
from lab import namespace
from tests.netns import scene as scene_

EACH = (
    ("10.20.1.0/24", "via 192.0.2.9 dev eth1 proto static"),
    ("10.20.2.0/24", "via 192.0.2.9 dev eth1 proto dhcp metric 100"),
    ("10.20.3.0/24", "via 192.0.2.9 dev eth1 proto static metric 17900"),
    ("10.20.4.0/24", "via 192.0.2.9 dev eth1 proto 179 metric 100"),
    ("10.20.5.0/24", "dev eth2 proto kernel scope link metric 50"),
    ("10.20.6.0/24", "metric 99 nexthop via 192.0.2.8 dev eth1 nexthop via 192.0.2.9 dev eth1"),
    ("fd00:20:1::/64", "via 2001:db8::9 dev eth1 proto ra metric 1024"),
    ("fd00:20:2::/64", "via 2001:db8::9 dev eth1 proto boot metric 1024"),
    ("fd00:20:3::/64", "via 2001:db8::9 dev eth1 proto static metric 17900"),
    ("fd00:20:4::/64", "dev eth2 proto kernel metric 256"),
)
"""Prefix, and somebody's route for it."""
PREFIXES = tuple(prefix for prefix, _ in EACH)
PLAIN = ("10.20.99.0/24", "fd00:20:99::/64")
"""Nobody else has these."""


@pytest.fixture
def scene() -> Iterator[scene_.Scene]:
    """Running, nothing said yet."""
    with scene_.scene() as found:
        yield found


def route(scene: scene_.Scene, verb: str, prefix: str, rest: str = "") -> None:
    """`ip route VERB PREFIX REST`."""
    scene.ip(f"{'-6 ' if ':' in prefix else ''}route {verb} {prefix} {rest}")


def refused(scene: scene_.Scene, *prefixes: str) -> bool:
    """Whether these are refused for others' routes, and we have none for them."""
    found = scene.refused()
    none = scene.ours().keys().isdisjoint(prefixes)
    return none and all(found.get(prefix) == "foreign-route" for prefix in prefixes)


def test_under_a_prefix_of_our_own() -> None:
    """Where we would drop what nobody has (D13): somebody's route under that very key stays."""
    with namespace.Lab() as lab:
        scene = scene_.Scene(lab)
        rest = "via 192.0.2.9 dev eth1 proto static metric 17900"
        scene.ip(f"route add 10.1.1.0/24 {rest}")
        scene.ip("-6 route add fd00:1::/64 via 2001:db8::9 dev eth1 metric 17900")
        before = scene.theirs()
        scene.start(scene_.network("10.1.1.0/24"), scene_.network("fd00:1::/64"))
        told = [
            f"route refused by kernel prefix={prefix} reason=foreign-route"
            for prefix in ("10.1.1.0/24", "fd00:1::/64")
        ]
        scene.until(lambda: all(line in scene.daemon.log() for line in told), "refused")
        assert all(route["pending"] for route in scene.daemon.ask("routes")["routes"])
        scene.audit()
        assert before == scene.theirs()

        route(scene, "del", "10.1.1.0/24", rest)
        route(scene, "del", "fd00:1::/64", "metric 17900")
        both = {"10.1.1.0/24", "fd00:1::/64"}
        scene.until(lambda: scene.ours().keys() == both, "ours", timeout=3)
        assert all(scene.daemon.log().count(line) == 1 for line in told)


def test_theirs_before_ours(scene: scene_.Scene) -> None:
    """There first: through learning, audit, session loss, restart, crash, stop and cleanup."""
    for prefix, rest in EACH:
        route(scene, "add", prefix, rest)
    before = scene.theirs()

    def check(what: str) -> None:
        scene.until(lambda: set(PLAIN) <= scene.ours().keys(), f"ours after {what}")
        scene.until(lambda: refused(scene, *PREFIXES), f"refusals after {what}")
        assert before == scene.theirs(), what

    scene.peer.announce(*PREFIXES, *PLAIN)
    check("learning")
    scene.audit()
    check("an audit")
    scene.peer.stop()
    scene.until(lambda: not scene.ours(), "ours gone with the session")
    assert before == scene.theirs()
    scene.peer.start()
    scene.established()
    scene.peer.announce(*PREFIXES, *PLAIN)
    check("a session")
    scene.daemon.stop()
    assert set(PLAIN) == scene.ours().keys()
    scene.daemon.start()
    scene.established()
    check("a restart")
    scene.daemon.kill()
    scene.daemon.start()
    scene.established()
    check("a crash")
    scene.daemon.stop_command("--withdraw")
    assert scene.ours() == {}
    assert not scene.host.json("ip", "-j", "nexthop")
    assert before == scene.theirs()
    scene.daemon.run("cleanup")
    assert before == scene.theirs()


def test_ours_before_theirs(scene: scene_.Scene) -> None:
    """There later: ours makes room, theirs is as they made it; and when it goes ours is back."""
    scene.peer.announce(*PREFIXES, *PLAIN)
    scene.until(lambda: scene.ours().keys() == {*PREFIXES, *PLAIN}, "all learned")
    for prefix, rest in EACH:
        # With our metric `add` says that there is one; who insists replaces it.
        route(scene, "replace" if "17900" in rest else "add", prefix, rest)
    before = scene.theirs()
    scene.until(lambda: refused(scene, *PREFIXES), "ours gone")
    assert before == scene.theirs()
    scene.audit()
    assert before == scene.theirs()

    for prefix, rest in EACH:
        route(scene, "del", prefix, rest)
    scene.until(lambda: scene.ours().keys() == {*PREFIXES, *PLAIN}, "ours back")


def test_beside_ours_with_our_metric(scene: scene_.Scene) -> None:
    """IPv4 takes a second route of one metric behind ours (`append`): only ours goes."""
    prefix, rest = EACH[2]
    scene.peer.announce(prefix)
    scene.until(lambda: prefix in scene.ours(), "learned")
    route(scene, "append", prefix, rest)
    before = scene.theirs()
    scene.until(lambda: refused(scene, prefix), "ours gone")
    assert before == scene.theirs()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_while_we_are_away(scene: scene_.Scene, how: str) -> None:
    """Made under our very keys while no daemon ran, or over routes it left: found and let be."""
    scene.peer.announce(*PREFIXES)
    scene.until(lambda: scene.ours().keys() == set(PREFIXES), "all learned")
    if how == "stop":
        scene.daemon.stop()
    else:
        scene.daemon.process.signal(signal.SIGKILL)
        scene.daemon.process.kill()
    for prefix, rest in EACH:
        route(scene, "replace" if "17900" in rest else "add", prefix, rest)
    before = scene.theirs()
    scene.daemon.start()
    scene.established()
    scene.until(lambda: refused(scene, *PREFIXES), "ours gone")
    assert before == scene.theirs()


def ours_object(scene: scene_.Scene, family: str) -> int:
    """The nexthop object of the peer's routes."""
    found = scene.host.json("ip", "-j", f"-{family}", "nexthop")
    [id_] = [one["id"] for one in found if one["id"] in ownership.NEXTHOP_IDS]
    return int(id_)


@pytest.mark.parametrize("table", ["main", "100"])
@pytest.mark.parametrize("audited", [True, False])
def test_through_our_object(scene: scene_.Scene, table: str, audited: bool) -> None:
    """Somebody's route points at an object of ours: it outlives our use of that, in any table."""
    scene.peer.announce(*PLAIN)
    scene.until(lambda: scene.ours().keys() == set(PLAIN), "learned")
    for family, prefix in (("4", "10.66.0.0/24"), ("6", "fd00:66::/64")):
        id_ = ours_object(scene, family)
        route(scene, "add", prefix, f"nhid {id_} proto static table {table}")
    before = scene.theirs()
    if audited:
        scene.audit()
    scene.peer.withdraw(*PLAIN)
    scene.until(lambda: not scene.ours(), "ours gone")
    assert before == scene.theirs()
    scene.audit()
    assert before == scene.theirs()
    scene.daemon.stop()
    scene.daemon.start()
    assert before == scene.theirs()
    scene.audit()
    assert before == scene.theirs()

    route(scene, "del", "10.66.0.0/24", f"table {table}")
    route(scene, "del", "fd00:66::/64", f"table {table}")
    scene.audit()
    scene.until(lambda: not (scene.host.json("ip", "-j", "nexthop") or []), "the objects go")


def test_through_our_object_when_its_next_hop_goes(scene: scene_.Scene) -> None:
    """The session ends, with all its routes by one message: not by one that takes theirs along."""
    scene.peer.announce(*PLAIN)
    scene.until(lambda: scene.ours().keys() == set(PLAIN), "learned")
    route(scene, "add", "10.66.0.0/24", f"nhid {ours_object(scene, '4')} proto static")
    route(scene, "add", "fd00:66::/64", f"nhid {ours_object(scene, '6')} proto static")
    before = scene.theirs()
    scene.peer.stop()
    scene.until(lambda: not scene.ours(), "ours gone")
    assert before == scene.theirs()
    scene.daemon.stop_command("--withdraw")
    scene.daemon.run("cleanup", check=False)
    assert before == scene.theirs()
