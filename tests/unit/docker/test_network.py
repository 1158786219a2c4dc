"""The life of a network and an endpoint: in order, refused, failing, cancelled."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from pathlib import Path
from typing import Any

import pytest

from bgp_ipvlan import errors, model, ownership
from bgp_ipvlan.docker import options
from tests.unit.docker import conftest as c

SHIM = ownership.link_name(c.NET)
LINK = ownership.link_name(c.END)


async def test_a_whole_life(world: c.World) -> None:
    """Create, join, leave, delete: links, state and the answers at each step."""
    assert await world.call("CreateNetwork", **c.network_body()) == {}
    assert world.links.links[SHIM].addresses == (ipaddress.ip_interface("10.1.1.1/32"),)
    assert world.links.links[SHIM].up
    assert await world.call("CreateEndpoint", **c.endpoint_body()) == {}
    assert LINK not in world.links.links
    assert await world.call("Join", **c.ref()) == {
        "InterfaceName": {"SrcName": LINK, "DstPrefix": "eth"},
        "StaticRoutes": [{"Destination": "0.0.0.0/0", "RouteType": 1, "NextHop": ""}],
        "DisableGatewayService": True,
    }
    link = world.links.links[LINK]
    assert (link.alias, link.up, link.addresses) == (ownership.link_alias(c.END), False, ())
    assert world.state.endpoints[c.END].joined
    world.core.check()
    assert await world.call("EndpointOperInfo", **c.ref()) == {"Value": {}}
    assert await world.call("Leave", **c.ref()) == {}
    assert not world.state.endpoints[c.END].joined
    assert LINK in world.links.links, "Docker is still to bring it home"
    world.core.check()
    assert await world.call("DeleteEndpoint", **c.ref()) == {}
    assert set(world.links.links) == {"eth1", SHIM}
    assert await world.call("DeleteNetwork", NetworkID=c.NET) == {}
    world.nothing_left()


async def test_both_families(world: c.World) -> None:
    """Two subnets: two gateways on the shim, two default routes for the container."""
    body = c.network_body()
    body["IPv6Data"] = [{"Pool": "fd00:1::/64", "Gateway": "fd00:1::1/64"}]
    await world.call("CreateNetwork", **body)
    assert set(world.links.links[SHIM].addresses) == {
        ipaddress.ip_interface("10.1.1.1/32"),
        ipaddress.ip_interface("fd00:1::1/128"),
    }
    await world.call("CreateEndpoint", **c.endpoint_body(address_ipv6="fd00:1::2/64"))
    answer = await world.call("Join", **c.ref())
    assert [r["Destination"] for r in answer["StaticRoutes"]] == ["0.0.0.0/0", "::/0"]


async def test_internal_has_no_way_out(world: c.World) -> None:
    """`--internal`: no shim, no default route, and the core is told a network without either."""
    await world.call("CreateNetwork", **c.network_body(internal=True))
    assert set(world.links.links) == {"eth1"}
    await world.call("CreateEndpoint", **c.endpoint_body())
    assert (await world.call("Join", **c.ref()))["StaticRoutes"] == []
    assert not world.state.networks[c.NET].announced


async def test_options_reach_the_links(world: c.World) -> None:
    """MTU on both kinds of links; no shim with host_access=off."""
    await world.call("CreateNetwork", **c.network_body(mtu="1400"))
    await world.call("CreateEndpoint", **c.endpoint_body())
    await world.call("Join", **c.ref())
    assert (world.links.links[SHIM].mtu, world.links.links[LINK].mtu) == (1400, 1400)
    await world.call(
        "CreateNetwork", **c.network_body(c.NET2, "10.1.2.0/24", host_access="off", parent="eth1")
    )
    assert ownership.link_name(c.NET2) not in world.links.links


async def test_bgp_options_reach_the_state(world: c.World) -> None:
    """They are part of the network: a repeated create with others is another network."""
    body = c.network_body(bgp__advertise="both", bgp__communities="no-export", bgp__prepend="2")
    await world.call("CreateNetwork", **body)
    network = world.state.networks[c.NET]
    assert network.advertise is model.Advertise.BOTH
    assert network.bgp == model.BgpOptions(communities=(0xFFFFFF01,), prepend=2)
    await world.call("CreateNetwork", **body)
    error = await world.refused("CreateNetwork", **c.network_body(bgp__advertise="both"))
    assert error.reason == "network-exists"


@pytest.mark.parametrize(
    ("body", "skip"),
    [
        (c.network_body(), False),
        (c.network_body(internal=True), True),
        (c.network_body(host_access="off"), True),
    ],
)
async def test_the_gateway_is_kept_from_containers(
    world: c.World, body: dict[str, Any], skip: bool
) -> None:
    """GwAllocCheck skips only where no shim will hold the address."""
    answer = await world.call("GwAllocCheck", Options=body["Options"])
    assert answer == {"SkipIPv4": skip, "SkipIPv6": skip}


async def test_the_daemons_gateway_fills_in(tmp_path: Path) -> None:
    """`--gateway` counts where the create brings none and the subnet has it."""
    world = await c.build(
        tmp_path,
        options.Defaults(parent="eth1", gateway=ipaddress.ip_address("10.1.1.9"), mtu=1300),
    )
    await world.call("CreateNetwork", **c.network_body(gateway=None))
    await world.call("CreateNetwork", **c.network_body(c.NET2, "10.1.2.0/24"))
    one, two = world.state.networks[c.NET], world.state.networks[c.NET2]
    assert str(one.subnets[0].gateway) == "10.1.1.9"
    assert two.subnets[0].gateway is None
    assert one.mtu == 1300
    await world.state.close()


BAD_CREATES = [
    (c.network_body(parnet="eth1"), "unknown-option", "did you mean parent?"),
    (c.network_body(zzz="1"), "unknown-option", "known: parent, ipvlan_mode"),
    (c.network_body(ipvlan_mode="l4"), "bad-option", "l2, l3, l3s"),
    (c.network_body(ipvlan_mode="l2"), "mode-unsupported", "ipvlan_mode=l3"),
    (c.network_body(ipvlan_mode="l3s"), "mode-unsupported", "ipvlan_mode=l3"),
    (c.network_body(ipvlan_flag="private"), "mode-unsupported", "ipvlan_flag=bridge"),
    (c.network_body(ipvlan_flag="x"), "bad-option", "bridge, private, vepa"),
    (c.network_body(mtu="67"), "bad-option", "68 to 65535"),
    (c.network_body(mtu="many"), "bad-option", "68 to 65535"),
    (c.network_body(mtu="-1"), "bad-option", "68 to 65535"),
    (c.network_body(host_access="maybe"), "bad-option", "on, off"),
    (c.network_body(bgp__advertise="all"), "bad-option", "subnet, endpoint, both, none"),
    (c.network_body(bgp__med="high"), "bad-option", "0 to 4294967295"),
    (c.network_body(bgp__next_hop="10.1.1.7"), "bad-option", "inside the network itself"),
    (c.network_body(accept_default_pool=""), "bad-option", "true, false"),
    (c.network_body(c.NET, "0.0.0.0/0"), "no-subnet", "--subnet"),
    (c.network_body(c.NET, "10.1.1.1/24"), "bad-subnet", "host bits"),
    (c.network_body(c.NET, "ten"), "bad-subnet", "ten"),
    (c.network_body(gateway="10.1.2.1/24"), "bad-gateway", "not inside"),
    (c.network_body(gateway="nonsense"), "bad-gateway", "nonsense"),
    (c.network_body() | {"IPv4Data": []}, "no-subnet", "--subnet"),
    (c.network_body() | {"IPv4Data": None}, "no-subnet", "--subnet"),
    (
        c.network_body() | {"Options": {"com.docker.network.generic": "x"}},
        "bad-json",
        "not a map",
    ),
]


@pytest.mark.parametrize(("body", "reason", "words"), BAD_CREATES)
async def test_a_create_that_cannot_be(
    world: c.World, body: dict[str, Any], reason: str, words: str
) -> None:
    """Each has its reason and names the remedy; nothing of it is left."""
    error = await world.refused("CreateNetwork", **body)
    assert (error.reason, type(error)) == (reason, errors.BadRequest)
    assert words in str(error)
    assert "\n" not in str(error)
    world.nothing_left()


async def test_no_parent(tmp_path: Path) -> None:
    """Neither `-o parent` nor `--host-interface`: the text names both."""
    world = await c.build(tmp_path, options.Defaults())
    error = await world.refused("CreateNetwork", **c.network_body())
    assert error.reason == "no-parent"
    assert "-o parent=" in str(error)
    assert "--host-interface" in str(error)
    await world.call("CreateNetwork", **c.network_body(parent="eth1"))
    await world.state.close()


async def test_outside_the_hosts_subnet(tmp_path: Path) -> None:
    """`--ipvlan-subnet` is a fence for its own family."""
    world = await c.build(
        tmp_path,
        options.Defaults(parent="eth1", ipvlan_subnets=(ipaddress.ip_network("10.1.0.0/16"),)),
    )
    error = await world.refused("CreateNetwork", **c.network_body(c.NET, "10.2.0.0/24"))
    assert error.reason == "outside-ipvlan-subnet"
    assert "10.1.0.0/16" in str(error)
    world.nothing_left()
    await world.call("CreateNetwork", **c.network_body(c.NET, "10.1.2.0/24"))
    await world.call("CreateNetwork", **c.network_body(c.NET2, "fd00::/64"))
    await world.state.close()


async def test_what_the_core_refuses_leaves_nothing(world: c.World) -> None:
    """D10's cases are checked before anything is written; the pool's option is handed on."""
    world.core.refuse = errors.Refused("own-overlap", "choose another subnet")
    error = await world.refused("CreateNetwork", **c.network_body(accept_default_pool="true"))
    assert error.reason == "own-overlap"
    assert [accepted for _, accepted in world.core.checked] == [True]
    world.nothing_left()


async def test_a_kernel_without_ipvlan(world: c.World) -> None:
    """Said when the network is created, and not when its first container starts."""
    world.links.ipvlan = False
    error = await world.refused("CreateNetwork", **c.network_body(host_access="off"))
    assert error.reason == "no-ipvlan"
    assert "modprobe ipvlan" in str(error)
    world.nothing_left()


async def test_a_create_repeated(world: c.World) -> None:
    """The same again is fine and repairs the shim; another configuration is refused."""
    await world.call("CreateNetwork", **c.network_body())
    world.links.remove(SHIM)
    await world.call("CreateNetwork", **c.network_body())
    assert SHIM in world.links.links
    error = await world.refused("CreateNetwork", **c.network_body(mtu="1400"))
    assert error.reason == "network-exists"
    assert world.state.networks[c.NET].mtu is None
    world.links.remove(SHIM)
    world.links.fail("ensure_slave")
    await world.refused("CreateNetwork", **c.network_body())
    assert c.NET in world.state.networks, "a repeated create that fails removes nothing"


async def test_docker_may_give_subnets_in_any_order(world: c.World) -> None:
    """It keeps them in a Go map: a repeated create in another order is the same create."""
    await world.call("CreateNetwork", **c.network_body(c.NET, "10.1.1.0/24", "10.1.2.0/24"))
    await world.call("CreateNetwork", **c.network_body(c.NET, "10.1.2.0/24", "10.1.1.0/24"))


BAD_ENDPOINTS = [
    (c.endpoint_body(mac="02:42:ac:11:00:02"), "mac-address", "--mac-address"),
    (c.endpoint_body(address=""), "no-address", "--subnet"),
    (c.endpoint_body() | {"Interface": None}, "no-address", "--subnet"),
    (c.endpoint_body(address="10.9.9.9/24"), "bad-address", "in no subnet"),
    (c.endpoint_body(address="1.2.3/24"), "bad-address", "1.2.3/24"),
    (c.endpoint_body(address_ipv6="fd00::5/64"), "bad-address", "in no subnet"),
    (c.endpoint_body(address="10.1.1.1/24"), "address-reserved", "gateway"),
    (c.endpoint_body(network_id=c.NET2), "unknown-network", "docker network rm"),
]


@pytest.mark.parametrize(("body", "reason", "words"), BAD_ENDPOINTS)
async def test_an_endpoint_that_cannot_be(
    world: c.World, body: dict[str, Any], reason: str, words: str
) -> None:
    """Each has its reason and names the remedy; no endpoint is left."""
    await world.call("CreateNetwork", **c.network_body())
    error = await world.refused("CreateEndpoint", **body)
    assert error.reason == reason
    assert words in str(error)
    assert dict(world.state.endpoints) == {}


async def test_an_address_in_use(world: c.World) -> None:
    """Of a container that lives, on whichever network: refused, with its id."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())
    await world.call("Join", **c.ref())
    world.links.move(LINK)
    error = await world.refused("CreateEndpoint", **c.endpoint_body(c.END2))
    assert error.reason == "address-in-use"
    assert c.END[:12] in str(error)
    world.links.scan_complete = False
    world.links.away.clear()
    error = await world.refused("CreateEndpoint", **c.endpoint_body(c.END2))
    assert error.reason == "address-in-use", "not seen, but not everything was looked into"
    assert set(world.state.endpoints) == {c.END}


