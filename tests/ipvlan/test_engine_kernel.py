"""`--engine kernel`: a routing daemon on the host speaks BGP, with the recipes of our documentation.

What is announced reaches the other host's kernel and containers, in both families, and goes
with what it was for. And a restart of our daemon loses nothing.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from lab import agent, namespace
from tests.ipvlan import recipes

A, B = "192.0.2.1", "192.0.2.2"
DAEMONS: dict[str, type[recipes.Bird | recipes.Frr]] = {"BIRD": recipes.Bird, "FRR": recipes.Frr}
STRETCHED: Any = {"bgp.advertise": "endpoint", "bgp.start_gate": "require"}
SILENT: Any = {"bgp.advertise": "none"}


class Site:
    """Two hosts on a wire, each with a routing daemon beside ours, and a network on each."""

    def __init__(self, lab: namespace.Lab, name: str) -> None:
        self.name = name
        self.hosts = lab.host("a"), lab.host("b")
        one, two = (
            namespace.Port(host, "eth1", (f"192.0.2.{n}/24", f"2001:db8::{n}/64"))
            for n, host in enumerate(self.hosts, 1)
        )
        lab.wire(one, two)
        self.daemons: list[recipes.Bird | recipes.Frr] = []
        self.agents = [self._boot(host, other=host is self.hosts[1]) for host in self.hosts]
        self.plugins = [agent.Plugin(host) for host in self.hosts]
        self.containers = [self._subnet(n, plugin) for n, plugin in enumerate(self.plugins, 1)]

    def _boot(self, host: namespace.Host, *, other: bool) -> agent.Agent:
        for family in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            host.run("sh", "-c", f"echo 1 >/proc/sys/net/{family}")
        for command in recipes.commands(self.name):
            host.run(*command)
        ours = agent.Agent(host, *recipes.flags(self.name))
        ours.start()
        self.daemons.append(DAEMONS[self.name](host, other=other))
        self.daemons[-1].start()
        return ours

    def _subnet(self, number: int, plugin: agent.Plugin) -> agent.Container:
        network = plugin.create_network(
            f"10.1.{number}.0/24",
            f"2001:db8:{number}::/64",
            gateway=f"10.1.{number}.1/24",
            gateway6=f"2001:db8:{number}::1/64",
        )
        return plugin.container(network, f"10.1.{number}.2/24", f"2001:db8:{number}::2/64")


@pytest.fixture(scope="module", params=list(DAEMONS))
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """The site, up."""
    with namespace.Lab() as lab:
        yield Site(lab, request.param)


def prefixes(host: namespace.Host) -> set[str]:
    """What leads to the other host, by its kernel's word."""
    via = {A, B, "2001:db8::1", "2001:db8::2"}
    found = set()
    for family in (4, 6):
        for route in host.routes(family=family):
            hops = {hop.get("gateway") for hop in (route, *route.get("nexthops", ()))}
            if hops & via or any(str(hop).startswith("fe80:") for hop in hops):
                found.add(route["dst"])
    return found


def wait(host: namespace.Host, *wanted: str) -> None:
    """Wait until exactly these are known there."""
    namespace.wait_until(
        lambda: prefixes(host) == set(wanted), f"{wanted} on {host.name}, not {prefixes(host)}"
    )


def subnet(number: int) -> tuple[str, str]:
    """The subnets of a host."""
    return f"10.1.{number}.0/24", f"2001:db8:{number}::/64"


def test_both_directions(site: Site) -> None:
    """Subnets and nothing else are known; containers reach containers, and both hosts."""
    a, b = site.hosts
    wait(b, *subnet(1))
    wait(a, *subnet(2))
    one, two = site.containers
    for target in ("10.1.2.2", "2001:db8:2::2", B, "2001:db8::2", "10.1.1.1", "2001:db8:1::1"):
        assert one.ping(target), target
    for target in ("10.1.1.2", "2001:db8:1::2", A, "2001:db8::1"):
        assert two.ping(target), target
    for target in ("10.1.1.2", "2001:db8:1::2", "10.1.2.2", "2001:db8:2::2"):
        assert a.ping(target), target


