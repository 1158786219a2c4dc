"""Subnets and addresses as Docker asks for them, in its order, over a real state."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bgp_ipvlan import errors, model, ownership
from bgp_ipvlan.docker import ipam, options
from tests.unit.docker import conftest as c

GATEWAY = {"RequestAddressType": "com.docker.network.gateway"}
WHOLE = ("10.1.1.0/24", "fd00:1::/64")


@contextlib.asynccontextmanager
async def opened(directory: Path, *subnets: str, gateway: str = "") -> AsyncIterator[Ipam]:
    """A world with `--ipvlan-subnet` and `--gateway`."""
    found = await c.build(
        directory,
        options.Defaults(
            parent="eth1",
            ipvlan_subnets=tuple(map(ipaddress.ip_network, subnets)),
            gateway=ipaddress.ip_address(gateway) if gateway else None,
        ),
    )
    yield Ipam(found)
    await found.state.close()


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Ipam]:
    """With a small subnet of each family."""
    async with opened(tmp_path / "state", *WHOLE) as found:
        yield found


class Ipam:
    """Docker, as far as it needs an IPAM driver."""

    def __init__(self, world: c.World) -> None:
        self.world = world
        self.ids = {str(pool.prefix): pool.id for pool in world.state.pools.values()}
        """Subnet → PoolID of the last that was given."""

    async def pool(
        self, pool: str = "", within: str = "", *, v6: bool = False, **given: str
    ) -> str:
        """RequestPool; the pool."""
        opts = {key.replace("_", "-"): value for key, value in given.items()} or None
        answer = await self.world.call(
            "RequestPool", AddressSpace="x", Pool=pool, SubPool=within, Options=opts, V6=v6
        )
        assert answer["PoolID"].startswith(f"bgp-ipvlan/{answer['Pool']}#")
        self.ids[answer["Pool"]] = answer["PoolID"]
        return str(answer["Pool"])

    async def address(self, pool: str, wanted: str = "", *, gateway: bool = False) -> str:
        """RequestAddress; the address."""
        answer = await self.world.call(
            "RequestAddress",
            PoolID=self.ids.get(pool, pool),
            Address=wanted,
            Options=GATEWAY if gateway else None,
        )
        address, length = answer["Address"].split("/")
        assert int(length) == ipaddress.ip_network(pool).prefixlen
        return str(address)

    async def release(self, pool: str, address: str) -> None:
        """ReleaseAddress."""
        ref = {"PoolID": self.ids.get(pool, pool), "Address": address}
        assert await self.world.call("ReleaseAddress", **ref) == {}

    async def release_pool(self, pool: str) -> None:
        """ReleasePool."""
        assert await self.world.call("ReleasePool", PoolID=self.ids.get(pool, pool)) == {}

    async def network(self, pool: str = "", within: str = "", id_: str = c.NET) -> str:
        """`docker network create`; the pool."""
        pool = await self.pool(pool, within)
        gateway = await self.address(pool, gateway=True)
        length = pool.partition("/")[2]
        body = c.network_body(id_, pool, gateway=None)
        body["IPv4Data"][0]["Gateway"] = f"{gateway}/{length}"
        await self.world.call("CreateNetwork", **body)
        return pool

    async def run(self, pool: str, id_: str = c.END, wanted: str = "", net: str = c.NET) -> str:
        """`docker run`; its address."""
        address = await self.address(pool, wanted)
        length = pool.partition("/")[2]
        await self.world.call("CreateEndpoint", **c.endpoint_body(id_, net, f"{address}/{length}"))
        await self.world.call("Join", **c.ref(id_, net))
        return address

    async def stop(self, pool: str, id_: str, address: str) -> None:
        """`docker stop`."""
        await self.world.call("Leave", **c.ref(id_))
        await self.world.call("DeleteEndpoint", **c.ref(id_))
        await self.release(pool, address)

    def later(self, seconds: float = ipam.COMING + 1) -> None:
        """Time goes on."""
        self.world.now.append(self.world.now[-1] + seconds)


async def refused(call: object, reason: str, *says: str) -> None:
    """A call that is refused, and why."""
    with pytest.raises(errors.Error) as caught:
        await call  # type: ignore[misc]
    assert caught.value.reason == reason, caught.value
    for text in says:
        assert text in str(caught.value)


# --- subnets -----------------------------------------------------------------------------------


async def test_no_subnet_gets_the_hosts(it: Ipam) -> None:
    """`--ipvlan-subnet`, all of it as it is small; of each family its own."""
    assert await it.pool() == "10.1.1.0/24"
    assert await it.pool(v6=True) == "fd00:1::/64"


async def test_a_second_network_is_told_who_has_it(it: Ipam) -> None:
    """Reason `pool-in-use`, with the network and all ways out; given back it is there again."""
    pool = await it.network()
    await refused(it.pool(), "pool-in-use", f"network {c.NET[:12]}", "--subnet", "--ipvlan-subnet")
    await it.release(pool, "10.1.1.1")
    await it.release_pool(pool)
    await it.world.call("DeleteNetwork", NetworkID=c.NET)
    assert await it.pool() == pool


async def test_one_that_is_being_created_has_its_subnet(it: Ipam) -> None:
    """Between RequestPool and CreateNetwork nobody else gets it, with or without --subnet."""
    await it.pool()
    await refused(it.pool(), "pool-in-use", "is being given")
    await refused(it.pool("10.1.1.128/25"), "pool-in-use", "10.1.1.0/24", "try again")
    assert await it.pool("10.1.2.0/24") == "10.1.2.0/24"


async def test_what_a_create_left_is_given_anew(it: Ipam) -> None:
    """Dockerd died in it, or the network was forgotten: after a minute, with no address held."""
    await it.pool()
    assert await it.address("10.1.1.0/24", "10.1.1.9") == "10.1.1.9"
    it.later()
    assert await it.pool("10.1.1.0/25") == "10.1.1.0/25"
    assert set(it.world.state.pools) == {it.ids["10.1.1.0/25"]}
    await refused(it.address("10.1.1.0/24"), "unknown-pool", "docker network rm")
    assert await it.address("10.1.1.0/25", "10.1.1.9") == "10.1.1.9"


async def test_the_clock_is_put_back(it: Ipam) -> None:
    """What a create left before that is not kept until the clock is there again."""
    pool = await it.pool()
    await refused(it.pool(), "pool-in-use")
    it.later(-1_000)
    assert await it.pool() == pool


async def test_late_releases_are_not_the_next_networks(it: Ipam) -> None:
    """Docker removes a network that we were told to forget, and another has its subnet."""
    pool = await it.network()
    old = it.ids[pool]
    await it.world.driver.forget(c.NET[:12])
    it.later()
    assert await it.network(pool, id_=c.NET2) == pool
    address = await it.run(pool, c.END2, net=c.NET2)
    for one in ("10.1.1.1", address):
        await it.world.call("ReleaseAddress", PoolID=old, Address=one)
    await it.world.call("ReleasePool", PoolID=old)
    await it.world.call("DeleteNetwork", NetworkID=c.NET)
    assert [one.holding.value for one in it.world.state.leases_of(it.ids[pool]).values()] == [
        "reserved",
        "held",
    ]
    assert await it.address(pool) == "10.1.1.3"


async def test_a_network_keeps_its_subnet_for_ever(it: Ipam) -> None:
    """However long ago it was created; overlapping ones are refused as a create is."""
    await it.network()
    it.later(10**9)
    await refused(it.pool("10.1.0.0/16"), "own-overlap", c.NET[:12])
    await refused(it.pool("10.1.1.0/24"), "own-overlap", c.NET[:12])


async def test_a_wide_subnet_is_shared(tmp_path: Path) -> None:
    """A /24 each, lowest first, past what is connected, ours, or announced by others."""
    async with opened(tmp_path, "10.1.0.0/16", "fd00:1::/48") as it:
        wire = ipaddress.ip_interface("10.1.1.77/25")
        it.world.links.change("eth1", addresses=(wire,))
        await it.network("10.1.0.0/28")
        it.world.core.refuse = errors.Refused("announced-elsewhere", "10.1.2.0/24")
        assert await it.pool() == "10.1.3.0/24"
        assert await it.pool() == "10.1.2.0/24"
        assert await it.pool(prefix_length="26") == "10.1.0.64/26"
        assert await it.pool(v6=True) == "fd00:1::/64"
        assert await it.pool(v6=True, prefix_length6="56") == "fd00:1:0:100::/56"


async def test_a_refusal_for_other_reasons_is_the_creates(tmp_path: Path) -> None:
    """A parent that is down may not be this network's: no other subnet would help."""
    async with opened(tmp_path, "10.1.0.0/16") as it:
        it.world.core.refuse = errors.Refused("parent-down", "eth1 is down")
        assert await it.pool() == "10.1.0.0/24"


