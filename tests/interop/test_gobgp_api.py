"""The door to gobgpd, on real ones of both versions."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import pathlib
import signal
import struct
import time
from collections.abc import Iterator

import pytest

from bgp_ipvlan import errors, model
from bgp_ipvlan.bgp import attributes, message
from bgp_ipvlan.engines.gobgp import api as api_
from bgp_ipvlan.engines.gobgp import calls
from lab import namespace, newgobgp, peers, require
from tests.interop import gobgpapi
from tests.interop.gobgpapi import INSIDE, LEFT, LEFT6, RIGHT, US, US6, V4, V6

ROUTES = 20_000
SINGLE = (gobgpapi.Gobgp("3"), gobgpapi.Gobgp("4"))
SEVERAL = (gobgpapi.Gobgp("3", multipath=True), gobgpapi.Gobgp("4", multipath=True))


def _name(which: gobgpapi.Gobgp) -> str:
    return f"{which.version}-{'several' if which.multipath else 'single'}"


@pytest.fixture(scope="module", params=[*SINGLE, *SEVERAL], ids=_name)
def standing(request: pytest.FixtureRequest) -> Iterator[gobgpapi.Scene]:
    """A gobgpd."""
    which: gobgpapi.Gobgp = request.param
    if which.version == "4" and newgobgp.version() is None:
        said = "GoBGP 4 is not here: run `python -m lab.newgobgp`"
        pytest.fail(said, pytrace=False) if require.in_ci() else pytest.skip(said)
    with namespace.Lab() as lab:
        made = gobgpapi.Scene(lab, which)
        made.bird.start()
        yield made
        made.end()


@pytest.fixture
def scene(standing: gobgpapi.Scene) -> Iterator[gobgpapi.Scene]:
    """The same, without sessions."""
    yield standing
    standing.clear()


def _rich(reach: bytes = b"") -> bytes:
    """Every attribute there is a use for."""
    parts = (
        (attributes.ORIGIN, b"\1", 0x40),
        (
            attributes.AS_PATH,
            b"\2\2" + struct.pack("!II", gobgpapi.LEFT_AS, 4_200_000_000)
            + b"\1\2" + struct.pack("!II", 65001, 65002),
            0x40,
        ),
        (attributes.MED, (77).to_bytes(4), 0x80),
        (attributes.COMMUNITIES, struct.pack("!III", 64513 << 16 | 1, 0xFFFFFF01, 7), 0xC0),
        (
            attributes.EXTENDED_COMMUNITIES,
            bytes.fromhex(
                "0002fc0100000001"  # route target of a two-octet AS
                "4004fc0147c35000"  # link bandwidth
                "0102c00002010005"  # route target of an address
                "0202fa56ea000009"  # route target of a four-octet AS
                "030b000000000064"  # colour
                "030c000000000008"  # encapsulation
                "0307010203040506"  # opaque
                "4300000000000001"  # origin validation
                "88aa010203040506"  # nobody knows it
            ),
            0xC0,
        ),
        (attributes.LARGE_COMMUNITIES, struct.pack("!6I", 64512, 179, 17900, 1, 2, 3), 0xC0),
    )  # fmt: skip
    return b"".join(attributes.encode(*one) for one in parts) + reach


def _fields(listener: gobgpapi.Listener, prefix: str) -> dict[str, object]:
    """Of the one path of a prefix; compared so, pytest says which is wrong."""
    (path,) = listener.paths(prefix)
    return dataclasses.asdict(path)


def _update(encoded: bytes, nlri: bytes = b"") -> bytes:
    return message.frame(message.UPDATE, b"\0\0" + struct.pack("!H", len(encoded)) + encoded + nlri)


async def test_who_it_is(scene: gobgpapi.Scene) -> None:
    """Both versions say who they are."""
    async with scene.api() as api:
        assert await api.connect() == api_.Speaker(
            scene.which.version, gobgpapi.AS, US, 179, multipath=scene.which.multipath
        )


async def test_a_path_is_as_our_own_speaker_would_have_it(scene: gobgpapi.Scene) -> None:
    """Every attribute comes through, of an UPDATE of either family."""
    left = scene.neighbor(LEFT)
    four = _update(
        attributes.with_next_hop(_rich(), ipaddress.ip_address(LEFT).packed), b"\x18\x0a\x01\x01"
    )
    hops = ipaddress.ip_address(LEFT6).packed + ipaddress.ip_address("fe80::2").packed
    value = struct.pack("!HBB", 2, 1, len(hops)) + hops + b"\0" + b"\x30\x20\x01\x0d\xb8\0\1"
    six = _update(_rich(attributes.encode(attributes.MP_REACH_NLRI, value, 0x80)))
    async with scene.api() as api, gobgpapi.Listener(api) as listener:
        left.say(four, six)
        await listener.until(lambda: len(listener.table) == 2, "both to be learned")
        assert _fields(listener, "10.1.1.0/24") == dataclasses.asdict(left.expected(four))
        expected = left.expected(six)
        if scene.which.version == "4":
            # GoBGP 4 forgets a link-local next hop beside a global one as it learns it.
            expected = dataclasses.replace(expected, link_local=None)
        assert _fields(listener, "2001:db8:1::/48") == dataclasses.asdict(expected)


async def test_a_reflected_path(scene: gobgpapi.Scene) -> None:
    """What route reflectors add comes through, and LOCAL_PREF."""
    inside = scene.neighbor(INSIDE)
    parts = (
        (attributes.ORIGIN, b"\0", 0x40),
        (attributes.AS_PATH, b"", 0x40),
        (attributes.NEXT_HOP, ipaddress.ip_address(INSIDE).packed, 0x40),
        (attributes.LOCAL_PREF, (250).to_bytes(4), 0x40),
        (attributes.ORIGINATOR_ID, ipaddress.ip_address("198.51.100.9").packed, 0x80),
        (attributes.CLUSTER_LIST, bytes((10, 0, 0, 1, 10, 0, 0, 2)), 0x80),
    )
    said = _update(b"".join(attributes.encode(*one) for one in parts), b"\x18\x0a\x01\x01")
    async with scene.api() as api, gobgpapi.Listener(api) as listener:
        inside.say(said)
        await listener.until(lambda: listener.table, "it to be learned")
        assert _fields(listener, "10.1.1.0/24") == dataclasses.asdict(inside.expected(said))


async def test_changes_are_told(scene: gobgpapi.Scene) -> None:
    """What comes, changes, goes, and goes with its neighbour, of both families."""
    left = scene.neighbor(LEFT)
    async with scene.api() as api, gobgpapi.Listener(api) as listener:
        left.announce("10.1.1.0/24", "10.1.2.0/24")
        left.announce("2001:db8:1::/48")
        await listener.until(lambda: len(listener.table) == 3, "all to come")
        left.announce("10.1.1.0/24", med=9)
        await listener.until(lambda: listener.paths("10.1.1.0/24")[0].med == 9, "it to change")
        left.withdraw("10.1.1.0/24")
        left.withdraw("2001:db8:1::/48")
        await listener.until(lambda: len(listener.table) == 1, "two to go")
        left.leave()
        await listener.until(lambda: not listener.table, "the rest to go with the session")

        def down() -> bool:
            told = [one for one in listener.peers if one.address == left.address]
            return any(
                one.kind is api_.PeerKind.STATE and one.state is model.SessionState.IDLE
                for one in told
            )

        await listener.until(down, "the session's end to be told")


async def test_neighbors_come_first(scene: gobgpapi.Scene) -> None:
    """Each neighbour is told of as it is, then that these were all."""
    scene.neighbor(LEFT)
    async with scene.api() as api, gobgpapi.Listener(api) as listener:
        first = listener.peers[: len(gobgpapi.NEIGHBORS) + 1]
        assert {str(one.address) for one in first[:-1]} == set(gobgpapi.NEIGHBORS)
        assert first[-1].kind is api_.PeerKind.END_OF_INIT
        (left,) = (one for one in first if str(one.address) == LEFT)
        assert left.state is model.SessionState.ESTABLISHED


async def test_equally_good_paths(scene: gobgpapi.Scene) -> None:
    """With use-multiple-paths all of them, else the best; and each as it goes."""
    left, right = scene.neighbor(LEFT), scene.neighbor(RIGHT)
    several = scene.which.multipath
    async with scene.api() as api:
        async with gobgpapi.Listener(api) as listener:
            left.announce("10.1.1.0/24")
            await listener.until(lambda: listener.hops("10.1.1.0/24") == {LEFT}, "the first")
            right.announce("10.1.1.0/24")
            right.announce("10.1.2.0/24")
            await listener.until(lambda: listener.paths("10.1.2.0/24"), "the last word")
            assert listener.hops("10.1.1.0/24") == ({LEFT, RIGHT} if several else {LEFT})
        async with gobgpapi.Listener(api) as listener:
            assert listener.hops("10.1.1.0/24") == ({LEFT, RIGHT} if several else {LEFT})
            assert len(listener.table) == 2
            left.withdraw("10.1.1.0/24")
            await listener.until(lambda: listener.hops("10.1.1.0/24") == {RIGHT}, "one to go")
            right.withdraw("10.1.1.0/24")
            await listener.until(lambda: not listener.paths("10.1.1.0/24"), "both to go")
            assert listener.hops("10.1.2.0/24") == {RIGHT}


async def test_what_changes_nothing_is_an_empty_message(scene: gobgpapi.Scene) -> None:
    """A path that is not the best comes: a message without rows says that something happened."""
    left, right = scene.neighbor(LEFT), scene.neighbor(RIGHT)
    left.announce("10.1.1.0/24")
    async with scene.api() as api, gobgpapi.Listener(api) as listener:
        await listener.until(lambda: listener.paths("10.1.1.0/24"), "the best")
        before = len(listener.messages)
        right.announce("10.1.1.0/24", med=5)
        path = attributes.encode(attributes.AS_PATH, b"\2\2" + struct.pack("!II", 64514, 1), 0x40)
        worse = attributes.encode(attributes.ORIGIN, b"\2", 0x40) + path
        hop = attributes.encode(attributes.NEXT_HOP, right.address.packed, 0x40)
        right.say(_update(worse + hop, b"\x18\x0a\x01\x01"))
        await listener.until(lambda: len(listener.messages) >= before + 2, "it to be told")
        assert not listener.messages[-1].rows
        assert not listener.messages[-1].changes
        assert listener.hops("10.1.1.0/24") == {LEFT}


async def test_a_large_table_is_read_in_slices(scene: gobgpapi.Scene) -> None:
    """The loop is never held up for long, equal attributes are one tuple, and all of it comes."""
    left = scene.neighbor(LEFT)
    for prefixes in gobgpapi.many(ROUTES):
        left.announce(*prefixes)
    six = [f"2001:db8:{number:x}::/48" for number in range(1, 1001)]
    for start in range(0, 1000, 20):  # GoBGP 3 says with each all that came with it
        left.announce(*six[start : start + 20])
    async with scene.api() as api:
        while await api.counts(V4) != (ROUTES, ROUTES) or await api.counts(V6) != (1000, 1000):
            await asyncio.sleep(0.05)
        async with gobgpapi.Gaps() as gaps, gobgpapi.Listener(api) as listener:
            assert len(listener.table) == ROUTES + 1000
        assert max(listener.slices) <= api_.SLICE + 1
        assert gaps.longest < 0.02
        tuples = {family: set[int]() for family in model.Family}
        for (family, _), paths in listener.table.items():
            tuples[family].add(id(paths))
        assert list(map(len, tuples.values())) == [1, 1]


async def test_lookup(scene: gobgpapi.Scene) -> None:
    """All paths of exactly the prefixes that were asked for, neighbours' and local ones."""
    left, right = scene.neighbor(LEFT), scene.neighbor(RIGHT)
    key, key6 = b"\x18\x0a\x01\x01", b"\x30\x20\x01\x0d\xb8\0\1"
    left.announce("10.1.1.0/24", "10.1.0.0/16", "10.1.1.0/25")
    right.announce("10.1.1.0/24", med=5)
    left.announce("2001:db8:1::/48")
    async with scene.api() as api:
        while await api.counts(V4) != (3, 4) or await api.counts(V6) != (1, 1):
            await asyncio.sleep(0.05)
        await api.add(_announcement("10.1.1.0/24"))
        found = await api.lookup(V4, [key, b"\x08\x0b"])
        assert list(found) == [key]
        assert found[key][0].neighbor is None
        assert {str(one.neighbor) for one in found[key]} == {"None", LEFT, RIGHT}
        assert [one.best for one in found[key]] == [True, False, False]
        assert not any(one.stale for one in found[key])
        assert found[key][0].path.large_communities == ((64512, 179, 17900),)
        (six,) = (await api.lookup(V6, [key6]))[key6]
        assert str(six.neighbor) == LEFT
        assert await api.lookup(V4, []) == {}
        await api.delete(V4, key)
        left_over = (await api.lookup(V4, [key]))[key]
        assert {str(one.neighbor) for one in left_over} == {LEFT, RIGHT}


