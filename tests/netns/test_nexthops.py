"""Nexthop objects under other hands: links that go, objects changed or deleted, routes of others."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from bgp_ipvlan import model, ownership
from bgp_ipvlan.kernel import nexthops
from lab import namespace
from tests.fakes.routes import Shown
from tests.netns import conftest as c


def objects(host: namespace.Host) -> list[dict[str, Any]]:
    """As `ip` shows them."""
    found: list[dict[str, Any]] = host.json("ip", "-j", "nexthop") or []
    return found


def gateways(host: namespace.Host, destination: str) -> set[str]:
    """Where a route of ours leads, as `ip` shows it."""
    [route] = host.routes("proto", "179", "exact", destination)
    return {hop["gateway"] for hop in route.get("nexthops", [route])}


@pytest.mark.parametrize("down", ["eth1", "eth2"])
def test_a_group_that_lost_a_member_and_has_it_back(host: namespace.Host, down: str) -> None:
    """The kernel shrinks the group without a word; read as it is, and made whole again."""
    one, other = c.via(host, "192.0.2.2"), c.via(host, "198.51.100.2")
    both = c.via(host, "192.0.2.2", "198.51.100.2")
    left = {"eth1": other, "eth2": one}[down]
    address = {"eth1": "192.0.2.1/24", "eth2": "198.51.100.1/24"}[down]

    async def main() -> None:
        async with c.started() as kernel:
            await kernel.set(one, "10.1.0.0/24")
            await kernel.set(other, "10.2.0.0/24")
            await kernel.set(both, "10.3.0.0/24")
            c.ip(host, f"link set {down} down")
            table = await kernel.table()
            assert table["10.3.0.0/24"] == left
            await kernel.set(left, "10.4.0.0/24")
            c.ip(host, f"link set {down} up")
            c.ip(host, f"address replace {address} dev {down}")
            await kernel.set(both, "10.3.0.0/24", replace=True)
            await kernel.set(both, "10.5.0.0/24")
            assert kernel.failures == []
            table = await kernel.table()
            assert table["10.3.0.0/24"] == table["10.5.0.0/24"] == both
            assert table["10.4.0.0/24"] == left
        assert gateways(host, "10.3.0.0/24") == {"192.0.2.2", "198.51.100.2"}

    c.inside(host, main)


def test_an_object_deleted_by_hand_is_said(host: namespace.Host) -> None:
    """Its IPv4 routes go without a word, so the object's end must be heard; ours are no news."""

    async def main() -> None:
        async with c.started() as kernel:
            value = c.via(host, "192.0.2.2")
            await kernel.set(value, "10.1.0.0/24", "10.2.0.0/24")
            await kernel.set(None, "10.1.0.0/24", "10.2.0.0/24")
            await kernel.retire(value)
            assert objects(host) == [], "made and deleted by us"
            c.ip(host, "nexthop add id 7 via 192.0.2.9 dev eth1")
            c.ip(host, "nexthop del id 7")
            await kernel.set(value, "10.1.0.0/24", "10.2.0.0/24")
            [mine] = objects(host)
            assert kernel.events.nexthops == 0
            c.ip(host, f"nexthop del id {mine['id']}")
            await kernel.until(lambda: kernel.events.nexthops == 1)
            assert await kernel.table() == {}
            await kernel.set(value, "10.1.0.0/24", "10.2.0.0/24")
            assert kernel.failures == []
            assert set(await kernel.table()) == {"10.1.0.0/24", "10.2.0.0/24"}

    c.inside(host, main)


def test_somebodys_group_with_an_object_of_ours_is_said(host: namespace.Host) -> None:
    """With our object the kernel would delete their group and its routes, so it must be known."""

    async def main() -> None:
        async with c.started() as kernel:
            await kernel.set(c.via(host, "192.0.2.2"), "10.1.0.0/24")
            [mine] = objects(host)
            c.ip(host, "nexthop add id 7 via 192.0.2.9 dev eth1")
            c.ip(host, "nexthop add id 8 group 7")
            c.ip(host, f"nexthop add id 9 group 7/{mine['id']}")
            await kernel.until(lambda: kernel.events.nexthops == 1)
            c.ip(host, "nexthop del id 9")
            await kernel.until(lambda: kernel.events.nexthops == 2)

    c.inside(host, main)


