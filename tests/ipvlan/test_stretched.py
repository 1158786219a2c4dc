"""One subnet on two hosts: each container is announced by itself (bgp.advertise=endpoint, both)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import agent, namespace
from tests.ipvlan.conftest import HOSTS, PLUGINS, pair

SUBNET = "10.1.9.0/24"


@pytest.fixture(scope="module")
def hosts() -> Iterator[HOSTS]:
    """Two hosts on a wire, each the other's default router."""
    with pair(routers=True) as found:
        yield found


def create(plugin: agent.Plugin, advertise: str = "endpoint", **options: str) -> str:
    """The subnet on one more host."""
    given = {"bgp.advertise": advertise} | options
    return plugin.create_network(SUBNET, gateway="10.1.9.1/24", **given)  # type: ignore[arg-type]


def ours(host: namespace.Host) -> dict[str, str]:
    """Our routes by prefix: `blackhole`, or the device."""
    routes = host.routes("proto", "179")
    return {route["dst"]: route.get("dev") or route["type"] for route in routes}


def wait_route(host: namespace.Host, prefix: str, device: str | None = "eth1") -> None:
    """Wait until a prefix leads out of a device, or (None) nowhere of ours."""
    namespace.wait_until(
        lambda: ours(host).get(prefix) == device, f"{prefix} dev {device} on {host.name}"
    )


@pytest.mark.parametrize("advertise", ["endpoint", "both"])
def test_containers_reach_each_other(hosts: HOSTS, plugins: PLUGINS, advertise: str) -> None:
    """Host routes to both, the subnet itself only with `both`; pings all ways; nothing left."""
    a, b = hosts[0].host, hosts[1].host
    networks = [create(plugin, advertise) for plugin in plugins]
    left = plugins[0].container(networks[0], "10.1.9.2/24")
    right = plugins[1].container(networks[1], "10.1.9.3/24")
    wait_route(a, "10.1.9.3")
    wait_route(b, "10.1.9.2")
    for host in (a, b):
        assert ours(host).get(SUBNET) == ("blackhole" if advertise == "both" else None)

    assert left.ping("10.1.9.3")
    assert right.ping("10.1.9.2")
    assert a.ping("10.1.9.2"), "a host and its own container"
    assert a.ping("10.1.9.3"), "a host and a remote container"
    assert left.ping("10.1.9.1"), "a container and its own host"
    for one in hosts:
        assert one.warnings() == []

    right.remove()
    wait_route(a, "10.1.9.3", None)
    left.remove()
    wait_route(b, "10.1.9.2", None)


def test_an_address_moves(hosts: HOSTS, plugins: PLUGINS) -> None:
    """A container goes to the other host with its address: one there and one here reach it."""
    a, b = hosts[0].host, hosts[1].host
    networks = [create(plugin) for plugin in plugins]
    moving = plugins[0].container(networks[0], "10.1.9.2/24")
    stays = plugins[0].container(networks[0], "10.1.9.4/24")
    other = plugins[1].container(networks[1], "10.1.9.3/24")
    wait_route(b, "10.1.9.2")
    assert stays.ping("10.1.9.2")

    moving.remove()
    plugins[1].container(networks[1], "10.1.9.2/24")

    wait_route(a, "10.1.9.2")
    assert stays.ping("10.1.9.2"), "the other host has it now"
    assert other.ping("10.1.9.2")
    assert a.ping("10.1.9.2")


def test_an_address_on_both_hosts(hosts: HOSTS, plugins: PLUGINS) -> None:
    """Each keeps its own, and both say so in their status; it ends with one of them."""
    networks = [create(plugin) for plugin in plugins]
    left = plugins[0].container(networks[0], "10.1.9.2/24")
    right = plugins[1].container(networks[1], "10.1.9.2/24")

    def warned(one: agent.Agent) -> bool:
        return any("duplicate-prefix" in text for text in one.ask("status")["warnings"])

    for one in hosts:
        namespace.wait_until(lambda one=one: warned(one), "the warning")  # type: ignore[misc]
        assert one.host.ping("10.1.9.2"), "its own container"
    right.remove()
    namespace.wait_until(lambda: not warned(hosts[0]), "the warning to go")
    wait_route(hosts[1].host, "10.1.9.2")
    left.remove()


def sent(host: namespace.Host) -> int:
    """Packets sent by eth1."""
    return int(host.run("cat", "/sys/class/net/eth1/statistics/tx_packets").stdout)


def test_an_address_that_left_does_not_loop(hosts: HOSTS, plugins: PLUGINS) -> None:
    """What is still sent to it meets a blackhole, not the default route back to the sender."""
    a, b = hosts[0].host, hosts[1].host
    networks = [create(plugin, host_access="off") for plugin in plugins]
    container = plugins[0].container(networks[0], "10.1.9.2/24")
    # Not the host itself: it would drop its own packets when they come back.
    sender = plugins[1].container(networks[1], "10.1.9.3/24")
    wait_route(b, "10.1.9.2")
    wait_route(a, "10.1.9.3")
    assert ours(a)["10.1.9.2"] == "blackhole"
    assert sender.ping("10.1.9.2"), "the blackhole is for nobody while the container is here"
    container.remove()
    wait_route(b, "10.1.9.2", None)
    before = sent(a)

    assert not sender.ping("10.1.9.2", timeout=0.5)

    assert sent(a) - before < 10, "packets went round"
    wait_route(a, "10.1.9.2", None)


def test_a_subnet_that_is_somebodys_alone(hosts: HOSTS, plugins: PLUGINS) -> None:
    """Created with the default on one host, it cannot be shared; the text says what to do."""
    create(plugins[0], "subnet")
    wait_route(hosts[1].host, SUBNET)

    with pytest.raises(agent.PluginError, match=r"bgp.advertise=endpoint too \[announced-else"):
        create(plugins[1])


def test_require_without_a_neighbour(hosts: HOSTS, plugins: PLUGINS) -> None:
    """Nobody to tell: the start is refused and undone, and works when the neighbour is back."""
    network = create(plugins[0], **{"bgp.start_gate": "require"})
    hosts[1].stop_command("--withdraw")
    links = set(hosts[0].host.links())
    try:
        with pytest.raises(agent.PluginError, match=r"no neighbor is established.*\[start-gate\]"):
            plugins[0].container(network, "10.1.9.2/24")
        assert set(hosts[0].host.links()) == links
        assert not any(
            e["joined"] for n in hosts[0].ask("networks")["networks"] for e in n["endpoints"]
        )
    finally:
        hosts[1].start()
    hosts[0].established()
    plugins[0].container(network, "10.1.9.2/24")
    wait_route(hosts[1].host, "10.1.9.2")