def _announcement(prefix: str, **values: object) -> model.Announcement:
    network = ipaddress.ip_network(prefix)
    hop = ipaddress.ip_address(US if network.version == 4 else US6)
    defaults = {"next_hop": hop, "large_communities": ((64512, 179, 17900),)}
    return model.Announcement(prefix=network, **{**defaults, **values})  # type: ignore[arg-type]


async def test_announcing(scene: gobgpapi.Scene) -> None:
    """BIRD has what we announce, as we said it, of both families, until it is taken back."""
    six = "2001:db8:9::/64"
    async with scene.api() as api:
        await api.add(
            _announcement("10.9.0.0/16", communities=(64512 << 16 | 7,), med=5, local_pref=200)
        )
        await api.add(_announcement(six))
        await asyncio.to_thread(peers.wait_learned, scene.bird, six)
        said = await asyncio.to_thread(peers.wait_learned, scene.bird, "10.9.0.0/16")
        assert (said.next_hop, said.med, said.local_pref) == (US, 5, 200)
        assert said.communities == {"64512:7"}
        assert said.large_communities == {"64512:179:17900"}
        await api.add(_announcement("10.9.0.0/16", med=6))
        await asyncio.to_thread(
            namespace.wait_until,
            lambda: getattr(scene.bird.learned("10.9.0.0/16"), "med", 0) == 6,
            "the change",
        )
        await api.delete(V4, model.nlri(ipaddress.ip_network("10.9.0.0/16")))
        await api.delete(V6, model.nlri(ipaddress.ip_network(six)))
        await asyncio.to_thread(peers.wait_forgotten, scene.bird, "10.9.0.0/16")
        await asyncio.to_thread(peers.wait_forgotten, scene.bird, six)