@pytest.mark.parametrize(
    ("given", "reason", "says"),
    [
        ({"prefix_length": "15"}, "bad-option", "16 to 32"),
        ({"prefix_length": "33"}, "bad-option", "16 to 32"),
        ({"prefix_length": "-1"}, "bad-option", "number"),
        ({"prefix_length": "²"}, "bad-option", "number"),
        ({"prefixlength": "24"}, "unknown-option", "prefix-length"),
        ({"v6": True}, "no-pool", "IPv6"),
        ({"pool": "10.1.1.0/33"}, "bad-subnet", "10.1.1.0/33"),
        ({"pool": "10.1.1.0/24", "within": "10.1.2.0/25"}, "bad-subnet", "--ip-range"),
        ({"pool": "10.1.1.0/24", "within": "10.1.0.0/16"}, "bad-subnet", "--ip-range"),
        ({"pool": "10.1.1.0/24", "within": "fd00::/96"}, "bad-subnet", "--ip-range"),
    ],
)
async def test_what_cannot_be_asked_for(
    tmp_path: Path, given: dict[str, str], reason: str, says: str
) -> None:
    """With what is possible instead; nothing is left of it."""
    async with opened(tmp_path, "10.1.0.0/16") as it:
        await refused(it.pool(**given), reason, says)  # type: ignore[arg-type]
        assert not it.world.state.pools


