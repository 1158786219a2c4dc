"""The loop: what is announced and routed when networks, links, neighbours and others change."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest

from bgp_ipvlan import config, errors, model, ownership, plan, reconcile
from bgp_ipvlan import state as state_
from tests.fakes import engine as engine_
from tests.fakes import links as links_
from tests.fakes import routes as routes_

V4 = model.Family.IPV4
NET, NET2, END = "a" * 64, "b" * 64, "e" * 64
ETH1 = model.Link(
    index=3,
    name="eth1",
    up=True,
    running=True,
    addresses=(ipaddress.ip_interface("192.0.2.1/24"), ipaddress.ip_interface("2001:db8::1/64")),
)
PEER = ipaddress.ip_address("192.0.2.2")
PATH = model.Path(neighbor=PEER, next_hop=PEER)
VIA = model.Via((model.NextHop(PEER, 3),))
OTHER = ipaddress.ip_network("10.1.2.0/24")
OWN = ipaddress.ip_network("10.1.1.0/24")
SHIM = ownership.link_name(NET)


class JournalEngine(engine_.FakeEngine):
    """Writes down the routes that stood whenever something was announced or withdrawn."""

    def __init__(self, events: reconcile.Reconciler, routes: routes_.FakeRoutes) -> None:
        super().__init__(events)
        self._routes = routes
        self.journal: list[tuple[str, model.Prefix, model.RouteValue | None]] = []

    def announce(self, announcements: Iterable[model.Announcement]) -> None:
        """Note, and do."""
        announcements = list(announcements)
        for one in announcements:
            self.journal.append(("announce", one.prefix, self._routes.table().get(one.prefix)))
        super().announce(announcements)

    def withdraw(self, prefixes: Iterable[model.Prefix]) -> None:
        """Note, and do."""
        prefixes = list(prefixes)
        for prefix in prefixes:
            self.journal.append(("withdraw", prefix, self._routes.table().get(prefix)))
        super().withdraw(prefixes)


class World:
    """The loop with a real state between a fake kernel and a fake engine."""

    def __init__(self, state: state_.State, before: World | None = None) -> None:
        self.state = state
        self.links: links_.FakeLinks = before.links if before else links_.FakeLinks(ETH1)
        self.links.on_change = lambda _lost: None
        self.routes: routes_.FakeRoutes = before.routes if before else routes_.FakeRoutes()
        settings = config.Settings(local_as=64512, host_interface="eth1")
        self.core = reconcile.Reconciler(settings, state, links=self.links, routes=self.routes)
        self.routes.on_failure = self.core.route_failed
        self.engine = JournalEngine(self.core, self.routes)
        self._loop: asyncio.Task[None] | None = None
        self._stopped = False

    async def start(self, boot: str = "this boot") -> bool:
        """Adopt, attach, run; the kernel's monitor is on."""
        preserved = await self.core.adopt(boot)
        self.core.attach(self.engine)
        self.links.on_change = self.core.links_changed
        self._loop = asyncio.create_task(self.core.run())
        return preserved

    async def stop(self) -> None:
        """End without touching anything, as a crash does."""
        if self._stopped:
            return
        self._stopped = True
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
        await self.state.close()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition."""
        async with asyncio.timeout(20):
            while not condition():
                assert self._loop is None or not self._loop.done(), "the loop died"
                await asyncio.sleep(0.002)
        assert condition(), what

    async def create(self, network: model.Network) -> None:
        """What the front door does."""
        await self.core.check_create(network)
        await self.state.put_network(network)
        if network.shim:
            await self.links.ensure_slave(plan.own.shim(network))
        self.core.network_changed(network.id)
        await self.settled()

    async def remove(self, network_id: str) -> None:
        """What the front door does."""
        await self.state.remove_network(network_id)
        self.core.network_changed(network_id)
        await self.links.delete(ownership.link_name(network_id))
        await self.settled()

    async def join(self, endpoint: model.Endpoint, network: model.Network) -> None:
        """What the front door and Docker do."""
        await self.state.put_endpoint(endpoint)
        await self.links.ensure_slave(plan.own.slave(network, endpoint))
        self.core.network_changed(network.id)
        self.links.move(ownership.link_name(endpoint.id))
        await self.settled()

    async def settled(self) -> None:
        """The loop has looked at everything it was told of."""
        await self.until(
            lambda: (
                not (
                    self.core._links_dirty
                    or self.core._audit_due
                    or self.core._wake.is_set()
                    or self.core._replans
                )
            ),
            "settled",
        )
        # The flags fall before the work is done: one pass more proves that it is.
        audits = self.core.counters.audits
        self.core._audit_due = True
        self.core._wake.set()
        await self.until(
            lambda: self.core.counters.audits > audits and not self.core._replans, "settled"
        )
        await self.routes.flush()

    def learn(self, *prefixes: model.Prefix, paths: tuple[model.Path, ...] = (PATH,)) -> None:
        """A neighbour announces, or (no path) withdraws."""
        self.engine.learn(
            model.Family.of(prefixes[0]), [model.nlri(prefix) for prefix in prefixes], *paths
        )

    def reason(self, prefix: model.Prefix) -> str | None:
        """Why a learned prefix has no route."""
        return self.core.refused[model.Family.of(prefix)].get(model.nlri(prefix))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Not started yet."""
    found = World(await state_.State.open(tmp_path / "state"))
    yield found
    await found.stop()


