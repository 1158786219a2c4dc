"""What the systemd unit leaves the daemon is enough for it."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from lab import agent, namespace

UNIT = Path(__file__).parents[2] / "packaging/systemd/bgp-ipvlan.service"


def unit_setting(name: str) -> str:
    """One setting of the unit's [Service]."""
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    return unit["Service"][name]


def test_capabilities_of_the_unit_suffice() -> None:
    """With the unit's bounding set alone: networks, containers, and looks into namespaces."""
    names = unit_setting("CapabilityBoundingSet").split()
    only = ",".join("+" + name.removeprefix("CAP_").lower() for name in names)
    wrapper = ("setpriv", f"--bounding-set=-all,{only}", "--no-new-privs", "--")
    with namespace.Lab() as lab:
        host, other = lab.host("a"), lab.host("b")
        lab.wire(
            namespace.Port(host, "eth1", ("192.0.2.1/24",)),
            namespace.Port(other, "eth1", ("192.0.2.2/24",)),
        )
        flags = ("--host-interface", "eth1", "--as", "64512", "--neighbor", "192.0.2.2")
        daemon = agent.Agent(host, *flags, wrapper=wrapper)
        daemon.start()
        status = Path(f"/proc/{daemon.process.pid}/status").read_text()
        bounding = int(status.partition("CapBnd:")[2].split()[0], 16)
        assert bounding.bit_count() == len(names), "setpriv did not do what the test is about"
        plugin = agent.Plugin(host)
        network = plugin.create_network("10.1.1.0/24", gateway="10.1.1.1/24")
        container = plugin.container(network, "10.1.1.2/24")
        there = lambda: "10.1.1.2" in {r["dst"] for r in host.routes("proto", "179")}  # noqa: E731
        namespace.wait_until(there, "the container's host route")
        assert host.ping("10.1.1.2")

        # Found again after a restart: it is in another namespace, of a process with all rights.
        daemon.kill()
        daemon.start()
        (found,) = daemon.ask("networks")["networks"]
        assert [container.ids["EndpointID"]] == [e["id"] for e in found["endpoints"]]
        container.remove()
        plugin.delete_network(network)

        host.run("ip", "netns", "add", "stranger")
        add = "ip link add x link eth1 netns stranger type ipvlan mode l2"
        host.run(*add.split())
        with pytest.raises(agent.PluginError, match="mode-in-use"):
            plugin.create_network("10.1.1.0/24", gateway="10.1.1.1/24")
