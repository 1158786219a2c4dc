"""Flags and environment, checked once."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from bgp_ipvlan import config, errors


def test_a_usual_line() -> None:
    """What the README shows."""
    settings = config.build(
        local_as=64512,
        router_id="192.0.2.1",
        neighbors=["192.0.2.2", "2001:db8::2,as=64513,hold=30,passive,name=tor"],
        host_interface="eth1",
        ipvlan_subnet="10.1.0.0/16",
        gateway="10.1.0.1",
    )

    ibgp, ebgp = settings.neighbors
    assert (
        ibgp.remote_as,
        ibgp.hold_time,
        ibgp.keepalive,
        ibgp.passive,
    ) == (64512, 9, 3, False)
    assert (
        ebgp.remote_as,
        ebgp.hold_time,
        ebgp.keepalive,
        ebgp.passive,
        ebgp.description,
    ) == (64513, 30, 10, True, "tor")
    assert ipaddress.ip_network("10.1.0.0/16") == settings.ipvlan_subnet


def test_no_neighbor_needs_no_as() -> None:
    """A single host without BGP is fine."""
    assert config.build().local_as == 0


@pytest.mark.parametrize(
    ("flags", "reason", "says"),
    [
        ({"neighbors": ["192.0.2.2"]}, "no-as", "--as"),
        ({"local_as": 0}, "bad-value", "1 to 4294967295"),
        ({"local_as": 1 << 32}, "bad-value", "1 to 4294967295"),
        ({"router_id": "0.0.0.0"}, "bad-value", "--router-id"),
        ({"router_id": "fd00::1"}, "bad-value", "--router-id"),
        ({"mode": "l4"}, "bad-value", "--mode"),
        ({"mode": "l2"}, "mode-unsupported", "l3"),
        ({"mtu": 5}, "bad-value", "68"),
        ({"ipvlan_subnet": "10.1.1.1/24"}, "bad-value", "host bits"),
        ({"ipvlan_subnet": "10.1.1.0/24", "gateway": "10.1.2.1"}, "bad-value", "inside"),
        ({"accept": ["nonsense"]}, "bad-value", "--accept"),
        ({"local_as": 1, "neighbors": ["host.example"]}, "bad-value", "--neighbor"),
        ({"local_as": 1, "neighbors": ["192.0.2.2,AS=3"]}, "bad-neighbor", "did you mean 'as'"),
        ({"local_as": 1, "neighbors": ["192.0.2.2,as=x"]}, "bad-neighbor", "a number from 1"),
        ({"local_as": 1, "neighbors": ["192.0.2.2,as=0"]}, "bad-neighbor", "a number from 1"),
        ({"local_as": 1, "neighbors": ["192.0.2.2,hold=2"]}, "bad-neighbor", "at least 3"),
        ({"local_as": 1, "neighbors": ["192.0.2.2,port=0"]}, "bad-neighbor", "1 to 65535"),
        ({"local_as": 1, "neighbors": ["192.0.2.2", "192.0.2.2"]}, "bad-neighbor", "twice"),
    ],
)
def test_bad_values(flags: dict[str, Any], reason: str, says: str) -> None:
    """Each is one line that names the flag and what would be right."""
    with pytest.raises(errors.ConfigError) as caught:
        config.build(**flags)

    assert reason == caught.value.reason
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
