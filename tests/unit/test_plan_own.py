"""What follows from our own networks: announcements, blackholes, host routes."""

from __future__ import annotations

import dataclasses
import ipaddress

import pytest

from bgp_ipvlan import model, ownership
from bgp_ipvlan.plan import own
from bgp_ipvlan.plan.claims import Claim, Key

HOST = ownership.Identity(64512, 3221225985)  # 192.0.2.1

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
    return dataclasses.replace(record, **changes)  # type: ignore[arg-type]


def key(text: str) -> Key:
    """Shorthand."""
    prefix = ipaddress.ip_network(text)
    return model.Family.of(prefix), model.nlri(prefix)


def test_a_network_with_one_container() -> None:
    """Announced with the parent's addresses, blackholed, the container reachable from the host."""
    found = own.of(NETWORK, [ENDPOINT], LINKS, HOST)

    v4 = found.announcements[ipaddress.ip_network("10.1.1.0/24")]
    v6 = found.announcements[ipaddress.ip_network("fd00:1::/64")]
    assert str(v4.next_hop) == "192.0.2.5"
    assert str(v6.next_hop) == "2001:db8::5", "a link-local address is no next hop for others"
    assert v4.large_communities == ((64512, 179, 17900), (64512, 17900, 3221225985))
    assert {
        key("10.1.1.0/24"): model.Blackhole(),
        key("fd00:1::/64"): model.Blackhole(),
        key("10.1.1.2/32"): model.Device(9, ipaddress.ip_address("10.1.1.1")),
        key("fd00:1::2/128"): model.Device(9, ipaddress.ip_address("fd00:1::1")),
    } == found.routes
    assert found.notes == {}


def test_next_hop_depends_on_the_neighbour() -> None:
    """D12: our address in the neighbour's subnet, else the primary one."""
    announcement = own.of(NETWORK, (), LINKS, HOST).announcements[
        ipaddress.ip_network("10.1.1.0/24")
    ]

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
    found = own.of(NETWORK, (), links, HOST)

    assert found.announcements == {}
    assert {reason} == set(found.notes.values())
    assert model.Blackhole() == found.routes[key("10.1.1.0/24")]


def test_internal_network() -> None:
    """Not announced, not routed, not reachable from the host; yet nobody else may route it."""
    found = own.of(replace(NETWORK, internal=True), [ENDPOINT], LINKS, HOST)

    assert (found.announcements, found.routes) == ({}, {})
    assert {"internal"} == set(found.notes.values())
    assert len(found.closed) == 2


def test_host_access_off_or_shim_missing() -> None:
    """Without a shim there is nothing to route an endpoint to."""
    off = own.of(replace(NETWORK, host_access=False), [ENDPOINT], LINKS, HOST)
    missing = own.of(NETWORK, [ENDPOINT], {"eth1": ETH1}, HOST)

    assert key("10.1.1.2/32") not in off.routes
    assert key("10.1.1.2/32") not in missing.routes


def test_endpoint_that_has_not_joined_or_has_left() -> None:
    """Only a joined endpoint is routed."""
    left = dataclasses.replace(ENDPOINT, joined=False)

    assert key("10.1.1.2/32") not in own.of(NETWORK, [left], LINKS, HOST).routes


STRETCHED = [model.Advertise.ENDPOINT, model.Advertise.BOTH]
SUBNETS = {ipaddress.ip_network("10.1.1.0/24"), ipaddress.ip_network("fd00:1::/64")}
HOSTS = {ipaddress.ip_network("10.1.1.2/32"), ipaddress.ip_network("fd00:1::2/128")}


@pytest.mark.parametrize("advertise", list(model.Advertise))
def test_what_is_announced(advertise: model.Advertise) -> None:
    """The subnets, a host route for each address of a joined endpoint, both, or nothing."""
    network = replace(NETWORK, advertise=advertise)
    other = dataclasses.replace(
        ENDPOINT, id="f" * 64, addresses=(ipaddress.ip_interface("10.1.1.9/24"),), joined=False
    )

    found = own.of(network, [ENDPOINT, other], LINKS, HOST)

    expected = {
        model.Advertise.SUBNET: SUBNETS,
        model.Advertise.ENDPOINT: HOSTS,
        model.Advertise.BOTH: SUBNETS | HOSTS,
        model.Advertise.NONE: set(),
    }
    assert found.announcements.keys() == expected[advertise]
    reasons = {
        model.Advertise.ENDPOINT: "advertise-endpoint",
        model.Advertise.NONE: "advertise-none",
    }
    assert set(found.notes.values()) == ({reasons[advertise]} if advertise in reasons else set())


