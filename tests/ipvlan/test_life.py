"""The main job on real ipvlan L3: two hosts, the daemon on both, Docker's calls by hand."""

from __future__ import annotations

import signal

import pytest

from lab import agent, namespace
from tests.ipvlan.conftest import HOSTS, A, B


def route(host: namespace.Host, prefix: str) -> dict[str, object] | None:
    """A route of ours on a host."""
    found = host.routes("proto", "179", family=6 if ":" in prefix else 4)
    return next((r for r in found if r["dst"] == prefix), None)


def sent(host: namespace.Host) -> int:
    """Packets sent by eth1."""
    text = host.run("cat", "/sys/class/net/eth1/statistics/tx_packets").stdout
    return int(text)


def wait_route(host: namespace.Host, prefix: str, *, there: bool = True) -> None:
    """Wait until a host has a route of ours, or has it no more."""
    what = f"{prefix} on {host.name} to be {'there' if there else 'gone'}"
    namespace.wait_until(lambda: (route(host, prefix) is not None) is there, what, timeout=30)


def test_containers_of_two_hosts_reach_each_other(
    hosts: HOSTS, plugins: tuple[agent.Plugin, agent.Plugin]
) -> None:
    """From `network create` to `network rm`: routes by BGP, pings all ways, nothing left."""
    a, b = hosts[0].host, hosts[1].host
    one = plugins[0].create_network("10.1.1.0/24", gateway="10.1.1.1/24", parent="eth1")
    two = plugins[1].create_network("10.1.2.0/24", gateway="10.1.2.1/24")
    wait_route(b, "10.1.1.0/24")
    wait_route(a, "10.1.2.0/24")
    learned = route(b, "10.1.1.0/24")
    assert learned is not None
    assert (learned["gateway"], learned["dev"], learned["metric"]) == (A, "eth1", 17900)
    own = route(a, "10.1.1.0/24")
    assert own is not None
    assert own["type"] == "blackhole"

    left = plugins[0].container(one, "10.1.1.2/24")
    near = plugins[0].container(one, "10.1.1.3/24")
    right = plugins[1].container(two, "10.1.2.2/24")
    wait_route(a, "10.1.1.2")
    assert left.ping("10.1.2.2")
    assert right.ping("10.1.1.2")
    assert near.ping("10.1.1.2"), "two containers of one host"
    assert left.ping("10.1.1.1"), "a container and its own host"
    assert right.ping("10.1.1.1"), "a container and the other host's gateway address"
    assert a.ping("10.1.1.2"), "a host and its own container"
    assert b.ping("10.1.1.2"), "a host and a remote container"
    assert left.ping(B), "a container and the other host's own address"

    right.remove()
    namespace.wait_until(
        lambda: route(b, "10.1.2.2") is None, "the endpoint's host route to be gone"
    )
    left.remove()
    near.remove()
    plugins[0].delete_network(one)
    wait_route(b, "10.1.1.0/24", there=False)
    assert not [name for name in a.links() if name.startswith("bi")], "a link is left"
    plugins[1].delete_network(two)
    wait_route(a, "10.1.2.0/24", there=False)


def test_both_families(hosts: HOSTS, plugins: tuple[agent.Plugin, agent.Plugin]) -> None:
    """IPv6 beside IPv4, over the same session: all ways as with IPv4."""
    a, b = hosts[0].host, hosts[1].host
    containers = []
    for number, plugin in enumerate(plugins, start=1):
        network = plugin.create_network(
            f"10.1.{number}.0/24",
            f"fd00:{number}::/64",
            gateway=f"10.1.{number}.1/24",
            gateway6=f"fd00:{number}::1/64",
        )
        addresses = (f"10.1.{number}.2/24", f"fd00:{number}::2/64")
        containers.append(plugin.container(network, *addresses))
    left, right = containers

    for host, other in ((a, 2), (b, 1)):
        wait_route(host, f"fd00:{other}::/64")
        wait_route(host, f"10.1.{other}.0/24")
    wait_route(a, "fd00:1::2")
    assert left.ping("fd00:2::2")
    assert right.ping("fd00:1::2")
    assert left.ping("10.1.2.2")
    assert a.ping("fd00:1::2"), "a host and its own container"
    assert b.ping("fd00:1::2"), "a host and a remote container"
    assert left.ping("fd00:1::1"), "a container and its own host"
    left.remove()
    right.remove()