async def test_many_at_once(scene: gobgpapi.Scene) -> None:
    """Announcements and withdrawals of both families in one call."""
    first, second, six = "10.9.0.0/16", "10.10.0.0/16", "2001:db8:9::/64"
    async with scene.api() as api:
        await api.change([_announcement(first), _announcement(six)], [])
        while await api.counts(V4) != (1, 1) or await api.counts(V6) != (1, 1):
            await asyncio.sleep(0.05)
        gone = [(V4, model.nlri(ipaddress.ip_network(first)))]
        await api.change([_announcement(second)], gone)
        key = model.nlri(ipaddress.ip_network(second))
        while not await api.lookup(V4, [key]):
            await asyncio.sleep(0.05)
        assert await api.counts(V4) == (1, 1)
        await api.change([], [(V4, key), (V6, model.nlri(ipaddress.ip_network(six)))])
        while await api.counts(V4) != (0, 0) or await api.counts(V6) != (0, 0):
            await asyncio.sleep(0.05)


async def test_an_ipv6_next_hop_of_an_ipv4_prefix(scene: gobgpapi.Scene) -> None:
    """RFC 8950: gobgpd holds it, and it is withdrawn again."""
    async with scene.api() as api:
        await api.add(_announcement("10.9.0.0/16", next_hop=ipaddress.ip_address(US6)))
        key = b"\x10\x0a\x09"
        (known,) = (await api.lookup(V4, [key]))[key]
        assert str(known.path.next_hop) == US6
        await api.delete(V4, key)
        assert await api.lookup(V4, [key]) == {}


