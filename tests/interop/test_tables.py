"""Ten thousand prefixes each way, asked for again by either side, and the limits of both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import namespace, peers
from tests.interop.site import ALL, OURS, THEIRS, THEM, US, Site

MANY = 10_000
OURS_MANY = [f"172.{16 + n // 256}.{n % 256}.0/24" for n in range(MANY // 4)] + [
    f"100.{64 + n // 256}.{n % 256}.0/24" for n in range(MANY - MANY // 4)
]
THEIRS_MANY = [f"11.{n // 256}.{n % 256}.0/24" for n in range(MANY)]


@pytest.fixture(scope="module", params=ALL, ids=lambda kind: kind.__name__)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Both up in two AS, each with ten thousand prefixes more than the usual."""
    with namespace.Lab() as lab:
        kind = request.param
        own = () if kind is peers.GoBgp else THEIRS_MANY
        # ExaBGP says nothing for seconds while it reads as many.
        site = Site(lab, kind, (64512, 64513), us={"hold_time": 90}, originate=own)
        if not own:
            # To originate so many takes GoBGP minutes, so they come from behind it.
            site.behind(*THEIRS_MANY).start()
        site.up()
        site.ours.order("announce", routes=[f"{prefix},{US}" for prefix in OURS_MANY])
        yield site


def test_ten_thousand_each_way(site: Site) -> None:
    """All that one side announces the other has, by its own count."""
    peers.wait_count(site.peer, US, "ipv4", MANY + 1, timeout=60)
    site.ours.wait(lambda: len(site.ours.routes()) >= MANY + 1, "our speaker to learn all")
    assert set(THEIRS_MANY) <= set(site.ours.routes())
    assert site.ours.neighbor()["sent"] == MANY + 2


def test_they_ask_again(site: Site) -> None:
    """ROUTE-REFRESH from the neighbour: everything is sent again, nothing is lost on the way."""
    peers.wait_count(site.peer, US, "ipv4", MANY + 1, timeout=60)
    before = site.peer.updates(US)
    if isinstance(site.peer, peers.GoBgp):
        with pytest.raises(peers.Unsupported):
            site.peer.refresh(US)
        return
    site.peer.refresh(US)
    namespace.wait_until(lambda: site.peer.updates(US) > before, "the neighbour to hear it again")
    peers.wait_count(site.peer, US, "ipv4", MANY + 1, timeout=60)
    assert site.peer.established(US)


def test_we_ask_again(site: Site) -> None:
    """ROUTE-REFRESH from us: the neighbour says all again, and no route of it comes or goes.

    ExaBGP 4.2.21 fails over any ROUTE-REFRESH ("'RouteRefresh' object is not iterable") and
    connects again: what then holds its routes is graceful restart.
    """
    site.ours.wait(lambda: len(site.ours.routes()) >= MANY + 1, "our speaker to learn all")
    before = len(site.ours.events("route"))
    site.ours.order("reset", address=THEM, soft=True)
    site.peer.announce("10.3.0.0/20")
    site.ours.wait_route("10.3.0.0/20")
    changes = {event["prefix"] for event in site.ours.events("route")[before:]}
    assert changes == {"10.3.0.0/20"}
    assert site.ours.neighbor()["received"] >= MANY + 2
    states = [line.split()[0] for line in site.ours.sessions()]
    assert states == ["Established"] or isinstance(site.peer, peers.ExaBgp)


def test_all_gone_and_back(site: Site) -> None:
    """A session that flaps loses nothing for good: both tables are whole again."""
    site.ours.wait(lambda: len(site.ours.routes()) >= MANY + 1, "our speaker to learn all")
    for number in (1, 2):
        site.peer.reset(US)
        site.ours.wait(
            lambda number=number: len(site.ours.sessions()) >= 2 * number + 1,  # type: ignore[misc]
            "the session to return",
        )
        peers.wait_count(site.peer, US, "ipv4", MANY + 1, timeout=60)
        site.ours.wait(
            lambda: len(site.ours.routes()) >= MANY + 1 and not site.ours.neighbor()["stale"],
            "our speaker to have all again",
        )
    assert THEIRS in site.ours.routes()


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_too_many_of_theirs(kind: type[peers.Peer]) -> None:
    """More than `max_prefixes` ends the session with Cease, and it stays down as it must."""
    with namespace.Lab() as lab:
        us = {"max_prefixes": 20, "max_prefixes_restart": 0}
        site = Site(lab, kind, (64512, 64513), us=us, originate=THEIRS_MANY[:40])
        site.ours.start(f"{OURS},{US}")
        site.peer.start()
        site.ours.wait(
            lambda: any("maximum" in line.lower() for line in site.ours.sessions()), "the limit"
        )
        namespace.wait_until(lambda: site.peer.notification(US), "the neighbour to be told")
        assert not site.peer.established(US)
        assert site.ours.neighbor()["idle_reason"] == "max-prefixes"
        assert site.ours.routes() == {}


@pytest.mark.parametrize(
    "kind",
    [kind for kind in ALL if kind is not peers.ExaBgp],
    ids=lambda kind: kind.__name__,
)
def test_too_many_of_ours(kind: type[peers.Peer]) -> None:
    """A neighbour's own limit: its Cease is told with its reason."""
    with namespace.Lab() as lab:
        site = Site(lab, kind, (64512, 64513), them={"max_prefixes": 10})
        site.ours.start(*(f"{prefix},{US}" for prefix in OURS_MANY[:20]))
        site.peer.start()
        site.ours.wait(
            lambda: any("Cease, " in line for line in site.ours.sessions()), "the neighbour's Cease"
        )
        assert "prefix" in "".join(site.ours.sessions()).lower()
