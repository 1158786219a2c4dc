"""What is in a host's FIB, seen from outside, in a way that does not slow who fills it.

No listener: one that hears of each route costs the writer a quarter and more of its speed.
The last prefix is asked for every two milliseconds, which takes the kernel microseconds and
no lock that the writer needs; only when it is there (or gone) all are counted.

Counting IPv4 means /proc/net/fib_triestat: the kernel walks the table for it, 3 ms for
100,000 routes. IPv6 has a counter, /proc/net/rt6_stats.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from bench import netlink, program, wire
from lab import namespace

_POLL = 0.002
_SHARE = 10
"""Counting takes at most a tenth of the time."""


class Fib:
    """The main table of one IP version on one host.

    Args:
        host: whose.
        version: 4 or 6.
    """

    def __init__(self, host: namespace.Host, version: int) -> None:
        self._host, self._version = host, version
        self._socket = netlink.open_socket(host)
        self._before = self.count()

    def close(self) -> None:
        """Ask no more."""
        self._socket.close()

    def full(self, routes: int, alive: Callable[[], bool]) -> float:
        """Wait until the sender's prefixes 0 to `routes` - 1 are in; when that was.

        Args:
            routes: how many.
            alive: whether there is still hope.

        Raises:
            namespace.LabError: they do not come.
        """
        last = wire.address(routes - 1, version=self._version)
        self._wait(lambda: self.has(last), _POLL, alive, "the last route")
        wanted = self._before + routes
        return self._counted(lambda count: count >= wanted, alive)

    def empty(self, routes: int, alive: Callable[[], bool]) -> float:
        """Wait until they are gone, and a dump shows none of them; when that was.

        Raises:
            namespace.LabError: they do not go.
        """
        for number in (routes - 1, 0):
            one = wire.address(number, version=self._version)
            self._wait(lambda one=one: not self.has(one), _POLL, alive, "routes to go")  # type: ignore[misc]
        self._counted(lambda count: count <= self._before, alive)
        found = self.dump()
        seen = time.monotonic()
        left = found & {wire.address(n, version=self._version) for n in range(routes)}
        if left:
            raise namespace.LabError(f"{len(left)} routes are still there, says a dump")
        return seen

    def has(self, address: bytes) -> bool:
        """Whether there is a route for a host."""
        self._socket.send(netlink.question(address))
        return any(k == netlink.NEWROUTE for k, _ in netlink.messages(self._socket.recv(1 << 16)))

    def count(self) -> int:
        """Routes of all kinds."""
        network = Path(f"/proc/{self._host.pid}/net")
        if self._version == 6:
            return int((network / "rt6_stats").read_text().split()[3], 16)
        found = re.search(
            r"Main:.*?Prefixes:\s+(\d+)", (network / "fib_triestat").read_text(), re.DOTALL
        )
        assert found is not None
        return int(found.group(1))

    def dump(self) -> set[bytes]:
        """The destinations of all routes, as the kernel lists them."""
        family = netlink.family(wire.address(0, version=self._version))
        body = netlink.ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        self._socket.send(netlink.message(netlink.GETROUTE, netlink.DUMP, body))
        found: set[bytes] = set()
        while True:
            for kind, body in netlink.messages(self._socket.recv(1 << 20)):
                if kind == netlink.DONE:
                    return found
                found.add(netlink.destination(body))

    def _counted(self, enough: Callable[[int], bool], alive: Callable[[], bool]) -> float:
        start = time.monotonic()
        found = enough(self.count())
        seen = time.monotonic()
        if found:
            return seen
        pause = max(_POLL, (_SHARE - 1) * (seen - start))
        self._wait(lambda: enough(self.count()), pause, alive, "the rest")
        return time.monotonic()

    def _wait(
        self, there: Callable[[], bool], pause: float, alive: Callable[[], bool], what: str
    ) -> None:
        deadline = time.monotonic() + program.TIMEOUT
        while not there():
            if time.monotonic() > deadline or not alive():
                raise namespace.LabError(
                    f"waited in vain for {what} on {self._host.name}; {self.count()} are there"
                )
            time.sleep(pause)
