"""May a network be created: the create cases of D10's table."""

from __future__ import annotations

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp_ipvlan import errors, model, ownership
from bgp_ipvlan.plan import create

NO_ROUTES: dict[model.Table, model.Foreign] = {}


def network(*subnets: str, **rest: object) -> model.Network:
    """A network as a create request makes it."""
    fields: dict[str, object] = {"id": "a" * 64, "parent": "eth1"} | rest
    prefixes = tuple(model.Subnet(ipaddress.ip_network(s)) for s in subnets)
    return model.Network(subnets=prefixes, **fields)  # type: ignore[arg-type]


def link(name: str, index: int = 3, **rest: object) -> model.Link:
    """A link that is up."""
    fields: dict[str, object] = {"up": True, "running": True} | rest
    return model.Link(index=index, name=name, **fields)  # type: ignore[arg-type]


LINKS = {"lo": link("lo", 1), "eth0": link("eth0", 2), "eth1": link("eth1", 3)}


def refused(reason: str) -> pytest.RaisesExc[errors.Error]:
    """Expect an error with this reason."""
    return pytest.RaisesExc(errors.Error, check=lambda error: error.reason == reason)


@pytest.mark.parametrize("subnet", ["172.17.0.0/16", "172.31.0.0/16", "192.168.16.0/20"])
def test_default_pool_is_refused_with_the_remedy(subnet: str) -> None:
    """What Docker picks by itself is the same on every host."""
    with pytest.raises(errors.Refused, match="--subnet") as caught:
        create.check_pool(network(subnet), accepted=False)

    assert caught.value.reason == "default-pool"


@pytest.mark.parametrize(
    "subnet", ["172.16.0.0/16", "172.17.0.0/24", "192.168.1.0/24", "10.0.0.0/8"]
)
def test_other_subnets_are_no_default_pool(subnet: str) -> None:
    """Subnets a person chose pass."""
    create.check_pool(network(subnet), accepted=False)


def test_default_pool_may_be_meant() -> None:
    """The option accepts it, and a network that is not announced needs no care."""
    create.check_pool(network("172.17.0.0/16"), accepted=True)
    create.check_pool(network("172.17.0.0/16", internal=True), accepted=False)


@pytest.mark.parametrize(
    "subnet",
    ["127.0.0.0/24", "224.0.0.0/24", "169.254.1.0/24", "0.0.0.0/0", "fe80::/64", "ff05::/64"],
)
def test_a_subnet_that_nobody_routes_is_refused(subnet: str) -> None:
    """Neighbours would refuse it as a martian, and the host would have its gateway address."""
    with refused("martian"):
        create.check_local(network(subnet), (), (), NO_ROUTES)
    create.check_local(network("10.1.1.0/24", "2001:db8::/64", "fd00::/64"), (), (), NO_ROUTES)


def test_parent_missing_names_the_others() -> None:
    """The user sees which interfaces there are."""
    with pytest.raises(errors.BadRequest, match="eth0, eth1") as caught:
        create.check_parent(network("10.1.1.0/24", parent="eth9"), LINKS, (), ())

    assert caught.value.reason == "parent-missing"


@pytest.mark.parametrize(
    ("parent", "reason"),
    [
        (link("eth1", up=False), "parent-down"),
        (link("eth1", running=False), "parent-down"),
        (link("eth1", kind="ipvlan"), "bad-parent"),
        (link("eth1", kind="macvlan"), "bad-parent"),
        (link("eth1", kind="vrf"), "bad-parent"),
    ],
)
def test_parent_that_cannot_be_one(parent: model.Link, reason: str) -> None:
    """Down, without carrier, a slave itself, or a VRF, in which a parent may be."""
    with refused(reason):
        create.check_parent(network("10.1.1.0/24"), {"eth1": parent}, (), ())


def test_loopback_is_no_parent() -> None:
    """Refused like any other interface that cannot carry slaves."""
    with refused("bad-parent"):
        create.check_parent(network("10.1.1.0/24", parent="lo"), LINKS, (), ())


def test_second_parent_is_refused() -> None:
    """This version drives one parent; the text names the other network."""
    other = network("10.2.0.0/24", id="b" * 64, parent="eth0")

    with refused("one-parent"):
        create.check_parent(network("10.1.1.0/24"), LINKS, [other], ())


