"""What is asked for on a wire, and what is believed of what others say there.

`ping -I eth1` looks up a route out of eth1, as ipvlan does for a container's packet.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import AsyncIterator, Iterator

import pytest

from bgp_ipvlan import errors
from bgp_ipvlan.kernel import arp
from lab import agent, arpwatch, namespace
from tests.netns import conftest

OURS, ALSO, NOT_OURS, LAST = "10.1.1.77", "10.9.0.5", "10.2.0.1", "192.0.2.99"
RANGES = [
    (int(ipaddress.IPv4Address("10.1.1.0")), int(ipaddress.IPv4Address("10.1.1.255"))),
    (int(ipaddress.IPv4Address(ALSO)), int(ipaddress.IPv4Address(ALSO))),
]
TABLE = ("nft", "list", "table", "arp", "bgp-ipvlan")


@pytest.fixture
def wire() -> Iterator[tuple[namespace.Host, namespace.Host]]:
    """Two hosts on two wires, the first one with a blackhole for 10.1.1.0/24."""
    with namespace.Lab() as lab:
        here, there = lab.host("here"), lab.host("there")
        for interface, subnet in (("eth1", "192.0.2"), ("eth2", "198.51.100")):
            lab.wire(
                namespace.Port(here, interface, (f"{subnet}.1/24",)),
                namespace.Port(there, interface, (f"{subnet}.2/24",)),
            )
        conftest.ip(here, "route add blackhole 10.1.1.0/24 proto 179 metric 17900")
        yield here, there


@contextlib.asynccontextmanager
async def started() -> AsyncIterator[arp.KernelArpFilter]:
    """The filter's adapter in this thread's namespace."""
    one = arp.KernelArpFilter()
    try:
        yield one
    finally:
        await one.close()


def ensure(host: namespace.Host, *interfaces: str, ranges: list[tuple[int, int]]) -> bool:
    """Have the filter, by an adapter that knows nothing yet."""

    async def main() -> bool:
        async with started() as one:
            return await one.ensure(interfaces, ranges)

    return conftest.inside(host, main)


def ask(host: namespace.Host, *addresses: str, interface: str = "eth1") -> None:
    """Send something to some addresses out of an interface; all are asked for or none."""
    for address in addresses:
        argv = ("ping", "-n", "-c", "1", "-W", "0.1", "-I", interface, address)
        host.run(*argv, check=False)


def test_asked_for_without_a_filter(wire: tuple[namespace.Host, namespace.Host]) -> None:
    """Why there is one: a blackhole does not stop the kernel from asking the LAN."""
    here, there = wire
    with arpwatch.ArpWatch(there, "eth1") as watch:
        ask(here, OURS, LAST)

        assert watch.asked(until=LAST) == {OURS, LAST}


def test_not_asked_for(wire: tuple[namespace.Host, namespace.Host]) -> None:
    """Ours are not asked for on that wire; others are, and ours on another wire."""
    here, there = wire
    assert ensure(here, "eth1", ranges=RANGES)
    with arpwatch.ArpWatch(there, "eth1") as one, arpwatch.ArpWatch(there, "eth2") as two:
        ask(here, OURS, ALSO, NOT_OURS, LAST)
        ask(here, OURS, "198.51.100.99", interface="eth2")

        assert one.asked(until=LAST) == {NOT_OURS, LAST}
        assert two.asked(until="198.51.100.99") == {OURS, "198.51.100.99"}
    assert here.ping("192.0.2.2")


def test_not_believed(wire: tuple[namespace.Host, namespace.Host]) -> None:
    """A machine there that says it had an address of ours gets no packet for it."""
    here, there = wire
    conftest.ip(there, f"address add {OURS}/32 dev eth1")

    def claimed() -> bool:
        # It has to ask for us first, and tells who it is.
        argv = ("ping", "-n", "-c", "1", "-W", "0.3", "-I", OURS, "192.0.2.1")
        there.run(*argv, check=False)
        neighbors = here.json("ip", "-j", "neighbor", "show", OURS, "dev", "eth1")
        conftest.ip(there, "neighbor flush dev eth1")
        return any("lladdr" in one for one in neighbors or [])

    assert claimed(), "without a filter"
    conftest.ip(here, "neighbor flush dev eth1")
    ensure(here, "eth1", ranges=RANGES)

    assert not claimed()


def test_somebody_flushes_all_rules(wire: tuple[namespace.Host, namespace.Host]) -> None:
    """A firewall's reload is noticed by the next look, and repaired; then nothing is to do."""
    here, _ = wire

    async def main() -> list[bool]:
        async with started() as one:
            made = [await one.ensure(("eth1",), RANGES)]
            for change in (
                "flush ruleset",
                "flush chain arp bgp-ipvlan output",
                "delete element arp bgp-ipvlan ours { 10.9.0.5 }",
                "add chain arp bgp-ipvlan output { policy drop; }",
                "add table arp bgp-ipvlan { flags dormant; }",
            ):
                here.run("nft", change)
                made.append(await one.ensure(("eth1",), RANGES))
                assert not await one.ensure(("eth1",), RANGES), change
        return made

    before = here.run("nft", "list", "ruleset").stdout
    ensure(here, "eth1", ranges=RANGES)
    first = here.run(*TABLE).stdout
    assert all(conftest.inside(here, main))

    assert before == ""
    assert here.run(*TABLE).stdout == first
    assert "10.1.1.0/24, 10.9.0.5" in first