async def test_all_given_away(tmp_path: Path) -> None:
    """The text names what is in the way, three of it."""
    async with opened(tmp_path, "10.1.0.0/22") as it:
        for _ in range(4):
            await it.pool()
        await refused(it.pool(), "pool-in-use", "no free /24", "10.1.0.0/24", "10.1.2.0/24")


async def test_the_search_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others announce all of a large subnet: told in time, before Docker gives up."""

    async def elsewhere(*_: object, **__: object) -> None:
        await asyncio.sleep(0)
        raise errors.Refused("announced-elsewhere", "by another host")

    monkeypatch.setattr(ipam, "_SEARCH", 0.05)
    async with opened(tmp_path, "fd00::/16") as it:
        monkeypatch.setattr(it.world.core, "check_create", elsewhere)
        await refused(it.pool(v6=True), "pool-in-use", "other hosts announce")


# --- addresses ---------------------------------------------------------------------------------


async def test_gateway_then_containers(it: Ipam) -> None:
    """The first address is the gateway's; --gateway and --aux-address are nobody else's."""
    pool = await it.pool()
    assert await it.address(pool, gateway=True) == "10.1.1.1"
    assert await it.address(pool, "10.1.1.2") == "10.1.1.2"
    await refused(it.address(pool, "10.1.1.1"), "address-reserved")
    await refused(it.address(pool, "10.1.1.2"), "address-reserved", "--aux-address")
    assert await it.address(pool) == "10.1.1.3"
    other = await it.pool("10.1.2.0/24")
    assert await it.address(other, "10.1.2.254", gateway=True) == "10.1.2.254"
    assert await it.address(other) == "10.1.2.1"


async def test_the_daemons_gateway(tmp_path: Path) -> None:
    """`--gateway` where it lies inside, else the first."""
    async with opened(tmp_path, *WHOLE, gateway="10.1.1.254") as it:
        assert await it.address(await it.pool(), gateway=True) == "10.1.1.254"
        assert await it.address(await it.pool("10.1.2.0/24"), gateway=True) == "10.1.2.1"
        assert await it.address(await it.pool(v6=True), gateway=True) == "fd00:1::1"


async def test_a_range_for_those_who_name_none(it: Ipam) -> None:
    """`--ip-range`; `--ip` may be outside it."""
    pool = await it.network("10.1.1.0/24", "10.1.1.128/30")
    found = [await it.address(pool) for _ in range(3)]
    assert found == ["10.1.1.129", "10.1.1.130", "10.1.1.131"]
    assert await it.address(pool, "10.1.1.7") == "10.1.1.7"
    await refused(it.address(pool), "pool-exhausted", "--ip-range 10.1.1.128/30")


@pytest.mark.parametrize("wanted", ["10.1.1.0", "10.1.1.255", "10.1.2.1", "fd00::1", "x"])
async def test_no_containers_address(it: Ipam, wanted: str) -> None:
    """Network, broadcast, elsewhere, nonsense: reason `bad-address`."""
    pool = await it.network()
    await refused(it.address(pool, wanted), "bad-address", wanted)


async def test_an_address_given_back_rests(it: Ipam) -> None:
    """The next container gets another; asked for by name it is there at once."""
    pool = await it.network()
    first = await it.run(pool, c.END)
    await refused(it.address(pool, first), "address-in-use")
    await it.stop(pool, c.END, first)
    assert await it.address(pool) == "10.1.1.3"
    assert await it.run(pool, c.END, first) == first


async def test_the_longest_rested_is_first(it: Ipam) -> None:
    """When all have been used."""
    pool = await it.network("10.1.1.0/29")
    held = [await it.address(pool) for _ in range(5)]
    for address in (held[3], held[0], held[4]):
        it.later(1)
        await it.release(pool, address)
    assert [await it.address(pool) for _ in range(3)] == [held[3], held[0], held[4]]


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    """What is held, what rests, and where the choice stands."""
    async with opened(tmp_path) as it:
        pool = await it.network("10.1.1.0/29")
        held = [await it.address(pool) for _ in range(3)]
        await it.release(pool, held[0])
    async with opened(tmp_path) as it:
        await refused(it.address(pool, held[1]), "address-in-use")
        assert [await it.address(pool) for _ in range(3)] == ["10.1.1.5", "10.1.1.6", held[0]]


async def test_releases_of_the_unknown(it: Ipam) -> None:
    """Success, and nothing changes."""
    pool = await it.pool()
    await it.release(pool, "10.1.1.9")
    await it.release("10.9.9.0/24", "10.9.9.1")
    await it.release_pool("10.9.9.0/24")
    assert not it.world.state.leases_of(it.ids[pool])


async def test_no_more_than_so_many_rest(it: Ipam, monkeypatch: pytest.MonkeyPatch) -> None:
    """A /64 whose containers come and go takes no more and more room."""
    monkeypatch.setattr(ipam, "_RESTS", 3)
    pool = await it.pool(v6=True)
    for _ in range(6):
        it.later(1)
        await it.release(pool, await it.address(pool))
    left = it.world.state.leases_of(it.ids[pool])
    assert sorted(map(str, left)) == ["fd00:1::4", "fd00:1::5", "fd00:1::6"]


# --- what Docker does not tell -----------------------------------------------------------------


async def small(it: Ipam) -> tuple[str, str]:
    """A network with room for one container, and that address, given and never used."""
    pool = await it.network("10.1.1.0/30")
    return pool, await it.address(pool)


async def test_a_lost_address_comes_back(it: Ipam) -> None:
    """No endpoint came within a minute: whoever needs it gets it, by name or not."""
    pool, address = await small(it)
    await refused(it.address(pool), "pool-exhausted")
    await refused(it.address(pool, address), "address-in-use")
    it.later()
    assert await it.address(pool) == address
    it.later()
    assert await it.run(pool, c.END, address) == address
    it.later()
    await refused(it.address(pool), "pool-exhausted")
    await refused(it.address(pool, address), "address-in-use")


async def test_not_while_somebody_unknown_lives(it: Ipam) -> None:
    """A slave of ours in some namespace without an endpoint may have it; or one we cannot see."""
    pool, address = await small(it)
    it.later()
    links = it.world.links
    links.scan_complete = False
    await refused(it.address(pool), "pool-exhausted")
    links.scan_complete = True
    eth1 = links.links["eth1"].index
    links.away["x"] = model.Slave(
        name="eth0",
        alias=ownership.link_alias("9" * 64),
        mode=model.Mode.L3,
        flag=model.Flag.BRIDGE,
        parent_index=eth1,
        namespace="/proc/9/ns/net",
    )
    await refused(it.address(pool), "pool-exhausted")
    await refused(it.address(pool, address), "address-in-use")
    links.away["x"] = dataclasses.replace(links.away["x"], alias="somebody else's")
    assert await it.address(pool) == address


async def test_a_late_release_does_no_harm(it: Ipam) -> None:
    """Docker gives back what another container has by now: it keeps it, and it comes free with it."""
    pool, address = await small(it)
    it.later()
    await it.run(pool, c.END, address)
    await it.release(pool, address)
    it.later()
    await refused(it.address(pool), "pool-exhausted")
    await refused(it.address(pool, address), "address-in-use")
    await it.world.call("Leave", **c.ref(c.END))
    await it.world.call("DeleteEndpoint", **c.ref(c.END))
    assert await it.address(pool) == address


async def test_not_between_leave_and_release(it: Ipam) -> None:
    """A container that is ending has its address until Docker is done, or has forgotten it."""
    pool, address = await small(it)
    it.later()
    await it.run(pool, c.END, address)
    it.later()
    await it.world.call("Leave", **c.ref(c.END))
    await refused(it.address(pool), "pool-exhausted")
    await refused(it.address(pool, address), "address-in-use")
    it.later()
    assert await it.address(pool) == address


async def test_an_endpoint_that_never_joined(it: Ipam) -> None:
    """CreateEndpoint's answer was lost: Docker gives the address back, and the next one has it."""
    pool, address = await small(it)
    await it.world.call("CreateEndpoint", **c.endpoint_body(c.END, c.NET, f"{address}/30"))
    await it.release(pool, address)
    assert await it.run(pool, c.END2) == address
    assert set(it.world.state.endpoints) == {c.END2}


