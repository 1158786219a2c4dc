"""Which learned prefixes become routes: D10's table, case by case."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp_ipvlan import model, ownership
from bgp_ipvlan.plan import claims, learned
from bgp_ipvlan.plan.claims import Claim

V4, V6 = model.Family.IPV4, model.Family.IPV6


def net(text: str) -> model.Prefix:
    """Shorthand."""
    return ipaddress.ip_network(text)


def key(text: str) -> model.Nlri:
    """Shorthand."""
    return model.nlri(net(text))


GUARDS = learned.Guards(
    connected=[net("192.0.2.0/24"), net("172.16.0.0/12"), net("fd00:1::/64")],
    own=[net("10.1.1.0/24"), net("10.64.0.0/10"), net("fd00:2::/64")],
)
FOREIGN = {key("198.51.100.0/24"): {0: "proto static via 192.0.2.9 dev eth1"}}


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        ("0.0.0.0/0", "default-route"),
        ("::/0", "default-route"),
        ("127.0.0.0/8", "martian"),
        ("127.1.2.3/32", "martian"),
        ("224.0.0.0/4", "martian"),
        ("240.0.0.0/4", "martian"),
        ("169.254.7.0/24", "martian"),
        ("fe80::/64", "martian"),
        ("ff02::/16", "martian"),
        ("192.0.2.0/24", "connected-overlap"),
        ("192.0.2.128/25", "connected-overlap"),
        ("192.0.2.7/32", "connected-overlap"),
        ("172.20.0.0/16", "connected-overlap"),
        ("fd00:1::/64", "connected-overlap"),
        ("fd00:1::7/128", "connected-overlap"),
        ("10.1.1.0/24", "own-prefix"),
        ("10.1.1.9/32", "own-prefix"),
        ("10.100.0.0/24", "own-prefix"),
        ("fd00:2::/96", "own-prefix"),
        ("198.51.100.0/24", "foreign-route"),
        # Covering (less specific than) own, connected and foreign routes is accepted.
        ("10.1.0.0/16", None),
        ("10.0.0.0/8", None),
        ("192.0.0.0/8", None),
        ("172.0.0.0/8", None),
        ("198.51.0.0/16", None),
        ("198.51.100.0/25", None),
        ("128.0.0.0/1", None),
        ("fd00::/16", None),
        ("8.8.8.8/32", None),
        ("10.1.2.0/24", None),
    ],
)
def test_table(prefix: str, reason: str | None) -> None:
    """Each kind of prefix gets the reason of D10's table, or none."""
    family = model.Family.of(net(prefix))

    found = GUARDS.refusals(family, [key(prefix)], FOREIGN if family is V4 else {})

    assert ({} if reason is None else {key(prefix): reason}) == found


def test_accept_lets_the_default_route_in() -> None:
    """What the administrator accepts is not refused for being default or martian."""
    guards = learned.Guards(accept=[net("0.0.0.0/0")])

    assert guards.refusals(V4, [key("0.0.0.0/0")], {}) == {}
    assert {key("127.0.0.0/8"): "martian"} == guards.refusals(V4, [key("127.0.0.0/8")], {})


def test_accept_never_opens_a_connected_subnet() -> None:
    """`accept` is for default and martians; a connected subnet stays closed."""
    guards = learned.Guards(connected=[net("192.0.2.0/24")], accept=[net("192.0.2.0/24")])

    assert {key("192.0.2.0/24"): "connected-overlap"} == guards.refusals(
        V4, [key("192.0.2.0/24")], {}
    )