def net(id_: str = NET, subnet: str = "10.1.1.0/24", **fields: object) -> model.Network:
    """A network on eth1 with the first address as gateway."""
    prefix = ipaddress.ip_network(subnet)
    values = {"parent": "eth1", "subnets": (model.Subnet(prefix, prefix[1]),)} | fields
    return model.Network(id=id_, **values)  # type: ignore[arg-type]


def end(address: str = "10.1.1.2/24", id_: str = END, network_id: str = NET) -> model.Endpoint:
    """A container's attachment."""
    return model.Endpoint(
        id=id_, network_id=network_id, addresses=(ipaddress.ip_interface(address),), joined=True
    )


async def again(world: World, tmp_path: Path) -> World:
    """The daemon ends and starts again over the same kernel and state."""
    await world.stop()
    return World(await state_.State.open(tmp_path / "state"), before=world)


# --- our own networks ----------------------------------------------------------------------------


async def test_a_network_comes_and_goes(world: World) -> None:
    """Blackhole before the announcement, withdrawal before the blackhole goes."""
    await world.start()
    await world.create(net())
    assert world.routes.table() == {OWN: model.Blackhole()}
    [announced] = world.engine.announced.values()
    assert announced.next_hop == ipaddress.ip_address("192.0.2.1")
    assert announced.large_communities == ((64512, 179, 17900),)
    await world.remove(NET)
    assert world.routes.table() == {}
    assert world.engine.journal == [
        ("announce", OWN, model.Blackhole()),
        ("withdraw", OWN, model.Blackhole()),
    ]


async def test_a_container_gets_its_host_route(world: World) -> None:
    """One /32 to the shim while it is joined; nothing is announced anew for it."""
    await world.start()
    await world.create(net())
    await world.join(end(), net())
    shim = world.links.links[SHIM].index
    host = ipaddress.ip_network("10.1.1.2/32")
    gateway = ipaddress.ip_address("10.1.1.1")
    assert world.routes.table()[host] == model.Device(shim, gateway)
    await world.state.put_endpoint(dataclasses.replace(end(), joined=False))
    world.core.network_changed(NET)
    assert world.routes.table() == {OWN: model.Blackhole()}
    assert len(world.engine.journal) == 1


async def test_what_is_not_announced(world: World) -> None:
    """`--internal` and bgp.advertise=none: no announcement, no blackhole."""
    await world.start()
    await world.create(net(internal=True))
    await world.create(net(NET2, "10.1.2.0/24", advertise=model.Advertise.NONE))
    assert world.engine.announced == {}
    assert world.routes.table() == {}


async def test_parent_down_and_up(world: World) -> None:
    """Withdrawn while the parent is down, with the blackhole in place; announced again after."""
    await world.start()
    await world.create(net())
    world.links.change("eth1", running=False)
    await world.until(lambda: not world.engine.announced, "withdrawn")
    assert world.core.own[NET].notes == {OWN: "parent-down"}
    assert world.routes.table() == {OWN: model.Blackhole()}
    world.links.change("eth1", running=True)
    await world.until(lambda: OWN in world.engine.announced, "announced again")


async def test_parent_made_anew(world: World) -> None:
    """It has a new index and no shim: shim and host routes are made again."""
    await world.start()
    await world.create(net())
    await world.join(end(), net())
    before = world.links.links[SHIM].index
    for prefix in [p for p, v in world.routes.table().items() if v != model.Blackhole()]:
        world.routes.lose(prefix)  # with their device, without a word
    world.links.remove("eth1")
    await world.until(lambda: not world.engine.announced, "withdrawn")
    world.links.add(dataclasses.replace(ETH1, index=30))
    await world.until(lambda: OWN in world.engine.announced, "announced again")
    await world.settled()
    shim = world.links.links[SHIM]
    assert shim.index != before
    value = world.routes.table()[ipaddress.ip_network("10.1.1.2/32")]
    assert isinstance(value, model.Device)
    assert value.ifindex == shim.index


