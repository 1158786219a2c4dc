"""Docker's addresses from our IPAM driver: through a real dockerd, both versions.

This kernel may have no ipvlan, so the containers are on Docker's own macvlan driver, with our
addresses; what a network of ours meets with is told as far as that kernel lets it come.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import agent, dockerhost, namespace, newdocker, require

US = "192.0.2.1"
FLAGS = ("--host-interface", "eth1", "--ipvlan-subnet", "10.1.1.0/24")
WEB = ("-d", "macvlan", "-o", "parent=eth1", "--ipam-driver", "bgp-ipvlan")


class Site:
    """A Docker host with our daemon."""

    def __init__(self, lab: namespace.Lab, engine: dockerhost.Engine, *options: str) -> None:
        self.host, neighbor = lab.host("a"), lab.host("neighbor")
        lab.wire(
            namespace.Port(self.host, "eth1", (f"{US}/24",)),
            namespace.Port(neighbor, "eth1", ("192.0.2.2/24",)),
        )
        self.agent = agent.Agent(self.host, *FLAGS, "--debug")
        self.agent.start()
        self.docker = dockerhost.Docker(self.host, engine, options=options)
        self.docker.start()

    def create(self, *options: str) -> None:
        """`docker network create … web`."""
        self.docker.run("network", "create", *WEB, *options, "web")

    def run(self, name: str, *options: str) -> str:
        """A container on web; its address."""
        more = ("--network", "web", "--name", name, *options, dockerhost.IMAGE, "sleep", "3600")
        self.docker.run("run", "-d", *more)
        return self.address(name)

    def address(self, name: str, key: str = "IPAddress") -> str:
        """What Docker says of a container."""
        networks = self.docker.inspect("container", name)["NetworkSettings"]["Networks"]
        return str(networks["web"][key])

    def refused(self, *options: str) -> str:
        """What docker says to a create of ours that must fail; it leaves no subnet taken."""
        create = ("network", "create", "-d", "bgp-ipvlan", *options, "other")
        said = self.docker.refused(*create)
        assert len(said.splitlines()) == 1, said
        again = self.docker.refused(*create)
        assert again.rpartition(" ")[2] == said.rpartition(" ")[2], again
        return said

    def restart(self) -> None:
        """Kill -9 of ours; it is there again."""
        self.agent.kill()
        self.agent.start()

    def clean(self) -> None:
        """No container, no network."""
        for name in self.docker.run("ps", "-aq").split():
            self.docker.run("rm", "-f", name)
        self.docker.run("network", "prune", "-f")


@pytest.fixture(scope="module", params=[dockerhost.DEBIAN, dockerhost.NEW], ids=lambda e: e.name)
def module_site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """One host for all tests of one Docker version."""
    if request.param is dockerhost.NEW:
        newdocker.ensure(print)
    with namespace.Lab() as lab:
        yield Site(lab, request.param)


@pytest.fixture
def site(module_site: Site) -> Iterator[Site]:
    """That host, with nothing left of the test before."""
    yield module_site
    module_site.clean()


def test_addresses_without_a_subnet_asked_for(site: Site) -> None:
    """`--ipvlan-subnet`: gateway first, then containers; those given back last; gone with rm."""
    site.create()
    config = site.docker.inspect("network", "web")["IPAM"]
    assert config["Driver"] == "bgp-ipvlan"
    assert config["Config"][0]["Subnet"] == "10.1.1.0/24"
    assert config["Config"][0]["Gateway"].partition("/")[0] == "10.1.1.1"
    assert site.run("one") == "10.1.1.2"
    assert site.run("two") == "10.1.1.3"
    assert "10.1.1.3/24" in site.docker.run("exec", "two", "ip", "address")
    site.docker.run("rm", "-f", "one")
    assert site.run("three") == "10.1.1.4"
    site.clean()
    site.create()
    assert site.run("one") == "10.1.1.2"


def test_restarts_keep_what_was_given(site: Site) -> None:
    """Kill -9 of our daemon, a restart of dockerd, kill -9 of both: no address is given twice."""
    site.create()
    one = site.run("one")
    site.restart()
    two = site.run("two")
    assert len({one, two, "10.1.1.1"}) == 3
    site.docker.kill()
    site.agent.kill()
    site.agent.start()
    site.docker.start()
    assert "call=IpamDriver.RequestPool" not in site.agent.log().rpartition(" ready ")[2]
    three = site.run("three")
    # Those of before the crash are gone with dockerd: their containers are started again.
    site.docker.run("start", "one", "two")
    assert len({site.address(name) for name in ("one", "two", "three")} | {"10.1.1.1"}) == 4
    assert three not in {one, two}


def test_range_gateway_and_aux_address(site: Site) -> None:
    """As with Docker's own IPAM: the range is for those who name no address."""
    site.create(
        *("--subnet", "10.1.7.0/24", "--ip-range", "10.1.7.128/25", "--gateway", "10.1.7.254"),
        *("--aux-address", "router=10.1.7.129"),
    )
    assert site.run("one") == "10.1.7.128"
    assert site.run("two") == "10.1.7.130"
    assert site.run("three", "--ip", "10.1.7.5") == "10.1.7.5"
    # On networks of ours a container's own is reason address-in-use: tests/unit/docker/test_ipam.py.
    for address in ("10.1.7.254", "10.1.7.129", "10.1.7.5"):
        more = ("--network", "web", "--ip", address, dockerhost.IMAGE, "true")
        assert "[address-reserved]" in site.docker.refused("run", "--rm", *more)


