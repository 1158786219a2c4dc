"""What the host's connection tracking knows of containers on real ipvlan goes with them.

In l3 it sees what they send, but not what they receive: half of each flow. Of what passes between
them and the host itself, over the shim, it sees all (design.md, section 10).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import agent, namespace, uml

OTHER, OTHER6 = "192.0.2.2", "2001:db8::2"
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_MODULES = (
    *("nf_conntrack_netlink", "xt_conntrack", "iptable_filter", "ip6table_filter"),
    *("nf_defrag_ipv4", "nf_defrag_ipv6"),
)


@pytest.fixture(scope="module")
def ours() -> Iterator[agent.Agent]:
    """A host with the daemon, and a router at the other end of its wire."""
    with namespace.Lab() as lab:
        host, other = lab.host("host"), lab.host("other")
        lab.wire(
            namespace.Port(host, "eth1", ("192.0.2.1/24", "2001:db8::1/64")),
            namespace.Port(other, "eth1", (f"{OTHER}/24", f"{OTHER6}/64")),
        )
        other.run("ip", "route", "add", "10.1.1.0/24", "via", "192.0.2.1")
        other.run("ip", "route", "add", "fd00:1::/64", "via", "2001:db8::1")
        host.run("ip", "route", "add", "default", "via", OTHER)
        one = agent.Agent(host, "--host-interface", "eth1", "--as", "64512", "--debug")
        one.start()
        yield one


@pytest.fixture
def plugin(ours: agent.Agent) -> Iterator[agent.Plugin]:
    """The plugin; nothing of what was made by it is left afterwards."""
    found = agent.Plugin(ours.host)
    yield found
    for container in tuple(found.containers):
        container.remove()
    for network in ours.ask("networks")["networks"]:
        found.delete_network(network["id"])


def network(plugin: agent.Plugin) -> str:
    """A network of both families."""
    return plugin.create_network(
        "10.1.1.0/24", "fd00:1::/64", gateway="10.1.1.1/24", gateway6="fd00:1::1/64"
    )


def track(host: namespace.Host) -> None:
    """Somebody's firewall has a rule that needs connection tracking."""
    if uml.inside():
        host.run("modprobe", "-d", "/mnt/modules", "-a", *_MODULES)
    for command in ("iptables", "ip6tables"):
        # The guest's kernel has no family for the newer kind of rules.
        tool = command + "-legacy" * uml.inside()
        host.run(tool, "-A", "INPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT")


def flows(host: namespace.Host) -> set[tuple[str, str]]:
    """Who has spoken to whom, as far as containers are in it."""
    table = host.run("cat", "/proc/net/nf_conntrack").stdout
    found = set()
    for line in table.splitlines():
        ends = re.findall(r"(?:src|dst)=(\S+)", line)
        source, destination = (str(ipaddress.ip_address(end)) for end in ends[:2])
        if source.startswith(("10.1.1.", "fd00:1:")):
            found.add((source, destination))
    return found


def test_a_host_that_tracks_nothing(ours: agent.Agent, plugin: agent.Plugin) -> None:
    """No word about it, and nothing of it is loaded because a container ends."""
    if _COUNT.exists():
        pytest.skip("this kernel has connection tracking loaded already")
    container = plugin.container(network(plugin), "10.1.1.2/24")
    assert container.ping(OTHER)
    container.remove()

    assert "conntrack" not in ours.log()
    assert not _COUNT.exists()


def test_a_reused_address_starts_clean(ours: agent.Agent, plugin: agent.Plugin) -> None:
    """The entries of a container that ended go, of both families; its neighbour's stay."""
    host, id_ = ours.host, network(plugin)
    track(host)
    old = plugin.container(id_, "10.1.1.2/24", "fd00:1::2/64")
    near = plugin.container(id_, "10.1.1.3/24", "fd00:1::3/64")
    for container in (old, near):
        for address in (OTHER, OTHER6, "10.1.1.1", "fd00:1::1"):
            assert container.ping(address)
    for address in ("10.1.1.2", "fd00:1::2", "10.1.1.3", "fd00:1::3"):
        assert host.ping(address)
    go, stay = (
        {
            *((v4, OTHER), (v4, "10.1.1.1"), ("10.1.1.1", v4)),
            *((v6, OTHER6), (v6, "fd00:1::1"), ("fd00:1::1", v6)),
        }
        for v4, v6 in (("10.1.1.2", "fd00:1::2"), ("10.1.1.3", "fd00:1::3"))
    )
    assert flows(host) == stay | go

    old.remove()
    assert flows(host) == stay

    heir = plugin.container(id_, "10.1.1.2/24", "fd00:1::2/64")
    assert flows(host) == stay
    assert heir.ping(OTHER)
    assert flows(host) == stay | {("10.1.1.2", OTHER)}
    assert ours.warnings() == []
