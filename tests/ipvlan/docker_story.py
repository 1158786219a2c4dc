"""A container's life through a real dockerd on real ipvlan, for any Docker version.

Told once here and run for each version in a module of its own, so that the guests that the
tests are dealt to run them side by side. Starting a container takes 8 s there, so it is one
story and not many.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lab import agent, dockerhost, namespace

A, B = "192.0.2.1", "192.0.2.2"


class Site:
    """Host a with Docker and our daemon; host b with our daemon and a container by hand."""

    def __init__(self, lab: namespace.Lab, engine: dockerhost.Engine) -> None:
        self.a, self.b = lab.host("a"), lab.host("b")
        lab.wire(
            namespace.Port(self.a, "eth1", (f"{A}/24",)),
            namespace.Port(self.b, "eth1", (f"{B}/24",)),
        )
        flags = ("--host-interface", "eth1", "--as", "64512", "--debug", "--neighbor")
        self.agent = agent.Agent(self.a, *flags, B, "--ipvlan-subnet", "10.1.0.0/22")
        self.other = agent.Agent(self.b, *flags, A)
        self.agent.start()
        self.other.start()
        self.docker = dockerhost.Docker(self.a, engine)
        self.docker.start()
        self.agent.established()
        self.plugin = agent.Plugin(self.b)
        network = self.plugin.create_network("10.1.2.0/24", gateway="10.1.2.1/24")
        self.remote = self.plugin.container(network, "10.1.2.2/24")

    def routes_on_b(self) -> set[str]:
        """What b has learned, and its own."""
        return {route["dst"] for route in self.b.routes("proto", "179")}

    def wait_on_b(self, prefix: str, *, there: bool) -> None:
        """Wait until b knows a prefix, or no more."""
        namespace.wait_until(
            lambda: (prefix in self.routes_on_b()) is there, f"{prefix} on b: {there}"
        )


@contextlib.contextmanager
def site(engine: dockerhost.Engine) -> Iterator[Site]:
    """Both hosts, up."""
    with namespace.Lab() as lab:
        yield Site(lab, engine)


def whole_life(site: Site, *, gateway_check: bool) -> None:
    """Create, run, reach, stop, start again, remove: each step seen from the other host.

    Args:
        site: the hosts.
        gateway_check: this Docker asks GwAllocCheck.
    """
    docker = site.docker
    create = ("network", "create", "-d", "bgp-ipvlan", "--subnet", "10.1.1.0/24")
    docker.run(*create, "-o", "parent=eth1", "web")
    site.wait_on_b("10.1.1.0/24", there=True)
    asked = "call=NetworkDriver.GwAllocCheck" in site.agent.log()
    assert gateway_check is asked

    docker.run(
        "run",
        "-d",
        "--name",
        "one",
        "--network",
        "web",
        "-p",
        "8080:80",
        "busybox",
        "sleep",
        "3600",
    )
    address = docker.inspect("container", "one")["NetworkSettings"]["Networks"]["web"]["IPAddress"]
    assert address == "10.1.1.2", "the first container never gets the host's own address"
    assert site.remote.ping(address)
    docker.run("exec", "one", "ping", "-c", "1", "-W", "3", "10.1.2.2")
    namespace.wait_until(lambda: own_routes(site, address), "the container's host route")
    assert site.a.ping(address), "a host and its own container"
    docker.run("exec", "one", "ping", "-c", "1", "-W", "3", "10.1.1.1")
    assert "reason=ports-ignored" in site.agent.log()
    assert any("ports-ignored" in warning for warning in site.agent.ask("status")["warnings"])
    links = docker.run("exec", "one", "ip", "link")
    assert "eth0" in links
    assert "eth1" not in links, "docker_gwbridge must not be attached"

    refused = docker.refused(
        "run", "--rm", "--network", "web", "--ip", "10.1.1.1", "busybox", "true"
    )
    assert "in use" in refused, refused

    mac = ("run", "--rm", "--network", "web", "--mac-address", "02:42:ac:11:00:02")
    assert "[mac-address]" in docker.refused(*mac, "busybox", "true")

    # A restart of dockerd, which forgets nothing and replays nothing to us.
    docker.run("stop", "-t", "0", "one")
    namespace.wait_until(lambda: not own_routes(site, "10.1.1.2"), "the host route to be gone")
    assert not [name for name in site.a.links() if name.startswith("bi") and name != shim(site)]
    docker.stop()
    docker.start()
    docker.run("start", "one")
    assert site.remote.ping("10.1.1.2")

    docker.run("network", "disconnect", "web", "one")
    assert not site.remote.ping("10.1.1.2", timeout=0.5)
    docker.run("network", "connect", "web", "one")
    assert site.remote.ping("10.1.1.2")

    docker.run("rm", "-f", "one")
    docker.run("network", "rm", "web")
    site.wait_on_b("10.1.1.0/24", there=False)
    assert {"lo", "eth1"} == {n for n in site.a.links() if not n.startswith("docker")}
    assert site.agent.ask("networks")["networks"] == []


def own_routes(site: Site, prefix: str) -> list[dict[str, object]]:
    """Routes of ours on a for one prefix."""
    return [route for route in site.a.routes("proto", "179") if route["dst"] == prefix]


def shim(site: Site) -> str:
    """Name of the only network's shim."""
    (network,) = site.agent.ask("networks")["networks"]
    return "bi" + str(network["id"])[:12]


def dockerd_killed(site: Site) -> None:
    """Kill -9 of dockerd: its container goes on, and after its end the endpoint is found gone."""
    docker = site.docker
    create = ("network", "create", "-d", "bgp-ipvlan", "--subnet", "10.1.1.0/24")
    docker.run(*create, "web")
    docker.run("run", "-d", "--name", "two", "--network", "web", "busybox", "sleep", "3600")
    assert site.remote.ping("10.1.1.2")
    docker.kill()
    assert site.remote.ping("10.1.1.2"), "the container needs no dockerd to be reached"
    docker.start()
    docker.run("rm", "-f", "two")
    docker.run("network", "rm", "web")
    site.wait_on_b("10.1.1.0/24", there=False)


def own_addresses(site: Site) -> None:
    """No --subnet: ours, past what b announces; a host route per container; restarts; rm."""
    docker = site.docker
    create = ("network", "create", "-d", "bgp-ipvlan", "--ipam-driver", "bgp-ipvlan")
    half = ("--ipam-opt", "prefix-length=23")
    docker.run(*create, *half, "-o", "bgp.advertise=endpoint", "web")
    refused = docker.refused(*create, *half, "more")
    assert "[pool-in-use]" in refused, "the other half has 10.1.2.0/24 of b in it"
    docker.run("run", "-d", "--name", "three", "--network", "web", "busybox", "sleep", "3600")
    site.wait_on_b("10.1.0.2", there=True)
    assert site.remote.ping("10.1.0.2")
    site.agent.kill()
    site.agent.start()
    site.agent.established()
    # Docker does not tell us of it again, and it is nobody else's.
    other = docker.run("run", "--rm", "--network", "web", "busybox", "ip", "address")
    assert "10.1.0.3/23" in other, other
    assert site.remote.ping("10.1.0.2")
    docker.run("rm", "-f", "three")
    docker.run("network", "rm", "web")
    site.wait_on_b("10.1.0.2", there=False)
    docker.run(*create, *half, "web")
    assert docker.inspect("network", "web")["IPAM"]["Config"][0]["Subnet"] == "10.1.0.0/23"
    docker.run("network", "rm", "web")