async def test_neighbors(scene: gobgpapi.Scene) -> None:
    """A neighbour's state is all there, up and down."""
    left = scene.neighbor(LEFT)
    left.announce("10.1.1.0/24", "10.1.2.0/24")
    left.announce("2001:db8:1::/48")
    async with scene.api() as api:

        async def one(address: str) -> model.NeighborStatus:
            (found,) = (
                n for n in await api.neighbors(advertised=True) if str(n.address) == address
            )
            return found

        while (found := await one(LEFT)).received < 3:
            await asyncio.sleep(0.05)
        assert not found.end_of_rib
        left.end_of_rib()
        while not (found := await one(LEFT)).end_of_rib:
            await asyncio.sleep(0.05)
        assert found.state is model.SessionState.ESTABLISHED
        assert (found.remote_as, found.local_as) == (gobgpapi.LEFT_AS, gobgpapi.AS)
        assert (str(found.local_address), str(found.router_id)) == (US, LEFT)
        assert (found.hold_time, found.received, found.refused) == (90, 3, 0)
        assert abs(found.since - time.time()) < 30
        assert found.families == (V4, V6)
        assert found.graceful_restart
        assert {"4-octet-as", "route-refresh", "graceful-restart"} <= set(found.capabilities)
        assert not found.dynamic
        down = await one(gobgpapi.ABSENT)
        assert down.state in {model.SessionState.IDLE, model.SessionState.ACTIVE}
        assert (down.remote_as, down.received, down.hold_time) == (gobgpapi.AS, 0, 0)
        await api.disable_neighbor(left.address, "maintenance")
        while (found := await one(LEFT)).idle_reason != "shutdown":
            await asyncio.sleep(0.05)
        assert left.connection.closed.wait(5)
        assert "maintenance" in left.connection.reason
        await api.enable_neighbor(left.address)
        while (found := await one(LEFT)).idle_reason:
            await asyncio.sleep(0.05)


