"""What was learned, over restarts, refreshes, lost next hops and limits."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import logging

import pytest

from bgp_ipvlan import model
from bgp_ipvlan.bgp import capability, session
from bgp_ipvlan.engines.embedded import initial, learning
from tests.unit.bgp.speakers import OTHER, PREFIX, Recorder
from tests.unit.bgp.test_extensions import RESTART
from tests.unit.bgp.test_faults import LOCAL, NEIGHBOR

V4, V6 = model.Family.IPV4, model.Family.IPV6
KEY = model.nlri(PREFIX)


def a_path(hop: str, neighbor: model.NeighborConfig = NEIGHBOR) -> model.Path:
    """A path of a neighbour."""
    return model.Path(neighbor=neighbor.address, next_hop=ipaddress.ip_address(hop))


async def test_second_restart_during_the_first() -> None:
    """RFC 4724 section 4.2: what was stale already when it went again is forgotten."""
    seen = Recorder()
    one = learning.Learning(LOCAL, seen)
    one.learned(NEIGHBOR, session.Learned(V4, a_path("192.0.2.2"), [KEY, model.nlri(OTHER)]))
    one.lost(NEIGHBOR.address, keep=frozenset((V4,)))
    one.learned(NEIGHBOR, session.Learned(V4, a_path("192.0.2.2"), [KEY]))
    one.lost(NEIGHBOR.address, keep=frozenset((V4,)))

    assert (seen.has(PREFIX), seen.has(OTHER)) == (True, False)


async def test_next_hop_is_lost() -> None:
    """Where there is a choice it is made anew when a next hop cannot be used any more."""
    other = dataclasses.replace(NEIGHBOR, address=ipaddress.ip_address("192.0.2.3"))
    seen = Recorder()
    one = learning.Learning(dataclasses.replace(LOCAL, maximum_paths=1), seen)
    for neighbor, hop in ((NEIGHBOR, "192.0.2.2"), (other, "192.0.2.3")):
        one.learned(neighbor, session.Learned(V4, a_path(hop, neighbor), [KEY]))
    before = seen.best[V4, KEY][0].next_hop
    one.next_hops_changed(lambda path: path.next_hop != before)

    assert seen.best[V4, KEY][0].next_hop != before


async def test_many_prefixes_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """At `max_prefixes_warn` percent, and not before; exactly the limit is allowed."""
    neighbor = dataclasses.replace(NEIGHBOR, max_prefixes=4, max_prefixes_warn=50)
    one = learning.Learning(LOCAL, Recorder())
    warned = []
    with caplog.at_level(logging.WARNING, logger="bgp_ipvlan"):
        for number in range(5):
            one.learned(
                neighbor, session.Learned(V4, a_path("192.0.2.2"), [bytes((24, 10, 0, number))])
            )
            exceeded = one.exceeds(neighbor, V4)
            warned.append((sum("max-prefixes-near" in m for m in caplog.messages), exceeded))

    assert warned == [(0, False), (1, False), (1, False), (1, False), (1, True)]


async def test_stopped_while_much_is_left() -> None:
    """Nothing is told any more once the engine stops (D4: routes stay over a restart)."""
    seen = Recorder()
    one = learning.Learning(LOCAL, seen)
    keys = [bytes((32, 10)) + n.to_bytes(3) for n in range(3 * learning._SLICE)]
    one.learned(NEIGHBOR, session.Learned(V4, a_path("192.0.2.2"), keys))
    one.lost(NEIGHBOR.address, keep=frozenset())
    left = len(seen.best)
    one.stop()
    for _ in range(10):
        await asyncio.sleep(0)

    assert len(seen.best) == left > 0


Flushed = asyncio.Queue[model.Family]


async def both(flushed: Flushed) -> set[model.Family]:
    """The families of two flushes."""
    async with asyncio.timeout(10):
        return {await flushed.get(), await flushed.get()}


async def test_refresh_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 7313 section 4: what a refresh that never ends did not bring goes after a while."""
    flushed = Flushed()
    one = initial.InitialTable(flush_stale=flushed.put_nowait, said_all=lambda: None)
    one.begin(capability.Agreed(families=frozenset((V4,))))
    assert await both(flushed) == {V4, V6}

    monkeypatch.setattr(initial, "STALE_TIME", 0.01)
    assert one.refresh_begun(V4)
    async with asyncio.timeout(10):
        assert await flushed.get() == V4
    one.stop()


async def test_return_without_end_of_rib(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 4724 section 4.2: stale routes do not wait for ever for a marker that was promised."""
    monkeypatch.setattr(initial, "STALE_TIME", 0.01)
    flushed = Flushed()
    one = initial.InitialTable(flush_stale=flushed.put_nowait, said_all=lambda: None)
    restart = dataclasses.replace(RESTART, families={V4: True, V6: True})
    one.begin(capability.Agreed(families=frozenset((V4, V6)), restart=restart))
    assert flushed.empty()

    assert await both(flushed) == {V4, V6}
    one.stop()


async def test_silence_after_the_end_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table is not complete because the session that brought it was lost."""
    monkeypatch.setattr(initial, "_QUIET", 0.01)
    told: list[str] = []
    done = asyncio.Event()
    lost = initial.InitialTable(flush_stale=lambda _: None, said_all=lambda: told.append("lost"))
    stays = initial.InitialTable(flush_stale=lambda _: None, said_all=done.set)
    for one in (lost, stays):
        one.begin(capability.Agreed(families=frozenset((V4,))))
    lost.lost(0)
    async with asyncio.timeout(10):
        await done.wait()

    assert (told, lost.complete) == ([], False)
    for one in (lost, stays):
        one.stop()
