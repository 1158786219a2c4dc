"""Containers and routers of other make: BIRD and FRR reach containers and are reached.

And a restart of our daemon loses not one packet between them.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from lab import agent, namespace, peers

US, BIRD, FRR = "192.0.2.1", "192.0.2.11", "192.0.2.12"


class Site:
    """Our host, a BIRD router in our AS and an FRR router in another, on one switch."""

    def __init__(self, lab: namespace.Lab) -> None:
        self.host = lab.host("a")
        routers = {name: lab.host(name) for name in ("bird", "frr")}
        ports = [(self.host, US), (routers["bird"], BIRD), (routers["frr"], FRR)]
        lab.segment(*(namespace.Port(host, "eth1", (f"{ip}/24",)) for host, ip in ports))
        self.bird = peers.Bird(routers["bird"], _speaker(BIRD, 64512, "10.11.0.0/24"))
        self.frr = peers.Frr(routers["frr"], _speaker(FRR, 64513, "10.12.0.0/24"))
        for host, address in ((routers["bird"], "10.11.0.1/32"), (routers["frr"], "10.12.0.1/32")):
            host.run("ip", "address", "add", address, "dev", "lo")
        flags = ("--neighbor", BIRD, "--neighbor", f"{FRR},as=64513")
        self.agent = agent.Agent(self.host, "--host-interface", "eth1", "--as", "64512", *flags)
        self.bird.start()
        self.frr.start()
        self.agent.start()
        self.agent.established(count=2)
        self.plugin = agent.Plugin(self.host)
        self.network = self.plugin.create_network("10.1.1.0/24", gateway="10.1.1.1/24")
        self.container = self.plugin.container(self.network, "10.1.1.2/24")


def _speaker(address: str, local_as: int, prefix: str) -> peers.Speaker:
    return peers.Speaker(
        local_as=local_as,
        router_id=address,
        neighbors=(peers.Neighbor(address=US, remote_as=64512),),
        originate=(prefix,),
        install=True,
    )


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The site, up, with one container."""
    with namespace.Lab() as lab:
        yield Site(lab)


def test_both_directions(site: Site) -> None:
    """Each router has our prefix by its own tool and in its kernel, and pings go both ways."""
    for router, prefix, own in (
        (site.bird, "10.11.0.0/24", "10.11.0.1"),
        (site.frr, "10.12.0.0/24", "10.12.0.1"),
    ):
        assert peers.wait_learned(router, "10.1.1.0/24").next_hop == US
        wait_route(router.host, "10.1.1.0/24")
        wait_route(site.host, prefix)
        assert router.host.ping("10.1.1.2"), "router to container"
        assert site.container.ping(own), "container to router's own address"


def wait_route(host: namespace.Host, prefix: str) -> None:
    """Wait for a prefix in a host's kernel."""

    def there() -> bool:
        return prefix in {route["dst"] for route in host.routes()}

    namespace.wait_until(there, f"{prefix} in the kernel of {host.name}")


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_restart_loses_no_packet(site: Site, how: str) -> None:
    """Graceful restart on BIRD and FRR: pings run through a kill -9, and through a SIGTERM."""
    routers = (site.bird, site.frr)
    for router in routers:
        wait_route(router.host, "10.1.1.0/24")
        assert router.host.ping("10.1.1.2")
    pings = [
        router.host.start("ping", "-n", "-i", "0.05", "10.1.1.2", log=f"ping-{how}.log")
        for router in routers
    ]
    getattr(site.agent, how)()
    site.agent.start()
    site.agent.established(count=2)
    for router in routers:
        peers.wait_established(router, US)
        peers.wait_learned(router, "10.1.1.0/24")
    for ping in pings:
        ping.signal(signal.SIGINT)
        ping.wait()
        assert " 0% packet loss" in ping.output(), ping.tail(4)


def test_withdrawn_with_the_network(site: Site) -> None:
    """`docker network rm`: both routers forget the prefix, by their own word."""
    site.container.remove()
    site.plugin.delete_network(site.network)

    for router in (site.bird, site.frr):
        peers.wait_forgotten(router, "10.1.1.0/24")