def test_status_says_who_speaks(site: Site) -> None:
    """There is no neighbour and no warning, and all is known from the start."""
    status = site.agents[0].ask("status")
    assert status["synced"]
    assert status["neighbors"] == {"configured": 0, "established": 0}
    assert [w for w in site.agents[0].warnings() if "no-default-route" not in w] == []


def test_subnet_of_the_other_host(site: Site) -> None:
    """What the routing daemon has learned is refused at creation, whichever table is ours."""
    wait(site.hosts[0], *subnet(2))
    for taken in subnet(2):
        with pytest.raises(agent.PluginError, match="foreign-route"):
            site.plugins[0].create_network(taken)
    site.plugins[0].delete_network(site.plugins[0].create_network("10.1.3.0/24"))


def test_endpoints_of_a_stretched_subnet(site: Site) -> None:
    """One subnet on both hosts: each container's address from Join to Leave, and not one more."""
    networks = [
        plugin.create_network(
            "10.9.0.0/24",
            "2001:db8:9::/64",
            gateway="10.9.0.1/24",
            gateway6="2001:db8:9::1/64",
            **STRETCHED,
        )
        for plugin in site.plugins
    ]
    one, two = (
        plugin.container(network, f"10.9.0.{n}/24", f"2001:db8:9::{n}/64")
        for n, (plugin, network) in enumerate(zip(site.plugins, networks, strict=True), 11)
    )
    a, b = site.hosts
    wait(b, *subnet(1), "10.9.0.11", "2001:db8:9::11")
    wait(a, *subnet(2), "10.9.0.12", "2001:db8:9::12")
    for target in ("10.9.0.12", "2001:db8:9::12", "10.1.2.2"):
        assert one.ping(target), target
    assert a.ping("10.9.0.11"), "the host to its own container"
    assert b.ping("10.9.0.11"), "and the other one"

    one.remove()
    wait(b, *subnet(1))
    two.remove()
    wait(a, *subnet(2))
    for plugin, network in zip(site.plugins, networks, strict=True):
        plugin.delete_network(network)


def test_announced_and_not(site: Site) -> None:
    """No address of a network that is not announced, and no route of the administrator's, is.

    The host itself has routes to both.
    """
    site.hosts[0].run("ip", "route", "add", "blackhole", "10.66.0.0/24")
    plugin = site.plugins[0]
    network = plugin.create_network("10.8.0.0/24", gateway="10.8.0.1/24", **SILENT)
    silent = plugin.container(network, "10.8.0.2/24")
    # What is made later is there: so what was made before would be.
    later = plugin.create_network("10.7.0.0/24", gateway="10.7.0.1/24")
    wait(site.hosts[1], *subnet(1), "10.7.0.0/24")
    assert site.hosts[0].ping("10.8.0.2")

    silent.remove()
    plugin.delete_network(network)
    plugin.delete_network(later)
    wait(site.hosts[1], *subnet(1))


@contextlib.contextmanager
def no_loss(site: Site) -> Iterator[None]:
    """Pings between the containers that run meanwhile are all answered."""
    name = site.containers[0].name
    inside = ("nsenter", f"--net=/run/netns/{name}", "--", "ping", "-n", "-i", "0.05")
    pings = [
        site.hosts[0].start(*inside, target, log=f"ping-{n}.log")
        for n, target in enumerate(("10.1.2.2", "2001:db8:2::2"))
    ]
    namespace.wait_until(lambda: all("icmp_seq=3 " in ping.output() for ping in pings), "pings")
    yield
    for ping in pings:
        ping.signal(signal.SIGINT)
        ping.wait()
        assert " 0% packet loss" in ping.output(), ping.tail(4)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_restart_loses_no_packet(site: Site, how: str) -> None:
    """A kill -9, and a SIGTERM, of our daemon: the other host notices nothing."""
    with no_loss(site):
        ours = site.agents[1]
        getattr(ours, how)()
        wait(site.hosts[0], *subnet(2))
        ours.start()
        namespace.wait_until(lambda: ours.ask("status")["synced"], "synced")
        wait(site.hosts[0], *subnet(2))


