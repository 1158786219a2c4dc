"""What only an engine with a gobgpd has to stand: its crash, its silence, and others who use it too."""

from __future__ import annotations

import signal
import stat
import time
from collections.abc import Iterator

import pytest

from lab import namespace, peers
from tests.interop.scene import (
    API,
    ATTACHED_3,
    ATTACHED_4,
    LATER,
    LEFT,
    OF_LEFT,
    OF_LEFT6,
    OURS,
    OURS6,
    RIGHT,
    RIGHT_AS,
    SPAWNED_3,
    THEIRS,
    TO_INSIDE,
    TO_LEFT,
    US,
    Engine,
    Scene,
    Watch,
    sessions,
)

FOREIGN, FOREIGN_HOP = "10.1.7.0/24", "192.0.2.77"
FILE = f"""
[[neighbors]]
[neighbors.config]
neighbor-address = "{RIGHT}"
peer-as = {RIGHT_AS}
"""
"""A neighbour of the administrator's own."""


def _with(*engines: Engine) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("engine", engines, ids=lambda engine: engine.name, indirect=True)


each = _with(ATTACHED_3, SPAWNED_3)
attached = _with(ATTACHED_3, ATTACHED_4)
spawned = _with(SPAWNED_3)


@pytest.fixture
def scene(engine: Engine) -> Iterator[Scene]:
    """All run, and all know all; the left BIRD has our routes in its kernel, to be watched."""
    with namespace.Lab() as lab:
        made = Scene(lab, engine)
        made.left.change(install=True)
        made.up()
        yield made


# --- gobgpd is lost ---------------------------------------------------------------------------


@each
def test_gobgpd_dies_and_is_back(scene: Scene) -> None:
    """Nothing that was learned goes, no neighbour loses a route of ours, nothing is said twice."""
    watch = Watch(scene.left.host)
    scene.order("gone")
    before = [(bird.updates(us), sessions(bird)) for bird, us in scene.each()]
    _signal_gobgpd(scene, signal.SIGKILL)
    scene.wait(lambda: scene.neighbor(LEFT)["state"] != "Established", "us to notice")
    assert scene.prefixes() == THEIRS
    if not scene.engine.spawned:
        scene.gobgpd.start(restarting=True)
    for (bird, _us), (_, count) in zip(scene.each(), before, strict=True):
        namespace.wait_until(lambda b=bird, c=count: sessions(b) == c + 1, "a new session")  # type: ignore[misc]
        for prefix in (OURS, OURS6):
            namespace.wait_until(
                lambda b=bird, p=prefix: not peers.wait_learned(b, p).stale,  # type: ignore[misc]
                "our routes to be fresh",
            )
        assert bird.learned(OURS) is not None
    # What is announced now comes after all that was due.
    scene.announce(LATER)
    for (bird, us), (number, _) in zip(scene.each(), before, strict=True):
        peers.wait_learned(bird, LATER)
        assert bird.updates(us) == number + 3
    scene.ready()
    assert scene.order("gone") == []
    deleted = [line for line in watch.lines() if line.startswith("Deleted")]
    assert [line for line in deleted if OURS in line or OURS6 in line] == []


@attached
def test_gobgpd_stays_away(engine: Engine) -> None:
    """What was learned is kept as long as it may come back, the deadline, and not longer."""
    with namespace.Lab() as lab:
        scene = Scene(lab, engine, speaker={"sync_deadline": 4})
        scene.up()
        scene.gobgpd.process.kill()
        begun = time.monotonic()
        scene.wait(lambda: scene.neighbor(LEFT)["state"] != "Established", "us to notice")
        assert scene.prefixes() == THEIRS
        namespace.wait_until(lambda: scene.prefixes() == set(), "all to go")
        assert 3 <= time.monotonic() - begun < 12
        scene.gobgpd.start(restarting=True)
        scene.ready()


