"""The order of things: what is said first, what is waited for, what is told once."""

from __future__ import annotations

import pytest

from bgp_ipvlan import errors, model
from tests.fakes import gobgpd
from tests.unit.gobgp import scene as s

ONE, TWO, MINE, ALSO = map(s.key, ("10.9.0.0/24", "10.9.1.0/24", "10.1.1.0/24", "2001:db8:1::/64"))


@s.plays()
async def test_a_life(w: s.Scene) -> None:
    """What neighbours say is used, what we want is announced, and synced is told once."""
    w.announce(MINE)
    w.say(s.LEFT, ONE)
    w.say(s.RIGHT, ONE, TWO)
    await w.start()
    assert {ONE, TWO} == w.best().keys()
    assert w.events.synced_times == 1
    w.check()


@s.plays()
async def test_prefixes_before_neighbors(w: s.Scene) -> None:
    """A session that came up before our prefixes would begin with an End-of-RIB too many."""
    with s.small():
        w.announce(*[s.key(f"10.1.{n}.0/24") for n in range(12)])
        w.gobgpd.latency = 0.3
        await w.start()
        await w.loop.let_pass(8)
    names = [name for name, _ in w.called("change", "add_neighbor")]
    assert [*["change"] * 6, *["add_neighbor"] * 3] == names


@s.plays(file=True)
async def test_prefixes_before_neighbors_after_a_crash(w: s.Scene) -> None:
    """Likewise when gobgpd was killed; its neighbours are told that it restarted."""
    w.announce(MINE)
    await w.start()
    w.gobgpd.calls.clear()
    w.gobgpd.die()
    w.gobgpd.start()
    await w.loop.let_pass(10)
    assert next(name for name, _ in w.called("change", "add_neighbor")) == "change"
    added = [isinstance(what, tuple) and what[1] for _, what in w.called("add_neighbor")]
    assert added == [True] * 3
    w.check()


@s.plays()
async def test_table_read_once_more(w: s.Scene) -> None:
    """What neighbours have said may still be on its way when the last says End-of-RIB."""
    w.say(s.LEFT, ONE, TWO)
    w.gobgpd.start()
    for remote in w.gobgpd.remotes.values():
        remote.delay = 0.1
    w.gobgpd.lag = 5.0
    seen: list[int] = []
    w.events.on_synced = lambda: seen.append(len(w.best()))
    await w.start_engine()
    await w.loop.let_pass(8)
    assert seen == [2], "told with the table complete, not before the events are here"


@s.plays()
async def test_synced_once(w: s.Scene) -> None:
    """Neither a restart of gobgpd nor another table tells it again."""
    await w.start()
    w.gobgpd.die()
    w.gobgpd.start()
    await w.loop.let_pass(60)
    w.gobgpd.cut()
    await w.loop.let_pass(60)
    assert w.events.synced_times == 1


@s.plays()
async def test_nobody_answers(w: s.Scene) -> None:
    """Without any gobgpd what nobody announced is known after the deadline (F2)."""
    await w.start_engine()
    assert w.events.synced_times == 0
    await w.loop.let_pass(s.DEADLINE)
    assert w.events.synced_times == 1


@s.plays()
async def test_neighbor_missing(w: s.Scene) -> None:
    """One neighbour that does not come is waited for until the deadline, no longer."""
    w.gobgpd.remotes[s.RIGHT].is_up = False
    await w.start()
    assert w.events.synced_times == 0
    await w.loop.let_pass(s.DEADLINE)
    assert w.events.synced_times == 1


@s.plays()
async def test_silent_neighbor(w: s.Scene) -> None:
    """One that promises no End-of-RIB has said all when it was quiet for a while."""
    w.gobgpd.remotes[s.RIGHT].is_graceful = False
    w.say(s.RIGHT, ONE)
    await w.start()
    assert w.events.synced_times == 1
    assert {ONE} == w.best().keys()


@s.plays()
async def test_lost_for_long(w: s.Scene) -> None:
    """What was learned stays until the deadline after the loss, and not after it."""
    w.say(s.LEFT, ONE)
    await w.start()
    w.gobgpd.die()
    await w.loop.let_pass(s.DEADLINE - 1)
    assert {ONE} == w.best().keys()
    await w.loop.let_pass(2)
    assert w.best() == {} == w.events.told


@s.plays()
async def test_lost_again_and_again(w: s.Scene) -> None:
    """A gobgpd that never stays does not keep old routes for ever."""
    w.say(s.LEFT, ONE)
    await w.start()
    w.gobgpd.remotes[s.LEFT].is_up = False
    for _ in range(5):
        w.gobgpd.die()
        w.gobgpd.start()
        await w.loop.let_pass(8)
    assert w.best() == {}


@s.plays()
async def test_refused_one_by_one(w: s.Scene) -> None:
    """Where gobgpd refuses many at once, one that it does not take stops no other."""
    await w.start()
    w.gobgpd.fail("change", "gobgp-refused")
    w.gobgpd.fail("add", "gobgp-refused")
    w.announce(MINE, ALSO)
    await w.loop.idle()
    assert w.gobgpd.local(MINE) is None
    assert w.gobgpd.local(ALSO) is not None
    w.gobgpd.check_consumed()
    await w.loop.let_pass(11)
    w.check()


