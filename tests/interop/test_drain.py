"""A host taken out of the routing and put back, by a running daemon. BIRD is the witness."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import agent, namespace, peers
from tests.interop.rack import GLOBAL, LEFT, OF_LEFT, OURS, TO_LEFT, US, Rack, sessions

MARK = "65535:0"
"""GRACEFUL_SHUTDOWN (RFC 8326)."""


@pytest.fixture
def rack() -> Iterator[Rack]:
    """One neighbour; all run."""
    with namespace.Lab() as lab:
        made = Rack(lab, GLOBAL + TO_LEFT)
        made.up()
        yield made


def test_drain(rack: Rack) -> None:
    """Marked, then gone with the text; so also after a restart, until `undrain`."""
    assert MARK not in peers.wait_learned(rack.left, OURS).communities
    drain = rack.host.start(
        *(agent.COMMAND, "drain", "--wait", "5", "--message", "kernel update"), log="drain.log"
    )
    rack.wait(lambda: MARK in _communities(rack.left), "BIRD to see the mark")
    assert OF_LEFT in rack.kernel()
    assert drain.alive
    peers.wait_forgotten(rack.left, OURS)

    assert drain.wait() == 0
    assert "drained" in drain.output()
    assert 'Administrative shutdown: "kernel update"' in rack.left.process.output()
    assert rack.neighbor(LEFT)["idle_reason"] == "shutdown"
    (warning,) = rack.warnings()
    assert "[drained]" in warning
    assert rack.kernel() == set()

    rack.daemon.stop()
    rack.daemon.start()
    assert rack.daemon.ask("drain")["drain"]["message"] == "kernel update"
    (warning,) = rack.warnings()
    assert "[drained]" in warning
    assert not rack.left.established(US)

    rack.daemon.run("undrain")
    assert MARK not in peers.wait_learned(rack.left, OURS).communities
    rack.wait(lambda: OF_LEFT in rack.kernel(), "the route to be learned again")
    assert rack.warnings() == []
    assert "not-drained" in rack.refused("undrain")


def _communities(bird: peers.Bird) -> frozenset[str]:
    found = bird.learned(OURS)
    return frozenset() if found is None else found.communities


def test_drain_taken_back(rack: Rack) -> None:
    """`undrain` while it waits takes the mark off; the session never ended."""
    peers.wait_learned(rack.left, OURS)
    drain = rack.host.start(agent.COMMAND, "drain", "--wait", "60", log="drain.log")
    rack.wait(lambda: MARK in _communities(rack.left), "BIRD to see the mark")

    rack.daemon.run("undrain")
    rack.wait(lambda: MARK not in _communities(rack.left), "the mark to go")

    assert drain.wait() == 1
    assert "[not-drained]" in drain.output()
    assert OURS in rack.left.ctl(f"show route {OURS}")
    assert sessions(rack.left) == 1


def test_crash_while_draining(rack: Rack) -> None:
    """Neither the command's end nor the daemon's crash takes it back."""
    peers.wait_learned(rack.left, OURS)
    drain = rack.host.start(agent.COMMAND, "drain", "--wait", "60", log="drain.log")
    rack.wait(lambda: MARK in _communities(rack.left), "BIRD to see the mark")
    drain.kill()
    assert rack.daemon.ask("drain")["drain"]["done"] is False

    rack.daemon.kill()
    rack.daemon.start()

    assert rack.daemon.ask("drain")["drain"]["done"] is True
    assert rack.neighbor(LEFT)["idle_reason"] == "shutdown"


def test_stop_with_a_message(rack: Rack) -> None:
    """`stop --withdraw` tells the neighbours why."""
    peers.wait_learned(rack.left, OURS)

    rack.daemon.stop_command("--withdraw", "--message", "moving house")

    peers.wait_forgotten(rack.left, OURS)
    assert 'Administrative shutdown: "moving house"' in rack.left.process.output()
    assert rack.kernel() == set()
