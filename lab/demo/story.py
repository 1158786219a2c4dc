"""The demo's story: two Docker hosts, one network and one container each, ping, and gone again.

Every command is run exactly as it is shown. Whatever is claimed was looked up
first: a step that does not hold ends the demo.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Callable

from lab import agent, dockerhost, namespace
from lab.demo import screen

AS_NUMBER = 64512


class StepFailed(Exception):
    """A step did not hold; the message says what."""


@dataclasses.dataclass(slots=True)
class Site:
    """One of the two Docker hosts."""

    host: namespace.Host
    docker: dockerhost.Docker
    agent: agent.Agent
    subnet: str
    container: str
    address: str = ""

    def type(self, command: str) -> str:
        """Show a command, run it on the host, show what it prints; returns that."""
        screen.typed(self.host.name, command)
        done = self.host.run(*user_shell(self.host), "-c", command, check=False, timeout=120)
        printed = (done.stdout + done.stderr).strip()
        screen.output(printed)
        if done.returncode:
            raise StepFailed(f"`{command}` on {self.host.name} ended with {done.returncode}")
        return printed

    def routes(self) -> str:
        """The host's routes of protocol 179."""
        return self.type("ip route show proto 179")


def user_shell(host: namespace.Host) -> list[str]:
    """A shell on a host that finds `bgp-ipvlan`, and a Docker configuration of its own."""
    return [
        "env",
        f"DOCKER_CONFIG={host.directory}/docker-cli",
        f"PATH={agent.COMMAND.parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        f"PS1={host.name}# ",
        *("bash", "--norc"),
    ]


def tell(lab: namespace.Lab) -> tuple[Site, Site]:
    """Tell the whole story; returns the two hosts, for those who keep them.

    Raises:
        StepFailed, namespace.LabError: a step did not hold.
    """
    sites = _make_sites(lab)
    steps: tuple[tuple[str, Callable[[Site, Site], None]], ...] = (
        ("Two machines on a wire, a Docker on each", _start_dockers),
        ("bgp-ipvlan on both, as each other's BGP neighbour", _start_agents),
        ("A network on each host, as a user makes it", _create_networks),
        ("A container on each", _run_containers),
        ("Each host has learned the way to the other's containers", _show_routes),
        ("Ping, both ways, between containers on different hosts", _ping),
        ("Take a network away: its route goes on the other host", _remove),
    )
    for number, (title, act) in enumerate(steps, 1):
        screen.step(number, len(steps), title)
        act(*sites)
    return sites


def again(a: Site, b: Site) -> None:
    """Put back what the last step took away, so that kept hosts can be played with."""
    screen.say()
    screen.say("Putting host-b's network back for you to play with")
    _create_network(b)
    _run_container(b)
    _wait_route(a, b)


def _make_sites(lab: namespace.Lab) -> tuple[Site, Site]:
    sites = []
    addresses = {"host-a": "192.0.2.1", "host-b": "192.0.2.2"}
    for number, (name, other) in enumerate((("host-a", "host-b"), ("host-b", "host-a")), 1):
        host = lab.host(name)
        options = f"--host-interface eth1 --as {AS_NUMBER} --neighbor {addresses[other]}"
        sites.append(
            Site(
                host,
                dockerhost.Docker(host),
                agent.Agent(host, *options.split()),
                f"10.1.{number}.0/24",
                f"{name[-1]}1",
            )
        )
    a, b = sites
    lab.wire(
        namespace.Port(a.host, "eth1", ("192.0.2.1/24",)),
        namespace.Port(b.host, "eth1", ("192.0.2.2/24",)),
    )
    return a, b


def _start_dockers(*sites: Site) -> None:
    for site in sites:
        site.docker.start(timeout=90)
        screen.note(f"{site.host.name}: dockerd {site.docker.version()} is up")
    sites[0].type("ip -brief address show eth1")
    sites[1].type("ip -brief address show eth1")


def _start_agents(*sites: Site) -> None:
    for site in sites:
        command = shlex.join(["bgp-ipvlan", "run", *site.agent.flags])
        screen.typed(site.host.name, f"{command} &")
        site.agent.start()
    for site in sites:
        line = _wait_log(site, r"neighbor established")
        screen.output(f"{site.host.name} log: {line}")


def _create_networks(*sites: Site) -> None:
    for site in sites:
        _create_network(site)
    for site in sites:
        screen.output(f"{site.host.name} log: {_wait_log(site, r'network announced')}")


def _create_network(site: Site) -> None:
    site.type(f"docker network create -d bgp-ipvlan --subnet {site.subnet} -o parent=eth1 web")


def _run_containers(*sites: Site) -> None:
    for site in sites:
        _run_container(site)
    inspect = "docker inspect -f {{.State.Pid}} " + sites[0].container
    shown = sites[0].type(f"nsenter --net --target $({inspect}) ip -details link show eth0")
    if "ipvlan" not in shown or "mode l3" not in shown:
        raise StepFailed(f"{sites[0].container}'s interface is not an ipvlan in mode l3")
    for site in sites:
        screen.note(f"{site.container} on {site.host.name} has {site.address}, on real ipvlan l3")


def _run_container(site: Site) -> None:
    image = dockerhost.IMAGE
    site.type(f"docker run -d --name {site.container} --network web {image} sleep 86400")
    shown = site.docker.inspect("container", site.container)
    site.address = str(shown["NetworkSettings"]["Networks"]["web"]["IPAddress"])


def _show_routes(a: Site, b: Site) -> None:
    for here, there in ((a, b), (b, a)):
        _wait_route(here, there)
        here.routes()
        line = _wait_log(here, rf"route learned.*{re.escape(there.subnet)}")
        screen.output(f"{here.host.name} log: {line}")


def _ping(a: Site, b: Site) -> None:
    for here, there in ((a, b), (b, a)):
        here.type(f"docker exec {here.container} ping -c 2 {there.address}")
        screen.note(
            f"{here.container} on {here.host.name} reaches {there.container} on {there.host.name}"
        )


def _remove(a: Site, b: Site) -> None:
    b.type(f"docker rm -f {b.container}")
    b.type("docker network rm web")
    namespace.wait_until(
        lambda: not _learned(a, b), f"{b.subnet} to go from {a.host.name}", timeout=10
    )
    a.routes()
    screen.output(f"{a.host.name} log: {_wait_log(a, r'route withdrawn')}")
    screen.note(f"the route to {b.subnet} is gone from {a.host.name}")


def _learned(here: Site, there: Site) -> bool:
    return any(
        route["dst"] == there.subnet and route.get("type", "unicast") == "unicast"
        for route in here.host.routes("proto", "179")
    )


def _wait_route(here: Site, there: Site) -> None:
    what = f"the route to {there.subnet} on {here.host.name}"
    namespace.wait_until(lambda: _learned(here, there), what, timeout=30)


def _wait_log(site: Site, pattern: str) -> str:
    def find() -> str:
        return next(
            (line for line in site.agent.log().splitlines() if re.search(pattern, line)), ""
        )

    return namespace.wait_until(find, f"`{pattern}` in the log of {site.host.name}", timeout=30)