def test_an_object_changed_by_hand_is_said_and_repaired(host: namespace.Host) -> None:
    """It is read as it leads now, and led back; its routes need no change."""

    async def main() -> None:
        async with c.started() as kernel:
            value = c.via(host, "192.0.2.2")
            await kernel.set(value, "10.1.0.0/24")
            [mine] = objects(host)
            c.ip(host, f"nexthop replace id {mine['id']} via 192.0.2.66 dev eth1 protocol 179")
            await kernel.until(lambda: kernel.events.nexthops == 1)
            assert gateways(host, "10.1.0.0/24") == {"192.0.2.66"}
            assert (await kernel.table())["10.1.0.0/24"] == c.via(host, "192.0.2.66")
            kernel.routes.lead(kernel.ids[value], value.next_hops)
            await kernel.routes.flush()
            assert gateways(host, "10.1.0.0/24") == {"192.0.2.2"}
            assert await kernel.table() == {"10.1.0.0/24": value}
            assert kernel.failures == []

    c.inside(host, main)


def test_an_object_that_somebody_has_taken(host: namespace.Host) -> None:
    """It has lost our mark: a stranger's, whose routes of ours are led through another id."""

    async def main() -> None:
        async with c.started() as kernel:
            value = c.via(host, "192.0.2.2")
            await kernel.set(value, "10.1.0.0/24")
            [mine] = objects(host)
            c.ip(host, f"nexthop replace id {mine['id']} via 192.0.2.66 dev eth1 protocol static")
            await kernel.until(lambda: kernel.events.nexthops == 1)
            assert (await kernel.table())["10.1.0.0/24"] == model.Device(0)
            assert kernel.strangers == {mine["id"]}
            await kernel.retire(value, keep=True)
            await kernel.set(value, "10.1.0.0/24", replace=True)
            assert kernel.failures == []
            assert gateways(host, "10.1.0.0/24") == {"192.0.2.2"}
            assert await kernel.table() == {"10.1.0.0/24": value}
            assert {entry["gateway"] for entry in objects(host)} == {"192.0.2.2", "192.0.2.66"}

    c.inside(host, main)


def test_an_id_of_ours_that_somebody_else_uses(host: namespace.Host) -> None:
    """An object that is not ours in our range stays, and its id is passed over."""
    first = ownership.SINGLE_IDS[0]
    c.ip(host, f"nexthop add id {first} via 192.0.2.66 dev eth1 protocol static")

    async def main() -> None:
        async with c.started() as kernel:
            await kernel.table()
            await kernel.set(c.via(host, "192.0.2.2"), "10.1.0.0/24")
            assert kernel.failures == []
            assert gateways(host, "10.1.0.0/24") == {"192.0.2.2"}
            await kernel.table()
        assert first in {entry["id"] for entry in objects(host)}

    c.inside(host, main)


def test_a_strangers_route_keeps_our_object(host: namespace.Host) -> None:
    """Deleting an object deletes what points at it: it stays while anybody's route does."""

    async def main() -> None:
        async with c.started() as kernel:
            await kernel.set(c.via(host, "192.0.2.2"), "10.1.0.0/24")
            [mine] = objects(host)
            c.ip(host, f"route add 10.9.0.0/24 nhid {mine['id']} proto static")
            await kernel.retire(c.via(host, "192.0.2.2"), keep=True)
            await kernel.set(None, "10.1.0.0/24")
            await kernel.table()
            assert [route["dst"] for route in host.routes("proto", "static")] == ["10.9.0.0/24"]
            c.ip(host, "route del 10.9.0.0/24")
            await kernel.table()
            assert objects(host) == []

    c.inside(host, main)


def test_a_strangers_route_keeps_a_member_that_left_its_group(host: namespace.Host) -> None:
    """A group's former member is ours to delete only when nobody's route points at it."""
    both, one = c.via(host, "192.0.2.2", "198.51.100.2"), c.via(host, "192.0.2.2")

    async def main() -> None:
        async with c.started() as kernel:
            await kernel.set(both, "10.1.0.0/24")
            [member] = [entry["id"] for entry in objects(host) if entry.get("dev") == "eth2"]
            c.ip(host, f"route add 10.9.0.0/24 nhid {member} proto static")
            kernel.routes.lead(kernel.ids[both], one.next_hops)
            await kernel.routes.flush()
            await kernel.dump()
            assert [route["dst"] for route in host.routes("proto", "static")] == ["10.9.0.0/24"]
            c.ip(host, "route del 10.9.0.0/24")
            await kernel.dump()
            assert member not in {entry["id"] for entry in objects(host)}

    c.inside(host, main)


