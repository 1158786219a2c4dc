"""The order in which the route writer does its work, seen in the kernel's own notifications."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator

from bgp_ipvlan import model, ownership
from bgp_ipvlan.kernel import netlink as nl
from bgp_ipvlan.kernel import readback
from lab import namespace
from tests.fakes.routes import Hops
from tests.netns import conftest as c

_GROUPS = (7, 32)
"""RTNLGRP_IPV4_ROUTE, RTNLGRP_NEXTHOP."""
LED = True, None
"""A nexthop object was made or changed."""
MANY = [bytes((32, 10, 8, n >> 8, n & 255)) for n in range(5000)]
NEAR = [model.nlri(ipaddress.ip_network(f"10.9.{n}.0/24")) for n in range(3)]


@contextlib.contextmanager
def slow(kernel: c.Kernel) -> Iterator[None]:
    """The writer does nothing meanwhile, as when the kernel keeps it waiting."""
    with kernel.routes._writer.lock:
        yield


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    """The kernel's notifications of IPv4 routes and objects, with room for all of them."""
    with nl.open_socket(receive_buffer=1 << 27) as sock:
        for group in _GROUPS:
            sock.setsockopt(nl.SOL_NETLINK, nl.NETLINK_ADD_MEMBERSHIP, group)
        yield sock


def heard(sock: socket.socket) -> list[tuple[bool, model.Nlri | None]]:
    """What was set or deleted, in order; without a key it is a nexthop object."""
    found: list[tuple[bool, model.Nlri | None]] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            for kind, _, body in nl.messages(sock.recv(1 << 16, socket.MSG_DONTWAIT)):
                if kind in {nl.RTM_NEWROUTE, nl.RTM_DELROUTE}:
                    found.append((kind == nl.RTM_NEWROUTE, readback.key_of(c.V4, body)[0]))
                else:
                    found.append((kind == nl.RTM_NEWNEXTHOP, None))
    return found


def real(kernel: c.Kernel, hops: Hops) -> model.Via:
    """The object for some next hops."""
    found = kernel.real(hops)
    assert isinstance(found, model.Via)
    return found


def count(host: namespace.Host) -> int:
    """How many routes of ours there are."""
    return int(host.run("sh", "-c", "ip route show proto 179 | wc -l").stdout)


