"""Parents in a VRF, on a real kernel: routes, the host's own link and sessions are in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bgp_ipvlan import model
from lab import agent, namespace
from tests.netns import conftest as kernel

A, B = "192.0.2.1", "192.0.2.2"
BLUE, TABLE = "blue", 1000
BOTH = (4, 6)


def sysctl(host: namespace.Host, setting: str) -> None:
    """Set one of net to 1."""
    host.run("sh", "-c", f"echo 1 >/proc/sys/net/{setting}")


def into_vrf(host: namespace.Host) -> None:
    """Make a VRF, and put eth1 in."""
    for command in (
        f"link add {BLUE} type vrf table {TABLE}",
        f"link set {BLUE} up",
        f"link set eth1 master {BLUE}",
    ):
        kernel.ip(host, command)


@pytest.fixture
def wired() -> Iterator[tuple[namespace.Host, namespace.Host]]:
    """Two hosts on a wire, forwarding; IPv6 addresses survive that a link is set down."""
    with namespace.Lab() as lab:
        a, b = lab.host("a"), lab.host("b")
        lab.wire(
            namespace.Port(a, "eth1", (f"{A}/24", "2001:db8::1/64")),
            namespace.Port(b, "eth1", (f"{B}/24", "2001:db8::2/64")),
        )
        for host in (a, b):
            for setting in (
                "ipv4/ip_forward",
                "ipv6/conf/all/keep_addr_on_down",
                "ipv6/conf/eth1/keep_addr_on_down",
            ):
                sysctl(host, setting)
        yield a, b


def daemon(host: namespace.Host, other: str, *more: str) -> agent.Agent:
    """Our daemon, not started."""
    flags = ("--host-interface", "eth1", "--as", "64512", "--router-id", host_id(host))
    return agent.Agent(host, *flags, "--neighbor", ",".join((other, *more)))


def host_id(host: namespace.Host) -> str:
    """A router id of its own."""
    return A if host.name == "a" else B


def ours(host: namespace.Host) -> dict[str, set[str]]:
    """Prefixes of our routes by table."""
    found: dict[str, set[str]] = {}
    for family in BOTH:
        for route in host.routes("table", "all", "proto", "179", family=family):
            found.setdefault(str(route.get("table", "main")), set()).add(route["dst"])
    return found


def wait_tables(host: namespace.Host, expected: dict[str, set[str]]) -> None:
    """Wait until our routes are these, and in no other table."""
    try:
        namespace.wait_until(lambda: ours(host) == expected, f"{expected} on {host.name}")
    except namespace.LabError as error:
        raise namespace.LabError(f"{error}; there are {ours(host)}") from None


def routes_of(number: int) -> set[str]:
    """All prefixes of ours on a host, number 1 or 2."""
    mine = {f"10.1.{number}.0/24", f"fd00:{number}::/64", f"10.1.{number}.2", f"fd00:{number}::2"}
    return mine | {f"10.1.{3 - number}.0/24", f"fd00:{3 - number}::/64"}


def container(host: namespace.Host, number: int) -> agent.Container:
    """A network and a container, with both families."""
    plugin = agent.Plugin(host)
    network = plugin.create_network(
        f"10.1.{number}.0/24",
        f"fd00:{number}::/64",
        gateway=f"10.1.{number}.1/24",
        gateway6=f"fd00:{number}::1/64",
    )
    return plugin.container(network, f"10.1.{number}.2/24", f"fd00:{number}::2/64")


def pings(host: namespace.Host, vrf: str, *addresses: str) -> None:
    """A process of the host, in a VRF or ("") in none, reaches these."""
    bound = ("-I", vrf) if vrf else ()
    for address in addresses:
        argv = ("ping", "-n", "-q", "-c", "3", "-i", "0.2", "-W", "2", *bound, address)
        assert host.run(*argv, check=False).returncode == 0, f"{host.name} to {address}"


def warned(one: agent.Agent, reason: str = "no-rule") -> int:
    """How often status warns of something; by default of tables that no rule leads to."""
    return sum(f"[{reason}]" in text for text in one.ask("status")["warnings"])


def test_links_are_read_with_their_vrf(wired: tuple[namespace.Host, namespace.Host]) -> None:
    """Index and table, for a link in one and for no other, a bridge's port neither."""
    host = wired[0]
    into_vrf(host)
    for command in (
        "link add br7 type bridge",
        "link add v0 type veth peer name v1",
        "link set v0 master br7",
    ):
        kernel.ip(host, command)

    async def main() -> dict[str, model.Link]:
        async with kernel.started() as started:
            return {link.name: link for link in await started.links.read()}

    links = kernel.inside(host, main)
    found = {name: (link.vrf, link.table) for name, link in links.items() if link.vrf or link.table}

    assert {"eth1": (links[BLUE].index, TABLE)} == found