def slave(mode: str = "l2", parent_index: int = 3, alias: str = "") -> model.Slave:
    """An ipvlan slave in some container."""
    return model.Slave(
        name="eth0",
        alias=alias,
        mode=model.Mode(mode),
        flag=model.Flag.BRIDGE,
        parent_index=parent_index,
        namespace="/proc/7/ns/net",
    )


def test_other_mode_on_the_parent_is_refused() -> None:
    """Even where the only slave of that mode sits in somebody's container."""
    with pytest.raises(errors.Refused, match="/proc/7/ns/net") as caught:
        create.check_parent(network("10.1.1.0/24"), LINKS, (), [slave()])

    assert caught.value.reason == "mode-in-use"


def test_same_mode_or_other_parent_is_fine() -> None:
    """Docker's own ipvlan driver may share the parent in the same mode."""
    create.check_parent(network("10.1.1.0/24"), LINKS, (), [slave("l3"), slave("l2", 2)])


@pytest.mark.parametrize("subnet", ["192.0.2.0/24", "192.0.2.64/26", "192.0.0.0/16"])
def test_connected_overlap(subnet: str) -> None:
    """Equal to, inside, or around a connected subnet."""
    with refused("connected-overlap"):
        create.check_local(network(subnet), [ipaddress.ip_network("192.0.2.0/24")], (), NO_ROUTES)


def test_own_overlap_says_how_to_get_rid_of_a_forgotten_network() -> None:
    """A record Docker lost can be dropped by hand."""
    other = network("10.1.0.0/16", id="b" * 64)

    with pytest.raises(errors.Refused, match="bgp-ipvlan forget bbbbbbbbbbbb"):
        create.check_local(network("10.1.1.0/24"), (), [other], NO_ROUTES)


def test_foreign_route_equal_is_refused_and_named() -> None:
    """The route in the way is in the text; a broader one is fine."""
    foreign = {
        (model.Family.IPV4, model.MAIN): {
            model.nlri(ipaddress.ip_network("10.1.1.0/24")): {
                0: model.ForeignRoute("proto static via 192.0.2.9")
            }
        },
    }

    with pytest.raises(errors.Refused, match="192.0.2.9") as caught:
        create.check_local(network("10.1.1.0/24"), (), (), foreign)
    assert caught.value.reason == "foreign-route"
    create.check_local(network("10.1.1.0/25"), (), (), foreign)


@pytest.mark.parametrize(("metric", "refuses"), [(20, True), (17901, False)])
def test_foreign_route_where_a_routing_daemon_learns(metric: int, refuses: bool) -> None:
    """What it has learned for the subnet is in its way; what it reads of ours is not."""
    route = model.ForeignRoute("proto bgp via 192.0.2.9")
    foreign: dict[model.Table, model.Foreign] = {
        (model.Family.IPV4, model.MAIN): {model.nlri(PREFIX): {metric: route}},
    }

    create.check_local(network(str(PREFIX)), (), (), foreign, (17900,))
    with refused("foreign-route") if refuses else contextlib.nullcontext():
        create.check_local(network(str(PREFIX)), (), (), foreign, (17900, model.MAIN))


def test_foreign_route_under_a_stretched_subnet() -> None:
    """With `endpoint` no route of ours has that key; with `both` the blackhole would."""
    prefix = ipaddress.ip_network("10.1.1.0/24")
    static = model.ForeignRoute("proto static via 192.0.2.9")
    foreign: dict[model.Table, model.Foreign] = {
        (model.Family.IPV4, model.MAIN): {model.nlri(prefix): {0: static}},
    }

    create.check_local(network("10.1.1.0/24", advertise=ENDPOINT), (), (), foreign)
    with refused("foreign-route"):
        create.check_local(network("10.1.1.0/24", advertise=BOTH), (), (), foreign)


ENDPOINT, BOTH = model.Advertise.ENDPOINT, model.Advertise.BOTH
HERE = ownership.Identity(64512, 1)
THERE = ownership.Identity(64999, 7)
PREFIX = ipaddress.ip_network("10.1.1.0/24")
ROUTER: tuple[ownership.Community, ...] = ()
ALONE, SHARES = THERE.marks(stretched=False), THERE.marks(stretched=True)