@pytest.mark.parametrize("advertise", STRETCHED)
def test_internal_stretches_nothing(advertise: model.Advertise) -> None:
    """`--internal` is not announced, whatever else was asked for, and its subnet is ours alone."""
    found = own.of(replace(NETWORK, advertise=advertise, internal=True), [ENDPOINT], LINKS, HOST)

    assert (found.announcements, found.routes) == ({}, {})
    assert set(found.closed) == SUBNETS


def test_a_stretched_network_says_so() -> None:
    """Its announcements carry one mark more, by which others know that they may have parts."""
    plain = own.of(NETWORK, [ENDPOINT], LINKS, HOST)
    both = own.of(replace(NETWORK, advertise=model.Advertise.BOTH), [ENDPOINT], LINKS, HOST)

    mark = (64512, 179, 17901)
    assert not any(mark in a.large_communities for a in plain.announcements.values())
    assert all(mark in a.large_communities for a in both.announcements.values())
    assert both.closed == ()


def test_beneath_endpoint_announcements() -> None:
    """`endpoint`: a blackhole for each address without a better route, none for the subnet."""
    alone = replace(NETWORK, advertise=model.Advertise.ENDPOINT)
    device = model.Device(9, ipaddress.ip_address("10.1.1.1"))
    device6 = model.Device(9, ipaddress.ip_address("fd00:1::1"))
    hosts = {key("10.1.1.2/32"): device, key("fd00:1::2/128"): device6}
    holes = dict.fromkeys(hosts, model.Blackhole())
    subnets = {key("10.1.1.0/24"): model.Blackhole(), key("fd00:1::/64"): model.Blackhole()}

    assert own.of(alone, [ENDPOINT], LINKS, HOST).routes == hosts
    for no_shim in (replace(alone, host_access=False), alone):
        assert own.of(no_shim, [ENDPOINT], {"eth1": ETH1}, HOST).routes == holes
    both = replace(NETWORK, advertise=model.Advertise.BOTH)
    assert own.of(both, [ENDPOINT], LINKS, HOST).routes == subnets | hosts
    assert own.of(replace(both, host_access=False), [ENDPOINT], LINKS, HOST).routes == subnets


@pytest.mark.parametrize(
    ("fields", "subnet", "host"),
    [
        ({}, Claim.CLOSED, Claim.HOST),
        ({"internal": True}, Claim.CLOSED, None),
        ({"advertise": model.Advertise.NONE}, Claim.CLOSED, None),
        ({"advertise": model.Advertise.ENDPOINT}, Claim.OPEN, Claim.HOST),
        ({"advertise": model.Advertise.BOTH}, Claim.SHARED, Claim.HOST),
    ],
)
def test_claims(fields: dict[str, object], subnet: Claim, host: Claim | None) -> None:
    """How each prefix is ours follows from how the network is announced."""
    claims = own.of(replace(NETWORK, **fields), [ENDPOINT], LINKS, HOST).claims

    assert claims[key("10.1.1.0/24")] is claims[key("fd00:1::/64")] is subnet
    assert claims.get(key("10.1.1.2/32")) is claims.get(key("fd00:1::2/128")) is host
    gateway = None if "internal" in fields else Claim.GATEWAY
    assert claims.get(key("10.1.1.1/32")) is gateway


def test_attributes_go_with_every_announcement() -> None:
    """What `-o bgp.…` says is on the subnets and on the endpoints, beside our marks."""
    options = model.BgpOptions(
        communities=(0xFFFFFF01,),
        large_communities=((64512, 1, 2),),
        med=7,
        local_pref=50,
        prepend=2,
        next_hops=(ipaddress.ip_address("192.0.2.99"),),
    )
    network = replace(NETWORK, advertise=model.Advertise.BOTH, bgp=options)

    found = own.of(network, [ENDPOINT], LINKS, HOST).announcements

    assert found.keys() == SUBNETS | HOSTS
    for prefix, one in found.items():
        assert (one.communities, one.med, one.local_pref, one.prepend) == ((0xFFFFFF01,), 7, 50, 2)
        assert one.large_communities[-1] == (64512, 1, 2)
        assert one.large_communities[:-1] == HOST.marks(stretched=True)
        fixed = "192.0.2.99" if prefix.version == 4 else "2001:db8::5"
        assert fixed == str(one.next_hop_for(ipaddress.ip_address("192.0.2.77")))


def first(network: model.Network, *addresses: str, prefix: str) -> model.Announcement | None:
    """The announcement of one prefix, with a parent that has some addresses."""
    links = {"eth1": parent(*addresses)}
    return own.of(network, (), links, HOST).announcements.get(ipaddress.ip_network(prefix))