def test_life_in_a_vrf(wired: tuple[namespace.Host, namespace.Host]) -> None:
    """Two hosts whose parents and sessions are in VRFs: all ways, and nothing in other tables."""
    a, b = wired
    agents = []
    for host, other in ((a, B), (b, A)):
        into_vrf(host)
        # Either will do: the VRF, or a link in it.
        agents.append(daemon(host, other, f"bind-interface={BLUE if host is a else 'eth1'}"))
        agents[-1].start()
    for host, one in zip(wired, agents, strict=True):
        assert warned(one, "vrf-not-listening") == 1
        sysctl(host, "ipv4/tcp_l3mdev_accept")
        assert warned(one, "vrf-not-listening") == 0
    for one in agents:
        one.established()
    left, right = container(a, 1), container(b, 2)
    for host, number in ((a, 1), (b, 2)):
        wait_tables(host, {str(TABLE): routes_of(number)})

    assert left.ping("10.1.2.2")
    assert right.ping("10.1.1.2")
    assert left.ping("fd00:2::2")
    assert right.ping("fd00:1::2")
    assert left.ping("10.1.1.1"), "a container and its own host"
    assert left.ping("fd00:1::1")
    assert right.ping("10.1.1.1"), "a container and the other host's gateway address"
    assert left.ping(B), "a container and the other host's own address"
    pings(a, BLUE, "10.1.1.2", "fd00:1::2", "10.1.2.2", "fd00:2::2")
    assert not a.ping("10.1.1.2", timeout=0.3), "a process outside the VRF is in another world"

    assert not warned(agents[0])
    kernel.ip(a, "rule del l3mdev")
    namespace.wait_until(lambda: warned(agents[0]) == 1, "a warning for IPv4")
    assert not left.ping("10.1.2.2", timeout=0.3)
    assert left.ping("fd00:2::2")
    kernel.ip(a, "rule add priority 1000 l3mdev")
    namespace.wait_until(lambda: not warned(agents[0]), "no warning")
    assert left.ping("10.1.2.2")

    shim = next(link for name, link in a.links().items() if name.startswith("bi"))
    assert shim["master"] == BLUE
    agents[0].stop()
    kernel.ip(a, f"link set {shim['ifname']} nomaster")
    agents[0].start()
    agents[0].established()
    namespace.wait_until(
        lambda: any(
            name.startswith("bi") and link.get("master") == BLUE for name, link in a.links().items()
        ),
        "the shim in the VRF",
    )
    wait_tables(a, {str(TABLE): routes_of(1)})
    pings(a, BLUE, "10.1.1.2", "fd00:1::2")
    agents[0].stop_command("--withdraw")
    agents[0].run("cleanup", "--force")
    assert ours(a) == {}


def test_a_parent_moves_while_it_runs(wired: tuple[namespace.Host, namespace.Host]) -> None:
    """Into a VRF, out again, in again, and the VRF is deleted: routes follow, nothing is left."""
    a, b = wired
    sysctl(a, "ipv4/tcp_l3mdev_accept")
    agents = [daemon(a, B), daemon(b, A)]
    for one in agents:
        one.start()
    for one in agents:
        one.established()
    left, right = container(a, 1), container(b, 2)
    wait_tables(a, {"main": routes_of(1)})
    wait_tables(b, {"main": routes_of(2)})

    into_vrf(a)
    # Its session was outside; b's connection comes in within the VRF.
    wait_tables(a, {str(TABLE): routes_of(1)})
    wait_tables(b, {"main": routes_of(2)})
    assert left.ping("10.1.2.2")
    assert right.ping("fd00:1::2")
    pings(a, BLUE, "10.1.1.2", "fd00:1::2")

    for command in ("link set eth1 nomaster", f"link set eth1 master {BLUE}", f"link del {BLUE}"):
        kernel.ip(a, command)
        table = str(TABLE) if "set eth1 master" in command else "main"
        wait_tables(a, {table: routes_of(1)})
        wait_tables(b, {"main": routes_of(2)})
        pings(a, BLUE if table != "main" else "", "10.1.1.2", "fd00:1::2")
        assert left.ping("10.1.2.2"), command
        assert right.ping("fd00:1::2"), command


def test_life_in_a_table_of_ones_own(wired: tuple[namespace.Host, namespace.Host]) -> None:
    """With `--table` and a rule for the parent: containers; with one for all: the host too."""
    a, b = wired
    agents = []
    for host, other in ((a, B), (b, A)):
        agents.append(daemon(host, other))
        agents[-1].flags += ("--table", str(TABLE))
        agents[-1].start()
    for one in agents:
        one.established()
    left, right = container(a, 1), container(b, 2)
    for host, number in ((a, 1), (b, 2)):
        wait_tables(host, {str(TABLE): routes_of(number)})
    namespace.wait_until(lambda: warned(agents[0]) == 2, "a warning for each family")
    assert not left.ping("10.1.2.2", timeout=0.3)

    for host in (a, b):
        for ip in ("", "-6 "):
            kernel.ip(host, f"{ip}rule add priority 1000 oif eth1 lookup {TABLE}")
    namespace.wait_until(lambda: not warned(agents[0]), "no warning")
    assert left.ping("10.1.2.2")
    assert right.ping("fd00:1::2")
    assert not a.ping("10.1.1.2", timeout=0.3), "the host does not look there"

    for ip in ("", "-6 "):
        kernel.ip(a, f"{ip}rule add priority 1001 lookup {TABLE}")
    pings(a, "", "10.1.1.2", "fd00:1::2", "10.1.2.2")
    assert left.ping("10.1.1.1"), "a container and its own host"
    assert right.ping("10.1.1.1"), "a container and the other host's gateway address"