async def test_the_parents_address_changes(world: World) -> None:
    """NEXT_HOP follows; without an address of the family nothing is announced."""
    await world.start()
    await world.create(net())
    world.links.change("eth1", addresses=(ipaddress.ip_interface("198.51.100.9/24"),))
    new = ipaddress.ip_address("198.51.100.9")
    await world.until(lambda: world.engine.announced[OWN].next_hop == new, "next hop")
    world.links.change("eth1", addresses=())
    await world.until(lambda: not world.engine.announced, "withdrawn")
    assert world.core.own[NET].notes == {OWN: "no-nexthop"}


async def test_check_create_sees_everything(world: World) -> None:
    """Each case of D10 that needs the world: links, networks, routes, what was learned, slaves."""
    await world.start()
    await world.create(net())
    world.learn(OTHER)
    static = ipaddress.ip_network("10.1.3.0/24")
    world.core.foreign_route(V4, model.nlri(static), metric=0, text="proto static dev eth1")
    marked = dataclasses.replace(PATH, large_communities=((64999, 179, 17900),))
    world.learn(ipaddress.ip_network("10.2.0.0/16"), paths=(marked,))
    world.learn(ipaddress.ip_network("10.3.0.0/16"))
    for subnet, reason in (
        ("10.1.1.128/25", "own-overlap"),
        ("192.0.2.128/25", "connected-overlap"),
        ("10.1.2.0/24", "announced-elsewhere"),
        ("10.1.2.0/23", "announced-elsewhere"),
        ("10.2.7.0/24", "announced-elsewhere"),
        ("10.1.3.0/24", "foreign-route"),
        ("172.17.0.0/16", "default-pool"),
    ):
        with pytest.raises(errors.Refused) as caught:
            await world.core.check_create(net(NET2, subnet))
        assert caught.value.reason == reason, subnet
    for subnet in ("10.3.7.0/24", "10.1.4.0/24"):
        await world.core.check_create(net(NET2, subnet))
    for parent, kind in (("eth9", errors.BadRequest), ("lo", errors.BadRequest)):
        with pytest.raises(kind):
            await world.core.check_create(net(NET2, "10.1.4.0/24", parent=parent))
    world.links.away["x"] = model.Slave(
        name="eth0",
        alias="",
        mode=model.Mode.L2,
        flag=model.Flag.BRIDGE,
        parent_index=3,
        namespace="/proc/9/ns/net",
    )
    with pytest.raises(errors.Refused, match="already carries ipvlan mode l2"):
        await world.core.check_create(net(NET2, "10.1.4.0/24"))


# --- learned routes --------------------------------------------------------------------------------


async def test_learned_routes_come_change_and_go(world: World) -> None:
    """A prefix becomes a route by its next hop, follows it, becomes ECMP, and goes."""
    await world.start()
    world.learn(OTHER)
    assert world.routes.table() == {OTHER: VIA}
    third = ipaddress.ip_address("192.0.2.3")
    world.learn(OTHER, paths=(PATH, dataclasses.replace(PATH, next_hop=third)))
    assert world.routes.table() == {
        OTHER: model.Via((model.NextHop(PEER, 3), model.NextHop(third, 3)))
    }
    world.learn(OTHER, paths=())
    assert world.routes.table() == {}