def test_restart_of_the_routing_daemon(site: Site) -> None:
    """A kill -9 of that: by graceful restart and what it leaves in the kernel nothing is lost."""
    a, b = site.hosts
    with no_loss(site):
        site.daemons[1].kill()
        site.daemons[1].start(restarting=True)
        # It takes part again: what is new comes through, in both directions.
        networks = [
            plugin.create_network(f"10.7.{n}.0/24", gateway=f"10.7.{n}.1/24")
            for n, plugin in enumerate(site.plugins, 1)
        ]
        wait(a, *subnet(2), "10.7.2.0/24")
        wait(b, *subnet(1), "10.7.1.0/24")
        for plugin, network in zip(site.plugins, networks, strict=True):
            plugin.delete_network(network)
        wait(a, *subnet(2))
        wait(b, *subnet(1))


def test_moved(site: Site) -> None:
    """A container moves: where its address comes up is where it is, though still announced elsewhere."""
    networks = [
        plugin.create_network("10.9.0.0/24", gateway="10.9.0.1/24", **STRETCHED)
        for plugin in site.plugins
    ]
    a, b = site.hosts
    old = site.plugins[0].container(networks[0], "10.9.0.11/24")
    wait(b, *subnet(1), "10.9.0.11")
    new = site.plugins[1].container(networks[1], "10.9.0.11/24")
    # At once: what is here is not elsewhere, whatever is still announced there.
    wait(b, *subnet(1))
    old.remove()
    wait(a, *subnet(2), "10.9.0.11")
    wait(b, *subnet(1))
    # With a rule before the main table the old host's blackhole is in the way, until it goes.
    namespace.wait_until(lambda: a.ping("10.9.0.11"), "the container in its new place")
    assert site.containers[0].ping("10.9.0.11")

    new.remove()
    wait(a, *subnet(2))
    for plugin, network in zip(site.plugins, networks, strict=True):
        plugin.delete_network(network)


def test_drained(site: Site) -> None:
    """`drain` takes everything away from the other host, over a restart too; `undrain` brings it back."""
    ours, other = site.agents[1], site.hosts[0]
    ours.run("drain")
    wait(other)
    ours.kill()
    ours.start()
    wait(other)
    ours.run("undrain")
    wait(other, *subnet(2))


def test_with_a_host_that_speaks_itself() -> None:
    """One host with BIRD, the other with our own speaker: they reach each other's containers.

    And neither makes a network that the other one has.
    """
    with namespace.Lab() as lab:
        a, b = hosts = lab.host("a"), lab.host("b")
        lab.wire(namespace.Port(a, "eth1", (f"{A}/24",)), namespace.Port(b, "eth1", (f"{B}/24",)))
        kernel = agent.Agent(a, *recipes.flags("BIRD"))
        own = ("--host-interface", "eth1", "--as", "64512", "--neighbor", A)
        speaker = agent.Agent(b, *own)
        for one in (kernel, speaker):
            one.start()
        recipes.Bird(a).start()
        speaker.established()
        containers = []
        for n, host in enumerate(hosts, 1):
            plugin = agent.Plugin(host)
            network = plugin.create_network(f"10.1.{n}.0/24", gateway=f"10.1.{n}.1/24")
            containers.append(plugin.container(network, f"10.1.{n}.2/24"))
        wait(a, "10.1.2.0/24")
        wait(b, "10.1.1.0/24")
        assert containers[0].ping("10.1.2.2")
        assert containers[1].ping("10.1.1.2")
        with pytest.raises(agent.PluginError, match=f"{A} already announces"):
            agent.Plugin(b).create_network("10.1.1.0/25", gateway="10.1.1.1/25")
        with pytest.raises(agent.PluginError, match="proto bird"):
            agent.Plugin(a).create_network("10.1.2.0/24", gateway="10.1.2.1/24")


def test_network_removed(site: Site) -> None:
    """`docker network rm`: the routes go from the other host."""
    container = site.containers[1]
    network = container.ids["NetworkID"]
    container.remove()
    site.plugins[1].delete_network(network)
    wait(site.hosts[0])
