"""Somebody changes our routes again and again: answered, bounded, told of in few lines."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from bgp_ipvlan import model, repairs
from tests.unit.core.conftest import MAIN, NET, OTHER, OWN, VIA, World, net

MANY = [ipaddress.ip_network(f"10.7.{number}.0/24") for number in range(200)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries and periods of milliseconds."""
    monkeypatch.setattr(repairs, "_RETRY_FIRST", 0.005)
    monkeypatch.setattr(repairs, "_RETRY_LAST", 0.16)
    monkeypatch.setattr(repairs, "_PERIOD_LAST", 0.2)


class Fighter:
    """Deletes a route whenever it sees it."""

    def __init__(self, world: World, prefix: model.Prefix) -> None:
        self._world, self._prefix = world, prefix
        self.times = 0
        self.on = True

    async def run(self) -> None:
        """Until it is told to give up."""
        while self.on:
            if self._prefix in self._world.routes.table():
                self._world.routes.lose(self._prefix)
                self.times += 1
                self._world.core.own_route_touched(MAIN, model.nlri(self._prefix), present=False)
            await asyncio.sleep(0)


async def test_one_who_deletes_in_a_loop(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Put back a few times at once, then ever less often; when he gives up all is as it was."""
    monkeypatch.setattr(repairs, "_PERIOD_FIRST", 30.0)
    await world.start()
    await world.create(net())
    world.learn(OTHER)
    fighter = Fighter(world, OTHER)
    fight = asyncio.create_task(fighter.run())
    await world.until(lambda: world.core._repairs._delay >= 0.16, "the longest delay")
    # Five at once, then after 5, 10, 20, 40 and 80 ms.
    assert 8 <= fighter.times <= 11
    told = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert [text.split(":")[0] for text in told if "10.1.2.0" in text] == [
        "route repaired prefix=10.1.2.0/24 reason=changed-by-others",
        "route contested prefix=10.1.2.0/24 reason=contested",
    ]
    assert world.routes.table()[OWN] == model.Blackhole(), "others stand"

    fighter.on = False
    await fight
    await world.until(lambda: world.routes.table().get(OTHER) == VIA, "put back")
    await world.until(lambda: world.core._repairs._timer is None, "nothing waits")


async def test_a_held_route_follows_bgp(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes by BGP is written at once; what is withdrawn is not put back."""
    monkeypatch.setattr(repairs, "_RETRY_FIRST", 30.0)
    monkeypatch.setattr(repairs, "_OFTEN", 0)
    await world.start()
    world.learn(OTHER, MANY[0])
    for prefix in (OTHER, MANY[0]):
        world.routes.lose(prefix)
        world.core.own_route_touched(MAIN, model.nlri(prefix), present=False)
    await asyncio.sleep(0)
    await world.settled()
    assert world.routes.table() == {}, "held, also from an audit"

    world.learn(MANY[0], paths=())
    world.learn(OTHER)
    assert world.routes.table() == {OTHER: VIA}
    world.core._repairs._retry()
    assert world.routes.table() == {OTHER: VIA}


async def test_all_flushed_at_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """`ip route flush proto 179` is one repair and one line, however many routes that are."""
    await world.start()
    world.learn(*MANY)
    for prefix in MANY:
        world.routes.lose(prefix)
        world.core.own_route_touched(MAIN, model.nlri(prefix), present=False)
    world.routes.written.clear()
    await asyncio.sleep(0)
    assert set(world.routes.table()) == set(MANY)
    assert len(world.routes.written) == 1
    assert world.core.counters.repaired == 200
    told = [r.getMessage() for r in caplog.records if "repaired" in r.getMessage()]
    assert told == ["route repaired count=200 first_prefix=10.7.0.0/24 reason=changed-by-others"]


async def test_the_log_is_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One route after the other: some lines, then a sum at the end of the period."""
    monkeypatch.setattr(repairs, "_PERIOD_FIRST", 0.2)
    await world.start()
    world.learn(*MANY)
    for prefix in MANY:
        world.routes.lose(prefix)
        world.core.own_route_touched(MAIN, model.nlri(prefix), present=False)
        await asyncio.sleep(0)
    await world.until(lambda: "seconds=" in caplog.text, "the sum")
    told = [r.getMessage() for r in caplog.records if "repaired" in r.getMessage()]
    assert len(told) == 21
    assert told[-1].startswith("routes repaired count=180 ")
    assert set(world.routes.table()) == set(MANY)


async def test_an_object_deleted_again_and_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time the kernel must be read: a few times at once, then at the end of a period."""
    monkeypatch.setattr(repairs, "_PERIOD_FIRST", 0.3)
    await world.start()
    world.learn(OTHER)
    await world.settled()
    audits = world.core.counters.audits
    for number in range(1, 6):
        world.routes.lose(OTHER)  # without a word, as IPv4 routes go with their object
        world.core.nexthop_touched()
        await world.until(lambda: world.routes.table() == {OTHER: VIA}, "put back")
        await world.until(
            lambda due=audits + number: world.core.counters.audits == due,  # type: ignore[misc]
            "read",
        )
    world.routes.lose(OTHER)
    for _ in range(20):
        world.core.nexthop_touched()
        await asyncio.sleep(0.001)
    assert world.core.counters.audits == audits + 5
    assert world.routes.table() == {}
    await world.until(lambda: world.routes.table() == {OTHER: VIA}, "put back in the end")
    assert world.core.counters.audits == audits + 6


async def test_news_of_a_deletion_that_come_late(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there again when we hear that it was deleted: that is found out, not retried for ever."""
    monkeypatch.setattr(repairs, "_RETRY_FIRST", 30.0)
    await world.start()
    world.learn(OTHER)
    world.core.own_route_touched(MAIN, model.nlri(OTHER), present=False)
    await world.until(lambda: world.core.counters.failed == 1, "refused, since it is there")
    book = world.core.forwarding.books[MAIN]
    await world.until(lambda: not book.failing, "an audit finds that it is ours")
    assert world.routes.table() == {OTHER: VIA}
    world.learn(OTHER, paths=())
    assert world.routes.table() == {}


async def test_our_very_key_is_taken_over(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """`ip route replace … metric 17900` by somebody: his stays, ours is back when his is gone."""
    await world.start()
    await world.create(net())
    world.learn(OTHER)
    theirs = model.ForeignRoute("proto static")
    for prefix in (OWN, OTHER):
        key = model.nlri(prefix)
        world.routes.lose(prefix)
        world.routes.put_foreign(prefix, "proto static", metric=17900)
        world.core.foreign_route(MAIN, key, 17900, theirs)
    await world.until(lambda: world.core.counters.failed > 2, "tried again, in vain")
    assert world.routes.table().keys().isdisjoint({OWN, OTHER})
    assert world.reason(OTHER) == "foreign-route"
    assert "reason=foreign-route" in caplog.text

    for prefix in (OWN, OTHER):
        world.routes.drop_foreign(prefix)
        world.core.foreign_route(MAIN, model.nlri(prefix), 17900, None)
    assert world.routes.table()[OTHER] == VIA
    await world.until(lambda: world.routes.table().get(OWN) == model.Blackhole(), "ours again")
    assert world.core.own[NET].announcements
