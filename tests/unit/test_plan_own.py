"""What follows from our own networks: announcements, blackholes, host routes."""

from __future__ import annotations

import ipaddress

import pytest

from bgp_ipvlan import model, ownership
from bgp_ipvlan.plan import own

NETWORK = model.Network(
    id="a" * 64,
    parent="eth1",
    subnets=(
        model.Subnet(ipaddress.ip_network("10.1.1.0/24"), ipaddress.ip_address("10.1.1.1")),
        model.Subnet(ipaddress.ip_network("fd00:1::/64"), ipaddress.ip_address("fd00:1::1")),
    ),
)
ENDPOINT = model.Endpoint(
    id="e" * 64,
    network_id=NETWORK.id,
    addresses=(ipaddress.ip_interface("10.1.1.2/24"), ipaddress.ip_interface("fd00:1::2/64")),
    joined=True,
)


def parent(*addresses: str, **rest: bool) -> model.Link:
    """eth1 with addresses, up."""
    fields = {"up": True, "running": True} | rest
    return model.Link(
        index=3,
        name="eth1",
        addresses=tuple(map(ipaddress.ip_interface, addresses)),
        **fields,  # type: ignore[arg-type]
    )


ETH1 = parent("192.0.2.5/24", "198.51.100.5/24", "fe80::5/64", "2001:db8::5/64")
SHIM = model.Link(index=9, name=ownership.link_name(NETWORK.id), kind="ipvlan", up=True)
LINKS = {"eth1": ETH1, SHIM.name: SHIM}


def replace(record: model.Network, **changes: object) -> model.Network:
    """A network with some fields changed."""
    import dataclasses

    return dataclasses.replace(record, **changes)  # type: ignore[arg-type]


def key(text: str) -> own.Key:
    """Shorthand."""
    prefix = ipaddress.ip_network(text)
    return model.Family.of(prefix), model.nlri(prefix)


def test_a_network_with_one_container() -> None:
    """Announced with the parent's addresses, blackholed, the container reachable from the host."""
    found = own.of(NETWORK, [ENDPOINT], LINKS, 64512)

    v4 = found.announcements[ipaddress.ip_network("10.1.1.0/24")]
    v6 = found.announcements[ipaddress.ip_network("fd00:1::/64")]
    assert str(v4.next_hop) == "192.0.2.5"
    assert str(v6.next_hop) == "2001:db8::5", "a link-local address is no next hop for others"
    assert v4.large_communities == ((64512, 179, 17900),)
    assert {
        key("10.1.1.0/24"): model.Blackhole(),
        key("fd00:1::/64"): model.Blackhole(),
        key("10.1.1.2/32"): model.Device(9, ipaddress.ip_address("10.1.1.1")),
        key("fd00:1::2/128"): model.Device(9, ipaddress.ip_address("fd00:1::1")),
    } == found.routes
    assert found.notes == {}


def test_next_hop_depends_on_the_neighbour() -> None:
    """D12: our address in the neighbour's subnet, else the primary one."""
    announcement = own.of(NETWORK, (), LINKS, 1).announcements[ipaddress.ip_network("10.1.1.0/24")]

    for neighbor, expected in (
        ("192.0.2.77", "192.0.2.5"),
        ("198.51.100.77", "198.51.100.5"),
        ("203.0.113.77", "192.0.2.5"),
    ):
        assert expected == str(announcement.next_hop_for(ipaddress.ip_address(neighbor)))


@pytest.mark.parametrize(
    ("links", "reason"),
    [
        ({}, "parent-missing"),
        ({"eth1": parent("192.0.2.5/24", up=False)}, "parent-down"),
        ({"eth1": parent("192.0.2.5/24", running=False)}, "parent-down"),
        ({"eth1": parent("fe80::5/64")}, "no-nexthop"),
    ],
)
def test_not_announced_without_a_next_hop(links: dict[str, model.Link], reason: str) -> None:
    """Nobody could send to us: not announced, with the reason; the blackhole stays."""
    found = own.of(NETWORK, (), links, 1)

    assert found.announcements == {}
    assert {reason} == set(found.notes.values())
    assert model.Blackhole() == found.routes[key("10.1.1.0/24")]


def test_internal_network() -> None:
    """Not announced, not routed, not reachable from the host; yet nobody else may route it."""
    found = own.of(replace(NETWORK, internal=True), [ENDPOINT], LINKS, 1)

    assert (found.announcements, found.routes) == ({}, {})
    assert {"internal"} == set(found.notes.values())
    assert len(found.guarded) == 2


def test_host_access_off_or_shim_missing() -> None:
    """Without a shim there is nothing to route an endpoint to."""
    off = own.of(replace(NETWORK, host_access=False), [ENDPOINT], LINKS, 1)
    missing = own.of(NETWORK, [ENDPOINT], {"eth1": ETH1}, 1)

    assert key("10.1.1.2/32") not in off.routes
    assert key("10.1.1.2/32") not in missing.routes


def test_endpoint_that_has_not_joined_or_has_left() -> None:
    """Only a joined endpoint is routed."""
    import dataclasses

    left = dataclasses.replace(ENDPOINT, joined=False)

    assert key("10.1.1.2/32") not in own.of(NETWORK, [left], LINKS, 1).routes


def test_shim_has_host_addresses() -> None:
    """A prefix on the shim would be a connected route that bypasses the blackhole."""
    spec = own.shim(NETWORK)

    assert [str(a) for a in spec.addresses] == ["10.1.1.1/32", "fd00:1::1/128"]
    assert (spec.name, spec.alias, spec.up) == ("biaaaaaaaaaaaa", "bgp-ipvlan:" + "a" * 64, True)


def test_link_names_of_other_ids_are_hashed() -> None:
    """Swarm's ids are not hexadecimal, and names must be."""
    name = ownership.link_name("a1b2c3d4e5f6g7h8i9j0klmno")

    assert len(name) == 14
    assert ownership.link_is_ours(
        model.Link(index=1, name=name, kind="ipvlan", alias="bgp-ipvlan:x")
    )


@pytest.mark.parametrize(
    "stranger",
    [
        model.Link(index=1, name="biaaaaaaaaaaaa", kind="ipvlan", alias=""),
        model.Link(index=1, name="biaaaaaaaaaaaa", kind="veth", alias="bgp-ipvlan:x"),
        model.Link(index=1, name="eth0", kind="ipvlan", alias="bgp-ipvlan:x"),
        model.Link(index=1, name="biaaaaaaaaaaaaa", kind="ipvlan", alias="bgp-ipvlan:x"),
    ],
)
def test_links_that_are_not_ours(stranger: model.Link) -> None:
    """Name, kind and alias must all say so."""
    assert not ownership.link_is_ours(stranger)