def test_unassigned_address_does_not_loop(
    hosts: HOSTS, plugins: tuple[agent.Plugin, agent.Plugin]
) -> None:
    """A packet for an address nobody has is dropped by the blackhole, not sent round."""
    a, b = hosts[0].host, hosts[1].host
    a.run("ip", "route", "replace", "default", "via", B)
    b.run("ip", "route", "replace", "default", "via", A)
    plugins[0].create_network("10.1.1.0/24", gateway="10.1.1.1/24")
    network = plugins[1].create_network("10.1.2.0/24", gateway="10.1.2.1/24")
    # Not the host itself: it would drop its own packets when they come back.
    sender = plugins[1].container(network, "10.1.2.2/24")
    wait_route(b, "10.1.1.0/24")
    wait_route(a, "10.1.2.0/24")
    before = sent(a)

    assert not sender.ping("10.1.1.77", timeout=0.5)

    assert sent(a) - before < 10, "packets went round"
    sender.remove()
    a.run("ip", "route", "del", "default")
    b.run("ip", "route", "del", "default")


def test_internal_network(hosts: HOSTS, plugins: tuple[agent.Plugin, agent.Plugin]) -> None:
    """Not announced, no shim, no default route; its containers reach each other."""
    a, b = hosts[0].host, hosts[1].host
    links = set(a.links())
    network = plugins[0].create_network("10.1.3.0/24", gateway="10.1.3.1/24", internal=True)
    one = plugins[0].container(network, "10.1.3.2/24")
    two = plugins[0].container(network, "10.1.3.3/24")

    assert one.ping("10.1.3.3")
    assert "default" not in one.run("ip", "route")
    assert set(a.links()) == links
    assert route(b, "10.1.3.0/24") is None
    assert not a.ping("10.1.3.2", timeout=0.5)
    one.remove()
    two.remove()


def test_mtu(hosts: HOSTS, plugins: tuple[agent.Plugin, agent.Plugin]) -> None:
    """-o mtu is the MTU of the containers' links."""
    network = plugins[0].create_network("10.1.4.0/24", gateway="10.1.4.1/24", mtu="1400")
    one = plugins[0].container(network, "10.1.4.2/24")

    assert "mtu 1400" in one.run("ip", "link", "show", "eth0")
    one.remove()


def test_kill_and_start_again_loses_nothing(
    hosts: HOSTS, plugins: tuple[agent.Plugin, agent.Plugin]
) -> None:
    """Kill -9 while a ping runs between containers: not one packet lost, all as before."""
    a, b = hosts[0].host, hosts[1].host
    one = plugins[0].create_network("10.1.1.0/24", gateway="10.1.1.1/24")
    two = plugins[1].create_network("10.1.2.0/24", gateway="10.1.2.1/24")
    left = plugins[0].container(one, "10.1.1.2/24")
    right = plugins[1].container(two, "10.1.2.2/24")
    wait_route(b, "10.1.1.0/24")
    wait_route(a, "10.1.2.0/24")
    pings = a.start(
        *("nsenter", f"--net=/run/netns/{left.name}", "--"),
        *("ping", "-n", "-i", "0.05", "10.1.2.2"),
        log="ping.log",
    )
    before = a.routes("proto", "179")
    for end in (hosts[0].kill, hosts[0].stop):
        end()
        hosts[0].start()
        hosts[0].established()
    pings.signal(signal.SIGINT)
    pings.wait()

    assert " 0% packet loss" in pings.output(), pings.tail(4)
    assert before == a.routes("proto", "179")
    assert [one] == [n["id"] for n in hosts[0].ask("networks")["networks"]]
    assert route(b, "10.1.1.0/24") is not None
    left.remove()
    right.remove()