async def test_an_address_of_another_network(world: c.World) -> None:
    """Docker's IPAM knows nothing of it: refused, whether it is joined or not."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateNetwork", **c.network_body(c.NET2, "10.1.0.0/16"))
    await world.call("CreateEndpoint", **c.endpoint_body())
    error = await world.refused("CreateEndpoint", **c.endpoint_body(c.END2, c.NET2))
    assert error.reason == "address-in-use"


async def test_an_address_that_docker_gives_anew(world: c.World) -> None:
    """Docker dropped the endpoint without a word (crash, failed call): its IPAM is right."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())
    await world.call("CreateEndpoint", **c.endpoint_body(c.END2))
    assert set(world.state.endpoints) == {c.END2}, "one that never joined makes room"
    await world.call("Join", **c.ref(c.END2))
    world.links.move(ownership.link_name(c.END2))
    world.links.away.clear()  # the container ended
    await world.call("CreateEndpoint", **c.endpoint_body(c.END))
    assert set(world.state.endpoints) == {c.END}, "one whose link is nowhere makes room"
    await world.call("Join", **c.ref())
    await world.call("Leave", **c.ref())
    await world.call("CreateEndpoint", **c.endpoint_body(c.END2))
    assert set(world.state.endpoints) == {c.END2}, "one that left makes room, with its link"
    assert LINK not in world.links.links
    world.core.check()


