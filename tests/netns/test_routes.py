"""Routes written to and read from a real kernel, with `ip` as the witness."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

from bgp_ipvlan import model, ownership
from lab import namespace
from tests.fakes.routes import Hops, Shown
from tests.netns import conftest as c

METRIC = ownership.ROUTE_METRIC


def shown(host: namespace.Host, family: int = 4) -> dict[str, dict[str, Any]]:
    """Our routes as `ip` shows them."""
    return {route["dst"]: route for route in host.routes("proto", "179", family=family)}


def foreign(host: namespace.Host) -> str:
    """Everything in every table that is not ours, as text with all details."""
    lines = []
    for family in ("-4", "-6"):
        text = host.run("ip", "-d", family, "route", "show", "table", "all").stdout
        lines += [line for line in text.splitlines() if "proto 179" not in line]
    return "\n".join(lines)


def test_every_kind_of_route(host: namespace.Host) -> None:
    """Both families: gateway, ECMP, blackhole, device; as `ip` sees them and as we read them."""
    one, two = c.via(host, "192.0.2.2"), c.via(host, "192.0.2.2", "198.51.100.2")
    six = c.via(host, "2001:db8::2")
    index = host.links()["eth1"]["ifindex"]
    device = model.Device(index, ipaddress.ip_address("192.0.2.1"))
    device6 = model.Device(index, ipaddress.ip_address("2001:db8::1"))
    expected: dict[str, Shown] = {
        "10.0.0.0/8": one,
        "10.1.2.0/23": one,
        "10.1.2.3/32": one,
        "0.0.0.0/0": one,
        "10.2.0.0/16": two,
        "10.3.0.0/16": model.Blackhole(),
        "10.4.0.9/32": device,
        "fd00:1::/64": six,
        "fd00:2::1/128": six,
        "::/0": six,
        "fd00:3::/48": model.Blackhole(),
        "fd00:4::9/128": device6,
    }

    async def main() -> None:
        async with c.started() as kernel:
            for prefix, value in expected.items():
                await kernel.set(value, prefix)
            assert kernel.failures == []
            assert await kernel.table() == expected

    c.inside(host, main)
    four, six_shown = shown(host), shown(host, 6)
    assert len(four) == 7
    assert len(six_shown) == 5
    assert all(route["metric"] == METRIC for route in (*four.values(), *six_shown.values()))
    for dst in ("10.0.0.0/8", "10.1.2.0/23", "10.1.2.3", "default"):
        assert (four[dst]["gateway"], four[dst]["dev"]) == ("192.0.2.2", "eth1")
    hops = {(hop["gateway"], hop["dev"]) for hop in four["10.2.0.0/16"]["nexthops"]}
    assert hops == {("192.0.2.2", "eth1"), ("198.51.100.2", "eth2")}
    assert four["10.3.0.0/16"]["type"] == "blackhole"
    assert (four["10.4.0.9"]["dev"], four["10.4.0.9"]["prefsrc"]) == ("eth1", "192.0.2.1")
    assert four["10.4.0.9"]["scope"] == "link"
    assert (six_shown["fd00:1::/64"]["gateway"], six_shown["fd00:2::1"]["dev"]) == (
        "2001:db8::2",
        "eth1",
    )
    assert six_shown["fd00:3::/48"]["type"] == "blackhole"
    assert six_shown["fd00:4::9"]["prefsrc"] == "2001:db8::1"


def test_routes_share_nexthop_objects(host: namespace.Host) -> None:
    """One object per next hop, one group per set; those that nothing uses go with an audit."""
    one, two = c.via(host, "192.0.2.2"), c.via(host, "192.0.2.2", "198.51.100.2")

    def objects() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = host.json("ip", "-j", "nexthop") or []
        assert all(entry["protocol"] == "179" for entry in found)
        return found

    async def main() -> None:
        async with c.started() as kernel:
            await kernel.set(one, "10.1.0.0/24", "10.1.1.0/24", "10.1.2.0/24")
            assert [entry["gateway"] for entry in objects()] == ["192.0.2.2"]
            await kernel.set(two, "10.2.0.0/24", "10.2.1.0/24")
            assert len(objects()) == 4, "the one, the group, and its two members"
            assert len([entry for entry in objects() if "group" in entry]) == 1
            ids = {route["nhid"] for route in shown(host).values()}
            assert len(ids) == 2
            await kernel.set(None, "10.1.0.0/24", "10.1.1.0/24", "10.1.2.0/24")
            await kernel.dump()
            assert len(objects()) == 4, "nobody has said that one is no longer used"
            await kernel.retire(one)
            await kernel.dump()
            assert len(objects()) == 3, "the group still needs its members"
            await kernel.set(one, "10.2.0.0/24", "10.2.1.0/24", replace=True)
            await kernel.retire(two)
            await kernel.dump()
            assert [entry["gateway"] for entry in objects()] == ["192.0.2.2"]
            await kernel.retire(one)
            await kernel.routes.flush()
            assert objects() == []
            assert shown(host) == {}, "routes go with their object"
            await kernel.set(two, "10.3.0.0/24")
            assert len(objects()) == 3
            assert kernel.failures == []

    c.inside(host, main)


def test_what_is_not_ours_stays_as_it_is(host: namespace.Host) -> None:
    """Routes of our prefixes with other metrics and protocols, connected ones, other tables."""
    for route in (
        "10.1.2.0/24 via 192.0.2.9 proto static",
        "10.1.2.0/24 via 192.0.2.9 proto 179 metric 5",
        "10.1.3.0/24 via 192.0.2.9 proto static metric 17900",
        "blackhole 10.1.4.0/24 proto bird",
        "10.1.2.0/24 via 192.0.2.9 table 100 proto 179 metric 17900",
        "default via 192.0.2.9 proto dhcp",
        "fd00:1::/64 via 2001:db8::9 proto static",
        "fd00:3::/64 via 2001:db8::9 proto static metric 17900",
    ):
        host.run("ip", "-6" if "::" in route else "-4", "route", "add", *route.split())
    before = foreign(host)
    both = "10.1.2.0/24", "10.1.3.0/24", "10.1.4.0/24", "192.0.2.0/24", "0.0.0.0/0"
    all_six = "fd00:1::/64", "fd00:3::/64", "2001:db8::/64"
    theirs = {"10.1.3.0/24", "fd00:3::/64"}

    async def main() -> None:
        async with c.started() as kernel:
            await kernel.set(c.via(host, "192.0.2.2"), *both)
            await kernel.set(c.via(host, "2001:db8::2"), *all_six)
            assert foreign(host) == before
            assert set(await kernel.table()) == {*both, *all_six} - theirs
            refused = {str(model.prefix(f.table[0], f.prefix)): f.reason for f in kernel.failures}
            assert refused == dict.fromkeys(theirs, "foreign-route")
            dump = await kernel.dump()
            routes = dump.foreign[c.V4, model.MAIN][model.nlri(ipaddress.ip_network("10.1.2.0/24"))]
            assert routes[0].text == "proto static via 192.0.2.9 dev eth1"
            assert routes[5].text == "proto 179 via 192.0.2.9 dev eth1 metric 5"
            await kernel.set(None, *both, *all_six)
            assert await kernel.table() == {}
            assert len(kernel.failures) == 2, "deleting what is not there is no failure"
            assert foreign(host) == before

    c.inside(host, main)


def test_one_bad_route_stops_nobody(host: namespace.Host) -> None:
    """A key that exists in the middle of a batch: its neighbours stand, it is named."""
    c.ip(host, "route add 10.9.7.0/24 via 192.0.2.9 metric 17900")
    prefixes = [f"10.9.{n}.0/24" for n in range(250)] + [f"10.8.{n}.0/24" for n in range(250)]

    async def main() -> None:
        async with c.started() as kernel:
            await kernel.set(c.via(host, "192.0.2.2"), *prefixes)
            assert len(await kernel.table()) == 499
            [failure] = kernel.failures
            assert model.prefix(failure.table[0], failure.prefix) == ipaddress.ip_network(
                "10.9.7.0/24"
            )
            assert (failure.reason, failure.replace) == ("foreign-route", False)

    c.inside(host, main)


def test_a_next_hop_that_cannot_be(host: namespace.Host) -> None:
    """No such interface, gateway not on-link: `kernel-refused`, and the writer goes on."""
    nowhere = Hops((model.NextHop(ipaddress.ip_address("192.0.2.2"), 9999),))
    offlink = c.via(host, "203.0.113.1")

    async def main() -> None:
        async with c.started() as kernel:
            await kernel.set(nowhere, "10.1.0.0/24")
            await kernel.set(offlink, "10.2.0.0/24")
            await kernel.set(model.Device(9999), "10.3.0.0/24")
            await kernel.set(c.via(host, "192.0.2.2"), "10.4.0.0/24")
            assert [f.reason for f in kernel.failures] == ["kernel-refused"] * 3
            assert set(await kernel.table()) == {"10.4.0.0/24"}

    c.inside(host, main)


def test_a_value_is_replaced_in_place(host: namespace.Host) -> None:
    """Each kind of route by each other, one route per key at the end."""
    index = host.links()["eth1"]["ifindex"]
    values: list[Shown] = [
        c.via(host, "192.0.2.2"),
        model.Blackhole(),
        c.via(host, "192.0.2.3", "198.51.100.2"),
        model.Device(index),
        c.via(host, "192.0.2.3"),
    ]

    async def main() -> None:
        async with c.started() as kernel:
            await kernel.set(values[0], "10.1.2.0/24")
            for old in values:
                for new in values:
                    for value in (old, new):
                        await kernel.set(value, "10.1.2.0/24", replace=True)
                    assert await kernel.table() == {"10.1.2.0/24": new}
                    assert len(host.routes("10.1.2.0/24")) == 1
            assert kernel.failures == []

    c.inside(host, main)


def test_adoption(host: namespace.Host) -> None:
    """The next daemon reads what this one wrote, and goes on with the same objects."""
    one, two = c.via(host, "192.0.2.2"), c.via(host, "192.0.2.2", "198.51.100.2")

    async def first() -> dict[str, Shown]:
        async with c.started() as kernel:
            await kernel.set(one, "10.1.0.0/24")
            await kernel.set(two, "10.2.0.0/24")
            await kernel.set(model.Blackhole(), "10.3.0.0/24", "fd00::/64")
            return await kernel.table()

    async def second() -> None:
        async with c.started() as kernel:
            assert await kernel.table() == table
            await kernel.set(one, "10.1.1.0/24")
            await kernel.set(two, "10.2.1.0/24")
            await kernel.set(c.via(host, "192.0.2.3"), "10.4.0.0/24")
            assert kernel.failures == []

    table = c.inside(host, first)
    objects = host.json("ip", "-j", "nexthop")
    c.inside(host, second)
    after = host.json("ip", "-j", "nexthop")
    assert [entry for entry in after if entry in objects] == objects
    assert len(after) == len(objects) + 1
    routes = shown(host)
    assert routes["10.1.0.0/24"]["nhid"] == routes["10.1.1.0/24"]["nhid"]
    assert routes["10.2.0.0/24"]["nhid"] == routes["10.2.1.0/24"]["nhid"]


def test_a_hundred_thousand(host: namespace.Host) -> None:
    """Written, read back, replaced and deleted, none lost; the time is generous for a noisy core."""
    keys = [bytes((32, 10, n >> 16, n >> 8 & 255, n & 255)) for n in range(100_000)]
    one, three = c.via(host, "192.0.2.2"), c.via(host, "192.0.2.3")

    async def main() -> None:
        async with c.started() as kernel:
            for value, replace in ((one, False), (three, True)):
                real = kernel.real(value)
                assert real is not None
                kernel.routes.write([model.RouteBatch(c.MAIN, real, keys, replace)])
                await kernel.routes.flush()
                assert (await kernel.dump()).drift[c.MAIN] == dict.fromkeys(keys, real)
                believed = await kernel.routes.dump({c.MAIN: dict.fromkeys(keys, real)})
                assert believed.drift == {c.MAIN: {}}
            count = host.run("sh", "-c", "ip route show proto 179 | wc -l").stdout
            assert int(count) == len(keys)
            kernel.routes.write([model.RouteBatch(c.MAIN, None, keys)])
            await kernel.routes.flush()
            assert (await kernel.dump()).drift[c.MAIN] == {}
            assert kernel.failures == []
            assert kernel.events.own == []

    started = time.monotonic()
    c.inside(host, main)
    assert time.monotonic() - started < 30


def test_a_queued_replacement_spares_a_stranger(host: namespace.Host) -> None:
    """Refused, and replaced before anybody heard of it: somebody else's route stays as it is."""
    c.ip(host, f"route add 10.9.0.0/16 via 192.0.2.9 proto static metric {METRIC}")
    before = foreign(host)
    key = model.nlri(ipaddress.ip_network("10.9.0.0/16"))
    near = model.nlri(ipaddress.ip_network("10.8.0.0/16"))

    async def main() -> None:
        async with c.started() as kernel:
            first, second = c.via(host, "192.0.2.2"), c.via(host, "192.0.2.3")
            kernel.routes.write(
                [
                    model.RouteBatch(c.MAIN, kernel.real(first), [key, near]),
                    model.RouteBatch(c.MAIN, kernel.real(second), [key, near], replace=True),
                ]
            )
            await kernel.routes.flush()
            await kernel.until(lambda: len(kernel.failures) == 2)
            assert {"foreign-route"} == {failure.reason for failure in kernel.failures}
            assert await kernel.table() == {"10.8.0.0/16": second}
            assert before == foreign(host)

            c.ip(host, f"route del 10.9.0.0/16 metric {METRIC}")
            await kernel.set(first, "10.9.0.0/16")
            await kernel.set(second, "10.9.0.0/16", replace=True)
            assert await kernel.table() == {"10.8.0.0/16": second, "10.9.0.0/16": second}
            assert len(kernel.failures) == 2

    assert "10.9.0.0/16 via 192.0.2.9" in before.replace("unicast ", "")
    c.inside(host, main)