def _config(address: str, **values: object) -> model.NeighborConfig:
    defaults = {"address": ipaddress.ip_address(address), "remote_as": gobgpapi.RIGHT_AS}
    return model.NeighborConfig(**{**defaults, **values})  # type: ignore[arg-type]


OTHER = "192.0.2.77"
ODD = {
    "password": "secret",
    "description": "the odd one",
    "hold_time": 30,
    "keepalive": 10,
    "port": 1179,
    "multihop": 3,
    "local_as": 64999,
    "allow_own_as": 2,
    "max_prefixes": 1000,
    "graceful_restart": False,
    "families": frozenset({V6}),
}


async def test_neighbors_are_added_and_removed(scene: gobgpapi.Scene) -> None:
    """A neighbour with everything there is to say; one that is there already is refused."""
    async with scene.api() as api:
        await api.add_neighbor(_config(OTHER, **ODD))
        try:
            shown = await asyncio.to_thread(scene.ctl, "neighbor", OTHER)
            config = shown["conf"]
            assert (config["auth_password"], config["description"]) == ("secret", "the odd one")
            assert (config["local_asn"], config["allow_own_asn"]) == (64999, 2)
            assert shown["timers"]["config"]["hold_time"] == 30
            assert shown["timers"]["config"]["keepalive_interval"] == 10
            assert shown["transport"]["remote_port"] == 1179
            assert shown["ebgp_multihop"] == {"enabled": True, "multihop_ttl": 3}
            (family,) = shown["afi_safis"]
            assert family["config"]["family"] == {"afi": 2, "safi": 1}
            assert family["prefix_limits"]["max_prefixes"] == 1000
            (found,) = (one for one in await api.neighbors() if str(one.address) == OTHER)
            assert (found.password, found.description) == (True, "the odd one")
            with pytest.raises(errors.EngineError, match="gobgpd says") as caught:
                await api.add_neighbor(_config(OTHER))
            assert caught.value.reason == "gobgp-refused"
        finally:
            await api.delete_neighbor(ipaddress.ip_address(OTHER))
        assert OTHER not in {str(one.address) for one in await api.neighbors()}


async def test_a_reset_and_a_shutdown_say_why(scene: gobgpapi.Scene) -> None:
    """Cease, with the administrator's words."""
    async with scene.api() as api:
        left, right = scene.neighbor(LEFT), scene.neighbor(RIGHT)
        await api.reset_neighbor(left.address, soft=True)
        await api.reset_neighbor(left.address, message="new cable")
        assert left.connection.closed.wait(5)
        assert "administrative reset" in left.connection.reason.lower()
        assert "new cable" in left.connection.reason
        await api.shutdown_neighbor(right.address, "good night")
        assert right.connection.closed.wait(5)
        assert "good night" in right.connection.reason
        with pytest.raises(errors.EngineError, match="gobgpd says"):
            await api.reset_neighbor(ipaddress.ip_address(OTHER))


async def test_a_range_of_neighbors(scene: gobgpapi.Scene) -> None:
    """Who is in it may connect, and is gone with it."""
    address = ipaddress.ip_address(LEFT)
    template = _config("192.0.2.0", remote_as=0, passive=True, hold_time=30)
    ours = model.DynamicNeighbors(prefix=ipaddress.ip_network("192.0.2.0/28"), template=template)
    async with scene.api() as api:
        await api.delete_neighbor(address)
        await api.add_range(ours)
        try:
            left = scene.neighbor(LEFT)
            left.announce("10.1.1.0/24")
            while await api.counts(V4) != (1, 1):
                await asyncio.sleep(0.05)
            (found,) = (one for one in await api.neighbors() if one.address == address)
            assert (found.dynamic, found.remote_as) == (True, gobgpapi.LEFT_AS)
        finally:
            await api.delete_range(ours.prefix)
            gone = address not in {one.address for one in await api.neighbors()}
            again = _config(LEFT, remote_as=gobgpapi.LEFT_AS, passive=True, hold_time=90)
            await api.add_neighbor(again)
        assert gone
        assert left.connection.closed.wait(5)
        await api.delete_range(ours.prefix)