async def test_the_gateway_is_free_without_a_shim(world: c.World) -> None:
    """host_access=off: nobody holds the gateway address, so a container may."""
    await world.call("CreateNetwork", **c.network_body(host_access="off"))
    await world.call("CreateEndpoint", **c.endpoint_body(address="10.1.1.1/24"))


async def test_an_endpoint_repeated(world: c.World) -> None:
    """The same again is fine, also after Join; with other addresses it is refused."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())
    await world.call("Join", **c.ref())
    await world.call("CreateEndpoint", **c.endpoint_body())
    assert world.state.endpoints[c.END].joined
    error = await world.refused("CreateEndpoint", **c.endpoint_body(address="10.1.1.3/24"))
    assert error.reason == "endpoint-exists"


async def test_joins_of_what_is_not_known(world: c.World) -> None:
    """Lost state: an unknown network, endpoint, or an endpoint of another network."""
    assert (await world.refused("Join", **c.ref())).reason == "unknown-network"
    await world.call("CreateNetwork", **c.network_body())
    assert (await world.refused("Join", **c.ref())).reason == "unknown-endpoint"
    await world.call("CreateNetwork", **c.network_body(c.NET2, "10.1.2.0/24"))
    await world.call("CreateEndpoint", **c.endpoint_body())
    assert (await world.refused("Join", **c.ref(c.END, c.NET2))).reason == "unknown-endpoint"
    assert world.links.made == [SHIM]


async def test_take_down_of_what_is_not_known(world: c.World) -> None:
    """Success: Docker forgets whatever we say, and may ask again."""
    assert await world.call("Leave", **c.ref()) == {}
    assert await world.call("DeleteEndpoint", **c.ref()) == {}
    assert await world.call("DeleteNetwork", NetworkID=c.NET) == {}
    world.nothing_left()


async def test_published_ports_are_warned_about(
    world: c.World, caplog: pytest.LogCaptureFixture
) -> None:
    """`-p 8080:80` is accepted and has no effect: said once, remembered for status."""
    await world.call("CreateNetwork", **c.network_body())
    ports = [{"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080}]
    await world.call("CreateEndpoint", **c.endpoint_body(ports=ports))
    assert "reason=ports-ignored" in caplog.text
    assert "8080:80" in caplog.text
    assert world.state.endpoints[c.END].ports == (model.Port(6, 80, 8080),)
    caplog.clear()
    ports[0]["HostPort"] = 0
    await world.call(
        "CreateEndpoint", **c.endpoint_body(c.END2, address="10.1.1.3/24", ports=ports)
    )
    assert "ports-ignored" not in caplog.text, "only exposed"


# --- failures ----------------------------------------------------------------------------------


async def test_a_shim_that_cannot_be_made_undoes_the_create(world: c.World) -> None:
    """Docker sends no DeleteNetwork for a failed create."""
    world.links.fail("ensure_slave", "parent-busy")
    assert (await world.refused("CreateNetwork", **c.network_body())).reason == "parent-busy"
    world.nothing_left()


@pytest.mark.parametrize("step", ["ipvlan_available", "ensure_slave"])
async def test_each_step_of_a_create_may_fail(world: c.World, step: str) -> None:
    """Nothing is left, and the next try succeeds."""
    world.links.fail(step)
    await world.refused("CreateNetwork", **c.network_body())
    world.links.check_consumed()
    world.nothing_left()
    await world.call("CreateNetwork", **c.network_body())


async def test_a_failed_join_leaves_no_link(world: c.World) -> None:
    """The endpoint stays, not joined; the next try succeeds."""
    await world.call("CreateNetwork", **c.network_body(host_access="off"))
    await world.call("CreateEndpoint", **c.endpoint_body())
    world.links.fail("ensure_slave")
    await world.refused("Join", **c.ref())
    assert not world.state.endpoints[c.END].joined
    assert world.links.ours() == set()
    world.core.check()
    await world.call("Join", **c.ref())


async def test_a_parent_that_went_is_named_at_join(world: c.World) -> None:
    """A container starts while its parent is gone: refused, nothing half-joined."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())
    world.links.remove("eth1")
    assert (await world.refused("Join", **c.ref())).reason == "parent-missing"
    assert not world.state.endpoints[c.END].joined
    world.core.check()


