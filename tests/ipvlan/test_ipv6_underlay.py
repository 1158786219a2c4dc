"""IPv4 containers over wires that have IPv6 only: next hops are IPv6 addresses (RFC 8950)."""

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
