"""`--engine kernel` beside a table that behaves: what is in it, and what is told."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Collection
from typing import Any

import pytest

from bgp_ipvlan import errors, model
from bgp_ipvlan.engines import routing_daemon

NET, HOST = ipaddress.ip_network("10.1.1.0/24"), ipaddress.ip_network("10.1.1.2/32")


class FakeTable:
    """A table that somebody else may write to, and that can refuse the next call."""

    table = 179

    def __init__(self, *prefixes: model.Prefix) -> None:
        self.there = set(prefixes)
        self.taken: set[model.Prefix] = set()
        """Keys of somebody else's routes."""
        self.fail = 0
        """How many calls fail."""
        self.closed = False
        self.gate = asyncio.Event()
        """Unset holds the kernel up."""
        self.gate.set()
        self.touch: Callable[[], None]

    async def start(self, on_change: Callable[[], None]) -> None:
        """See `routing_daemon.Table`."""
        self.touch = on_change

    async def ensure(
        self, prefixes: Collection[model.Prefix]
    ) -> tuple[int, frozenset[model.Prefix]]:
        """See `routing_daemon.Table`."""
        wanted = frozenset(prefixes)
        await self.gate.wait()
        if self.fail:
            self.fail -= 1
            raise errors.KernelError("kernel-refused", "ENOBUFS", 105)
        refused = wanted & self.taken
        changed = len(self.there ^ (wanted - refused))
        self.there = set(wanted - refused)
        return changed, refused

    async def close(self) -> None:
        """See `routing_daemon.Table`."""
        self.closed = True

    async def until(self, *wanted: model.Prefix) -> None:
        """Wait until exactly these are there."""
        async with asyncio.timeout(5):
            while self.there != set(wanted):
                await asyncio.sleep(0)


class Events:
    """Counts `synced`; nothing else may be told."""

    def __init__(self) -> None:
        self.synced_calls = 0

    def synced(self) -> None:
        """See `ports.EngineEvents`."""
        self.synced_calls += 1

    def best_paths(self, change: model.BestPaths) -> None:
        """See `ports.EngineEvents`."""
        raise AssertionError(change)

    def neighbor_changed(self, status: model.NeighborStatus, detail: str) -> None:
        """See `ports.EngineEvents`."""
        raise AssertionError(status, detail)


def said(prefix: model.Prefix, **attributes: Any) -> model.Announcement:
    """An announcement."""
    own = ipaddress.ip_address("192.0.2.1")
    marks = ((64512, 179, 17900),)
    return model.Announcement(
        prefix=prefix, next_hop=own, **{"large_communities": marks, **attributes}
    )


async def started(
    table: FakeTable, *prefixes: model.Prefix
) -> tuple[routing_daemon.KernelEngine, Events]:
    """An engine that has announced some prefixes before its start, as the core does."""
    events = Events()
    engine = routing_daemon.KernelEngine(events, table)
    engine.announce(map(said, prefixes))
    assert not events.synced_calls
    await engine.start(restarted=False, forwarding_preserved=False)
    return engine, events


async def test_the_table_is_what_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    """At the start what is left from before and not announced goes; then each change follows."""
    table = FakeTable(NET, ipaddress.ip_network("10.9.0.0/24"))
    engine, events = await started(table, NET)
    assert table.there == {NET}
    assert events.synced_calls == 1
    engine.announce([said(HOST)])
    await table.until(NET, HOST)
    engine.withdraw([NET, ipaddress.ip_network("10.77.0.0/24")])
    await table.until(HOST)
    await engine.stop(withdraw=False)
    assert table.there == {HOST}, "a stop leaves them"
    assert caplog.text == "", "none of that is worth a warning"
    assert table.closed


async def test_delivered_when_it_is_there() -> None:
    """The gate opens when the kernel has the route, not before, and says so when it has not."""
    table = FakeTable()
    engine, _ = await started(table)
    table.gate.clear()
    engine.announce([said(HOST)])
    nobody = model.Delivery(0, (), nobody="its route is not in table 179")
    assert await engine.delivered([HOST], timeout=0.05) == nobody
    waiting = asyncio.create_task(engine.delivered([HOST], timeout=600))
    await asyncio.sleep(0)
    assert not waiting.done()
    table.gate.set()
    async with asyncio.timeout(5):
        assert await waiting == model.Delivery(1, ())
    await engine.shutdown()
    drained = await engine.delivered([HOST], timeout=5)
    assert drained == model.Delivery(0, (), nobody="this host is drained")
    await engine.stop(withdraw=False)