async def test_a_join_brings_the_shim_back(world: c.World) -> None:
    """The parent was made anew since the create, and our shim went with it."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())
    world.links.remove("eth1")
    world.links.links["eth1"] = c.ETH1
    await world.call("Join", **c.ref())
    assert world.links.ours() == {SHIM, LINK}


async def test_a_full_disk_refuses_everything_and_changes_nothing(world: c.World) -> None:
    """Reason `state-unwritable` from each call that would have to write."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())
    await world.call("Join", **c.ref())
    await world.call("CreateEndpoint", **c.endpoint_body(c.END2, address="10.1.1.3/24"))
    before = dict(world.state.networks), dict(world.state.endpoints), set(world.links.links)
    await world.break_disk()
    for name, body in (
        ("CreateNetwork", c.network_body(c.NET2, "10.1.2.0/24")),
        ("CreateEndpoint", c.endpoint_body("c" * 64, address="10.1.1.4/24")),
        ("Join", c.ref(c.END2)),
        ("Leave", c.ref()),
        ("DeleteEndpoint", c.ref()),
        ("DeleteNetwork", {"NetworkID": c.NET}),
    ):
        assert (await world.refused(name, **body)).reason == "state-unwritable", name
        now = dict(world.state.networks), dict(world.state.endpoints), set(world.links.links)
        assert now == before, name
        world.core.check()