@each
def test_gobgpd_is_silent_for_a_while(scene: Scene) -> None:
    """Stopped for a moment, shorter than the hold time: nobody notices, and nothing is lost."""
    before = [(bird.updates(us), sessions(bird)) for bird, us in scene.each()]
    scene.order("gone")
    _signal_gobgpd(scene, signal.SIGSTOP)
    scene.announce(LATER)
    begun = time.monotonic()
    told = scene.order("delivered", prefixes=[LATER], timeout=2)
    took = time.monotonic() - begun
    scene.withdraw(LATER)
    scene.announce("10.1.3.0/24")
    _signal_gobgpd(scene, signal.SIGCONT)
    for (bird, us), (number, count) in zip(scene.each(), before, strict=True):
        peers.wait_learned(bird, "10.1.3.0/24")
        assert sessions(bird) == count
        # The one that was taken back meanwhile may have been on its way already.
        assert bird.updates(us) - number in {1, 2}
        assert bird.learned(LATER) is None
    assert scene.order("gone") == []
    assert scene.prefixes() == THEIRS
    assert 2 <= took < 4
    assert LEFT in told["waiting"]


@attached
def test_api_is_cut(scene: Scene) -> None:
    """Our connection to gobgpd is reset, and none can be made for a while: nobody notices."""
    before = [(bird.updates(us), sessions(bird)) for bird, us in scene.each()]
    scene.order("gone")
    port = API.partition(":")[2]
    scene.host.run("nft", "add table inet cut")
    scene.host.run("nft", "add chain inet cut in { type filter hook input priority 0; }")
    for end in ("sport", "dport"):
        scene.host.run("nft", f"add rule inet cut in tcp {end} {port} reject with tcp reset")
    scene.announce(LATER)
    scene.wait(lambda: "gobgp-unreachable" in scene.ours.process.output(), "us to notice")
    assert scene.prefixes() == THEIRS
    # What neighbours say meanwhile we must be told later.
    scene.left.originate("10.11.0.0/16")
    scene.host.run("nft", "delete table inet cut")
    for (bird, us), (number, count) in zip(scene.each(), before, strict=True):
        peers.wait_learned(bird, LATER)
        assert (bird.updates(us), sessions(bird)) == (number + 1, count)
    wanted = THEIRS - {OF_LEFT, OF_LEFT6} | {"10.11.0.0/16"}
    scene.wait(lambda: scene.prefixes() == wanted, "the new one, and the old ones to go")
    assert set(scene.order("gone")) == {OF_LEFT, OF_LEFT6}


# --- others use it too ------------------------------------------------------------------------


@pytest.fixture
def shared(engine: Engine) -> Iterator[Scene]:
    """Gobgpd has a neighbour and a prefix of the administrator's own, before we come."""
    with namespace.Lab() as lab:
        made = Scene(lab, engine, neighbors=(TO_LEFT, TO_INSIDE), foreign=FILE)
        for bird in made.birds:
            bird.start()
        made.right.change(neighbors=(peers.Neighbor(address=US, remote_as=64512),))
        made.gobgpd.start()
        made.gobgpd.run("global", "rib", "add", FOREIGN, "nexthop", FOREIGN_HOP)
        peers.wait_learned(made.right, FOREIGN)
        made.start()
        made.ours.wait_synced()
        for bird in made.birds:
            peers.wait_learned(bird, OURS)
        yield made


@attached
def test_foreign_path_on_our_prefix(shared: Scene) -> None:
    """It stays, and ours waits, which is told once; when it goes, ours comes."""
    scene = shared
    scene.announce(FOREIGN, LATER)
    scene.wait(lambda: "reason=foreign-path" in scene.ours.process.output(), "us to tell")
    for bird in scene.birds:
        peers.wait_learned(bird, LATER)
        assert peers.wait_learned(bird, FOREIGN).next_hop == FOREIGN_HOP
    (path,) = scene.gobgpd.paths(FOREIGN)
    assert str(path).count(FOREIGN_HOP) == 1
    # Taking ours back takes nothing of others.
    scene.withdraw(FOREIGN)
    scene.announce("10.1.3.0/24")
    peers.wait_learned(scene.left, "10.1.3.0/24")
    assert peers.wait_learned(scene.left, FOREIGN).next_hop == FOREIGN_HOP
    scene.announce(FOREIGN)
    scene.gobgpd.run("global", "rib", "del", FOREIGN)
    for bird in scene.birds:
        namespace.wait_until(
            lambda b=bird: (found := b.learned(FOREIGN)) and found.next_hop == US,  # type: ignore[misc]
            "ours to come",
        )
    assert scene.ours.process.output().count("reason=foreign-path") <= 2