def test_only_ours_is_touched(wire: tuple[namespace.Host, namespace.Host]) -> None:
    """Another table stays as it is; ours with a stranger's rule in it is left to him, and said."""
    here, _ = wire
    here.run("nft", "add table arp theirs; add chain arp theirs out; add rule arp theirs out drop")
    before = here.run("nft", "list", "ruleset").stdout
    ensure(here, "eth1", ranges=RANGES)
    assert ensure(here, "eth1", ranges=[])
    assert here.run("nft", "list", "ruleset").stdout == before
    ensure(here, "eth1", ranges=RANGES)
    here.run("nft", "add rule arp bgp-ipvlan output accept")
    mixed = here.run("nft", "list", "ruleset").stdout

    for ranges in (RANGES[:1], []):
        with pytest.raises(errors.KernelError) as caught:
            ensure(here, "eth1", ranges=ranges)
        assert caught.value.reason == "foreign-table"

    assert here.run("nft", "list", "ruleset").stdout == mixed


def test_taken_over_and_removed(wire: tuple[namespace.Host, namespace.Host]) -> None:
    """A new daemon makes what it finds of an old one its own; without prefixes nothing is left."""
    here, _ = wire
    ensure(here, "eth1", ranges=RANGES)

    assert ensure(here, "eth1", "eth2", ranges=RANGES[1:])
    shown = here.run(*TABLE).stdout
    assert "elements = { 10.9.0.5 }" in shown
    assert shown.count('oifname "eth1"') == shown.count('oifname "eth2"') == 1

    assert ensure(here, "eth1", ranges=[])
    assert not ensure(here, "eth1", ranges=[])
    assert here.run("nft", "list", "ruleset").stdout == ""


def test_cleanup(wire: tuple[namespace.Host, namespace.Host]) -> None:
    """`bgp-ipvlan cleanup` takes it away, and nobody else's; so does a daemon that has no networks."""
    here, _ = wire
    here.run("nft", "add table arp theirs")
    daemon = agent.Agent(here, "--as", "64512")

    ensure(here, "eth1", ranges=RANGES)
    assert "removed the ARP filter" in daemon.run("cleanup")
    assert here.run("nft", "list", "tables").stdout == "table arp theirs\n"

    ensure(here, "eth1", ranges=RANGES)
    daemon.start()
    namespace.wait_until(
        lambda: here.run("nft", "list", "tables").stdout == "table arp theirs\n",
        "the filter to be gone",
    )


def test_many_containers(wire: tuple[namespace.Host, namespace.Host]) -> None:
    """Each with an address that does not touch the next: more than one message holds."""
    here, there = wire
    first = int(ipaddress.IPv4Address("10.3.0.0"))
    assert ensure(here, "eth1", ranges=[(first + 2 * i, first + 2 * i) for i in range(3000)])

    with arpwatch.ArpWatch(there, "eth1") as watch:
        ask(here, "10.3.0.0", "10.3.0.1", "10.3.23.110", "10.3.23.111", LAST)

        assert watch.asked(until=LAST) == {"10.3.0.1", "10.3.23.111", LAST}