def check(
    learned: str,
    marks: tuple[ownership.Community, ...],
    advertise: model.Advertise = model.Advertise.SUBNET,
) -> None:
    """Create 10.1.1.0/24 while something is learned."""
    hop = ipaddress.ip_address("192.0.2.9")
    path = model.Path(neighbor=hop, next_hop=hop, large_communities=marks)
    prefix = ipaddress.ip_network(learned)
    found = {model.nlri(prefix): [path]}
    around = prefix.prefixlen < PREFIX.prefixlen
    create.check_learned(
        network("10.1.1.0/24", advertise=advertise),
        PREFIX,
        {} if around else found,
        found if around else {},
        HERE,
    )


@pytest.mark.parametrize("learned", ["10.1.1.0/24", "10.1.1.128/25", "10.1.1.7/32"])
@pytest.mark.parametrize("marks", [ROUTER, ALONE, SHARES])
def test_learned_inside_is_refused(learned: str, marks: tuple[ownership.Community, ...]) -> None:
    """Another host has this prefix or a part of it, and is named."""
    with pytest.raises(errors.Refused, match="192.0.2.9") as caught:
        check(learned, marks)

    assert caught.value.reason == "announced-elsewhere"
    assert ("bgp.advertise=endpoint" in str(caught.value)) is (marks == SHARES)


def test_learned_around_counts_only_when_marked() -> None:
    """A router's aggregate is fine; a bgp-ipvlan host's own network is not."""
    check("10.0.0.0/8", ROUTER)
    for marks in (ALONE, SHARES):
        with refused("announced-elsewhere"):
            check("10.0.0.0/8", marks)


@pytest.mark.parametrize("advertise", list(model.Advertise))
@pytest.mark.parametrize("learned", ["10.0.0.0/8", "10.1.1.0/24", "10.1.1.7/32"])
def test_our_own_announcement_is_in_nobodys_way(learned: str, advertise: model.Advertise) -> None:
    """The network was removed a moment ago, and its echo is still around."""
    check(learned, HERE.marks(stretched=advertise.endpoints), advertise)


@pytest.mark.parametrize("advertise", [ENDPOINT, BOTH])
@pytest.mark.parametrize(
    ("learned", "marks", "fine"),
    [
        ("10.1.1.7/32", SHARES, True),
        ("10.1.1.7/32", ALONE, True),
        ("10.1.1.7/32", ROUTER, True),
        ("10.1.1.0/24", SHARES, True),
        ("10.1.1.0/24", ALONE, False),
        ("10.1.1.128/25", SHARES, True),
        ("10.1.1.128/25", ALONE, False),
        ("10.1.1.128/25", ROUTER, False),
        ("10.0.0.0/8", SHARES, True),
        ("10.0.0.0/8", ROUTER, True),
        ("10.0.0.0/8", ALONE, False),
    ],
)
def test_a_stretched_network_shares(
    learned: str, marks: tuple[ownership.Community, ...], fine: bool, advertise: model.Advertise
) -> None:
    """Others' containers, and networks stretched as well; not one that is a host's own alone."""
    if fine:
        check(learned, marks, advertise)
    else:
        with refused("announced-elsewhere"):
            check(learned, marks, advertise)


def test_a_routers_aggregate_of_a_stretched_subnet() -> None:
    """`endpoint` leaves the subnet to a router; `both` would say it twice, and names the way out."""
    check("10.1.1.0/24", ROUTER, ENDPOINT)

    with pytest.raises(errors.Refused, match="or use -o bgp.advertise=endpoint"):
        check("10.1.1.0/24", ROUTER, BOTH)


prefixes = st.builds(
    lambda address, length: ipaddress.ip_network((address, length), strict=False),
    st.integers(0, 2**16 - 1).map(lambda n: n << 16),
    st.integers(0, 32),
)


@given(prefixes, st.lists(prefixes))
def test_claims_agree_with_ipaddress(
    prefix: ipaddress.IPv4Network, others: list[ipaddress.IPv4Network]
) -> None:
    """Found are exactly the prefixes equal to or inside."""
    found = create.claims(prefix, [model.nlri(other) for other in others])

    assert [model.nlri(o) for o in others if o.subnet_of(prefix)] == found


@given(prefixes)
def test_covering_agrees_with_ipaddress(prefix: ipaddress.IPv4Network) -> None:
    """All supernets but the default route."""
    found = [model.prefix(model.Family.IPV4, key) for key in create.covering(prefix)]

    assert [prefix.supernet(new_prefix=n) for n in range(1, prefix.prefixlen)] == found