def test_on_link_addresses() -> None:
    """Those of the prefix's family, and the link-local ones for neighbours on the link."""
    addresses = "192.0.2.5/24", "198.51.100.5/24", "fe80::5/64", "2001:db8::5/64"

    v4 = first(NETWORK, *addresses, prefix="10.1.1.0/24")
    v6 = first(NETWORK, *addresses, prefix="fd00:1::/64")

    assert v4 is not None
    assert v6 is not None
    assert [str(a) for a in v4.on_link] == ["192.0.2.5/24", "198.51.100.5/24", "fe80::5/64"]
    assert [str(a) for a in v6.on_link] == ["2001:db8::5/64", "fe80::5/64"]
    near, far = ipaddress.ip_address("2001:db8::7"), ipaddress.ip_address("2001:db8:1::7")
    assert str(v6.link_local_for(near)) == "fe80::5"
    assert v6.link_local_for(far) is None


def test_session_on_one_nic_and_parent_on_another() -> None:
    """D12: the next hop is the parent's address; the session's interface does not matter."""
    eth0 = model.Link(
        index=2,
        name="eth0",
        up=True,
        running=True,
        addresses=(ipaddress.ip_interface("203.0.113.5/24"),),
    )
    links = {"eth0": eth0, "eth1": parent("192.0.2.5/24", "2001:db8::5/64")}
    neighbor = ipaddress.ip_address("203.0.113.1")

    found = own.of(NETWORK, (), links, HOST).announcements.values()

    assert {"192.0.2.5", "2001:db8::5"} == {str(one.next_hop_for(neighbor)) for one in found}


def test_ipv6_prefixes_over_an_ipv4_session() -> None:
    """D12: their next hop is the parent's IPv6 address, whatever the session's family."""
    one = first(NETWORK, "192.0.2.5/24", "fe80::5/64", "2001:db8::5/64", prefix="fd00:1::/64")

    assert one is not None
    neighbor = ipaddress.ip_address("192.0.2.1")
    assert str(one.next_hop_for(neighbor)) == "2001:db8::5"
    assert one.link_local_for(neighbor) is None


def test_ipv4_prefixes_of_a_parent_without_ipv4() -> None:
    """RFC 8950: the next hop is the parent's IPv6 address, with the on-link IPv6 ones."""
    one = first(NETWORK, "fe80::5/64", "2001:db8::5/64", prefix="10.1.1.0/24")

    assert one is not None
    assert str(one.next_hop) == "2001:db8::5"
    assert [str(a) for a in one.on_link] == ["2001:db8::5/64", "fe80::5/64"]
    assert str(one.link_local_for(ipaddress.ip_address("2001:db8::1"))) == "fe80::5"


def test_ipv6_prefixes_of_a_parent_without_ipv6() -> None:
    """There is no such thing as an IPv4 next hop for IPv6: `no-nexthop`, for that subnet only."""
    found = own.of(NETWORK, (), {"eth1": parent("192.0.2.5/24")}, HOST)

    assert found.notes == {ipaddress.ip_network("fd00:1::/64"): "no-nexthop"}
    assert found.announcements.keys() == {ipaddress.ip_network("10.1.1.0/24")}


@pytest.mark.parametrize(
    ("addresses", "given", "prefix", "expected"),
    [
        (("192.0.2.5/24",), ("192.0.2.9",), "10.1.1.0/24", "192.0.2.9"),
        (("192.0.2.5/24",), ("2001:db8::9",), "10.1.1.0/24", "192.0.2.5"),
        (("192.0.2.5/24",), ("192.0.2.9", "2001:db8::9"), "fd00:1::/64", "2001:db8::9"),
        (("2001:db8::5/64",), ("2001:db8::9",), "10.1.1.0/24", "2001:db8::9"),
        ((), ("2001:db8::9",), "10.1.1.0/24", "2001:db8::9"),
        ((), ("192.0.2.9",), "fd00:1::/64", None),
        ((), ("192.0.2.9",), "10.1.1.0/24", "192.0.2.9"),
    ],
)
def test_a_fixed_next_hop(
    addresses: tuple[str, ...], given: tuple[str, ...], prefix: str, expected: str | None
) -> None:
    """`bgp.next_hop` counts for its family; for IPv4 an IPv6 one where that has to do."""
    options = model.BgpOptions(next_hops=tuple(map(ipaddress.ip_address, given)))

    one = first(replace(NETWORK, bgp=options), *addresses, prefix=prefix)

    found = one and str(one.next_hop_for(ipaddress.ip_address("192.0.2.77")))
    assert found == expected


def test_a_fixed_next_hop_needs_a_parent_that_is_up() -> None:
    """Others would send to us, and nothing arrived."""
    options = model.BgpOptions(next_hops=(ipaddress.ip_address("192.0.2.9"),))

    found = own.of(
        replace(NETWORK, bgp=options), (), {"eth1": parent("192.0.2.5/24", up=False)}, HOST
    )

    assert found.announcements == {}
    assert set(found.notes.values()) == {"parent-down"}


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