async def test_what_gobgpd_cannot_is_refused(scene: gobgpapi.Scene) -> None:
    """Each with what it is."""
    async with scene.api() as api:
        with pytest.raises(errors.EngineError, match="hold time") as caught:
            await api.add_neighbor(_config(OTHER, hold_time=0))
        assert caught.value.reason == "gobgp-unsupported"
        if scene.which.version == "3":
            template = _config("192.0.2.0", remote_as=0, password="secret")
            ours = model.DynamicNeighbors(
                prefix=ipaddress.ip_network("192.0.2.0/28"), template=template
            )
            with pytest.raises(errors.EngineError, match="password") as caught:
                await api.add_range(ours)
            assert caught.value.reason == "gobgp-unsupported"


async def test_stale_paths(scene: gobgpapi.Scene) -> None:
    """What is kept of a neighbour that restarts is told as stale."""
    left = scene.neighbor(LEFT)
    left.announce("10.1.1.0/24")
    left.end_of_rib()
    key = b"\x18\x0a\x01\x01"
    async with scene.api() as api:
        while not await api.lookup(V4, [key]):
            await asyncio.sleep(0.05)
        left.connection.close(reset=True)
        while not (await api.lookup(V4, [key]))[key][0].stale:
            await asyncio.sleep(0.05)
        (found,) = (one for one in await api.neighbors() if one.address == left.address)
        # GoBGP 4 does not say how many paths it keeps of who is away.
        assert found.stale == (1 if scene.which.version == "3" else 0)
        again = scene.neighbor(LEFT)
        again.end_of_rib()
        while await api.lookup(V4, [key]):
            await asyncio.sleep(0.05)


async def test_gobgpd_goes_and_comes_back(scene: gobgpapi.Scene) -> None:
    """All calls fail with one reason, the stream too; and the same door leads to the new one."""
    async with scene.api() as api:

        async def listen() -> None:
            async for _ in api.watch():
                pass

        task = asyncio.create_task(listen())
        await api.counts(V4)
        await asyncio.to_thread(scene.process.kill)
        reasons = []
        for call in (task, api.counts(V4), api.connect(), api.neighbors(), api.lookup(V4, [b"\0"])):
            with pytest.raises(errors.EngineError, match="start it") as caught:
                await call
            reasons.append(caught.value.reason)
        assert set(reasons) == {"gobgp-unreachable"}
        scene.start()
        async with asyncio.timeout(10):
            while True:
                try:
                    await api.connect()
                    break
                except errors.EngineError:
                    await asyncio.sleep(0.05)
        assert await api.counts(V4) == (0, 0)


async def test_one_that_hangs_is_noticed(
    scene: gobgpapi.Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call ends in time, and the next after it wakes up is answered."""
    async with scene.api() as api:
        monkeypatch.setattr(calls, "TIMEOUT", 0.5)
        scene.process.signal(signal.SIGSTOP)
        stat = pathlib.Path(f"/proc/{scene.process.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "T":  # noqa: ASYNC240 - /proc
            await asyncio.sleep(0.01)
        try:
            for call in (api.counts(V4), api.neighbors(), api.lookup(V4, [b"\0"])):
                with pytest.raises(errors.EngineError, match="start it") as caught:
                    await call
                assert caught.value.reason == "gobgp-unreachable"
        finally:
            scene.process.signal(signal.SIGCONT)
        monkeypatch.undo()
        assert await api.counts(V4) == (0, 0)


async def test_one_without_a_configuration(scene: gobgpapi.Scene) -> None:
    """It has no AS number, and refuses what needs one."""
    target = f"unix:{scene.us.directory}/bare.sock"
    program = gobgpapi.PROGRAMS[scene.which.version]
    bare = scene.us.start(
        *(program, "--api-hosts", target.replace(":", "://"), "--pprof-disable"), log="bare.log"
    )
    api = api_.Api(target)
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    speaker = await api.connect()
                    break
                except errors.EngineError:
                    await asyncio.sleep(0.05)
        assert (speaker.local_as, speaker.router_id) == (0, "")
        with pytest.raises(errors.EngineError, match="gobgpd says") as caught:
            await api.add(_announcement("10.9.0.0/16"))
        assert caught.value.reason == "gobgp-refused"
    finally:
        await api.close()
        await asyncio.to_thread(bare.kill)
