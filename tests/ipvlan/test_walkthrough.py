"""The proof of concept of 2015, walked through as docs/from-2015.md tells it, on the real daemons.

Its two configuration files, gobgpd beside our daemon, real Docker on both hosts; then BIRD and
FRR as third and fourth peers. What is typed is what stands in that page, line by line.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import agent, dockerhost, namespace, peers, process

DOCUMENT = Path(__file__).parents[2] / "docs/from-2015.md"
FIRST, SECOND, BIRD, FRR = (f"192.168.1.{number}" for number in (248, 251, 11, 12))
SUBNETS = {"host1": "10.1.1.0/24", "host2": "10.1.2.0/24"}
AS, FRR_AS = 65000, 65001
Router = peers.Bird | peers.Frr


class Machine:
    """A host with Docker, gobgpd and our daemon, and somebody who types there.

    Args:
        host: where.
        address: its own.
    """

    def __init__(self, host: namespace.Host, address: str) -> None:
        self.host = host
        self.address = address
        self.docker = dockerhost.Docker(host)
        self._short = address.rpartition(".")[2]
        self.agent: agent.Agent

    def _documented(self, command: str) -> str:
        prompt = f"    {self.host.name}# "
        found = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(prompt)]
        [line] = [line for line in found if line.removeprefix(prompt).startswith(command)]
        return line.removeprefix(prompt)

    def types(self, command: str) -> str:
        """A line of the page, by its beginning, to its end; what it printed.

        Raises:
            namespace.LabError: it failed.
        """
        path = f"PATH={agent.COMMAND.parent}:{process.PATH}"
        config = f"DOCKER_CONFIG={self.host.directory}/docker-cli"
        line = self._documented(command)
        return self.host.run("env", path, config, "sh", "-ec", line, timeout=120).stdout

    def up(self) -> None:
        """Docker, the file, gobgpd with what is made of it, and our daemon."""
        self.docker.start()
        files = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
        [text] = [text for text in files if f'RouterId = "{self.address}"' in text]
        (self.host.directory / f"bgp-conf-{self._short}.toml").write_text(text)
        self.types("bgp-ipvlan check-config")
        gobgpd = shlex.split(self._documented("gobgpd"))
        self.host.start(*gobgpd, log="gobgpd.log")
        flags = shlex.split(self._documented("bgp-ipvlan run"))[2:]
        self.agent = agent.Agent(self.host, *flags)
        self.agent.start()

    def learned(self) -> dict[str, str]:
        """By its kernel: prefix → next hop."""
        routes = self.host.routes("proto", "179")
        return {route["dst"]: route["gateway"] for route in routes if "gateway" in route}

    def wait_learned(self, prefix: str, next_hop: str) -> None:
        """Wait for a route by way of a next hop."""
        what = f"{prefix} via {next_hop} on {self.host.name}"
        namespace.wait_until(lambda: self.learned().get(prefix) == next_hop, what)


class Walk:
    """Two such machines and two routers, on one switch."""

    def __init__(self, lab: namespace.Lab) -> None:
        hosts = {name: lab.host(name) for name in ("host1", "host2", "bird", "frr")}
        addresses = dict(zip(hosts, (FIRST, SECOND, BIRD, FRR), strict=True))
        lab.segment(*(namespace.Port(hosts[n], "eth1", (f"{addresses[n]}/24",)) for n in hosts))
        self.first = Machine(hosts["host1"], FIRST)
        self.second = Machine(hosts["host2"], SECOND)
        self.bird = peers.Bird(hosts["bird"], _speaker(AS, BIRD, "10.11.0.0/24"))
        self.frr = peers.Frr(hosts["frr"], _speaker(FRR_AS, FRR, "10.12.0.0/24"))
        for name, own in (("bird", "10.11.0.1/32"), ("frr", "10.12.0.1/32")):
            hosts[name].run("ip", "address", "add", own, "dev", "lo")
        self.machines = (self.first, self.second)


def _speaker(local_as: int, address: str, behind: str) -> peers.Speaker:
    return peers.Speaker(
        local_as=local_as,
        router_id=address,
        neighbors=tuple(peers.Neighbor(address=one, remote_as=AS) for one in (FIRST, SECOND)),
        originate=(behind,),
        install=True,
    )


@pytest.fixture(scope="module")
def walk() -> Iterator[Walk]:
    """Both hosts up, as the page has them before its first network; the routers wait."""
    with namespace.Lab() as lab:
        made = Walk(lab)
        for machine in made.machines:
            machine.up()
        yield made


def test_two_hosts(walk: Walk) -> None:
    """Networks without --subnet have that of --ipvlan-subnet; containers and hosts reach each other."""
    for machine, name in zip(walk.machines, ("one", "two"), strict=True):
        machine.types("docker network create")
        machine.types("docker run")
        [network] = machine.agent.ask("networks")["networks"]
        subnet = SUBNETS[machine.host.name]
        assert [one["prefix"] for one in network["subnets"]] == [subnet]
        shown = machine.docker.inspect("container", name)["NetworkSettings"]["Networks"]["web"]
        assert shown["IPAddress"] == subnet.replace(".0/24", ".2")
    walk.first.wait_learned("10.1.2.0/24", SECOND)
    walk.second.wait_learned("10.1.1.0/24", FIRST)

    walk.first.types("docker exec one ping -c 1 -W 3 10.1.2.2")
    walk.second.types("docker exec two ping -c 1 -W 3 10.1.1.2")
    walk.first.types("ping -c 1 -W 3 10.1.2.2")
    walk.first.types("ping -c 1 -W 3 10.1.1.2")


def test_told(walk: Walk) -> None:
    """Learned via BGP: prefix, next hop and interface are in the log, in the kernel, and by command."""
    [line] = re.findall(r"(?m)^    (route learned .*)$", DOCUMENT.read_text())

    assert line in walk.first.agent.log()
    assert "route learned prefix=10.1.1.0/24 next_hop=192.168.1.248 interface=eth1" in (
        walk.second.agent.log()
    )
    route = walk.first.types("ip route show proto 179")
    assert re.search(r"(?m)^10\.1\.2\.0/24 .*via 192\.168\.1\.251 dev eth1 ", route), route
    assert "10.1.2.0/24" in walk.first.types("bgp-ipvlan routes")
    table = walk.first.types("gobgp global rib")
    assert re.search(r"10\.1\.2\.0/24 +192\.168\.1\.251 ", table), table


def test_third_and_fourth_peer(walk: Walk) -> None:
    """BIRD and FRR have both subnets in their kernels, and both hosts what is behind the two."""
    routers: tuple[Router, ...] = (walk.bird, walk.frr)
    for machine in walk.machines:
        machine.types(f"gobgp neighbor add {BIRD}")
        machine.types(f"gobgp neighbor add {FRR}")
    for router in routers:
        router.start()
    for router in routers:
        assert peers.wait_learned(router, "10.1.1.0/24").as_path in {(), (AS,)}
        for subnet in SUBNETS.values():
            namespace.wait_until(lambda: subnet in _kernel(router), f"{subnet} in its kernel")  # noqa: B023
    for machine in walk.machines:
        machine.wait_learned("10.11.0.0/24", BIRD)
        machine.wait_learned("10.12.0.0/24", FRR)


def _kernel(router: Router) -> set[str]:
    return {route["dst"] for route in router.host.routes()}


def test_routers_and_containers(walk: Walk) -> None:
    """A router's own addresses reach the containers, and are reached by containers and hosts."""
    for router, own in ((walk.bird, "10.11.0.1"), (walk.frr, "10.12.0.1")):
        for container in ("10.1.1.2", "10.1.2.2"):
            assert router.host.ping(container), "from its address on the wire"
            router.host.run("ping", "-n", "-c", "1", "-W", "3", "-I", own, container)
        walk.first.types(f"docker exec one ping -c 1 -W 3 {own}")
        walk.second.types(f"ping -c 1 -W 3 {own}")


def test_taken_back(walk: Walk) -> None:
    """`docker network rm`: the other host and both routers lose that subnet, and nothing else."""
    walk.first.types("docker rm -f one")
    walk.first.types("docker network rm web")

    for router in (walk.bird, walk.frr):
        peers.wait_forgotten(router, "10.1.1.0/24")
        assert router.learned("10.1.2.0/24") is not None
    namespace.wait_until(
        lambda: set(walk.second.learned()) == {"10.11.0.0/24", "10.12.0.0/24"}, "the withdrawal"
    )
    namespace.wait_until(
        lambda: "route withdrawn prefix=10.1.1.0/24" in walk.second.agent.log(), "the log to say so"
    )
    assert "10.1.1.0/24" not in walk.first.types("gobgp global rib")