def test_both_families(site: Site) -> None:
    """One address of each; in a /64 too they come in order."""
    site.create("--ipv6", "--subnet", "fd00:7::/64")
    site.run("one")
    site.run("two")
    assert site.address("one", "GlobalIPv6Address") == "fd00:7::2"
    assert site.address("two", "GlobalIPv6Address") == "fd00:7::3"
    assert site.address("two") == "10.1.1.3"
    site.docker.run("network", "disconnect", "web", "one")
    site.docker.run("network", "connect", "web", "one")
    assert site.address("one", "GlobalIPv6Address") == "fd00:7::4"


def test_what_a_create_of_ours_is_told(site: Site) -> None:
    """No flag but -d: the way to our IPAM driver. With it: it has the subnet of the daemon."""
    said = site.refused()
    assert "[outside-ipvlan-subnet]" in said, said
    assert "--ipam-driver bgp-ipvlan" in said, said
    ours = ("--ipam-driver", "bgp-ipvlan")
    assert "[outside-ipvlan-subnet]" in site.refused(*ours, "--subnet", "10.2.0.0/24")
    assert "[no-pool]" in site.refused(*ours, "--ipv6")
    assert "[bad-option]" in site.refused(*ours, "--ipam-opt", "prefix-length=20")
    assert "[unknown-option]" in site.refused(*ours, "--ipam-opt", "size=24")
    if not require.ipvlan_here():
        assert "[no-ipvlan]" in site.refused(*ours)
        assert "[no-ipvlan]" in site.refused(*ours, "--ipam-opt", "prefix-length=26")
    site.create()
    said = site.refused(*ours)
    assert "[pool-in-use]" in said, said
    assert "10.1.1.0/24" in said, said


@pytest.mark.parametrize("engine", [dockerhost.DEBIAN, dockerhost.NEW], ids=lambda e: e.name)
def test_dockers_own_pools_can_be_ours(engine: dockerhost.Engine) -> None:
    """With `default-address-pools` a create with no flag but -d passes every check of ours."""
    if require.ipvlan_here():
        pytest.skip("this kernel has ipvlan")
    if engine is dockerhost.NEW:
        newdocker.ensure(print)
    with namespace.Lab() as lab:
        site = Site(lab, engine, "--default-address-pool", "base=10.1.1.0/24,size=25")
        assert "[no-ipvlan]" in site.refused()
