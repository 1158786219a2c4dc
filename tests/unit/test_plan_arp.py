"""What may not be asked for by ARP."""

from __future__ import annotations

import ipaddress

import hypothesis
import pytest
from hypothesis import strategies as st

from bgp_ipvlan import model
from bgp_ipvlan.plan import arp


def keys(*prefixes: str) -> set[model.Nlri]:
    """Table keys."""
    return {model.nlri(ipaddress.ip_network(one)) for one in prefixes}


def shown(ranges: tuple[arp.Range, ...]) -> list[str]:
    """Ranges as a person writes them."""
    return [f"{ipaddress.IPv4Address(a)}-{ipaddress.IPv4Address(b)}" for a, b in ranges]


def test_ours_in_order_and_joined() -> None:
    """A container's address inside the subnet adds nothing; neighbours in number are one range."""
    ours = keys("10.1.2.0/24", "10.1.1.0/24", "10.1.1.7/32", "10.9.0.5/32")

    found = arp.nobody(ours, ())

    assert shown(found) == ["10.1.1.0-10.1.2.255", "10.9.0.5-10.9.0.5"]


@pytest.mark.parametrize(
    ("on_link", "left"),
    [
        ("10.1.1.64/26", ["10.1.1.0-10.1.1.63", "10.1.1.128-10.1.1.255"]),
        ("10.1.1.0/32", ["10.1.1.1-10.1.1.255"]),
        ("10.1.1.255/32", ["10.1.1.0-10.1.1.254"]),
        ("10.1.1.0/24", []),
        ("10.1.0.0/16", ["10.1.1.0-10.1.1.255"]),
        ("0.0.0.0/0", ["10.1.1.0-10.1.1.255"]),
        ("10.2.0.0/16", ["10.1.1.0-10.1.1.255"]),
    ],
)
def test_the_administrators_wire(on_link: str, left: list[str]) -> None:
    """A route of others to a wire wins over our prefix when it is as specific or more (D10)."""
    assert shown(arp.nobody(keys("10.1.1.0/24"), keys(on_link))) == left


def test_a_wire_as_broad_as_two_of_ours() -> None:
    """Two subnets that make one range are still two prefixes, each more specific than the wire."""
    ours = keys("10.1.0.0/24", "10.1.1.0/24")

    assert shown(arp.nobody(ours, keys("10.1.0.0/23"))) == ["10.1.0.0-10.1.1.255"]


_PREFIXES = st.builds(
    lambda address, length: model.nlri(
        ipaddress.ip_network((0x0A010000 + address, length), strict=False)
    ),
    st.integers(0, 255),
    st.integers(22, 32),
)


@hypothesis.given(st.sets(_PREFIXES, max_size=6), st.sets(_PREFIXES, max_size=6))
def test_address_by_address(ours: set[model.Nlri], on_link: set[model.Nlri]) -> None:
    """In it is each address of ours that is not on a wire inside a prefix of ours."""
    mine = [model.prefix(model.Family.IPV4, key) for key in ours]
    wires = [model.prefix(model.Family.IPV4, key) for key in on_link]
    holes = [w for w in wires if any(w.subnet_of(m) for m in mine)]  # type: ignore[arg-type]

    ranges = arp.nobody(ours, on_link)

    assert list(ranges) == sorted(ranges)
    for number in range(0x0A010000 - 2, 0x0A010400 + 2):
        address = ipaddress.IPv4Address(number)
        expected = any(address in m for m in mine) and not any(address in h for h in holes)
        assert expected is (sum(first <= number <= last for first, last in ranges) == 1)
        assert sum(first <= number <= last for first, last in ranges) <= 1


PARENT = model.Link(index=7, name="eth1")
HOP = ipaddress.ip_address("192.0.2.254")


@pytest.mark.parametrize(
    ("others", "learned", "has"),
    [
        ((), (), False),
        ((model.ForeignRoute("", (model.NextHop(HOP, 7),)),), (), True),
        ((model.ForeignRoute("", (model.NextHop(HOP, 8),)),), (), False),
        ((model.ForeignRoute("", (model.NextHop(HOP, 8), model.NextHop(HOP, 7))),), (), True),
        ((model.ForeignRoute("", on_link=7),), (), True),
        ((model.ForeignRoute("", on_link=8),), (), False),
        ((model.ForeignRoute("", nexthop_id=3),), (), True),
        ((), (model.NextHop(HOP, 7),), True),
        ((), (model.NextHop(HOP, 8),), False),
    ],
)
def test_default_route(
    others: tuple[model.ForeignRoute, ...], learned: tuple[model.NextHop, ...], has: bool
) -> None:
    """One out of the parent counts, whoever made it; one out of another interface does not."""
    assert arp.has_default(PARENT, others, learned) is has
