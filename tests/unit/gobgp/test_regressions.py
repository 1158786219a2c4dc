"""What a hostile review found wrong once, each as short as it gets."""

from __future__ import annotations

import dataclasses

import pytest

from bgp_ipvlan import errors, model
from tests.fakes import gobgpd
from tests.unit.gobgp import scene as s

ONE, TWO, MINE = map(s.key, ("10.9.0.0/24", "10.9.1.0/24", "10.1.1.0/24"))
MANY = [s.key(f"10.20.{n}.0/24") for n in range(200)]


@s.plays(file=True)
async def test_administrators_neighbor(w: s.Scene) -> None:
    """A neighbour that gobgpd had, and we name too, stays when it leaves our configuration (F1)."""
    theirs = w.gobgpd.file[0]
    w.neighbors = (*s.OURS, dataclasses.replace(theirs, hold_time=30))
    w.begin()
    await w.start()
    w.neighbors = s.OURS
    w.engine.configure(s.OURS, ())
    await w.loop.let_pass(8)
    assert w.gobgpd.peers[s.ADMIN].config == theirs
    stopping = w.loop.create_task(w.engine.stop(withdraw=True))
    await w.loop.let_pass(15)
    await stopping
    assert w.gobgpd.peers.keys() == {s.ADMIN}
    assert s.ADMIN not in [what for _, what in w.called("delete_neighbor", "disable_neighbor")]


@s.plays()
async def test_neighbor_added_by_another(w: s.Scene) -> None:
    """Nor is one deleted that somebody added a moment before us (F1)."""
    await w.start()
    theirs = s.CONFIGS[s.ADMIN]
    w.gobgpd.on_call = lambda name: (
        w.gobgpd.add_peer(theirs)
        if name == "add_neighbor" and s.ADMIN not in w.gobgpd.peers
        else None
    )
    w.engine.configure((*s.OURS, dataclasses.replace(theirs, hold_time=30)), ())
    await w.loop.let_pass(3)
    w.engine.configure(s.OURS, ())
    await w.loop.let_pass(8)
    assert w.gobgpd.peers[s.ADMIN].config == theirs


@s.plays()
async def test_restart_of_a_large_table(w: s.Scene) -> None:
    """Nothing goes when gobgpd restarts, however long its table takes to come to us (F3)."""
    w.say(s.LEFT, *MANY)
    await w.start()
    assert len(w.best()) == 200
    w.gobgpd.lag, w.gobgpd.pace, w.gobgpd.slice = 2.0, 0.05, 20
    w.gobgpd.die()
    w.gobgpd.start()
    await w.loop.let_pass(50)
    assert w.events.gone(MANY) == []
    w.check()


@s.plays()
async def test_cut_of_a_large_table(w: s.Scene) -> None:
    """Nor when only the connection was lost, even in the midst of a table (F3)."""
    w.say(s.LEFT, *MANY)
    await w.start()
    w.gobgpd.pace, w.gobgpd.slice = 0.1, 10
    w.gobgpd.fail("slice", "gobgp-unreachable")
    w.gobgpd.cut()
    await w.loop.let_pass(50)
    w.gobgpd.check_consumed()
    assert w.events.gone(MANY) == []
    w.check()


@s.plays()
async def test_ours_gives_way(w: s.Scene) -> None:
    """A neighbour's path that is better than ours, drained, is used before and after (F4)."""
    await w.start()
    w.drain(on=True)
    w.announce(MINE)
    w.say(s.INSIDE, MINE)
    await w.loop.let_pass(3)
    w.withdraw(MINE)
    await w.loop.let_pass(3)
    assert [one.neighbor for one in w.best()[MINE]] == [s.INSIDE]
    w.check()


@s.plays(version="4", multipath=True)
async def test_old_equal_path(w: s.Scene) -> None:
    """Of equal paths one that does not come back after a restart goes (F5)."""
    w.say(s.LEFT, ONE)
    w.say(s.RIGHT, ONE)
    await w.start()
    assert len(w.best()[ONE]) == 2
    w.gobgpd.die()
    w.gobgpd.remotes[s.RIGHT].is_up = False
    w.gobgpd.start()
    await w.loop.let_pass(10)
    assert [one.neighbor for one in w.best()[ONE]] == [s.LEFT], "as soon as LEFT is back"
    assert w.events.gone([ONE]) == []


@s.plays()
async def test_lost_while_old_goes(w: s.Scene) -> None:
    """Gobgpd is lost while what is old goes: what was new has its own time (F6)."""
    with s.small():
        w.say(s.LEFT, *MANY[:100])
        w.say(s.RIGHT, *MANY[100:])
        await w.start()
        right = w.gobgpd.remotes[s.RIGHT]
        said, right.says = right.says, {}
        gone: list[s.Key] = []

        def die(key: s.Key) -> None:
            gone.append(key)
            if len(gone) == 1:
                right.says = said
                w.gobgpd.die()
                w.gobgpd.start()

        w.events.on_gone = die
        w.gobgpd.die()
        w.gobgpd.start()
        await w.loop.let_pass(50)
    assert 0 < len(gone) < 60
    w.check()


@s.plays()
async def test_contended_turns_foreign(w: s.Scene) -> None:
    """A prefix of ours that neighbours have too, and then another client: nothing stays (F7)."""
    await w.start()
    w.announce(MINE)
    w.say(s.LEFT, MINE)
    await w.loop.let_pass(2)
    assert MINE in w.best()
    w.client(MINE, s.NOT_OURS)
    await w.loop.let_pass(12)
    w.check()
    w.unsay(s.LEFT, MINE)
    w.withdraw(MINE)
    w.client(MINE, None)
    await w.loop.let_pass(12)
    assert w.best() == {}


