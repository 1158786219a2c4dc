"""Daemon and gobgpd in containers: containers of two hosts reach each other, also meanwhile."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Iterator

import pytest

from lab import image, image_agent, namespace, process, require

A, B = "192.0.2.1", "192.0.2.2"
ONE, TWO = "10.1.1.2", "10.1.2.2"
"""The first container of each host."""


class Site:
    """Two hosts on a wire, each with a dockerd that has our images and runs our daemon.

    That of a has a gobgpd speak BGP, in a container as well; that of b speaks it itself.
    """

    def __init__(self, lab: namespace.Lab) -> None:
        self.a, self.b = lab.host("a"), lab.host("b")
        lab.wire(
            namespace.Port(self.a, "eth1", (f"{A}/24",)),
            namespace.Port(self.b, "eth1", (f"{B}/24",)),
        )
        self.dockers = image.Docker(self.a), image.Docker(self.b)
        for docker in self.dockers:
            docker.start()
        image_agent.Gobgpd(self.dockers[0], A).start()
        self.agents = (
            image_agent.Agent(self.dockers[0], B, *image_agent.Gobgpd.FOR_AGENT),
            image_agent.Agent(self.dockers[1], A),
        )
        for agent in self.agents:
            agent.start()
        self.agents[0].established()

    def learned_on_b(self, prefix: str) -> bool:
        """Whether b has a route for it."""
        return prefix in {route["dst"] for route in self.b.routes("proto", "179")}


@pytest.fixture
def site() -> Iterator[Site]:
    """Both hosts, up."""
    if not image.store().exists():
        text = "the images are not built: python -m lab.image"
        if require.in_ci():
            pytest.fail(text, pytrace=False)
        pytest.skip(text)
    with namespace.Lab() as lab:
        yield Site(lab)


@contextlib.contextmanager
def pinging(docker: image.Docker, container: str, address: str) -> Iterator[process.Process]:
    """A container pings all the while, twenty times a second."""
    pid = docker.inspect("container", container)["State"]["Pid"]
    inside = ("nsenter", f"--target={pid}", "--net", "--")
    ping = docker.host.start(
        *inside, "ping", "-n", "-i", "0.05", address, log=f"ping-{container}.log"
    )
    namespace.wait_until(lambda: "icmp_seq=" in ping.output(), f"the first answer from {address}")
    yield ping
    ping.signal(signal.SIGINT)
    ping.wait()


def answered(ping: process.Process) -> tuple[int, int]:
    """How many were sent, and how many answers came."""
    found = re.search(r"(\d+) packets transmitted, (\d+) received", ping.output())
    assert found, ping.tail()
    return int(found[1]), int(found[2])


def test_containers_reach_each_other(site: Site) -> None:
    """Across hosts; no packet is lost while the daemons' containers are made anew."""
    here, there = site.dockers
    for docker, subnet in ((here, "10.1.1.0/24"), (there, "10.1.2.0/24")):
        docker.run("network", "create", "-d", "bgp-ipvlan", "--subnet", subnet, "web")
        docker.run("run", "-d", "--name", "box", "--network", "web", "busybox", "sleep", "3600")
    namespace.wait_until(lambda: site.learned_on_b("10.1.1.0/24"), "a's subnet on b")
    here.run("exec", "box", "ping", "-c", "1", "-W", "3", TWO)
    assert site.a.ping(ONE), "a host and its own container"

    with pinging(here, "box", TWO) as one, pinging(there, "box", ONE) as two:
        for agent in site.agents:
            agent.kill()
            assert (agent.host.root / "run/docker/plugins/bgp-ipvlan.sock").is_socket()
            agent.start()
            agent.established()
    for ping in (one, two):
        sent, received = answered(ping)
        assert sent == received > 20, f"{sent - received} of {sent} lost"

    # They know networks and running containers again, whose namespaces are not their own.
    for agent, address in zip(site.agents, (ONE, TWO), strict=True):
        (network,) = agent.ask("networks")["networks"]
        assert [e["addresses"] for e in network["endpoints"]] == [[f"{address}/24"]]
    here.run("rm", "-f", "box")
    here.run("network", "rm", "web")
    namespace.wait_until(lambda: not site.learned_on_b("10.1.1.0/24"), "a's subnet to be gone")