prefixes4 = st.builds(
    lambda address, length: ipaddress.ip_network((address, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(st.lists(prefixes4, max_size=8), st.lists(prefixes4, max_size=8))
def test_guards_agree_with_ipaddress(
    guarded: list[ipaddress.IPv4Network], candidates: list[ipaddress.IPv4Network]
) -> None:
    """The quick look-up says exactly what `ipaddress` says, for any prefixes."""
    guarded = [g for g in guarded if g.prefixlen]
    guards = learned.Guards(connected=guarded)

    refused = guards.refusals(V4, [model.nlri(c) for c in candidates], {})

    for candidate in candidates:
        inside = any(candidate.subnet_of(g) for g in guarded)
        assert inside == (refused.get(model.nlri(candidate)) == "connected-overlap")


def link(index: int, name: str, *addresses: str, up: bool = True) -> model.Link:
    """A link with addresses."""
    return model.Link(
        index=index,
        name=name,
        up=up,
        running=up,
        addresses=tuple(ipaddress.ip_interface(a) for a in addresses),
    )


ETH0 = link(2, "eth0", "203.0.113.5/24")
ETH1 = link(3, "eth1", "192.0.2.5/24", "2001:db8::5/64")


def path(next_hop: str, **rest: object) -> model.Path:
    """A path through a next hop."""
    return model.Path(
        neighbor=ipaddress.ip_address("192.0.2.1"),
        next_hop=ipaddress.ip_address(next_hop),
        **rest,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("gateway", "expected"),
    [
        ("192.0.2.1", 3),
        ("203.0.113.1", 2),
        ("2001:db8::1", 3),
        ("192.0.2.5", "nexthop-own"),
        ("198.51.100.1", "nexthop-offlink"),
        ("2001:db9::1", "nexthop-offlink"),
    ],
)
def test_next_hops(gateway: str, expected: int | str) -> None:
    """A next hop is usable where a connected subnet has it and it is not ourselves."""
    hops = learned.NextHops([ETH0, ETH1], ["eth1"])

    found = hops.resolve(ipaddress.ip_address(gateway))

    assert expected == (found if isinstance(found, str) else found.ifindex)


def test_next_hop_behind_a_link_that_is_down() -> None:
    """A subnet of a link without carrier reaches nobody."""
    hops = learned.NextHops([link(3, "eth1", "192.0.2.5/24", up=False)])

    assert hops.resolve(ipaddress.ip_address("192.0.2.1")) == "nexthop-offlink"


def test_next_hop_prefers_the_parent() -> None:
    """Where two interfaces have the subnet, the parent's is taken: containers use only that."""
    hops = learned.NextHops([link(2, "eth0", "192.0.2.4/24"), ETH1], ["eth1"])

    assert hops.resolve(ipaddress.ip_address("192.0.2.1")) == model.NextHop(
        ipaddress.ip_address("192.0.2.1"), 3
    )


def test_host_address_makes_nobody_on_link() -> None:
    """A /32 on an interface (our shim) is no subnet to find next hops in."""
    hops = learned.NextHops([link(9, "bi0", "10.1.1.1/32")])

    assert hops.resolve(ipaddress.ip_address("10.1.1.1")) == "nexthop-own"
    assert hops.resolve(ipaddress.ip_address("10.1.1.2")) == "nexthop-offlink"


HOST = ownership.Identity(64512, 1)
HOPS = learned.NextHops([ETH0, ETH1], ["eth1"])


def decide(change: model.BestPaths, **ours: Claim) -> learned.Decision:
    """Decide with the guards and links above."""
    mine: dict[model.Family, dict[model.Nlri, Claim]] = {V4: {}, V6: {}}
    for text, claim in ours.items():
        prefix = net(text)
        mine[model.Family.of(prefix)][model.nlri(prefix)] = claim
    return learned.decide(
        change, GUARDS, HOPS, {(V4, model.MAIN): FOREIGN}, claims.Ours(HOST, mine)
    )


def test_decide_splits_a_batch() -> None:
    """One bad prefix in a batch is refused alone."""
    change = model.BestPaths(V4, (path("192.0.2.1"),), [key("10.9.0.0/24"), key("10.1.1.0/24")])

    decision = decide(change, **{"10.1.1.0/24": Claim.CLOSED})

    assert decision.gateways == (model.Gateway(ipaddress.ip_address("192.0.2.1")),)
    hop = model.NextHop(ipaddress.ip_address("192.0.2.1"), 3)
    assert decision.way == learned.Way(model.MAIN, (hop,))
    assert [key("10.9.0.0/24")] == decision.accepted
    assert {key("10.1.1.0/24"): "duplicate-prefix"} == decision.refused


MARKED = {"large_communities": ((64999, 179, 17900),)}
STRETCHED = {"large_communities": ((64999, 179, 17900), (64999, 179, 17901), (64999, 17900, 7))}
ECHO = {"large_communities": ((64512, 179, 17900), (64512, 179, 17901), (64512, 17900, 1))}
AGGREGATE = {"large_communities": (*ECHO["large_communities"], (64999, 17900, 7))}


@pytest.mark.parametrize(
    ("claim", "plain", "marked", "stretched"),
    [
        (Claim.CLOSED, "duplicate-prefix", "duplicate-prefix", "duplicate-prefix"),
        (Claim.HOST, "duplicate-prefix", "duplicate-prefix", "duplicate-prefix"),
        (Claim.SHARED, "duplicate-prefix", "duplicate-prefix", "shared-prefix"),
        (Claim.OPEN, None, "duplicate-prefix", None),
        (Claim.GATEWAY, "own-prefix", "own-prefix", "own-prefix"),
        (Claim.LEFT, None, None, None),
    ],
)
def test_the_very_prefix_of_ours(
    claim: Claim, plain: str | None, marked: str | None, stretched: str | None
) -> None:
    """Who is right depends on how it is ours and on what the other says of itself."""
    prefix = "10.9.0.0/24"
    for marks, expected in ((None, plain), (MARKED, marked), (STRETCHED, stretched)):
        change = model.BestPaths(V4, (path("192.0.2.1", **marks or {}),), [key(prefix)])
        decision = decide(change, **{prefix: claim})
        assert decision.refused == ({key(prefix): expected} if expected else {})
        assert decision.accepted == ([] if expected else [key(prefix)])


@pytest.mark.parametrize("claim", list(Claim))
@pytest.mark.parametrize(
    ("next_hop", "marks"), [("192.0.2.1", ECHO), ("198.51.100.9", ECHO), ("192.0.2.5", {})]
)
def test_our_own_echo(claim: Claim, next_hop: str, marks: dict[str, object]) -> None:
    """What we announced comes back: known by our identity, or by its next hop, which is ours."""
    change = model.BestPaths(V4, (path(next_hop, **marks),), [key("10.9.0.0/24")])

    decision = decide(change, **{"10.9.0.0/24": claim})

    assert decision.refused == {key("10.9.0.0/24"): "own-echo"}


def test_an_echo_beside_another_host() -> None:
    """ECMP of our echo and of somebody who really has our prefix: that one counts."""
    paths = path("192.0.2.1", **ECHO), path("192.0.2.2", **MARKED)

    for claim in (Claim.HOST, Claim.SHARED):
        change = model.BestPaths(V4, paths, [key("10.9.0.0/24")])
        decision = decide(change, **{"10.9.0.0/24": claim})
        assert decision.refused == {key("10.9.0.0/24"): "duplicate-prefix"}


def test_what_is_no_echo() -> None:
    """A copied router id on another prefix, and an aggregate of several hosts: ordinary paths."""
    for marks in (ECHO, AGGREGATE):
        decision = decide(model.BestPaths(V4, (path("192.0.2.1", **marks),), [key("10.9.0.0/24")]))
        assert decision.refused == {}
    change = model.BestPaths(V4, (path("192.0.2.1", **AGGREGATE),), [key("10.9.0.0/24")])
    assert decide(change, **{"10.9.0.0/24": Claim.OPEN}).refused == {}


def test_without_a_router_id_nothing_is_an_echo() -> None:
    """No neighbours, no identity: 0 is nobody's."""
    nobody = ownership.Identity(64512)
    assert nobody.marks(stretched=False) == ((64512, 179, 17900),)
    assert not nobody.announced(path("192.0.2.1", **MARKED))
    assert HOST.announced(path("192.0.2.1", large_communities=HOST.marks(stretched=False)))


def test_inside_a_stretched_subnet() -> None:
    """Other hosts' containers are learned, our own addresses are not."""
    prefixes = [key("10.9.0.7/32"), key("10.9.0.2/32"), key("10.9.0.1/32"), key("10.9.0.0/24")]

    decision = decide(
        model.BestPaths(V4, (path("192.0.2.1", **STRETCHED),), prefixes),
        **{
            "10.9.0.0/24": Claim.SHARED,
            "10.9.0.2/32": Claim.HOST,
            "10.9.0.1/32": Claim.GATEWAY,
        },
    )

    assert decision.accepted == [key("10.9.0.7/32")]
    assert decision.refused == {
        key("10.9.0.2/32"): "duplicate-prefix",
        key("10.9.0.1/32"): "own-prefix",
        key("10.9.0.0/24"): "shared-prefix",
    }


def test_a_claim_speaks_before_guards_and_next_hops() -> None:
    """A container's address is a duplicate, not merely inside, also with a useless next hop."""
    prefix = key("10.1.1.2/32")
    for next_hop in ("192.0.2.1", "198.51.100.9"):
        decision = decide(
            model.BestPaths(V4, (path(next_hop),), [prefix]), **{"10.1.1.2/32": Claim.HOST}
        )
        assert decision.refused == {prefix: "duplicate-prefix"}


@pytest.mark.parametrize(
    ("next_hop", "link_local", "neighbor", "expected"),
    [
        ("2001:db8::1", None, "192.0.2.1", ("2001:db8::1", 3)),
        ("2001:db8::1", "fe80::1", "192.0.2.1", ("2001:db8::1", 3)),
        ("2001:db9::1", "fe80::1", "2001:db8::1", ("fe80::1", 3)),
        ("2001:db9::1", "fe80::1", "203.0.113.1", ("fe80::1", 2)),
        ("2001:db9::1", "fe80::1", "198.51.100.1", "nexthop-offlink"),
        ("2001:db9::1", None, "2001:db8::1", "nexthop-offlink"),
        ("fe80::1", None, "2001:db8::1", ("fe80::1", 3)),
        ("fe80::1", None, "203.0.113.1", ("fe80::1", 2)),
        ("fe80::1", None, "2001:db9::1", "nexthop-offlink"),
        ("fe80::5", None, "2001:db8::1", "nexthop-own"),
        ("2001:db9::1", "fe80::5", "2001:db8::1", "nexthop-own"),
        ("2001:db8::5", "fe80::1", "2001:db8::1", "nexthop-own"),
    ],
)
def test_next_hops_of_ipv6(
    next_hop: str, link_local: str | None, neighbor: str, expected: tuple[str, int] | str
) -> None:
    """A link-local one is on the neighbour's link, and counts where no other is on-link."""
    eth1 = link(3, "eth1", "192.0.2.5/24", "2001:db8::5/64", "fe80::5/64")
    eth0 = link(2, "eth0", "203.0.113.5/24", "fe80::6/64")
    one = model.Path(
        neighbor=ipaddress.ip_address(neighbor),
        next_hop=ipaddress.ip_address(next_hop),
        link_local=ipaddress.ip_address(link_local) if link_local else None,
    )

    found = learned.NextHops([eth0, eth1], ["eth1"]).through(model.Gateway.of(one))

    if isinstance(found, model.NextHop):
        assert (str(found.gateway), found.ifindex) == expected
    else:
        assert found == expected


def test_ecmp_of_both_families() -> None:
    """IPv4 prefixes through an IPv4 and an IPv6 next hop at once, in a fixed order."""
    paths = path("2001:db8::1"), path("192.0.2.1")

    decision = decide(model.BestPaths(V4, paths, [key("10.9.0.0/24")]))

    assert decision.way is not None
    assert [str(h.gateway) for h in decision.way.next_hops] == ["192.0.2.1", "2001:db8::1"]


def test_decide_takes_the_usable_next_hops_of_several() -> None:
    """ECMP keeps the next hops that can be used."""
    paths = path("192.0.2.2"), path("198.51.100.1"), path("192.0.2.1")

    decision = decide(model.BestPaths(V4, paths, [key("10.9.0.0/24")]))

    assert decision.way is not None
    assert [str(h.gateway) for h in decision.way.next_hops] == ["192.0.2.1", "192.0.2.2"]


def test_decide_refuses_all_without_a_next_hop() -> None:
    """No usable next hop: the whole batch is refused with that reason, and has no route."""
    decision = decide(model.BestPaths(V4, (path("198.51.100.1"),), [key("10.9.0.0/24")]))

    assert (decision.way, decision.accepted) == (None, [])
    assert decision.refused == {key("10.9.0.0/24"): "nexthop-offlink"}


def test_decide_withdraws() -> None:
    """No path left: the routes go, nothing is refused."""
    decision = decide(model.BestPaths(V4, (), [key("10.9.0.0/24")]))

    assert learned.Decision((), None, [key("10.9.0.0/24")], {}) == decision


def test_connected_leaves_ours_and_loopback_out() -> None:
    """Our shim's address and 127/8 are no connected subnets that guard anything."""
    found = learned.connected(
        [link(1, "lo", "127.0.0.1/8"), ETH1, link(9, "bi0", "10.1.1.1/32")], ["bi0"]
    )

    assert {net("192.0.2.0/24"), net("2001:db8::/64")} == found