@s.plays()
async def test_contended_and_refused(w: s.Scene) -> None:
    """What gobgpd does not let us announce does not hide what neighbours say of it."""
    await w.start()
    w.say(s.LEFT, MINE)
    for _ in range(3):
        w.gobgpd.fail("change", "gobgp-refused")
        w.gobgpd.fail("add", "gobgp-refused")
    w.announce(MINE)
    await w.loop.idle()
    w.unsay(s.LEFT, MINE)
    await w.loop.let_pass(1)
    assert w.best() == {} == w.events.told


@s.plays()
async def test_many_import_rules(w: s.Scene) -> None:
    """One group of many prefixes is parted in one pass, not once for each (F8)."""
    many = [s.key(f"10.{n >> 8}.{n & 255}.0/24") for n in range(4000)]
    paths = (s.path(s.LEFT), s.path(s.RIGHT))
    rules = (model.PrefixRule(model.prefix(*s.key("10.0.0.0/9")), 9, 32),)
    w.engine.configure((dataclasses.replace(s.OURS[0], import_rules=rules), *s.OURS[1:]), ())
    compared = 0

    class Nlri(bytes):
        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return bytes.__eq__(self, other) is True

        __hash__ = bytes.__hash__

    w.engine._used.take(model.Family.IPV4, paths, [Nlri(nlri) for _, nlri in many])
    assert compared < 40 * len(many)
    assert len(w.best()) == 4000


@s.plays()
async def test_turns(w: s.Scene) -> None:
    """What concerns all prefixes is done in slices, with the loop's turns between (F9)."""
    w.say(s.LEFT, *MANY)
    w.say(s.RIGHT, *MANY)
    w.gobgpd.multipath = True
    await w.start()
    with s.small():
        w.events.log.clear()
        w.engine.surroundings_changed((), lambda path: path.next_hop != s.LEFT)
        assert w.events.log == []
        await w.loop.idle()
        assert len(w.events.log) == 200
        rules: tuple[model.PrefixRule, ...] = ()
        w.neighbors = tuple(dataclasses.replace(one, import_rules=rules) for one in s.OURS)
        w.engine.configure(w.neighbors, ())
        assert len(w.best()) == 200
        await w.loop.idle()
        assert w.best() == {}
    w.check()


@s.plays()
async def test_too_large_a_table(w: s.Scene) -> None:
    """A table that does not go into one message is read prefix by prefix, once (F10)."""
    w.announce(MINE)
    w.say(s.LEFT, *MANY)
    w.gobgpd.is_large = True
    await w.start()
    assert len(w.best()) == 200
    assert w.events.synced_times == 0, (
        "what has come may be from before the neighbours had said all"
    )
    w.say(s.RIGHT, ONE, TWO)
    w.unsay(s.LEFT, *MANY[:100])
    await w.loop.let_pass(130)
    w.check()
    assert w.events.synced_times == 1, "at the deadline"
    assert len(w.called("table")) == 1
    assert len(w.called("connect")) == 1


@s.plays()
async def test_shutdown_lasts(w: s.Scene) -> None:
    """`configure` does not end a shutdown; `resume` does."""
    await w.start()
    down = w.loop.create_task(w.engine.shutdown())
    await w.loop.let_pass(12)
    await down
    w.engine.configure([dataclasses.replace(one, hold_time=30) for one in s.OURS], ())
    await w.loop.let_pass(12)
    assert [peer.shut for peer in w.gobgpd.peers.values()] == [True] * 3
    w.resume()
    await w.loop.let_pass(12)
    assert [peer.shut for peer in w.gobgpd.peers.values()] == [False] * 3


@s.plays()
async def test_bug_in_a_task(w: s.Scene) -> None:
    """An error of our own is a connection lost and begun anew, not silence for ever."""
    await w.start()

    def fall(name: str) -> None:
        w.gobgpd.on_call = lambda _: None
        raise ValueError(name)

    w.gobgpd.on_call = fall
    await w.loop.let_pass(12)
    w.say(s.LEFT, ONE)
    await w.loop.let_pass(12)
    assert ONE in w.best()
    w.check()


@s.plays()
async def test_refused_neighbor(w: s.Scene) -> None:
    """A neighbour that gobgpd refuses says why, and the others come."""
    w.gobgpd.fail("add_neighbor", "gobgp-refused")
    await w.start()
    assert len(w.gobgpd.peers) == 2
    assert [one.last_error for one in w.engine.neighbors() if one.last_error] != []


@s.plays()
async def test_unsupported_neighbor(w: s.Scene) -> None:
    """What gobgpd cannot be configured changes nothing."""
    await w.start()
    before = {a: peer.config for a, peer in w.gobgpd.peers.items()}
    with pytest.raises(errors.EngineError, match="hold time of 0"):
        w.engine.configure([dataclasses.replace(s.OURS[0], hold_time=0)], ())
    await w.loop.let_pass(8)
    assert {a: peer.config for a, peer in w.gobgpd.peers.items()} == before


@s.plays()
async def test_anycast_over_a_restart(w: s.Scene) -> None:
    """What neighbours say of a prefix of ours stays over gobgpd's restart, too."""
    w.announce(MINE)
    w.say(s.LEFT, MINE)
    await w.start()
    assert MINE in w.best()
    w.gobgpd.die()
    w.gobgpd.start()
    await w.loop.let_pass(15)
    assert w.events.gone([MINE]) == []
    assert gobgpd.NOBODY not in {one.neighbor for one in w.best()[MINE]}
    w.check()
