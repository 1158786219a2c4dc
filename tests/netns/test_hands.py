"""Somebody's hand on our routes, on a real kernel: put back at once, told of, bounded."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from bgp_ipvlan import model, ownership
from tests.netns import scene as scene_

FOUR, SIX, MORE = "10.20.1.0/24", "fd00:20:1::/64", "10.20.2.0/24"
OWN = scene_.network("10.1.1.0/24")
GATEWAYS = {FOUR: scene_.PEER, SIX: scene_.PEER6, MORE: scene_.PEER}


@pytest.fixture
def scene() -> Iterator[scene_.Scene]:
    """Two learned routes of IPv4, one of IPv6, and a network of ours."""
    with scene_.scene(OWN) as found:
        found.peer.announce(FOUR, SIX, MORE)
        found.until(lambda: intact(found), "all learned")
        yield found


def intact(scene: scene_.Scene) -> bool:
    """Whether every route of ours is there, and leads where it should."""
    ours = scene.ours()
    return (
        ours.keys() == {FOUR, SIX, MORE, "10.1.1.0/24"}
        and all(ours[prefix].get("gateway") == gateway for prefix, gateway in GATEWAYS.items())
        and ours["10.1.1.0/24"]["type"] == "blackhole"
    )


def lines(scene: scene_.Scene, reason: str) -> list[str]:
    """What the log says of repairs."""
    return re.findall(rf"WARNING (.* reason={reason}\b.*)", scene.daemon.log())


OURS = f"proto 179 metric {ownership.ROUTE_METRIC}"


@pytest.mark.parametrize(
    ("command", "prefix"),
    [
        (f"route del {FOUR} {OURS}", FOUR),
        (f"-6 route del {SIX} {OURS}", SIX),
        (f"route del blackhole 10.1.1.0/24 {OURS}", "10.1.1.0/24"),
        (f"route replace {FOUR} via 192.0.2.66 dev eth1 {OURS}", FOUR),
        (f"-6 route replace {SIX} via 2001:db8::66 dev eth1 {OURS}", SIX),
        (f"route replace 10.1.1.0/24 via 192.0.2.66 dev eth1 {OURS}", "10.1.1.0/24"),
    ],
)
def test_one_route(scene: scene_.Scene, command: str, prefix: str) -> None:
    """Deleted or led elsewhere: put back by the event, counted once, one line in the log."""
    audits = scene.daemon.ask("status")["counters"]["audits"]
    scene.ip(command)
    scene.until(lambda: intact(scene), "put back", timeout=2)

    status = scene.daemon.ask("status")
    assert status["counters"]["repaired"] == 1
    assert status["counters"]["audits"] == audits, "no need to read all"
    assert lines(scene, "changed-by-others") == [
        f"route repaired prefix={prefix} reason=changed-by-others"
    ]


def test_all_flushed(scene: scene_.Scene) -> None:
    """All routes of ours at one go, of both families."""
    # `ip route flush` itself cannot: it names nexthop object and gateway, which the kernel refuses.
    commands = "".join(f"route del {prefix} {OURS}\n" for prefix in (FOUR, MORE, SIX))
    commands += f"route del blackhole 10.1.1.0/24 {OURS}\n"
    scene.host.run("ip", "-batch", "-", stdin=commands)
    scene.until(lambda: intact(scene), "put back", timeout=2)

    assert scene.repaired() == 4


@pytest.mark.parametrize("family", [model.Family.IPV4, model.Family.IPV6])
@pytest.mark.parametrize("how", ["del", "replace", "take"])
def test_the_nexthop_object(scene: scene_.Scene, family: model.Family, how: str) -> None:
    """Deleted with all its routes, led elsewhere, or made somebody else's own."""
    number = 4 if family is model.Family.IPV4 else 6
    peer = scene_.PEER if number == 4 else scene_.PEER6
    stranger = "192.0.2.66" if number == 4 else "2001:db8::66"
    found = scene.host.json("ip", "-j", f"-{number}", "nexthop")
    [id_] = [one["id"] for one in found if one.get("gateway") == peer]
    protocol = "static" if how == "take" else "179"
    rest = "" if how == "del" else f" via {stranger} dev eth1 protocol {protocol}"
    scene.ip(f"nexthop {'del' if how == 'del' else 'replace'} id {id_}{rest}")
    scene.until(lambda: intact(scene), "put back", timeout=2)

    if how == "take":
        [theirs] = [o for o in scene.host.json("ip", "-j", "nexthop") if o["id"] == id_]
        assert (theirs["gateway"], theirs["protocol"]) == (stranger, "static"), "theirs stays so"


def test_a_program_that_deletes_in_a_loop(scene: scene_.Scene) -> None:
    """It is answered a few times at once, then less and less; the log says what it is; others stand."""
    deleted = 0
    end = time.monotonic() + 3
    while time.monotonic() < end:
        done = scene.host.run("ip", "route", "del", FOUR, "proto", "179", check=False)
        deleted += done.returncode == 0
    # Five at once, then after 0.5, 1 and 2 seconds.
    assert 5 <= deleted <= 9
    assert {SIX, MORE, "10.1.1.0/24"} <= scene.ours().keys()
    assert len(lines(scene, "changed-by-others")) == 1
    [told] = lines(scene, "contested")
    assert f"prefix={FOUR}" in told
    scene.until(lambda: intact(scene), "put back in the end", timeout=15)


def test_two_that_answer_each_other(scene: scene_.Scene) -> None:
    """A program that deletes at each notification does not make us spin either."""
    code = (
        "import subprocess\n"
        "watch = subprocess.Popen(['ip', 'monitor', 'route'], stdout=subprocess.PIPE, text=True)\n"
        f"delete = ['ip', 'route', 'del', '{FOUR}', 'proto', '179']\n"
        "subprocess.run(delete)\n"
        "for line in watch.stdout:\n"
        f"    if line.startswith('{FOUR}'):\n"
        "        print('seen', flush=True)\n"
        "        subprocess.run(delete)\n"
    )
    fighter = scene.host.start("python3", "-c", code, log="fighter.log")
    scene.until(lambda: lines(scene, "contested"), "the fight to be noticed")
    scene.until(lambda: fighter.output().count("seen") >= 7, "two more rounds")
    fighter.kill()
    scene.until(lambda: intact(scene), "put back in the end", timeout=30)

    assert fighter.output().count("seen") <= 10
    assert len(lines(scene, "changed-by-others")) <= 2