@s.plays()
async def test_delivered(w: s.Scene) -> None:
    """Delivered is what gobgpd has taken; while a call is under way it is not."""
    await w.start()
    w.gobgpd.latency = 0.5
    w.announce(MINE)
    prefixes = [model.prefix(*MINE)]
    early = w.loop.create_task(w.engine.delivered(prefixes, timeout=0.3))
    late = w.loop.create_task(w.engine.delivered(prefixes, timeout=5))
    await w.loop.let_pass(1.9)
    assert not late.done()
    await w.loop.let_pass(2)
    assert model.Delivery(3, (s.LEFT, s.RIGHT, s.INSIDE)) == await early
    assert model.Delivery(3, ()) == await late
    assert w.gobgpd.local(MINE) is not None


@s.plays()
async def test_changed_while_told(w: s.Scene) -> None:
    """What changes while gobgpd is told is told again, and delivered waits for it."""
    await w.start()
    w.gobgpd.latency = 0.5
    w.announce(MINE)
    await w.loop.let_pass(1.2)
    w.announce(MINE, med=7)
    late = w.loop.create_task(w.engine.delivered([model.prefix(*MINE)], timeout=9))
    await w.loop.let_pass(1)
    assert not late.done()
    await w.loop.let_pass(3)
    assert late.done()
    w.check()


@s.plays()
async def test_asked_while_told(w: s.Scene) -> None:
    """Who asks whether gobgpd has it while it is being told is answered when it has."""
    w.announce(MINE)
    await w.start()
    await w.loop.let_pass(3)
    w.gobgpd.latency = 0.5
    w.announce(MINE)
    await w.loop.let_pass(0.5)
    late = w.loop.create_task(w.engine.delivered([model.prefix(*MINE)], timeout=60))
    await w.loop.let_pass(3)
    assert late.done()
    assert await late == model.Delivery(3, ())


@s.plays()
async def test_nothing_said_twice(w: s.Scene) -> None:
    """After a cut connection, and a restart of ours, gobgpd is told nothing that it has."""
    w.announce(MINE, ALSO)
    await w.start()
    w.gobgpd.calls.clear()
    w.gobgpd.cut()
    await w.loop.let_pass(10)
    await w.stop()
    w.begin()
    await w.start(restarted=True)
    assert w.called("change", "add", "delete", "add_neighbor", "delete_neighbor") == []
    assert w.events.synced_times == 1
    w.check()


@s.plays()
async def test_left_from_an_earlier_life(w: s.Scene) -> None:
    """Ours that nobody wants any more goes; what is not marked stays."""
    w.gobgpd.start()
    w.client(MINE, gobgpd.local(s.announcement(MINE)))
    w.client(ALSO, s.NOT_OURS)
    await w.start()
    assert w.gobgpd.local(MINE) is None
    assert w.gobgpd.local(ALSO) == s.NOT_OURS


@s.plays()
async def test_answer_lost(w: s.Scene) -> None:
    """What gobgpd did before the connection went is found done, not done again."""
    await w.start()
    w.gobgpd.fail("change", "gobgp-unreachable", done=True)
    w.announce(MINE)
    await w.loop.let_pass(10)
    w.gobgpd.check_consumed()
    assert len(w.called("change")) == 1
    w.check()


@s.plays()
async def test_wrong_as(w: s.Scene) -> None:
    """A gobgpd of another AS is refused at the start, and nothing of it touched."""
    w.gobgpd.local_as = 64999
    w.gobgpd.start()
    starting = w.loop.create_task(w.engine.start(restarted=False, forwarding_preserved=False))
    await w.loop.let_pass(1)
    with pytest.raises(errors.EngineError, match="64999"):
        await starting
    assert {name for name, _ in w.gobgpd.calls} == {"connect"}


@s.plays()
async def test_without_as_yet(w: s.Scene) -> None:
    """A gobgpd without a configuration is waited for."""
    w.gobgpd.local_as = 0
    w.gobgpd.start()
    starting = w.loop.create_task(w.engine.start(restarted=False, forwarding_preserved=False))
    await w.loop.let_pass(11)
    await starting
    assert [one[-19:-1] for one in w.engine.warnings()] == ["gobgp-unconfigured"]
    w.gobgpd.local_as = gobgpd.AS
    w.announce(MINE)
    await w.loop.let_pass(15)
    assert list(w.engine.warnings()) == []
    w.check()


@s.plays()
async def test_room(w: s.Scene) -> None:
    """While the kernel has no room nothing is taken, and then all is."""
    await w.start()
    w.room.clear()
    w.say(s.LEFT, ONE, TWO)
    await w.loop.let_pass(5)
    assert w.best() == {}
    w.room.set()
    await w.loop.let_pass(5)
    assert {ONE, TWO} == w.best().keys()
    w.check()


@s.plays()
async def test_burst(w: s.Scene) -> None:
    """Many changes at once are read as one table, and nothing is missed."""
    await w.start()
    many = [s.key(f"10.20.{n >> 6}.{4 * (n & 63)}/30") for n in range(600)]
    before = w.gobgpd.tables_sent
    w.say(s.LEFT, *many)
    await w.loop.let_pass(3)
    assert w.gobgpd.tables_sent == before + 1
    assert len(w.best()) == 600
    w.check()