async def test_a_link_that_will_not_go_does_not_stop_take_down(
    world: c.World, caplog: pytest.LogCaptureFixture
) -> None:
    """The audit's job; Docker hears success, and the state is clean."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())
    await world.call("Join", **c.ref())
    world.links.fail("delete")
    assert await world.call("DeleteEndpoint", **c.ref()) == {}
    assert dict(world.state.endpoints) == {}
    assert "link not removed" in caplog.text
    world.links.check_consumed()
    world.links.fail("delete")
    assert await world.call("DeleteNetwork", NetworkID=c.NET) == {}
    world.core.check()


async def test_a_network_removed_takes_all_its_links(world: c.World) -> None:
    """DeleteNetwork with endpoints still there (forced): their links go too."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())
    await world.call("Join", **c.ref())
    await world.call("DeleteNetwork", NetworkID=c.NET)
    world.nothing_left()


class Slow:
    """Makes an `ensure_slave` wait, as a busy RTNL lock does."""

    def __init__(self, world: c.World) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self._real = world.links.ensure_slave
        world.links.ensure_slave = self._wait  # type: ignore[method-assign]

    async def _wait(self, spec: model.SlaveSpec) -> model.Link:
        self.begun.set()
        await self.go.wait()
        return await self._real(spec)


async def test_a_create_whose_time_is_up_leaves_nothing(world: c.World) -> None:
    """Cancelled while the shim is made: state and links as before."""
    slow = Slow(world)
    task = asyncio.create_task(world.call("CreateNetwork", **c.network_body()))
    await slow.begun.wait()
    assert c.NET in world.state.networks, "on disk before the world is changed"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    world.nothing_left()


