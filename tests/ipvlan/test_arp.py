"""A container's packets for which there is no route: who is asked for them on the LAN?

The kernel of the User-mode Linux guests cannot filter ARP. There the daemon has to say so, and
the kernel asks; on any other kernel with ipvlan the filter is seen to work.
"""

from __future__ import annotations

import itertools

from lab import agent, arpwatch, namespace
from tests.ipvlan.conftest import HOSTS, B

_nobody = itertools.count(100)
"""Last octets of addresses on the wire that nobody has and nobody was asked for yet."""
SUBNET, FREE = "10.1.9.0/24", "10.1.9.77"


def warned(one: agent.Agent, reason: str) -> bool:
    """Whether status warns of something."""
    return any(f"[{reason}]" in text for text in one.ask("status")["warnings"])


def wait_filter(one: agent.Agent, addresses: int) -> None:
    """Wait until ARP for so many addresses is dropped, or there is a reason why it is not."""

    def there() -> bool:
        found = one.ask("status")["arp_filter"]
        return found["reason"] is not None or found["addresses"] == addresses

    namespace.wait_until(there, f"the ARP filter of {one.host.name}")


def asked(hosts: HOSTS, watch: arpwatch.ArpWatch) -> set[str]:
    """Whom a has asked for up to now."""
    last = f"192.0.2.{next(_nobody)}"
    argv = ("ping", "-n", "-c", "1", "-W", "0.1", "-I", "eth1", last)
    hosts[0].host.run(*argv, check=False)
    return watch.asked(until=last)


def create(plugin: agent.Plugin, advertise: str, **options: str) -> str:
    """The subnet on one more host."""
    given = {"bgp.advertise": advertise} | options
    return plugin.create_network(SUBNET, gateway="10.1.9.1/24", **given)  # type: ignore[arg-type]


def wait_route(host: namespace.Host, prefix: str, family: int = 4) -> None:
    """Wait until a host has learned a prefix."""

    def there() -> bool:
        routes = host.routes("proto", "179", family=family)
        return any(r["dst"] == prefix and "gateway" in r for r in routes)

    namespace.wait_until(there, f"{prefix} on {host.name}")


def test_an_address_that_nobody_has(
    hosts: HOSTS, plugins: tuple[agent.Plugin, agent.Plugin]
) -> None:
    """Nobody is asked for it on the LAN, or status says why; whoever is there is reached."""
    left = plugins[0].container(create(plugins[0], "both"), "10.1.9.2/24")
    beside = plugins[0].container(left.ids["NetworkID"], "10.1.9.4/24")
    plugins[1].container(create(plugins[1], "both"), "10.1.9.3/24")
    wait_route(hosts[0].host, "10.1.9.3")
    wait_route(hosts[1].host, "10.1.9.2")
    wait_filter(hosts[0], 256)

    with arpwatch.ArpWatch(hosts[1].host, "eth1") as watch:
        assert not left.ping(FREE, timeout=0.3)
        seen = asked(hosts, watch)

    assert (FREE in seen) is warned(hosts[0], "no-arp-filter")
    assert left.ping("10.1.9.3"), "a container elsewhere in the same subnet"
    assert left.ping("10.1.9.4"), "one on the same host"
    assert beside.ping("10.1.9.1"), "the host itself"
    assert left.ping(B), "another host"
    assert hosts[0].host.ping("10.1.9.3")


def test_an_address_that_left(hosts: HOSTS, plugins: tuple[agent.Plugin, agent.Plugin]) -> None:
    """With `endpoint`, while it lingers: nobody on the LAN can step into its place."""
    network = create(plugins[0], "endpoint", host_access="off")
    gone = plugins[0].container(network, "10.1.9.2/24")
    stays = plugins[0].container(network, "10.1.9.4/24")
    wait_filter(hosts[0], 2)
    gone.remove()

    with arpwatch.ArpWatch(hosts[1].host, "eth1") as watch:
        assert not stays.ping("10.1.9.2", timeout=0.3)
        seen = asked(hosts, watch)

    assert ("10.1.9.2" in seen) is warned(hosts[0], "no-arp-filter")


def test_no_default_route(hosts: HOSTS, plugins: tuple[agent.Plugin, agent.Plugin]) -> None:
    """The log and status say that the LAN is asked for the rest of the world, until there is one."""
    host = hosts[0].host
    assert not warned(hosts[0], "no-default-route"), "nobody is concerned"
    network = plugins[0].create_network("10.1.8.0/24", gateway="10.1.8.1/24")
    container = plugins[0].container(network, "10.1.8.2/24")
    namespace.wait_until(lambda: warned(hosts[0], "no-default-route"), "the warning")
    assert "parent=eth1 reason=no-default-route" in hosts[0].log()
    with arpwatch.ArpWatch(hosts[1].host, "eth1") as watch:
        assert not container.ping("203.0.113.9", timeout=0.3)
        assert "203.0.113.9" in asked(hosts, watch), "or else the warning has no reason"

    host.run("ip", "route", "add", "default", "via", B)

    namespace.wait_until(lambda: not warned(hosts[0], "no-default-route"), "the warning to go")
    host.run("ip", "route", "del", "default", "via", B)
    namespace.wait_until(lambda: warned(hosts[0], "no-default-route"), "the warning again")


def test_ipv6_asks_nobody(hosts: HOSTS, plugins: tuple[agent.Plugin, agent.Plugin]) -> None:
    """Why there is no such filter for IPv6: a blackhole is one there."""
    network = plugins[0].create_network(
        "10.1.8.0/24", "2001:db8:8::/64", gateway="10.1.8.1/24", gateway6="2001:db8:8::1/64"
    )
    container = plugins[0].container(network, "10.1.8.2/24", "2001:db8:8::2/64")
    wait_route(hosts[1].host, "2001:db8:8::/64", 6)
    counter = ("cat", "/proc/net/dev_snmp6/eth1")

    def solicited() -> int:
        lines = hosts[0].host.run(*counter).stdout.splitlines()
        fields = dict(line.split()[:2] for line in lines)
        return int(fields["Icmp6OutNeighborSolicits"])

    assert container.ping("2001:db8::2"), "neighbors that are there are asked for"
    before = solicited()

    assert not container.ping("2001:db8:8::77", timeout=0.3)
    assert not container.ping("2001:db8:9::1", timeout=0.3)

    assert solicited() == before
