"""Where others are told to send to (D12): the parent, whatever the session runs on."""

from __future__ import annotations

from lab import agent, namespace


def test_ipv4_containers_over_ipv6() -> None:
    """Two hosts without an IPv4 address: their IPv4 containers reach each other."""
    with namespace.Lab() as lab:
        a, b = lab.host("a"), lab.host("b")
        lab.wire(
            namespace.Port(a, "eth1", ("2001:db8::1/64",)),
            namespace.Port(b, "eth1", ("2001:db8::2/64",)),
        )
        agents = []
        for number, host in enumerate((a, b), start=1):
            flags = (
                "--host-interface",
                "eth1",
                "--as",
                "64512",
                "--router-id",
                f"192.0.2.{number}",
            )
            other = "--neighbor", f"2001:db8::{3 - number}"
            agents.append(agent.Agent(host, *flags, *other))
            agents[-1].start()
        containers = []
        for number, one in enumerate(agents, start=1):
            one.established()
            plugin = agent.Plugin(one.host)
            both = {"bgp.advertise": "both", "gateway": f"10.1.{number}.1/24"}
            network = plugin.create_network(f"10.1.{number}.0/24", **both)  # type: ignore[arg-type]
            containers.append(plugin.container(network, f"10.1.{number}.2/24"))

        def learned() -> bool:
            routes = {route["dst"]: route for route in a.routes("proto", "179")}
            return all(
                routes.get(dst, {}).get("via") == {"family": "inet6", "host": "2001:db8::2"}
                for dst in ("10.1.2.0/24", "10.1.2.2")
            )

        namespace.wait_until(learned, "both prefixes through the IPv6 next hop")
        namespace.wait_until(
            lambda: "10.1.1.2" in {r["dst"] for r in b.routes("proto", "179")}, "the way back"
        )
        assert containers[0].ping("10.1.2.2")
        assert containers[1].ping("10.1.1.2")
        assert a.ping("10.1.2.2"), "a host and a remote container"


def test_session_and_parent_on_different_nics() -> None:
    """The session runs on eth0; the next hop is the parent's address, or the one that was given."""
    with namespace.Lab() as lab:
        a, b = lab.host("a"), lab.host("b")
        for interface, subnet in (("eth0", "203.0.113"), ("eth1", "192.0.2")):
            lab.wire(
                namespace.Port(a, interface, (f"{subnet}.1/24",)),
                namespace.Port(b, interface, (f"{subnet}.2/24",)),
            )
        a.run("ip", "address", "add", "192.0.2.9/32", "dev", "eth1")
        agents = []
        for host, other in ((a, "203.0.113.2"), (b, "203.0.113.1")):
            flags = ("--host-interface", "eth1", "--as", "64512", "--neighbor", other)
            agents.append(agent.Agent(host, *flags))
            agents[-1].start()
        agents[0].established()
        plugin = agent.Plugin(a)
        given = {"bgp.next_hop": "192.0.2.9", "gateway": "10.1.2.1/24"}
        plugin.create_network("10.1.1.0/24", gateway="10.1.1.1/24")
        network = plugin.create_network("10.1.2.0/24", **given)  # type: ignore[arg-type]
        plugin.container(network, "10.1.2.2/24")

        def ways() -> set[tuple[str, str, str]]:
            return {
                (route["dst"], route["gateway"], route["dev"]) for route in b.routes("proto", "179")
            }

        expected = {("10.1.1.0/24", "192.0.2.1", "eth1"), ("10.1.2.0/24", "192.0.2.9", "eth1")}
        namespace.wait_until(lambda: ways() == expected, "both subnets by the parent")
        assert b.ping("10.1.2.2")
