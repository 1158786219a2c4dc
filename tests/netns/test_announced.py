"""The routes that a routing daemon reads: `kernel.announced` on a real kernel, `ip` as witness."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Iterable

import pytest

from bgp_ipvlan import model
from bgp_ipvlan.kernel import announced
from lab import agent, namespace
from tests.netns import conftest

OURS = ("10.1.1.0/24", "10.1.1.2/32", "2001:db8:1::/64", "2001:db8:1::2/128")
KEY = "proto 179 metric 17901"


def nets(texts: Iterable[str]) -> set[model.Prefix]:
    """As the adapter wants them."""
    return {ipaddress.ip_network(text) for text in texts}


def there(host: namespace.Host, table: str = "179") -> set[str]:
    """Blackholes of ours in a table, by `ip`."""
    found = set()
    for family, length in ((4, 32), (6, 128)):
        shown = host.run("ip", f"-{family}", "route", "show", "table", table, check=False).stdout
        for words in map(str.split, shown.splitlines()):
            if words[0] == "blackhole" and KEY in " ".join(words):
                found.add(words[1] if "/" in words[1] else f"{words[1]}/{length}")
    return found


class Watched:
    """The adapter, and whether it was told of others' hands."""

    def __init__(self, table: int) -> None:
        self.routes = announced.AnnouncedRoutes(table)
        self.touched = asyncio.Event()

    async def told(self) -> None:
        """Wait until it is."""
        async with asyncio.timeout(5):
            await self.touched.wait()
        self.touched.clear()


@contextlib.asynccontextmanager
async def started(table: int = announced.TABLE) -> AsyncIterator[Watched]:
    """The adapter in this thread's namespace."""
    one = Watched(table)
    await one.routes.start(one.touched.set)
    try:
        yield one
    finally:
        await one.routes.close()


@pytest.mark.parametrize("table", [announced.TABLE, model.MAIN])
def test_exactly_these(host: namespace.Host, table: int) -> None:
    """Routes come, go and stay as asked for, in both families; only differences are written."""

    async def main() -> None:
        async with started(table) as one:
            assert await one.routes.ensure(nets(OURS)) == (4, frozenset())
            assert there(host, str(table)) == set(OURS)
            assert await one.routes.ensure(nets(OURS)) == (0, frozenset())
            assert await one.routes.ensure(nets(OURS[1:])) == (1, frozenset())
            assert there(host, str(table)) == set(OURS[1:])
            assert await one.routes.ensure(()) == (3, frozenset())
            assert there(host, str(table)) == set()

    conftest.inside(host, main)


def test_what_an_earlier_run_left(host: namespace.Host) -> None:
    """It is taken over without being written, and goes when nobody wants it."""

    async def leave() -> None:
        async with started() as one:
            await one.routes.ensure(nets(OURS))

    async def again() -> tuple[int, frozenset[model.Prefix]]:
        async with started() as one:
            return await one.routes.ensure(nets(OURS[:2]))

    conftest.inside(host, leave)
    assert there(host) == set(OURS)
    assert conftest.inside(host, again) == (2, frozenset())
    assert there(host) == set(OURS[:2])


def test_cleared(host: namespace.Host) -> None:
    """What is left in either table goes, and nothing else."""
    stranger = "blackhole 10.3.0.0/24 proto 179 metric 5"
    for table in ("179", "main"):
        conftest.ip(host, f"route add {stranger} table {table}")

    async def main() -> int:
        for table in (announced.TABLE, model.MAIN):
            async with started(table) as one:
                await one.routes.ensure(nets(OURS))
        return await announced.clear()

    assert conftest.inside(host, main) == 8
    for table in ("179", "main"):
        assert there(host, table) == set()
        assert stranger in " ".join(host.run("ip", "route", "show", "table", table).stdout.split())


@pytest.mark.parametrize(
    ("flags", "table"),
    [
        (("--engine", "kernel", "--table", "17900"), "179"),
        (("--engine", "kernel"), "main"),
        (("--as", "64512"), "179"),
        (("--as", "64512"), "main"),
    ],
    ids=["another-table", "the-main-one-again", "embedded", "embedded-main"],
)
def test_succeeded(host: namespace.Host, flags: tuple[str, ...], table: str) -> None:
    """What was announced in another table, or with another engine, goes when the daemon is synced."""
    conftest.ip(host, f"route add blackhole 10.1.1.0/24 {KEY} table {table}")
    agent.Agent(host, *flags).start()
    namespace.wait_until(lambda: not there(host, table), "the table empty")


def test_not_before_others_have_heard(host: namespace.Host) -> None:
    """While a new engine waits for its neighbours the old announcement stands."""
    conftest.ip(host, f"route add blackhole 10.1.1.0/24 {KEY} table 179")
    one = agent.Agent(host, "--as", "64512", "--neighbor", "192.0.2.99")
    one.start()
    assert not one.ask("status")["synced"]
    assert there(host) == {"10.1.1.0/24"}


def test_more_than_one_send(host: namespace.Host) -> None:
    """Thousands are written, read back as they are, and deleted."""
    many = {ipaddress.ip_network((0x0A000000 + n, 32)) for n in range(3000)}

    async def main() -> None:
        async with started() as one:
            assert await one.routes.ensure(many) == (3000, frozenset())
            assert await one.routes.ensure(many) == (0, frozenset())
            assert len(there(host)) == 3000
            assert await one.routes.ensure(()) == (3000, frozenset())

    conftest.inside(host, main)


def test_strangers_stay(host: namespace.Host) -> None:
    """Others' routes in the table stay, also under our very key, which is told."""
    theirs = (
        "blackhole 10.2.0.0/24 proto static",
        "blackhole 10.3.0.0/24 proto 179 metric 5",
        "10.1.1.0/24 via 192.0.2.2 dev eth1 proto static metric 17901",
    )
    for route in theirs:
        conftest.ip(host, f"route add {route} table 179")

    async def main() -> None:
        async with started() as one:
            assert await one.routes.ensure(nets(OURS)) == (3, frozenset(nets(OURS[:1])))
            await one.routes.ensure(())

    conftest.inside(host, main)
    shown = host.run("ip", "route", "show", "table", "179").stdout
    assert {" ".join(line.split()) for line in shown.splitlines()} == set(theirs)


def test_others_hands(host: namespace.Host) -> None:
    """Deleted, changed or flushed by hand it is told, and put right; our own writing is not told."""

    async def main() -> None:
        async with started() as one:
            await one.routes.ensure(nets(OURS))
            conftest.ip(host, f"route del blackhole 10.1.1.0/24 {KEY} table 179")
            await one.told()
            assert await one.routes.ensure(nets(OURS)) == (1, frozenset())
            conftest.ip(host, f"route replace 10.1.1.2/32 dev eth1 {KEY} table 179")
            await one.told()
            assert await one.routes.ensure(nets(OURS)) == (1, frozenset())
            conftest.ip(host, "-6 route flush table 179")
            await one.told()
            assert await one.routes.ensure(nets(OURS)) == (2, frozenset())
            assert there(host) == set(OURS)
            conftest.ip(host, "route add blackhole 10.4.0.0/24 proto 179 metric 5 table 179")
            await one.routes.ensure(())
            # The kernel tells while it writes, so all there is to be heard has come.
            for _ in range(5):
                await asyncio.sleep(0)
            assert not one.touched.is_set(), "not by our own writing, nor by another metric"

    conftest.inside(host, main)
