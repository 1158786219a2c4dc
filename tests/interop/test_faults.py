"""What goes wrong between speakers: frozen, gone, misconfigured, colliding, hostile."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from lab import namespace, peers
from tests.interop.site import OURS, THEIRS, THEM, US, Site


@pytest.fixture
def site() -> Iterator[Site]:
    """BIRD in another AS, both sides connecting; nothing started."""
    with namespace.Lab() as lab:
        yield Site(lab, peers.Bird, (64512, 64513))


def test_session_outlives_the_hold_time(site: Site) -> None:
    """With nothing to tell, KEEPALIVEs alone hold the session, as FRR counts them."""
    site.peer = peers.Frr(
        site.peer.host, _speaker(peers.Neighbor(address=US, remote_as=64512, hold_time=3))
    )
    site.up()
    namespace.wait_until(lambda: _keepalives(site) >= 7, "seven KEEPALIVEs, one a second")

    assert _neighbor(site)["connectionsDropped"] == 0
    assert _neighbor(site)["bgpTimerHoldTimeMsecs"] == 3000
    assert [line.split()[0] for line in site.ours.sessions()] == ["Established"]


def test_frozen_neighbor(site: Site) -> None:
    """A neighbour that stops answering is dropped after the hold time, and returns by itself."""
    site.up()
    site.ours.wait_route(THEIRS)
    site.peer.process.signal(signal.SIGSTOP)
    try:
        site.ours.wait(lambda: len(site.ours.sessions()) == 2, "the hold time to pass")
    finally:
        site.peer.process.signal(signal.SIGCONT)

    assert "Hold Timer Expired" in site.ours.sessions()[1]
    lost = [event for event in site.ours.events("route") if event["next_hop"] is None]
    assert THEIRS in {event["prefix"] for event in lost}

    peers.wait_established(site.peer, US)
    site.ours.wait_route(THEIRS)


def test_neighbor_that_never_returns(site: Site) -> None:
    """Its routes stay for its restart time and no longer."""
    site.peer = peers.Bird(
        site.peer.host, _speaker(peers.Neighbor(address=US, remote_as=64512, restart_time=2))
    )
    site.up()
    site.ours.wait_route(THEIRS)
    site.peer.kill()
    site.ours.wait(lambda: len(site.ours.sessions()) == 2, "the session's end")

    assert "kept for 2 s" in site.ours.sessions()[-1]
    assert THEIRS in site.ours.routes()

    site.ours.wait(lambda: THEIRS not in site.ours.routes(), "the restart time to pass")


def test_neighbor_that_ends_in_order(site: Site) -> None:
    """BIRD's shutdown is a Cease: its routes go at once, and the log has its words."""
    site.up()
    site.ours.wait_route(THEIRS)
    # BIRD keeps quiet when it has graceful restart and is killed; told to disable it says Cease.
    assert isinstance(site.peer, peers.Bird)
    site.peer.ctl('disable to_192_0_2_1 "moving house"')
    site.ours.wait(lambda: len(site.ours.sessions()) == 2, "the session's end")

    assert "Cease, administrative shutdown: moving house" in site.ours.sessions()[-1]
    assert THEIRS not in site.ours.routes()


def test_collisions(site: Site) -> None:
    """Started together again and again, both connecting, there is always one session in the end."""
    site.ours.start(f"{OURS},{US}")
    site.peer.start()
    peers.wait_established(site.peer, US)
    for _ in range(5):
        assert isinstance(site.peer, peers.Bird)
        site.peer.ctl("restart all")
        peers.wait_established(site.peer, US)
        peers.wait_learned(site.peer, OURS)
        site.ours.wait_route(THEIRS)
    namespace.wait_until(lambda: len(_connections(site)) == 1, "one connection to be left")


def test_port_in_use(site: Site) -> None:
    """Another daemon on port 179: one line with the reason and where to look; exit status 1."""
    listener = site.host.start(
        "python3",
        "-c",
        "import socket,time\ns=socket.create_server(('',179))\ntime.sleep(300)",
        log="listener.log",
    )
    namespace.wait_until(
        lambda: ":179" in site.host.run("ss", "-Hltn").stdout, "the other daemon to listen"
    )
    site.ours.start(f"{OURS},{US}")

    assert site.ours.process.wait() == 1
    (error,) = site.ours.events("error")
    assert error["reason"] == "port-in-use"
    assert "ss -ltnp 'sport = :179'" in error["message"]
    listener.kill()


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        (b"GET / HTTP/1.1\r\n\r\n".hex() + "00" * 8, "0101"),
        ("ff" * 16 + "001d09" + "00" * 10, "0103"),
        ("ff" * 16 + "001301", "0102"),
        ("ff" * 16 + "001d01" + "03fc010009c000020200", "0201"),
        ("ff" * 16 + "001d01" + "04fc010001c000020200", "0206"),
        ("ff" * 16 + "001304", "0501"),
    ],
    ids=["http", "type", "length", "version", "hold-time", "state"],
)
def test_garbage(site: Site, octets: str, answer: str) -> None:
    """Octets that are no good OPEN get the RFC's NOTIFICATION, and the speaker lives on."""
    site.ours.start(f"{OURS},{US}")
    namespace.wait_until(
        lambda: ":179" in site.host.run("ss", "-Hltn").stdout, "our speaker to listen"
    )
    received = _say(site.peer.host, octets)

    assert re.search("f{32}....03" + answer, received)

    site.peer.start()
    peers.wait_established(site.peer, US)
    site.ours.wait_route(THEIRS)
    assert "Traceback" not in site.ours.process.output()


def _say(host: namespace.Host, octets: str) -> str:
    script = (
        "import socket,sys\n"
        f"s=socket.create_connection(('{US}',179))\n"
        f"s.sendall(bytes.fromhex('{octets}'))\n"
        "b=b''\n"
        "while d:=s.recv(9999): b+=d\n"
        "print(b.hex())"
    )
    done: subprocess.CompletedProcess[str] = host.run("python3", "-c", script, timeout=20)
    return done.stdout.strip()


def _speaker(neighbor: peers.Neighbor) -> peers.Speaker:
    return peers.Speaker(local_as=64513, router_id=THEM, neighbors=(neighbor,), originate=(THEIRS,))


def _neighbor(site: Site) -> dict[str, Any]:
    """All that FRR says of us."""
    assert isinstance(site.peer, peers.Frr)
    found: dict[str, Any] = json.loads(site.peer.ctl(f"show bgp neighbors {US} json"))[US]
    return found


def _keepalives(site: Site) -> int:
    count: int = _neighbor(site)["messageStats"]["keepalivesRecv"]
    return count


def _connections(site: Site) -> list[str]:
    shown = site.host.run("ss", "-Htn", "state", "established").stdout
    return [line for line in shown.splitlines() if ":179 " in line + " "]