def test_withdraw_on_stop(hosts: HOSTS, plugins: tuple[agent.Plugin, agent.Plugin]) -> None:
    """`stop --withdraw`: the other host forgets at once; the next start announces again."""
    b = hosts[1].host
    plugins[0].create_network("10.1.1.0/24", gateway="10.1.1.1/24")
    wait_route(b, "10.1.1.0/24")
    hosts[0].stop_command("--withdraw")
    wait_route(b, "10.1.1.0/24", there=False)
    hosts[0].start()
    hosts[0].established()
    wait_route(b, "10.1.1.0/24")


def test_endpoint_that_died_without_a_word(
    hosts: HOSTS, plugins: tuple[agent.Plugin, agent.Plugin]
) -> None:
    """After a crash of dockerd the endpoint is found gone at the next start."""
    network = plugins[0].create_network("10.1.1.0/24", gateway="10.1.1.1/24")
    gone = plugins[0].container(network, "10.1.1.2/24")
    lives = plugins[0].container(network, "10.1.1.3/24")
    hosts[0].kill()
    gone.die()
    hosts[0].start()
    hosts[0].established()

    (found,) = hosts[0].ask("networks")["networks"]
    assert [lives.ids["EndpointID"]] == [e["id"] for e in found["endpoints"]]
    assert route(hosts[0].host, "10.1.1.2") is None
    assert route(hosts[0].host, "10.1.1.3") is not None
    lives.remove()


def test_mode_in_use_by_somebody_else(
    hosts: HOSTS, plugins: tuple[agent.Plugin, agent.Plugin]
) -> None:
    """An l2 slave hidden in a stranger's namespace is found, and the create refused."""
    host = hosts[0].host
    host.run("ip", "netns", "add", "stranger")
    add = "ip link add x link eth1 netns stranger type ipvlan mode l2"
    host.run(*add.split())
    try:
        with pytest.raises(agent.PluginError, match=r"l2.*\[mode-in-use\]"):
            plugins[0].create_network("10.1.1.0/24", gateway="10.1.1.1/24")
        assert hosts[0].ask("networks")["networks"] == []
    finally:
        host.run("ip", "netns", "del", "stranger")


def test_announced_elsewhere(hosts: HOSTS, plugins: tuple[agent.Plugin, agent.Plugin]) -> None:
    """A subnet that the other host announces is refused, and the other host is named."""
    plugins[0].create_network("10.1.0.0/16", gateway="10.1.0.1/16")
    wait_route(hosts[1].host, "10.1.0.0/16")

    for subnet, gateway in (("10.1.0.0/16", "10.1.0.1/16"), ("10.1.1.0/24", "10.1.1.1/24")):
        with pytest.raises(agent.PluginError, match=rf"{A}.*\[announced-elsewhere\]"):
            plugins[1].create_network(subnet, gateway=gateway)


def test_cleanup_leaves_no_trace(hosts: HOSTS, plugins: tuple[agent.Plugin, agent.Plugin]) -> None:
    """Routes, nexthop objects, links and state go; a stranger's route stays."""
    host = hosts[1].host
    plugins[0].create_network("10.1.1.0/24", gateway="10.1.1.1/24")
    plugins[1].create_network("10.1.2.0/24", gateway="10.1.2.1/24")
    wait_route(host, "10.1.1.0/24")
    host.run("ip", "route", "add", "10.99.0.0/16", "via", A, "proto", "static")
    assert "already-running" in hosts[1].run("cleanup", check=False)
    hosts[1].stop_command("--withdraw")
    hosts[1].run("cleanup")

    assert host.routes("proto", "179") == []
    assert host.run("ip", "nexthop").stdout == ""
    assert {"lo", "eth1"} == set(host.links())
    assert host.run("ls", "/var/lib/bgp-ipvlan", check=False).returncode != 0
    assert host.routes("proto", "static")
    host.run("ip", "route", "del", "10.99.0.0/16")
    hosts[1].start()
