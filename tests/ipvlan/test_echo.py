"""All hosts of a rack in one AS behind their switch: what a host announces comes back to it."""

from __future__ import annotations

from lab import agent, namespace, peers

AS, SWITCH_AS = 64512, 64513
A, A2, B = "192.0.2.1", "198.51.100.1", "203.0.113.1"


def test_our_own_echo() -> None:
    """Known by our identity and refused quietly; other hosts' containers are learned all the same."""
    with namespace.Lab() as lab:
        switch, a, b = lab.host("switch"), lab.host("a"), lab.host("b")
        for host, interface, address in ((a, "eth1", A), (a, "eth2", A2), (b, "eth1", B)):
            there = f"{address.rpartition('.')[0]}.254/24"
            port = f"{host.name}-{interface}"
            lab.wire(
                namespace.Port(host, interface, (f"{address}/24",)),
                namespace.Port(switch, port, (there,)),
            )
        switch.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        neighbors = tuple(peers.Neighbor(address=one, remote_as=AS) for one in (A, A2, B))
        bird = peers.Bird(
            switch,
            peers.Speaker(
                local_as=SWITCH_AS, router_id="192.0.2.254", neighbors=neighbors, install=True
            ),
        )
        bird.start()
        agents = []
        for host, addresses in ((a, (A, A2)), (b, (B,))):
            host.run(
                "ip", "route", "add", "default", "via", f"{addresses[0].rpartition('.')[0]}.254"
            )
            flags = ["--host-interface", "eth1", "--as", str(AS)]
            for address in addresses:
                router = f"{address.rpartition('.')[0]}.254"
                flags += ["--neighbor", f"{router},as={SWITCH_AS},allow-own-as=1"]
            agents.append(agent.Agent(host, *flags))
            agents[-1].start()
            agents[-1].established(count=len(addresses))
        plugins = [agent.Plugin(host) for host in (a, b)]
        networks = [
            plugin.create_network("10.1.9.0/24", **{"bgp.advertise": "both"})  # type: ignore[arg-type]
            for plugin in plugins
        ]
        left = plugins[0].container(networks[0], "10.1.9.2/24")
        plugins[1].container(networks[1], "10.1.9.3/24")

        def reason(prefix: str) -> str | None:
            found = {one["prefix"]: one["reason"] for one in agents[0].ask("routes")["refused"]}
            return found.get(prefix)

        def learned(host: namespace.Host, prefix: str) -> bool:
            # Over both wires where there are two.
            routes = (r for r in host.routes("proto", "179") if r["dst"] == prefix)
            return any("gateway" in route or "nexthops" in route for route in routes)

        namespace.wait_until(lambda: reason("10.1.9.2/32") == "own-echo", "the echo")
        namespace.wait_until(lambda: learned(a, "10.1.9.3"), "the other host's container")
        namespace.wait_until(lambda: learned(b, "10.1.9.2"), "the way back")
        assert left.ping("10.1.9.3")
        assert reason("10.1.9.0/24") in {"own-echo", "shared-prefix"}
        assert agents[0].warnings() == []
        assert "route refused" not in agents[0].log()

        left.remove()
        peers.wait_forgotten(bird, "10.1.9.2/32")
        assert "route learned prefix=10.1.9.2/32" not in agents[0].log()