def test_routes_keep_their_order_and_ways_go_ahead(host: namespace.Host) -> None:
    """What is written last is done last; where an object leads does not wait for what is queued."""

    async def main() -> None:
        async with c.started() as kernel:
            one, two = (real(kernel, c.via(host, f"192.0.2.{n}")) for n in (2, 3))
            kernel.routes.write([model.RouteBatch(c.MAIN, two, NEAR[2:])])
            await kernel.routes.flush()
            with listening() as sock:
                with slow(kernel):
                    kernel.routes.write(
                        [
                            model.RouteBatch(c.MAIN, one, MANY),
                            model.RouteBatch(c.MAIN, one, NEAR[:1]),
                            model.RouteBatch(c.MAIN, two, NEAR[1:2]),
                            model.RouteBatch(c.MAIN, two, MANY[-1:], replace=True),
                            model.RouteBatch(c.MAIN, None, MANY[:1]),
                        ]
                    )
                    kernel.routes.lead(two, c.via(host, "192.0.2.4").next_hops)
                await kernel.routes.flush()
                order = heard(sock)
            assert kernel.failures == []
            # The kernel tells of the routes whose object leads elsewhere as well.
            assert [key for _, key in order if key not in {None, NEAR[2]}] == [
                *MANY,
                NEAR[0],
                NEAR[1],
                MANY[-1],
                MANY[0],
            ]
            assert (order.index(LED), order[-1]) <= (len(MANY) // 2, (False, MANY[0]))
            table = await kernel.table()
            assert table["10.8.19.135/32"] == table["10.9.2.0/24"] == c.via(host, "192.0.2.4")
            assert len(table) == len(MANY) - 1 + len(NEAR)

    c.inside(host, main)


def test_a_retired_object_voids_what_is_queued_about_it(host: namespace.Host) -> None:
    """Routes to be made and to be deleted: none is left, and none is refused."""

    async def main() -> None:
        async with c.started() as kernel:
            one, two = (real(kernel, c.via(host, f"192.0.2.{n}")) for n in (2, 3))
            kernel.routes.write([model.RouteBatch(c.MAIN, one, MANY)])
            await kernel.routes.flush()
            with listening() as sock:
                with slow(kernel):
                    kernel.routes.write(
                        [
                            model.RouteBatch(c.MAIN, None, MANY[:3000], was=one),
                            model.RouteBatch(c.MAIN, two, NEAR[:1]),
                            model.RouteBatch(c.MAIN, one, NEAR[1:2]),
                            model.RouteBatch(c.MAIN, None, MANY[3000:], was=one),
                        ]
                    )
                    kernel.routes.retire(one, keep=False)
                    kernel.routes.write([model.RouteBatch(c.MAIN, two, MANY[:1])])
                await kernel.routes.flush()
                assert len(heard(sock)) < len(MANY) // 2, "its routes were deleted one by one"
            assert kernel.failures == []
            left = c.via(host, "192.0.2.3")
            assert await kernel.table() == dict.fromkeys(["10.9.0.0/24", "10.8.0.0/32"], left)

    c.inside(host, main)


def test_a_retired_object_waits_for_replacements(host: namespace.Host) -> None:
    """Routes that are to lead elsewhere are replaced, never lost; those that stay behind go."""

    async def main() -> None:
        async with c.started() as kernel:
            one, two = (real(kernel, c.via(host, f"192.0.2.{n}")) for n in (2, 3))
            kernel.routes.write([model.RouteBatch(c.MAIN, one, MANY)])
            await kernel.routes.flush()
            with listening() as sock:
                with slow(kernel):
                    kernel.routes.write(
                        [
                            model.RouteBatch(c.MAIN, one, NEAR),
                            model.RouteBatch(c.MAIN, two, MANY[1:], replace=True),
                        ]
                    )
                    kernel.routes.retire(one, keep=False)
                await kernel.routes.flush()
                assert [key for there, key in heard(sock) if key and not there] == []
            assert kernel.failures == []
            assert count(host) == len(MANY) - 1
            assert set((await kernel.table()).values()) == {c.via(host, "192.0.2.3")}

    c.inside(host, main)


def test_a_refusal_in_the_middle_of_a_shared_send(host: namespace.Host) -> None:
    """It is told of the route and the value that it was about, of several batches in one send."""
    for n in (1, 2):
        c.ip(host, f"route add 10.9.{n}.0/24 via 192.0.2.9 metric {ownership.ROUTE_METRIC}")

    async def main() -> None:
        async with c.started() as kernel:
            one, two = (real(kernel, c.via(host, f"192.0.2.{n}")) for n in (2, 3))
            await kernel.routes.flush()
            batches = [
                model.RouteBatch(c.MAIN, one, [*MANY[:50], NEAR[1], *MANY[50:100]]),
                model.RouteBatch(c.MAIN, two, MANY[100:200]),
                model.RouteBatch(c.MAIN, model.Blackhole(), [*MANY[200:270], NEAR[2], NEAR[0]]),
            ]
            with slow(kernel):
                kernel.routes.write(batches)
            await kernel.routes.flush()
            told = [(f.table, f.prefix, f.value, f.reason) for f in kernel.failures]
            assert told == [
                (c.MAIN, NEAR[1], one, "foreign-route"),
                (c.MAIN, NEAR[2], model.Blackhole(), "foreign-route"),
            ]
            assert count(host) == 271

    c.inside(host, main)


def test_a_hundred_thousand_routes_go_with_their_object(host: namespace.Host) -> None:
    """And nothing of them or it is left."""
    keys = [bytes((32, 10, n >> 16, n >> 8 & 255, n & 255)) for n in range(100_000)]

    async def main() -> None:
        async with c.started() as kernel:
            one = real(kernel, c.via(host, "192.0.2.2"))
            kernel.routes.write([model.RouteBatch(c.MAIN, one, keys)])
            await kernel.routes.flush()
            assert count(host) == len(keys)
            kernel.routes.write([model.RouteBatch(c.MAIN, None, keys, was=one)])
            kernel.routes.retire(one, keep=False)
            await kernel.routes.flush()
            assert count(host) == 0
            assert host.json("ip", "-j", "nexthop") in ([], None)
            assert kernel.failures == []

    c.inside(host, main)