def test_what_was_left_to_others_while_the_kernel_was_read(host: namespace.Host) -> None:
    """Retired after the reading, kept since others use it: the reading does not delete it."""

    async def main() -> None:
        async with c.started() as kernel:
            value = c.via(host, "192.0.2.2")
            await kernel.set(value, "10.1.0.0/24")
            [mine] = objects(host)
            c.ip(host, f"route add 10.9.0.0/24 nhid {mine['id']} proto static")
            known = kernel.routes._next_hops
            observe = known.observe

            def late(found: nexthops.Objects, in_use: set[int]) -> list[int]:
                known.forget(mine["id"])  # what the writer does about `retire(keep=True)`
                return observe(found, in_use)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(known, "observe", late)
                await kernel.dump()
            assert [route["dst"] for route in host.routes("proto", "static")] == ["10.9.0.0/24"]

    c.inside(host, main)


def test_a_key_found_to_be_ours_is_replaced_again(host: namespace.Host) -> None:
    """Refused once because of a route that turns out to carry our marks: the next reading cures it."""
    c.ip(host, f"route add 10.1.0.0/24 via 192.0.2.66 proto 179 metric {ownership.ROUTE_METRIC}")

    async def main() -> None:
        async with c.started() as kernel:
            value = c.via(host, "192.0.2.2")
            await kernel.set(value, "10.1.0.0/24")
            assert [failure.reason for failure in kernel.failures] == ["foreign-route"]
            assert "10.1.0.0/24" in await kernel.table()
            await kernel.set(value, "10.1.0.0/24", replace=True)
            assert len(kernel.failures) == 1
            assert await kernel.table() == {"10.1.0.0/24": value}

    c.inside(host, main)


def test_a_kernel_without_nexthop_objects(host: namespace.Host) -> None:
    """Routes carry their gateways, ECMP too, both families: written, read, replaced, deleted."""
    one, two = c.via(host, "192.0.2.2"), c.via(host, "192.0.2.2", "198.51.100.2")
    six = c.via(host, "2001:db8::2")
    six_two = c.via(host, "2001:db8::2", "2001:db8::3")
    index = host.links()["eth1"]["ifindex"]
    values: dict[str, list[Shown]] = {
        "10.1.0.0/24": [one, two, model.Blackhole(), two, model.Device(index), one],
        "fd00::/64": [six, six_two, model.Blackhole(), six_two, model.Device(index), six],
    }

    async def main() -> None:
        async with c.started(nexthop_objects=False) as kernel:
            for prefix, sequence in values.items():
                for number, value in enumerate(sequence):
                    await kernel.set(value, prefix, replace=number > 0)
                    assert kernel.failures == []
                    assert await kernel.table() == {prefix: value}
                await kernel.set(sequence[1], prefix, replace=True)
                assert await kernel.table() == {prefix: sequence[1]}
                await kernel.set(None, prefix)
                assert await kernel.table() == {}
            assert objects(host) == []
            assert kernel.failures == []
            shown = host.run("ip", "route", "show", "proto", "179").stdout
            assert shown == ""

    c.inside(host, main)


def test_ipv6_values_replace_each_other(host: namespace.Host) -> None:
    """Each kind of IPv6 route by each other, one route per key at the end."""
    index = host.links()["eth1"]["ifindex"]
    values: list[Shown] = [
        c.via(host, "2001:db8::2"),
        model.Blackhole(),
        c.via(host, "2001:db8::2", "2001:db8::3"),
        model.Device(index, ipaddress.ip_address("2001:db8::1")),
        c.via(host, "2001:db8::3"),
    ]

    async def main() -> None:
        async with c.started() as kernel:
            await kernel.set(values[0], "fd00::/64")
            for old in values:
                for new in values:
                    for value in (old, new):
                        await kernel.set(value, "fd00::/64", replace=True)
                    assert await kernel.table() == {"fd00::/64": new}
                    assert len(host.routes("fd00::/64", family=6)) == 1
            assert kernel.failures == []

    c.inside(host, main)
