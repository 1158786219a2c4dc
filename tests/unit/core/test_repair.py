"""The kernel says no, others interfere: what was wanted comes about all the same."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from bgp_ipvlan import model, ownership, reconcile, repairs
from tests.unit.core.conftest import MAIN, NET, OTHER, OWN, VIA, World, net


async def test_a_refused_route_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses once; soon it stands, the others stood all the time."""
    monkeypatch.setattr(repairs, "_RETRY_FIRST", 0.01)
    await world.start()
    second = ipaddress.ip_network("10.1.3.0/24")
    world.routes.fail(OTHER)
    world.learn(OTHER, second)
    assert world.routes.table() == {second: VIA}
    await world.until(lambda: world.routes.table() == {second: VIA, OTHER: VIA}, "tried again")
    world.routes.check_consumed()
    assert world.core.counters.failed == 1
    await world.until(lambda: world.core._repairs._timer is None, "the timer ends with the work")


async def test_a_key_of_our_metric_that_is_taken(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """EEXIST: theirs stays as it is, `foreign-route` once in the log; ours when theirs is gone."""
    monkeypatch.setattr(repairs, "_RETRY_FIRST", 0.01)
    monkeypatch.setattr(repairs, "_RETRY_LAST", 0.02)
    await world.start()
    world.routes.put_foreign(OWN, metric=ownership.ROUTE_METRIC)
    network = net()
    await world.state.put_network(network)
    world.core.network_changed(NET)
    await world.until(lambda: world.core.counters.failed >= 3, "tried again")
    assert world.routes.foreign[MAIN][model.nlri(OWN)]
    warnings = [r for r in caplog.records if "refused by kernel" in r.message]
    assert [r.levelname for r in warnings].count("WARNING") == 1
    assert "reason=foreign-route" in warnings[0].message
    world.routes.drop_foreign(OWN)
    await world.until(lambda: world.routes.table() == {OWN: model.Blackhole()}, "ours")


async def test_routes_that_others_touch_are_put_back(world: World) -> None:
    """Deleted or changed, told by an event or found by an audit."""
    await world.start()
    await world.create(net())
    world.learn(OTHER)
    for prefix in (OWN, OTHER):
        value = world.routes.table()[prefix]
        key = model.nlri(prefix)
        world.routes.lose(prefix)
        world.core.own_route_touched(MAIN, key, present=False)
        await asyncio.sleep(0)
        assert world.routes.table()[prefix] == value
        world.routes.put(prefix, model.Device(1))
        world.core.own_route_touched(MAIN, key, present=True)
        await asyncio.sleep(0)
        assert world.routes.table()[prefix] == value
        repaired = world.core.counters.repaired
        world.routes.lose(prefix)
        await world.settled()
        world.routes.put(prefix, model.Device(1))
        await world.settled()
        assert world.routes.table()[prefix] == value
        assert world.core.counters.repaired == repaired + 2


async def test_lost_events_cause_an_audit(world: World) -> None:
    """ENOBUFS: links and routes are read again at once."""
    await world.start()
    await world.create(net())
    world.routes.lose(OWN)
    world.core.overflow()
    await world.until(lambda: OWN in world.routes.table(), "routes were read, links unchanged")
    world.links.on_change = lambda _lost: None
    world.links.change("eth1", running=False)
    world.routes.lose(OWN)
    world.core.overflow()
    await world.until(lambda: not world.engine.announced, "links were read")
    await world.until(lambda: OWN in world.routes.table(), "routes were read")
    assert world.core.counters.overflows == 2


async def test_a_change_during_an_audit_is_not_undone(world: World) -> None:
    """A prefix is withdrawn and another learned while the kernel is read."""
    await world.start()
    world.learn(OTHER)
    third = ipaddress.ip_network("10.1.3.0/24")

    def change() -> None:
        world.learn(OTHER, paths=())
        world.learn(third)

    world.routes.during_dump = change
    await world.core._audit(full=True)
    assert world.routes.table() == {third: VIA}
    assert world.core.counters.repaired == 0


async def test_a_kernel_that_cannot_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop says so, lives, and looks again soon."""
    monkeypatch.setattr(reconcile, "_RETRY", 0.01)
    await world.start()
    await world.create(net())
    world.links.fail("read")
    world.links.change("eth1", running=False)
    await world.until(lambda: not world.engine.announced, "looked again")
    assert "reason=kernel-refused" in caplog.text
    world.links.check_consumed()


async def test_what_is_queued_when_an_audit_begins_is_no_drift(world: World) -> None:
    """A prefix is learned just when the writer has been waited for: written once, nothing repaired."""
    await world.start()
    await world.settled()
    world.routes.held = True
    world.routes.after_flush = lambda: world.learn(OTHER)
    await world.core._audit(full=False)
    world.routes.held = False
    await world.settled()
    assert world.routes.table() == {OTHER: VIA}
    assert len(world.routes.written) == 1
    counters = world.core.counters
    assert (counters.repaired, counters.failed) == (0, 0)
