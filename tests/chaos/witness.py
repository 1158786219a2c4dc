"""What the kernel has, in the words of `ip`; and much of somebody else's at once, for a storm."""

from __future__ import annotations

import concurrent.futures
import ctypes
import dataclasses
import ipaddress
import itertools
import json
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self, TypeVar

from lab import namespace
from tests.chaos.oracle import BLACKHOLE, Around, Hop, Interface, Prefix, Route

T = TypeVar("T")
PROTOCOL, METRIC = "179", 17900
IDS = range(0x0B170001, 0x0B180000)
"""Of our nexthop objects."""
_CLONE_NEWNET = 0x40000000
_LOOK = """
ip -j -4 route show table all; echo
ip -j -6 route show table all; echo
ip -j nexthop; echo
ip -j address show; echo
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Kernel:
    """One look at a host."""

    routes: dict[Prefix, Route]
    """Ours, resolved."""
    odd: list[str]
    """Routes of ours as they must never be."""
    around: Around
    nexthops: dict[int, dict[str, Any]]
    """Nexthop objects by id, ours or not."""


def look(host: namespace.Host, own: Iterable[Prefix] = ()) -> Kernel:
    """Read everything once, by `ip -j`."""
    printed = host.run("sh", "-ec", _LOOK).stdout.splitlines()
    four, six, objects, links = (json.loads(line) for line in printed if line)
    nexthops = {one["id"]: one for one in objects}
    routes: dict[Prefix, Route] = {}
    foreign: list[tuple[Prefix, int]] = []
    odd: list[str] = []
    for version, found in ((4, four), (6, six)):
        for route in found:
            main = route.get("table", "main") == "main"
            prefix, metric = _prefix(route["dst"], version), route.get("metric", 0)
            if (route.get("protocol"), metric) != (PROTOCOL, METRIC):
                if main:
                    foreign.append((prefix, metric))
                continue
            hops = _hops(route)
            if not main or prefix in routes or _disagrees(route, hops, nexthops):
                odd.append(f"odd: {route}")
            routes[prefix] = hops
    return Kernel(routes, odd, Around(_interfaces(links), foreign, tuple(own)), nexthops)


def foreign(host: namespace.Host) -> list[str]:
    """Every route that is not ours, byte for byte, in all tables."""
    script = "ip -d -o -4 route show table all; ip -d -o -6 route show table all"
    lines = host.run("sh", "-ec", script).stdout.splitlines()
    ours = re.compile(rf" proto {PROTOCOL} .*metric {METRIC}( |$)")
    # Indented lines tell of the nexthop object that the line before has named.
    return sorted(line for line in lines if line[:1].strip() and not ours.search(line))


def _prefix(text: str, version: int) -> Prefix:
    if text == "default":
        text = "0.0.0.0/0" if version == 4 else "::/0"
    return ipaddress.ip_network(text)


def _hops(route: dict[str, Any]) -> Route:
    if route.get("type", "unicast") == "blackhole":
        return BLACKHOLE
    return frozenset(map(_hop, route.get("nexthops", [route])))


def _hop(one: dict[str, Any]) -> Hop:
    gateway = one.get("gateway") or one.get("via", {}).get("host", "")
    return gateway, one.get("dev", "")


def _disagrees(route: dict[str, Any], hops: Route, nexthops: dict[int, dict[str, Any]]) -> bool:
    """Whether a route shows other next hops than the object it points at."""
    if "nhid" not in route:
        return False
    found = nexthops.get(route["nhid"])
    if found is None:
        return True
    members = [nexthops[one["id"]] for one in found.get("group", [])] or [found]
    return frozenset(map(_hop, members)) != hops


def _interfaces(links: list[dict[str, Any]]) -> tuple[Interface, ...]:
    return tuple(
        Interface(
            link["ifname"],
            {"UP", "LOWER_UP"} <= set(link["flags"]),
            tuple(
                ipaddress.ip_interface(f"{a['local']}/{a['prefixlen']}") for a in link["addr_info"]
            ),
        )
        for link in links
    )


class Watch:
    """`ip monitor route`, from `with` on.

    IPv4 routes that go with their nexthop object are not told, nor those of a link that goes down.
    """

    def __init__(self, host: namespace.Host) -> None:
        self._host = host
        self._marks = 0

    def __enter__(self) -> Self:
        self._log = f"monitor-{time.monotonic_ns()}.log"
        self._process = self._host.start("ip", "monitor", "route", log=self._log)
        self._mark()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    def _mark(self) -> None:
        """Wait until it shows what happens now; so all before has been shown."""
        self._marks += 1
        mark = f"198.18.0.{self._marks}"

        def shown() -> bool:
            # Again and again: what comes before it has subscribed is never shown.
            for verb in ("add", "del"):
                self._host.run("ip", "route", verb, "blackhole", mark, "proto", "static")
            return f"Deleted blackhole {mark} " in self._process.output()

        namespace.wait_until(shown, "the monitor of routes")

    def deleted(self) -> set[Prefix]:
        """The prefixes of our routes that were deleted until now."""
        self._mark()
        lines = re.findall(
            rf"(?m)^Deleted (?:\w+ )?([0-9a-f:.]+\S*) .*proto {PROTOCOL} .*metric {METRIC}",
            self._process.output(),
        )
        return {ipaddress.ip_network(text) for text in lines}


def inside(host: namespace.Host, work: Callable[[], T]) -> T:
    """Do something in a host's network namespace; a socket made there stays there."""

    def run() -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/proc/{host.pid}/ns/net").open("rb") as handle:
            if libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return work()

    # A namespace belongs to a thread, so it is one of its own.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


# --- a storm ------------------------------------------------------------------------------

_NEW, _DELETE = 24, 25
_REQUEST, _EXCLUSIVE, _CREATE = 0x1, 0x200, 0x400
_AT_ONCE = 500


def storm(host: namespace.Host, count: int) -> None:
    """Somebody makes that many routes (static blackholes in 172.16.0.0/12) and deletes them."""

    def blow() -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
            sock.bind((0, 0))
            for kind, flags in ((_NEW, _CREATE | _EXCLUSIVE), (_DELETE, 0)):
                requests = (_request(kind, flags, number) for number in range(count))
                while batch := b"".join(itertools.islice(requests, _AT_ONCE)):
                    sock.send(batch)

    inside(host, blow)


def _request(kind: int, flags: int, number: int) -> bytes:
    """One host route, as rtnetlink(7) wants it: main table, proto static, type blackhole."""
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, 4, 0, 6, 0)
    body += struct.pack("=HH", 8, 1) + struct.pack("!I", 0xAC100000 + number)
    return struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST, 0, 0) + body