@attached
def test_others_are_left_alone(shared: Scene) -> None:
    """By `configure`, `shutdown` and `stop` with withdraw alike: paths and neighbours of others stay."""
    scene = shared
    before = sessions(scene.right), scene.right.updates(US)

    def untouched() -> None:
        assert scene.right.established(US)
        assert sessions(scene.right) == before[0]
        assert peers.wait_learned(scene.right, FOREIGN).next_hop == FOREIGN_HOP
        assert {one["conf"]["neighbor_address"] for one in scene.gobgpd.ctl("neighbor")} >= {RIGHT}

    scene.order("configure", neighbors=[TO_INSIDE])
    namespace.wait_until(lambda: not scene.left.established(US), "ours to be removed")
    untouched()
    scene.order("configure", neighbors=[TO_LEFT, TO_INSIDE])
    peers.wait_learned(scene.left, FOREIGN)
    scene.order("shutdown")
    peers.wait_forgotten(scene.right, OURS)
    namespace.wait_until(lambda: not scene.inside.established(US), "ours to be shut")
    untouched()
    scene.order("resume")
    for bird in scene.birds:
        peers.wait_learned(bird, OURS)
    assert scene.ours.leave() == 0
    for bird in scene.birds:
        peers.wait_forgotten(bird, OURS)
    namespace.wait_until(
        lambda: (
            [one["conf"]["neighbor_address"] for one in scene.gobgpd.ctl("neighbor")] == [RIGHT]
        ),
        "our neighbours to be gone",
    )
    untouched()


@attached
def test_paths_of_an_earlier_life(shared: Scene) -> None:
    """Killed and back: ours are known again, stay where they are wanted, and go where they are not."""
    scene = shared
    before = scene.right.updates(US)
    scene.ours.process.kill()
    for bird in scene.birds:
        assert bird.learned(OURS) is not None
    scene.start(OURS, restarted=True)
    for bird in scene.birds:
        peers.wait_forgotten(bird, OURS6)
        assert bird.learned(OURS) is not None
    # The one that stayed was not said again: BIRD counts a withdrawal elsewhere.
    assert scene.right.updates(US) == before
    assert {one for one in (OURS, OURS6, FOREIGN) if scene.gobgpd.paths(one)} == {OURS, FOREIGN}


# --- ours alone -------------------------------------------------------------------------------


@spawned
def test_nobody_else_can_ask_it(scene: Scene) -> None:
    """Gobgpd listens for BGP, and for us on a socket that root alone may use; its file likewise."""
    listening = scene.host.run("ss", "-Hltnp").stdout.splitlines()
    ports = {line.split()[3].rpartition(":")[2] for line in listening if "gobgpd" in line}
    assert ports == {"179"}
    for name in ("gobgpd.sock", "gobgpd.toml"):
        found = (scene.host.root / "run/bgp-ipvlan" / name).stat()
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert found.st_uid == 0


@spawned
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_us(scene: Scene, how: signal.Signals) -> None:
    """However we end, it does not go on by itself, nor does it stand in the way of the next life."""
    assert _pids(scene)
    scene.ours.process.signal(how)
    scene.ours.process.wait()
    namespace.wait_until(lambda: not _pids(scene), "gobgpd to end")
    scene.start(restarted=how is not signal.SIGINT)
    scene.ready()


def _pids(scene: Scene) -> list[int]:
    """Of all gobgpd on our host, as it sees them."""
    done = scene.host.run("pgrep", "-x", "gobgpd", check=False)
    return list(map(int, done.stdout.split()))


def _signal_gobgpd(scene: Scene, number: signal.Signals) -> None:
    if not scene.engine.spawned:
        scene.gobgpd.process.signal(number)
        return
    (pid,) = _pids(scene)
    scene.host.run("kill", f"-{number.name.removeprefix('SIG')}", str(pid))