async def test_shut_down_before_the_start_and_resumed() -> None:
    """A drained host announces nothing when it comes up; what changes meanwhile is not lost."""
    table = FakeTable(NET)
    engine = routing_daemon.KernelEngine(Events(), table)
    engine.announce([said(NET)])
    await engine.shutdown()
    await engine.start(restarted=True, forwarding_preserved=True)
    assert table.there == set()
    engine.resume()
    await table.until(NET)
    await engine.shutdown()
    engine.announce([said(HOST)])
    engine.resume()
    await table.until(NET, HOST)
    await engine.shutdown()
    assert table.there == set(), "gone when it returns"
    await engine.stop(withdraw=False)


async def test_stop_with_withdraw() -> None:
    """Nothing is left."""
    table = FakeTable()
    engine, _ = await started(table, NET, HOST)
    await engine.stop(withdraw=True)
    assert table.there == set()


async def test_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """What the kernel refuses is tried until it is there."""
    table = FakeTable()
    engine, _ = await started(table)
    table.fail = 1
    engine.announce([said(NET)])
    await table.until(NET)
    assert caplog.text.count("not written reason=kernel-refused") == 1
    await engine.stop(withdraw=False)


async def test_others_hands(caplog: pytest.LogCaptureFixture) -> None:
    """What somebody deletes is put back and told; a key of somebody else's is told once."""
    table = FakeTable()
    table.taken.add(HOST)
    engine, _ = await started(table, NET, HOST)
    assert table.there == {NET}
    assert "changed-by-others" not in caplog.text
    [warning] = engine.warnings()
    assert warning.startswith(f"{HOST} is not announced: table 179 ")
    assert warning.endswith(" [foreign-route]")
    assert engine.about() == {"announced_table": 179}
    assert engine.withheld() == {HOST: "foreign-route"}
    table.there.clear()
    table.touch()
    await table.until(NET)
    table.taken.clear()
    table.touch()
    await table.until(NET, HOST)
    assert not list(engine.warnings())
    assert caplog.text.count("reason=foreign-route") == 1
    assert "repaired count=1 table=179 reason=changed-by-others" in caplog.text
    await engine.stop(withdraw=False)


async def test_what_a_route_cannot_say(caplog: pytest.LogCaptureFixture) -> None:
    """Attributes of a network are complained of once, with their option names; marks are not."""
    caplog.set_level(logging.WARNING)
    engine = routing_daemon.KernelEngine(Events(), FakeTable())
    engine.announce([said(NET)])
    assert caplog.text == ""
    more = {"med": 0, "communities": (1,), "large_communities": ((64512, 179, 17900), (1, 2, 3))}
    engine.announce([said(NET, **more), said(HOST, **more)])
    engine.graceful_shutdown(on=False)
    [warning] = engine.warnings()
    assert warning.startswith(f"{NET} (and 1 more) is announced without bgp.communities, ")
    assert warning.endswith("[attributes-unsaid]")
    [record] = caplog.records
    assert "bgp.communities, bgp.large_communities, bgp.med," in record.getMessage()
    engine.graceful_shutdown(on=True)
    assert "65535:0" in caplog.records[-1].getMessage()
    engine.withdraw([NET, HOST])
    assert not list(engine.warnings())


async def test_no_neighbors() -> None:
    """They are the daemon's: configured or reset here they are refused, with the way out."""
    engine = routing_daemon.KernelEngine(Events(), FakeTable())
    engine.configure((), ())
    address = ipaddress.ip_address("192.0.2.2")
    with pytest.raises(errors.EngineError, match=r"192\.0\.2\.2 there") as refused:
        engine.configure([model.NeighborConfig(address=address, remote_as=1)], ())
    assert refused.value.reason == "neighbors-elsewhere"
    with pytest.raises(errors.EngineError, match="birdc"):
        engine.reset(address, soft=False)
    assert engine.neighbors() == ()