async def test_refusals_have_reasons(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Each prefix that may not be a route is none, and log and status say why."""
    await world.start()
    await world.create(net())
    cases = {
        "0.0.0.0/0": "default-route",
        "127.1.0.0/16": "martian",
        "192.0.2.128/25": "connected-overlap",
        "10.1.1.2/32": "own-prefix",
        "10.1.1.0/24": "duplicate-prefix",
    }
    for text, reason in cases.items():
        world.learn(ipaddress.ip_network(text))
        assert world.reason(ipaddress.ip_network(text)) == reason
        assert f"prefix={text}" in caplog.text
        assert f"reason={reason}" in caplog.text
    off = dataclasses.replace(PATH, next_hop=ipaddress.ip_address("203.0.113.1"))
    world.learn(OTHER, paths=(off,))
    assert world.reason(OTHER) == "nexthop-offlink"
    assert world.routes.table() == {OWN: model.Blackhole()}


async def test_a_foreign_route_wins_while_it_is_there(world: World) -> None:
    """It comes: ours goes. It goes: ours comes back. Its own other routes do not matter."""
    await world.start()
    world.learn(OTHER)
    key = model.nlri(OTHER)
    world.core.foreign_route(V4, key, metric=0, text="proto static")
    world.core.foreign_route(V4, key, metric=5, text="proto static metric 5")
    assert world.routes.table() == {}
    assert world.reason(OTHER) == "foreign-route"
    world.core.foreign_route(V4, key, metric=0, text=None)
    assert world.routes.table() == {}
    world.core.foreign_route(V4, key, metric=5, text=None)
    assert world.routes.table() == {OTHER: VIA}
    assert world.reason(OTHER) is None


async def test_a_foreign_route_that_nobody_told_of(world: World) -> None:
    """An audit finds it, and finds it gone."""
    await world.start()
    world.learn(OTHER)
    world.routes.put_foreign(OTHER)
    await world.settled()
    assert world.routes.table() == {}
    world.routes.drop_foreign(OTHER)
    await world.settled()
    assert world.routes.table() == {OTHER: VIA}


async def test_news_of_a_foreign_route_during_an_audit(world: World) -> None:
    """The reading is older than the event: the event counts."""
    await world.start()
    world.learn(OTHER)
    key = model.nlri(OTHER)

    def comes() -> None:
        world.routes.put_foreign(OTHER)
        world.core.foreign_route(V4, key, metric=0, text="proto static")

    def goes() -> None:
        world.routes.drop_foreign(OTHER)
        world.core.foreign_route(V4, key, metric=0, text=None)

    world.routes.during_dump = comes
    await world.core._audit(full=False)
    assert (world.routes.table(), world.reason(OTHER)) == ({}, "foreign-route")
    world.routes.during_dump = goes
    await world.core._audit(full=False)
    assert (world.routes.table(), world.reason(OTHER)) == ({OTHER: VIA}, None)


async def test_a_network_hides_learned_prefixes_while_it_is_there(world: World) -> None:
    """A network that is not announced may cover learned ones: refused, and back afterwards."""
    await world.start()
    inside = ipaddress.ip_network("10.1.1.128/25")
    world.learn(inside, OWN)
    await world.create(net(internal=True))
    assert world.routes.table() == {}
    assert (world.reason(inside), world.reason(OWN)) == ("own-prefix", "duplicate-prefix")
    await world.remove(NET)
    assert world.routes.table() == {inside: VIA, OWN: VIA}


async def test_a_prefix_claimed_twice_is_learned_when_ours_goes(world: World) -> None:
    """`duplicate-prefix` while we have it: our blackhole stays; then theirs is a route."""
    await world.start()
    await world.create(net())
    world.learn(OWN)
    assert world.routes.table() == {OWN: model.Blackhole()}
    world.learn(OWN, paths=())
    assert world.routes.table() == {OWN: model.Blackhole()}, "their withdrawal is not ours"
    world.learn(OWN)
    await world.remove(NET)
    assert world.routes.table() == {OWN: VIA}


async def test_learned_routes_follow_the_link(world: World) -> None:
    """Down: refused and out of the books; up: back, though the kernel dropped them silently."""
    await world.start()
    world.learn(OTHER)
    world.routes.lose(OTHER)
    world.links.change("eth1", up=False, running=False)
    await world.until(lambda: world.reason(OTHER) == "nexthop-offlink", "refused")
    await world.settled()
    assert world.routes.table() == {}
    world.links.change("eth1", up=True, running=True)
    await world.until(lambda: world.reason(OTHER) is None, "no longer refused")
    assert world.routes.table() == {OTHER: VIA}


async def test_a_short_flap_of_the_link(world: World) -> None:
    """Down and up before we looked: IPv4 routes went without a word, and are put back."""
    await world.start()
    world.learn(OTHER)
    await world.settled()
    world.links.change("eth1", up=False)
    world.routes.lose(OTHER)
    world.links.change("eth1", up=True)
    await world.until(lambda: world.routes.table() == {OTHER: VIA}, "back")


async def test_many_prefixes_are_decided_in_slices(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of links decides every learned prefix anew, none forgotten at the edges."""
    monkeypatch.setattr(reconcile, "_SLICE", 7)
    await world.start()
    prefixes = [ipaddress.ip_network(f"10.9.{n}.0/24") for n in range(50)]
    world.learn(*prefixes)
    world.links.change("eth1", up=False)
    await world.until(lambda: len(world.core.refused[V4]) == 50, "all refused")
    assert world.routes.table() == {}
    world.links.change("eth1", up=True)
    await world.until(lambda: len(world.routes.table()) == 50, "all back")


# --- the kernel says no, others interfere -----------------------------------------------------------


async def test_a_refused_route_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses once; soon it stands, the others stood all the time."""
    monkeypatch.setattr(reconcile, "_RETRY_FIRST", 0.01)
    await world.start()
    second = ipaddress.ip_network("10.1.3.0/24")
    world.routes.fail(OTHER)
    world.learn(OTHER, second)
    assert world.routes.table() == {second: VIA}
    await world.until(lambda: world.routes.table() == {second: VIA, OTHER: VIA}, "tried again")
    world.routes.check_consumed()
    assert world.core.counters.failed == 1
    await world.until(lambda: world.core._retry_delay == 0, "the timer ends with the work")


async def test_a_key_of_our_metric_that_is_taken(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """EEXIST: theirs stays as it is, `foreign-route` once in the log; ours when theirs is gone."""
    monkeypatch.setattr(reconcile, "_RETRY_FIRST", 0.01)
    monkeypatch.setattr(reconcile, "_RETRY_LAST", 0.02)
    await world.start()
    world.routes.put_foreign(OWN, metric=ownership.ROUTE_METRIC)
    network = net()
    await world.state.put_network(network)
    world.core.network_changed(NET)
    await world.until(lambda: world.core.counters.failed >= 3, "tried again")
    assert world.routes.foreign[V4][model.nlri(OWN)]
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
        world.core.own_route_touched(V4, key, present=False)
        assert world.routes.table()[prefix] == value
        world.routes.put(prefix, model.Device(1))
        world.core.own_route_touched(V4, key, present=True)
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
    monkeypatch.setattr(reconcile, "_RETRY_FIRST", 0.01)
    await world.start()
    await world.create(net())
    world.links.fail("read")
    world.links.change("eth1", running=False)
    await world.until(lambda: not world.engine.announced, "looked again")
    assert "reason=kernel-refused" in caplog.text
    world.links.check_consumed()


# --- restart ---------------------------------------------------------------------------------------


async def test_a_restart_writes_nothing(world: World, tmp_path: Path) -> None:
    """Crash and start: routes adopted, announced as before, not one route written."""
    await world.start()
    await world.create(net())
    await world.join(end(), net())
    world.learn(OTHER)
    table = world.routes.table()
    world = await again(world, tmp_path)
    try:
        world.routes.written.clear()
        assert await world.start() is True, "same boot: forwarding was preserved"
        assert set(world.engine.announced) == {OWN}
        world.learn(OTHER)
        world.core.synced()
        await world.settled()
        assert world.routes.written == []
        assert world.routes.table() == table
        assert world.links.deleted == []
    finally:
        await world.stop()


async def test_nothing_is_deleted_before_all_is_known(world: World, tmp_path: Path) -> None:
    """An adopted route that nobody announces stays until `synced`, also over an audit."""
    await world.start()
    world.learn(OTHER)
    world = await again(world, tmp_path)
    try:
        await world.start()
        await world.settled()
        assert world.routes.table() == {OTHER: VIA}
        world.core.synced()
        assert world.routes.table() == {}
    finally:
        await world.stop()


async def test_a_network_removed_while_we_were_down(world: World, tmp_path: Path) -> None:
    """Its shim is removed at start, its blackhole when all is known."""
    await world.start()
    await world.create(net())
    await world.state.remove_network(NET)
    world = await again(world, tmp_path)
    try:
        await world.start()
        assert world.links.ours() == set()
        assert world.routes.table() == {OWN: model.Blackhole()}
        world.core.synced()
        assert world.routes.table() == {}
    finally:
        await world.stop()


async def test_after_a_reboot(world: World, tmp_path: Path) -> None:
    """Links and routes are gone, containers too: endpoints forgotten, shim and blackhole made."""
    await world.start()
    await world.create(net())
    await world.join(end(), net())
    world.links.remove("eth1")
    world.links.links["eth1"] = ETH1
    world.routes.ours[V4].clear()
    world = await again(world, tmp_path)
    try:
        assert await world.start("another boot") is False
        assert dict(world.state.endpoints) == {}
        assert world.links.ours() == {SHIM}
        assert world.routes.table() == {OWN: model.Blackhole()}
        assert set(world.engine.announced) == {OWN}
    finally:
        await world.stop()


async def test_withdraw_learned_leaves_our_own(world: World) -> None:
    """For `stop --withdraw`: nobody keeps learned routes true any more."""
    await world.start()
    await world.create(net())
    world.learn(OTHER, ipaddress.ip_network("10.7.0.0/16"))
    world.core.withdraw_learned()
    assert world.routes.table() == {OWN: model.Blackhole()}
