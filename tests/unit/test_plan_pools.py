"""Which subnet and which address is next."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp_ipvlan import model, plan

pools = plan.pools
ip, net = ipaddress.ip_address, ipaddress.ip_network


def pool(prefix: str, within: str = "", last: str = "") -> model.Pool:
    """A pool."""
    return model.Pool(
        id=prefix,
        prefix=net(prefix),
        range=net(within or prefix),
        since=0,
        last=ip(last) if last else None,
    )


def leases(holding: model.Holding, *found: str) -> dict[model.Address, model.Lease]:
    """Leases, each a second younger than the one before."""
    return {ip(a): model.Lease(ip(a), holding, second) for second, a in enumerate(found)}


def drain(found: model.Pool) -> list[str]:
    """All that can be chosen when nothing is given back, in its order."""
    held: dict[model.Address, model.Lease] = {}
    order = []
    while (address := pools.choose(found, held, ())) is not None:
        held[address] = model.Lease(address, model.Holding.HELD, 0)
        order.append(str(address))
    return order


@pytest.mark.parametrize(
    ("prefix", "within", "expected"),
    [
        ("10.1.1.0/29", "", [f"10.1.1.{n}" for n in range(1, 7)]),
        ("10.1.1.0/30", "", ["10.1.1.1", "10.1.1.2"]),
        ("10.1.1.0/31", "", ["10.1.1.0", "10.1.1.1"]),
        ("10.1.1.7/32", "", ["10.1.1.7"]),
        ("10.1.1.0/24", "10.1.1.64/30", [f"10.1.1.{n}" for n in range(64, 68)]),
        ("10.1.1.0/24", "10.1.1.0/30", ["10.1.1.1", "10.1.1.2", "10.1.1.3"]),
        ("10.1.1.0/24", "10.1.1.252/30", ["10.1.1.252", "10.1.1.253", "10.1.1.254"]),
        ("10.1.1.0/24", "10.1.1.0/32", []),
        ("fd00::/126", "", ["fd00::1", "fd00::2", "fd00::3"]),
        ("fd00::/127", "", ["fd00::", "fd00::1"]),
        ("fd00::7/128", "", ["fd00::7"]),
    ],
)
def test_every_address_once_and_in_order(prefix: str, within: str, expected: list[str]) -> None:
    """No network, broadcast or anycast address; small pools are used whole."""
    assert drain(pool(prefix, within)) == expected


def test_what_rests_comes_last_and_the_longest_rested_first() -> None:
    """New addresses before used ones, whichever number they have."""
    found = pool("10.1.1.0/29", last="10.1.1.3")
    resting = leases(model.Holding.RESTING, "10.1.1.3", "10.1.1.1", "10.1.1.2")
    held = leases(model.Holding.HELD, "10.1.1.4", "10.1.1.6")
    assert str(pools.choose(found, resting | held, ())) == "10.1.1.5"
    held |= leases(model.Holding.HELD, "10.1.1.5")
    assert str(pools.choose(found, resting | held, ())) == "10.1.1.3"
    assert str(pools.choose(found, resting | held, {ip("10.1.1.3")})) == "10.1.1.1"
    outside = pool("10.1.1.0/29", "10.1.1.4/30")
    assert pools.choose(outside, resting | held, ()) is None


def test_a_large_pool_needs_no_memory_and_goes_round() -> None:
    """A /64 and an IPv6 pool of everything: the last is followed by the first."""
    found = pool("fd00:1::/64", last="fd00:1::ffff:ffff:ffff:ffff")
    taken = {ip("fd00:1::1"), ip("fd00:1::2")}
    assert str(pools.choose(found, {}, taken)) == "fd00:1::3"
    assert str(pools.choose(pool("2000::/3"), {}, ())) == "2000::1"


@pytest.mark.parametrize("last", ["10.9.9.9", "fd00::1", "10.1.1.0"])
def test_a_last_that_is_not_of_the_range(last: str) -> None:
    """Starts from the beginning."""
    assert str(pools.choose(pool("10.1.1.0/24", last=last), {}, ())) == "10.1.1.1"


def test_stale_is_held_by_nobody_for_long() -> None:
    """Not what is taken, young, reserved, resting, or outside the range; oldest first."""
    held = leases(model.Holding.HELD, "10.1.1.9", "10.1.1.1", "10.1.1.2", "10.1.1.200", "10.1.1.3")
    for holding, address in (
        (model.Holding.RESERVED, "10.1.1.4"),
        (model.Holding.RESTING, "10.1.1.5"),
    ):
        held |= leases(holding, address)
    found = pools.stale(pool("10.1.1.0/24", "10.1.1.0/25"), held, {ip("10.1.1.2")}, before=4)
    assert [str(lease.address) for lease in found] == ["10.1.1.9", "10.1.1.1"]


@pytest.mark.parametrize(
    ("within", "length", "taken", "expected"),
    [
        ("10.1.0.0/22", 24, [], ["10.1.0.0/24", "10.1.1.0/24", "10.1.2.0/24", "10.1.3.0/24"]),
        ("10.1.0.0/22", 24, ["10.1.0.0/24", "10.1.2.128/25"], ["10.1.1.0/24", "10.1.3.0/24"]),
        ("10.1.0.0/22", 24, ["10.1.0.0/23"], ["10.1.2.0/24", "10.1.3.0/24"]),
        ("10.1.0.0/22", 24, ["10.0.0.0/8"], []),
        ("10.1.0.0/22", 22, ["10.1.3.255/32"], []),
        ("10.1.0.0/22", 22, ["10.0.255.255/32", "10.1.4.0/32", "fd00::/8"], ["10.1.0.0/22"]),
        ("10.1.1.0/30", 32, ["10.1.1.1/32"], ["10.1.1.0/32", "10.1.1.2/32", "10.1.1.3/32"]),
        ("::/62", 64, ["::/64"], ["0:0:0:1::/64", "0:0:0:2::/64", "0:0:0:3::/64"]),
    ],
)
def test_free_subnets(within: str, length: int, taken: list[str], expected: list[str]) -> None:
    """Each that touches nothing, lowest first."""
    found = pools.subnets(net(within), length, map(net, taken))
    assert list(map(str, found)) == expected


def test_a_wide_prefix_costs_what_is_taken() -> None:
    """A taken /33 in a /32 is stepped over, though it holds two billion /64."""
    found = pools.subnets(net("fd00::/32"), 64, [net("fd00::/33")])
    assert str(next(found)) == "fd00:0:8000::/64"


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(24, 32)).map(
            lambda t: ipaddress.ip_network((f"10.1.1.{t[0]}", t[1]), strict=False)
        ),
        max_size=8,
    ),
    st.integers(24, 32),
)
def test_free_subnets_are_all_there_are(taken: list[model.Prefix], length: int) -> None:
    """The same as looking at every one of them."""
    within = net("10.1.1.0/24")
    slow = [p for p in within.subnets(new_prefix=length) if not any(p.overlaps(t) for t in taken)]
    assert list(pools.subnets(within, length, taken)) == slow


@pytest.mark.parametrize(
    ("within", "length"),
    [
        ("10.1.0.0/16", 24),
        ("10.1.1.0/24", 24),
        ("10.1.1.0/26", 26),
        ("fd00::/48", 64),
        ("fd00::/96", 96),
    ],
)
def test_share(within: str, length: int) -> None:
    """All of what is small; a /24 or /64 of what is wide."""
    assert pools.share(net(within)) == length


@given(st.data())
def test_choose_finds_what_there_is(data: st.DataObject) -> None:
    """An address that is free in every respect exists: one of these is chosen; else a resting one."""
    found = pool("10.1.1.0/28", data.draw(st.sampled_from(["10.1.1.0/28", "10.1.1.8/29"])))
    every: list[model.Address] = list(found.prefix)
    usable = [a for a in found.range if pools.contains(found.prefix, a)]
    holdings = data.draw(st.dictionaries(st.sampled_from(every), st.sampled_from(model.Holding)))
    taken = data.draw(st.sets(st.sampled_from(every)))
    held = {a: model.Lease(a, h, n) for n, (a, h) in enumerate(holdings.items())}
    chosen = pools.choose(found, held, taken)
    free = [a for a in usable if a not in held and a not in taken]
    resting = [
        a
        for a in usable
        if a not in taken and a in held and held[a].holding is model.Holding.RESTING
    ]
    if free:
        assert chosen in free
    elif resting:
        assert chosen == min(resting, key=lambda a: held[a].since)
    else:
        assert chosen is None
