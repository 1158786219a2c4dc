"""What a user of Docker is told when a network cannot be: through a real dockerd, both versions.

This kernel may have no ipvlan: every refusal but that one comes before anything is made.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import agent, dockerhost, namespace, newdocker, peers, require

US, ROUTER = "192.0.2.1", "192.0.2.254"


class Site:
    """A Docker host with our daemon, and a router (BIRD) that announces some prefixes."""

    def __init__(self, lab: namespace.Lab, engine: dockerhost.Engine) -> None:
        self.host, router = lab.host("a"), lab.host("router")
        lab.wire(
            namespace.Port(self.host, "eth1", (f"{US}/24",)),
            namespace.Port(router, "eth1", (f"{ROUTER}/24",)),
        )
        self.host.run("ip", "link", "add", "eth2", "type", "veth", "peer", "name", "eth3")
        neighbor = peers.Neighbor(address=US, remote_as=64512)
        originate = ("10.50.0.0/16", "10.60.1.0/24")
        speaker = peers.Speaker(
            local_as=64513, router_id=ROUTER, neighbors=(neighbor,), originate=originate
        )
        peers.Bird(router, speaker).start()
        self.agent = agent.Agent(self.host, "--as", "64512", "--neighbor", f"{ROUTER},as=64513")
        self.agent.start()
        self.docker = dockerhost.Docker(self.host, engine)
        self.docker.start()
        self.agent.established()
        self.host.run("ip", "route", "add", "10.70.0.0/24", "via", ROUTER, "proto", "static")

        def seen() -> bool:
            return "10.60.1.0/24" in self.agent.log()

        namespace.wait_until(seen, "the router's routes")

    def refused(self, *options: str) -> str:
        """What docker says to a create that must fail; nothing may be left of it."""
        before = self._world()
        said = self.docker.refused("network", "create", "-d", "bgp-ipvlan", *options, "web")
        assert self.agent.process.alive
        assert self.agent.ask("networks")["networks"] == []
        assert "web" not in self.docker.run("network", "ls", "--format", "{{.Name}}").split()
        assert before == self._world()
        return said

    def _world(self) -> tuple[set[str], set[str]]:
        """Links and routes of the host by name."""
        return set(self.host.links()), {route["dst"] for route in self.host.routes()}


@pytest.fixture(scope="module", params=[dockerhost.DEBIAN, dockerhost.NEW], ids=lambda e: e.name)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """One host for all refusals of one Docker version."""
    if request.param is dockerhost.NEW:
        newdocker.ensure(print)
    with namespace.Lab() as lab:
        yield Site(lab, request.param)


PARENT = ("-o", "parent=eth1")
SUBNET = ("--subnet", "10.1.1.0/24")


@pytest.mark.parametrize(
    ("options", "reason", "says"),
    [
        (SUBNET, "no-parent", "--host-interface"),
        ((*SUBNET, "-o", "parent=eth9"), "parent-missing", "eth1"),
        ((*SUBNET, "-o", "parent=eth2"), "parent-down", "ip link set eth2 up"),
        ((*SUBNET, "-o", "parent=lo"), "bad-parent", "Ethernet"),
        ((*SUBNET, *PARENT, "-o", "ipvlan_mod=l3"), "unknown-option", "ipvlan_mode"),
        ((*SUBNET, *PARENT, "-o", "ipvlan_mode=l4"), "bad-option", "l3"),
        ((*SUBNET, *PARENT, "-o", "ipvlan_mode=l2"), "mode-unsupported", "ipvlan_mode=l3"),
        ((*SUBNET, *PARENT, "-o", "mtu=big"), "bad-option", "68 to 65535"),
        (PARENT, "default-pool", "--subnet"),
        (("--subnet", "192.0.2.128/25", *PARENT), "connected-overlap", "192.0.2.0/24"),
        (("--subnet", "192.0.0.0/16", *PARENT), "connected-overlap", "192.0.2.0/24"),
        (("--subnet", "10.70.0.0/24", *PARENT), "foreign-route", f"via {ROUTER}"),
        (("--subnet", "10.50.0.0/16", *PARENT), "announced-elsewhere", ROUTER),
        (("--subnet", "10.60.0.0/16", *PARENT), "announced-elsewhere", "10.60.1.0/24"),
    ],
)
def test_refused_with_reason_and_remedy(
    site: Site, options: tuple[str, ...], reason: str, says: str
) -> None:
    """Docker shows one line that names what is in the way and the way out; nothing is left."""
    said = site.refused(*options)

    assert f"[{reason}]" in said, said
    assert says in said, said
    assert len(said.splitlines()) == 1, said
    assert f"reason={reason} " in site.agent.log()


def test_broader_route_is_fine_and_a_kernel_without_ipvlan_is_told(site: Site) -> None:
    """Inside a router's aggregate a subnet passes every check, up to the kernel's."""
    if require.ipvlan_here():
        pytest.skip("this kernel has ipvlan")
    said = site.refused("--subnet", "10.50.7.0/24", *PARENT)

    assert "[no-ipvlan]" in said, said
    assert "modprobe ipvlan" in said, said