async def test_reserved_ones_are_never_lost(it: Ipam) -> None:
    """Gateway and --aux-address have no endpoint, and stay."""
    pool = await it.pool("10.1.1.0/30")
    await it.address(pool, "10.1.1.2")
    await it.address(pool, gateway=True)
    body = c.network_body(c.NET, pool, gateway=None)
    body["IPv4Data"][0]["Gateway"] = "10.1.1.1/30"
    await it.world.call("CreateNetwork", **body)
    it.later()
    await refused(it.address(pool), "pool-exhausted")
    for address in ("10.1.1.1", "10.1.1.2"):
        await refused(it.address(pool, address), "address-reserved")
    # Another create of the same subnet that failed has "given back" the gateway.
    await it.release(pool, "10.1.1.1")
    await refused(it.address(pool, "10.1.1.1"), "address-reserved")
    await refused(it.address(pool), "pool-exhausted")


async def test_a_disk_that_cannot_be_written(it: Ipam) -> None:
    """Refused, and neither subnet nor address is given."""
    pool = await it.pool()
    before = dict(it.world.state.pools)
    await it.world.break_disk()
    await refused(it.pool("10.1.2.0/24"), "state-unwritable")
    await refused(it.address(pool), "state-unwritable")
    assert dict(it.world.state.pools) == before
    assert not it.world.state.leases_of(it.ids[pool])