async def test_a_create_cancelled_at_any_await_leaves_nothing(tmp_path: Path) -> None:
    """Wherever the time is up: after the handler has ended either all is there or nothing."""
    done = False
    for steps in range(60):
        world = await c.build(tmp_path / str(steps))
        task = asyncio.create_task(world.call("CreateNetwork", **c.network_body()))
        for _ in range(steps):
            await asyncio.sleep(0.0002 if steps > 3 else 0)
        task.cancel()
        [result] = await asyncio.gather(task, return_exceptions=True)
        await world.state.set_meta("after", "all that was queued")
        if isinstance(result, BaseException):
            assert isinstance(result, asyncio.CancelledError)
            world.nothing_left()
        else:
            assert world.links.ours() == {SHIM}
            done = True
        await world.state.close()
    assert done, "at least the last was given time enough"


async def test_a_join_whose_time_is_up_leaves_no_link(world: c.World) -> None:
    """Cancelled while the link is made."""
    await world.call("CreateNetwork", **c.network_body(host_access="off"))
    await world.call("CreateEndpoint", **c.endpoint_body())
    slow = Slow(world)
    task = asyncio.create_task(world.call("Join", **c.ref()))
    await slow.begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # once more while it cleans up: shutdown, for example
    with pytest.raises(asyncio.CancelledError):
        await task
    await world.state.set_meta("after", "all that was queued")
    await c.settle()
    assert not world.state.endpoints[c.END].joined
    assert world.links.ours() == set()


async def test_a_delete_waits_for_the_create_of_the_same_network(world: c.World) -> None:
    """A repeated or impatient call never meets a half-made network; another network goes ahead."""
    slow = Slow(world)
    create = asyncio.create_task(world.call("CreateNetwork", **c.network_body()))
    await slow.begun.wait()
    delete = asyncio.create_task(world.call("DeleteNetwork", NetworkID=c.NET))
    await world.call("DeleteNetwork", NetworkID=c.NET2)
    await c.settle()
    await world.state.set_meta("after", "all that was queued")
    assert c.NET in world.state.networks
    assert not delete.done()
    slow.go.set()
    await create
    await delete
    world.nothing_left()


async def test_two_creates_see_each_other(world: c.World) -> None:
    """The second is checked when the first is in the state, or two hold one subnet."""
    seen: list[int] = []
    check = world.core.check_create

    async def counting(network: model.Network, *, default_pool_accepted: bool) -> None:
        seen.append(len(world.state.networks))
        await check(network, default_pool_accepted=default_pool_accepted)

    world.core.check_create = counting  # type: ignore[method-assign]
    await asyncio.gather(
        world.call("CreateNetwork", **c.network_body()),
        world.call("CreateNetwork", **c.network_body(c.NET2, "10.1.2.0/24")),
    )
    assert seen == [0, 1]


async def test_forget(world: c.World, caplog: pytest.LogCaptureFixture) -> None:
    """By the beginning of its id, only if it is one and nobody is attached."""
    caplog.set_level(logging.INFO)
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateNetwork", **c.network_body("a1" * 32, "10.1.2.0/24"))
    await world.call("CreateEndpoint", **c.endpoint_body())
    await world.call("Join", **c.ref())
    for beginning, reason in (
        ("a", "ambiguous-network"),
        ("", "unknown-network"),
        ("c", "unknown-network"),
        ("aa", "endpoints-joined"),
    ):
        with pytest.raises(errors.Refused) as caught:
            await world.driver.forget(beginning)
        assert caught.value.reason == reason
    assert await world.driver.forget("a1") == "a1" * 32
    await world.call("Leave", **c.ref())
    assert await world.driver.forget("aa") == c.NET
    world.nothing_left()
