"""What the kernel tells, of others' changes and never of our own."""

from __future__ import annotations

import ipaddress

from bgp_ipvlan import model
from lab import namespace
from tests.netns import conftest as c


def net(text: str) -> model.Prefix:
    """Shorthand."""
    return ipaddress.ip_network(text)


def test_our_own_writes_cause_no_event(host: namespace.Host) -> None:
    """A thousand of ours, then one of theirs: that one is heard and nothing before it."""
    keys = [model.nlri(net(f"10.{n >> 8}.{n & 255}.0/24")) for n in range(1000)]

    async def main() -> None:
        async with c.started() as kernel:
            for value in (c.via(host, "192.0.2.2"), None):
                kernel.routes.write([model.RouteBatch(c.MAIN, kernel.real(value), keys)])
                await kernel.routes.flush()
            c.ip(host, "route add 10.200.0.0/24 via 192.0.2.9")
            await kernel.until(lambda: bool(kernel.events.foreign))
            assert kernel.events.foreign == [
                (net("10.200.0.0/24"), 0, "proto boot via 192.0.2.9 dev eth1")
            ]
            assert kernel.events.own == []
            assert kernel.events.overflows == 0

    c.inside(host, main)


def test_others_routes_come_change_and_go(host: namespace.Host) -> None:
    """Both families and all kinds in the main table; other tables and local routes are no news."""
    steps = [
        ("route add 10.1.0.0/16 via 192.0.2.9 table 100", None),
        ("route add 10.1.0.0/16 via 192.0.2.9 proto static", "proto static via 192.0.2.9 dev eth1"),
        ("route replace 10.1.0.0/16 dev eth2 proto static", "proto static dev eth2"),
        ("route del 10.1.0.0/16", ""),
        ("route add blackhole 10.2.0.0/16 metric 7", "blackhole proto boot metric 7"),
        ("-6 route add fd00::/64 via 2001:db8::9", "proto boot via 2001:db8::9 dev eth1"),
        ("-6 route del fd00::/64", ""),
    ]

    async def main() -> None:
        async with c.started() as kernel:
            for command, _ in steps:
                host.run("ip", *command.split())
            expected = [text or None for _, text in steps if text is not None]

            def events() -> list[tuple[model.Prefix, int, str | None]]:
                # The kernel's own route for a link-local address comes when the wire is ready.
                return [e for e in kernel.events.foreign if e[0] != net("fe80::/64")]

            await kernel.until(lambda: len(events()) >= len(expected))
            found = [(text or "").replace(" metric 1024", "") or None for _, _, text in events()]
            assert found == expected
            assert events()[3][:2] == (net("10.2.0.0/16"), 7)

    c.inside(host, main)


def test_ours_touched_by_others(host: namespace.Host) -> None:
    """Deleted and changed by hand."""

    async def main() -> None:
        async with c.started() as kernel:
            await kernel.set(c.via(host, "192.0.2.2"), "10.1.0.0/24", "10.2.0.0/24")
            await kernel.set(c.via(host, "2001:db8::2"), "fd00::/64")
            c.ip(host, "route del 10.1.0.0/24")
            c.ip(host, "route replace 10.2.0.0/24 via 192.0.2.7 proto 179 metric 17900")
            c.ip(host, "-6 route del fd00::/64")
            await kernel.until(lambda: len(kernel.events.own) >= 3)
            assert kernel.events.own == [
                (net("10.1.0.0/24"), False),
                (net("10.2.0.0/24"), True),
                (net("fd00::/64"), False),
            ]
            others = [e for e in kernel.events.foreign if e[0] != net("fe80::/64")]
            assert others == []

    c.inside(host, main)


def test_a_link_goes_down_and_up(host: namespace.Host) -> None:
    """Said which; the kernel has dropped our routes, and they can be written again."""
    index = host.links()["eth1"]["ifindex"]
    four, six = c.via(host, "192.0.2.2"), c.via(host, "2001:db8::2")

    async def main() -> None:
        async with c.started() as kernel:
            await kernel.set(four, "10.1.0.0/24")
            await kernel.set(six, "fd00::/64")
            await kernel.set(model.Blackhole(), "10.2.0.0/24")
            c.ip(host, "link set eth1 down")
            await kernel.until(lambda: index in kernel.events.lost)
            assert await kernel.table() == {"10.2.0.0/24": model.Blackhole()}
            kernel.events.lost.clear()
            before = kernel.events.links
            c.ip(host, "link set eth1 up")
            c.ip(host, "address replace 2001:db8::1/64 dev eth1 nodad")
            await kernel.until(lambda: kernel.events.links > before)
            await kernel.set(four, "10.1.0.0/24")
            await kernel.set(six, "fd00::/64")
            assert kernel.failures == []
            assert (await kernel.table())["10.1.0.0/24"] == four
            c.ip(host, "address del 198.51.100.1/24 dev eth2")
            eth2 = host.links()["eth2"]["ifindex"]
            await kernel.until(lambda: eth2 in kernel.events.lost)
            assert host.links()["lo"]["ifindex"] not in kernel.events.lost

    c.inside(host, main)


def test_a_link_that_comes_is_no_loss(host: namespace.Host) -> None:
    """A new wire that is up, a new address: a look, and no loss of others."""

    async def main() -> None:
        async with c.started() as kernel:
            c.ip(host, "address add 192.0.2.77/24 dev eth1")
            await kernel.until(lambda: kernel.events.links > 0)
            assert kernel.events.lost == set()
            c.ip(host, "link add veth9 type veth peer name veth8")
            await kernel.until(lambda: bool(kernel.events.lost))
            known = {name: link["ifindex"] for name, link in host.links().items()}
            assert kernel.events.lost <= {known["veth8"], known["veth9"]}

    c.inside(host, main)


def test_events_lost(host: namespace.Host) -> None:
    """More than the socket holds while nobody reads: said at once, and when all is heard again.

    In between the kernel drops events without a word (netlink_overrun, af_netlink.c).
    """
    lines = "\n".join(
        f"route add 10.{n >> 16}.{n >> 8 & 255}.{n & 255} via 192.0.2.9" for n in range(60_000)
    )

    async def main() -> None:
        async with c.started() as kernel:
            # The loop is kept from reading on purpose.
            host.run("ip", "-batch", "-", stdin=lines)
            await kernel.until(lambda: kernel.events.overflows == 2)
            c.ip(host, "route add 172.20.0.0/16 via 192.0.2.9")
            await kernel.until(
                lambda: any(p == net("172.20.0.0/16") for p, _, _ in kernel.events.foreign)
            )
            dump = await kernel.dump()
            assert len(dump.foreign[c.MAIN]) >= 60_001

    c.inside(host, main)
